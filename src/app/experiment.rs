//! Experiments: ways to train × columns × seeds, each combination a run, and tables of the results.

mod page;

pub use page::{page, svg};

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Table;

use crate::app::config::{Config, Recipe, Start};
use crate::app::folder;
use crate::app::run::{self, Observer, RunOptions};
use crate::base::files::read_text;
use crate::base::suggest;
use crate::gpu::device::Gpu;
use crate::train::metrics::{Vote, Votes};
use crate::{Error, Result};

/// An experiment as its file describes it. Options are those of [`Recipe`]: a way's options override
/// the column's, and those override `options`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Experiment {
    /// The title of tables and charts.
    pub title: String,
    /// Every way and column has a run for each of these seeds.
    pub seeds: Vec<u64>,
    /// Options of every run.
    #[serde(default)]
    pub options: Table,
    /// If given, each run begins from the model of a run with these options instead of the column's.
    #[serde(default)]
    pub pretrain: Option<Table>,
    /// What varies, such as the number of images; by default a single column without options.
    #[serde(default)]
    pub columns: Vec<Part>,
    /// The ways to train that are compared.
    pub ways: Vec<Part>,
}

/// A row or a column of an experiment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Part {
    /// Its name in tables.
    pub name: String,
    /// Which vote of the blocks tables show for it.
    #[serde(default)]
    pub vote: Vote,
    /// Whether its runs begin from random weights although the experiment has `pretrain`.
    #[serde(default)]
    pub from_scratch: bool,
    /// Options of its runs.
    #[serde(flatten)]
    pub options: Table,
}

/// One run of an experiment.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Index into [`Experiment::ways`].
    pub way: usize,
    /// Index into [`Experiment::columns`].
    pub column: usize,
    /// Its seed.
    pub seed: u64,
    /// Its run folder, below that of the experiment.
    pub folder: PathBuf,
    /// Its options.
    pub recipe: Recipe,
    /// The run whose model it begins from: folder and options.
    pub before: Option<(PathBuf, Recipe)>,
}

/// The result of a run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Outcome {
    /// Index into [`Experiment::ways`].
    pub way: usize,
    /// Index into [`Experiment::columns`].
    pub column: usize,
    /// Its seed.
    pub seed: u64,
    /// Accuracy on the test images, as fractions.
    pub votes: Votes,
}

/// Mean and deviation over seeds, as fractions.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Summary {
    /// The mean.
    pub mean: f64,
    /// Standard deviation of a sample (n - 1); 0 for a single seed.
    pub deviation: f64,
    /// Number of seeds.
    pub runs: usize,
}

impl Experiment {
    /// Reads an experiment and checks the options of all its runs.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`] with the problem, and those of [`Config::resolve`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        let mut this: Self =
            toml::from_str(&text).map_err(|e| Error::corrupt(path, e.to_string().trim()))?;
        if this.columns.is_empty() {
            let name = "accuracy".to_owned();
            this.columns.push(Part {
                name,
                vote: Vote::All,
                from_scratch: false,
                options: Table::new(),
            });
        }
        if this.ways.is_empty() || this.seeds.is_empty() {
            return Err(Error::corrupt(path, "it needs at least one way and one seed"));
        }
        for parts in [&this.ways, &this.columns] {
            let mut names = BTreeSet::new();
            if let Some(twice) = parts.iter().find(|part| !names.insert(slug(&part.name))) {
                let problem = format!(
                    "two parts are named `{}`, or the same but for signs and case",
                    twice.name
                );
                return Err(Error::corrupt(path, problem));
            }
        }
        for cell in this.cells().map_err(|e| Error::corrupt(path, e.to_string()))? {
            Config::resolve(cell.recipe)?;
        }
        Ok(this)
    }

    /// All runs, in the order in which they are done: seed by seed, so that every way and column has
    /// a result early.
    ///
    /// # Errors
    /// [`Error::Usage`] names an option that is unknown or has an invalid value.
    pub fn cells(&self) -> Result<Vec<Cell>> {
        let mut cells = Vec::new();
        for &seed in &self.seeds {
            for (column, varied) in self.columns.iter().enumerate() {
                for (way, compared) in self.ways.iter().enumerate() {
                    let run = format!("{}-seed-{seed}", slug(&compared.name));
                    let options = [&self.options, &varied.options, &compared.options];
                    let mut recipe = recipe(&options, seed)?;
                    let before = match &self.pretrain {
                        Some(first) if !compared.from_scratch => {
                            let folder = PathBuf::from("pretrained").join(&run);
                            let options = [&self.options, first, &compared.options];
                            Some((folder, self::recipe(&options, seed)?))
                        }
                        _ => None,
                    };
                    if let Some((folder, _)) = &before {
                        recipe.init = Some(Start::from(folder::model_path(folder)));
                    }
                    let folder = PathBuf::from(slug(&varied.name)).join(run);
                    cells.push(Cell { way, column, seed, folder, recipe, before });
                }
            }
        }
        Ok(cells)
    }

    /// Mean and deviation of a way in a column; `None` before its first run.
    pub fn summary(&self, outcomes: &[Outcome], way: usize, column: usize) -> Option<Summary> {
        let of = outcomes.iter().filter(|o| (o.way, o.column) == (way, column));
        let values: Vec<f64> = of.map(|o| self.ways[way].vote.of(&o.votes)).collect();
        let runs = values.len();
        let mean = values.iter().sum::<f64>() / runs as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let deviation = (squares / runs.saturating_sub(1).max(1) as f64).sqrt();
        (runs > 0).then_some(Summary { mean, deviation, runs })
    }

    /// A Markdown table: a row for each way, mean ± standard deviation in percent.
    pub fn markdown(&self, outcomes: &[Outcome]) -> String {
        // A bar would end the cell, and a line break the row.
        let cell = |name: &str| name.replace('|', "\\|").replace(['\r', '\n'], " ");
        let names: String = self.columns.iter().map(|c| format!(" {} |", cell(&c.name))).collect();
        let mut out = format!("| |{names}\n|---|{}\n", "---|".repeat(self.columns.len()));
        for (way, compared) in self.ways.iter().enumerate() {
            let value = |column| match self.summary(outcomes, way, column) {
                Some(Summary { mean, runs: 1, .. }) => format!(" {:.1} |", 100.0 * mean),
                Some(s) => format!(" {:.1} ± {:.1} |", 100.0 * s.mean, 100.0 * s.deviation),
                None => " |".to_owned(),
            };
            let cells: String = (0..self.columns.len()).map(value).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(out, "| {} |{cells}", cell(&compared.name));
        }
        out
    }

    /// A line for each run: column, way, seed, and each vote in percent.
    pub fn csv(&self, outcomes: &[Outcome]) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let mut out = "column,way,seed,all,late,last\n".to_owned();
        for o in outcomes {
            let (column, way) = (&self.columns[o.column].name, &self.ways[o.way].name);
            let Votes { all, late, last } = o.votes;
            let [all, late, last] = [all, late, last].map(|v| format!("{:.2}", 100.0 * v));
            let (column, way, seed) = (quoted(column), quoted(way), o.seed);
            let _ = writeln!(out, "{column},{way},{seed},{all},{late},{last}");
        }
        out
    }
}

/// Does one run, or resumes it, in a folder below `root`; the folder in `options` is ignored.
///
/// # Errors
/// Those of [`run::configure`] and [`run::train`].
pub fn execute(
    gpu: &Gpu,
    root: &Path,
    cell: &Cell,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    if let Some((folder, recipe)) = &cell.before {
        finish(gpu, root.join(folder), recipe.clone(), options, observer)?;
    }
    let init = cell.recipe.init.as_ref().map(|model| Start::from(root.join(&model.path)));
    let recipe = Recipe { init, ..cell.recipe.clone() };
    let votes = finish(gpu, root.join(&cell.folder), recipe, options, observer)?;
    let Cell { way, column, seed, .. } = *cell;
    Ok(Outcome { way, column, seed, votes })
}

/// The votes after the last epoch of a run, which is started, resumed, or only read if it is
/// finished.
fn finish(
    gpu: &Gpu,
    folder: PathBuf,
    recipe: Recipe,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<Votes> {
    let options = RunOptions { folder, resume: true, ..options.clone() };
    let config = run::configure(recipe, &options, gpu)?;
    let records = match folder::finished(&options.folder, &config)? {
        Some(records) => records,
        None => run::train(gpu, &config, &options, observer)?,
    };
    let last = records.last().and_then(|record| record.test.as_ref());
    Ok(last.ok_or_else(|| Error::usage("a run has no epochs"))?.accuracy)
}

/// The recipe of some tables; later tables override earlier ones.
fn recipe(options: &[&Table], seed: u64) -> Result<Recipe> {
    let mut all = Table::new();
    for table in options {
        all.extend(table.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
    let usage = |e: toml::de::Error| Error::usage(suggest::serde_message(e.message()));
    let recipe: Recipe = all.try_into().map_err(usage)?;
    Ok(Recipe { seed: Some(seed), ..recipe })
}

/// A name as a part of a path: lower case, with hyphens.
fn slug(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let words: String = name.chars().map(plain).collect();
    words.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        title = "A < B"
        seeds = [3, 4]
        [options]
        epochs = 2
        lr = 0.1
        [[columns]]
        name = "few images"
        train-limit = 100
        [[columns]]
        name = "many"
        train-limit = 1000
        epochs = 1
        [[ways]]
        name = "SFF, block"
        vote = "late"
        [[ways]]
        name = "BP"
        method = "bp"
        lr = 0.2
        from-scratch = true
    "#;

    fn read(text: &str) -> Result<Experiment> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.toml");
        std::fs::write(&path, text).unwrap();
        Experiment::read(&path)
    }

    #[test]
    fn every_way_column_and_seed_is_a_run() {
        let cells = read(TEXT).unwrap().cells().unwrap();
        let folders: Vec<_> = cells.iter().map(|c| c.folder.to_str().unwrap()).collect();
        assert_eq!(
            folders[..3],
            ["few-images/sff-block-seed-3", "few-images/bp-seed-3", "many/sff-block-seed-3"]
        );
        assert_eq!(folders.len(), 8);
        let last = &cells[7].recipe;
        assert_eq!((last.epochs, last.lr, last.seed), (Some(1), Some(0.2), Some(4)));
        assert_eq!((last.train_limit, last.init.clone()), (Some(1000), None));
    }

    #[test]
    fn runs_begin_from_a_pretrained_model_unless_from_scratch() {
        let text = format!("{TEXT}\n[pretrain]\nepochs = 9\n");
        let cells = read(&text).unwrap().cells().unwrap();
        let (folder, before) = cells[0].before.as_ref().unwrap();
        let model = Start::from(folder.join("model.safetensors"));
        assert_eq!(cells[0].recipe.init, Some(model));
        assert_eq!((before.epochs, before.train_limit, before.seed), (Some(9), None, Some(3)));
        assert!(cells[1].before.is_none() && cells[1].recipe.init.is_none());
    }

    #[test]
    fn tables_hold_means_and_deviations() {
        let experiment = read(TEXT).unwrap();
        let outcome = |way, column, seed, all, late| Outcome {
            way,
            column,
            seed,
            votes: Votes { all, late, last: 0.0 },
        };
        let outcomes =
            [outcome(0, 0, 3, 0.1, 0.5), outcome(0, 0, 4, 0.1, 0.52), outcome(1, 1, 3, 0.25, 0.1)];
        let s = experiment.summary(&outcomes, 0, 0).unwrap();
        assert!((s.mean - 0.51).abs() < 1e-12 && (s.deviation - 0.0002f64.sqrt()).abs() < 1e-12);
        assert_eq!(experiment.summary(&outcomes, 1, 0), None);
        let table = experiment.markdown(&outcomes);
        let expected = "| | few images | many |\n|---|---|---|\n| SFF, block | 51.0 ± 1.4 | |\n| BP | | 25.0 |\n";
        assert_eq!(table, expected);
        let csv = experiment.csv(&outcomes);
        assert!(csv.ends_with("\"many\",\"BP\",3,25.00,10.00,0.00\n"), "{csv}");
        let picture = svg(&experiment, &outcomes);
        assert!(picture.contains("A &lt; B") && picture.contains("few images"), "{picture}");
    }

    #[test]
    fn errors_name_the_problem() {
        for (from, to, expected) in [
            ("lr = 0.1", "learning-rate = 3", "learning-rate"),
            ("epochs = 2", "epoch = 2", "did you mean `epochs`?"),
            ("method = \"bp\"", "method = \"magic\"", "magic"),
            ("name = \"many\"", "name = \"Few, images\"", "but for signs"),
            ("seeds = [3, 4]", "seeds = []", "one seed"),
            ("title", "titel", "titel"),
            ("method = \"bp\"", "method = \"bp\"\npartition = \"layer\"", "--partition"),
        ] {
            let message = read(&TEXT.replace(from, to)).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
