//! A GPU engine that trains convolutional networks **without backpropagation between blocks**,
//! by the Scalable Forward-Forward algorithm (A. Krutsylo, arXiv 2501.03176), with hand-written
//! WGSL kernels on any Vulkan, Metal or DX12 device.
//!
//! # The algorithm
//!
//! A network is a list of blocks. Each block normalises its output per image, and a small
//! convolution with one output channel per class turns it into class maps; the mean square of a
//! map is the *goodness* of its class. The softmax of the goodness gives the block a loss of its
//! own. The block is updated by ordinary gradients *inside* it, and then the next block starts
//! from its normalised output, as from data:
//!
//! ```text
//! h = Block_b(x_b)                      n = (h - mean) / sqrt(var + 1e-5), per image
//! g[i,k] = mean over pixels of AuxConv_b(n)[i,k]²
//! loss_b = mean over i of logsumexp_k g[i,k] - g[i, label_i]
//! x_{b+1} = n, without gradient
//! ```
//!
//! Nothing of a block is needed once it is updated, so its memory serves the next one. To
//! predict, the goodness of all blocks (or of the later ones) is averaged.
//!
//! # Floors
//!
//! Folders are floors. Each imports from the ones below it only, and no two modules of a floor
//! import each other in a circle; a test reads all `use` lines and sees to it.
//!
//! | floor | what it knows |
//! |---|---|
//! | [`cli`] | the command line: options to calls, results to text |
//! | [`app`] | runs and their folders, experiments, inference, profiles, pages |
//! | [`train`] | epochs over batches: trainer, feeder, checkpoints, metrics |
//! | [`gpu`], [`data`] | programs on a device, by wgpu; images from files. Neither knows the other |
//! | [`compiler`] | networks to ops, plans in memory, dispatches of WGSL kernels. No device |
//! | [`net`] | networks and options, as data |
//! | [`base`] | errors and their hints, files, sizes, shapes, random numbers |
//!
//! The two on top belong to the feature `cli`, which is on by default. Without it
//! (`default-features = false`) the library is what lies below: networks of your own on a GPU, as
//! `examples/custom.rs` trains one, without the crates that read a command line, draw progress,
//! catch signals and fetch files.
//!
//! # From a network to a step
//!
//! ```text
//! images ──► data ──► train::feeder ─────┐
//!                                        ▼
//! net ──► compiler::program ──► compiler::plan ──► gpu::session ──► a few submits a step
//! layers  ops in order          where tensors      buffers,
//! in      over named tensors    live in one        pipelines,
//! blocks                        arena              bind groups
//! ```
//!
//! `docs/src/engine.svg` shows it for a network of two small blocks.
//!
//! - [`net::layers`] describes networks as data, [`net::models`] has those that are built in.
//! - [`compiler::program::build`] turns one into a [`compiler::program::Program`]: [`compiler::ops`]
//!   over named [`compiler::tensor`]s. The ops of a block (forward, loss, backward, update) are
//!   adjacent.
//! - [`net::augment`] draws how each training image is cropped, coloured and mixed; the first op of
//!   a step does it.
//! - [`compiler::plan::Plan`] gives every tensor a place in one arena, so that tensors which are
//!   never alive at the same time share bytes; [`compiler::budget::Demand`] finds how many images
//!   at a time fit a device and a budget.
//! - [`compiler::kernel`] turns each op into dispatches of the kernels in `shaders/`, and
//!   [`gpu::session::Session`] makes all of it real on a [`gpu::device::Gpu`].
//! - [`gpu::tune`] finds by the clock, among the ways to compute an op, the fastest on a device that
//!   computes what the usual one does.
//! - [`mod@compiler::reference`] gives the same ops their meaning in f64 on the CPU; tests compare
//!   the two.
//! - [`train::trainer::Trainer`] runs epochs; [`app::run`] adds a folder with checkpoints, and
//!   [`app::pages`] a page with what an evaluation shows; [`app::inference`] uses what came out,
//!   [`mod@app::inspect`] shows it, and [`app::torchvision`] trades it with torchvision.
//! - [`app::profile::Profile`] times every dispatch of a step, next to what
//!   [`gpu::peak::Peak`] measured.
//!
//! # From `main.rs` to a dispatch, in ten steps
//!
//! 1. `main.rs` calls [`cli::run`], which parses the command line into a command, here `sff train`.
//! 2. `cli/train.rs` lays the options over a recipe and opens a [`Gpu`]; [`app::run::configure`] fills in
//!    defaults.
//! 3. [`app::run::train`] loads the images, and makes or resumes the run's folder.
//! 4. [`train::trainer::Trainer::new`] asks [`compiler::budget::Demand`] for the program that fits the
//!    device and the budget.
//! 5. [`compiler::program::build`] emits ops, block after block: forward, goodness, backward, update
//!    (`program/build.rs`). Each kind of layer has a file with what it emits (`program/layers/conv2d.rs`).
//! 6. [`compiler::program::Program::push`] checks the shapes of an op, such as
//!    [`compiler::ops::Conv2d`], and allocates its scratch.
//! 7. [`compiler::plan::Plan::new`] gives each tensor its bytes in the arena.
//! 8. [`gpu::session::Session::new`] lowers each op (`lower` in `compiler/ops/conv2d.rs`) to
//!    [`compiler::kernel::Dispatch`]es: kernel, operands, parameters, invocations.
//! 9. `gpu/pipelines.rs` makes a pipeline of each kernel: [`compiler::wgsl::compose`] puts
//!    `shaders/conv2d/conv2d.wgsl` and its imports together, and naga reads its bindings.
//! 10. [`train::trainer::Trainer::train_epoch`] runs the ops of each step (`train/trainer/steps.rs`), and
//!     `gpu/session/submit.rs` encodes them: `dispatch_workgroups`.
//!
//! # Example
//!
//! ```no_run
//! use sff::{Config, Gpu, Recipe, Trainer};
//!
//! # fn main() -> sff::Result<()> {
//! let config = Config::resolve(Recipe { dataset: Some("shapes".into()), ..Recipe::default() })?;
//! let dataset = sff::load(&config.request())?;
//! let network = config.network(dataset.classes.len(), config.image(&dataset).h);
//! let mut trainer = Trainer::new(&Gpu::open(None)?, &network, &dataset, config.training())?;
//! while !trainer.finished() {
//!     let train = trainer.train_epoch(|_| {})?;
//!     let test = trainer.evaluate()?;
//!     println!("loss {:.3}, test accuracy {:.3}", train.loss, test.accuracy.all);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `examples/custom.rs` trains a network of its own making.
//!
//! # Layout of tensors
//!
//! Maps are NHWC float32 with channels padded to a multiple of four by zeros, so that kernels
//! load whole `vec4`s along channels ([`base::shape::Layout`]). Weights are stored row, column, input,
//! output; files hold them as torchvision does ([`train::checkpoint`]).
//!
//! # Determinism
//!
//! No kernel uses atomics on floats; sums are cut by shape alone ([`compiler::split`]) and joined in order;
//! random numbers are a function of seed, epoch and image ([`base::random`]). The same seed on the same
//! device gives the same bits, also across an interruption.
#![warn(missing_docs)]
// The front page tells contributors of modules that users do not see.
#![allow(rustdoc::private_intra_doc_links)]

#[cfg(feature = "cli")]
mod app;
mod base;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod compiler;
mod data;
mod gpu;
mod net;
mod train;

#[cfg(feature = "cli")]
pub use app::config::{Config, Recipe};
#[cfg(feature = "cli")]
pub use app::inference::{Inference, Prediction};
pub use base::error::{Error, Result};
pub use base::hint::{Hint, Message};
pub use base::shape::Window;
pub use data::{Dataset, Images, Request, load};
pub use gpu::device::Gpu;
pub use net::layers::{Activation, BatchNorm, Block, Goodness, Head, Layer, Network, Scale};
pub use net::options::TrainOptions;
pub use train::metrics::{Scores, Vote};
pub use train::trainer::Trainer;

/// Everything else, for the project's own tests and benchmarks: it may change at any time.
#[doc(hidden)]
pub mod internals {
    /// See the floors on the front page.
    #[cfg(feature = "cli")]
    pub mod app {
        pub use crate::app::*;
    }
    /// See the floors on the front page.
    pub mod base {
        pub use crate::base::*;
    }
    /// See the floors on the front page.
    pub mod compiler {
        pub use crate::compiler::*;
    }
    /// See the floors on the front page.
    pub mod data {
        pub use crate::data::*;
    }
    /// See the floors on the front page.
    pub mod gpu {
        pub use crate::gpu::*;
    }
    /// See the floors on the front page.
    pub mod net {
        pub use crate::net::*;
    }
    /// See the floors on the front page.
    pub mod train {
        pub use crate::train::*;
    }
}
