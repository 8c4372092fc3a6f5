//! All options of a run, each once: its name, help and default, and how the command line reads it.
//!
//! An option that always has a value is declared with its default, which may depend on the options
//! above it; an option without one may stay open. A section with a name becomes a struct, for commands
//! that need only these options.

use std::path::PathBuf;

use super::Method;
use super::declare::options;
use super::values::{Batch, Start, one_of};
use crate::base::bytes::Size;
use crate::net::layers::Scale;
use crate::net::models::{self, Stem};
use crate::net::options::{Partition, Precision, Recompute, Schedule};

options! {
    // Images for training and testing.
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
        /// Side of the square that the network sees, in pixels: the middle of a larger image, or a
        /// random crop [default: the whole image; for photos 224 with imagenette-320, else 128]
        #[arg(long, value_name = "PIXELS")]
        image_size: usize,
        /// Share of each class's photos that is set apart for testing, if there is no folder with photos
        /// for testing [default: 0.2]
        #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
        val_fraction: f32,
        /// Stop at a corrupt photo instead of leaving it out, true or false [default: false]
        #[arg(long, num_args = 0..=1, default_missing_value = "true")]
        strict: bool,
        /// Keep decoded photos in memory if they take no more than this in all; otherwise decode them
        /// again in each epoch [default: 2GiB]
        #[arg(long, value_name = "SIZE")]
        photo_cache: Size,
    }

    /// Which network, and which parts of it are trained together.
    pub struct NetworkOptions {
        /// Network: cnn, resnet18, mobilenet-v3-small, mobilenet-v3-large [default: cnn]
        #[arg(long)]
        arch: String = "cnn".into(),
        /// Channels of each convolution of the cnn [default: 16,32,64,64]
        #[arg(long, value_delimiter = ',', value_name = "N,…")]
        widths: Vec<usize> = models::CNN_WIDTHS.to_vec(),
        /// The first layers of resnet18 and mobilenet-v3 [default: cifar for images of up to 64 pixels,
        /// else imagenet]
        #[arg(long, value_parser = one_of::<Stem>())]
        stem: Stem,
        /// How it is trained [default: sff]
        #[arg(long, value_parser = one_of::<Method>())]
        method: Method = Method::Sff,
        /// What is trained together [default: block]
        #[arg(long, value_parser = one_of::<Partition>())]
        partition: Partition = match method {
                Method::Sff => Partition::Block,
                // One loss trains the network as one block.
                Method::Bp => Partition::Whole,
            },
        /// Join the blocks of the partition into larger ones: a new one begins at each of these blocks
        #[arg(long, value_delimiter = ',', value_name = "BLOCK,…")]
        cuts: Vec<String>,
        /// Kernel size of the goodness heads' convolution, odd [default: 5; networks other than the cnn
        /// have heads that take at most a fifth of the arithmetic, if none of this and the next two
        /// options is given]
        #[arg(long, value_name = "K")]
        aux_kernel: usize,
        /// Make it separable: a depthwise and a 1×1 convolution, true or false
        #[arg(long, num_args = 0..=1, default_missing_value = "true")]
        aux_separable: bool,
        /// Average larger maps to this many pixels a side before it; 0 for off
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
        /// Weight decay of AdamW, multiplied by the learning rate [default: 0.01]
        #[arg(long, allow_negative_numbers = true)]
        weight_decay: f32 = 1e-2,
        /// How the learning rate changes over the run [default: cosine]
        #[arg(long, value_parser = one_of::<Schedule>())]
        schedule: Schedule = Schedule::Cosine,
        /// Seed of initial weights, the order of images and augmentation [default: 0]
        #[arg(long)]
        seed: u64 = 0,
        /// Use only the first N training images [default: all]
        #[arg(long, value_name = "N")]
        train_limit: usize,
        /// Test with only the first N images [default: all]
        #[arg(long, value_name = "N")]
        test_limit: usize,
        /// Test after every N epochs, and after the last [default: 1]
        #[arg(long, value_name = "N")]
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
        /// Scale brightness, contrast and saturation of training images by random factors from 1 - S to
        /// 1 + S, with S at most 1 [default: 0]
        #[arg(long, value_name = "S")]
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
        /// Use no more device memory than this, such as 512MiB: a step is cut into micro-batches that
        /// fit
        #[arg(long, value_name = "SIZE")]
        memory: Size,
    }

    /// How a step is computed.
    pub struct StepOptions {
        /// What backward recomputes instead of keeping it; the results are the same [default: none, or
        /// cheap where that needs less memory; with --memory, the one that fits]
        #[arg(long, value_parser = one_of::<Recompute>())]
        recompute: Recompute,
        /// Type that maps and their gradients are stored in; f16 takes half the memory and needs a device
        /// that can compute with it [default: f32]
        #[arg(long, value_parser = one_of::<Precision>())]
        precision: Precision = Precision::default(),
        /// How many earlier blocks a block's loss reaches; 0 is the paper's algorithm, all blocks is
        /// deep supervision [default: 0]
        #[arg(long, value_name = "BLOCKS")]
        window: usize = 0,
    }

    // Weights to begin from.
    {
        /// Begin from this model instead of random weights: the model.safetensors of a run, or a model
        /// made by `sff import`. Architecture, widths and stem are the model's
        #[arg(long, value_name = "MODEL")]
        init: Start,
    }

    /// Which weights are not trained.
    pub struct FreezeOptions {
        /// Do not train the blocks before this one; with `--partition whole` or `--method bp` a block
        /// of the architecture, or `head` (bp)
        #[arg(long, value_name = "BLOCK")]
        freeze_until: String,
    }
}
