//! Which network to look at, and how it would be trained: for commands that need no data.

use crate::app::config::{Batch, Config, Method, Recipe, one_of};
use crate::base::bytes::Size;
use crate::base::shape::Shape;
use crate::compiler::budget::Demand;
use crate::compiler::plan::Limits;
use crate::compiler::program::Built;
use crate::net::layers::Scale;
use crate::net::models::Stem;
use crate::net::options::{Partition, Precision, Recompute};
use crate::{Error, Result};
use clap::Args;

/// A network, its images, and how it is trained.
#[derive(Args)]
pub struct NetworkArgs {
    /// Network: cnn, resnet18, mobilenet-v3-small, mobilenet-v3-large [default: cnn]
    #[arg(long)]
    pub arch: Option<String>,
    /// Channels of each convolution of the cnn [default: 16,32,64,64]
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    pub widths: Option<Vec<usize>>,
    /// How resnet18 and mobilenet-v3 begin [default: cifar for images of up to 64 pixels]
    #[arg(long, value_parser = one_of::<Stem>())]
    pub stem: Option<Stem>,
    /// Side of the images, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 32)]
    pub image: usize,
    /// Channels of the images
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub channels: usize,
    /// Images per step
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub batch: usize,
    /// Take no more memory than this, such as 512MiB: shows the micro-batch that training would
    /// use, and counts evaluation too
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// Number of classes
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub classes: usize,
    /// How it learns [default: sff]
    #[arg(long, value_parser = one_of::<Method>())]
    pub method: Option<Method>,
    /// What learns together [default: block]
    #[arg(long, value_parser = one_of::<Partition>())]
    pub partition: Option<Partition>,
    /// Join the blocks of the partition to larger ones: a new one begins at each of these
    #[arg(long, value_delimiter = ',', value_name = "BLOCK,…")]
    pub cuts: Option<Vec<String>>,
    /// Do not train what comes before this block
    #[arg(long, value_name = "BLOCK")]
    pub freeze_until: Option<String>,
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
    /// What backward computes again [default: none, or cheap where that needs less; whatever fits
    /// --memory]
    #[arg(long, value_parser = one_of::<Recompute>())]
    pub recompute: Option<Recompute>,
    /// What maps and their gradients are stored in
    #[arg(long, default_value = "f32", value_parser = one_of::<Precision>())]
    pub precision: Precision,
    /// How many blocks before a block its loss reaches
    #[arg(long, value_name = "BLOCKS", default_value_t = 0)]
    pub window: usize,
}

impl NetworkArgs {
    /// The configuration that was given.
    pub fn given(&self) -> Result<Config> {
        if self.batch == 0 {
            return Err(Error::Usage("--batch must be at least 1".into()));
        }
        let method = self.method.unwrap_or(Method::Sff);
        let config = self.config(method, self.partition, self.recompute)?;
        let (cuts, freeze_until) = (self.cuts.clone(), self.freeze_until.clone());
        Config::resolve(Recipe { cuts, freeze_until, ..config.recipe() })
    }

    /// The configuration with these in place of what was given, and blocks that are not joined or
    /// frozen.
    pub fn config(
        &self,
        method: Method,
        partition: Option<Partition>,
        recompute: Option<Recompute>,
    ) -> Result<Config> {
        Config::resolve(Recipe {
            arch: self.arch.clone(),
            widths: self.widths.clone(),
            stem: self.stem,
            method: Some(method),
            partition,
            aux_kernel: self.aux_kernel,
            aux_separable: self.aux_separable,
            aux_pool: self.aux_pool,
            aux_scale: self.aux_scale,
            batch: Some(Batch::Images(self.batch)),
            memory: self.memory,
            recompute,
            precision: Some(self.precision),
            window: Some(self.window),
            ..Recipe::default()
        })
    }

    /// The program that `choose` makes of what training would ask for.
    pub fn build(
        &self,
        config: &Config,
        limits: Limits,
        choose: impl FnOnce(&Demand) -> Result<Built>,
    ) -> Result<Built> {
        let network = config.network(self.classes, self.image);
        let image = Shape::new(1, self.image, self.image, self.channels);
        let mut demand = Demand::new(&network, image, &config.training(), limits);
        demand.test = demand.test.filter(|_| self.memory.is_some());
        choose(&demand)
    }
}
