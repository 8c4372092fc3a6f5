//! Programs on a GPU. Only this floor uses wgpu.

pub mod adapter;
pub mod device;
pub mod numerics;
pub mod peak;
mod pipelines;
pub mod session;
pub mod tune;
