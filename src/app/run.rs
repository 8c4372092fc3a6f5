//! Runs: training into a run folder, and resuming after an interruption.
//!
//! | file | content |
//! |---|---|
//! | `config.toml` | the effective configuration, also a recipe for the same run |
//! | `metrics.jsonl` | a line per epoch: losses and accuracies; the same bytes for the same seed |
//! | `timing.jsonl` | a line per epoch: seconds, waits for data, images per second |
//! | `report.html` | the same as a page, with details of the last test, see [`crate::app::pages`] |
//! | `model.safetensors` | weights, heads and running statistics, with metadata for inference |
//! | `state.safetensors` | everything that a resumed run needs besides `config.toml` |

mod begin;
mod live;
mod lock;

pub use begin::inherit;

use std::path::{Path, PathBuf};

use crate::app::config::{Batch, Config, Recipe, Start};
use crate::app::folder::{Folder, read_state};
use crate::app::pages::run::RunPage;
use crate::app::records::StateInfo;
use crate::base::choice::choice;
use crate::base::faults::Fault;
use crate::base::files::write_whole;
use crate::base::interrupt::Interrupt;
use crate::data::{self, Dataset, Identity};
use crate::gpu::device::Gpu;
use crate::gpu::tune::{self, Cache, Tune, Tuning};
use crate::net::layers::Network;
use crate::net::options::TrainOptions;
use crate::train::checkpoint::Taken;
use crate::train::metrics::{EpochRecord, Timing};
use crate::train::trainer;
use crate::train::trainer::{StepReport, Trainer};
use crate::{Error, Result};
use begin::Begin;
use live::Run;
use lock::Lock;

/// Receives the events of a run.
pub trait Observer {
    /// Weights were copied from another model.
    fn began_from(&mut self, _start: &Start, _taken: &Taken) {}
    /// The device had no memory left, as `error` says: the run starts again from its last checkpoint,
    /// or from the beginning, with a plan for `bytes` bytes.
    fn shrinks(&mut self, _error: &Error, _bytes: usize) {}
    /// The variants of all ops are about to be timed, without a time limit.
    fn tunes(&mut self) {}
    /// Variants were timed.
    fn tuned(&mut self, _tuning: &Tuning) {}
    /// Something failed that training does not depend on.
    fn warns(&mut self, _problem: &Error) {}
    /// The trainer is ready, before the first step.
    fn started(&mut self, trainer: &Trainer, resumed: bool);
    /// A step is done.
    fn step(&mut self, epoch: u32, report: &StepReport);
    /// An epoch is done and saved.
    fn epoch(&mut self, record: &EpochRecord, timing: &Timing);
}

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The run folder.
    pub folder: PathBuf,
    /// Resume the run in the folder, if there is one.
    pub resume: bool,
    /// Steps between checkpoints within an epoch.
    pub save_steps: usize,
    /// What to do when the device has no memory left.
    pub on_oom: OnOom,
    /// Ends the run after the current step, once it is requested.
    pub interrupt: Interrupt,
    /// Whether each op is compared with the reference, see [`crate::gpu::numerics`].
    pub debug: bool,
    /// The fault to inject, for tests.
    pub fault: Option<Fault>,
    /// How a new run chooses its kernels; a resumed one keeps those that it has.
    pub tune: Tune,
    /// Where the choices are stored.
    pub cache: Cache,
}

choice! {
    /// What to do when the device has no memory left.
    pub enum OnOom: default Stop {
        /// Stop; the last checkpoint stays.
        Stop = "stop",
        /// Continue from the last checkpoint with a plan for less memory: micro-batches, as with a
        /// budget. Batch norm then sees fewer images at a time.
        Shrink = "shrink",
    }
}

impl RunOptions {
    /// For a new run, or to `resume` one; choices of kernels are not stored.
    pub fn new(folder: PathBuf, resume: bool) -> Self {
        Self {
            folder,
            resume,
            save_steps: 1000,
            on_oom: OnOom::default(),
            interrupt: Interrupt::default(),
            debug: false,
            fault: None,
            tune: Tune::default(),
            cache: Cache::none(),
        }
    }
}

/// The configuration to run with: that of the run in the folder if there is one to resume, otherwise
/// that of `recipe`, with a batch size that fits `gpu` if it is `auto`.
///
/// # Errors
/// Those of loading the images if the batch size depends on them; [`Error::Usage`] if the folder holds a
/// run and `resume` is not set, if it has files of a run but no configuration, or if options contradict
/// the run. Another place of the images is no contradiction.
pub fn configure(recipe: Recipe, options: &RunOptions, gpu: &Gpu) -> Result<Config> {
    let folder = Folder(&options.folder);
    let auto = recipe.batch == Some(Batch::Auto);
    if !folder.is_used() {
        let config = Config::resolve(inherit(recipe)?)?;
        if let (Some(until), None) = (&config.freeze_until, &config.init) {
            return Err(Error::usage(format!(
                "--freeze-until {until} would keep random weights: begin from a model with --init"
            )));
        }
        return match auto {
            true => Ok(config.with_batch(largest_batch(&config, gpu)?)),
            false => Ok(config),
        };
    }
    let shown = options.folder.display();
    if !folder.config().exists() {
        return Err(Error::usage(format!(
            "{shown} holds files of a run, but no config.toml: choose another --out"
        )));
    }
    if !options.resume {
        return Err(already_holds(&options.folder));
    }
    let config = Config::read(&folder.config())?;
    // The batch was chosen when the run began.
    let recipe = if auto { Recipe { batch: None, ..recipe } } else { recipe };
    // The same path as in the run, whose checksum is kept. The file is not needed any more.
    let init = match (recipe.init.clone(), &config.init) {
        (Some(given), Some(start)) if given.path == start.path => Some(start.clone()),
        (given, _) => given,
    };
    let recipe = Recipe { init, ..recipe };
    let here = config.on_machine(&recipe);
    match recipe.portable().conflicts(&config)[..] {
        [] => Ok(here),
        ref names => Err(Error::usage(format!(
            "{shown} was started with another --{}: leave the option out to resume it, or choose another --out",
            names.join(", --").replace('_', "-")
        ))),
    }
}

fn already_holds(folder: &Path) -> Error {
    let shown = folder.display();
    Error::usage(format!(
        "{shown} already holds a run: add --resume to continue it, or choose another --out"
    ))
}

fn largest_batch(config: &Config, gpu: &Gpu) -> Result<usize> {
    let dataset = data::load(&config.request())?;
    let image = config.image(&dataset);
    let network = config.network(dataset.classes.len(), image.h);
    trainer::demand(&network, &config.training(), gpu.limits(), &dataset).largest_batch()
}

/// Trains, from the beginning or from the last checkpoint, and leaves a complete run folder. Returns the
/// records of all epochs.
///
/// # Errors
/// All errors of loading, building, training and saving, and [`Error::Usage`] if another process uses the
/// folder; [`Error::Stopped`] once training has begun: it names the last checkpoint and how to resume.
pub fn train(
    gpu: &Gpu,
    config: &Config,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<Vec<EpochRecord>> {
    let dataset = data::load(&config.request())?;
    let config = config.settled(dataset.classes.len(), config.image(&dataset).h);
    let config = config.batched(dataset.train.len());
    let identity = Identity::of(&dataset)?;
    let _lock = Lock::take(&options.folder)?;
    let folder = Folder(&options.folder);
    // Another process may have used the folder since the configuration was made.
    if folder.is_used() && !options.resume {
        return Err(already_holds(folder.0));
    }
    let mut gpu = gpu.clone();
    let (config, dataset, identity) = (&config, &dataset, &identity);
    let mut job =
        Job { folder, config, options, dataset, identity, shrunk: None, fault_injected: false };
    loop {
        let error = match job.attempt(&gpu, observer) {
            Err(error) if matches!(error.root(), Error::OutOfMemory(_)) => error,
            done => return done,
        };
        if options.on_oom == OnOom::Stop {
            return Err(error);
        }
        if gpu.is_lost() {
            gpu = gpu.reopen()?;
        }
        let Ok(bytes) = job.smaller(&gpu) else { return Err(error) };
        observer.shrinks(error.root(), bytes);
        (job.shrunk, job.fault_injected) = (Some(bytes), true);
    }
}

/// A run that is attempted until it succeeds, each time with less memory if the device ran out of it.
struct Job<'a> {
    folder: Folder<'a>,
    config: &'a Config,
    options: &'a RunOptions,
    dataset: &'a Dataset,
    identity: &'a Identity,
    /// The budget in bytes, once the device ran out of memory.
    shrunk: Option<usize>,
    /// Whether the fault was injected.
    fault_injected: bool,
}

impl<'a> Job<'a> {
    fn training(&self) -> TrainOptions {
        let training = self.config.training();
        TrainOptions {
            memory: self.shrunk.or(training.memory),
            debug: self.options.debug,
            fault: self.options.fault.filter(|_| !self.fault_injected),
            ..training
        }
    }

    /// A budget, in bytes, below the plan that did not fit.
    fn smaller(&self, gpu: &Gpu) -> Result<usize> {
        let Self { config, dataset, .. } = *self;
        let image = config.image(dataset);
        let network = config.network(dataset.classes.len(), image.h);
        let training = self.training();
        trainer::demand(&network, &training, gpu.limits(), dataset).smaller(training.batch)
    }

    /// The GPU with the choices of variants for a new run.
    fn tuned(&self, gpu: &Gpu, network: &Network, observer: &mut dyn Observer) -> Result<Gpu> {
        let Self { options, dataset, .. } = *self;
        let program = || {
            let training = self.training();
            let demand = trainer::demand(network, &training, gpu.limits(), dataset);
            let program = demand.program(training.batch)?.program;
            tune::check(gpu, &program)?;
            if options.tune == Tune::Full {
                observer.tunes();
            }
            Ok(program)
        };
        let (gpu, tuning) =
            tune::tune(gpu, options.tune, &options.cache, &options.interrupt, program)?;
        if let Some(tuning) = tuning {
            observer.tuned(&tuning);
        }
        Ok(gpu)
    }

    /// Trains from the last checkpoint, if there is one.
    fn attempt(&mut self, gpu: &Gpu, observer: &mut dyn Observer) -> Result<Vec<EpochRecord>> {
        let Self { folder, config, options, dataset, identity, .. } = *self;
        // A configuration that cannot be saved is an error now, not after training.
        let text = config.to_toml()?;
        self.training().check(dataset.train.len(), config.image(dataset))?;
        let network = config.network(dataset.classes.len(), config.image(dataset).h);
        let path = folder.state();
        let state = path.exists().then(|| read_state(&path)).transpose()?;
        if let Some((_, StateInfo { data: Some(begun), .. })) = &state {
            require_same_images(folder.0, begun, identity, dataset)?;
        }
        let begin = match &config.init {
            Some(start) if state.is_none() => Some(Begin::read(start, config, &network, dataset)?),
            _ => None,
        };
        let images = dataset.normalization()?;
        // Pretrained weights keep the normalisation that they were trained with.
        let normalization = match (&begin, &state) {
            (Some(begin), _) => begin.normalization.clone(),
            (None, Some((_, info))) if config.init.is_some() => info.model.normalization.clone(),
            _ => images.clone(),
        };
        let (saved, shrunk) = match &state {
            Some((_, info)) => (Some((info.progress.epoch, info.progress.step)), info.shrunk),
            None => (None, None),
        };
        self.shrunk = self.shrunk.or(shrunk);
        let training = self.training();
        let tuned = match &state {
            Some((_, info)) => Ok(gpu.with_choices(info.choices.clone())),
            None => self.tuned(gpu, &network, observer),
        };
        let trainer = tuned.and_then(|gpu| {
            Trainer::with_normalization(&gpu, &network, dataset, training, normalization)
        });
        let mut trainer = match trainer {
            // Errors of the device may be temporary: say what is kept and how to resume.
            Err(error) if error.exit_code() == 3 => {
                return Err(live::stopped(folder.0, saved, error));
            }
            trainer => trainer?,
        };
        if let Some(begin) = begin {
            let taken = trainer.take_over(&begin.arrays, begin.heads, &begin.start.path)?;
            observer.began_from(begin.start, &taken);
        }
        trainer.set_interrupt(options.interrupt.clone());
        let mut run = Run {
            folder,
            config,
            dataset,
            identity,
            images: config.init.is_some().then_some(images),
            shrunk: self.shrunk,
            report: RunPage::new(gpu, config, dataset, &trainer)?,
            trainer,
            records: Vec::new(),
            detail: None,
            saved: None,
        };
        let resumed = state.is_some();
        if let Some((arrays, info)) = state {
            run.resume(&arrays, info)?;
        } else {
            write_whole(&run.folder.config(), |file| file.write_all(text.as_bytes()))?;
        }
        observer.started(&run.trainer, resumed);
        let result = run.go(options.save_steps.max(1), &options.interrupt, observer);
        result.map_err(|source| live::stopped(folder.0, run.saved, source))?;
        Ok(run.records)
    }
}

/// Refuses to resume the run in `folder` with other images than it began with.
fn require_same_images(
    folder: &Path,
    begun: &Identity,
    now: &Identity,
    dataset: &Dataset,
) -> Result<()> {
    let Some(difference) = begun.difference(now) else { return Ok(()) };
    let source = match dataset.found.source.as_str() {
        "" => String::new(),
        source => format!(" ({source})"),
    };
    Err(Error::usage(format!(
        "{} was started with other images: {difference}{source}; give the folder that has them as \
         they were with --data, or start another run with another --out",
        folder.display()
    )))
}
