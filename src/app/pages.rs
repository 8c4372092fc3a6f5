//! Pages and pictures: self-contained HTML and SVG.

pub(crate) mod chart;
mod classes;
mod curves;
mod memory;
pub(crate) mod parts;
mod pictures;
pub mod plan;
pub mod profile;
pub mod run;
pub(crate) mod svg;
mod times;
