//! `sff kernels`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use super::network::NetworkArgs;
use crate::Result;
use crate::app::kernels::{self, Listed, Machine};
use crate::compiler::kernel::{Target, Tiles};
use crate::compiler::plan::Limits;
use crate::compiler::variants::{Class, Variants};
use crate::gpu::adapter;

#[derive(Args)]
#[command(before_help = "Example: sff kernels --arch resnet18 --batch 128 --tiles gpu")]
pub struct Kernels {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    device: super::DeviceArg,
    /// Lower for this kind of device; no such device is needed
    #[arg(long, value_enum, conflicts_with = "device")]
    tiles: Option<Kind>,
    /// Print JSON: a list of dispatches
    #[arg(long)]
    json: bool,
    /// Print the composed WGSL of the kernels whose names begin with this, such as conv2d.main
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    show: Option<String>,
    /// Write every kernel in WGSL, SPIR-V, MSL and HLSL, and an index of the dispatches
    #[arg(long, value_name = "FOLDER")]
    dump: Option<PathBuf>,
}

/// A kind of device.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// A GPU with memory of its own
    Gpu,
    /// A GPU integrated into a processor, or an Apple GPU
    Integrated,
    /// Vulkan on a CPU
    Cpu,
}

impl Kernels {
    /// The device that the step is lowered for.
    fn machine(&self) -> Result<Machine> {
        let unlimited = Target::unlimited(Tiles::GPU);
        let of = |class: Class, subgroup| Machine {
            variants: Variants::of(class, subgroup, None),
            target: Target { max_flops: class.max_flops(), ..unlimited },
        };
        Ok(match self.tiles {
            Some(Kind::Gpu) => of(Class::Discrete, Some(32)),
            Some(Kind::Integrated) => of(Class::Integrated, Some(32)),
            Some(Kind::Cpu) => of(Class::Cpu, Some(8)),
            None => {
                let adapters = adapter::list();
                let adapter = &adapters[adapter::choose(&adapters, self.device.device.as_deref())?];
                let (class, limits) = (adapter.class(), adapter.limits());
                Machine {
                    variants: Variants::of(class, adapter.subgroup, adapter.matrices),
                    target: Target {
                        max_binding: limits.max_binding,
                        max_flops: class.max_flops(),
                        max_steps: adapter.max_steps(),
                        ..unlimited
                    },
                }
            }
        })
    }

    pub fn run(self) -> Result<()> {
        let config = self.network.given()?;
        let built = self
            .network
            .build(&config, Limits::NONE, |demand| demand.program(self.network.batch))?;
        let listed = kernels::list(&built, &self.machine()?)?;
        if let Some(folder) = &self.dump {
            let count = kernels::dump(&listed, folder)?;
            super::note(&format!("wrote {count} kernels to {}", folder.display()));
        }
        if self.json {
            return super::print_json(&listed);
        }
        if let Some(name) = &self.show {
            return super::print(kernels::show(&listed, name)?.trim_end());
        }
        super::print(table(&listed).trim_end())
    }
}

fn table(listed: &[Listed]) -> String {
    let mut out = format!(
        "{:20} {:16} {:28} {:16} {:>10} {:>10} {:>10}\n",
        "op", "block", "kernel", "tiles", "workgroups", "MFLOP", "MB"
    );
    for Listed { op, block, kernel, tiles, workgroups, flops, bytes, .. } in listed {
        let block = block.as_deref().unwrap_or("");
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{op:20} {block:16} {kernel:28} {tiles:16} {workgroups:10} {:10.2} {:10.3}",
            1e-6 * flops,
            1e-6 * bytes
        );
    }
    let sum = |of: fn(&Listed) -> f64| 1e-6 * listed.iter().map(of).sum::<f64>();
    let workgroups: u64 = listed.iter().map(|listed| listed.workgroups).sum();
    let _ = writeln!(
        out,
        "{:20} {:16} {:28} {:16} {workgroups:10} {:10.2} {:10.3}",
        format!("{} dispatches", listed.len()),
        "",
        "",
        "",
        sum(|listed| listed.flops),
        sum(|listed| listed.bytes)
    );
    out
}
