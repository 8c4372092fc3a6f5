//! Memory of a training step: `cargo bench --bench memory` prints two tables, as in the README and the
//! guide. The first compares ways to train, the second shows what recomputation saves in memory and
//! costs in time. Only the times need a device.

use std::time::{Duration, Instant};

use sff::internals::base::choice::Choice;
use sff::internals::base::shape::Shape;
use sff::internals::compiler::budget::Demand;
use sff::internals::compiler::plan::{Limits, MemoryReport, Plan};
use sff::internals::data::{self, Dataset};
use sff::internals::gpu::device::Gpu;
use sff::internals::net::layers::{Head, Network};
use sff::internals::net::models::{self, Arch, Stem};
use sff::internals::net::options::{Partition, Recompute, TrainOptions};
use sff::internals::train::trainer::Trainer;
use sff::{Error, Result};

/// A network and a batch.
#[derive(Clone, Copy)]
struct Work {
    arch: &'static str,
    side: usize,
    batch: usize,
    classes: usize,
}

/// A way to train it.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    partition: Partition,
    head: Head,
    recompute: Recompute,
    window: usize,
}

const GOODNESS: Head = Head::goodness(1);

const fn way(name: &'static str, partition: Partition, head: Head, recompute: Recompute) -> Way {
    Way { name, partition, head, recompute, window: 0 }
}

const WAYS: [Way; 6] = [
    way("backpropagation", Partition::Whole, Head::Linear, Recompute::None),
    way("…, values of batch norm again", Partition::Whole, Head::Linear, Recompute::Cheap),
    way("…, blocks again", Partition::Whole, Head::Linear, Recompute::Block),
    way("SFF, each block", Partition::Block, GOODNESS, Recompute::Cheap),
    way("SFF, each layer", Partition::Layer, GOODNESS, Recompute::Cheap),
    Way {
        window: 1,
        ..way("SFF, each layer, window 1", Partition::Layer, GOODNESS, Recompute::Cheap)
    },
];

const WORK: [Work; 4] = [
    Work { arch: "resnet18", side: 32, batch: 128, classes: 10 },
    Work { arch: "resnet18", side: 32, batch: 128, classes: 1000 },
    Work { arch: "mobilenet-v3-large", side: 224, batch: 64, classes: 10 },
    Work { arch: "mobilenet-v3-large", side: 224, batch: 64, classes: 1000 },
];

fn network(work: Work, way: Way) -> Result<Network> {
    let unknown = || Error::usage(format!("no network is called {}", work.arch));
    let arch = Arch::named(work.arch).ok_or_else(unknown)?;
    let blocks = arch.blocks(&models::CNN_WIDTHS, Stem::for_side(work.side), way.partition);
    Ok(Network { blocks, head: way.head, classes: work.classes })
}

fn options(work: Work, way: Way) -> TrainOptions {
    TrainOptions {
        batch: work.batch,
        recompute: Some(way.recompute),
        window: way.window,
        ..TrainOptions::default()
    }
}

/// Peak memory of activations and workspace, in MiB.
fn planned(work: Work, way: Way) -> Result<f64> {
    let network = network(work, way)?;
    let image = Shape::new(1, work.side, work.side, 3);
    let demand = Demand::new(&network, image, &options(work, way), Limits::NONE);
    let built = demand.build(work.batch, 1, false)?;
    let plan = Plan::new(&built.program, Limits::NONE)?;
    let report = MemoryReport::new(&built.program, &plan, &built.blocks);
    Ok(report.activations_and_workspace as f64 / f64::from(1 << 20))
}

fn compare() -> Result<()> {
    println!("Activations and workspace of one step, MiB, heads 1×1:\n");
    let name = |w: &Work| {
        format!(" {}, {} px, batch {}, {} classes |", w.arch, w.side, w.batch, w.classes)
    };
    println!("| |{}", WORK.iter().map(name).collect::<String>());
    println!("|---|{}", "---|".repeat(WORK.len()));
    for way in WAYS {
        let mut line = format!("| {} |", way.name);
        for work in WORK {
            let (all, this) = (planned(work, WAYS[0])?, planned(work, way)?);
            line.push_str(&format!(" {this:.0} (1/{:.1}) |", all / this));
        }
        println!("{line}");
    }
    Ok(())
}

/// Time of a step for each trainer, the best of three. The trainers take turns, so that noise affects
/// all alike.
fn time(trainers: &mut [Trainer]) -> Result<Vec<Duration>> {
    let mut best = vec![Duration::MAX; trainers.len()];
    for round in 0..4 {
        for (trainer, best) in trainers.iter_mut().zip(&mut best) {
            let start = Instant::now();
            trainer.steps(1, |_| {})?;
            if round > 0 {
                *best = start.elapsed().min(*best);
            }
        }
    }
    Ok(best)
}

fn recompute(gpu: &Gpu, dataset: &Dataset, work: Work, ways: [Way; 3]) -> Result<()> {
    let networks = ways.map(|way| network(work, way));
    let mut trainers = Vec::new();
    for (network, way) in networks.iter().zip(ways) {
        let network = network.as_ref().map_err(|e| Error::usage(e.to_string()))?;
        trainers.push(Trainer::new(gpu, network, dataset, options(work, way))?);
    }
    let times = time(&mut trainers)?;
    for (way, taken) in ways.into_iter().zip(&times) {
        println!(
            "| {}, batch {}, {} | {:?} | {:.1} | {:.2} |",
            work.arch,
            work.batch,
            way.name,
            way.recompute,
            planned(work, way)?,
            taken.as_secs_f64() / times[0].as_secs_f64()
        );
    }
    Ok(())
}

fn run() -> Result<()> {
    compare()?;
    let gpu = Gpu::open(std::env::var("SFF_TEST_DEVICE").ok().as_deref())?;
    println!(
        "\nValues computed again, on {}; the time of a step next to none:\n",
        gpu.adapter.name
    );
    println!("| | again | MiB | time |\n|---|---|---|---|");
    let request =
        data::Request { name: "shapes32".into(), train_limit: Some(320), ..Default::default() };
    let dataset = data::load(&request)?;
    let classes = dataset.classes.len();
    let modes = |name, partition, head| {
        [Recompute::None, Recompute::Cheap, Recompute::Block]
            .map(|recompute| way(name, partition, head, recompute))
    };
    for (arch, batch) in [("cnn", 64), ("resnet18", 8), ("mobilenet-v3-small", 32)] {
        let work = Work { arch, side: 32, batch, classes };
        let bp = modes("backpropagation", Partition::Whole, Head::Linear);
        recompute(&gpu, &dataset, work, bp)?;
        recompute(&gpu, &dataset, work, modes("SFF, each block", Partition::Block, GOODNESS))?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            std::process::ExitCode::from(2)
        }
    }
}
