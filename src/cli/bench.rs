//! `sff bench`.

use std::time::Duration;

use clap::{Args, Subcommand};
use sff::Result;
use sff::peak::Peak;

#[derive(Args)]
#[command(before_help = "Example: sff bench peak --json")]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// How fast it computes and moves memory at best, in a few seconds
    #[command(before_help = "Example: sff bench peak --json")]
    Peak {
        #[command(flatten)]
        device: super::DeviceArg,
        /// Seconds to spend on each figure, about
        #[arg(long, value_name = "S", default_value_t = 2.0)]
        seconds: f64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Bench {
    pub fn run(self) -> Result<()> {
        let What::Peak { device, seconds, json } = self.what;
        let effort = Duration::try_from_secs_f64(seconds).map_err(|_| {
            sff::Error::Usage(format!("--seconds must be a positive number, not {seconds}"))
        })?;
        let gpu = device.open()?;
        let peak = Peak::measure(&gpu, effort)?;
        if json {
            return super::print_json(&peak);
        }
        super::print(&format!("{:10} {}\n{peak}", "device", gpu.adapter.name))
    }
}
