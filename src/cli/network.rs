//! The network and how it would be trained, for commands that need no data.

use crate::app::config::{
    Batch, Config, FreezeOptions, Method, NetworkOptions, Recipe, StepOptions,
};
use crate::base::bytes::Size;
use crate::base::shape::Shape;
use crate::compiler::budget::Demand;
use crate::compiler::plan::Limits;
use crate::compiler::program::Built;
use crate::net::options::{Partition, Recompute};
use crate::{Error, Result};
use clap::Args;

/// A network, its images, and how it is trained.
#[derive(Args)]
pub struct NetworkArgs {
    #[command(flatten)]
    options: NetworkOptions,
    #[command(flatten)]
    freeze: FreezeOptions,
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
    #[command(flatten)]
    step: StepOptions,
}

impl NetworkArgs {
    /// The configuration of the given options.
    pub fn given(&self) -> Result<Config> {
        if self.batch == 0 {
            return Err(Error::usage("--batch must be at least 1"));
        }
        Config::resolve(Recipe::from(self.freeze.clone()).over(self.recipe()))
    }

    /// The configuration with this method, partition and recompute mode instead of the given ones,
    /// without cuts and frozen blocks.
    pub fn trained(
        &self,
        method: Method,
        partition: Partition,
        recompute: Recompute,
    ) -> Result<Config> {
        let (method, partition, recompute) = (Some(method), Some(partition), Some(recompute));
        Config::resolve(Recipe { method, partition, recompute, cuts: None, ..self.recipe() })
    }

    fn recipe(&self) -> Recipe {
        let batch = Some(Batch::Images(self.batch));
        let own = Recipe { batch, memory: self.memory, ..Recipe::default() };
        own.over(self.options.clone().into()).over(self.step.clone().into())
    }

    /// The program that `choose` builds from the demand of this training. Evaluation is part of the
    /// demand only if there is a memory budget.
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
