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
//! # From a network to a step
//!
//! ```text
//! images ──► data ──► augment, feed ─────┐
//!                                        ▼
//! block, models ──► program ──► plan ──► session ──► a few submits a step ──► metrics
//! what learns       ops in      where    buffers,
//! together          order       tensors  pipelines,
//!                               live     bind groups
//! ```
//!
//! - [`block`] describes networks as data, [`models`] has those that are built in.
//! - [`program::build`] turns one into a [`program::Program`]: [`ops`] over named [`tensor`]s.
//!   The ops of a block (forward, loss, backward, update) are adjacent.
//! - [`augment`] draws how each training image is cropped, coloured and mixed; the first op of a
//!   step, [`ops::Op::Input`], does it.
//! - [`plan::Plan`] gives every tensor a place in one arena, so that tensors which are never
//!   alive at the same time share bytes.
//! - [`kernel::lower`] turns each op into dispatches of the kernels in `shaders/`, and
//!   [`session::Session`] makes all of it real on a [`gpu::Gpu`].
//! - [`tune`] finds by the clock, among the ways to compute an op, the fastest on a device that
//!   computes what the usual one does.
//! - [`mod@reference`] gives the same ops their meaning in f64 on the CPU; tests compare the two.
//! - [`flops`] counts the arithmetic of a program.
//! - [`memory::Demand`] finds how many images at a time fit a device and a budget.
//! - [`profile::Profile`] times every dispatch of a step, next to what [`peak::Peak`] measured.
//! - [`train::Trainer`] runs epochs; [`run`] adds a folder with checkpoints, and [`report`] a page
//!   with what [`detail`] an evaluation shows; [`infer`] uses what came out, [`mod@inspect`] shows
//!   it, and [`weights`] trades it with torchvision.
//!
//! Everything up to [`plan`] and [`kernel`] is pure data and needs no device.
//!
//! # Example
//!
//! ```no_run
//! use sff::{config::{Config, Recipe}, data, gpu::Gpu, train::Trainer};
//!
//! # fn main() -> sff::Result<()> {
//! let config = Config::resolve(Recipe { dataset: Some("shapes".into()), ..Recipe::default() })?;
//! let dataset = data::load(&config.request())?;
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
//! load whole `vec4`s along channels ([`shape::Layout`]). Weights are stored row, column, input,
//! output; files hold them as torchvision does ([`checkpoint`]).
//!
//! # Determinism
//!
//! No kernel uses atomics on floats; sums are cut by shape alone ([`split`]) and joined in order;
//! random numbers are a function of seed, epoch and image ([`rng`]). The same seed on the same
//! device gives the same bits, also across an interruption.
#![warn(missing_docs)]

pub mod augment;
pub mod block;
pub mod checkpoint;
pub mod compare;
pub mod config;
pub mod data;
pub mod debug;
pub mod detail;
pub mod drill;
pub mod error;
pub mod feed;
pub mod files;
pub mod flops;
pub mod gpu;
pub mod infer;
pub mod inspect;
pub mod interrupt;
pub mod kernel;
pub mod memory;
pub mod metrics;
pub mod models;
pub mod names;
pub mod ops;
pub mod peak;
pub mod plan;
pub mod profile;
pub mod program;
pub mod reference;
pub mod report;
pub mod rng;
pub mod run;
pub mod session;
pub mod shaders;
pub mod shape;
pub mod split;
mod svg;
pub mod tensor;
pub mod train;
pub mod tune;
pub mod weights;

pub use error::{Error, Result};
