//! Run folders: what a training run leaves behind, and how it goes on after an interruption.
//!
//! | file | content |
//! |---|---|
//! | `config.toml` | the effective configuration; a recipe for the same run |
//! | `metrics.jsonl` | a line per epoch: losses and accuracies; the same for the same seed |
//! | `timing.jsonl` | a line per epoch: seconds, waits for data, images per second |
//! | `report.html` | all of it for people, and what the last test showed, see [`crate::report`] |
//! | `model.safetensors` | weights, heads, running statistics; what it takes to use them |
//! | `state.safetensors` | all that a resumed run needs; the only file that it reads back |

mod begin;
mod live;
mod lock;
mod records;

pub use crate::metrics::{EpochRecord, Timing};
pub use begin::inherit;
pub(crate) use records::{FORMAT, portable};
pub use records::{ModelInfo, StateInfo};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::block::Network;
use crate::checkpoint::{self, Arrays, Taken};
use crate::config::{Batch, Config, Recipe, Start};
use crate::data::{self, Dataset};
use crate::drill::Drill;
use crate::files::{read_text, write_whole};
use crate::gpu::Gpu;
use crate::interrupt::Interrupt;
use crate::report::Report;
use crate::train::{StepReport, Trainer};
use crate::tune::{self, Cache, Tune, Tuning};
use crate::{Error, Result};
use begin::Begin;
use live::Run;
use lock::Lock;

/// Hears how a run goes on.
pub trait Observer {
    /// Weights were taken over from another model.
    fn began_from(&mut self, _start: &Start, _taken: &Taken) {}
    /// The device had no memory left, as `error` says: from its last checkpoint on, or from the
    /// beginning, the run is planned for so many bytes.
    fn shrinks(&mut self, _error: &Error, _bytes: usize) {}
    /// Ways to compute the network's ops are about to be timed, for as long as it takes.
    fn tunes(&mut self) {}
    /// They were timed.
    fn tuned(&mut self, _tuning: &Tuning) {}
    /// Everything is ready; nothing is trained yet.
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
    /// Go on with what is there, if anything is.
    pub resume: bool,
    /// Steps between checkpoints within an epoch.
    pub save_steps: usize,
    /// What to do when the device has no memory left.
    pub on_oom: OnOom,
    /// Ends the run after a step, once it is asked.
    pub interrupt: Interrupt,
    /// Whether each op is held against the reference, see [`crate::debug`].
    pub debug: bool,
    /// What is to go wrong.
    pub drill: Option<Drill>,
    /// How a run that begins chooses its kernels.
    pub tune: Tune,
    /// Where what was chosen is remembered.
    pub cache: Cache,
}

/// What to do when the device has no memory left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum OnOom {
    /// Stop; the last checkpoint stays.
    #[default]
    Stop,
    /// Go on from the last checkpoint with a plan for less memory: micro-batches, as with a budget.
    /// Batch norm then sees fewer images at a time.
    Shrink,
}

impl RunOptions {
    /// For a new run, or what is left of one with `resume`; nothing is remembered of the device.
    pub fn new(folder: PathBuf, resume: bool) -> Self {
        Self {
            folder,
            resume,
            save_steps: 1000,
            on_oom: OnOom::default(),
            interrupt: Interrupt::default(),
            debug: false,
            drill: None,
            tune: Tune::default(),
            cache: Cache::none(),
        }
    }
}

/// Paths in a run folder.
#[derive(Clone, Copy)]
struct Folder<'a>(&'a Path);

impl Folder<'_> {
    /// Whether there is anything that a new run would replace.
    fn is_used(&self) -> bool {
        [self.config(), self.metrics(), self.timing(), self.model(), self.state()]
            .iter()
            .any(|path| path.exists())
    }
    fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }
    fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }
    fn timing(&self) -> PathBuf {
        self.0.join("timing.jsonl")
    }
    fn model(&self) -> PathBuf {
        self.0.join("model.safetensors")
    }
    fn report(&self) -> PathBuf {
        self.0.join("report.html")
    }
    fn state(&self) -> PathBuf {
        self.0.join("state.safetensors")
    }
}

/// The model file of a run.
pub fn model_path(folder: &Path) -> PathBuf {
    Folder(folder).model()
}

/// The configuration of a run.
///
/// # Errors
/// [`Error::Io`] or [`Error::Corrupt`].
pub fn read_config(folder: &Path) -> Result<Config> {
    Config::read(&Folder(folder).config())
}

/// The records of the epochs that a run has finished.
///
/// # Errors
/// [`Error::Io`] or [`Error::Corrupt`].
pub fn read_records(folder: &Path) -> Result<Vec<EpochRecord>> {
    let path = Folder(folder).metrics();
    let text = read_text(&path)?;
    let records = text.lines().map(serde_json::from_str).collect::<Result<Vec<EpochRecord>, _>>();
    records.map_err(|e| Error::corrupt(&path, e.to_string()))
}

/// Whether a run has noted any epoch.
pub fn has_records(folder: &Path) -> bool {
    Folder(folder).metrics().exists()
}

/// The page of a run.
pub fn report_path(folder: &Path) -> PathBuf {
    Folder(folder).report()
}

/// The records of a run that is finished, if the one in `folder` is, and is of `config`.
///
/// # Errors
/// [`Error::Io`] or [`Error::Corrupt`].
pub fn finished(folder: &Path, config: &Config) -> Result<Option<Vec<EpochRecord>>> {
    let folder = Folder(folder);
    if !folder.model().exists() || !folder.metrics().exists() {
        return Ok(None);
    }
    let records = read_records(folder.0)?;
    Ok((records.len() == config.epochs as usize).then_some(records))
}

/// The configuration to run with: the folder's own if there is one to resume, else that of
/// `recipe`, with a batch that fits `gpu` where it is left open.
///
/// # Errors
/// Those of loading the images if the batch depends on them, and [`Error::Usage`] if the folder holds a run and `resume` is not given, if what it holds has no
/// configuration, or if options contradict the run. The images may have moved meanwhile.
pub fn configure(recipe: Recipe, options: &RunOptions, gpu: &Gpu) -> Result<Config> {
    let folder = Folder(&options.folder);
    let auto = recipe.batch == Some(Batch::Auto);
    if !folder.is_used() {
        let config = Config::resolve(inherit(recipe)?)?;
        if let (Some(until), None) = (&config.freeze_until, &config.init) {
            return Err(Error::Usage(format!(
                "--freeze-until {until} would keep random weights: begin from a model with --init"
            )));
        }
        let batch = if auto { largest_batch(&config, gpu)? } else { config.batch };
        return Ok(Config { batch, ..config });
    }
    let shown = options.folder.display();
    if !folder.config().exists() {
        return Err(Error::Usage(format!(
            "{shown} holds files of a run, but no config.toml: choose another --out"
        )));
    }
    if !options.resume {
        return Err(already_holds(&options.folder));
    }
    let config = Config::read(&folder.config())?;
    // The batch was chosen when the run began.
    let recipe = if auto { Recipe { batch: None, ..recipe } } else { recipe };
    // The same file, which is not needed any more.
    let init = match (recipe.init.clone(), &config.init) {
        (Some(given), Some(begun)) if given.path == begun.path => Some(begun.clone()),
        (given, _) => given,
    };
    let recipe = Recipe { init, ..recipe };
    let data = recipe.data.clone().or_else(|| config.data.clone());
    let (strict, photo_cache) =
        (recipe.strict.or(config.strict), recipe.photo_cache.or(config.photo_cache));
    match recipe.portable().conflicts(&config)[..] {
        [] => Ok(Config { data, strict, photo_cache, ..config }),
        ref names => Err(Error::Usage(format!(
            "{shown} was begun with another --{}: leave the option out to resume it, or choose another --out",
            names.join(", --").replace('_', "-")
        ))),
    }
}

fn already_holds(folder: &Path) -> Error {
    let shown = folder.display();
    Error::Usage(format!(
        "{shown} already holds a run: add --resume to go on with it, or choose another --out"
    ))
}

fn largest_batch(config: &Config, gpu: &Gpu) -> Result<usize> {
    let dataset = data::load(&config.request())?;
    let image = config.image(&dataset);
    let network = config.network(dataset.classes.len(), image.h);
    config.training().demand(&network, image, gpu.limits()).of(&dataset).largest_batch()
}

/// Trains, from the beginning or from the last checkpoint, and leaves a complete run folder.
///
/// # Errors
/// Everything that loading, building, training and saving can meet, and [`Error::Usage`] if
/// another process is at work in the folder; [`Error::Stopped`] once training has begun, saying
/// what is kept and how to go on.
pub fn train(
    gpu: &Gpu,
    config: &Config,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<Vec<EpochRecord>> {
    let dataset = data::load(&config.request())?;
    let config = config.settled(dataset.classes.len(), config.image(&dataset).h);
    let _lock = Lock::take(&options.folder)?;
    let folder = Folder(&options.folder);
    // Since the configuration was made, another process may have come and gone.
    if folder.is_used() && !options.resume {
        return Err(already_holds(folder.0));
    }
    let mut gpu = gpu.clone();
    let mut job =
        Job { folder, config: &config, options, dataset: &dataset, shrunk: None, drilled: false };
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
        (job.shrunk, job.drilled) = (Some(bytes), true);
    }
}

/// What is to be done, perhaps more than once.
struct Job<'a> {
    folder: Folder<'a>,
    config: &'a Config,
    options: &'a RunOptions,
    dataset: &'a Dataset,
    /// Bytes to plan for, after the device had no room for more.
    shrunk: Option<usize>,
    /// Whether what was to go wrong did.
    drilled: bool,
}

impl<'a> Job<'a> {
    fn training(&self) -> crate::train::Options {
        let training = self.config.training();
        crate::train::Options {
            memory: self.shrunk.or(training.memory),
            debug: self.options.debug,
            drill: self.options.drill.filter(|_| !self.drilled),
            ..training
        }
    }

    /// A budget below what did not fit.
    fn smaller(&self, gpu: &Gpu) -> Result<usize> {
        let Self { config, dataset, .. } = *self;
        let image = config.image(dataset);
        let network = config.network(dataset.classes.len(), image.h);
        self.training().demand(&network, image, gpu.limits()).of(dataset).smaller(config.batch)
    }

    /// The GPU as a run that begins is to use it.
    fn tuned(&self, gpu: &Gpu, network: &Network, observer: &mut dyn Observer) -> Result<Gpu> {
        let Self { config, options, dataset, .. } = *self;
        let demand = self.training().demand(network, config.image(dataset), gpu.limits());
        let program = || {
            let program = demand.of(dataset).program(config.batch)?.program;
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
        let Self { folder, config, options, dataset, .. } = *self;
        // What cannot be saved is said now, not after training.
        let text = config.to_toml()?;
        self.training().check(dataset)?;
        let network = config.network(dataset.classes.len(), config.image(dataset).h);
        let path = folder.state();
        let state = path.exists().then(|| read_state(&path)).transpose()?;
        let begin = match &config.init {
            Some(start) if state.is_none() => Some(Begin::read(start, config, &network, dataset)?),
            _ => None,
        };
        let images = dataset.normalization()?;
        // Weights that were trained on pixels of one normalisation keep it.
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
            // It may be the device's fault, and later another day.
            Err(error) if error.exit_code() == 3 => {
                return Err(live::stopped(folder.0, saved, error));
            }
            trainer => trainer?,
        };
        if let Some(begin) = begin {
            let taken = trainer.take_over(&begin.arrays, begin.heads, &begin.start.path)?;
            observer.began_from(begin.start, &taken);
        }
        trainer.heed(options.interrupt.clone());
        let mut run = Run {
            folder,
            config,
            dataset,
            images: config.init.is_some().then_some(images),
            shrunk: self.shrunk,
            report: Report::new(gpu, config, dataset, &trainer)?,
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

/// The times of each epoch that are known. A resumed run notes some twice; lines that make no
/// sense are passed over, for times are of interest, not of importance.
fn read_timings(path: &Path) -> Vec<Timing> {
    let text = read_text(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Timing>(line).ok());
    let each: BTreeMap<u32, Timing> = lines.map(|timing| (timing.epoch, timing)).collect();
    each.into_values().collect()
}

/// Reads a model file and what it says of itself.
///
/// # Errors
/// [`Error::Io`] or [`Error::Corrupt`].
pub fn read_model(path: &Path) -> Result<(Arrays, ModelInfo)> {
    let (arrays, info): (Arrays, ModelInfo) = checkpoint::load(path)?;
    info.sane(path)?;
    Ok((arrays, info))
}

/// Reads what a run needs to go on.
///
/// # Errors
/// [`Error::Io`] or [`Error::Corrupt`].
pub fn read_state(path: &Path) -> Result<(Arrays, StateInfo)> {
    let (arrays, info): (Arrays, StateInfo) = checkpoint::load(path)?;
    info.model.sane(path)?;
    Ok((arrays, info))
}
