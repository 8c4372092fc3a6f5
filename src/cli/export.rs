//! `sff export`.

use std::path::PathBuf;

use crate::Result;
use crate::app::torchvision;
use clap::Args;

#[derive(Args)]
#[command(before_help = "Example: sff export --run runs/first --out weights.safetensors")]
pub struct Export {
    #[command(flatten)]
    model: super::ModelArg,
    /// The state dict to write, as safetensors with torchvision's names
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Export {
    pub fn run(self) -> Result<()> {
        let differences = torchvision::export(&self.model.path()?, &self.out)?;
        super::print(&format!("saved to {}", self.out.display()))?;
        let Some(differences) = differences else { return Ok(()) };
        for (what, names) in [
            ("torchvision's network has, and this file does not", differences.lacks),
            ("this file has, and torchvision's network does not", differences.has),
        ] {
            if !names.is_empty() {
                super::print(&format!("{what}: {}", names.join(", ")))?;
            }
        }
        Ok(())
    }
}
