//! Tests of the commands: their output, files and errors, and interrupted runs.

mod bad_input;
mod blocks;
mod book;
mod compare;
mod data;
mod explain;
mod faults;
mod foreign;
mod inspect;
mod interrupted;
mod kernels;
mod manual;
mod memory;
mod photos;
mod precision;
mod predict;
mod profile;
mod sheet;
pub mod support;
mod tensors;
mod train;
mod transfer;
mod tune;
mod weights;
