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

/// Partial sums per image of its mean grey.
pub fn grey_parts(shape: Shape) -> usize {
    (shape.h * shape.w / 64).clamp(1, 64)
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

/// Images whose class maps exist at the same time in the gradient of the goodness: at most a
/// quarter of the batch, and as many as take an eighth of the bytes of `x` or a few MiB. Rounded
/// up so that each slice of `x` starts at an aligned byte, which is seldom more than one image.
pub fn goodness_slice(x: Shape, classes: usize) -> usize {
    const FEW: usize = 4 << 20;
    let image = Layout::Nhwc.bytes(x.with_n(1));
    let step = ALIGNMENT >> image.trailing_zeros().min(ALIGNMENT.ilog2());
    let maps = Layout::Nhwc.bytes(x.with_n(1).with_c(classes));
    let most = (Layout::Nhwc.bytes(x) / 8).max(FEW) / maps;
    x.n.div_ceil(4).min(most).max(1).next_multiple_of(step).min(x.n)
}
