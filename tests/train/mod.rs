//! Training on the device.

mod augment;
mod dropout;
mod memory;
mod networks;
mod numerics;
mod parity;
mod precision;
#[cfg(target_os = "linux")]
mod soak;
