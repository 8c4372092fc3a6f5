//! Pages and pictures: HTML and SVG that need nothing from elsewhere.

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
