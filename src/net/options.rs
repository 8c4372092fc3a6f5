//! How a network is trained.

use crate::base::choice::choice;
use crate::base::faults::Fault;
use crate::base::hint::{Hint, message};
use crate::base::shape::{Layout, Shape};
use crate::net::augment::Augment;
use crate::{Error, Result};

choice! {
    /// How a backbone is cut into blocks.
    pub enum Partition {
        /// Each convolution on its own.
        Layer = "layer",
        /// Each block of the architecture.
        Block = "block",
        /// The whole backbone as one block.
        Whole = "whole",
    }
}

choice! {
    /// What is computed again instead of kept. Results are the same, bit for bit.
    pub enum Recompute: default Cheap {
        /// Nothing: every value that backward reads is kept.
        None = "none",
        /// Outputs of batch norm (and its activation), from its input, and what squeeze-and-excitation
        /// makes of them: a pass or two over a map for each convolution that follows, and that map
        /// need not be kept.
        Cheap = "cheap",
        /// Everything inside each block of the architecture, from the block's input: a second
        /// forward pass, and only inputs of blocks are kept (Chen et al., arXiv 1604.06174).
        Block = "block",
    }
}

choice! {
    /// What maps and their gradients are stored in. Everything else is float32 in both cases: weights
    /// and their gradients and moments, statistics and means of maps, scores, losses, sums; so is all
    /// arithmetic, with values converted as they are loaded and stored.
    pub enum Precision: default F32 {
        /// float32.
        F32 = "f32",
        /// float16: half the memory. For devices that can compute with it.
        F16 = "f16",
    }
}

impl Precision {
    /// The layout of maps.
    pub const fn maps(self) -> Layout {
        match self {
            Self::F32 => Layout::Nhwc,
            Self::F16 => Layout::Half,
        }
    }

    /// The factor on the gradients of a batch, until they reach the optimiser: a power of two, so
    /// that it costs no accuracy. Gradients of the mean loss of many images with many pixels would
    /// vanish in float16, whose least value is 6e-8. With this factor they are those of the loss
    /// of one image, whatever the batch, times `IMAGE_SCALE`.
    pub fn gradient_scale(self, batch: usize) -> f32 {
        match self {
            Self::F32 => 1.0,
            Self::F16 => IMAGE_SCALE * batch.next_power_of_two() as f32,
        }
    }
}

/// Between gradients that would become zero and those that would reach 65,504, the largest
/// float16.
const IMAGE_SCALE: f32 = 256.0;

/// Images are read with at most this many channels.
pub const IMAGE_CHANNELS: usize = 4;

/// Pixels become `(value / 255 - mean) / std`, per channel.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Normalize {
    /// Per channel.
    pub mean: [f32; IMAGE_CHANNELS],
    /// Per channel.
    pub std: [f32; IMAGE_CHANNELS],
}

impl Normalize {
    /// Pixels from 0 to 1, as they are.
    pub const NONE: Self = Self { mean: [0.0; IMAGE_CHANNELS], std: [1.0; IMAGE_CHANNELS] };
}

/// Constants of AdamW (Loshchilov and Hutter, arXiv 1711.05101).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled decay of the weights, per unit of learning rate.
    pub weight_decay: f32,
}

/// Constants of the optimiser, without weight decay.
pub const ADAMW: AdamW = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };

choice! {
    /// How the learning rate goes from step to step.
    pub enum Schedule {
        /// Half a cosine, down to 0 at the last step.
        Cosine = "cosine",
        /// Always the same.
        Const = "const",
    }
}

/// How to train.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TrainOptions {
    /// Passes over the training images.
    pub epochs: u32,
    /// Images per step; images that do not fill a step sit an epoch out.
    pub batch: usize,
    /// Learning rate at the first step.
    pub lr: f32,
    /// AdamW's weight decay.
    pub weight_decay: f32,
    /// How the learning rate goes on.
    pub schedule: Schedule,
    /// Decides initial weights, order of the images and augmentation.
    pub seed: u64,
    /// How training images are changed.
    pub augment: Augment,
    /// Side of the square that the network sees, in pixels; all of a stored image if not given.
    pub input: Option<usize>,
    /// Most bytes to take of the device: batches that need more are done in micro-batches.
    pub memory: Option<usize>,
    /// What backward computes again.
    pub recompute: Option<Recompute>,
    /// What maps are stored in.
    pub precision: Precision,
    /// How many blocks before a block its loss reaches, see [`crate::compiler::program::Setup::window`].
    pub window: usize,
    /// Whether each op is compared with the reference.
    pub debug: bool,
    /// A fault to inject.
    pub fault: Option<Fault>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            epochs: 3,
            batch: 64,
            lr: 3e-3,
            weight_decay: 1e-2,
            schedule: Schedule::Cosine,
            seed: 0,
            augment: Augment::default(),
            input: None,
            memory: None,
            recompute: None,
            precision: Precision::default(),
            window: 0,
            debug: false,
            fault: None,
        }
    }
}

impl TrainOptions {
    /// Checks that they can work with `images` training images, each of which the network sees in
    /// the shape `image`.
    ///
    /// # Errors
    /// [`Error::Options`] names the option.
    pub fn check(&self, images: usize, image: Shape) -> Result<()> {
        let fail = |option, why: String| Err(Error::Options(message![Hint::Option(option), why]));
        let Self { epochs, batch, lr, weight_decay, augment, .. } = *self;
        augment.check_for([image.h, image.w])?;
        if batch == 0 || epochs == 0 {
            return Err(Error::Options(message![
                Hint::Option("batch"),
                " and ",
                Hint::Option("epochs"),
                " must be at least 1",
            ]));
        }
        if batch > images {
            return Err(Error::Options(message![
                format!(
                    "a batch of {batch} is larger than the {images} training images; use a smaller "
                ),
                Hint::Option("batch"),
            ]));
        }
        if !(lr.is_finite() && lr > 0.0) {
            return fail("lr", format!(" must be a positive number, not {lr}"));
        }
        if !(weight_decay.is_finite() && weight_decay >= 0.0) {
            return fail("weight-decay", format!(" must be 0 or more, not {weight_decay}"));
        }
        Ok(())
    }
}
