//! Plans of the built-in networks: every read sees the last write, next to nothing is lost to
//! gaps, and blocks that learn alone need less. No device is needed.

use std::time::{Duration, Instant};

use sff::block::{Block, Head, Network, Partition};
use sff::models::{self, Size, Stem};
use sff::ops::Normalize;
use sff::plan::{Limits, Plan, Report, verify};
use sff::program::{Feed, Recompute, Setup, build};
use sff::shape::Shape;
use sff::train::ADAMW;

const GOODNESS: Head = Head::Goodness { kernel: 1, scale: 1.0 };

fn report(
    blocks: Vec<Block>,
    head: Head,
    batch: usize,
    side: usize,
    recompute: Recompute,
) -> Report {
    let network = Network { blocks, head, classes: 10 };
    let feed = Some(Feed { batch, resident: batch });
    let setup = Setup {
        image: Shape::new(1, side, side, 3),
        normalize: Normalize { mean: [0.0; 4], std: [1.0; 4] },
        train: feed,
        eval: feed,
        micro_batches: 1,
        adamw: ADAMW,
        recompute,
    };
    let start = Instant::now();
    let built = build(&network, &setup).unwrap();
    let plan = Plan::new(&built.program, Limits::NONE).unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "planning took {:?}", start.elapsed());
    verify(&built.program, &plan).unwrap();
    Report::new(&built.program, &plan, &built.blocks)
}

#[test]
fn every_network_and_partition_is_planned_tightly() {
    for (partition, head) in [
        (Partition::Layer, GOODNESS),
        (Partition::Block, GOODNESS),
        (Partition::Whole, GOODNESS),
        (Partition::Whole, Head::Linear),
    ] {
        for recompute in [Recompute::None, Recompute::Cheap, Recompute::Block] {
            for (name, blocks, batch, side) in [
                ("cnn", models::cnn(&models::CNN_WIDTHS, partition), 64, 28),
                ("cnn", models::cnn(&[24, 48, 96, 96], partition), 7, 33),
                ("resnet18", models::resnet18(Stem::Cifar, partition), 128, 32),
                ("resnet18", models::resnet18(Stem::Imagenet, partition), 256, 224),
                ("small", models::mobilenet_v3(Size::Small, Stem::Imagenet, partition), 64, 224),
                ("large", models::mobilenet_v3(Size::Large, Stem::Cifar, partition), 64, 32),
            ] {
                let report = report(blocks, head, batch, side, recompute);
                let what = format!("{name}, {side} px, {partition:?}, {head:?}, {recompute:?}");
                assert!(report.overhead() <= 0.03, "{what}: {:.4}", report.overhead());
            }
        }
    }
}

#[test]
fn blocks_that_learn_alone_need_a_third_of_what_backpropagation_keeps() {
    let bytes = |partition, head, recompute| {
        let blocks = models::resnet18(Stem::Cifar, partition);
        report(blocks, head, 128, 32, recompute).activations_and_workspace as f64
    };
    let backpropagation = bytes(Partition::Whole, Head::Linear, Recompute::None);
    let recomputed = bytes(Partition::Whole, Head::Linear, Recompute::Block);
    let block = bytes(Partition::Block, GOODNESS, Recompute::Cheap);
    let layer = bytes(Partition::Layer, GOODNESS, Recompute::Cheap);
    assert!(block < backpropagation / 2.9, "{block} {backpropagation}");
    assert!(block < recomputed && layer < block / 1.4, "{recomputed} {block} {layer}");
}
