//! What a run is: options as the command line and recipes give them, and the effective
//! configuration that they resolve to.

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
    /// How a network learns.
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
    /// [`Error::Io`], or [`Error::Corrupt`] with the line that cannot be understood.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        toml::from_str(&text).map_err(|e| {
            let start = e.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text[..start].matches('\n').count();
            Error::corrupt(path, format!("line {line}: {}", suggest::serde_message(e.message())))
        })
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
        self.differing(&config.recipe())
    }
}

/// What the names in a configuration stand for, so that nobody has to look them up again.
#[derive(Clone, PartialEq, Debug)]
struct Checked {
    arch: Arch,
    /// Which blocks of the partition the cuts name.
    starts: Vec<usize>,
    /// How many blocks, or layers of a single block, are not trained.
    frozen: usize,
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
        let unknown =
            |name: &String| Error::Usage(suggest::unknown("architecture", name, &Arch::names()));
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
            return Err(Error::Usage(format!(
                "--image-size must be 1 to {LARGEST_INPUT} pixels, not {input}"
            )));
        }
        if config.test_every == 0 {
            return Err(Error::Usage("--test-every must be at least 1".into()));
        }
        if config.method == Method::Bp && partition.is_some_and(|p| p != Partition::Whole) {
            return Err(Error::Usage(
                "--method bp trains the whole network as one: leave --partition out".into(),
            ));
        }
        config.checked.starts = config.starts()?;
        config.checked.frozen = config.frozen()?;
        Ok(config)
    }

    fn check_widths(&self) -> Result<()> {
        if self.widths.is_empty() || self.widths.iter().any(|w| *w == 0 || *w > 65_536) {
            return Err(Error::Usage(
                "--widths needs one number of channels or more, each 1 to 65536".into(),
            ));
        }
        Ok(())
    }

    /// Completes a head that is given in part to the plainest one, and checks it. The head stays
    /// open, until the images are known, if nothing of it is given.
    fn complete_head(&mut self) -> Result<()> {
        let Self { aux_kernel, aux_separable, aux_pool, .. } = *self;
        let (kernel, separable) = (aux_kernel.unwrap_or(5), aux_separable.unwrap_or(false));
        if kernel.is_multiple_of(2) || kernel > 31 {
            return Err(Error::Usage(format!(
                "--aux-kernel must be odd, at most 31, not {kernel}"
            )));
        }
        if separable && kernel == 1 {
            return Err(Error::Usage("--aux-separable needs an --aux-kernel of 3 or more".into()));
        }
        if let Scale::Fixed(scale) = self.aux_scale
            && !(scale > 0.0 && scale.is_finite())
        {
            return Err(Error::Usage(format!("--aux-scale must be above 0, not {scale}")));
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

    /// As TOML, readable as a recipe.
    ///
    /// # Errors
    /// [`Error::Usage`] if a value has no form in TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(&self.recipe())
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

    /// What the network sees of the images: one, in the network's size.
    pub fn image(&self, dataset: &Dataset) -> Shape {
        trainer::image(&self.training(), dataset)
    }

    /// The network for so many classes, and images with sides of so many pixels.
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

    /// This configuration with a batch size: the given one, else the default for `images` training
    /// images, which is never larger than they are.
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

    /// This configuration on the machine that `recipe` tells of: where the images are, and how
    /// they are read, which changes no result.
    pub fn on_machine(&self, recipe: &Recipe) -> Self {
        Self {
            data: recipe.data.clone().or_else(|| self.data.clone()),
            strict: recipe.strict.or(self.strict),
            photo_cache: recipe.photo_cache.or(self.photo_cache),
            ..self.clone()
        }
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
