//! `sff devices`.

use crate::Result;
use crate::gpu::adapter::{self, Adapter};
use clap::Args;
use serde::Serialize;

#[derive(Args)]
#[command(before_help = "Example: sff devices --device nvidia")]
pub struct Devices {
    #[command(flatten)]
    device: super::DeviceArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    adapter: Adapter,
    used: bool,
}

impl Devices {
    pub fn run(self) -> Result<()> {
        let adapters = adapter::list();
        let chosen = adapter::choose(&adapters, self.device.device.as_deref())?;
        if self.json {
            let listed: Vec<_> = adapters
                .into_iter()
                .map(|adapter| Listed { used: adapter.index == chosen, adapter })
                .collect();
            return super::print_json(&listed);
        }
        let lines: Vec<_> = adapters
            .iter()
            .map(|a| {
                format!(
                    "{a}{}",
                    if a.index == chosen { "\n    this one would be used" } else { "" }
                )
            })
            .collect();
        super::print(&lines.join("\n"))
    }
}
