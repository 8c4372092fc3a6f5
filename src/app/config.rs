//! The options of a run as the command line and recipes give them, and the effective configuration
//! that they resolve to.

mod blocks;
mod declare;
mod head;
mod options;
mod values;

pub use head::{SHARE, affordable};
pub use options::{Config, FreezeOptions, NetworkOptions, Recipe, StepOptions};
pub use values::{Batch, Start, one_of};

use std::path::Path;

use crate::base::choice::{Choice, choice};
use crate::base::files::read_text;
use crate::base::shape::Shape;
use crate::base::suggest;
use crate::data::{self, Dataset};
use crate::net::augment::Augment;
use crate::net::layers::{self, Goodness, Head, Network, Scale};
use crate::net::models::{Arch, Stem};
use crate::net::options::{Partition, TrainOptions};
use crate::train::trainer;
use crate::{Error, Result};

choice! {
    /// How a network is trained.
    pub enum Method {
        /// Scalable Forward-Forward: each block by its own goodness.
        Sff = "sff",
        /// Backpropagation through the whole network, from a linear layer.
        Bp = "bp",
    }
}

impl Recipe {
    /// Reads a recipe, or the `config.toml` of a run.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Corrupt`] with the number of the line that is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        toml::from_str(&text).map_err(|e| {
            let start = e.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text[..start].matches('\n').count();
            Error::corrupt(path, format!("line {line}: {}", suggest::serde_message(e.message())))
        })
    }

    /// These options for a trial of two steps.
    pub fn shortened(self) -> Self {
        let few = 2 * match self.batch {
            Some(Batch::Images(images)) => images,
            _ => 64,
        };
        let train_limit = Some(self.train_limit.map_or(few, |limit| limit.min(few)));
        Self { epochs: Some(1), train_limit, test_limit: Some(64), ..self }
    }

    /// The options without those that hold for this machine only and change no result.
    pub fn portable(self) -> Self {
        Self { data: None, strict: None, photo_cache: None, ..self }
    }

    /// Names of the options that are given here and differ from those of a run.
    pub fn conflicts(&self, config: &Config) -> Vec<&'static str> {
        self.differing(&config.recipe())
    }
}

/// What the names in a configuration stand for, looked up once.
#[derive(Clone, PartialEq, Debug)]
struct Checked {
    arch: Arch,
    /// Which blocks of the partition the cuts name.
    starts: Vec<usize>,
    /// How many blocks, or layers of a single block, are not trained.
    frozen: usize,
}

/// Longest side of a network's input in pixels, for options and for model files.
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
    /// Fills in defaults and checks names. [`Batch::Auto`] becomes the default batch size here;
    /// [`crate::app::run::configure`] replaces it by one that fits the device.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown architecture or block, and for values out of range.
    pub fn resolve(recipe: Recipe) -> Result<Self> {
        let unknown =
            |name: &String| Error::usage(suggest::unknown("architecture", name, &Arch::names()));
        let arch = match &recipe.arch {
            Some(name) => Arch::named(name).ok_or_else(|| unknown(name))?,
            None => Arch::Cnn,
        };
        let batch = recipe.batch.filter(|batch| *batch != Batch::Auto);
        let given = Recipe { batch, ..recipe };
        let partition = given.partition;
        let mut config = Self::of(given, Checked { arch, starts: Vec::new(), frozen: 0 });
        config.check_widths()?;
        config.complete_head()?;
        config.augment().check()?;
        if let Some(input) = config.image_size.filter(|side| !(1..=LARGEST_INPUT).contains(side)) {
            return Err(Error::usage(format!(
                "--image-size must be 1 to {LARGEST_INPUT} pixels, not {input}"
            )));
        }
        if config.test_every == 0 {
            return Err(Error::usage("--test-every must be at least 1"));
        }
        if config.method == Method::Bp && partition.is_some_and(|p| p != Partition::Whole) {
            return Err(Error::usage(
                "--method bp trains the whole network as one: leave --partition out",
            ));
        }
        config.checked.starts = config.starts()?;
        config.checked.frozen = config.frozen()?;
        Ok(config)
    }

    fn check_widths(&self) -> Result<()> {
        if self.widths.is_empty() || self.widths.iter().any(|w| *w == 0 || *w > 65_536) {
            return Err(Error::usage(
                "--widths needs one number of channels or more, each 1 to 65536",
            ));
        }
        Ok(())
    }

    /// Checks the options of the goodness heads, and fills in the rest with those of a full 5×5 head.
    /// If none is given, the head of a network other than the cnn stays open until the image size is
    /// known.
    fn complete_head(&mut self) -> Result<()> {
        let Self { aux_kernel, aux_separable, aux_pool, .. } = *self;
        let (kernel, separable) = (aux_kernel.unwrap_or(5), aux_separable.unwrap_or(false));
        if kernel.is_multiple_of(2) || kernel > 31 {
            return Err(Error::usage(format!(
                "--aux-kernel must be odd, at most 31, not {kernel}"
            )));
        }
        if separable && kernel == 1 {
            return Err(Error::usage("--aux-separable needs an --aux-kernel of 3 or more"));
        }
        if let Scale::Fixed(scale) = self.aux_scale
            && !(scale > 0.0 && scale.is_finite())
        {
            return Err(Error::usage(format!("--aux-scale must be above 0, not {scale}")));
        }
        let open = (aux_kernel, aux_separable, aux_pool) == (None, None, None)
            && self.checked.arch != Arch::Cnn
            && self.method == Method::Sff;
        if !open {
            self.aux_kernel = Some(kernel);
            self.aux_separable = Some(separable);
            self.aux_pool = Some(aux_pool.unwrap_or(0));
        }
        Ok(())
    }

    /// Reads the configuration of a run.
    ///
    /// # Errors
    /// As [`Recipe::read`] and [`Config::resolve`].
    pub fn read(path: &Path) -> Result<Self> {
        Self::resolve(Recipe::read(path)?)
    }

    /// The configuration as TOML, which [`Recipe::read`] reads.
    ///
    /// # Errors
    /// [`Error::Usage`] if a value cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(&self.recipe())
            .map_err(|e| Error::usage(format!("this configuration cannot be saved: {e}")))
    }

    /// The images to load.
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
            batch: match self.batch {
                Some(Batch::Images(images)) => images,
                Some(Batch::Auto) | None => BATCH,
            },
            lr: self.lr,
            weight_decay: self.weight_decay,
            schedule: self.schedule,
            seed: self.seed,
            augment: self.augment(),
            input: self.image_size,
            memory: self.memory.map(|size| size.0),
            recompute: self.recompute,
            precision: self.precision,
            window: self.window,
            debug: false,
            fault: None,
        }
    }

    fn augment(&self) -> Augment {
        Augment {
            flip: self.flip,
            crop: self.crop,
            random_resized_crop: self.random_resized_crop,
            jitter: self.jitter,
            cutout: self.cutout,
            mixup: self.mixup,
        }
    }

    /// The shape of one image as the network's input.
    pub fn image(&self, dataset: &Dataset) -> Shape {
        trainer::image(&self.training(), dataset)
    }

    /// The network for a number of classes, and for images with `side` × `side` pixels.
    pub fn network(&self, classes: usize, side: usize) -> Network {
        let mut blocks = self.blocks(self.stem.unwrap_or(Stem::for_side(side)), self.partition);
        let Checked { arch, frozen, .. } = self.checked;
        if frozen > 0 {
            blocks = layers::freeze(blocks, frozen);
        }
        let mut network = Network { blocks, head: arch.classifier(), classes };
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

    /// This configuration with a batch size: the given one, or the default for `images` training
    /// images, which is at most their number.
    pub fn batched(&self, images: usize) -> Self {
        let default = match images > SMALL_SET {
            true => BATCH,
            false => SMALL_BATCH.min(1 << images.max(1).ilog2()),
        };
        match self.batch {
            Some(_) => self.clone(),
            None => self.with_batch(default),
        }
    }

    /// This configuration with another batch size.
    pub fn with_batch(&self, images: usize) -> Self {
        Self { batch: Some(Batch::Images(images)), ..self.clone() }
    }

    /// This configuration with the options of `recipe` that hold for this machine only: where the
    /// images are and how they are read. They change no result.
    pub fn on_machine(&self, recipe: &Recipe) -> Self {
        Self {
            data: recipe.data.clone().or_else(|| self.data.clone()),
            strict: recipe.strict.or(self.strict),
            photo_cache: recipe.photo_cache.or(self.photo_cache),
            ..self.clone()
        }
    }

    /// This configuration with the default head for these images as explicit options. Files keep
    /// them, so that a later version with other defaults builds the same network.
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
