//! From a network to the dispatches of a step, as data. Nothing here needs a device.
//!
//! [`program`] turns a network into [`ops`] over named [`tensor`]s; [`plan`] gives each tensor a
//! place in memory, and [`budget`] finds how many images fit; [`kernel`] turns each op into
//! dispatches of the shaders that [`wgsl`] composes. [`mod@reference`] gives the ops their meaning
//! in f64.

pub mod budget;
pub mod flops;
pub mod kernel;
pub mod ops;
pub mod plan;
pub mod program;
pub mod reference;
pub mod split;
pub mod tensor;
pub mod variants;
pub mod wgsl;
pub mod work;
