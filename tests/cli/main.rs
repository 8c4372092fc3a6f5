//! The program from outside: every command, its files, its errors, and runs that are killed.

mod bad_input;
mod compare;
mod data;
mod happy;
mod interrupted;
mod memory;
mod precision;
mod support;
mod transfer;
mod weights;
