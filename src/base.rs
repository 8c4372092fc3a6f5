//! The ground floor: errors, files, sizes, shapes, random numbers.

pub mod bytes;
pub mod choice;
pub mod error;
pub mod faults;
pub mod files;
pub mod hint;
pub mod interrupt;
pub mod random;
pub mod shape;
pub mod suggest;
