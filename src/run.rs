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

pub use crate::metrics::{EpochRecord, Timing};
pub use begin::inherit;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Arrays, Taken};
use crate::config::{Batch, Config, LARGEST_INPUT, Recipe, Start};
use crate::data::{self, Dataset, Normalization};
use crate::detail::Detail;
use crate::files::{read_text, write_whole};
use crate::gpu::Gpu;
use crate::metrics::Scores;
use crate::report::{Report, SoFar};
use crate::train::{Progress, Reached, StepReport, Trainer};
use crate::{Error, Result};
use begin::Begin;

/// Version of our metadata; files of another one are refused.
pub(crate) const FORMAT: u32 = 1;

/// What a model file says of itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Version of this structure.
    pub format: u32,
    /// How it was trained, which says what the network is.
    pub config: Recipe,
    /// Height, width and channels of what it sees.
    pub image: [usize; 3],
    /// Names of the classes.
    pub classes: Vec<String>,
    /// How pixels are normalised.
    pub normalization: Normalization,
}

impl ModelInfo {
    /// Checks that the file at `path` can be what it says of itself.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn sane(&self, path: &Path) -> Result<()> {
        let [h, w, c] = self.image;
        let classes = self.classes.len();
        let sides = [h, w].iter().all(|side| (1..=LARGEST_INPUT).contains(side));
        if self.format == FORMAT && sides && matches!(c, 1 | 3) && classes >= 2 {
            return Ok(());
        }
        let problem = format!(
            "its metadata (format {}, {h}×{w}×{c} images, {classes} classes) is not of this version of sff",
            self.format
        );
        Err(Error::corrupt(path, problem))
    }

    /// Checks that the file at `path`, which says this of itself, is of the run that `config`
    /// describes.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn check(&self, config: &Config, path: &Path) -> Result<()> {
        // Options that a file does not know yet have their defaults.
        let same = |own: Config| portable(&own) == portable(config);
        if self.format == FORMAT && Config::resolve(self.config.clone()).is_ok_and(same) {
            return Ok(());
        }
        let differing = self.config.conflicts(config);
        let hint = if differing.is_empty() {
            String::new()
        } else {
            format!(" (not the same: {})", differing.join(", ").replace('_', "-"))
        };
        Err(Error::corrupt(path, format!("it is of another run than config.toml describes{hint}")))
    }
}

/// What a state file says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StateInfo {
    /// As in the model file; its normalisation also tells whether the images are the same.
    model: ModelInfo,
    /// Normalisation of the images where the model has that of the one it began from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    images: Option<Normalization>,
    progress: Progress,
    epochs: Vec<EpochRecord>,
}

/// Hears how a run goes on.
pub trait Observer {
    /// Weights were taken over from another model.
    fn began_from(&mut self, _start: &Start, _taken: &Taken) {}
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
}

/// Paths in a run folder.
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
        return Err(Error::Usage(format!(
            "{shown} already holds a run: add --resume to go on with it, or choose another --out"
        )));
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

fn largest_batch(config: &Config, gpu: &Gpu) -> Result<usize> {
    let dataset = data::load(&config.request())?;
    let image = config.image(&dataset);
    let network = config.network(dataset.classes.len(), image.h);
    config.training().demand(&network, image, gpu.limits()).of(&dataset).largest_batch()
}

/// Trains, from the beginning or from the last checkpoint, and leaves a complete run folder.
///
/// # Errors
/// Everything that loading, building, training and saving can meet; [`Error::Stopped`] once
/// training has begun, saying what is kept.
pub fn train(
    gpu: &Gpu,
    config: &Config,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<Vec<EpochRecord>> {
    let dataset = data::load(&config.request())?;
    let config = &config.settled(dataset.classes.len(), config.image(&dataset).h);
    // What cannot be saved is said now, not after training.
    let text = config.to_toml()?;
    let network = config.network(dataset.classes.len(), config.image(&dataset).h);
    let state = Folder(&options.folder).state();
    let state = (options.resume && state.exists()).then(|| checkpoint::load(&state)).transpose()?;
    let state: Option<(Arrays, StateInfo)> = state;
    let begin = match &config.init {
        Some(start) if state.is_none() => Some(Begin::read(start, config, &network, &dataset)?),
        _ => None,
    };
    let images = dataset.normalization()?;
    // Weights that were trained on pixels of one normalisation keep it.
    let normalization = match (&begin, &state) {
        (Some(begin), _) => begin.normalization.clone(),
        (None, Some((_, info))) if config.init.is_some() => info.model.normalization.clone(),
        _ => images.clone(),
    };
    let training = config.training();
    let mut trainer =
        Trainer::with_normalization(gpu, &network, &dataset, training, normalization)?;
    if let Some(begin) = begin {
        let taken = trainer.take_over(&begin.arrays, begin.heads, &begin.start.path)?;
        observer.began_from(begin.start, &taken);
    }
    let mut run = Run {
        folder: Folder(&options.folder),
        config,
        dataset: &dataset,
        images: config.init.is_some().then_some(images),
        report: Report::new(gpu, config, &dataset, &trainer)?,
        trainer,
        records: Vec::new(),
        detail: None,
        saved: None,
    };
    fs::create_dir_all(&options.folder).map_err(Error::io("create", &options.folder))?;
    let resumed = state.is_some();
    if let Some((arrays, info)) = state {
        run.resume(&arrays, info)?;
    } else {
        write_whole(&run.folder.config(), |file| file.write_all(text.as_bytes()))?;
    }
    observer.started(&run.trainer, resumed);
    let result = run.go(options.save_steps.max(1), observer);
    result.map_err(|source| run.stopped(source))?;
    Ok(run.records)
}

struct Run<'a> {
    folder: Folder<'a>,
    config: &'a Config,
    dataset: &'a Dataset,
    /// Normalisation of the images, where it is not the model's.
    images: Option<Normalization>,
    trainer: Trainer<'a>,
    report: Report<'a>,
    records: Vec<EpochRecord>,
    /// What the last test showed, and the epoch before it.
    detail: Option<(u32, Detail)>,
    /// Epoch and step of the last checkpoint.
    saved: Option<(u32, usize)>,
}

impl Run<'_> {
    fn go(&mut self, save_steps: usize, observer: &mut dyn Observer) -> Result<()> {
        while !self.trainer.finished() {
            let (start, first) = (Instant::now(), self.trainer.progress().step);
            let waited = self.trainer.data_wait();
            let epoch = self.trainer.epoch() + 1;
            let train = loop {
                match self.trainer.steps(save_steps, |report| observer.step(epoch, report))? {
                    Reached::Pause => self.save_state()?,
                    Reached::EpochEnd(scores) => break scores,
                }
            };
            let train_seconds = start.elapsed().as_secs_f64();
            let images = (self.trainer.steps_per_epoch() - first) * self.config.batch;
            let start = Instant::now();
            let wanted = epoch.is_multiple_of(self.config.test_every) || self.trainer.finished();
            let test = if wanted { Some(self.test()?) } else { None };
            let timing = Timing {
                epoch,
                train_seconds,
                data_wait_seconds: (self.trainer.data_wait() - waited).as_secs_f64(),
                images_per_second: images as f64 / train_seconds.max(1e-9),
                test_seconds: start.elapsed().as_secs_f64(),
                allocated_bytes: self.trainer.session().allocated(),
            };
            let steps = self.trainer.total_steps();
            self.records.push(EpochRecord { epoch, steps, train, test });
            self.save_state()?;
            self.write_metrics()?;
            self.save_model()?;
            self.append_timing(&timing)?;
            self.write_report()?;
            observer.epoch(&self.records[self.records.len() - 1], &timing);
        }
        // A run that was finished before has a page, too.
        if !self.folder.report().is_file() {
            self.test()?;
            self.write_report()?;
        }
        Ok(())
    }

    fn test(&mut self) -> Result<Scores> {
        let (scores, detail) = self.trainer.evaluate_in_detail()?;
        self.detail = Some((self.trainer.epoch(), detail));
        Ok(scores)
    }

    /// Takes up the last checkpoint, and makes the other files agree with it.
    fn resume(&mut self, arrays: &Arrays, info: StateInfo) -> Result<()> {
        let path = self.folder.state();
        info.model.check(self.config, &path)?;
        if info.model != self.model_info() || info.images != self.images {
            return Err(Error::corrupt(&path, "the images are not those that it was trained on"));
        }
        let per_epoch = self.trainer.steps_per_epoch() as u64;
        let fits = |(r, epoch): (&EpochRecord, u32)| {
            r.epoch == epoch && r.steps == u64::from(epoch) * per_epoch
        };
        let complete = info.epochs.len() == info.progress.epoch as usize;
        if !complete || !info.epochs.iter().zip(1..).all(fits) {
            return Err(Error::corrupt(&path, "its history does not match its progress"));
        }
        self.trainer.restore(arrays, &info.progress, &path)?;
        self.records = info.epochs;
        self.saved = Some((info.progress.epoch, info.progress.step));
        self.write_metrics()?;
        if self.trainer.finished() {
            self.save_model()?;
        }
        Ok(())
    }

    fn save_state(&mut self) -> Result<()> {
        let arrays = self.trainer.arrays(true)?;
        let progress = self.trainer.progress();
        let at = (progress.epoch, progress.step);
        let (model, images) = (self.model_info(), self.images.clone());
        let info = StateInfo { model, images, progress, epochs: self.records.clone() };
        checkpoint::save(&self.folder.state(), &arrays, &info)?;
        self.saved = Some(at);
        Ok(())
    }

    fn save_model(&mut self) -> Result<()> {
        let arrays = self.trainer.arrays(false)?;
        checkpoint::save(&self.folder.model(), &arrays, &self.model_info())
    }

    fn model_info(&self) -> ModelInfo {
        let image = self.trainer.image();
        ModelInfo {
            format: FORMAT,
            config: portable(self.config),
            image: [image.h, image.w, image.c],
            classes: self.dataset.classes.clone(),
            normalization: self.trainer.normalization().clone(),
        }
    }

    fn write_metrics(&self) -> Result<()> {
        let path = self.folder.metrics();
        write_whole(&path, |file| self.records.iter().try_for_each(|r| json_line(file, r)))
    }

    /// Times are of interest, not of importance: they are appended, not rewritten.
    fn append_timing(&self, timing: &Timing) -> Result<()> {
        let path = self.folder.timing();
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| json_line(&mut file, timing)).map_err(Error::io("write", &path))
    }

    fn write_report(&mut self) -> Result<()> {
        let timings = read_timings(&self.folder.timing());
        let page = self.report.page(&SoFar {
            records: &self.records,
            timings: &timings,
            detail: self.detail.as_ref(),
            filters: self.trainer.first_filters()?,
        })?;
        write_whole(&self.folder.report(), |file| file.write_all(page.as_bytes()))
    }

    fn stopped(&self, source: Error) -> Error {
        let folder = self.folder.0.display();
        let kept = match self.saved {
            Some((epoch, 0)) => format!("{folder} keeps the checkpoint after epoch {epoch}"),
            Some((epoch, step)) => {
                format!("{folder} keeps the checkpoint of epoch {}, step {step}", epoch + 1)
            }
            None => format!("no checkpoint was reached; {folder} holds the configuration only"),
        };
        Error::Stopped { source: Box::new(source), kept }
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

/// The configuration without what is true on this machine only.
pub(crate) fn portable(config: &Config) -> Recipe {
    Recipe { init: None, ..config.recipe().portable() }
}

/// Writes a line in one call, so that a kill cannot leave a part of it.
fn json_line(file: &mut (impl Write + ?Sized), value: &impl Serialize) -> std::io::Result<()> {
    let line = serde_json::to_string(value)? + "\n";
    file.write_all(line.as_bytes())
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
