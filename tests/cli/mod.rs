//! The program from outside: every command, its files, its errors, and runs that are killed.

mod bad_input;
mod book;
mod compare;
mod data;
mod explain;
mod faults;
mod foreign;
mod happy;
mod inspect;
mod interrupted;
mod kernels;
mod manual;
mod memory;
mod photos;
mod precision;
mod profile;
pub mod support;
mod transfer;
mod tune;
mod weights;
