//! Tests without a device: programs, plans, shaders.

mod gradients;
mod networks;
mod plan;
mod shaders;
mod snapshots;
