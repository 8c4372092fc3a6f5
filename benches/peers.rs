//! The cases of `benches/peers/cases.json` in this engine; `benches/peers` has the same cases in other
//! engines. Prints a line of JSON per case: `cargo bench --bench peers [-- RUNS [STEPS]]`.
//! `scripts/peers.sh` runs all engines and compares them.

use std::time::Instant;

use serde::Deserialize;
use sff::internals::base::random::{Rng, Stream};
use sff::internals::base::shape::{Layout, Shape, Weight, Window};
use sff::internals::compiler::ops;
use sff::internals::compiler::program::Program;
use sff::internals::compiler::tensor::{Kind, TensorId};
use sff::internals::data::{self, Request};
use sff::internals::gpu::device::Gpu;
use sff::internals::gpu::session::{Session, SessionOptions};
use sff::internals::net::layers::{Head, Network};
use sff::internals::net::models;
use sff::internals::net::options::{Partition, TrainOptions};
use sff::internals::train::trainer::Trainer;

#[derive(Deserialize)]
struct Cases {
    convolutions: Vec<Convolution>,
    convolution_batch: usize,
    cnn: Cnn,
}

#[derive(Deserialize)]
struct Convolution {
    name: String,
    side: usize,
    #[serde(rename = "in")]
    cin: usize,
    out: usize,
    kernel: usize,
    groups: usize,
}

#[derive(Deserialize)]
struct Cnn {
    widths: Vec<usize>,
    batch: usize,
}

fn main() -> sff::Result<()> {
    let mut counts = std::env::args().skip(1).filter_map(|a| a.parse().ok());
    let (runs, steps) = (counts.next().unwrap_or(5), counts.next().unwrap_or(10));
    let cases: Cases = serde_json::from_str(include_str!("peers/cases.json")).expect("the cases");
    let gpu = Gpu::open(std::env::var("SFF_TEST_DEVICE").ok().as_deref())?;
    for case in &cases.convolutions {
        convolution(&gpu, case, cases.convolution_batch, runs)?;
    }
    let ways = [
        ("training step", Partition::Whole, Head::Linear),
        ("training step, each block by itself", Partition::Block, Head::goodness(5)),
    ];
    for (what, partition, head) in ways {
        let start = Instant::now();
        let blocks = models::cnn(&cases.cnn.widths, partition);
        let network = Network { blocks, head, classes: 10 };
        cnn(&gpu, &network, what, (cases.cnn.batch, steps), start)?;
    }
    Ok(())
}

/// Prints a case: the best time of all runs but the first, and that of the first.
fn report(case: &str, what: &str, seconds: &[f64]) {
    let best = seconds[1..].iter().copied().fold(f64::INFINITY, f64::min);
    let first = seconds[0];
    let line = serde_json::json!({"peer": "sff", "case": case, "what": what, "seconds": best, "first": first});
    println!("{line}");
}

fn convolution(gpu: &Gpu, case: &Convolution, batch: usize, runs: usize) -> sff::Result<()> {
    let (x, y) = [case.cin, case.out].map(|c| Shape::new(batch, case.side, case.side, c)).into();
    let window = Window::same(case.kernel, 1);
    let depthwise = case.groups > 1;
    let mut p = Program::default();
    let (weight, layout): (Shape, _) = if depthwise {
        (Weight::new(case.kernel, 1, case.out).into(), Layout::Nhwc)
    } else {
        (Weight::new(case.kernel, case.cin, case.out).into(), Layout::Hwio)
    };
    let [a, b, dy, dx] = [("x", x), ("y", y), ("dy", y), ("dx", x)]
        .map(|(name, shape)| p.add(name, shape, Layout::Nhwc, Kind::Io));
    let [w, dw] = ["w", "dw"].map(|name| p.add(name, weight, layout, Kind::Io));
    if depthwise {
        p.push(ops::Depthwise { x: a, w, y: b, window });
        p.push(ops::DepthwiseDgrad { dy, w, dx, window });
        p.push(ops::DepthwiseWgrad { x: a, dy, dw, window });
    } else {
        p.push(ops::Conv2d { x: a, w, bias: None, y: b, window });
        p.push(ops::Conv2dDgrad { dy, w, dx, window });
        p.push(ops::Conv2dWgrad { x: a, dy, dw, window });
    }
    let mut rng = Rng::new(0, Stream::Init, 0, 0);
    let mut session = Session::new(gpu, p, SessionOptions::default())?;
    for id in [a, dy, w] {
        let count = session.program().tensor(id).shape.elements();
        let values: Vec<f32> = (0..count).map(|_| rng.normal() as f32).collect();
        session.write(id, &values);
    }
    // Reading a small tensor waits for the device.
    let mut time = |ops: std::ops::Range<usize>, probe: TensorId| -> sff::Result<Vec<f64>> {
        session.read_bytes(probe)?;
        (0..=runs)
            .map(|_| {
                let start = Instant::now();
                session.run(ops.clone(), None)?;
                session.read_bytes(probe)?;
                Ok(start.elapsed().as_secs_f64())
            })
            .collect()
    };
    report(&case.name, "forward", &time(0..1, w)?);
    report(&case.name, "forward and backward", &time(0..3, w)?);
    Ok(())
}

fn cnn(
    gpu: &Gpu,
    network: &Network,
    what: &str,
    (batch, steps): (usize, usize),
    start: Instant,
) -> sff::Result<()> {
    let train_limit = Some(batch * (steps + 1));
    let request = Request { name: "shapes".into(), train_limit, ..Request::default() };
    let dataset = data::load(&request)?;
    let options = TrainOptions { epochs: 1, batch, ..TrainOptions::default() };
    let mut trainer = Trainer::new(gpu, network, &dataset, options)?;
    // The first step includes generating the images, planning and compiling.
    let mut start = start;
    let mut seconds = Vec::new();
    for _ in 0..=steps {
        trainer.steps(1, |_| {})?;
        seconds.push(start.elapsed().as_secs_f64());
        start = Instant::now();
    }
    report("cnn", what, &seconds);
    Ok(())
}
