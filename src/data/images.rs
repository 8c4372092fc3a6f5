//! Labelled images of one size: in memory, or photos that are decoded on demand.

use std::borrow::Cow;
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ahead::Ahead;
use super::picture::{self, Fit};
use crate::{Error, Result};

/// Labelled u8 images of one size, NHWC, tightly packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Where the pixels are.
    pub pixels: Pixels,
    /// The class of each image, an index into [`super::Dataset::classes`].
    pub labels: Vec<u32>,
}

/// Where the pixels of [`Images`] are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pixels {
    /// All images one after the other: `len() * height * width * channels` bytes.
    Memory(Vec<u8>),
    /// Files that are decoded on demand; always three channels.
    Files(Photos),
}

/// Photos on disk, and how they become images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Photos {
    /// A file for each image.
    pub paths: Arc<[PathBuf]>,
    /// How they are resized and cropped.
    pub fit: Fit,
}

impl Images {
    /// Images whose pixels are in memory, with `[height, width, channels]`.
    pub fn in_memory(size: [usize; 3], pixels: Vec<u8>, labels: Vec<u32>) -> Self {
        let [height, width, channels] = size;
        Self { height, width, channels, pixels: Pixels::Memory(pixels), labels }
    }

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
    ///
    /// # Errors
    /// Those of [`picture::photo`] if the image is a file.
    pub fn image(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        match &self.pixels {
            Pixels::Memory(pixels) => {
                let bytes = self.bytes_per_image();
                Ok(Cow::Borrowed(&pixels[i * bytes..][..bytes]))
            }
            Pixels::Files(photos) => picture::photo(&photos.paths[i], photos.fit).map(Cow::Owned),
        }
    }

    /// The first `n` images, or all when there are fewer.
    pub fn truncated(mut self, n: usize) -> Self {
        let bytes = n.saturating_mul(self.bytes_per_image());
        self.labels.truncate(n);
        match &mut self.pixels {
            Pixels::Memory(pixels) => pixels.truncate(bytes),
            Pixels::Files(photos) => photos.paths = photos.paths[..self.labels.len()].into(),
        }
        self
    }

    /// The images for which `relabel` gives a new label, with that label.
    pub fn relabelled(self, relabel: impl Fn(u32) -> Option<u32>) -> Self {
        let new: Vec<Option<u32>> = self.labels.iter().map(|label| relabel(*label)).collect();
        let kept = |(item, label): (_, &Option<u32>)| label.map(|_| item);
        let pixels = match &self.pixels {
            Pixels::Memory(pixels) => {
                let images = pixels.chunks_exact(self.bytes_per_image()).zip(&new);
                let kept = images.filter(|(_, label)| label.is_some());
                Pixels::Memory(kept.flat_map(|(image, _)| image).copied().collect())
            }
            Pixels::Files(Photos { paths, fit }) => {
                let paths = paths.iter().cloned().zip(&new).filter_map(kept).collect();
                Pixels::Files(Photos { paths, fit: *fit })
            }
        };
        Self { pixels, labels: new.into_iter().flatten().collect(), ..self }
    }

    /// All pixels, image after image.
    ///
    /// # Errors
    /// As [`Images::image`].
    pub fn all(&self) -> Result<Cow<'_, [u8]>> {
        if let Pixels::Memory(pixels) = &self.pixels {
            return Ok(Cow::Borrowed(pixels));
        }
        let reader = Reader::new(self);
        reader.expect((0..self.len() as u32).collect());
        let mut pixels = Vec::with_capacity(self.len() * self.bytes_per_image());
        (0..self.len() as u32).try_for_each(|i| reader.read(i, &mut pixels))?;
        Ok(Cow::Owned(pixels))
    }
}

/// Reads images one by one; files are decoded ahead by worker threads.
pub struct Reader<'a> {
    images: &'a Images,
    ahead: Option<Ahead>,
    waited: Cell<Duration>,
}

impl<'a> Reader<'a> {
    /// A reader of `images`. Threads are started only if their pixels are in files.
    pub fn new(images: &'a Images) -> Self {
        let ahead = match &images.pixels {
            Pixels::Memory(_) => None,
            Pixels::Files(photos) => Some(photos.ahead()),
        };
        Self { images, ahead, waited: Cell::default() }
    }

    /// Announces the next images, in order, to decode them ahead. Reading others is slower but
    /// correct.
    pub fn expect(&self, order: Vec<u32>) {
        if let Some(ahead) = &self.ahead {
            ahead.expect(order);
        }
    }

    /// Appends the pixels of image `index` to `out`.
    ///
    /// # Errors
    /// As [`Images::image`].
    pub fn read(&self, index: u32, out: &mut Vec<u8>) -> Result<()> {
        let start = Instant::now();
        match self.ahead.as_ref().and_then(|ahead| ahead.next(index)) {
            Some(pixels) => out.extend(pixels?),
            None => out.extend_from_slice(&self.images.image(index as usize)?),
        }
        self.waited.set(self.waited.get() + start.elapsed());
        Ok(())
    }

    /// Total time of all reads.
    pub fn waited(&self) -> Duration {
        self.waited.get()
    }
}

impl Photos {
    /// Worker threads that decode these photos.
    pub(super) fn ahead(&self) -> Ahead {
        let Self { paths, fit } = self.clone();
        Ahead::new(move |index| {
            let missing = || Error::usage(format!("there is no photo {index}"));
            picture::photo(paths.get(index as usize).ok_or_else(missing)?, fit)
        })
    }
}

/// Mean and standard deviation per channel: `(pixel / 255 - mean) / std` has mean 0 and standard
/// deviation 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// Mean of each channel, of pixels scaled to 0..=1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, of pixels scaled to 0..=1; never 0.
    pub std: Vec<f32>,
}

impl Normalization {
    /// Measures all of `images`.
    ///
    /// # Errors
    /// As [`Images::image`].
    pub fn of(images: &Images) -> Result<Self> {
        Self::of_some(images, (0..images.len() as u32).collect())
    }

    /// Measures the images with these indices. The sums are integers, so the result is the same on
    /// every platform.
    ///
    /// A constant channel, or one without pixels, gets the standard deviation 1.
    ///
    /// # Errors
    /// As [`Images::image`].
    pub fn of_some(images: &Images, indices: Vec<u32>) -> Result<Self> {
        let mut sums = vec![(0u64, 0u64); images.channels];
        let pixels = (indices.len() * images.height * images.width) as u64;
        let reader = Reader::new(images);
        reader.expect(indices.clone());
        let mut image = Vec::with_capacity(images.bytes_per_image());
        for index in indices {
            image.clear();
            reader.read(index, &mut image)?;
            for pixel in image.chunks_exact(images.channels.max(1)) {
                for (&value, (sum, squares)) in pixel.iter().zip(&mut sums) {
                    let value = u64::from(value);
                    *sum += value;
                    *squares += value * value;
                }
            }
        }
        let scale = pixels.max(1) as f64 * 255.0;
        let measure = |(sum, squares): (u64, u64)| {
            // The square of the sum overflows u64 with tens of thousands of images.
            let spread =
                (u128::from(pixels) * u128::from(squares)).saturating_sub(u128::from(sum).pow(2));
            let std = if spread == 0 { 1.0 } else { (spread as f64).sqrt() / scale };
            ((sum as f64 / scale) as f32, std as f32)
        };
        let (mean, std) = sums.into_iter().map(measure).unzip();
        Ok(Self { mean, std })
    }
}
