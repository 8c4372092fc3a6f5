//! Networks and training options, as data: what a user chooses, before anything is compiled.

pub mod augment;
pub mod layers;
pub mod models;
pub mod options;
