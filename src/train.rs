//! Training: runs batches of images through a session, epoch by epoch.

pub mod checkpoint;
pub mod detail;
pub mod feeder;
pub mod metrics;
pub mod trainer;
