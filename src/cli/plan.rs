//! `sff plan`.

use std::path::PathBuf;

use crate::Result;
use crate::app::config::{Config, Method};
use crate::app::pages;
use crate::base::files::write_whole;
use crate::compiler::budget;
use crate::compiler::flops::Flops;
use crate::compiler::plan::{Limits, MemoryReport, Plan as Layout};
use crate::compiler::program::Built;
use crate::gpu::adapter;
use crate::net::layers::Head;
use crate::net::options::{Partition, Precision, Recompute};
use clap::Args;
use serde::Serialize;

use super::network::NetworkArgs;

#[derive(Args)]
#[command(before_help = "Example: sff plan --image 32 --batch 128 --classes 10 --svg plan.svg")]
pub struct Plan {
    #[command(flatten)]
    network: NetworkArgs,
    /// Limits on buffer sizes that the plan must keep
    #[arg(long, value_enum, default_value_t)]
    limits: LimitsOf,
    /// Print JSON: peak and lower bound, bytes by kind and by block
    #[arg(long)]
    json: bool,
    /// Also list every tensor with its place and lifetime
    #[arg(long)]
    tensors: bool,
    /// Draw the plan
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Limits that a plan keeps.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum LimitsOf {
    /// No limits
    #[default]
    None,
    /// The limits that every WebGPU device has
    Webgpu,
    /// The limits of this machine's GPU
    Device,
}

impl LimitsOf {
    fn limits(self) -> Result<Limits> {
        match self {
            Self::None => Ok(Limits::NONE),
            Self::Webgpu => Ok(Limits::WEBGPU),
            Self::Device => {
                let adapters = adapter::list();
                Ok(adapters[adapter::choose(&adapters, None)?].limits())
            }
        }
    }
}

/// A line of the comparison: its name, method, partition, and what backward recomputes.
const COMPARED: [(&str, Method, Partition, Recompute); 4] = [
    ("backpropagation", Method::Bp, Partition::Whole, Recompute::None),
    ("… block recomputed", Method::Bp, Partition::Whole, Recompute::Block),
    ("sff, block", Method::Sff, Partition::Block, Recompute::Cheap),
    ("sff, layer", Method::Sff, Partition::Layer, Recompute::Cheap),
];

#[derive(Serialize)]
struct Json<'a> {
    arch: &'a str,
    method: Method,
    partition: Partition,
    recompute: Recompute,
    precision: Precision,
    batch: usize,
    micro_batch: usize,
    /// The kind of goodness heads, if the network has any.
    heads: Option<String>,
    mflop_per_image: f64,
    /// The heads' part of it, as a fraction.
    heads_share: f64,
    #[serde(flatten)]
    report: MemoryReport,
}

impl Plan {
    pub fn run(self) -> Result<()> {
        let limits = self.limits.limits()?;
        let given = &self.network;
        let (batch, image) = (given.batch, given.image);
        let config = given.given()?;
        let built = given.build(&config, limits, |demand| demand.program(batch))?;
        let micro_batch = built.train.as_ref().map_or(batch, |routine| routine.batch);
        let count = batch / micro_batch;
        let layout = budget::plan(&built.program, limits)?;
        let report = MemoryReport::new(&built.program, &layout, &built.blocks);
        let Config { arch, method, partition, .. } = &config;
        let flops = Self::flops(&built);
        let heads = match config.network(given.classes, image).head {
            Head::Goodness(head) => Some(head.to_string()),
            Head::Linear | Head::Classifier { .. } => None,
        };
        if let Some(path) = &self.svg {
            let of = if count > 1 { format!(" by {micro_batch}") } else { String::new() };
            let title = format!(
                "{arch}, {0}×{0}, batch {1}{of}, {method:?} by {partition:?}: {2:.1} MiB",
                image,
                batch,
                mib(layout.bytes)
            );
            let svg = pages::plan::svg(&built.program, &layout, &title);
            write_whole(path, |file| file.write_all(svg.as_bytes()))?;
        }
        if self.json {
            let (recompute, precision) = (built.recompute, config.precision);
            let (method, partition) = (*method, *partition);
            let json = Json {
                arch,
                method,
                partition,
                recompute,
                precision,
                batch,
                micro_batch,
                heads,
                mflop_per_image: mflop(&built, flops),
                heads_share: flops.share(),
                report,
            };
            return super::print_json(&json);
        }
        let mut out = String::new();
        if self.tensors {
            out = format!("{}\n\n", layout.table(&built.program));
        }
        out.push_str(&format!("{report}\n{:20} {}", "limits", self.shown(limits, &layout)));
        out.push_str(&format!(
            "\n{:20} {:9.1} MFLOP per image",
            "arithmetic",
            mflop(&built, flops)
        ));
        if let Some(heads) = heads {
            let share = 100.0 * flops.share();
            out.push_str(&format!(", {share:.1}% of it for heads of {heads}"));
        }
        out.push_str(&format!("\n{:20} {}", "recomputed", recomputed(built.recompute)));
        out.push_str(&format!("\n{:20} {}", "maps in", stored(config.precision)));
        if let Some(memory) = given.memory {
            out.push_str(&format!(
                "\n{:20} {micro_batch} images, {count} to a step, within {memory}",
                "micro-batches"
            ));
        }
        out.push_str("\n\nother ways to train it, in MiB and MFLOP per image");
        if config.window > 0 {
            out.push_str(&format!(", sff with a window of {}", config.window));
        }
        out.push_str(":\n");
        out.push_str(&format!("{:20} {:>9} {:>24}", "", "peak", "activations, workspace"));
        out.push_str(&format!(" {:>9}", "MFLOP"));
        for (name, method, partition, recompute) in COMPARED {
            let config = given.trained(method, partition, recompute)?;
            let built = given
                .build(&config, Limits::NONE, |demand| demand.build(micro_batch, count, false))?;
            let layout = Layout::new(&built.program, Limits::NONE)?;
            let report = MemoryReport::new(&built.program, &layout, &built.blocks);
            let used = mib(report.activations_and_workspace);
            let (peak, mflop) = (mib(report.peak_bytes), mflop(&built, Self::flops(&built)));
            out.push_str(&format!("\n{name:20} {peak:9.1} {used:24.1} {mflop:9.1}"));
        }
        super::print(&out)
    }

    /// The arithmetic of one run of the training ops, for one micro-batch.
    fn flops(built: &Built) -> Flops {
        let ops = built.train.as_ref().map_or(0..0, |routine| routine.ops.clone());
        Flops::count(&built.program, ops)
    }

    fn shown(&self, limits: Limits, layout: &Layout) -> String {
        let name = format!("{:?}", self.limits).to_lowercase();
        match self.limits {
            LimitsOf::None => name,
            LimitsOf::Webgpu | LimitsOf::Device => format!(
                "{name}: buffers up to {} MiB, bindings up to {} MiB; {} used",
                limits.max_buffer >> 20,
                limits.max_binding >> 20,
                match layout.arenas().len() {
                    1 => "one buffer".into(),
                    buffers => format!("{buffers} buffers"),
                }
            ),
        }
    }
}

/// The arithmetic of a micro-batch, per image, in MFLOP.
fn mflop(built: &Built, flops: Flops) -> f64 {
    let images = built.train.as_ref().map_or(1, |routine| routine.batch);
    flops.total as f64 / images as f64 / 1e6
}

/// What backward recomputes, in words.
fn recomputed(recompute: Recompute) -> &'static str {
    match recompute {
        Recompute::None => "nothing",
        Recompute::Cheap => "what follows from the input of batch norm",
        Recompute::Block => "everything inside blocks",
    }
}

/// The type that maps are stored in, in words.
fn stored(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "float32",
        Precision::F16 => "float16",
    }
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
