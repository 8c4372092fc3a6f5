//! Gradients of whole programs: compared with central differences of the losses in the f64 reference;
//! no gradient flows between blocks; every op on the device matches the reference.

use std::collections::BTreeMap;

use crate::common::{Inputs, Pair, gpu};
use sff::internals::base::random::{Rng, Stream};
use sff::internals::base::shape::{Shape, Window};
use sff::internals::compiler::ops::{Node, Op, Product};
use sff::internals::compiler::program::{Built, Feed, Setup, build};
use sff::internals::compiler::tensor::Tensors;
use sff::internals::gpu::session::{Session, SessionOptions};
use sff::internals::net::augment::Augment;
use sff::internals::net::layers::{
    Activation, BatchNorm, Block, Goodness, Head, Layer, Network, Scale,
};
use sff::internals::net::options::{AdamW, Normalize, Precision, Recompute};

const BATCH: usize = 3;
const CLASSES: usize = 5;
/// An image of odd size.
const IMAGE: Shape = Shape::new(1, 11, 9, 3);
/// Height and width of the stored images.
const STORED: [usize; 2] = [14, 13];
/// Every augmentation but a shift.
const AUGMENT: Augment =
    Augment { flip: true, crop: 0, random_resized_crop: 0.2, jitter: 0.4, cutout: 3, mixup: 1.0 };
/// Number of images on the device: more than a batch.
const RESIDENT: usize = 7;

fn conv(name: &str, out: usize, window: Window, bias: bool) -> Layer {
    Layer::Conv2d { name: name.to_owned(), out, window, bias }
}

fn depthwise(name: &str, window: Window) -> Layer {
    Layer::DepthwiseConv2d { name: name.to_owned(), window }
}

fn squeeze_excite(name: &str, hidden: usize) -> Layer {
    Layer::SqueezeExcite { name: name.to_owned(), hidden }
}

fn batch_norm(name: &str, act: Activation) -> Layer {
    let norm = BatchNorm { eps: 1e-3, momentum: 0.2, act };
    Layer::BatchNorm { name: name.to_owned(), norm }
}

/// Convolutions with and without bias and stride, batch norm with and without ReLU, a max pool,
/// residuals with and without a convolution in the shortcut; an inverted residual with depthwise
/// convolutions and squeeze-and-excitation.
fn stages() -> [Vec<Layer>; 3] {
    [
        vec![
            conv("stem", 6, Window::same(3, 1), true),
            Layer::Activation(Activation::Relu),
            Layer::Residual {
                body: vec![
                    conv("a1", 5, Window::same(1, 1), false),
                    batch_norm("a1n", Activation::Relu),
                    conv("a2", 6, Window::same(3, 1), true),
                ],
                shortcut: vec![],
            },
            Layer::MaxPool(Window { kernel: 3, stride: 2, pad: 1 }),
        ],
        vec![
            // First in its block: the gradient of its input is not needed.
            Layer::Residual {
                body: vec![
                    conv("b1", 7, Window::same(3, 2), false),
                    batch_norm("b1n", Activation::None),
                    Layer::Activation(Activation::Relu),
                    conv("b2", 9, Window::same(3, 1), false),
                ],
                shortcut: vec![
                    conv("down", 9, Window { kernel: 1, stride: 2, pad: 0 }, false),
                    batch_norm("downn", Activation::None),
                ],
            },
            Layer::Activation(Activation::Relu),
            conv("last", 4, Window::same(1, 1), false),
            batch_norm("lastn", Activation::Relu),
        ],
        vec![
            squeeze_excite("first_se", 5),
            Layer::Residual {
                body: vec![
                    conv("expand", 9, Window::same(1, 1), false),
                    batch_norm("expandn", Activation::HardSwish),
                    depthwise("dw5", Window::same(5, 1)),
                    batch_norm("dw5n", Activation::HardSwish),
                    squeeze_excite("se", 7),
                    conv("project", 4, Window::same(1, 1), false),
                    batch_norm("projectn", Activation::None),
                ],
                shortcut: vec![],
            },
            Layer::LayerNorm,
            depthwise("dw3", Window::same(3, 2)),
            batch_norm("dw3n", Activation::Relu),
            Layer::Activation(Activation::HardSwish),
        ],
    ]
}

fn network(head: Head) -> Network {
    let block = |(name, layers): (&str, Vec<Layer>)| Block { name: name.to_owned(), layers };
    let stages = stages();
    let names = ["first", "second", "third"];
    let blocks = match head {
        Head::Goodness(_) => names.into_iter().zip(stages).map(block).collect(),
        Head::Linear | Head::Classifier { .. } => vec![block(("whole", stages.concat()))],
    };
    Network { blocks, head, classes: CLASSES }
}

const GOODNESS: Head =
    Head::Goodness(Goodness { kernel: 3, separable: false, pool: None, scale: Scale::Fixed(0.8) });

/// A goodness head with all options. The second block has few channels, so its goodness is computed
/// from Gram matrices.
const SEPARABLE: Head =
    Head::Goodness(Goodness { kernel: 5, separable: true, pool: Some(4), scale: Scale::Learnable });
const CLASSIFIER: Head = Head::Classifier { hidden: 7, dropout: 0.3 };

fn compile(head: Head, window: usize) -> Built {
    let feed = Some(Feed { batch: BATCH, resident: RESIDENT, stored: STORED });
    let setup = Setup {
        image: IMAGE,
        normalize: Normalize { mean: [0.4, 0.5, 0.6, 0.0], std: [0.2, 0.3, 0.25, 1.0] },
        augment: AUGMENT,
        train: feed,
        eval: feed,
        micro_batches: 1,
        adamw: AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1 },
        recompute: Recompute::default(),
        precision: Precision::F32,
        window,
    };
    build(&network(head), &setup).unwrap()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Compares some gradients of each parameter with central differences of the losses that reach its
/// block.
fn check_gradients(head: Head, window: usize) {
    /// Change of a value: far above the rounding of f64, and far below the distance to most kinks.
    const CHANGE: f64 = 1e-6;
    /// Rounding of a loss of about 1, divided by the change.
    const ROUNDING: f64 = 1e-9;
    let built = compile(head, window);
    let inputs = Inputs::new(&built, AUGMENT);
    let train = built.train.as_ref().unwrap();
    let gradients = inputs.run(&built, train, None);
    let mut rng = Rng::new(2, Stream::Init, 0, 0);
    for (name, p) in &built.parameters {
        let gradient = gradients.get(p.grad);
        let largest = gradient.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        assert!(largest > 1e-4, "{name}: the gradient is too small to test");
        for _ in 0..6 {
            let at = rng.below(gradient.len() as u64) as usize;
            let loss = |by: f64| {
                let reference = inputs.run(&built, train, Some((p.value, at, by)));
                let reaching = train.losses.iter().skip(p.block).take(1 + window);
                reaching.map(|loss| mean(reference.get(*loss))).sum::<f64>()
            };
            let slope = (loss(CHANGE) - loss(-CHANGE)) / (2.0 * CHANGE);
            let off = ((slope - gradient[at]).abs() - ROUNDING) / largest;
            assert!(off <= 1e-6, "{name}[{at}] is {}, not {slope}: off by {off:.1e}", gradient[at]);
        }
    }
}

#[test]
fn gradients_of_blocks_match_central_differences() {
    check_gradients(GOODNESS, 0);
}

#[test]
fn gradients_of_windows_match_central_differences() {
    check_gradients(GOODNESS, 1);
    check_gradients(GOODNESS, 2);
}

#[test]
fn a_window_over_all_blocks_is_deep_supervision() {
    let gradients = |window| {
        let built = compile(GOODNESS, window);
        let train = built.train.as_ref().unwrap();
        let reference = Inputs::new(&built, AUGMENT).run(&built, train, None);
        let parameters = built.parameters.iter();
        let gradients = parameters.map(|(name, p)| (name.clone(), reference.get(p.grad).to_vec()));
        (gradients.collect::<BTreeMap<_, _>>(), built.program.ops().len())
    };
    let all = gradients(2);
    assert_eq!(all, gradients(3));
    assert_eq!(all, gradients(usize::MAX));
    assert_ne!(all.0, gradients(1).0);
}

#[test]
fn gradients_of_separable_heads_match_central_differences() {
    let built = compile(SEPARABLE, 0);
    let count = |gram: bool| {
        let tensors = Tensors(built.program.tensors());
        let by_gram = |op: &&Node| (op.product(tensors) == Some(Product::Gram)) == gram;
        let heads = built.program.ops().iter().filter(|op| op.name() == "goodness_grad");
        heads.filter(by_gram).count()
    };
    assert_eq!((count(true), count(false)), (1, 2));
    check_gradients(SEPARABLE, 0);
    check_gradients(SEPARABLE, 1);
}

#[test]
fn gradients_of_backpropagation_match_central_differences() {
    check_gradients(Head::Linear, 0);
    check_gradients(CLASSIFIER, 0);
}

#[test]
fn no_gradient_flows_between_blocks() {
    let built = compile(GOODNESS, 0);
    let inputs = Inputs::new(&built, AUGMENT);
    let train = built.train.as_ref().unwrap();
    let changed = |name: &str| {
        let id = built.parameters[name].value;
        inputs.run(&built, train, Some((id, 0, 0.5)))
    };
    // A change of the second block's head changes the gradients of that block only.
    let (plain, head) = (inputs.run(&built, train, None), changed("aux.1.weight"));
    for (name, p) in &built.parameters {
        let same = plain.get(p.grad) == head.get(p.grad);
        assert_eq!(same, p.block != 1, "{name}");
    }
    // Values do flow forward: they are the next block's input.
    let stem = changed("stem.weight");
    assert_ne!(plain.get(train.losses[1]), stem.get(train.losses[1]));
}

/// Compares every op of both routines on the device with the reference.
fn check_on_device(head: Head, window: usize) {
    let gpu = gpu();
    let built = compile(head, window);
    let inputs = Inputs::new(&built, AUGMENT);
    for (class, gpu) in crate::common::as_every_class(&gpu) {
        let options = SessionOptions { checked: true, ..SessionOptions::default() };
        let mut pair = Pair::new(Session::new(&gpu, built.program.clone(), options).unwrap());
        inputs.floats.iter().for_each(|(id, values)| pair.set(*id, values));
        inputs.words.iter().for_each(|(id, values)| pair.set_words(*id, values));
        let mut updates = 0;
        for (index, op) in built.program.ops().iter().enumerate() {
            pair.step(index, &format!("{head:?}, as {class}, op {index}"));
            updates += usize::from(matches!(op.op, Op::AdamW(_)));
        }
        assert_eq!(updates, built.blocks.len());
    }
}

#[test]
fn every_op_of_a_goodness_program_matches_on_the_device() {
    check_on_device(GOODNESS, 0);
    check_on_device(GOODNESS, 1);
}

#[test]
fn every_op_of_a_program_with_separable_heads_matches_on_the_device() {
    check_on_device(SEPARABLE, 1);
}

#[test]
fn every_op_of_a_backpropagation_program_matches_on_the_device() {
    check_on_device(Head::Linear, 0);
    check_on_device(CLASSIFIER, 0);
}
