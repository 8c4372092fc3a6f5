//! Profiles, and pages in a browser.

mod pages;
mod profile;
