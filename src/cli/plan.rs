//! `sff plan`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use sff::block::{Head, Partition, Scale};
use sff::config::{Batch, Config, Method, Recipe, Size};
use sff::files::write_whole;
use sff::flops::Flops;
use sff::memory::Demand;
use sff::models::Stem;
use sff::plan::{self, Limits, Plan as Layout, Report};
use sff::program::{Built, Precision, Recompute};
use sff::shape::Shape;
use sff::{Error, Result, gpu, memory};

#[derive(Args)]
#[command(before_help = "Example: sff plan --image 32 --batch 128 --classes 10 --svg plan.svg")]
pub struct Plan {
    /// Network: cnn, resnet18, mobilenet-v3-small, mobilenet-v3-large [default: cnn]
    #[arg(long)]
    arch: Option<String>,
    /// Channels of each convolution of the cnn [default: 16,32,64,64]
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    widths: Option<Vec<usize>>,
    /// How resnet18 and mobilenet-v3 begin [default: cifar for images of up to 64 pixels]
    #[arg(long)]
    stem: Option<Stem>,
    /// Side of the images, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 32)]
    image: usize,
    /// Channels of the images
    #[arg(long, value_name = "N", default_value_t = 3)]
    channels: usize,
    /// Images per step
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
    /// Take no more memory than this, such as 512MiB: shows the micro-batch that training would
    /// use, and counts evaluation too
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Whose limits on buffers to respect
    #[arg(long, value_enum, default_value_t)]
    limits: Whose,
    /// Number of classes
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// How it learns [default: sff]
    #[arg(long)]
    method: Option<Method>,
    /// What learns together [default: block]
    #[arg(long)]
    partition: Option<Partition>,
    /// Join the blocks of the partition to larger ones: a new one begins at each of these
    #[arg(long, value_delimiter = ',', value_name = "BLOCK,…")]
    cuts: Option<Vec<String>>,
    /// Do not train what comes before this block
    #[arg(long, value_name = "BLOCK")]
    freeze_until: Option<String>,
    /// Side of the goodness heads' convolution, in pixels; odd [default: 5, but for networks other
    /// than the cnn what keeps the heads below a fifth of the arithmetic, with the next two]
    #[arg(long, value_name = "K")]
    aux_kernel: Option<usize>,
    /// Make it a convolution of each channel by itself and a 1×1 one, true or false
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    aux_separable: Option<bool>,
    /// Average larger maps to this many pixels a side before it; 0 leaves them as they are
    #[arg(long, value_name = "PIXELS")]
    aux_pool: Option<usize>,
    /// Factor on the goodness: a number, or learnable [default: 1]
    #[arg(long, value_name = "S|learnable", allow_negative_numbers = true)]
    aux_scale: Option<Scale>,
    /// What backward computes again [default: none, or cheap where that needs less; whatever fits
    /// --memory]
    #[arg(long, value_enum)]
    recompute: Option<Recompute>,
    /// What maps and their gradients are stored in
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,
    /// How many blocks before a block its loss reaches
    #[arg(long, value_name = "BLOCKS", default_value_t = 0)]
    window: usize,
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

/// Whose limits a plan respects.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Whose {
    /// Nobody's: how much would it take?
    #[default]
    None,
    /// Those that every WebGPU device has
    Webgpu,
    /// Those of the GPU that is here
    Device,
}

impl Whose {
    fn limits(self) -> Result<Limits> {
        match self {
            Self::None => Ok(Limits::NONE),
            Self::Webgpu => Ok(Limits::WEBGPU),
            Self::Device => {
                let adapters = gpu::list();
                Ok(adapters[gpu::choose(&adapters, None)?].limits())
            }
        }
    }
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
    precision: Precision,
    batch: usize,
    micro_batch: usize,
    /// How the goodness heads see maps, if there are any.
    heads: Option<String>,
    mflop_per_image: f64,
    /// The heads' part of it.
    heads_share: f64,
    #[serde(flatten)]
    report: Report,
}

impl Plan {
    pub fn run(self) -> Result<()> {
        if self.batch == 0 {
            return Err(Error::Usage("--batch must be at least 1".into()));
        }
        let limits = self.limits.limits()?;
        let method = self.method.unwrap_or(Method::Sff);
        let config = self.config(method, self.partition, self.recompute)?;
        // The comparison below has blocks of its own.
        let (cuts, freeze_until) = (self.cuts.clone(), self.freeze_until.clone());
        let config = Config::resolve(Recipe { cuts, freeze_until, ..config.recipe() })?;
        let built = self.build(&config, limits, |demand| demand.program(self.batch))?;
        let micro_batch = built.train.as_ref().map_or(self.batch, |routine| routine.batch);
        let count = self.batch / micro_batch;
        let layout = memory::plan(&built.program, limits)?;
        let report = Report::new(&built.program, &layout, &built.blocks);
        let Config { arch, partition, .. } = &config;
        let flops = Self::flops(&built);
        let heads = match config.network(self.classes, self.image).head {
            Head::Goodness(head) => Some(head.to_string()),
            Head::Linear | Head::Classifier { .. } => None,
        };
        if let Some(path) = &self.svg {
            let of = if count > 1 { format!(" by {micro_batch}") } else { String::new() };
            let title = format!(
                "{arch}, {0}×{0}, batch {1}{of}, {method:?} by {partition:?}: {2:.1} MiB",
                self.image,
                self.batch,
                mib(layout.bytes)
            );
            let svg = plan::svg(&built.program, &layout, &title);
            write_whole(path, |file| file.write_all(svg.as_bytes()))?;
        }
        if self.json {
            let (recompute, batch) = (built.recompute, self.batch);
            let (partition, precision) = (*partition, self.precision);
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
        out.push_str(&format!("\n{:20} {}", "computed again", again(built.recompute)));
        out.push_str(&format!("\n{:20} {}", "maps in", stored(self.precision)));
        if let Some(memory) = self.memory {
            out.push_str(&format!(
                "\n{:20} {micro_batch} images, {count} to a step, within {memory}",
                "micro-batches"
            ));
        }
        out.push_str("\n\nother ways to train it, in MiB and MFLOP per image");
        if self.window > 0 {
            out.push_str(&format!(", sff with a window of {}", self.window));
        }
        out.push_str(":\n");
        out.push_str(&format!("{:20} {:>9} {:>24}", "", "peak", "activations, workspace"));
        out.push_str(&format!(" {:>9}", "MFLOP"));
        for (name, method, partition, recompute) in COMPARED {
            let config = self.config(method, Some(partition), Some(recompute))?;
            let built = self
                .build(&config, Limits::NONE, |demand| demand.build(micro_batch, count, false))?;
            let layout = Layout::new(&built.program, Limits::NONE)?;
            let report = Report::new(&built.program, &layout, &built.blocks);
            let used = mib(report.activations_and_workspace);
            let (peak, mflop) = (mib(report.peak_bytes), mflop(&built, Self::flops(&built)));
            out.push_str(&format!("\n{name:20} {peak:9.1} {used:24.1} {mflop:9.1}"));
        }
        super::print(&out)
    }

    /// What a batch of training costs.
    fn flops(built: &Built) -> Flops {
        let ops = built.train.as_ref().map_or(0..0, |routine| routine.ops.clone());
        Flops::count(&built.program, ops)
    }

    fn config(
        &self,
        method: Method,
        partition: Option<Partition>,
        recompute: Option<Recompute>,
    ) -> Result<Config> {
        Config::resolve(Recipe {
            arch: self.arch.clone(),
            widths: self.widths.clone(),
            stem: self.stem,
            method: Some(method),
            partition,
            aux_kernel: self.aux_kernel,
            aux_separable: self.aux_separable,
            aux_pool: self.aux_pool,
            aux_scale: self.aux_scale,
            batch: Some(Batch::Images(self.batch)),
            memory: self.memory,
            recompute,
            precision: Some(self.precision),
            window: Some(self.window),
            ..Recipe::default()
        })
    }

    /// The program that `choose` makes of what training would ask for.
    fn build(
        &self,
        config: &Config,
        limits: Limits,
        choose: impl FnOnce(&Demand) -> Result<Built>,
    ) -> Result<Built> {
        let network = config.network(self.classes, self.image);
        let image = Shape::new(1, self.image, self.image, self.channels);
        let mut demand = config.training().demand(&network, image, limits);
        demand.test = demand.test.filter(|_| self.memory.is_some());
        choose(&demand)
    }

    fn shown(&self, limits: Limits, layout: &Layout) -> String {
        let name = format!("{:?}", self.limits).to_lowercase();
        match self.limits {
            Whose::None => name,
            Whose::Webgpu | Whose::Device => format!(
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

/// Of a batch, per image.
fn mflop(built: &Built, flops: Flops) -> f64 {
    let images = built.train.as_ref().map_or(1, |routine| routine.batch);
    flops.total as f64 / images as f64 / 1e6
}

/// What is computed again, in words.
fn again(recompute: Recompute) -> &'static str {
    match recompute {
        Recompute::None => "nothing",
        Recompute::Cheap => "what follows from batch norm's input",
        Recompute::Block => "all inside of blocks",
    }
}

/// What maps are stored in, in words.
fn stored(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "float32",
        Precision::F16 => "float16",
    }
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
