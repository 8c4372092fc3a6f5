//! Whole training steps: `cargo bench --bench steps [-- OPTIONS]` prints images per second and the time
//! of the host, for several networks trained by SFF and by backpropagation on random images of 32×32
//! pixels. `--json` prints a line per case instead. `--table FILE…` makes a table of such lines, from
//! this program or from `benches/peers/torch_nets.py`. `SFF_TEST_DEVICE` chooses the device.

#[path = "steps/table.rs"]
mod table;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use sff::internals::app::config::one_of;
use sff::internals::app::pages;
use sff::internals::app::profile::{self, Profile};
use sff::internals::base::choice::Choice;
use sff::internals::base::files::write_whole;
use sff::internals::base::interrupt::Interrupt;
use sff::internals::base::shape::Shape;
use sff::internals::compiler::budget::Demand;
use sff::internals::gpu::device::Gpu;
use sff::internals::gpu::peak::Peak;
use sff::internals::gpu::tune::{Cache, Tune, tune};
use sff::internals::net::layers::{Head, Network};
use sff::internals::net::models::{self, Arch, Stem};
use sff::internals::net::options::{Partition, Precision, TrainOptions};
use sff::{Error, Result};
use table::Row;

const SIDE: usize = 32;
const METHODS: [&str; 2] = ["sff", "bp"];

#[derive(Parser)]
struct Cli {
    /// Added by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// Networks
    #[arg(long, value_delimiter = ',', default_value = "cnn,resnet18,mobilenet-v3-small")]
    arch: Vec<String>,
    /// Images per step
    #[arg(long, value_delimiter = ',', default_value = "8")]
    batch: Vec<usize>,
    /// Numbers of classes
    #[arg(long, value_delimiter = ',', default_value = "10")]
    classes: Vec<usize>,
    /// Number format of maps
    #[arg(long, value_delimiter = ',', value_parser = one_of::<Precision>(), default_value = "f32")]
    precision: Vec<Precision>,
    /// Steps to time
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,
    /// How kernels are chosen
    #[arg(long, value_parser = one_of::<Tune>(), default_value = "auto")]
    tune: Tune,
    /// Print a line of JSON per case
    #[arg(long)]
    json: bool,
    /// Folder for a page per network, method and precision, at the first batch and classes
    #[arg(long, value_name = "FOLDER")]
    pages: Option<PathBuf>,
    /// Measure nothing, but print a table of these files
    #[arg(long, value_name = "FILE", num_args = 1..)]
    table: Vec<PathBuf>,
}

/// A network, and how it is trained.
#[derive(Clone, Copy)]
struct Case<'a> {
    arch: &'a str,
    classes: usize,
    batch: usize,
    precision: Precision,
    method: &'static str,
}

/// The result of a case.
struct Measured {
    profile: Profile,
    /// Memory of the plan.
    bytes: u64,
    /// Time until the first step is done, in seconds.
    start_s: f64,
}

impl Cli {
    /// The most informative cases come first: the time on a machine may end before the last.
    fn cases(&self) -> Vec<Case<'_>> {
        let mut cases = Vec::new();
        for classes in &self.classes {
            for batch in &self.batch {
                for precision in &self.precision {
                    for arch in &self.arch {
                        cases.extend(METHODS.map(|method| Case {
                            arch,
                            classes: *classes,
                            batch: *batch,
                            precision: *precision,
                            method,
                        }));
                    }
                }
            }
        }
        cases
    }

    fn profile(&self, gpu: &Gpu, peak: Peak, case: Case) -> Result<Measured> {
        let Case { arch, classes, batch, precision, method } = case;
        let unknown = || Error::usage(format!("no network is called {arch}"));
        let built_in = Arch::named(arch).ok_or_else(unknown)?;
        let (partition, head) = match method {
            "sff" => (Partition::Block, Head::goodness(1)),
            _ => (Partition::Whole, built_in.classifier()),
        };
        let blocks = built_in.blocks(&models::CNN_WIDTHS, Stem::Cifar, partition);
        let network = Network { blocks, head, classes };
        let image = Shape::new(1, SIDE, SIDE, 3);
        let training = TrainOptions { batch, precision, ..TrainOptions::default() };
        let demand = Demand::new(&network, image, &training, gpu.limits());
        let built = demand.build(batch, 1, false)?;
        let bytes =
            sff::internals::compiler::budget::plan(&built.program, gpu.limits())?.bytes as u64;
        let program = || Ok(built.program.clone());
        let (cache, interrupt) = (Cache::of_user(), Interrupt::default());
        let (gpu, tuning) = tune(gpu, self.tune, &cache, &interrupt, program)?;
        if let Some(tuning) = tuning {
            eprintln!("{arch}, {method}, batch {batch}: {tuning}");
            tuning.warnings().for_each(|warning| eprintln!("warning: {warning}"));
        }
        let options =
            profile::ProfileOptions { steps: self.steps.into(), clock: None, batch, classes };
        let start = Instant::now();
        let profile = profile::profile(&gpu, &built, peak, options)?;
        let timed = 1e-3 * f64::from(self.steps) * (profile.step_ms + profile.device_ms);
        let start_s = (start.elapsed().as_secs_f64() - timed).max(0.0);
        if let Some(folder) = &self.pages
            && (batch, classes) == (self.batch[0], self.classes[0])
        {
            let precision = format!("{precision:?}").to_lowercase();
            let title = format!("{arch}, {SIDE}×{SIDE}, batch {batch}, {method}, {precision}");
            let path = folder.join(format!("profile-{arch}-{method}-{precision}.html"));
            let page = pages::profile::page(&profile, &title);
            write_whole(&path, |file| file.write_all(page.as_bytes()))?;
        }
        Ok(Measured { profile, bytes, start_s })
    }

    fn row(&self, gpu: &Gpu, peak: Peak, case: Case) -> Row {
        let row = Row {
            peer: "sff".into(),
            arch: case.arch.into(),
            classes: case.classes,
            batch: case.batch,
            precision: format!("{:?}", case.precision).to_lowercase(),
            method: case.method.into(),
            ..Row::default()
        };
        match self.profile(gpu, peak, case) {
            Ok(Measured { profile, bytes, start_s }) => Row {
                start_s: Some(start_s),
                images_per_second: Some(1e3 * case.batch as f64 / profile.step_ms),
                step_ms: Some(profile.step_ms),
                device_ms: Some(profile.device_ms),
                host_ms: Some(profile.host.encode_ms + profile.host.submit_ms),
                peak_bytes: Some(bytes),
                device: Some(profile.device),
                ..row
            },
            Err(error) => Row { error: Some(error.to_string()), ..row },
        }
    }

    fn run(&self) -> Result<()> {
        if !self.table.is_empty() {
            let rows =
                self.table.iter().map(|path| table::read(path)).collect::<Result<Vec<_>>>()?;
            print!("{}", table::markdown(&rows.concat()));
            return Ok(());
        }
        if let Some(arch) = self.arch.iter().find(|arch| Arch::named(arch).is_none()) {
            return Err(Error::usage(format!("no network is called {arch}")));
        }
        let mut gpu = Gpu::open(std::env::var("SFF_TEST_DEVICE").ok().as_deref())?;
        let peak = Peak::measure(&gpu, Duration::from_millis(200))?;
        let mut rows = Vec::new();
        for case in self.cases() {
            let row = self.row(&gpu, peak, case);
            if self.json {
                println!("{}", serde_json::to_string(&row).expect("plain values"));
            }
            rows.push(row);
            if gpu.is_lost() {
                gpu = gpu.reopen()?;
            }
        }
        if !self.json {
            print!("{}", table::markdown(&rows));
        }
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    match Cli::parse().run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            std::process::ExitCode::from(2)
        }
    }
}
