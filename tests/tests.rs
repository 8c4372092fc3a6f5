//! All integration tests in one binary. Modules are named after the floors of the crate that they
//! test.

mod app;
mod cases;
mod cli;
mod common;
mod compiler;
mod data;
mod floors;
mod gpu;
mod package;
mod train;
mod untrusted;
