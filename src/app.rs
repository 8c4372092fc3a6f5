//! What the commands do: runs and their folders, experiments, inference, profiles and pages.

pub mod config;
pub mod experiment;
pub mod fetch;
pub mod folder;
pub mod inference;
pub mod inspect;
pub mod kernels;
pub mod pages;
pub mod profile;
pub mod records;
pub mod run;
pub mod signals;
pub mod torchvision;
