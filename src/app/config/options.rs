//! Every option of a run, once: what it is called, what it means, its default, and how the command
//! line reads it.
//!
//! An option that always has a value is written with its default, which may depend on the options
//! above it; the others stay open. The sections that have a name are taken by commands that need
//! only them.

use std::path::PathBuf;

use super::Method;
use super::declare::options;
use super::values::{Batch, Start, one_of};
use crate::base::bytes::Size;
use crate::net::layers::Scale;
use crate::net::models::{self, Stem};
use crate::net::options::{Partition, Precision, Recompute, Schedule};

options! {
    // Images to train on and to test with.
    {
        /// Images to train on, see `sff data list`; `folder` is for photos of your own
        /// [default: fashion-mnist]
        #[arg(long)]
        dataset: String = "fashion-mnist".into(),
        /// Folder with the data set's files [default: looked for in datasets/ and /usr/share/datasets]
        #[arg(long, value_name = "FOLDER")]
        data: PathBuf,
        /// Use only these classes, in this order: numbers from 0, ranges such as 0-4, or names
        #[arg(long, value_delimiter = ',', value_name = "CLASS,…")]
        classes: Vec<String>,
        /// Side of the square that the network sees, in pixels: the middle of larger images, or what
        /// a crop leaves [default: all of an image; of photos 224 for imagenette-320, else 128]
        #[arg(long, value_name = "PIXELS")]
        image_size: usize,
        /// The share of each class's photos that is set apart to test with, if they are not given in a
        /// folder of their own [default: 0.2]
        #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
        val_fraction: f32,
        /// Stop at a corrupt photo instead of leaving it out, true or false [default: false]
        #[arg(long, num_args = 0..=1, default_missing_value = "true")]
        strict: bool,
        /// Keep decoded photos in memory if all of them take no more than this; otherwise they are
        /// decoded again in each epoch [default: 2GiB]
        #[arg(long, value_name = "SIZE")]
        photo_cache: Size,
    }

    /// Which network, and which parts of it learn together.
    pub struct NetworkOptions {
        /// Network: cnn, resnet18, mobilenet-v3-small, mobilenet-v3-large [default: cnn]
        #[arg(long)]
        arch: String = "cnn".into(),
        /// Channels of each convolution of the cnn [default: 16,32,64,64]
        #[arg(long, value_delimiter = ',', value_name = "N,…")]
        widths: Vec<usize> = models::CNN_WIDTHS.to_vec(),
        /// How resnet18 and mobilenet-v3 begin [default: cifar for images of up to 64 pixels]
        #[arg(long, value_parser = one_of::<Stem>())]
        stem: Stem,
        /// How it learns [default: sff]
        #[arg(long, value_parser = one_of::<Method>())]
        method: Method = Method::Sff,
        /// What learns together [default: block]
        #[arg(long, value_parser = one_of::<Partition>())]
        partition: Partition = match method {
                Method::Sff => Partition::Block,
                // One loss trains the network as one block.
                Method::Bp => Partition::Whole,
            },
        /// Join the blocks of the partition to larger ones: a new one begins at each of these
        #[arg(long, value_delimiter = ',', value_name = "BLOCK,…")]
        cuts: Vec<String>,
        /// Side of the goodness heads' convolution, in pixels; odd [default: 5, but for networks other
        /// than the cnn what keeps the heads below a fifth of the arithmetic, with the next two]
        #[arg(long, value_name = "K")]
        aux_kernel: usize,
        /// Make it a convolution of each channel by itself and a 1×1 one, true or false
        #[arg(long, num_args = 0..=1, default_missing_value = "true")]
        aux_separable: bool,
        /// Average larger maps to this many pixels a side before it; 0 leaves them as they are
        #[arg(long, value_name = "PIXELS")]
        aux_pool: usize,
        /// Factor on the goodness: a number, or learnable [default: 1]
        #[arg(long, value_name = "S|learnable", allow_negative_numbers = true)]
        aux_scale: Scale = Scale::Fixed(1.0),
    }

    // How long to train, and in which steps.
    {
        /// Passes over the training images [default: 3]
        #[arg(long, value_name = "N")]
        epochs: u32 = 3,
        /// Images per step; auto is the largest power of two that fits, at most 1024 [default: 64; 32 for
        /// 1,000 images or fewer, and the largest power of two for fewer than that]
        #[arg(long, value_name = "N|auto")]
        batch: Batch,
        /// Learning rate at the start [default: 0.003 for sff, 0.01 for bp]
        #[arg(long, allow_negative_numbers = true)]
        lr: f32 = match method {
                Method::Sff => 3e-3,
                Method::Bp => 1e-2,
            },
        /// AdamW's weight decay, per unit of learning rate [default: 0.01]
        #[arg(long, allow_negative_numbers = true)]
        weight_decay: f32 = 1e-2,
        /// How the learning rate goes on [default: cosine]
        #[arg(long, value_parser = one_of::<Schedule>())]
        schedule: Schedule = Schedule::Cosine,
        /// Decides initial weights, order of the images and augmentation [default: 0]
        #[arg(long)]
        seed: u64 = 0,
        /// Use only the first N training images [default: all]
        #[arg(long, value_name = "N")]
        train_limit: usize,
        /// Test with only the first N images [default: all]
        #[arg(long, value_name = "N")]
        test_limit: usize,
        /// Test after every so many epochs, and after the last [default: 1]
        #[arg(long, value_name = "EPOCHS")]
        test_every: u32 = 1,
    }

    // How training images are changed, see `Augment`.
    {
        /// Mirror half of the training images, true or false [default: false]
        #[arg(long, num_args = 0..=1, default_missing_value = "true")]
        flip: bool = false,
        /// Shift training images by up to this many pixels, at most 127 [default: 0]
        #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u8).range(..=127))]
        crop: u8 = 0,
        /// Cut a random part out of each training image and resize it: at least this share of its
        /// area, 0 for off [default: 0; without a value 0.35]
        #[arg(long, value_name = "MIN_AREA", num_args = 0..=1, default_missing_value = "0.35")]
        random_resized_crop: f32 = 0.0,
        /// Scale brightness, contrast and saturation of training images by 1 - this to 1 + this, at
        /// most 1 [default: 0]
        #[arg(long, value_name = "STRENGTH")]
        jitter: f32 = 0.0,
        /// Cut a square with this side, in pixels, out of training images [default: 0]
        #[arg(long, value_name = "PIXELS")]
        cutout: usize = 0,
        /// Mix pairs of training images and their labels, in shares from Beta(ALPHA, ALPHA), 0 for
        /// off [default: 0]
        #[arg(long, value_name = "ALPHA")]
        mixup: f32 = 0.0,
    }

    // Memory.
    {
        /// Take no more memory of the device than this, such as 512MiB: steps are done in
        /// micro-batches that fit
        #[arg(long, value_name = "SIZE")]
        memory: Size,
    }

    /// How a step is computed.
    pub struct StepOptions {
        /// What backward computes again instead of keeping it; the results are the same
        /// [default: none, or cheap where that needs less; whatever fits --memory]
        #[arg(long, value_parser = one_of::<Recompute>())]
        recompute: Recompute,
        /// What maps and their gradients are stored in; f16 takes half the memory and needs a device
        /// that can compute with it [default: f32]
        #[arg(long, value_parser = one_of::<Precision>())]
        precision: Precision = Precision::default(),
        /// How many blocks before a block its loss reaches; 0 is the paper's algorithm, as many as
        /// there are blocks is deep supervision [default: 0]
        #[arg(long, value_name = "BLOCKS")]
        window: usize = 0,
    }

    // Weights to begin from.
    {
        /// Begin from this model instead of random weights: the model.safetensors of a run, or what
        /// `sff import` made. Architecture, widths and stem are the model's
        #[arg(long, value_name = "MODEL")]
        init: Start,
    }

    /// Which weights are not trained.
    pub struct FreezeOptions {
        /// Do not train what comes before this block; with `--partition whole` or `--method bp` a
        /// block of the architecture, or `head` (bp)
        #[arg(long, value_name = "BLOCK")]
        freeze_until: String,
    }
}
