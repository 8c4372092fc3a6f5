//! The host's share of a step, and rates of the device relative to its peak.

use std::time::Duration;

use crate::common::gpu;
use sff::internals::app::profile;
use sff::internals::base::shape::{Layout, Shape, Weight, Window};
use sff::internals::compiler::ops::Conv2d;
use sff::internals::compiler::program::Program;
use sff::internals::compiler::tensor::Kind;
use sff::internals::data::{self, Dataset, Request};
use sff::internals::gpu::device::Gpu;
use sff::internals::gpu::peak::Peak;
use sff::internals::gpu::session::{Session, SessionOptions};
use sff::internals::net::layers::{Head, Network};
use sff::internals::net::models;
use sff::internals::net::options::{Partition, TrainOptions};
use sff::internals::train::trainer::Trainer;

fn dataset() -> Dataset {
    let request = Request { name: "shapes".into(), train_limit: Some(320), ..Request::default() };
    data::load(&request).unwrap()
}

fn trainer<'a>(gpu: &Gpu, dataset: &'a Dataset) -> Trainer<'a> {
    let blocks = models::cnn(&[4, 4], Partition::Block);
    let network = Network { blocks, head: Head::goodness(3), classes: dataset.classes.len() };
    let options = TrainOptions { batch: 8, epochs: 1, ..TrainOptions::default() };
    Trainer::new(gpu, &network, dataset, options).unwrap()
}

#[test]
fn timing_steps_does_not_change_training() {
    let (gpu, dataset) = (gpu(), dataset());
    let [mut timed, mut plain] = [(); 2].map(|()| trainer(&gpu, &dataset));
    timed.steps(3, |_| {}).unwrap();
    let profile = profile::of_training(&mut timed, 2).unwrap();
    assert_eq!((profile.batch, profile.steps, profile.peak), (8, 2, None));
    assert!(profile.step_ms > 0.0 && profile.device_ms > 0.0);
    timed.steps(3, |_| {}).unwrap();
    plain.steps(6, |_| {}).unwrap();
    assert!(timed.arrays(true).unwrap() == plain.arrays(true).unwrap());
}

/// Buffers, bind groups and pipelines are created before the first step. The host waits for results
/// only, not within a step.
#[test]
fn steps_create_no_objects_and_wait_for_results_only() {
    let (gpu, dataset) = (gpu(), dataset());
    let mut trainer = trainer(&gpu, &dataset);
    let created = gpu.objects();
    // The first steps also create the ring of staging buffers for results.
    trainer.steps(8, |_| {}).unwrap();
    let ring = gpu.objects();
    assert!(created > 0 && ring - created <= 5, "{created} {ring}");
    for steps in [1, 5, 20] {
        let before = trainer.session().activity();
        trainer.steps(steps, |_| {}).unwrap();
        let after = trainer.session().activity();
        assert_eq!(gpu.objects(), ring, "objects were created in {steps} steps");
        assert_eq!(after.submits - before.submits, steps as u64);
        assert_eq!(after.waits - before.waits, steps as u64, "one for the results of each step");
        assert_eq!(after.stalls - before.stalls, 1, "only the last of {steps} steps is waited for");
        assert!(after.encoding > before.encoding && after.submitting > before.submitting);
    }
}

#[test]
fn no_convolution_is_faster_than_the_peak() {
    let gpu = gpu();
    let shape = Shape::new(2, 24, 24, 32);
    let mut program = Program::default();
    let [x, y] = ["x", "y"].map(|name| program.add(name, shape, Layout::Nhwc, Kind::Io));
    let w = program.add("w", Weight::new(3, 32, 32), Layout::Hwio, Kind::Io);
    program.push(Conv2d { x, w, bias: None, y, window: Window::same(3, 1) });
    let mut session = Session::new(&gpu, program, SessionOptions::default()).unwrap();
    let clock = session.clock();
    let flops = (2 * shape.elements() * 9 * 32) as f64;
    // Alternating, so that other load affects both.
    let (mut peak, mut rate) = (0.0f64, 0.0f64);
    for _ in 0..3 {
        peak = peak.max(Peak::measure(&gpu, Duration::from_millis(50)).unwrap().f32_gflops);
        for _ in 0..10 {
            let spans = session.run_timed(0..1, clock).unwrap();
            assert_eq!(spans.len(), 1);
            rate = rate.max(1e-9 * flops / (spans[0].end - spans[0].start));
        }
    }
    assert!(rate > 0.0 && rate < 1.1 * peak, "{rate} GFLOP/s, peak {peak}");
}
