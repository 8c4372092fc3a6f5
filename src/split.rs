//! How long sums are cut into partial sums.
//!
//! The cuts depend on shapes alone, never on the device, so that a program and its memory plan
//! are the same everywhere.

use crate::shape::{ALIGNMENT, Layout, Shape};

/// Partial results per channel group when a map is summed over all its pixels.
pub fn chunks(pixels: usize) -> usize {
    (pixels / 32).clamp(1, 256)
}

/// Partial results per image when a map is summed over one image.
pub fn image_chunks(shape: Shape) -> usize {
    (shape.h * shape.w / 16).clamp(1, 32)
}

/// Shares into which the pixels of a weight gradient are cut: enough invocations to fill a
/// device, at least 64 pixels each.
pub fn wgrad_splits(pixels: usize, weight: Shape) -> usize {
    const VALUES_PER_INVOCATION: usize = 64;
    const INVOCATIONS: usize = 8192;
    let values = Layout::Hwio.stored(weight).elements();
    let wanted = INVOCATIONS * VALUES_PER_INVOCATION / values;
    wanted.clamp(1, 256).min((pixels / 64).max(1))
}

/// Partial sums per image of the goodness.
pub fn goodness_parts(shape: Shape) -> usize {
    (shape.h * shape.w / 16).clamp(1, 16)
}

/// Images whose class maps exist at the same time in the gradient of the goodness: a quarter
/// of the batch, rounded up so that each slice of a tensor starts at an aligned byte (only
/// batches below 64 images are ever rounded to more).
pub fn goodness_slice(x: Shape, classes: usize) -> usize {
    // Whole `vec4`s make 16 images a multiple of ALIGNMENT in any case.
    let step = |bytes: usize| ALIGNMENT >> bytes.trailing_zeros().min(ALIGNMENT.ilog2());
    let image = Layout::Nhwc.bytes(x.with_n(1));
    let scores = Layout::Nhwc.bytes(Shape::vector(classes));
    x.n.div_ceil(4).next_multiple_of(step(image).max(step(scores))).min(x.n)
}

/// Splits of the weight gradient of each of such slices; a multiple of 4, for the same reason.
pub fn goodness_splits(slice: Shape, weight: Shape, slices: usize) -> usize {
    (wgrad_splits(slice.pixels() * slices, weight) / slices).max(1).next_multiple_of(4)
}
