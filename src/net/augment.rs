//! Augmentation: how a stored image becomes the network's input.
//!
//! The host draws the parameters of each image, a [`Sample`]. The device applies them while it
//! gathers a batch ([`crate::compiler::ops::Input`]), always in this order:
//!
//! 1. **Crop and resize**: a box of the stored image becomes the network's input. Resizing is bilinear
//!    with half-pixel centres, as in PyTorch with `align_corners=False` and `antialias=False`; the
//!    border pixels of the box are replicated. A box of the input's size is copied exactly. Pixels
//!    of the box outside of the image are black. Without antialiasing, shrinking to less than half
//!    skips pixels, so images should be stored at no more than about twice the input's size.
//! 2. **Flip** horizontally.
//! 3. **Colour jitter**, on values in [0, 1], clamped after each: brightness scales the values;
//!    contrast scales the distance from the image's mean grey; saturation scales the distance from
//!    the pixel's grey. Grey is 0.299 red + 0.587 green + 0.114 blue. These are torchvision's
//!    definitions, in a fixed order.
//! 4. **Normalise**.
//! 5. **Cutout**: the values in a square become 0, the mean colour.
//! 6. **Mixup** with the next image of the step, after its own steps 1 to 5; the last image is mixed
//!    with the first. Labels are mixed in the same shares.
//!
//! Evaluation uses a centre crop of each image ([`Sample::plain`]).
//!
//! Each image has its own random generator, keyed by (seed, epoch, index), so its draws do not
//! depend on micro-batches or on resuming a run. The partner of an image follows from the order of
//! images in the epoch, which is keyed by (seed, epoch).

use bytemuck::{Pod, Zeroable};

use crate::base::hint::{Hint, message};
use crate::base::random::Rng;
use crate::{Error, Result};

/// Longest side of stored images and of the network's input, in pixels: positions between pixels
/// are exact in 32 bits.
pub const MAX_SIDE: usize = 16_384;

/// Least and greatest ratio of width to height of random resized crops.
const RATIOS: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

/// Boxes to draw before the fallback, a centre crop.
const ATTEMPTS: usize = 10;

/// Options of augmentation; 0 or `false` switches one off.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Augment {
    /// Mirror half of the images horizontally.
    pub flip: bool,
    /// Largest random shift of the box along each axis, in pixels of the stored image.
    pub crop: u8,
    /// Random resized crop: the least area of the box, as a share of the image's area.
    pub random_resized_crop: f32,
    /// Colour jitter s: factors of brightness, contrast and saturation are uniform between 1 - s and
    /// 1 + s.
    pub jitter: f32,
    /// Side of the square that is cut out, in pixels of the input. Its centre is a random pixel, so
    /// parts of it may lie outside.
    pub cutout: usize,
    /// Mixup's alpha (Zhang et al., arXiv 1710.09412): each image is mixed with another one, in
    /// shares drawn from Beta(alpha, alpha). The larger share is the image's own. This changes
    /// nothing in distribution, because partners are random and Beta(alpha, alpha) is symmetric.
    pub mixup: f32,
}

/// Height and width of images, in pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Of the images as they are stored.
    pub stored: [usize; 2],
    /// Of the network's input.
    pub input: [usize; 2],
}

/// A box of the stored image, in pixels.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct Region {
    /// First row; may be outside of the image.
    pub top: i32,
    /// First column; may be outside of the image.
    pub left: i32,
    /// Rows, at least 1.
    pub height: u32,
    /// Columns, at least 1.
    pub width: u32,
}

/// An image of a batch and its augmentation: [`SAMPLE_WORDS`] words, in the layout that the device
/// reads.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Pod, Zeroable)]
pub struct Sample {
    /// Index of the image.
    pub index: u32,
    /// 1 to flip horizontally, else 0.
    pub mirror: u32,
    /// The box that becomes the input.
    pub region: Region,
    /// Factor on all values.
    pub brightness: f32,
    /// Factor on the distance from the image's mean grey.
    pub contrast: f32,
    /// Factor on the distance from the pixel's grey.
    pub saturation: f32,
    /// First row of the square that is cut out; may be outside of the input.
    pub hole_top: i32,
    /// First column of the square that is cut out; may be outside of the input.
    pub hole_left: i32,
    /// Side of the square that is cut out; 0 for none.
    pub hole_side: u32,
    /// Share of the next image of the step, 0 to 0.5. Unused without mixup.
    pub partner_share: f32,
}

/// Number of 32-bit words per [`Sample`] in the `samples` tensor.
pub const SAMPLE_WORDS: usize = 13;

const _: () = assert!(size_of::<Sample>() == 4 * SAMPLE_WORDS);

impl Sizes {
    /// The centre crop: a box of the input's size or, along an axis where the image is smaller, the
    /// whole image.
    pub fn centre(&self) -> Region {
        let [height, width] = [0, 1].map(|axis| self.stored[axis].min(self.input[axis]));
        middle(self.stored, height, width)
    }
}

/// A box of this size in the middle of the stored image.
fn middle(stored: [usize; 2], height: usize, width: usize) -> Region {
    let [top, left] = [(stored[0] - height) / 2, (stored[1] - width) / 2].map(|v| v as i32);
    Region { top, left, height: height as u32, width: width as u32 }
}

impl Sample {
    /// The centre crop of an image, without augmentation.
    pub fn plain(index: u32, sizes: Sizes) -> Self {
        Self {
            index,
            region: sizes.centre(),
            brightness: 1.0,
            contrast: 1.0,
            saturation: 1.0,
            ..Self::zeroed()
        }
    }
}

impl Augment {
    /// Draws the augmentation of an image from `rng`, its own generator in this epoch.
    pub fn draw(&self, index: u32, sizes: Sizes, rng: &mut Rng) -> Sample {
        let mut sample = Sample::plain(index, sizes);
        sample.mirror = u32::from(self.flip && rng.below(2) == 1);
        if self.random_resized_crop > 0.0 {
            sample.region = random_region(sizes.stored, self.random_resized_crop.into(), rng);
        } else {
            let crop = u64::from(self.crop);
            let mut shift = || rng.below(2 * crop + 1) as i32 - i32::from(self.crop);
            sample.region.top += shift();
            sample.region.left += shift();
        }
        if self.jitter > 0.0 {
            let strength = f64::from(self.jitter);
            let mut factor = || uniform(rng, 1.0 - strength, 1.0 + strength) as f32;
            [sample.brightness, sample.contrast, sample.saturation] =
                [factor(), factor(), factor()];
        }
        if self.cutout > 0 {
            let half = (self.cutout / 2) as i32;
            let mut first = |side: usize| rng.below(side as u64) as i32 - half;
            (sample.hole_top, sample.hole_left) = (first(sizes.input[0]), first(sizes.input[1]));
            sample.hole_side = self.cutout as u32;
        }
        if self.mixes() {
            let share = rng.beta(self.mixup.into());
            sample.partner_share = share.min(1.0 - share) as f32;
        }
        sample
    }

    /// Whether mixup is on.
    pub fn mixes(&self) -> bool {
        self.mixup > 0.0
    }

    /// Number of images that a batch reads besides its own: 1 with mixup, the partner of the last
    /// image, otherwise 0.
    pub fn partners(&self) -> usize {
        usize::from(self.mixes())
    }

    /// Checks every option for a network with an input of this height and width.
    ///
    /// # Errors
    /// [`Error::Usage`], as [`Augment::check`], or if the cutout is larger than the input.
    pub fn check_for(&self, [height, width]: [usize; 2]) -> Result<()> {
        self.check()?;
        let cutout = self.cutout;
        if cutout > height.min(width) {
            return Err(Error::usage(message![
                Hint::set("cutout", cutout),
                format!(" is larger than the network's {height}×{width} input; use a smaller one"),
            ]));
        }
        Ok(())
    }

    /// Checks the range of every option.
    ///
    /// # Errors
    /// [`Error::Usage`] names the option.
    pub fn check(&self) -> Result<()> {
        let fail = |option, why: String| Err(Error::usage(message![Hint::Option(option), why]));
        let Self { crop, random_resized_crop: least, jitter, cutout, mixup, .. } = *self;
        if crop > 127 {
            return fail("crop", format!(" must be at most 127, not {crop}"));
        }
        if !(0.0..=1.0).contains(&least) {
            return fail(
                "random-resized-crop",
                format!(" takes a share of the area, 0 to 1, not {least}"),
            );
        }
        if crop > 0 && least > 0.0 {
            return Err(Error::usage(message![
                Hint::Option("crop"),
                " and ",
                Hint::Option("random-resized-crop"),
                " exclude each other: use one",
            ]));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return fail("jitter", format!(" must be 0 to 1, not {jitter}"));
        }
        if cutout > MAX_SIDE {
            return fail("cutout", format!(" must be at most {MAX_SIDE} pixels, not {cutout}"));
        }
        if !(0.0..=100.0).contains(&mixup) {
            return fail("mixup", format!(" must be 0 to 100, not {mixup}"));
        }
        Ok(())
    }
}

fn uniform(rng: &mut Rng, from: f64, to: f64) -> f64 {
    from + (to - from) * rng.uniform()
}

/// A box inside the image, as torchvision draws it: its share of the image's area is uniform
/// between `least` and 1, the logarithm of its ratio of width to height is uniform between
/// [`RATIOS`]. A box that does not fit is drawn again, up to [`ATTEMPTS`] times; then it is the
/// largest centred box with an allowed ratio.
fn random_region(stored: [usize; 2], least: f64, rng: &mut Rng) -> Region {
    let [rows, columns] = stored.map(|side| side as f64);
    for _ in 0..ATTEMPTS {
        let area = rows * columns * uniform(rng, least, 1.0);
        let ratio = uniform(rng, RATIOS[0].ln(), RATIOS[1].ln()).exp();
        let [height, width] = [area / ratio, area * ratio].map(|square| square.sqrt().round());
        if (1.0..=rows).contains(&height) && (1.0..=columns).contains(&width) {
            let mut first = |free: f64| rng.below(free as u64 + 1) as i32;
            let (top, left) = (first(rows - height), first(columns - width));
            return Region { top, left, height: height as u32, width: width as u32 };
        }
    }
    let ratio = (columns / rows).clamp(RATIOS[0], RATIOS[1]);
    let height = (columns / ratio).round().clamp(1.0, rows);
    let width = (rows * ratio).round().clamp(1.0, columns);
    middle(stored, height as usize, width as usize)
}

#[cfg(test)]
mod tests;
