//! `sff compare`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::app::experiment::{self, Cell, Experiment, Outcome};
use crate::app::run::{Observer, RunOptions};
use crate::app::signals;
use crate::base::files::write_whole;
use crate::gpu::tune::{Cache, Tuning};
use crate::train::metrics::{EpochRecord, Timing, Votes};
use crate::train::trainer::{StepReport, Trainer};
use crate::{Error, Result};
use clap::Args;
use serde::Serialize;

#[derive(Args)]
#[command(before_help = "Example: sff compare --recipe recipes/fashion-scarce.toml")]
#[command(after_help = "\
Every run has its own folder below --out. The same command resumes an interrupted run and skips
finished ones. results.md, .csv, .svg and .html are written after each run.")]
pub struct Compare {
    /// The experiment: ways to train, what varies, seeds
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// Folder for runs and tables [default: runs/NAME, the name of the file]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Folder with the data set's files; other data sets that runs begin with keep theirs
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Only two steps of each run of the first seed, in OUT-quick: to see that everything works
    #[arg(long)]
    quick: bool,
    /// List the runs without running them
    #[arg(long)]
    list: bool,
    /// Show only the table, without a line for each run
    #[arg(long)]
    quiet: bool,
    /// Print JSON: column, way, seed, folder and accuracies (as fractions) of each run; with --list, the
    /// folders
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: super::DeviceArg,
    #[command(flatten)]
    tune: super::TuneArg,
}

/// An element of what `--json` prints.
#[derive(Serialize)]
struct Row<'a> {
    column: &'a str,
    way: &'a str,
    seed: u64,
    folder: PathBuf,
    accuracy: Votes,
}

/// Shows nothing of a run but warnings, and where images were found, once for each place.
#[derive(Default)]
struct Quiet {
    shown: BTreeSet<String>,
}

impl Observer for Quiet {
    fn tuned(&mut self, tuning: &Tuning) {
        super::warn_tuning(tuning);
    }
    fn warns(&mut self, problem: &Error) {
        super::note(&format!("warning: {}", super::worded(problem)));
    }
    fn started(&mut self, trainer: &Trainer, _: bool) {
        let dataset = trainer.dataset();
        if self.shown.insert(dataset.found.source.clone()) {
            super::tell_found(dataset);
        }
    }
    fn step(&mut self, _: u32, _: &StepReport) {}
    fn epoch(&mut self, _: &EpochRecord, _: &Timing) {}
}

impl Compare {
    pub fn run(self) -> Result<()> {
        let experiment = Experiment::read(&self.recipe)?;
        let mut cells = experiment.cells()?;
        for cell in &mut cells {
            let dataset = cell.recipe.dataset.clone();
            let before = cell.before.iter_mut().map(|(_, recipe)| recipe);
            for recipe in before.chain([&mut cell.recipe]) {
                if recipe.dataset == dataset {
                    recipe.data = self.data.clone().or(recipe.data.take());
                }
                if self.quick {
                    *recipe = std::mem::take(recipe).shortened();
                }
            }
        }
        if self.quick {
            cells.retain(|cell| cell.seed == experiment.seeds[0]);
        }
        if self.list {
            let lines: Vec<_> = cells.iter().map(|c| c.folder.display().to_string()).collect();
            return match self.json {
                true => super::print_json(&lines),
                false => super::print(&lines.join("\n")),
            };
        }
        let name = self.recipe.file_stem().unwrap_or_default().to_string_lossy();
        let mut out = self.out.clone().unwrap_or_else(|| Path::new("runs").join(&*name));
        if self.quick {
            out.as_mut_os_string().push("-quick");
        }
        let gpu = self.device.open()?;
        let options = RunOptions {
            interrupt: signals::interrupt()?,
            tune: self.tune.tune,
            cache: Cache::of_user(),
            ..RunOptions::new(out.clone(), true)
        };
        let (mut outcomes, mut quiet) = (Vec::<Outcome>::new(), Quiet::default());
        for (index, cell) in cells.iter().enumerate() {
            let outcome = experiment::execute(&gpu, &out, cell, &options, &mut quiet)?;
            outcomes.push(outcome);
            save(&out, &experiment, &cells, &outcomes)?;
            if self.quiet || self.json {
                continue;
            }
            super::print(&format!(
                "{}/{} {}, {}, seed {}: {} by all, {} by the later half",
                index + 1,
                cells.len(),
                experiment.columns[cell.column].name,
                experiment.ways[cell.way].name,
                cell.seed,
                super::percent(outcome.votes.all),
                super::percent(outcome.votes.late),
            ))?;
        }
        if self.json {
            let row = |(outcome, cell): (&Outcome, &Cell)| Row {
                column: &experiment.columns[outcome.column].name,
                way: &experiment.ways[outcome.way].name,
                seed: outcome.seed,
                folder: out.join(&cell.folder),
                accuracy: outcome.votes,
            };
            let rows = outcomes.iter().zip(&cells).map(row);
            return super::print_json(&rows.collect::<Vec<_>>());
        }
        let gap = if self.quiet { "" } else { "\n" };
        super::print(&format!("{gap}{}", experiment.markdown(&outcomes)))?;
        super::print(&format!("saved to {}", out.display()))
    }
}

fn save(out: &Path, experiment: &Experiment, cells: &[Cell], outcomes: &[Outcome]) -> Result<()> {
    let table = format!("# {}\n\n{}", experiment.title, experiment.markdown(outcomes));
    for (name, text) in [
        ("results.md", table),
        ("results.csv", experiment.csv(outcomes)),
        ("results.svg", experiment::svg(experiment, outcomes)),
        ("results.html", experiment::page(experiment, out, cells, outcomes)?),
    ] {
        write_whole(&out.join(name), |file| file.write_all(text.as_bytes()))?;
    }
    Ok(())
}
