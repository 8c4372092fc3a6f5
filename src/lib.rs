//! sff
#![warn(missing_docs)]

pub mod block;
pub mod data;
pub mod error;
pub mod gpu;
pub mod kernel;
pub mod ops;
pub mod plan;
pub mod program;
pub mod reference;
pub mod rng;
pub mod session;
pub mod shaders;
pub mod shape;
pub mod split;
pub mod tensor;

pub use error::{Error, Result};
