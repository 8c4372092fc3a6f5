//! Tests of profiles, and of pages in a browser.

mod pages;
mod profile;
