//! Saving memory: recomputation, slices and arenas give the same bits, and micro-batches the same step
//! but for rounding.

use crate::common::{difference, gpu, precisions, random};
use sff::internals::base::shape::{Shape, Window};
use sff::internals::compiler::ops::{Node, Product};
use sff::internals::compiler::plan::{Limits, Plan, verify};
use sff::internals::compiler::program::{Built, Feed, Setup, build};
use sff::internals::compiler::tensor::Tensors;
use sff::internals::gpu::session::{Session, SessionOptions};
use sff::internals::net::augment::{Sample, Sizes};
use sff::internals::net::layers::{
    Activation, BatchNorm, Block, Goodness, Head, Layer, Network, Scale,
};
use sff::internals::net::models;
use sff::internals::net::options::{Normalize, Partition, Precision, Recompute, TrainOptions};

const MODES: [Recompute; 3] = [Recompute::None, Recompute::Cheap, Recompute::Block];

const CLASSIFIER: Head = Head::Classifier { hidden: 14, dropout: 0.3 };

/// Images of a step and their size; the window of the losses; the number format of maps.
#[derive(Clone, Copy)]
struct Images {
    count: usize,
    height: usize,
    width: usize,
    window: usize,
    precision: Precision,
}

const FEW: Images =
    Images { count: 12, height: 14, width: 13, window: 0, precision: Precision::F32 };

fn cnn(partition: Partition, head: Head) -> Network {
    Network { blocks: models::cnn(&[8, 12, 16, 16], partition), head, classes: 5 }
}

/// A network whose separable heads use Gram matrices, because it has more classes than channels.
fn many_classes() -> Network {
    let scale = Scale::Learnable;
    let head = Goodness { kernel: 3, separable: true, pool: Some(7), scale };
    let blocks = models::cnn(&[8; 4], Partition::Block);
    let network = Network { blocks, head: Head::Goodness(head), classes: 60 };
    let built = built(&network, FEW, Recompute::None, 1);
    let tensors = Tensors(built.program.tensors());
    let by_gram =
        |op: &&Node| op.name() == "goodness_grad" && op.product(tensors) == Some(Product::Gram);
    assert_eq!(built.program.ops().iter().filter(by_gram).count(), 2);
    network
}

/// The networks of the tests.
fn networks(partition: Partition, head: Head) -> Vec<Network> {
    let mut networks = vec![cnn(partition, head), inverted(partition, head)];
    networks.extend((partition == Partition::Block).then(many_classes));
    networks
}

/// Inverted residuals with squeeze-and-excitation, as two blocks or as one.
fn inverted(partition: Partition, head: Head) -> Network {
    let conv = |name: &str, out| Layer::Conv2d {
        name: name.into(),
        out,
        window: Window::same(1, 1),
        bias: false,
    };
    let norm = |name: &str, act| {
        let norm = BatchNorm { eps: 1e-3, momentum: 0.1, act };
        Layer::BatchNorm { name: format!("{name}_bn"), norm }
    };
    let unit = |name: &str, kernel, out, stride| {
        let window = Window::same(kernel, stride);
        let [expand, depthwise, se, project] =
            ["expand", "depthwise", "se", "project"].map(|part| format!("{name}.{part}"));
        let body = vec![
            conv(&expand, 2 * out),
            norm(&expand, Activation::HardSwish),
            Layer::DepthwiseConv2d { name: depthwise.clone(), window },
            norm(&depthwise, Activation::HardSwish),
            Layer::SqueezeExcite { name: se, hidden: 8 },
            conv(&project, out),
            norm(&project, Activation::None),
        ];
        match stride {
            1 => Layer::Group(vec![Layer::Residual { body, shortcut: vec![] }, Layer::LayerNorm]),
            _ => Layer::Group(body),
        }
    };
    let units = vec![unit("a", 3, 12, 2), unit("b", 5, 12, 1)];
    let block = |(index, layers)| Block { name: format!("{index}"), layers };
    let blocks = match partition {
        Partition::Whole => vec![block((0, units))],
        _ => units.into_iter().map(|unit| vec![unit]).enumerate().map(block).collect(),
    };
    Network { blocks, head, classes: 5 }
}

fn built(network: &Network, images: Images, recompute: Recompute, micro_batches: usize) -> Built {
    let options = TrainOptions {
        recompute: Some(recompute),
        precision: images.precision,
        window: images.window,
        ..TrainOptions::default()
    };
    let setup = Setup {
        normalize: Normalize { mean: [0.5; 4], std: [0.25; 4] },
        train: Some(Feed {
            batch: images.count / micro_batches,
            resident: images.count,
            stored: [images.height, images.width],
        }),
        micro_batches,
        ..Setup::new(Shape::new(1, images.height, images.width, 3), &options)
    };
    build(network, &setup).unwrap()
}

/// Every parameter after three steps from random weights, and the bytes of the plan.
fn train(network: &Network, recompute: Recompute, micro_batches: usize) -> (Vec<Vec<f32>>, usize) {
    train_within(network, FEW, recompute, micro_batches, Limits::NONE)
}

fn train_within(
    network: &Network,
    images: Images,
    recompute: Recompute,
    micro_batches: usize,
    limits: Limits,
) -> (Vec<Vec<f32>>, usize) {
    let built = built(network, images, recompute, micro_batches);
    let routine = built.train.as_ref().unwrap();
    let plan = Plan::new(&built.program, limits).unwrap();
    verify(&built.program, &plan).unwrap();
    let mut session = Session::new(
        &gpu(),
        built.program.clone(),
        SessionOptions { limits: Some(limits), checked: true, ..SessionOptions::default() },
    )
    .unwrap();
    assert_eq!(session.allocated(), plan.bytes as u64);
    for (seed, parameter) in built.parameters.values().enumerate() {
        let elements = built.program.tensor(parameter.value).shape.elements();
        session.write(parameter.value, &random(seed as u64, elements));
    }
    let bytes = images.count * images.height * images.width * 3;
    let pixels: Vec<u8> = (0..bytes).map(|i| (i * i % 251) as u8).collect();
    session.write_bytes(routine.pixels, &pixels);
    let labels: Vec<u32> = (0..images.count as u32).map(|i| i % 5).collect();
    session.write_bytes(routine.all_labels, bytemuck::cast_slice(&labels));
    session.write_bytes(routine.step, bytemuck::cast_slice(&[1e-2f32, 0.1, 0.001, 12.0]));
    for step in 0..3u32 {
        for micro in 0..micro_batches {
            if let Some(key) = routine.dropout_key {
                let words = [step, micro as u32];
                session.write_bytes(key, bytemuck::cast_slice(&words));
            }
            let batch = (0..routine.batch).map(|i| (micro * routine.batch + i) as u32);
            let size = [images.height, images.width];
            let sizes = Sizes { stored: size, input: size };
            let samples: Vec<Sample> = batch.map(|i| Sample::plain(i, sizes)).collect();
            session.write_bytes(routine.samples, bytemuck::cast_slice(&samples));
            if let Some(keep) = routine.keep {
                session.write_bytes(keep, bytemuck::bytes_of(&f32::from(u8::from(micro > 0))));
            }
            session.run(routine.ops.clone(), None).unwrap();
        }
        if let Some(update) = built.update.clone() {
            session.run(update, None).unwrap();
        }
    }
    let values = built.parameters.values().map(|p| session.read(p.value).unwrap()).collect();
    (values, plan.bytes)
}

#[test]
fn every_mode_of_recomputation_gives_the_same_bits_and_cheap_needs_no_more_memory() {
    let goodness = Head::goodness(3);
    for (partition, head, window, precision) in [
        (Partition::Whole, Head::Linear, 0, Precision::F32),
        (Partition::Whole, CLASSIFIER, 0, Precision::F32),
        (Partition::Whole, goodness, 0, Precision::F32),
        (Partition::Block, goodness, 0, Precision::F32),
        (Partition::Layer, goodness, 1, Precision::F32),
        (Partition::Whole, CLASSIFIER, 0, Precision::F16),
        (Partition::Block, goodness, 0, Precision::F16),
    ] {
        if !precisions(&gpu()).contains(&precision) {
            continue;
        }
        for network in networks(partition, head) {
            let images = Images { window, precision, ..FEW };
            let train = |mode| train_within(&network, images, mode, 1, Limits::NONE);
            let [none, cheap, block] = MODES.map(train);
            assert!(none.0.iter().flatten().all(|v| v.is_finite()));
            assert!(none.0 == cheap.0, "{partition:?} {head:?}: cheap differs");
            assert!(none.0 == block.0, "{partition:?} {head:?}: block differs");
            assert!(cheap.1 <= none.1, "{partition:?} {head:?}: {} {}", cheap.1, none.1);
        }
    }
}

/// Without batch norm the images of a batch are independent, so gradients summed over micro-batches are
/// those of the whole batch, but for rounding.
#[test]
fn micro_batches_add_up_to_the_whole_batch() {
    for head in [Head::Linear, Head::goodness(3)] {
        let mut network = cnn(Partition::Whole, head);
        for layer in &mut network.blocks[0].layers {
            if let Layer::Group(layers) = layer {
                let is_norm = |l: &Layer| matches!(l, Layer::BatchNorm { .. });
                layers
                    .iter_mut()
                    .filter(|l| is_norm(l))
                    .for_each(|l| *l = Layer::Activation(Activation::Relu));
            }
        }
        let (whole, whole_bytes) = train(&network, Recompute::Cheap, 1);
        for micro_batches in [2, 3, 12] {
            let (parts, bytes) = train(&network, Recompute::Cheap, micro_batches);
            assert!(bytes < whole_bytes);
            for (a, b) in whole.iter().zip(&parts) {
                let b: Vec<f64> = b.iter().map(|v| f64::from(*v)).collect();
                let worst = difference(a, &b);
                assert!(worst < 1e-4, "{head:?}, {micro_batches}: off by {worst:.1e}");
            }
        }
    }
}

/// Operands larger than the limit of a binding are processed in slices of the batch.
#[test]
fn slices_give_the_same_bits() {
    for (partition, head, precision) in [
        (Partition::Whole, Head::Linear, Precision::F32),
        (Partition::Whole, CLASSIFIER, Precision::F32),
        (Partition::Block, Head::goodness(3), Precision::F32),
        (Partition::Block, Head::goodness(3), Precision::F16),
    ] {
        if !precisions(&gpu()).contains(&precision) {
            continue;
        }
        let images = Images { count: 100, height: 31, width: 32, window: 0, precision };
        for network in networks(partition, head) {
            let (whole, _) = train_within(&network, images, Recompute::Block, 1, Limits::NONE);
            let built = built(&network, images, Recompute::Block, 1);
            let largest = |name: &str| {
                let tensors = built.program.tensors().iter().filter(|t| t.name.ends_with(name));
                tensors.map(|t| t.bytes()).max().unwrap()
            };
            // Partial sums of a weight gradient are not sliced.
            let max_binding = (largest("") / 3).max(largest("scratch"));
            assert!(max_binding < largest(""));
            let limits = Limits { max_binding, ..Limits::NONE };
            let (slices, _) = train_within(&network, images, Recompute::Block, 1, limits);
            assert!(whole == slices, "{head:?}, {precision:?}");
        }
    }
}

#[test]
fn several_arenas_give_the_same_bits() {
    let network = cnn(Partition::Block, Head::goodness(3));
    let (one, bytes) = train(&network, Recompute::Cheap, 1);
    let limits = Limits { max_buffer: bytes / 3, max_binding: bytes / 3 };
    let (several, _) = train_within(&network, FEW, Recompute::Cheap, 1, limits);
    assert!(one == several);
}
