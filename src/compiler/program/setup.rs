//! Options of a program, and the tensors and ranges of ops in a built one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::Program;
use super::emit::Parameter;
use crate::base::shape::Shape;
use crate::compiler::tensor::TensorId;
use crate::net::augment::Augment;
use crate::net::layers::{Goodness, Head, Layer, Network, Scale};
use crate::net::options::{
    ADAMW, AdamW, IMAGE_CHANNELS, Normalize, Precision, Recompute, TrainOptions,
};
use crate::{Error, Result};

/// How a routine gets its images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Feed {
    /// Images per batch: of a step, or of one of its micro-batches.
    pub batch: usize,
    /// Images on the device: the whole set, or only those of a batch, which is uploaded each time.
    pub resident: usize,
    /// Height and width of the images as they are stored. They may differ from the network's
    /// input, see [`crate::net::augment`].
    pub stored: [usize; 2],
}

impl Feed {
    /// Batches of `batch` images and `partners` more, from `images` as stored. The whole set stays on the
    /// device if it has at most `max_resident` bytes.
    pub fn new(images: Shape, batch: usize, partners: usize, max_resident: usize) -> Self {
        let reads = batch + partners;
        let resident = if images.elements() <= max_resident { images.n.max(reads) } else { reads };
        Self { batch, resident, stored: [images.h, images.w] }
    }
}

/// Options of a program, besides the network.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The network's input: `(1, height, width, channels)`.
    pub image: Shape,
    /// Per-channel normalisation of the images.
    pub normalize: Normalize,
    /// Augmentation of training images.
    pub augment: Augment,
    /// Training, if wanted.
    pub train: Option<Feed>,
    /// Evaluation, if wanted.
    pub eval: Option<Feed>,
    /// Micro-batches per step, of [`Feed::batch`] images each, whose gradients are averaged. Batch norm
    /// takes its statistics from one micro-batch.
    pub micro_batches: usize,
    /// The optimiser.
    pub adamw: AdamW,
    /// What backward recomputes.
    pub recompute: Recompute,
    /// Number format of maps.
    pub precision: Precision,
    /// Number of earlier blocks that a block's loss reaches. With 0, no gradient crosses blocks (the paper's
    /// algorithm); with all, every block learns from every later loss (deep supervision).
    pub window: usize,
}

impl Setup {
    /// For training with `options` on inputs of shape `image`; without feeds and normalisation.
    pub fn new(image: Shape, options: &TrainOptions) -> Self {
        Self {
            image,
            normalize: Normalize::NONE,
            augment: options.augment,
            train: None,
            eval: None,
            micro_batches: 1,
            adamw: AdamW { weight_decay: options.weight_decay, ..ADAMW },
            recompute: options.recompute.unwrap_or_default(),
            precision: options.precision,
            window: options.window,
        }
    }
}

/// The ops that run on one batch, and the tensors that they exchange with the host.
#[derive(Clone, Debug)]
pub struct Routine {
    /// Indices of its ops; the first one reads the images.
    pub ops: Range<usize>,
    /// Images per batch.
    pub batch: usize,
    /// u8 pixels, NHWC, four to a word.
    pub pixels: TensorId,
    /// A label per image in `pixels`.
    pub all_labels: TensorId,
    /// A [`crate::net::augment::Sample`] per image of the batch; if images are mixed, one more for the
    /// partner of the last.
    pub samples: TensorId,
    /// Per-step values, see [`crate::compiler::ops::scores::STEP_WORDS`].
    pub step: TensorId,
    /// The normalised images.
    pub x: TensorId,
    /// The labels of the batch.
    pub labels: TensorId,
    /// Label and share of each image's partner, if images are mixed.
    pub partners: Option<TensorId>,
    /// Scores per class, a tensor for each block.
    pub scores: Vec<TensorId>,
    /// Loss per image, a tensor for each block.
    pub losses: Vec<TensorId>,
    /// The key of the dropout layers, if any: two random words, new for each batch.
    pub dropout_key: Option<TensorId>,
    /// With several micro-batches, a single value: 0 starts a new sum of gradients.
    pub keep: Option<TensorId>,
    /// Results of the step, see [`crate::compiler::ops::Metrics`].
    pub metrics: TensorId,
    /// Input and output (after layer norm, if any) of each block.
    pub maps: Vec<(TensorId, TensorId)>,
}

/// A program, with its routines and parameters.
#[derive(Clone, Debug)]
pub struct Built {
    /// The ops.
    pub program: Program,
    /// Forward, losses and gradients of one batch; the update too, unless gradients are summed
    /// over micro-batches.
    pub train: Option<Routine>,
    /// The update after the last micro-batch, if it is not part of `train`.
    pub update: Option<Range<usize>>,
    /// One batch of evaluation.
    pub eval: Option<Routine>,
    /// Trained tensors by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// Running mean (row 0) and variance (row 1), by the name of the batch norm.
    pub running: BTreeMap<String, TensorId>,
    /// Names of the blocks.
    pub blocks: Vec<String>,
    /// What backward recomputes.
    pub recompute: Recompute,
}

/// Checks the options of a network and the shape of its input.
pub(super) fn check(network: &Network, setup: &Setup) -> Result<()> {
    let fail = |message: String| Err(Error::Model(message));
    let image = setup.image;
    if network.blocks.is_empty() || network.blocks.iter().any(|b| b.layers.is_empty()) {
        return fail("a network needs at least one block, and each block a layer".into());
    }
    if network.classes < 2 {
        return fail(format!("a network needs at least 2 classes, not {}", network.classes));
    }
    if image.n != 1 || image.elements() == 0 || image.c > IMAGE_CHANNELS {
        return fail(format!("images of {image} are not supported: 1 to 4 channels, not empty"));
    }
    let heads: Vec<String> = match network.head {
        Head::Linear => vec!["fc".into()],
        Head::Classifier { .. } => vec!["classifier.0".into(), "classifier.3".into()],
        Head::Goodness(_) => (0..network.blocks.len())
            .flat_map(|b| [format!("aux.{b}"), format!("aux.{b}.depthwise")])
            .collect(),
    };
    let mut names = BTreeSet::from_iter(heads);
    let layers = network.blocks.iter().flat_map(|b| &b.layers);
    if let Some(twice) = layers.flat_map(Layer::names).find(|name| !names.insert(name.clone())) {
        // They would share weights, and the gradients of one would be lost.
        return fail(format!("two layers are called {twice}; rename one"));
    }
    match network.head {
        Head::Linear | Head::Classifier { .. } if network.blocks.len() != 1 => {
            fail("a linear head needs the whole network as one block".into())
        }
        Head::Linear => Ok(()),
        Head::Classifier { hidden: 0, .. } => {
            fail("the classifier needs at least one hidden value".into())
        }
        Head::Classifier { dropout, .. } if !(0.0..1.0).contains(&dropout) => fail(format!(
            "the classifier's dropout must be 0 or more and less than 1, not {dropout}"
        )),
        Head::Classifier { .. } => Ok(()),
        Head::Goodness(Goodness { kernel, separable, pool, scale }) => match scale {
            _ if kernel % 2 == 0 => {
                fail(format!("the goodness head needs an odd kernel, not {kernel}"))
            }
            _ if separable && kernel == 1 => {
                fail("a separable goodness head needs a kernel of 3 or more, not 1".into())
            }
            _ if pool == Some(0) => fail("the goodness head needs maps of at least 1 pixel".into()),
            Scale::Fixed(scale) if !(scale > 0.0 && scale.is_finite()) => {
                fail(format!("the goodness head needs a positive scale, not {scale}"))
            }
            _ => Ok(()),
        },
    }
}
