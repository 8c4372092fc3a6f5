//! The progress of a run on standard error: a bar on a terminal, plain lines elsewhere; a table at
//! the end.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Error;
use crate::app::config::{Config, Start};
use crate::app::run::Observer;
use crate::base::bytes::Size;
use crate::data::catalog;
use crate::gpu::device::Gpu;
use crate::gpu::tune::Tuning;
use crate::train::checkpoint::Taken;
use crate::train::metrics::{EpochRecord, Scores, Timing};
use crate::train::trainer::{StepReport, Trainer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::percent;

/// Time between two lines of progress where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub struct Progress {
    quiet: bool,
    intro: String,
    batch: usize,
    epochs: u32,
    blocks: Vec<String>,
    bar: ProgressBar,
    started: Instant,
    line: Instant,
    done: u64,
    first: u64,
}

impl Progress {
    /// If `quiet`, only warnings are shown.
    pub fn new(gpu: &Gpu, config: &Config, folder: &Path, quiet: bool) -> Self {
        let device = &gpu.adapter;
        // Reading photos takes a while, before the bar of steps appears.
        let bar = match catalog::entry(&config.dataset) {
            Some(entry) if entry.photos() && !quiet => {
                let spinner = ProgressBar::new_spinner().with_message("reading photos");
                spinner.enable_steady_tick(Duration::from_millis(100));
                spinner
            }
            _ => ProgressBar::hidden(),
        };
        let mut parts = format!("partition {:?}", config.partition).to_lowercase();
        if let Some(cuts) = &config.cuts {
            parts.push_str(&format!(", cut at {}", cuts.join(", ")));
        }
        Self {
            quiet,
            intro: format!(
                "{} on {} by {:?}, {} on {} ({}), into {}",
                config.arch,
                config.dataset,
                config.method,
                parts,
                device.name,
                device.backend,
                folder.display()
            )
            .replace("by Sff", "by sff")
            .replace("by Bp", "by bp"),
            batch: 0,
            epochs: config.epochs,
            blocks: Vec::new(),
            bar,
            started: Instant::now(),
            line: Instant::now(),
            done: 0,
            first: 0,
        }
    }

    pub fn blocks(&self) -> &[String] {
        &self.blocks
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// A line of text, above the bar if there is one.
    fn say(&self, text: &str) {
        if self.quiet {
            return;
        }
        // Training goes on even if standard error is closed.
        let _ = self.bar.suspend(|| writeln!(std::io::stderr(), "{text}"));
    }

    fn rate(&self) -> f64 {
        let steps = self.done.saturating_sub(self.first);
        (steps * self.batch as u64) as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }
}

impl Observer for Progress {
    fn began_from(&mut self, start: &Start, taken: &Taken) {
        self.say(&format!("{} tensors are taken from {}", taken.tensors, start.path.display()));
        for (what, names) in [
            ("not in it, randomly initialised", &taken.new),
            ("in it, but not used", &taken.unused),
        ] {
            if !names.is_empty() {
                self.say(&format!("  {what}: {}", names.join(", ")));
            }
        }
    }

    fn warns(&mut self, problem: &Error) {
        self.bar.suspend(|| super::note(&format!("warning: {}", super::worded(problem))));
    }

    fn shrinks(&mut self, error: &Error, bytes: usize) {
        let size = Size(bytes);
        self.bar.finish_and_clear();
        self.say(&format!("{}; continuing with {size} of device memory", super::worded(error)));
    }

    fn tunes(&mut self) {
        self.say("timing the ways to compute each op that were not timed on this device before");
    }

    fn tuned(&mut self, tuning: &Tuning) {
        self.say(&tuning.to_string());
        self.bar.suspend(|| super::warn_tuning(tuning));
    }

    fn started(&mut self, trainer: &Trainer, resumed: bool) {
        let (session, built) = (trainer.session(), trainer.built());
        self.batch = trainer.batch();
        self.blocks.clone_from(&built.blocks);
        let count = |all: bool| -> usize {
            let counted = built.parameters.values().filter(|p| all || p.trained());
            counted.map(|p| built.program.tensor(p.value).shape.elements()).sum()
        };
        let frozen = match count(true) - count(false) {
            0 => String::new(),
            frozen => format!(" and {frozen} frozen ones"),
        };
        let parameters = count(false);
        self.bar.finish_and_clear();
        let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
        self.say(&self.intro);
        let dataset = trainer.dataset();
        if !dataset.found.source.is_empty() {
            self.say(&dataset.found.source);
        }
        self.bar.suspend(|| super::warn_left_out(dataset));
        self.say(&format!(
            "{parameters} parameters in {} blocks{frozen}; {} steps per epoch of {} images; memory planned {:.1} MiB, allocated {:.1} MiB",
            self.blocks.len(),
            trainer.steps_per_epoch(),
            self.batch,
            mib(session.plan().bytes as u64),
            mib(session.allocated()),
        ));
        if let Some(memory) = trainer.budget().map(Size) {
            let steps = match trainer.micro_batches() {
                (_, 1) => "whole batches fit".to_owned(),
                (images, count) => format!(
                    "micro-batches of {images} images, {count} to a step; batch norm sees each alone"
                ),
            };
            let images =
                if trainer.resident() { "stay on the device" } else { "are copied step by step" };
            self.say(&format!("within {memory} of device memory: {steps}; images {images}"));
        }
        if let Some(numerics) = trainer.numerics() {
            self.say(if numerics.compare {
                "every op of every step is compared with the reference"
            } else {
                "every tensor of every step is checked for NaN and infinity; the network is too large \
                 to compare its ops with the reference"
            });
        }
        let total = u64::from(self.epochs) * trainer.steps_per_epoch() as u64;
        (self.first, self.done) = (trainer.total_steps(), trainer.total_steps());
        if resumed {
            self.say(&format!("resumed after step {} of {total}", self.done));
        }
        let target = match self.quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        self.bar = ProgressBar::with_draw_target(Some(total), target);
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {msg} {eta} left");
        if let Ok(style) = style {
            self.bar.set_style(style);
        }
        self.bar.set_position(self.done);
        self.bar.reset_eta();
        (self.started, self.line) = (Instant::now(), Instant::now());
    }

    fn step(&mut self, epoch: u32, report: &StepReport) {
        self.done = u64::from(epoch - 1) * report.steps as u64 + report.step as u64;
        let scores = &report.scores;
        let rate = self.rate();
        let message = format!(
            "loss {:.3}  accuracy {}  {rate:.0} images/s",
            scores.loss,
            percent(scores.accuracy.all)
        );
        self.bar.set_prefix(format!("epoch {epoch}/{}", self.epochs));
        self.bar.set_message(message.clone());
        self.bar.set_position(self.done);
        if self.bar.is_hidden() && self.line.elapsed() >= LINE_EVERY {
            self.line = Instant::now();
            let steps = u64::from(self.epochs) * report.steps as u64 - self.done;
            let left = (steps * self.batch as u64) as f64 / rate;
            self.say(&format!(
                "epoch {epoch}/{}  step {}/{}  {message}  {left:.0} s left",
                self.epochs, report.step, report.steps
            ));
        }
    }

    fn epoch(&mut self, record: &EpochRecord, timing: &Timing) {
        let test = record.test.as_ref().map_or(String::new(), |test| {
            let blocks: Vec<_> = test.blocks.iter().map(|b| percent(*b)).collect();
            let [all, late, last] =
                [test.accuracy.all, test.accuracy.late, test.accuracy.last].map(percent);
            let blocks = blocks.join(" ");
            format!("test: all {all}  late {late}  last {last}  blocks {blocks}  ")
        });
        self.say(&format!(
            "epoch {}/{}  loss {:.4}  {test}({:.0} images/s, {:.0} s + {:.0} s, data wait {:.1} s)",
            record.epoch,
            self.epochs,
            record.train.loss,
            timing.images_per_second,
            timing.train_seconds,
            timing.test_seconds,
            timing.data_wait_seconds,
        ));
    }
}

/// Scores as a small table.
pub fn table(scores: &Scores, blocks: &[String]) -> String {
    let name = |i: usize| blocks.get(i).cloned().unwrap_or_else(|| format!("block {}", i + 1));
    let mut rows: Vec<(String, String, String)> = scores
        .blocks
        .iter()
        .zip(&scores.losses)
        .enumerate()
        .map(|(i, (accuracy, loss))| (name(i), percent(*accuracy), format!("{loss:.4}")))
        .collect();
    if scores.blocks.len() > 1 {
        let votes = scores.accuracy;
        for (vote, accuracy) in [("all", votes.all), ("late", votes.late), ("last", votes.last)] {
            rows.push((format!("vote {vote}"), percent(accuracy), String::new()));
        }
    }
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0).max(8);
    let mut out = format!("{:width$}  {:>8}  {:>8}", "", "accuracy", "loss");
    for (name, accuracy, loss) in rows {
        out.push_str(format!("\n{name:width$}  {accuracy:>8}  {loss:>8}").trim_end());
    }
    out + &format!("\non {} test images", scores.images)
}
