//! A run while it trains: epochs, tests, checkpoints, and the files that follow them.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Observer;
use crate::app::config::Config;
use crate::app::folder::{Folder, read_timings};
use crate::app::pages::run::{RunPage, SoFar};
use crate::app::profile;
use crate::app::records::{FORMAT, ModelInfo, StateInfo, portable};
use crate::base::files::write_whole;
use crate::base::interrupt::Interrupt;
use crate::data::{Dataset, Identity, Normalization};
use crate::train::checkpoint::{self, Arrays};
use crate::train::detail::Detail;
use crate::train::metrics::{EpochRecord, Scores, Timing};
use crate::train::trainer::{Reached, Trainer};
use crate::{Error, Result};

/// Number of steps that are timed for the page: this many whole, then this many kernel by kernel.
const TIMED: usize = 3;

/// A run with its trainer and the contents of its files.
pub struct Run<'a> {
    pub folder: Folder<'a>,
    pub config: &'a Config,
    pub dataset: &'a Dataset,
    pub identity: &'a Identity,
    /// Normalisation of the images, if the model keeps that of the model that it began from.
    pub images: Option<Normalization>,
    /// The budget in bytes, once the device ran out of memory.
    pub shrunk: Option<usize>,
    pub trainer: Trainer<'a>,
    pub report: RunPage<'a>,
    pub records: Vec<EpochRecord>,
    /// The epoch of the last test, and the test's details.
    pub detail: Option<(u32, Detail)>,
    /// Epoch and step of the last checkpoint.
    pub saved: Option<(u32, usize)>,
}

impl Run<'_> {
    /// Trains the remaining epochs, with a checkpoint after each and after every `save_steps` steps.
    ///
    /// # Errors
    /// Those of training and saving; [`Error::Interrupted`].
    pub fn go(
        &mut self,
        save_steps: usize,
        interrupt: &Interrupt,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        if self.lacks_test() {
            self.end_epoch(0.0, 0, Duration::ZERO, observer)?;
        }
        while !self.trainer.finished() {
            let (start, first) = (Instant::now(), self.trainer.progress().step);
            let waited = self.trainer.data_wait();
            let epoch = self.trainer.epoch() + 1;
            let train = loop {
                match self.trainer.steps(save_steps, |report| observer.step(epoch, report))? {
                    Reached::Pause => {
                        self.save_state()?;
                        interrupt.check()?;
                    }
                    Reached::EpochEnd(scores) => break scores,
                }
            };
            let seconds = start.elapsed().as_secs_f64();
            let images = (self.trainer.steps_per_epoch() - first) * self.trainer.batch();
            let steps = self.trainer.total_steps();
            self.records.push(EpochRecord { epoch, steps, train, test: None });
            self.end_epoch(seconds, images, self.trainer.data_wait() - waited, observer)?;
        }
        // A finished run whose page is missing gets one.
        if !self.folder.report().is_file() {
            self.test()?;
            self.write_optional(Self::write_report, observer)?;
        }
        Ok(())
    }

    /// Writes something that training does not depend on: a failed write is a warning.
    fn write_optional(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<()>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        match write(self) {
            Err(problem @ Error::Io { .. }) => observer.warns(&problem),
            done => done?,
        }
        Ok(())
    }

    fn test(&mut self) -> Result<Scores> {
        let (scores, detail) = self.trainer.evaluate_in_detail()?;
        self.detail = Some((self.trainer.epoch(), detail));
        Ok(scores)
    }

    /// Whether the last epoch should be tested and has not been.
    fn lacks_test(&self) -> bool {
        let wanted = |epoch: u32| {
            epoch.is_multiple_of(self.config.test_every) || epoch == self.config.epochs
        };
        self.records.last().is_some_and(|last| last.test.is_none() && wanted(last.epoch))
    }

    /// Tests the last epoch, if it should be, and saves it. Its training took `train_seconds` for
    /// `images` images, and waited for data for `waited`.
    fn end_epoch(
        &mut self,
        train_seconds: f64,
        images: usize,
        waited: Duration,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let start = Instant::now();
        if self.lacks_test() {
            let test = match self.test() {
                Err(error @ Error::Interrupted(_)) => {
                    self.save_state()?;
                    return Err(error);
                }
                test => test?,
            };
            // There is one, see `lacks_test`.
            if let Some(last) = self.records.last_mut() {
                last.test = Some(test);
            }
        }
        let Some(record) = self.records.last().cloned() else { return Ok(()) };
        let timing = Timing {
            epoch: record.epoch,
            train_seconds,
            data_wait_seconds: waited.as_secs_f64(),
            images_per_second: images as f64 / train_seconds.max(1e-9),
            test_seconds: start.elapsed().as_secs_f64(),
            allocated_bytes: self.trainer.session().allocated(),
        };
        self.save_state()?;
        self.write_metrics()?;
        self.save_model()?;
        self.write_optional(|run| run.append_timing(&timing), observer)?;
        self.write_optional(Self::write_report, observer)?;
        observer.epoch(&record, &timing);
        Ok(())
    }

    /// Restores the last checkpoint, and rewrites the other files to match it.
    pub fn resume(&mut self, arrays: &Arrays, info: StateInfo) -> Result<()> {
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
        if self.trainer.finished() && !self.lacks_test() {
            self.save_model()?;
        }
        Ok(())
    }

    fn save_state(&mut self) -> Result<()> {
        let arrays = self.trainer.arrays(true)?;
        let progress = self.trainer.progress();
        let at = (progress.epoch, progress.step);
        let (model, images) = (self.model_info(), self.images.clone());
        let (epochs, shrunk) = (self.records.clone(), self.shrunk);
        let choices = self.trainer.session().gpu().choices().clone();
        let data = Some(self.identity.clone());
        let info = StateInfo { model, data, images, progress, epochs, shrunk, choices };
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
        let whole = self.records.len() - usize::from(self.lacks_test());
        write_whole(&path, |file| self.records[..whole].iter().try_for_each(|r| json_line(file, r)))
    }

    /// Nothing depends on times, so they are appended instead of rewriting the file.
    fn append_timing(&self, timing: &Timing) -> Result<()> {
        let path = self.folder.timing();
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| json_line(&mut file, timing)).map_err(Error::io("write", &path))
    }

    fn write_report(&mut self) -> Result<()> {
        let timings = read_timings(&self.folder.timing());
        let filters = self.trainer.first_filters()?;
        // Everything else is saved by now: if the device cannot be timed, the page says so.
        let finished = self.trainer.finished();
        let profile = finished.then(|| profile::of_training(&mut self.trainer, TIMED));
        let page = self.report.page(&SoFar {
            records: &self.records,
            timings: &timings,
            detail: self.detail.as_ref(),
            filters,
            profile,
        })?;
        write_whole(&self.folder.report(), |file| file.write_all(page.as_bytes()))
    }
}

/// The error for a run in `folder` that `source` stopped: with its last checkpoint (epoch and step), and
/// how to resume.
pub fn stopped(folder: &Path, saved: Option<(u32, usize)>, source: Error) -> Error {
    let folder = folder.display();
    let mut kept = match saved {
        Some((epoch, 0)) => format!("{folder} keeps the checkpoint after epoch {epoch}"),
        Some((epoch, step)) => {
            format!("{folder} keeps the checkpoint of epoch {}, step {step}", epoch + 1)
        }
        None => "no checkpoint was reached".to_owned(),
    };
    if let Some(remedy) = remedy(&source) {
        kept = format!("{kept}; {remedy}");
    }
    Error::Stopped { source: Box::new(source), kept }
}

/// What to do before resuming a run that `error` stopped, if it can be resumed.
fn remedy(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::Lost(_) => "once `sff devices` shows it again, go on with --resume",
        Error::OutOfMemory(_) => {
            "close other programs on the device, or give a smaller --batch or --memory; \
             --resume --on-oom shrink continues with smaller micro-batches"
        }
        Error::TimedOut(_) => {
            "check whether the device or its driver hangs, then go on with --resume"
        }
        Error::Interrupted(_) => "go on with --resume",
        Error::Io { .. } => "once that is fixed, go on with --resume",
        _ => return None,
    })
}

/// Writes a line in one call, so that a kill does not leave a part of it.
fn json_line(file: &mut (impl Write + ?Sized), value: &impl Serialize) -> std::io::Result<()> {
    let line = serde_json::to_string(value)? + "\n";
    file.write_all(line.as_bytes())
}
