//! `sff compare`.

use std::path::{Path, PathBuf};

use clap::Args;
use sff::Result;
use sff::compare::{self, Cell, Experiment, Outcome};
use sff::files::write_whole;
use sff::run::{EpochRecord, Observer, Timing};
use sff::train::{StepReport, Trainer};

#[derive(Args)]
#[command(after_help = "Example: sff compare --recipe recipes/fashion-scarce.toml

Every run has a folder of its own below --out. What was interrupted goes on where it was, and what is
done is not done again. results.md, .csv, .svg and .html are there after the first run.")]
pub struct Compare {
    /// The experiment: ways to train, what varies, seeds
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// Folder for runs and tables [default: runs/NAME, as the file is called]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Folder with the data set's files, but not those of another set to begin with
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Only two steps of each run, in OUT-quick: to see that all of it works
    #[arg(long)]
    quick: bool,
    /// List the runs, and do nothing
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    device: super::DeviceArg,
}

/// Hears of runs; only their ends are worth a line.
struct Quiet;

impl Observer for Quiet {
    fn started(&mut self, _: &Trainer, _: bool) {}
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
            return super::print(&lines.join("\n"));
        }
        let name = self.recipe.file_stem().unwrap_or_default().to_string_lossy();
        let mut out = self.out.clone().unwrap_or_else(|| Path::new("runs").join(&*name));
        if self.quick {
            out.as_mut_os_string().push("-quick");
        }
        let gpu = self.device.open()?;
        let mut outcomes: Vec<Outcome> = Vec::new();
        for (index, cell) in cells.iter().enumerate() {
            let outcome = compare::execute(&gpu, &out, cell, &mut Quiet)?;
            outcomes.push(outcome);
            save(&out, &experiment, &cells, &outcomes)?;
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
        super::print(&format!("\n{}", experiment.markdown(&outcomes)))?;
        super::print(&format!("saved to {}", out.display()))
    }
}

fn save(out: &Path, experiment: &Experiment, cells: &[Cell], outcomes: &[Outcome]) -> Result<()> {
    let table = format!("# {}\n\n{}", experiment.title, experiment.markdown(outcomes));
    for (name, text) in [
        ("results.md", table),
        ("results.csv", experiment.csv(outcomes)),
        ("results.svg", compare::svg(experiment, outcomes)),
        ("results.html", compare::page(experiment, out, cells, outcomes)?),
    ] {
        write_whole(&out.join(name), |file| file.write_all(text.as_bytes()))?;
    }
    Ok(())
}
