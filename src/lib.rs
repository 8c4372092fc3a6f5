//! sff
#![warn(missing_docs)]

pub mod error;
pub mod ops;
pub mod reference;
pub mod shape;
pub mod tensor;

pub use error::{Error, Result};
