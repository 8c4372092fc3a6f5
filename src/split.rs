//! How long sums are cut into partial sums.
//!
//! The cuts depend on shapes alone, never on the device, so that a program and its memory plan
//! are the same everywhere.

use crate::shape::{ALIGNMENT, Layout, Shape};

/// How a sum over all pixels of a batch is cut: groups of whole images, each into parts of pixels.
/// A part never straddles two groups, so work can be split between groups without changing the
/// order of any sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Images in a group.
    pub images: usize,
    /// Parts of a group.
    pub parts: usize,
}

impl Cut {
    /// About `wanted` parts of a batch of maps.
    fn new(maps: Shape, wanted: usize) -> Self {
        if wanted <= maps.n {
            Self { images: maps.n.div_ceil(wanted), parts: 1 }
        } else {
            Self { images: 1, parts: wanted.div_ceil(maps.n) }
        }
    }

    /// Parts of so many images.
    pub fn count(&self, images: usize) -> usize {
        images.div_ceil(self.images) * self.parts
    }
}

/// The cut of a sum for each channel over all pixels of a map.
pub fn reduction(maps: Shape) -> Cut {
    Cut::new(maps, (maps.pixels() / 32).clamp(1, 256))
}

/// Partial results per image when a map is summed over one image.
pub fn image_chunks(shape: Shape) -> usize {
    (shape.h * shape.w / 16).clamp(1, 32)
}

/// The cut of a weight gradient over the pixels of `dy`: enough parts to fill a device, at least
/// 64 pixels each.
pub fn wgrad(dy: Shape, weight: Shape) -> Cut {
    Cut::new(dy, wgrad_parts(dy.pixels(), weight))
}

fn wgrad_parts(pixels: usize, weight: Shape) -> usize {
    const VALUES_PER_INVOCATION: usize = 64;
    let values = Layout::Hwio.stored(weight).elements();
    wanted(pixels, values.div_ceil(VALUES_PER_INVOCATION))
}

/// Parts of a sum over pixels that has `width` invocations for each part.
fn wanted(pixels: usize, width: usize) -> usize {
    const INVOCATIONS: usize = 8192;
    (INVOCATIONS / width).clamp(1, 256).min((pixels / 64).max(1))
}

/// The cut of a depthwise convolution's weight gradient over the pixels of `dy`.
pub fn depthwise_wgrad(dy: Shape) -> Cut {
    Cut::new(dy, wanted(dy.pixels(), dy.c4()))
}

/// Partial sums per image of the goodness.
pub fn goodness_parts(shape: Shape) -> usize {
    (shape.h * shape.w / 16).clamp(1, 16)
}

/// Images whose class maps exist at the same time in the gradient of the goodness: a quarter
/// of the batch, rounded up so that each slice of a tensor starts at an aligned byte (only
/// batches below 64 images are ever rounded to more), and less where a slice of `x` or of the
/// maps would be larger than the smallest binding that devices offer.
pub fn goodness_slice(x: Shape, classes: usize) -> usize {
    const MAX_BYTES: usize = 128 << 20;
    // Whole `vec4`s make 16 images a multiple of ALIGNMENT in any case.
    let step = |bytes: usize| ALIGNMENT >> bytes.trailing_zeros().min(ALIGNMENT.ilog2());
    let image = Layout::Nhwc.bytes(x.with_n(1));
    let maps = Layout::Nhwc.bytes(x.with_n(1).with_c(classes));
    let scores = Layout::Nhwc.bytes(Shape::vector(classes));
    let step = step(image).max(step(scores));
    let most = (MAX_BYTES / image.max(maps) / step * step).max(step);
    x.n.div_ceil(4).next_multiple_of(step).min(most).min(x.n)
}

/// Rows of partial sums that the weight gradient of all slices leaves, for a batch of maps `x` and
/// class maps of shape `slice`.
pub fn goodness_wgrad_rows(x: Shape, slice: Shape, weight: Shape) -> usize {
    let cut = goodness_wgrad(slice, weight, x.n.div_ceil(slice.n));
    x.n / slice.n * cut.count(slice.n) + cut.count(x.n % slice.n)
}

/// The cut of the weight gradient of each of so many slices of the class maps.
pub fn goodness_wgrad(slice: Shape, weight: Shape, slices: usize) -> Cut {
    Cut::new(slice, (wgrad_parts(slice.pixels() * slices, weight) / slices).max(1))
}
