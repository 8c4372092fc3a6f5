//! Keeping values, or computing them again: the same bits, and less memory.

mod common;

use common::{gpu, random};
use sff::block::{Head, Network, Partition};
use sff::models;
use sff::ops::{AdamW, Normalize};
use sff::plan::{Plan, verify};
use sff::program::{Built, Feed, Recompute, Setup, build};
use sff::session::{Options, Session};
use sff::shape::Shape;

const MODES: [Recompute; 3] = [Recompute::None, Recompute::Cheap, Recompute::Block];

fn built(partition: Partition, head: Head, recompute: Recompute) -> Built {
    let network = Network { blocks: models::cnn(&[8, 12, 16, 16], partition), head, classes: 5 };
    let setup = Setup {
        image: Shape::new(1, 14, 13, 3),
        normalize: Normalize { mean: [0.5; 4], std: [0.25; 4] },
        train: Some(Feed { batch: 12, resident: 12 }),
        eval: None,
        adamw: AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 },
        recompute,
    };
    build(&network, &setup).unwrap()
}

/// Every parameter after three steps from random weights, and the bytes of the plan.
fn train(partition: Partition, head: Head, recompute: Recompute) -> (Vec<Vec<f32>>, usize) {
    let built = built(partition, head, recompute);
    let routine = built.train.as_ref().unwrap();
    let plan = Plan::new(&built.program);
    verify(&built.program, &plan).unwrap();
    let mut session =
        Session::new(&gpu(), built.program.clone(), Options { tiles: None, checked: true })
            .unwrap();
    for (seed, parameter) in built.parameters.values().enumerate() {
        let elements = built.program.tensor(parameter.value).shape.elements();
        session.write(parameter.value, &random(seed as u64, elements));
    }
    let pixels: Vec<u8> = (0..12 * 14 * 13 * 3u32).map(|i| (i * i % 251) as u8).collect();
    session.write_bytes(routine.pixels, &pixels);
    let labels: Vec<u32> = (0..12).map(|i| i % 5).collect();
    session.write_bytes(routine.all_labels, bytemuck::cast_slice(&labels));
    let samples: Vec<u32> = (0..12).flat_map(|i| [i, 128 << 8 | 128 << 16]).collect();
    session.write_bytes(routine.samples, bytemuck::cast_slice(&samples));
    session.write_bytes(routine.step, bytemuck::cast_slice(&[1e-2f32, 0.1, 0.001, 12.0]));
    for _ in 0..3 {
        session.run(routine.ops.clone(), None).unwrap();
    }
    let values = built.parameters.values().map(|p| session.read(p.value).unwrap()).collect();
    (values, plan.bytes)
}

#[test]
fn every_mode_gives_the_same_bits_and_needs_less() {
    let goodness = Head::Goodness { kernel: 3, scale: 1.0 };
    for (partition, head) in [
        (Partition::Whole, Head::Linear),
        (Partition::Whole, goodness),
        (Partition::Block, goodness),
    ] {
        let [none, cheap, block] = MODES.map(|mode| train(partition, head, mode));
        assert!(none.0.iter().flatten().all(|v| v.is_finite()));
        assert!(none.0 == cheap.0, "{partition:?} {head:?}: cheap differs");
        assert!(none.0 == block.0, "{partition:?} {head:?}: block differs");
        assert!(cheap.1 <= none.1, "{partition:?} {head:?}: {} {}", cheap.1, none.1);
    }
}
