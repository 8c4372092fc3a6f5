//! sff
#![warn(missing_docs)]

pub mod block;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod error;
pub mod feed;
pub mod files;
pub mod gpu;
pub mod infer;
pub mod kernel;
pub mod metrics;
pub mod models;
pub mod ops;
pub mod plan;
pub mod program;
pub mod reference;
pub mod rng;
pub mod run;
pub mod session;
pub mod shaders;
pub mod shape;
pub mod split;
pub mod tensor;
pub mod train;

pub use error::{Error, Result};
