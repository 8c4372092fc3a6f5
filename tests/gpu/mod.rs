//! Kernels and sessions on the device, against the f64 reference.

mod golden;
mod gradients;
mod guards;
mod kernels;
mod tune;
#[cfg(target_os = "linux")]
mod validation;
