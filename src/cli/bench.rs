//! `sff bench`.

use std::time::Duration;

use crate::Result;
use crate::compiler::variants::Choices;
use crate::gpu::peak::{Peak, Sheet};
use crate::gpu::tune::{self, Cache, Effort, Timed, Tuning};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::network::NetworkArgs;

#[derive(Args)]
#[command(before_help = "Example: sff bench peak --json")]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Measure peak arithmetic and memory throughput, in a few seconds
    #[command(before_help = "Example: sff bench peak --json")]
    Peak {
        #[command(flatten)]
        device: super::DeviceArg,
        /// Approximate seconds for each figure
        #[arg(long, value_name = "S", default_value_t = 2.0)]
        seconds: f64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Time every variant of each op of a training step, and store the choice of the fastest
    #[command(before_help = "Example: sff bench tune --arch resnet18 --batch 8")]
    Tune(Box<TuneBench>),
}

#[derive(Args)]
struct TuneBench {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    device: super::DeviceArg,
    /// Approximate seconds in all; ops that are not reached in time keep the usual variant [default: no
    /// limit]
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Print JSON, with the time of every variant
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct PeakJson<'a> {
    device: &'a str,
    driver: &'a str,
    #[serde(flatten)]
    peak: Peak,
    sheet: Option<Sheet>,
}

impl Bench {
    pub fn run(self) -> Result<()> {
        match self.what {
            What::Peak { device, seconds, json } => peak(&device, seconds, json),
            What::Tune(tune) => tune.run(),
        }
    }
}

fn duration(seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        crate::Error::usage(format!("--seconds must be a positive number, not {seconds}"))
    })
}

fn peak(device: &super::DeviceArg, seconds: f64, json: bool) -> Result<()> {
    let effort = duration(seconds)?;
    let gpu = device.open()?;
    let peak = Peak::measure(&gpu, effort)?;
    let (device, driver) = (&gpu.adapter.name, &gpu.adapter.driver);
    let sheet = Sheet::of(device);
    if json {
        return super::print_json(&PeakJson { device, driver, peak, sheet });
    }
    let compared = sheet.map(|sheet| sheet.next_to(&peak)).unwrap_or_default();
    super::print(&format!("{:10} {device}\n{peak}{compared}", "device"))
}

impl TuneBench {
    fn run(self) -> Result<()> {
        let Self { network, device, seconds, json } = self;
        let total = seconds.map(duration).transpose()?;
        let effort = Effort { total, ..Effort::full() };
        let config = network.given()?;
        let gpu = device.open()?;
        let built = network.build(&config, gpu.limits(), |demand| demand.program(network.batch))?;
        tune::check(&gpu, &built.program)?;
        let mut choices = Choices::default();
        let mut tuning = tune::time(&gpu, &built.program, &gpu.variants(), &effort, &mut choices)?;
        tuning.unsaved = Cache::of_user().remember(&gpu, &choices, &tuning).err();
        let ended = tuning.ended.take();
        super::warn_tuning(&tuning);
        match json {
            true => super::print_json(&tuning)?,
            false => super::print(&format!("{}\n{tuning}", table(&tuning)))?,
        }
        // Results from before the error are printed and stored all the same.
        ended.map_or(Ok(()), Err)
    }
}

/// A line for each kind of op with the times of all variants, most time first, then a line for each
/// variant.
fn table(tuning: &Tuning) -> String {
    let mut ops: Vec<_> = tuning.ops.iter().collect();
    ops.sort_by(|a, b| (b.count as f64 * b.usual_ms()).total_cmp(&(a.count as f64 * a.usual_ms())));
    // Without the digest at the end of the name.
    let name = |op: &Timed| op.op.rsplit_once(' ').map_or(op.op.clone(), |(name, _)| name.into());
    let width = ops.iter().map(|op| name(op).chars().count()).max().unwrap_or(0);
    let mut out = format!(
        "{:width$} {:>5} {:>10} {:>10} {:>5}  {:18} {}\n",
        "op", "count", "usual, ms", "chosen, ms", "gain", "chosen", "all, the usual one first"
    );
    for op in &ops {
        let all: Vec<_> = op.variants.iter().map(|(name, ms)| format!("{name} {ms:.3}")).collect();
        out += &format!(
            "{:width$} {:5} {:10.3} {:10.3} {:5.2}  {:18} {}\n",
            name(op),
            op.count,
            op.usual_ms(),
            op.ms(),
            op.gain(),
            op.chosen,
            all.join(", ")
        );
    }
    out += &format!(
        "\n{:20} {:>6} {:>9} {:>20}\n",
        "variant", "usual", "chosen", "mean gain over usual"
    );
    let mut names: Vec<_> = ops.iter().flat_map(|op| &op.variants).map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let chosen: Vec<_> = ops.iter().filter(|op| op.chosen == name).collect();
        let logs: f64 = chosen.iter().map(|op| op.gain().ln()).sum();
        let mean = (logs / chosen.len().max(1) as f64).exp();
        let usual = ops.iter().filter(|op| op.variants[0].0 == name).count();
        out += &format!("{name:20} {usual:6} {:9} {mean:20.2}\n", chosen.len());
    }
    out
}
