//! The command line: one file per command, and shared options and output.

mod bench;
mod compare;
mod data;
mod devices;
mod eval;
mod explain;
mod export;
mod import;
mod inspect;
mod kernels;
mod manual;
mod network;
mod plan;
mod predict;
mod profile;
mod progress;
mod sheet;
mod train;
mod words;

pub use words::error as worded;

use std::io::Write;
use std::path::PathBuf;

use crate::app::config::one_of;
use crate::app::folder;
use crate::app::records::ModelInfo;
use crate::base::interrupt::Interrupt;
use crate::base::suggest;
use crate::compiler::program::Program;
use crate::data::Dataset;
use crate::gpu::device::Gpu;
use crate::gpu::tune::{self, Cache, Tune, Tuning};
use crate::net::options::Precision;
use crate::{Error, Result};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::Serialize;

/// Trains convolutional networks without backpropagation between blocks, on any GPU.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = false,
    before_help = "Example: sff train --dataset fashion-mnist --out runs/first",
    after_help = "Exit codes, with one line on standard error:
  0    success
  2    bad options, bad files, and everything else
  3    the device was lost, has no memory left, or does not answer
  4    NaN or infinity, or a result that differs from the reference
  130  interrupted by SIGINT (Ctrl-C); 143 by SIGTERM: a run saves first; a second signal ends it at once"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the GPUs, and show which one would be used
    Devices(devices::Devices),
    /// Train a network
    Train(Box<train::Train>),
    /// Run an experiment: several ways to train, several seeds, tables and a chart
    Compare(compare::Compare),
    /// Measure a trained network on its test images
    Eval(eval::Eval),
    /// Classify pictures with a trained network
    Predict(predict::Predict),
    /// Show the tensors of a model, how it was trained and its accuracy
    Inspect(inspect::Inspect),
    /// Make a model from a state dict with torchvision's names
    Import(Box<import::Import>),
    /// Write a model's weights as a state dict with torchvision's names
    Export(export::Export),
    /// Show how much memory training takes, and for what; needs no GPU
    Plan(Box<plan::Plan>),
    /// List the kernels of a training step, and write them to files; needs no GPU
    Kernels(Box<kernels::Kernels>),
    /// Time every kernel of a training step, compared with the peak of the device
    Profile(Box<profile::Profile>),
    /// Measure the device: its peak, and the fastest kernels
    Bench(bench::Bench),
    /// List, fetch, check and look at data sets
    Data(data::Data),
    /// Print a script that completes commands and options in a shell
    Completions(manual::Completions),
    /// Write manual pages
    Man(manual::Manual),
}

/// Which GPU to use.
#[derive(Args)]
struct DeviceArg {
    /// GPU to use: its number in `sff devices`, or a part of its name [default: the best one]
    #[arg(long, value_name = "N|NAME")]
    device: Option<String>,
}

impl DeviceArg {
    fn open(&self) -> Result<Gpu> {
        Gpu::open(self.device.as_deref())
    }
}

/// How kernels are chosen.
#[derive(Args)]
struct TuneArg {
    /// How to choose the variant of each op: the usual one for this kind of device (off), or the fastest
    /// on this device, after timing those that were not timed yet: for a few seconds, on GPUs only
    /// (auto), or without a limit, on any device (full)
    #[arg(long, value_name = "off|auto|full", default_value = "auto", hide_possible_values = true, value_parser = one_of::<Tune>())]
    tune: Tune,
}

impl TuneArg {
    /// The GPU with its choices of variants for a program.
    fn tune(&self, gpu: &Gpu, program: &Program) -> Result<Gpu> {
        tune::check(gpu, program)?;
        let (gpu, tuning) =
            tune::tune(gpu, self.tune, &Cache::of_user(), &Interrupt::default(), || {
                Ok(program.clone())
            })?;
        if let Some(tuning) = tuning {
            note(&tuning.to_string());
            warn_tuning(&tuning);
        }
        Ok(gpu)
    }
}

/// Prints the warnings of tuning to standard error.
fn warn_tuning(tuning: &Tuning) {
    tuning.warnings().for_each(|warning| note(&format!("warning: {warning}")));
}

/// Prints a line to standard error. The command goes on if that is closed.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Which model to use.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct ModelArg {
    /// Run folder
    #[arg(long, value_name = "FOLDER")]
    run: Option<PathBuf>,
    /// Model file: the model.safetensors of a run, or a model made by `sff import`
    #[arg(long, visible_alias = "model", value_name = "MODEL")]
    init: Option<PathBuf>,
}

impl ModelArg {
    fn path(&self) -> Result<PathBuf> {
        match &self.run {
            Some(run) => folder::find_model(run),
            None => Ok(self.init.clone().unwrap_or_default()),
        }
    }
}

/// The type that maps are stored in.
#[derive(Args)]
struct PrecisionArg {
    /// Type that maps are stored in; f16 needs a device that can compute with it [default: as in
    /// training]
    #[arg(long, value_parser = one_of::<Precision>())]
    precision: Option<Precision>,
}

impl PrecisionArg {
    /// Replaces a model's precision by the given one.
    fn choose(&self, info: &mut ModelInfo) {
        info.config.precision = self.precision.or(info.config.precision);
    }
}

/// Names of the classes.
#[derive(Args)]
struct ClassesArg {
    /// Text file with the name of each class, one a line
    #[arg(long, value_name = "FILE")]
    classes_file: Option<PathBuf>,
}

impl ClassesArg {
    fn read(&self) -> Result<Option<Vec<String>>> {
        let Some(path) = &self.classes_file else { return Ok(None) };
        let names = crate::base::files::read_lines(path)?;
        Ok(Some(names.iter().map(|name| suggest::composed(name)).collect()))
    }
}

/// Parses the command line and runs the command.
pub fn run() -> Result<()> {
    match parse()?.command {
        Command::Devices(command) => command.run(),
        Command::Train(command) => command.run(),
        Command::Compare(command) => command.run(),
        Command::Eval(command) => command.run(),
        Command::Predict(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Import(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::Kernels(command) => command.run(),
        Command::Profile(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Data(command) => command.run(),
        Command::Completions(command) => command.run(Cli::command()),
        Command::Man(command) => command.run(Cli::command()),
    }
}

/// Parses the command line. Clap's errors become one line: the text before the usage, which `--help`
/// shows.
fn parse() -> Result<Cli> {
    let matches = manual::with_layout(Cli::command()).try_get_matches();
    matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        if !error.use_stderr() {
            // `--help` and `--version` print and exit with success.
            error.exit();
        }
        let text = error.to_string();
        let lines = text.lines().take_while(|line| !line.starts_with("Usage:"));
        let lines: Vec<_> = lines.filter(|line| !line.starts_with("For more")).collect();
        let message = lines.join(" ");
        Error::usage(format!("{} (see --help)", message.trim_start_matches("error: ").trim_end()))
    })
}

/// Prints to standard output. A closed pipe, such as of `head`, is no error.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
    {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", std::path::Path::new("standard output"))(e))
        }
        _ => Ok(()),
    }
}

/// Prints to standard error where a data set was found, and which files were left out.
fn tell_found(dataset: &Dataset) {
    if !dataset.found.source.is_empty() {
        note(&dataset.found.source);
    }
    warn_left_out(dataset);
}

/// Prints to standard error which photos were left out and which files are not used.
fn warn_left_out(dataset: &Dataset) {
    /// Number of files to name; the others are only counted.
    const NAMED: usize = 10;
    let skipped = &dataset.skipped;
    let notes = dataset.found.notes.iter().map(|note| format!("warning: {}", words::message(note)));
    let left_out = skipped.iter().take(NAMED).map(|problem| format!("warning: left out {problem}"));
    let mut lines: Vec<String> = notes.chain(left_out).collect();
    if !skipped.is_empty() {
        let total = skipped.len() + dataset.train.len() + dataset.test.len();
        lines.push(format!("warning: {} of {total} pictures left out", skipped.len()));
    }
    lines.iter().for_each(|line| note(line));
}

fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::usage(format!("the result cannot be written as JSON: {e}")))?;
    print(&text)
}

/// A fraction as a percentage.
fn percent(fraction: f64) -> String {
    format!("{:.2}%", 100.0 * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command without subcommands, with its name and its help.
    fn leaves(command: clap::Command, name: &str) -> Vec<(String, String)> {
        let mut command = command;
        let help = command.render_help().to_string();
        let below: Vec<_> = command.get_subcommands().filter(|c| c.get_name() != "help").collect();
        let below = below
            .into_iter()
            .flat_map(|below| leaves(below.clone(), &format!("{name} {}", below.get_name())));
        let below: Vec<_> = below.collect();
        [vec![(name.to_owned(), help)], below].concat()
    }

    #[test]
    fn help_begins_with_examples_that_work() {
        let all = leaves(manual::with_layout(Cli::command()), "sff");
        assert!(all.iter().any(|(name, _)| name == "sff data list"));
        for (name, help) in all {
            let (before, after) = help.split_once("Usage:").expect("help has the usage");
            assert!(after.contains("Options:") && !after.contains("Example"), "{help}");
            let (_, examples) = before.split_once("Example").unwrap_or_else(|| panic!("{help}"));
            let lines = examples.trim_start_matches('s').trim_start_matches(':').lines();
            let lines: Vec<_> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
            assert!(!lines.is_empty(), "{help}");
            for line in lines {
                assert!(format!("{line} ").starts_with(&format!("{name} ")), "{name}: {line}");
                let words = line.split(" > ").next().unwrap_or_default().split_whitespace();
                Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
            }
        }
    }

    #[test]
    fn clap_accepts_the_command_line() {
        Cli::command().debug_assert();
    }
}
