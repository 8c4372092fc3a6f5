//! Training with maps in float16: close to float32, deterministic, the same bits after an interruption,
//! and an error on devices without float16.

use std::path::Path;

use crate::common::{gpu, precisions};
use sff::internals::data::{self, Dataset};
use sff::internals::gpu::device::{Access, Gpu};
use sff::internals::net::layers::{Head, Network};
use sff::internals::net::options::{Partition, Precision, TrainOptions};
use sff::internals::train::checkpoint::Arrays;
use sff::internals::train::metrics::Scores;
use sff::internals::train::trainer::{Reached, Trainer};

fn options(precision: Precision) -> TrainOptions {
    TrainOptions { epochs: 2, batch: 16, lr: 1e-2, seed: 3, precision, ..TrainOptions::default() }
}

fn network() -> Network {
    let head = Head::goodness(3);
    Network {
        blocks: sff::internals::net::models::cnn(&[8, 16, 16], Partition::Layer),
        head,
        classes: 10,
    }
}

fn dataset() -> Dataset {
    let request = data::Request {
        name: "shapes".into(),
        train_limit: Some(256),
        test_limit: Some(200),
        seed: 1,
        ..data::Request::default()
    };
    data::load(&request).unwrap()
}

fn trained(gpu: &Gpu, options: TrainOptions, data: &Dataset) -> (Arrays, Scores) {
    let mut trainer = Trainer::new(gpu, &network(), data, options).unwrap();
    while !trainer.finished() {
        trainer.train_epoch(|_| {}).unwrap();
    }
    (trainer.arrays(true).unwrap(), trainer.evaluate().unwrap())
}

#[test]
fn float16_trains_as_well_as_float32() {
    let gpu = gpu();
    if !precisions(&gpu).contains(&Precision::F16) {
        return;
    }
    let data = dataset();
    let (single, scores) = trained(&gpu, options(Precision::F32), &data);
    let half = trained(&gpu, options(Precision::F16), &data);
    assert!(half.0 != single, "float16 has no effect");
    let loss = (half.1.loss / scores.loss - 1.0).abs();
    assert!(loss < 0.05, "losses differ by {loss}: {scores:?} {:?}", half.1);
    let accuracy = (half.1.accuracy.all - scores.accuracy.all).abs();
    assert!(accuracy <= 0.04, "{scores:?} {:?}", half.1);
    assert!(trained(&gpu, options(Precision::F16), &data) == half, "not the same bits again");
}

#[test]
fn an_interruption_does_not_change_the_bits() {
    let gpu = gpu();
    if !precisions(&gpu).contains(&Precision::F16) {
        return;
    }
    let (data, options) = (dataset(), options(Precision::F16));
    let whole = trained(&gpu, options, &data);
    let mut trainer = Trainer::new(&gpu, &network(), &data, options).unwrap();
    assert_eq!(trainer.steps(5, |_| {}).unwrap(), Reached::Pause);
    let (arrays, progress) = (trainer.arrays(true).unwrap(), trainer.progress());
    let mut trainer = Trainer::new(&gpu, &network(), &data, options).unwrap();
    trainer.restore(&arrays, &progress, Path::new("state")).unwrap();
    while !trainer.finished() {
        trainer.train_epoch(|_| {}).unwrap();
    }
    assert!((trainer.arrays(true).unwrap(), trainer.evaluate().unwrap()) == whole);
}

#[test]
fn a_device_without_float16_is_an_error_with_advice() {
    let selector = std::env::var("SFF_TEST_DEVICE").ok();
    let gpu = Gpu::open_with(selector.as_deref(), Access::Portable).unwrap();
    let data = dataset();
    let error = Trainer::new(&gpu, &network(), &data, options(Precision::F16)).err().unwrap();
    let message = error.to_string();
    assert!(message.contains("use `precision` f32, or another `device`"), "{message}");
    assert!(message.starts_with(&gpu.adapter.name), "{message}");
    assert!(Trainer::new(&gpu, &network(), &data, options(Precision::F32)).is_ok());
}
