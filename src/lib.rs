//! sff
#![warn(missing_docs)]

pub mod error;

pub use error::{Error, Result};
