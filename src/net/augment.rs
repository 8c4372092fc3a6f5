//! How an image becomes what the network sees.
//!
//! The host draws one [`Sample`] per image, a few numbers; the device does the rest while it
//! gathers a batch ([`crate::compiler::ops::Input`]), always in this order:
//!
//! 1. **Crop and resize**: a box of the stored image becomes the network's input. Between pixels
//!    the values are interpolated bilinearly with half-pixel centres, as PyTorch does with
//!    `align_corners=False` and `antialias=False`; beyond the box its border goes on. A box of the
//!    input's size is copied exactly. What a box sees outside of the image is black. Two pixels
//!    along each axis decide: shrinking to less than half leaves pixels out, so images should not
//!    be stored at more than about twice the input's size.
//! 2. **Flip** left and right.
//! 3. **Colour**, on values from 0 to 1, clamped to that range after each: brightness scales;
//!    contrast scales the distance from the image's mean grey; saturation the distance of each
//!    pixel from its own grey. Grey is 0.299 red + 0.587 green + 0.114 blue. These are
//!    torchvision's definitions, in a fixed order.
//! 4. **Normalise**.
//! 5. **Cut** a square: its values become 0, the mean colour.
//! 6. **Mix** with the next image of the step, the last one with the first; it has been through
//!    1 to 5 itself. Labels are mixed alike.
//!
//! Evaluation sees the middle of each image ([`Sample::plain`]).
//!
//! All draws for an image come from a generator of its own, keyed by (seed, epoch, index), so
//! they are the same however a step is split and whenever a run was resumed. The partner is a
//! matter of the order of images in the epoch, which is keyed by (seed, epoch).

use bytemuck::{Pod, Zeroable};

use crate::base::hint::{Hint, message};
use crate::base::random::Rng;
use crate::{Error, Result};

/// Longest side of stored images and of the network's input: positions between pixels are exact
/// in 32 bits.
pub const MAX_SIDE: usize = 16_384;

/// Widths of random resized crops, relative to their heights.
const RATIOS: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

/// Boxes to draw before the centre is taken.
const TRIES: usize = 10;

/// Random changes of training images; 0 (or false) is off.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Augment {
    /// Mirror half of the images.
    pub flip: bool,
    /// Move the box by up to this many pixels of the stored image, up or down, left or right.
    pub crop: u8,
    /// Take a box of random place, size and shape: this share of the image's area at least.
    pub random_resized_crop: f32,
    /// Strength: brightness, contrast and saturation are scaled by 1 - this to 1 + this.
    pub jitter: f32,
    /// Side of the square that is cut out, in pixels of the input. Its centre is any pixel, so
    /// parts of it may lie outside.
    pub cutout: usize,
    /// Mix each image with another one, in shares drawn from Beta(this, this) (Zhang et al.,
    /// arXiv 1710.09412). The larger share is the image's own: partners are random and the
    /// distribution is symmetric, so that the mixtures are the same as with any order.
    pub mixup: f32,
}

/// Heights and widths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Of the images as they are stored.
    pub stored: [usize; 2],
    /// Of the network's input.
    pub input: [usize; 2],
}

/// A box of the stored image, in its pixels.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct Region {
    /// First row; may be outside.
    pub top: i32,
    /// First column; may be outside.
    pub left: i32,
    /// Rows, at least 1.
    pub height: u32,
    /// Columns, at least 1.
    pub width: u32,
}

/// Which image, and how it is changed on the way: [`SAMPLE_WORDS`] words, as the device reads
/// them.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Pod, Zeroable)]
pub struct Sample {
    /// Index into the images.
    pub index: u32,
    /// 1 to exchange left and right, else 0.
    pub mirror: u32,
    /// What becomes the input.
    pub region: Region,
    /// Factor on all values.
    pub brightness: f32,
    /// Factor on the distance from the image's mean grey.
    pub contrast: f32,
    /// Factor on the distance from the pixel's grey.
    pub saturation: f32,
    /// First row of the square that is cut out; may be outside.
    pub hole_top: i32,
    /// First column of the square that is cut out; may be outside.
    pub hole_left: i32,
    /// Side of the square that is cut out; 0 for none.
    pub hole_side: u32,
    /// Share of the next image of the step, 0 to 0.5. Without mixing it means nothing.
    pub partner_share: f32,
}

/// Words per image in the `samples` tensor: a [`crate::net::augment::Sample`].
pub const SAMPLE_WORDS: usize = 13;

const _: () = assert!(size_of::<Sample>() == 4 * SAMPLE_WORDS);

impl Sizes {
    /// The middle of the stored image, without scaling; along an axis where the image is smaller
    /// than the input, all of it.
    pub fn centre(&self) -> Region {
        let [height, width] = [0, 1].map(|axis| self.stored[axis].min(self.input[axis]));
        middle(self.stored, height, width)
    }
}

fn middle(stored: [usize; 2], height: usize, width: usize) -> Region {
    let [top, left] = [(stored[0] - height) / 2, (stored[1] - width) / 2].map(|v| v as i32);
    Region { top, left, height: height as u32, width: width as u32 }
}

impl Sample {
    /// The middle of an image as it is.
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
    /// Draws what happens to an image; `rng` belongs to it in this epoch.
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

    /// Whether images are mixed.
    pub fn mixes(&self) -> bool {
        self.mixup > 0.0
    }

    /// Images that a batch reads besides its own: the partner of the last one.
    pub fn partners(&self) -> usize {
        usize::from(self.mixes())
    }

    /// Checks every option for a network that sees images of this height and width.
    ///
    /// # Errors
    /// [`Error::Options`], as [`Augment::check`], or if there is more to cut out than there is.
    pub fn check_for(&self, [height, width]: [usize; 2]) -> Result<()> {
        self.check()?;
        let cutout = self.cutout;
        if cutout > height.min(width) {
            return Err(Error::Options(message![
                Hint::set("cutout", cutout),
                format!(" is larger than the network's {height}×{width} input; use a smaller one"),
            ]));
        }
        Ok(())
    }

    /// Checks the range of every option.
    ///
    /// # Errors
    /// [`Error::Options`] names the option.
    pub fn check(&self) -> Result<()> {
        let fail = |option, why: String| Err(Error::Options(message![Hint::Option(option), why]));
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
            return Err(Error::Options(message![
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

/// A box inside the image, as torchvision draws it: an area of `least` to 1 of the image's and a
/// shape between [`RATIOS`], evenly on a logarithmic scale. What does not fit is drawn again a few
/// times; then it is the largest box in the middle whose shape is allowed.
fn random_region(stored: [usize; 2], least: f64, rng: &mut Rng) -> Region {
    let [rows, columns] = stored.map(|side| side as f64);
    for _ in 0..TRIES {
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
