//! What needs no device: programs, plans, shaders.

mod networks;
mod plan;
mod shaders;
