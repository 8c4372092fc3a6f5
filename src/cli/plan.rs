//! `sff plan`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use sff::block::Partition;
use sff::config::{Config, Method, Recipe};
use sff::files::write_whole;
use sff::ops::Normalize;
use sff::plan::{self, Limits, Plan as Layout, Report};
use sff::program::{self, Built, Feed, Recompute, Setup};
use sff::shape::Shape;
use sff::{Result, train};

#[derive(Args)]
#[command(after_help = "Example: sff plan --image 32 --batch 128 --classes 10 --svg plan.svg")]
pub struct Plan {
    /// Network: cnn, resnet18 [default: cnn]
    #[arg(long)]
    arch: Option<String>,
    /// Channels of each convolution of the cnn [default: 16,32,64,64]
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    widths: Option<Vec<usize>>,
    /// Side of the images, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 32)]
    image: usize,
    /// Channels of the images
    #[arg(long, value_name = "N", default_value_t = 3)]
    channels: usize,
    /// Images per step
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
    /// Number of classes
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// How it learns [default: sff]
    #[arg(long)]
    method: Option<Method>,
    /// What learns together [default: block]
    #[arg(long)]
    partition: Option<Partition>,
    /// Side of the goodness heads' convolution, in pixels; odd [default: 5]
    #[arg(long, value_name = "K")]
    aux_kernel: Option<usize>,
    /// What backward computes again
    #[arg(long, value_enum, default_value_t)]
    recompute: Recompute,
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

/// A line of the comparison: how it is called, method, partition, what is computed again.
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
    batch: usize,
    #[serde(flatten)]
    report: Report,
}

impl Plan {
    pub fn run(self) -> Result<()> {
        let method = self.method.unwrap_or(Method::Sff);
        let (config, built) = self.build(method, self.partition, self.recompute)?;
        let layout = Layout::new(&built.program, Limits::NONE)?;
        let report = Report::new(&built.program, &layout, &built.blocks);
        let Config { arch, partition, .. } = &config;
        if let Some(path) = &self.svg {
            let title = format!(
                "{arch}, {0}×{0}, batch {1}, {method:?} by {partition:?}: {2:.1} MiB",
                self.image,
                self.batch,
                mib(layout.bytes)
            );
            let svg = plan::svg(&built.program, &layout, &title);
            write_whole(path, |file| file.write_all(svg.as_bytes()))?;
        }
        if self.json {
            let (recompute, batch) = (self.recompute, self.batch);
            let json = Json { arch, method, partition: *partition, recompute, batch, report };
            return super::print_json(&json);
        }
        let mut out = String::new();
        if self.tensors {
            out = format!("{}\n\n", layout.table(&built.program));
        }
        out.push_str(&format!("{report}\n\nother ways to train it, in MiB:\n"));
        out.push_str(&format!("{:20} {:>9} {:>24}", "", "peak", "activations, workspace"));
        for (name, method, partition, recompute) in COMPARED {
            let (_, built) = self.build(method, Some(partition), recompute)?;
            let layout = Layout::new(&built.program, Limits::NONE)?;
            let report = Report::new(&built.program, &layout, &built.blocks);
            let used = mib(report.activations_and_workspace);
            out.push_str(&format!("\n{name:20} {:9.1} {used:24.1}", mib(report.peak_bytes)));
        }
        super::print(&out)
    }

    fn build(
        &self,
        method: Method,
        partition: Option<Partition>,
        recompute: Recompute,
    ) -> Result<(Config, Built)> {
        let recipe = Recipe {
            arch: self.arch.clone(),
            widths: self.widths.clone(),
            method: Some(method),
            partition,
            aux_kernel: self.aux_kernel,
            batch: Some(self.batch),
            ..Recipe::default()
        };
        let config = Config::resolve(recipe)?;
        let setup = Setup {
            image: Shape::new(1, self.image, self.image, self.channels),
            normalize: Normalize { mean: [0.0; 4], std: [1.0; 4] },
            train: Some(Feed { batch: self.batch, resident: self.batch }),
            eval: None,
            micro_batches: 1,
            adamw: train::ADAMW,
            recompute,
        };
        let built = program::build(&config.network(self.classes, self.image), &setup)?;
        Ok((config, built))
    }
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
