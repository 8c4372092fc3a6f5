//! What a run is: options as the command line and recipes give them, and the effective
//! configuration that they resolve to.

mod blocks;
mod head;
mod values;

pub use head::{SHARE, affordable};
pub use values::{Batch, Start, one_of};

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::bytes::Size;
use crate::base::choice::choice;
use crate::base::files::read_text;
use crate::base::shape::Shape;
use crate::base::suggest;
use crate::data::{self, Dataset};
use crate::net::augment::Augment;
use crate::net::layers::{self, Goodness, Head, Network, Scale};
use crate::net::models::{self, Stem};
use crate::net::options::{Partition, Precision, Recompute, Schedule, TrainOptions};
use crate::train::trainer;
use crate::{Error, Result};

choice! {
    /// How a network learns.
    pub enum Method {
        /// Scalable Forward-Forward: each block by its own goodness.
        Sff = "sff",
        /// Backpropagation through the whole network, from a linear layer.
        Bp = "bp",
    }
}

/// Options of a run; what is not given has a default that may depend on the rest.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Images to train on, see `sff data list`; `folder` is for photos of your own
    /// [default: fashion-mnist]
    #[arg(long)]
    pub dataset: Option<String>,
    /// Folder with the data set's files [default: looked for in datasets/ and /usr/share/datasets]
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Use only these classes, in this order: numbers from 0, ranges such as 0-4, or names
    #[arg(long, value_delimiter = ',', value_name = "CLASS,…")]
    pub classes: Option<Vec<String>>,
    /// Side of the square that the network sees, in pixels: the middle of larger images, or what
    /// a crop leaves [default: all of an image; of photos 224 for imagenette-320, else 128]
    #[arg(long, value_name = "PIXELS")]
    pub image_size: Option<usize>,
    /// The share of each class's photos that is set apart to test with, if they are not given in a
    /// folder of their own [default: 0.2]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub val_fraction: Option<f32>,
    /// Stop at a corrupt photo instead of leaving it out, true or false [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub strict: Option<bool>,
    /// Keep decoded photos in memory if all of them take no more than this; otherwise they are
    /// decoded again in each epoch [default: 2GiB]
    #[arg(long, value_name = "SIZE")]
    pub photo_cache: Option<Size>,
    /// Network: cnn, resnet18, mobilenet-v3-small, mobilenet-v3-large [default: cnn]
    #[arg(long)]
    pub arch: Option<String>,
    /// Channels of each convolution of the cnn [default: 16,32,64,64]
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    pub widths: Option<Vec<usize>>,
    /// How resnet18 and mobilenet-v3 begin [default: cifar for images of up to 64 pixels]
    #[arg(long, value_parser = one_of::<Stem>())]
    pub stem: Option<Stem>,
    /// How it learns [default: sff]
    #[arg(long, value_parser = one_of::<Method>())]
    pub method: Option<Method>,
    /// What learns together [default: block]
    #[arg(long, value_parser = one_of::<Partition>())]
    pub partition: Option<Partition>,
    /// Join the blocks of the partition to larger ones: a new one begins at each of these
    #[arg(long, value_delimiter = ',', value_name = "BLOCK,…")]
    pub cuts: Option<Vec<String>>,
    /// Side of the goodness heads' convolution, in pixels; odd [default: 5, but for networks other
    /// than the cnn what keeps the heads below a fifth of the arithmetic, with the next two]
    #[arg(long, value_name = "K")]
    pub aux_kernel: Option<usize>,
    /// Make it a convolution of each channel by itself and a 1×1 one, true or false
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub aux_separable: Option<bool>,
    /// Average larger maps to this many pixels a side before it; 0 leaves them as they are
    #[arg(long, value_name = "PIXELS")]
    pub aux_pool: Option<usize>,
    /// Factor on the goodness: a number, or learnable [default: 1]
    #[arg(long, value_name = "S|learnable", allow_negative_numbers = true)]
    pub aux_scale: Option<Scale>,
    /// Passes over the training images [default: 3]
    #[arg(long, value_name = "N")]
    pub epochs: Option<u32>,
    /// Images per step; auto is the largest power of two that fits, at most 1024 [default: 64; 32 for
    /// 1,000 images or fewer, and the largest power of two for fewer than that]
    #[arg(long, value_name = "N|auto")]
    pub batch: Option<Batch>,
    /// Learning rate at the start [default: 0.003 for sff, 0.01 for bp]
    #[arg(long, allow_negative_numbers = true)]
    pub lr: Option<f32>,
    /// AdamW's weight decay, per unit of learning rate [default: 0.01]
    #[arg(long, allow_negative_numbers = true)]
    pub weight_decay: Option<f32>,
    /// How the learning rate goes on [default: cosine]
    #[arg(long, value_parser = one_of::<Schedule>())]
    pub schedule: Option<Schedule>,
    /// Decides initial weights, order of the images and augmentation [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Use only the first N training images [default: all]
    #[arg(long, value_name = "N")]
    pub train_limit: Option<usize>,
    /// Test with only the first N images [default: all]
    #[arg(long, value_name = "N")]
    pub test_limit: Option<usize>,
    /// Test after every so many epochs, and after the last [default: 1]
    #[arg(long, value_name = "EPOCHS")]
    pub test_every: Option<u32>,
    /// Mirror half of the training images, true or false [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    pub flip: Option<bool>,
    /// Shift training images by up to this many pixels, at most 127 [default: 0]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u8).range(..=127))]
    pub crop: Option<u8>,
    /// Cut a random part out of each training image and resize it: at least this share of its
    /// area, 0 for off [default: 0; without a value 0.35]
    #[arg(long, value_name = "MIN_AREA", num_args = 0..=1, default_missing_value = "0.35")]
    pub random_resized_crop: Option<f32>,
    /// Scale brightness, contrast and saturation of training images by 1 - this to 1 + this, at
    /// most 1 [default: 0]
    #[arg(long, value_name = "STRENGTH")]
    pub jitter: Option<f32>,
    /// Cut a square with this side, in pixels, out of training images [default: 0]
    #[arg(long, value_name = "PIXELS")]
    pub cutout: Option<usize>,
    /// Mix pairs of training images and their labels, in shares from Beta(ALPHA, ALPHA), 0 for
    /// off [default: 0]
    #[arg(long, value_name = "ALPHA")]
    pub mixup: Option<f32>,
    /// Take no more memory of the device than this, such as 512MiB: steps are done in
    /// micro-batches that fit
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// What backward computes again instead of keeping it; the results are the same
    /// [default: none, or cheap where that needs less; whatever fits --memory]
    #[arg(long, value_parser = one_of::<Recompute>())]
    pub recompute: Option<Recompute>,
    /// What maps and their gradients are stored in; f16 takes half the memory and needs a device
    /// that can compute with it [default: f32]
    #[arg(long, value_parser = one_of::<Precision>())]
    pub precision: Option<Precision>,
    /// How many blocks before a block its loss reaches; 0 is the paper's algorithm, as many as
    /// there are blocks is deep supervision [default: 0]
    #[arg(long, value_name = "BLOCKS")]
    pub window: Option<usize>,
    /// Begin from this model instead of random weights: the model.safetensors of a run, or what
    /// `sff import` made. Architecture, widths and stem are the model's
    #[arg(long, value_name = "MODEL")]
    pub init: Option<Start>,
    /// Do not train what comes before this block; with `--partition whole` or `--method bp` a
    /// block of the architecture, or `head` (bp)
    #[arg(long, value_name = "BLOCK")]
    pub freeze_until: Option<String>,
}

/// Applies a macro to the names of all fields of [`Recipe`], so that they are listed once.
macro_rules! for_all_options {
    ($apply:ident) => {
        $apply!(
            dataset,
            data,
            classes,
            image_size,
            val_fraction,
            strict,
            photo_cache,
            arch,
            widths,
            stem,
            method,
            partition,
            cuts,
            aux_kernel,
            aux_separable,
            aux_pool,
            aux_scale,
            epochs,
            batch,
            lr,
            weight_decay,
            schedule,
            seed,
            train_limit,
            test_limit,
            test_every,
            flip,
            crop,
            random_resized_crop,
            jitter,
            cutout,
            mixup,
            memory,
            recompute,
            precision,
            window,
            init,
            freeze_until
        )
    };
}

impl Recipe {
    /// Reads a recipe, or the `config.toml` of a run.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Corrupt`] with the line that cannot be understood.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        toml::from_str(&text).map_err(|e| {
            let start = e.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text[..start].matches('\n').count();
            Error::corrupt(path, format!("line {line}: {}", suggest::serde_message(e.message())))
        })
    }

    /// Options given in `self` replace those of `base`.
    pub fn over(self, base: Self) -> Self {
        macro_rules! pick {
            ($($field:ident),*) => { Self { $($field: self.$field.or(base.$field)),* } };
        }
        for_all_options!(pick)
    }

    /// The same for a trial of two steps.
    pub fn shortened(self) -> Self {
        let few = 2 * match self.batch {
            Some(Batch::Images(images)) => images,
            _ => 64,
        };
        let train_limit = Some(self.train_limit.map_or(few, |limit| limit.min(few)));
        Self { epochs: Some(1), train_limit, test_limit: Some(64), ..self }
    }

    /// The options without those that are of this machine only and change no result.
    pub fn portable(self) -> Self {
        Self { data: None, strict: None, photo_cache: None, ..self }
    }

    /// Names of the options that are given here and differ from those of a run.
    pub fn conflicts(&self, config: &Config) -> Vec<&'static str> {
        let theirs = config.recipe();
        macro_rules! differing {
            ($($field:ident),*) => {
                [$((stringify!($field), self.$field.is_some() && self.$field != theirs.$field)),*]
            };
        }
        let all = for_all_options!(differing);
        all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

/// The effective configuration: every option has a value.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// Name of the data set.
    pub dataset: String,
    /// Folder given for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// The classes to use, as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// Side of the images that photos become, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// The share of photos to test with, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_fraction: Option<f32>,
    /// Whether a corrupt photo stops the run, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Bytes of decoded photos to keep in memory, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub photo_cache: Option<Size>,
    /// Name of the architecture.
    pub arch: String,
    /// Channels of each convolution.
    pub widths: Vec<usize>,
    /// How the network begins, if not as suits the images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stem: Option<Stem>,
    /// How it learns.
    pub method: Method,
    /// What learns together.
    pub partition: Partition,
    /// Where the blocks begin that the partition's are joined to, but the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuts: Option<Vec<String>>,
    /// Side of the goodness heads' convolution. It and the next two depend on the images unless
    /// they are given: see [`Config::settled`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux_kernel: Option<usize>,
    /// Whether it is separable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux_separable: Option<bool>,
    /// Pixels a side that larger maps are averaged to before it; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux_pool: Option<usize>,
    /// Factor on the goodness.
    pub aux_scale: Scale,
    /// Passes over the images.
    pub epochs: u32,
    /// Images per step. It depends on how many images there are unless it is given: see
    /// [`Config::batched`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Learning rate at the start.
    pub lr: f32,
    /// AdamW's weight decay.
    pub weight_decay: f32,
    /// How the learning rate goes on.
    pub schedule: Schedule,
    /// Decides everything random.
    pub seed: u64,
    /// Use only the first so many training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_limit: Option<usize>,
    /// Test with only the first so many images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_limit: Option<usize>,
    /// Epochs between tests.
    pub test_every: u32,
    /// How training images are changed.
    #[serde(flatten)]
    pub augment: Augment,
    /// Most bytes to take of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// What backward computes again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recompute: Option<Recompute>,
    /// What maps are stored in.
    pub precision: Precision,
    /// How many blocks before a block its loss reaches.
    pub window: usize,
    /// The first block that is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze_until: Option<String>,
    /// The model that it began from. In TOML a table, which comes last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<Start>,
}

/// Longest side of what a network sees, as model files have it.
pub const LARGEST_INPUT: usize = 4096;

/// Default batch size.
const BATCH: usize = 64;
/// Training images up to which the default batch size is [`SMALL_BATCH`] or less.
const SMALL_SET: usize = 1000;
/// Largest default batch size for a small training set.
const SMALL_BATCH: usize = 32;

/// Bytes of decoded photos that are kept in memory.
const PHOTO_CACHE: usize = 2 << 30;

impl Config {
    /// Fills in defaults and checks names. [`Batch::Auto`] becomes the default here: what fits
    /// is known to [`crate::app::run::configure`].
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown architecture or block, or impossible widths.
    pub fn resolve(recipe: Recipe) -> Result<Self> {
        let arch = recipe.arch.unwrap_or_else(|| "cnn".into());
        if !models::NAMES.contains(&arch.as_str()) {
            return Err(Error::Usage(suggest::unknown("architecture", &arch, models::NAMES)));
        }
        let method = recipe.method.unwrap_or(Method::Sff);
        let widths = recipe.widths.unwrap_or_else(|| models::CNN_WIDTHS.to_vec());
        if widths.is_empty() || widths.iter().any(|w| *w == 0 || *w > 65_536) {
            return Err(Error::Usage(
                "--widths needs one number of channels or more, each 1 to 65536".into(),
            ));
        }
        let Recipe { aux_kernel, aux_separable, aux_pool, .. } = recipe;
        // What is given in part is completed to the plainest head.
        let open = (aux_kernel, aux_separable, aux_pool) == (None, None, None)
            && arch != "cnn"
            && method == Method::Sff;
        let (kernel, separable) = (aux_kernel.unwrap_or(5), aux_separable.unwrap_or(false));
        if kernel.is_multiple_of(2) || kernel > 31 {
            return Err(Error::Usage(format!(
                "--aux-kernel must be odd, at most 31, not {kernel}"
            )));
        }
        if separable && kernel == 1 {
            return Err(Error::Usage("--aux-separable needs an --aux-kernel of 3 or more".into()));
        }
        if let Some(Scale::Fixed(scale)) = recipe.aux_scale
            && !(scale > 0.0 && scale.is_finite())
        {
            return Err(Error::Usage(format!("--aux-scale must be above 0, not {scale}")));
        }
        let augment = Augment {
            flip: recipe.flip.unwrap_or(false),
            crop: recipe.crop.unwrap_or(0),
            random_resized_crop: recipe.random_resized_crop.unwrap_or(0.0),
            jitter: recipe.jitter.unwrap_or(0.0),
            cutout: recipe.cutout.unwrap_or(0),
            mixup: recipe.mixup.unwrap_or(0.0),
        };
        augment.check()?;
        if let Some(input) = recipe.image_size.filter(|side| !(1..=LARGEST_INPUT).contains(side)) {
            return Err(Error::Usage(format!(
                "--image-size must be 1 to {LARGEST_INPUT} pixels, not {input}"
            )));
        }
        let batch = match recipe.batch {
            Some(Batch::Images(images)) => Some(images),
            Some(Batch::Auto) | None => None,
        };
        if recipe.test_every == Some(0) {
            return Err(Error::Usage("--test-every must be at least 1".into()));
        }
        // Backpropagation has one loss, so it trains the network as one block.
        let partition = match method {
            Method::Sff => recipe.partition.unwrap_or(Partition::Block),
            Method::Bp => Partition::Whole,
        };
        if method == Method::Bp && recipe.partition.is_some_and(|p| p != Partition::Whole) {
            return Err(Error::Usage(
                "--method bp trains the whole network as one: leave --partition out".into(),
            ));
        }
        let config = Self {
            dataset: recipe.dataset.unwrap_or_else(|| "fashion-mnist".into()),
            data: recipe.data,
            classes: recipe.classes,
            image_size: recipe.image_size,
            val_fraction: recipe.val_fraction,
            strict: recipe.strict,
            photo_cache: recipe.photo_cache,
            arch,
            widths,
            stem: recipe.stem,
            method,
            partition,
            cuts: recipe.cuts,
            aux_kernel: (!open).then_some(kernel),
            aux_separable: (!open).then_some(separable),
            aux_pool: (!open).then_some(aux_pool.unwrap_or(0)),
            aux_scale: recipe.aux_scale.unwrap_or(Scale::Fixed(1.0)),
            epochs: recipe.epochs.unwrap_or(3),
            batch,
            lr: recipe.lr.unwrap_or(if method == Method::Sff { 3e-3 } else { 1e-2 }),
            weight_decay: recipe.weight_decay.unwrap_or(1e-2),
            schedule: recipe.schedule.unwrap_or(Schedule::Cosine),
            seed: recipe.seed.unwrap_or(0),
            train_limit: recipe.train_limit,
            test_limit: recipe.test_limit,
            test_every: recipe.test_every.unwrap_or(1),
            augment,
            memory: recipe.memory,
            recompute: recipe.recompute,
            precision: recipe.precision.unwrap_or_default(),
            window: recipe.window.unwrap_or(0),
            freeze_until: recipe.freeze_until,
            init: recipe.init,
        };
        config.starts()?;
        config.frozen()?;
        Ok(config)
    }

    /// Reads the configuration of a run.
    ///
    /// # Errors
    /// As [`Recipe::read`] and [`Config::resolve`].
    pub fn read(path: &Path) -> Result<Self> {
        Self::resolve(Recipe::read(path)?)
    }

    /// The same as options.
    pub fn recipe(&self) -> Recipe {
        let c = self.clone();
        Recipe {
            dataset: Some(c.dataset),
            data: c.data,
            classes: c.classes,
            image_size: c.image_size,
            val_fraction: c.val_fraction,
            strict: c.strict,
            photo_cache: c.photo_cache,
            arch: Some(c.arch),
            widths: Some(c.widths),
            stem: c.stem,
            method: Some(c.method),
            partition: Some(c.partition),
            cuts: c.cuts,
            aux_kernel: c.aux_kernel,
            aux_separable: c.aux_separable,
            aux_pool: c.aux_pool,
            aux_scale: Some(c.aux_scale),
            epochs: Some(c.epochs),
            batch: c.batch.map(Batch::Images),
            lr: Some(c.lr),
            weight_decay: Some(c.weight_decay),
            schedule: Some(c.schedule),
            seed: Some(c.seed),
            train_limit: c.train_limit,
            test_limit: c.test_limit,
            test_every: Some(c.test_every),
            flip: Some(c.augment.flip),
            crop: Some(c.augment.crop),
            random_resized_crop: Some(c.augment.random_resized_crop),
            jitter: Some(c.augment.jitter),
            cutout: Some(c.augment.cutout),
            mixup: Some(c.augment.mixup),
            memory: c.memory,
            recompute: c.recompute,
            precision: Some(c.precision),
            window: Some(c.window),
            init: c.init,
            freeze_until: c.freeze_until,
        }
    }

    /// As TOML, readable as a recipe.
    ///
    /// # Errors
    /// [`Error::Usage`] if a value has no form in TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|e| Error::Usage(format!("this configuration cannot be saved: {e}")))
    }

    /// What to load.
    pub fn request(&self) -> data::Request {
        data::Request {
            name: self.dataset.clone(),
            folder: self.data.clone(),
            train_limit: self.train_limit,
            test_limit: self.test_limit,
            seed: self.seed,
            classes: self.classes.clone(),
            image_size: self.image_size,
            val_fraction: self.val_fraction,
            photo_cache: self.photo_cache.map_or(PHOTO_CACHE, |size| size.0),
            strict: self.strict.unwrap_or(false),
            test_only: false,
            measured: None,
        }
    }

    /// How to train.
    pub fn training(&self) -> TrainOptions {
        TrainOptions {
            epochs: self.epochs,
            batch: self.batch.unwrap_or(BATCH),
            lr: self.lr,
            weight_decay: self.weight_decay,
            schedule: self.schedule,
            seed: self.seed,
            augment: self.augment,
            input: self.image_size,
            memory: self.memory.map(|size| size.0),
            recompute: self.recompute,
            precision: self.precision,
            window: self.window,
            debug: false,
            fault: None,
        }
    }

    /// What the network sees of the images: one, in the network's size.
    pub fn image(&self, dataset: &Dataset) -> Shape {
        trainer::image(&self.training(), dataset)
    }

    /// The network for so many classes, and images with sides of so many pixels.
    pub fn network(&self, classes: usize, side: usize) -> Network {
        let mut blocks = self.blocks(self.stem.unwrap_or(Stem::suiting(side)), self.partition);
        // `resolve` has called `frozen` and returned its error; nothing here changes its fields later.
        let frozen = self.frozen().expect("`resolve` refuses other blocks");
        if frozen > 0 {
            blocks = layers::freeze(blocks, frozen);
        }
        let mut network = Network { blocks, head: models::classifier(&self.arch), classes };
        if self.method == Method::Sff {
            let head = self.given_head();
            let head = head.unwrap_or_else(|| affordable(&network, side, self.aux_scale));
            network.head = Head::Goodness(head);
        }
        network
    }

    fn given_head(&self) -> Option<Goodness> {
        let (kernel, separable) = (self.aux_kernel?, self.aux_separable?);
        let pool = self.aux_pool.filter(|side| *side > 0);
        Some(Goodness { kernel, separable, pool, scale: self.aux_scale })
    }

    /// This configuration with a batch size: the given one, else the default for `images` training
    /// images, which is never larger than they are.
    pub fn batched(&self, images: usize) -> Self {
        let default = match images > SMALL_SET {
            true => BATCH,
            false => SMALL_BATCH.min(1 << images.max(1).ilog2()),
        };
        Self { batch: self.batch.or(Some(default)), ..self.clone() }
    }

    /// The same with what depends on the images: options that files then keep, so that other
    /// defaults in a later version leave a model what it is.
    pub fn settled(&self, classes: usize, side: usize) -> Self {
        let Head::Goodness(head) = self.network(classes, side).head else { return self.clone() };
        Self {
            aux_kernel: Some(head.kernel),
            aux_separable: Some(head.separable),
            aux_pool: Some(head.pool.unwrap_or(0)),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests;
