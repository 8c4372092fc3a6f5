//! A training step of every built-in network, in every partition and by backpropagation: at full width,
//! and at an eighth of it, where every op is compared with the f64 reference.

use crate::common::{Inputs, Pair, gpu, precisions};
use sff::internals::app::config::{Config, Method, Recipe};
use sff::internals::base::choice::Choice;
use sff::internals::base::shape::Shape;
use sff::internals::compiler::ops::{self, Op};
use sff::internals::compiler::program::{Feed, Setup, build};
use sff::internals::data::shapes::{self, Split};
use sff::internals::data::{Dataset, Found};
use sff::internals::gpu::session::{Session, SessionOptions};
use sff::internals::net::augment::Augment;
use sff::internals::net::layers::{Head, Layer, Network};
use sff::internals::net::models::Arch;
use sff::internals::net::options::{ADAMW, Normalize, Partition, Precision, TrainOptions};
use sff::internals::train::trainer::{Reached, Trainer};

const BATCH: usize = 2;
const CLASSES: usize = 10;
/// Largest distance allowed between a block's gradient after a whole step and the reference's, relative
/// to the length of the latter.
const GRADIENT: f64 = 1e-2;
/// The same for a step with maps in float16, from a reference without float16.
const HALF_GRADIENT: f64 = 0.1;

/// Methods and partitions; the last is backpropagation from the network's own classifier.
const WAYS: [(Method, Partition); 4] = [
    (Method::Sff, Partition::Layer),
    (Method::Sff, Partition::Block),
    (Method::Sff, Partition::Whole),
    (Method::Bp, Partition::Whole),
];

/// The network that `sff train` makes of these options, with its heads and its stem.
fn network(arch: &str, (method, partition): (Method, Partition), side: usize) -> Network {
    let recipe = Recipe {
        arch: Some(arch.into()),
        method: Some(method),
        partition: Some(partition),
        ..Recipe::default()
    };
    Config::resolve(recipe).unwrap().network(CLASSES, side)
}

#[test]
fn a_step_of_every_network_trains_every_parameter() {
    const SIDE: usize = 96;
    let images = |split| shapes::images(SIDE, 3, BATCH, 1, split);
    let dataset = Dataset {
        name: "shapes".into(),
        classes: (0..CLASSES).map(|class| class.to_string()).collect(),
        train: images(Split::Train),
        test: images(Split::Test),
        skipped: vec![],
        found: Found::default(),
    };
    let gpu = gpu();
    // Without weight decay, only gradients change a weight.
    let options =
        TrainOptions { epochs: 2, batch: BATCH, weight_decay: 0.0, ..TrainOptions::default() };
    for arch in Arch::names() {
        for way in WAYS {
            let network = network(arch, way, SIDE);
            let mut trainer = Trainer::new(&gpu, &network, &dataset, options).unwrap();
            let before = trainer.arrays(false).unwrap();
            let Reached::EpochEnd(scores) = trainer.steps(1, |_| {}).unwrap() else {
                panic!("two images make one step");
            };
            assert_eq!(scores.losses.len(), network.blocks.len());
            for loss in scores.losses {
                assert!(loss.is_finite() && loss > 0.0, "{arch}, {way:?}: a loss of {loss}");
            }
            for (name, array) in trainer.arrays(false).unwrap() {
                assert_ne!(array.values, before[&name].values, "{arch}, {way:?}: {name}");
            }
        }
    }
}

/// An eighth of the width, but at least 4 channels.
fn divide(width: &mut usize) {
    *width = (*width / 8).max(4);
}

/// Divides the widths of a layer, and of the layers inside it.
fn narrow(layer: &mut Layer) {
    match layer {
        Layer::Conv2d { out: width, .. } | Layer::SqueezeExcite { hidden: width, .. } => {
            divide(width);
        }
        Layer::Group(layers) | Layer::Frozen(layers) => layers.iter_mut().for_each(narrow),
        Layer::Residual { body, shortcut } => body.iter_mut().chain(shortcut).for_each(narrow),
        _ => {}
    }
}

/// The same network at an eighth of the width.
fn narrowed(arch: &str, way: (Method, Partition), side: usize) -> Network {
    let mut narrowed = network(arch, way, side);
    narrowed.blocks.iter_mut().flat_map(|block| &mut block.layers).for_each(narrow);
    if let Head::Classifier { hidden, .. } = &mut narrowed.head {
        divide(hidden);
    }
    narrowed
}

/// Compares every op of a training step alone with the reference, by [`Pair::step`]. Also compares each
/// block's gradient after a whole step with that of a whole step in the reference: there a value may be
/// on the other side of a kink of an activation, which changes a gradient little.
fn check_narrowed(arch: &str) {
    let gpu = gpu();
    for (side, precision) in [(32, Precision::F32), (96, Precision::F32), (32, Precision::F16)] {
        if !precisions(&gpu).contains(&precision) {
            continue;
        }
        for way in WAYS {
            let setup = |precision| Setup {
                normalize: Normalize { mean: [0.5; 4], std: [0.25; 4] },
                train: Some(Feed { batch: BATCH, resident: BATCH, stored: [side; 2] }),
                adamw: ADAMW,
                precision,
                ..Setup::new(Shape::new(1, side, side, 3), &TrainOptions::default())
            };
            let network = narrowed(arch, way, side);
            let [built, exact] =
                [precision, Precision::F32].map(|p| build(&network, &setup(p)).unwrap());
            let options = SessionOptions { checked: true, ..SessionOptions::default() };
            let mut pair = Pair::new(Session::new(&gpu, built.program.clone(), options).unwrap());
            pair.numerics.follow = true;
            // In a narrow batch norm, sums may be a ten-thousandth of their terms.
            pair.numerics.tolerance = 2e-4;
            let inputs = Inputs::new(&built, Augment::default());
            inputs.floats.iter().for_each(|(id, values)| pair.set(*id, values));
            inputs.words.iter().for_each(|(id, values)| pair.set_words(*id, values));
            let train = exact.train.as_ref().unwrap();
            let reference = inputs.run(&exact, train, None);
            let mut updates = 0;
            for (index, op) in built.program.ops().iter().enumerate() {
                let label = format!("{arch}, {side} px, {way:?}, {precision:?}, op {index}");
                if let Op::AdamW(ops::AdamW { grads, scale, .. }) = &op.op {
                    let (mut off, mut length) = (0.0, 0.0);
                    for id in built.program.members(*grads) {
                        for (a, b) in pair.numerics.values[&id].iter().zip(reference.get(id)) {
                            let a = a / f64::from(*scale);
                            off += (a - b) * (a - b);
                            length += b * b;
                        }
                    }
                    let off = f64::sqrt(off / length);
                    let allowed = match precision {
                        Precision::F32 => GRADIENT,
                        Precision::F16 if arch == "cnn" => HALF_GRADIENT,
                        // Batch norm over a few values amplifies their rounding without bound.
                        Precision::F16 => f64::INFINITY,
                    };
                    assert!(off <= allowed, "{label}: the gradient is off by {off:.1e}");
                    updates += 1;
                }
                pair.step(index, &label);
            }
            assert_eq!(updates, built.blocks.len());
        }
    }
}

#[test]
fn every_op_of_a_narrow_cnn_matches_on_the_device() {
    check_narrowed("cnn");
}

#[test]
fn every_op_of_a_narrow_resnet_matches_on_the_device() {
    check_narrowed("resnet18");
}

#[test]
fn every_op_of_narrow_small_mobilenets_matches_on_the_device() {
    check_narrowed("mobilenet-v3-small");
}

#[test]
fn every_op_of_narrow_large_mobilenets_matches_on_the_device() {
    check_narrowed("mobilenet-v3-large");
}
