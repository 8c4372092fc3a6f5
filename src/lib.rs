//! A GPU engine that trains convolutional networks **without backpropagation between blocks**,
//! by the Scalable Forward-Forward algorithm (A. Krutsylo, arXiv 2501.03176), with hand-written
//! WGSL kernels on any Vulkan, Metal or DX12 device.
//!
//! # The algorithm
//!
//! A network is a list of blocks. The output of each block is normalised per image, and a small
//! convolution with one output channel per class turns it into class maps; the mean square of a
//! map is the *goodness* of its class. The cross-entropy of the softmax of the goodness is the block's
//! own loss. The block is updated by ordinary gradients *inside* it, and the next block takes its
//! normalised output as input data:
//!
//! ```text
//! h = Block_b(x_b)                      n = (h - mean) / sqrt(var + 1e-5), per image
//! g[i,k] = mean over pixels of AuxConv_b(n)[i,k]²
//! loss_b = mean over i of logsumexp_k g[i,k] - g[i, label_i]
//! x_{b+1} = n, without gradient
//! ```
//!
//! After the update, the activations of a block are not needed any more, and the next block reuses
//! their memory. For a prediction, the goodness of all blocks (or of the later ones) is averaged.
//!
//! # Floors
//!
//! Folders are floors. Each imports only from the ones below it, and modules of a floor do not
//! import each other in a circle. A test checks all `use` lines.
//!
//! | floor | contents |
//! |---|---|
//! | [`cli`] | the command line: options to calls, results to text |
//! | [`app`] | runs and their folders, experiments, inference, profiles, pages |
//! | [`train`] | epochs over batches: trainer, feeder, checkpoints, metrics |
//! | [`gpu`], [`data`] | programs on a device, by wgpu; images from files. Independent of each other |
//! | [`compiler`] | networks to ops, memory plans, dispatches of WGSL kernels. No device |
//! | [`net`] | networks and options, as data |
//! | [`base`] | errors and their hints, files, sizes, shapes, random numbers |
//!
//! The top two belong to the feature `cli`, which is on by default. Without it
//! (`default-features = false`) the library consists of the floors below: it trains your own networks
//! on a GPU, as in `examples/custom.rs`, and does not depend on crates for the command line, progress
//! bars, signals and downloads.
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
//! - [`net::layers`] describes networks as data, [`net::models`] has the built-in ones.
//! - [`compiler::program::build`] compiles a network to a [`compiler::program::Program`]: a list of
//!   [`compiler::ops`] on named [`compiler::tensor`]s. The ops of a block (forward, loss, backward,
//!   update) are adjacent.
//! - [`net::augment`] draws the augmentation of each training image; the first op of a step applies
//!   it.
//! - [`compiler::plan::Plan`] allocates all tensors in one arena, where tensors that are not alive at
//!   the same time share bytes; [`compiler::budget::Demand`] finds the largest micro-batch that fits a
//!   device and a budget.
//! - [`compiler::kernel`] lowers each op to dispatches of the kernels in `shaders/`, and
//!   [`gpu::session::Session`] runs them on a [`gpu::device::Gpu`].
//! - [`gpu::tune`] times the variants of each op on a device, and chooses the fastest whose result
//!   agrees with the default.
//! - [`mod@compiler::reference`] computes the same ops in f64 on the CPU; tests compare the two.
//! - [`train::trainer::Trainer`] runs epochs; [`app::run`] adds a folder with checkpoints, and
//!   [`app::pages`] a page about an evaluation; [`app::inference`] classifies images with a trained
//!   network, [`mod@app::inspect`] describes a model file, and [`app::torchvision`] imports and exports
//!   weights in torchvision's format.
//! - [`app::profile::Profile`] times every dispatch of a step, next to the peak that
//!   [`gpu::peak::Peak`] measured.
//!
//! # From `main.rs` to a dispatch, in ten steps
//!
//! 1. `main.rs` calls [`cli::run`], which parses the command line into a command, here `sff train`.
//! 2. `cli/train.rs` applies the options to a recipe and opens a [`Gpu`]; [`app::run::configure`] fills in
//!    defaults.
//! 3. [`app::run::train`] loads the images, and creates or resumes the run's folder.
//! 4. [`train::trainer::Trainer::new`] asks [`compiler::budget::Demand`] for the program that fits the
//!    device and the budget.
//! 5. [`compiler::program::build`] emits ops, block after block: forward, goodness, backward, update
//!    (`program/build.rs`). Each kind of layer has a file with what it emits (`program/layers/conv2d.rs`).
//! 6. [`compiler::program::Program::push`] appends an op, such as [`compiler::ops::Conv2d`], and gives it
//!    scratch; [`compiler::program::Program::validate`] checks the shapes of all ops.
//! 7. [`compiler::plan::Plan::new`] allocates the tensors in the arena.
//! 8. [`gpu::session::Session::new`] lowers each op (`lower` in `compiler/ops/conv2d.rs`) to
//!    [`compiler::kernel::Dispatch`]es: kernel, operands, parameters, invocations.
//! 9. `gpu/pipelines.rs` creates a pipeline for each kernel: [`compiler::wgsl::compose`] composes
//!    `shaders/conv2d/conv2d.wgsl` and its imports, and naga reads the bindings.
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
//! `examples/custom.rs` defines a network and trains it.
//!
//! # Layout of tensors
//!
//! Maps are NHWC, in float32 or float16, with channels padded by zeros to a multiple of four, so that
//! kernels load whole `vec4`s along channels ([`base::shape::Layout`]). Weights are HWIO in memory, and in
//! torchvision's layout in files ([`train::checkpoint`]).
//!
//! # Determinism
//!
//! No kernel uses atomics on floats. Sums are split by shape alone ([`compiler::split`]) and added in order.
//! Random numbers are a function of seed, epoch and image ([`base::random`]). The same seed on the same
//! device gives the same bits, also after an interruption.
#![warn(missing_docs)]
// The front page links to private modules, for contributors.
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

/// All other items, for the project's tests and benchmarks. They may change at any time.
#[doc(hidden)]
pub mod internals {
    /// A floor: see the front page.
    #[cfg(feature = "cli")]
    pub mod app {
        pub use crate::app::*;
    }
    /// A floor: see the front page.
    pub mod base {
        pub use crate::base::*;
    }
    /// A floor: see the front page.
    pub mod compiler {
        pub use crate::compiler::*;
    }
    /// A floor: see the front page.
    pub mod data {
        pub use crate::data::*;
    }
    /// A floor: see the front page.
    pub mod gpu {
        pub use crate::gpu::*;
    }
    /// A floor: see the front page.
    pub mod net {
        pub use crate::net::*;
    }
    /// A floor: see the front page.
    pub mod train {
        pub use crate::train::*;
    }
}
