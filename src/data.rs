//! Data sets: read from files, or drawn by the program itself.
//!
//! [`load`] is the one door. Files are never fetched: a data set that is not there is an
//! [`Error::MissingData`] that says where it was looked for and how to get it.

pub mod cifar;
pub mod idx;
pub mod picture;
mod place;
pub mod shapes;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};
use place::Places;

/// The data sets that [`load`] knows.
pub const NAMES: &[&str] = &["fashion-mnist", "mnist", "cifar10", "shapes", "shapes32"];

/// Labelled u8 images of one size, NHWC, tightly packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// All images one after the other: `len() * height * width * channels` bytes.
    pub pixels: Vec<u8>,
    /// The class of each image, an index into [`Dataset::classes`].
    pub labels: Vec<u32>,
}

impl Images {
    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// `height * width * channels`.
    pub fn bytes_per_image(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The pixels of image `i`, HWC. Like indexing, it panics when `i >= len()`.
    pub fn image(&self, i: usize) -> &[u8] {
        let bytes = self.bytes_per_image();
        &self.pixels[i * bytes..][..bytes]
    }

    /// The first `n` images, or all when there are fewer.
    pub fn truncated(mut self, n: usize) -> Self {
        self.pixels.truncate(n.saturating_mul(self.bytes_per_image()));
        self.labels.truncate(n);
        self
    }
}

/// A data set in memory: images to train on, and others to test with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// One of [`NAMES`].
    pub name: String,
    /// The name of each class, in the order of the labels.
    pub classes: Vec<String>,
    /// Images to train on.
    pub train: Images,
    /// Images to test with, of the same size.
    pub test: Images,
}

/// Per channel, what maps `pixel / 255` to mean 0 and standard deviation 1: `(x - mean) / std`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// Mean of each channel, of pixels scaled to 0..=1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, of pixels scaled to 0..=1; never 0.
    pub std: Vec<f32>,
}

impl Normalization {
    /// Measures `images`. Sums are of integers, so the result is the same everywhere.
    ///
    /// A channel that is the same in every pixel (or has none) gets the standard deviation 1.
    pub fn of(images: &Images) -> Self {
        let mut sums = vec![(0u64, 0u64); images.channels];
        for pixel in images.pixels.chunks_exact(images.channels.max(1)) {
            for (&value, (sum, squares)) in pixel.iter().zip(&mut sums) {
                let value = u64::from(value);
                *sum += value;
                *squares += value * value;
            }
        }
        let pixels = (images.len() * images.height * images.width) as u64;
        let scale = pixels.max(1) as f64 * 255.0;
        let measure = |(sum, squares): (u64, u64)| {
            // The square of the sum passes 2^64 with a few ten thousand images.
            let spread =
                (u128::from(pixels) * u128::from(squares)).saturating_sub(u128::from(sum).pow(2));
            let std = if spread == 0 { 1.0 } else { (spread as f64).sqrt() / scale };
            ((sum as f64 / scale) as f32, std as f32)
        };
        let (mean, std) = sums.into_iter().map(measure).unzip();
        Self { mean, std }
    }
}

/// Which data set to load, and how much of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// One of [`NAMES`].
    pub name: String,
    /// The folder given with `--data`, searched first; drawn data sets have no use for it.
    pub folder: Option<PathBuf>,
    /// Keep only the first so many training images; more than there are means all.
    pub train_limit: Option<usize>,
    /// Seed of the drawn data sets.
    pub seed: u64,
}

/// Loads or draws a data set.
///
/// # Errors
///
/// [`Error::Usage`] for an unknown name, a limit of 0 or a folder that is not there,
/// [`Error::MissingData`] when the files are in none of the places searched, and
/// [`Error::Corrupt`] or [`Error::Io`] when they cannot be read.
pub fn load(request: &Request) -> Result<Dataset> {
    let name = request.name.as_str();
    let limit = request.train_limit.unwrap_or(usize::MAX);
    if limit == 0 {
        return Err(Error::Usage("a limit of 0 leaves no images to train on".into()));
    }
    let places = || Places::new(request.folder.as_deref());
    let mut data = match name {
        "fashion-mnist" => idx::load(name, &idx::FASHION, &places()?)?,
        "mnist" => idx::load(name, &idx::DIGITS, &places()?)?,
        "cifar10" => cifar::load(name, &places()?)?,
        "shapes" => shapes::dataset(name, 28, 1, limit, request.seed),
        "shapes32" => shapes::dataset(name, 32, 3, limit, request.seed),
        _ => return Err(unknown(name)),
    };
    data.train = data.train.truncated(limit);
    Ok(data)
}

/// The error for a name that is not in [`NAMES`], with the likeliest one that was meant.
fn unknown(name: &str) -> Error {
    let lower: Vec<char> = name.to_lowercase().chars().take(64).collect();
    let close = NAMES
        .iter()
        .map(|known| (edits(&lower, known), known))
        .filter(|(edits, known)| *edits <= known.len() / 2)
        .min();
    let hint = close.map_or(String::new(), |(_, known)| format!("; did you mean {known}?"));
    Error::Usage(format!("no data set is called '{name}'{hint} (there are {})", NAMES.join(", ")))
}

/// Levenshtein's distance: how many letters to insert, delete or replace.
fn edits(word: &[char], other: &str) -> usize {
    let mut row: Vec<usize> = (0..=word.len()).collect();
    for (i, there) in other.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for (here, above) in word.iter().zip(row.windows(2)) {
            left = (left + 1).min(above[1] + 1).min(above[0] + usize::from(*here != there));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
