//! Kernels write inside their tensors only: guard bytes next to every live tensor keep their value
//! through a training step.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::common::{gpu, precisions, random};
use sff::internals::base::choice::Choice;
use sff::internals::base::random::{Rng, Stream};
use sff::internals::base::shape::{Layout, Shape};
use sff::internals::compiler::ops::{Activate, Add};
use sff::internals::compiler::program::{Built, Feed, Program, Setup, build};
use sff::internals::compiler::tensor::{Kind, TensorId};
use sff::internals::gpu::session::{Session, SessionOptions};
use sff::internals::net::augment::{Augment, Sizes};
use sff::internals::net::layers::{Activation, Head, Network};
use sff::internals::net::models::{Arch, Stem};
use sff::internals::net::options::{
    ADAMW, Normalize, Partition, Precision, Recompute, TrainOptions,
};

const GUARD: usize = 512;
const SENTINEL: u8 = 0xa5;

/// Runs ops one by one; returns the names of tensors whose guard was overwritten.
fn overwritten(session: &mut Session, ops: Range<usize>) -> BTreeSet<String> {
    let roots: Vec<TensorId> = session.program().ids().collect();
    let roots: Vec<_> =
        roots.into_iter().filter(|id| session.program().tensor(*id).parent.is_none()).collect();
    let life = |session: &Session, id| session.plan().lifetime(id).unwrap_or(0..usize::MAX);
    let lives: Vec<_> = roots.iter().map(|id| (*id, life(session, *id))).collect();
    for (id, _) in lives.iter().filter(|(_, life)| *life == (0..usize::MAX)) {
        session.fill_guard(*id, SENTINEL);
    }
    let mut found = BTreeSet::new();
    let mut check = |session: &mut Session, id: TensorId| {
        if session.guard(id).unwrap().iter().any(|byte| *byte != SENTINEL) {
            found.insert(session.program().tensor(id).name.clone());
        }
    };
    for op in ops {
        for (id, life) in &lives {
            let place = session.plan().offset(*id);
            // A tensor that takes over another's bytes takes over its guard, too.
            let reused = |(other, theirs): &(TensorId, Range<usize>)| {
                theirs.start < op && theirs.end == op + 1 && session.plan().offset(*other) == place
            };
            if life.start == op && life.end < usize::MAX && !lives.iter().any(reused) {
                session.fill_guard(*id, SENTINEL);
            }
        }
        session.run(op..op + 1, None).unwrap();
        for (id, _) in lives.iter().filter(|(_, life)| life.end == op + 1) {
            check(session, *id);
        }
    }
    for (id, _) in lives.iter().filter(|(_, life)| life.end == usize::MAX) {
        check(session, *id);
    }
    found
}

/// A session that is ready for a step of two images with sides of `side` pixels, with every
/// augmentation but a flip and a shift.
fn session(
    network: &Network,
    side: usize,
    (recompute, precision): (Recompute, Precision),
) -> (Session, Built) {
    let stored = [side + 3, side + 2];
    let feed = Feed { batch: 2, resident: 3, stored };
    let augment = Augment {
        random_resized_crop: 0.3,
        jitter: 0.3,
        cutout: 4,
        mixup: 1.0,
        ..Augment::default()
    };
    let setup = Setup {
        normalize: Normalize { mean: [0.5; 4], std: [0.25; 4] },
        augment,
        train: Some(feed),
        adamw: ADAMW,
        recompute,
        precision,
        ..Setup::new(Shape::new(1, side, side, 3), &TrainOptions::default())
    };
    let built = build(network, &setup).unwrap();
    let options = SessionOptions { guard: GUARD, ..SessionOptions::default() };
    let session = Session::new(&gpu(), built.program.clone(), options).unwrap();
    for (seed, parameter) in built.parameters.values().enumerate() {
        let elements = built.program.tensor(parameter.value).shape.elements();
        session.write(parameter.value, &random(seed as u64, elements));
    }
    let routine = built.train.as_ref().unwrap();
    let bytes = 3 * stored[0] * stored[1] * 3;
    let pixels: Vec<u8> = (0..bytes).map(|i| (i * i % 251) as u8).collect();
    session.write_bytes(routine.pixels, &pixels);
    session.write_bytes(routine.all_labels, bytemuck::cast_slice(&[1u32, 0, 2]));
    let sizes = Sizes { stored, input: [side; 2] };
    let mut rng = Rng::new(1, Stream::Augment, 0, 0);
    let samples = [0, 1, 2].map(|index| augment.draw(index, sizes, &mut rng));
    session.write_bytes(routine.samples, bytemuck::cast_slice(&samples));
    session.write_bytes(routine.step, bytemuck::cast_slice(&[1e-2f32, 0.1, 0.001, 2.0]));
    (session, built)
}

/// A step of a network in every partition, with every head and mode of recomputation.
fn guards_stay_intact(arch: &str) {
    let goodness = Head::goodness(3);
    let classifier = Head::Classifier { hidden: 9, dropout: 0.3 };
    for (partition, head, recompute, precision) in [
        (Partition::Layer, goodness, Recompute::Cheap, Precision::F32),
        (Partition::Block, goodness, Recompute::Cheap, Precision::F32),
        (Partition::Whole, goodness, Recompute::Block, Precision::F32),
        (Partition::Whole, Head::Linear, Recompute::None, Precision::F32),
        (Partition::Whole, classifier, Recompute::Block, Precision::F32),
        (Partition::Layer, goodness, Recompute::Cheap, Precision::F16),
        (Partition::Whole, classifier, Recompute::Block, Precision::F16),
    ] {
        if !precisions(&gpu()).contains(&precision) {
            continue;
        }
        // Odd, and small enough for a software device.
        let side = if arch == "cnn" { 15 } else { 33 };
        let widths = [5, 12, 16, 7];
        let blocks = Arch::named(arch).unwrap().blocks(&widths, Stem::for_side(side), partition);
        let network = Network { blocks, head, classes: 7 };
        let (mut session, built) = session(&network, side, (recompute, precision));
        let ops = built.train.as_ref().unwrap().ops.clone();
        let found = overwritten(&mut session, ops);
        assert!(found.is_empty(), "{partition:?}, {precision:?}: wrote past {found:?}");
        let losses = session.read(built.train.unwrap().metrics).unwrap();
        assert!(losses[0].is_finite() && losses[0] > 0.0, "the step did not run");
    }
}

#[test]
fn steps_of_a_cnn_keep_guards_intact() {
    guards_stay_intact("cnn");
}

#[test]
fn steps_of_a_resnet_keep_guards_intact() {
    guards_stay_intact("resnet18");
}

#[test]
fn steps_of_small_mobilenets_keep_guards_intact() {
    guards_stay_intact("mobilenet-v3-small");
}

#[test]
fn steps_of_large_mobilenets_keep_guards_intact() {
    guards_stay_intact("mobilenet-v3-large");
}

#[test]
fn a_write_past_a_tensor_is_detected() {
    let mut program = Program::default();
    // Words are not padded to whole vec4s per pixel, so the kernel writes past the end.
    let mut maps =
        |name: &str, layout, kind| program.add(name, Shape::new(1, 1, 16, 5), layout, kind);
    let x = maps("x", Layout::Nhwc, Kind::Io);
    let short = maps("short", Layout::Words, Kind::Activation);
    let [other, y] = ["other", "y"].map(|name| maps(name, Layout::Nhwc, Kind::Activation));
    program.push(Activate { x, y: short, act: Activation::None });
    program.push(Activate { x, y: other, act: Activation::None });
    program.push(Add { a: other, b: other, y });
    let ops = 0..program.ops().len();
    let options = SessionOptions { guard: GUARD, ..SessionOptions::default() };
    let mut session = Session::new(&gpu(), program, options).unwrap();
    session.write(x, &random(1, 80));
    let found = overwritten(&mut session, ops);
    assert!(found.contains("short") && !found.contains("other"), "{found:?}");
}
