//! Training options.

use crate::base::choice::choice;
use crate::base::faults::Fault;
use crate::base::hint::{Hint, message};
use crate::base::shape::{Layout, Shape};
use crate::net::augment::Augment;
use crate::{Error, Result};

choice! {
    /// How a backbone is cut into blocks.
    pub enum Partition {
        /// Each convolution is a block.
        Layer = "layer",
        /// Each block of the architecture is a block.
        Block = "block",
        /// The whole backbone is one block.
        Whole = "whole",
    }
}

choice! {
    /// Recomputation: which values backward computes again instead of keeping them. Results are
    /// the same to the bit.
    pub enum Recompute: default Cheap {
        /// None: every value that backward reads is kept.
        None = "none",
        /// Outputs of batch norm and its activation, from its input, and outputs of
        /// squeeze-and-excitation. It costs one or two passes over the input of each following
        /// convolution, and saves the memory of that map.
        Cheap = "cheap",
        /// Everything inside each block of the architecture, from the block's input. It costs a
        /// second forward pass, and keeps the inputs of blocks only (Chen et al., arXiv
        /// 1604.06174).
        Block = "block",
    }
}

choice! {
    /// The number format of maps and their gradients. Everything else is float32 in both cases:
    /// weights with their gradients and moments, statistics and means of maps, scores, losses,
    /// sums, and all arithmetic. Values are converted when they are loaded and stored.
    pub enum Precision: default F32 {
        /// float32.
        F32 = "f32",
        /// float16: half the memory. The device must support it.
        F16 = "f16",
    }
}

impl Precision {
    /// The layout of maps in memory.
    pub const fn maps(self) -> Layout {
        match self {
            Self::F32 => Layout::Nhwc,
            Self::F16 => Layout::Half,
        }
    }

    /// The loss scale of a batch: gradients have this factor until the optimiser divides by it. It
    /// is a power of two, so it costs no accuracy. Without it, gradients of the mean loss of many
    /// images with many pixels would underflow in float16, whose least value is 6e-8. With it, they
    /// are `IMAGE_SCALE` times those of one image's loss, for every batch.
    pub fn gradient_scale(self, batch: usize) -> f32 {
        match self {
            Self::F32 => 1.0,
            Self::F16 => IMAGE_SCALE * batch.next_power_of_two() as f32,
        }
    }
}

/// Loss scale per image: large enough that few gradients underflow in float16, small enough that
/// none reaches its largest value, 65,504.
const IMAGE_SCALE: f32 = 256.0;

/// Largest number of channels of images.
pub const IMAGE_CHANNELS: usize = 4;

/// Normalisation of pixels, per channel: `(value / 255 - mean) / std`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Normalize {
    /// Mean, for values in [0, 1].
    pub mean: [f32; IMAGE_CHANNELS],
    /// Standard deviation, for values in [0, 1].
    pub std: [f32; IMAGE_CHANNELS],
}

impl Normalize {
    /// No normalisation: values stay in [0, 1].
    pub const NONE: Self = Self { mean: [0.0; IMAGE_CHANNELS], std: [1.0; IMAGE_CHANNELS] };
}

/// Constants of AdamW (Loshchilov and Hutter, arXiv 1711.05101).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdamW {
    /// Decay rate of the first moment.
    pub beta1: f32,
    /// Decay rate of the second moment.
    pub beta2: f32,
    /// Added to the square root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay: a step multiplies weights by 1 - learning rate · this.
    pub weight_decay: f32,
}

/// Default constants of the optimiser, without weight decay.
pub const ADAMW: AdamW = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };

choice! {
    /// Schedule of the learning rate over the steps.
    pub enum Schedule {
        /// Half a cosine, from the initial rate to 0 at the last step.
        Cosine = "cosine",
        /// Constant.
        Const = "const",
    }
}

/// Options of a training run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TrainOptions {
    /// Number of passes over the training images.
    pub epochs: u32,
    /// Images per step. Images that do not fill the last step of an epoch are skipped in that
    /// epoch.
    pub batch: usize,
    /// Initial learning rate.
    pub lr: f32,
    /// AdamW's weight decay.
    pub weight_decay: f32,
    /// Schedule of the learning rate.
    pub schedule: Schedule,
    /// Seed of initial weights, the order of images, augmentation and dropout.
    pub seed: u64,
    /// Augmentation of training images.
    pub augment: Augment,
    /// Side of the network's square input, in pixels. `None` is the size of stored images.
    pub input: Option<usize>,
    /// Limit of device memory, in bytes. A batch that needs more is split into micro-batches.
    pub memory: Option<usize>,
    /// Recomputation. `None` is [`Recompute::Cheap`] or, under a memory limit, the first mode that
    /// fits.
    pub recompute: Option<Recompute>,
    /// Number format of maps.
    pub precision: Precision,
    /// Number of earlier blocks that a block's loss reaches, see
    /// [`crate::compiler::program::Setup::window`].
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
    /// Checks the options for `images` training images and a network input of shape `image`.
    ///
    /// # Errors
    /// [`Error::Usage`] names the option.
    pub fn check(&self, images: usize, image: Shape) -> Result<()> {
        let fail = |option, why: String| Err(Error::usage(message![Hint::Option(option), why]));
        let Self { epochs, batch, lr, weight_decay, augment, .. } = *self;
        augment.check_for([image.h, image.w])?;
        if batch == 0 || epochs == 0 {
            return Err(Error::usage(message![
                Hint::Option("batch"),
                " and ",
                Hint::Option("epochs"),
                " must be at least 1",
            ]));
        }
        if batch > images {
            return Err(Error::usage(message![
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
