//! `sff profile`.

use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::app::config::{Config, Method, one_of};
use crate::app::pages;
use crate::app::profile::{self, ProfileOptions};
use crate::base::files::write_whole;
use crate::gpu::peak::Peak;
use crate::gpu::session::Clock;
use clap::Args;
use serde::Serialize;

use super::network::NetworkArgs;

/// How long each figure of the peak is measured.
const PEAK: Duration = Duration::from_millis(500);

#[derive(Args)]
#[command(
    before_help = "Example: sff profile --arch resnet18 --batch 8 --html profile.html --trace trace.json"
)]
pub struct Profile {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    device: super::DeviceArg,
    #[command(flatten)]
    tune: super::TuneArg,
    /// Steps to time, on random images
    #[arg(long, value_name = "N", default_value_t = 5)]
    steps: usize,
    /// How to time dispatches [default: the most precise clock of the device]
    #[arg(long, value_parser = one_of::<Clock>())]
    clock: Option<Clock>,
    /// Print JSON, which also lists every op
    #[arg(long)]
    json: bool,
    /// Write a trace of a step, for ui.perfetto.dev or chrome://tracing
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write a page with a roofline, a timeline and the tables
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Serialize)]
struct Json<'a> {
    arch: &'a str,
    method: Method,
    image: usize,
    #[serde(flatten)]
    profile: profile::Profile,
}

impl Profile {
    pub fn run(self) -> Result<()> {
        let Self { network, steps, clock, .. } = &self;
        let config = network.given()?;
        let gpu = self.device.open()?;
        let built = network.build(&config, gpu.limits(), |demand| demand.program(network.batch))?;
        let gpu = self.tune.tune(&gpu, &built.program)?;
        let peak = Peak::measure(&gpu, PEAK)?;
        let options = ProfileOptions {
            steps: *steps,
            clock: *clock,
            batch: network.batch,
            classes: network.classes,
        };
        let profile = profile::profile(&gpu, &built, peak, options)?;
        let Config { arch, method, partition, .. } = &config;
        if let Some(path) = &self.html {
            let title = format!(
                "{arch}, {0}×{0}, batch {1}, {method:?} by {partition:?}",
                network.image, network.batch
            );
            let page = pages::profile::page(&profile, &title);
            write_whole(path, |file| file.write_all(page.as_bytes()))?;
        }
        if let Some(path) = &self.trace {
            let trace = profile::trace(&profile).to_string();
            write_whole(path, |file| file.write_all(trace.as_bytes()))?;
        }
        if self.json {
            let (method, image) = (*method, network.image);
            return super::print_json(&Json { arch, method, image, profile });
        }
        super::print(&profile.to_string())
    }
}
