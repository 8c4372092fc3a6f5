//! `sff train`.

use std::path::{Path, PathBuf};

use crate::app::config::{Config, Method, Recipe, one_of};
use crate::app::folder;
use crate::app::run::{self, OnOom, RunOptions};
use crate::app::signals;
use crate::base::faults::Fault;
use crate::gpu::tune::Cache;
use crate::{Error, Result};
use clap::Args;
use serde::Serialize;

use super::eval::Evaluation;
use super::progress::Progress;

#[derive(Args)]
#[command(before_help = "Examples:
  sff train --dataset fashion-mnist --partition block --epochs 3 --out runs/first
  sff train --out runs/first --resume
  sff train --recipe runs/first/config.toml --seed 1 --out runs/second
  sff train --init model.safetensors --dataset cifar10 --freeze-until layer3.0")]
pub struct Train {
    #[command(flatten)]
    recipe: Recipe,
    /// Take options from a recipe, or from a run's config.toml; options given here win
    #[arg(long = "recipe", value_name = "FILE")]
    recipe_file: Option<PathBuf>,
    /// Run folder [default: runs/DATASET-ARCH-METHOD-PARTITION]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Resume the run in the folder; if there is none and options are given, start one
    #[arg(long)]
    resume: bool,
    /// Steps between checkpoints within an epoch; there is always one after an epoch
    #[arg(long, value_name = "N", default_value_t = 1000)]
    save_steps: usize,
    /// What to do when the device has no memory left: stop, or continue from the last checkpoint with
    /// smaller micro-batches, each of which batch norm sees alone
    #[arg(long, value_name = "stop|shrink", default_value = "stop", hide_possible_values = true, value_parser = one_of::<OnOom>())]
    on_oom: OnOom,
    /// Check every tensor of every step for NaN and infinity and, for small networks, compare every op
    /// with a float64 reference; slow
    #[arg(long)]
    debug_numerics: bool,
    /// Inject a fault before a step: lost, memory or stall, such as lost@5
    #[arg(long, hide = true, value_name = "FAULT@STEP")]
    inject_fault: Option<Fault>,
    /// Show no progress: only warnings, and the result
    #[arg(long)]
    quiet: bool,
    /// Print the result as JSON: the run folder, and what `sff eval --json` prints
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: super::DeviceArg,
    #[command(flatten)]
    tune: super::TuneArg,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    folder: &'a Path,
    #[serde(flatten)]
    report: Evaluation,
}

impl Train {
    pub fn run(self) -> Result<()> {
        if self.save_steps == 0 {
            return Err(Error::usage("--save-steps must be at least 1"));
        }
        // Without options, or with options of this machine only (such as where the images are), `--resume`
        // starts no new run.
        let only_resume = self.resume
            && self.recipe_file.is_none()
            && self.recipe.clone().portable() == Recipe::default();
        let recipe = match &self.recipe_file {
            Some(file) => self.recipe.over(Recipe::read(file)?),
            None => self.recipe,
        };
        let folder = match self.out {
            Some(folder) => folder,
            None => default_folder(&Config::resolve(run::inherit(recipe.clone())?)?),
        };
        if only_resume {
            folder::must_exist(&folder)?;
        }
        let gpu = self.device.open()?;
        let mut options = RunOptions {
            save_steps: self.save_steps,
            on_oom: self.on_oom,
            debug: self.debug_numerics,
            fault: self.inject_fault,
            tune: self.tune.tune,
            cache: Cache::of_user(),
            ..RunOptions::new(folder, self.resume)
        };
        let config = run::configure(recipe, &options, &gpu)?;
        options.interrupt = signals::interrupt()?;
        let mut progress = Progress::new(&gpu, &config, &options.folder, self.quiet);
        let result = run::train(&gpu, &config, &options, &mut progress);
        progress.end();
        let records = result?;
        let last = records.last().and_then(|record| record.test.as_ref());
        let last = last.ok_or_else(|| Error::usage("this run has no epochs"))?;
        if self.json {
            let (folder, report) = (options.folder.as_path(), last.clone().into());
            return super::print_json(&Json { folder, report });
        }
        super::print(&super::progress::table(last, progress.blocks()))?;
        super::print(&format!("saved to {}", options.folder.display()))
    }
}

fn default_folder(config: &Config) -> PathBuf {
    let Config { dataset, arch, .. } = config;
    let name = match config.method {
        Method::Bp => format!("{dataset}-{arch}-bp"),
        Method::Sff => {
            format!("{dataset}-{arch}-sff-{}", format!("{:?}", config.partition).to_lowercase())
        }
    };
    PathBuf::from("runs").join(name)
}
