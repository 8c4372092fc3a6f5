//! How sums are cut into partial sums.
//!
//! Cuts depend on shapes only, never on the device, so that a program and its memory plan are the same
//! everywhere.

use crate::base::shape::{ALIGNMENT, LANES, Layout, Shape, Weight};

/// Loop iterations per invocation that cuts aim at. Mesa's software driver silently ends loops after
/// 65,535 in total, and cuts are rounded.
const STEPS: usize = 1 << 15;

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

    /// Parts of `images` images.
    pub fn count(&self, images: usize) -> usize {
        images.div_ceil(self.images) * self.parts
    }
}

/// The cut of a sum per channel over all pixels of a batch.
pub fn reduction(maps: Shape) -> Cut {
    Cut::new(maps, (maps.pixels() / 32).clamp(1, 1024))
}

/// Partial sums per image for its mean grey.
pub fn grey_parts(shape: Shape) -> usize {
    (shape.h * shape.w / 64).clamp(1, 64)
}

/// Partial results per image for sums over all values of an image.
pub fn image_chunks(shape: Shape) -> usize {
    let size = shape.h * shape.w;
    let most = (size * (shape.c4() + 1)).div_ceil(STEPS).max(32);
    (size / 16).clamp(1, most)
}

/// The cut of a weight gradient over the pixels of `dy`: enough parts to fill a device, at least
/// 64 pixels each, and none with more arithmetic than a slow device does in half a second.
pub fn wgrad(dy: Shape, weight: Weight) -> Cut {
    Cut::new(dy, wgrad_parts(dy.pixels(), weight))
}

fn wgrad_parts(pixels: usize, weight: Weight) -> usize {
    const VALUES_PER_INVOCATION: usize = 64;
    const MULTIPLY_ADDS: usize = 5_000_000_000;
    let values = weight.stored();
    let affordable = (MULTIPLY_ADDS / values).max(1);
    wanted(pixels, values.div_ceil(VALUES_PER_INVOCATION)).max(pixels.div_ceil(affordable))
}

/// Parts of a sum over pixels, with `width` invocations for each part.
fn wanted(pixels: usize, width: usize) -> usize {
    const INVOCATIONS: usize = 8192;
    let parts = (INVOCATIONS / width).clamp(1, 256).min((pixels / 64).max(1));
    // Half of the target, because rounding to whole images may double it.
    parts.max(pixels.div_ceil(STEPS / 2))
}

/// The cut of a depthwise convolution's weight gradient over the pixels of `dy`.
pub fn depthwise_wgrad(dy: Shape) -> Cut {
    Cut::new(dy, wanted(dy.pixels(), dy.c4()))
}

/// Partial sums per image for the goodness of maps `x`, each over the same number of 16-pixel pieces: at
/// most 16, or more where the head's convolution takes many loop iterations.
pub fn goodness_parts(x: Shape, kernel: usize) -> usize {
    let size = x.h * x.w;
    let steps = size.div_ceil(TILE) * convolution_steps(x.c4(), kernel);
    let (pieces, most) = (size.div_ceil(16), steps.div_ceil(STEPS).max(16));
    pieces.div_ceil(pieces.div_ceil(most))
}

/// Fewest pixels of a tile on a CPU.
const TILE: usize = 4;

/// Loop iterations of a convolution over `c4` groups of four channels and a `kernel` × `kernel` window.
pub fn convolution_steps(c4: usize, kernel: usize) -> usize {
    kernel * kernel * (c4 + 1) + kernel
}

/// Loop iterations of an invocation for one of `parts` partial sums of the goodness of `x`.
pub fn goodness_steps(x: Shape, kernel: usize, parts: usize) -> usize {
    let tiles = (x.h * x.w).div_ceil(TILE);
    tiles.div_ceil(parts) * convolution_steps(x.c4(), kernel)
}

/// Images per slice in the gradient of the goodness of `x`: class maps, in the layout of `x`, exist for
/// one slice at a time.
pub fn goodness_slice(layout: Layout, x: Shape, classes: usize) -> usize {
    slice(layout, x, layout.bytes(x.with_n(1).with_c(classes)))
}

/// Images per slice of `x` whose Gram matrices exist at a time.
pub fn gram_slice(layout: Layout, x: Shape) -> usize {
    slice(layout, x, Layout::Nhwc.bytes(gram(x.with_n(1))))
}

/// Shape of the Gram matrices of each image's pixels; rows are padded like columns.
pub fn gram(x: Shape) -> Shape {
    Shape::new(x.n, x.c.next_multiple_of(LANES), 1, x.c)
}

/// Most bytes of class maps or Gram matrices at a time: an eighth of `x`, or 4 MiB.
fn max_scratch(layout: Layout, x: Shape) -> usize {
    (layout.bytes(x) / 8).max(4 << 20)
}

/// Images per slice that need `bytes` of scratch each: at most a quarter of the batch, and at most
/// [`max_scratch`]. Rounded up so that each slice of `x` starts at an aligned byte; most shapes are
/// aligned at every image.
fn slice(layout: Layout, x: Shape, bytes: usize) -> usize {
    let image = layout.bytes(x.with_n(1));
    let step = ALIGNMENT >> image.trailing_zeros().min(ALIGNMENT.ilog2());
    x.n.div_ceil(4).min(max_scratch(layout, x) / bytes).max(1).next_multiple_of(step).min(x.n)
}

/// Partial sums over the images of a slice for the weight gradient of a 1×1 head by Gram matrices.
pub fn gram_parts(slice: usize, weight: Weight) -> usize {
    const VALUES_PER_INVOCATION: usize = 64;
    let values = weight.stored();
    (4096 / values.div_ceil(VALUES_PER_INVOCATION)).clamp(1, slice)
}

/// Whether a 1×1 head on maps `x` uses Gram matrices: if they need fewer FLOPs than class maps, and no
/// more memory in float32.
pub fn gram_pays(x: Shape, classes: usize) -> bool {
    let (size, image) = (x.h * x.w, x.with_n(1));
    // Multiply-adds of forward and backward, per image and channel: class maps twice and two gradients;
    // Gram matrices twice, their products with the weights twice, and two gradients.
    let (direct, by_gram) = (4 * size * classes, 3 * (size + classes) * x.c);
    let [maps, matrix] = [image.with_c(classes), gram(image)].map(|s| Layout::Nhwc.bytes(s));
    // A Gram matrix is a single sum over the image's pixels, without partial sums.
    size <= STEPS && by_gram < direct && matrix <= maps.max(max_scratch(Layout::Nhwc, x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gram_matrices_pay_where_there_are_few_channels() {
        let x = |side, c| Shape::new(64, side, side, c);
        assert!(gram_pays(x(112, 16), 1000) && gram_pays(x(14, 40), 1000));
        assert!(!gram_pays(x(7, 576), 1000) && !gram_pays(x(112, 16), 10));
    }

    #[test]
    fn gram_matrices_of_a_slice_are_bounded() {
        for (side, c) in [(112, 16), (14, 40), (7, 96), (32, 512)] {
            let x = Shape::new(64, side, side, c);
            let slice = gram_slice(Layout::Nhwc, x);
            let bytes = Layout::Nhwc.bytes(gram(x.with_n(slice)));
            let most = (Layout::Nhwc.bytes(x) / 8).max(4 << 20);
            assert!(slice <= 16 && bytes <= most, "{side} px, {c} channels");
        }
    }

    #[test]
    fn class_maps_never_exist_for_the_whole_batch() {
        for batch in [64, 65, 100, 128] {
            for (side, classes) in [(7, 2), (7, 10), (32, 100), (32, 1000), (112, 1000)] {
                let x = Shape::new(batch, side, side, 24);
                let slice = goodness_slice(Layout::Nhwc, x, classes);
                assert!(slice <= batch.div_ceil(4).next_multiple_of(16), "{batch}: {slice}");
                let bytes = |n, c| Layout::Nhwc.bytes(x.with_n(n).with_c(c));
                assert_eq!(bytes(slice, 24) % ALIGNMENT, 0, "{batch}, {side} px");
                let most = (bytes(batch, 24) / 8).max(4 << 20);
                assert!(
                    slice == 1 || bytes(slice, classes) <= most,
                    "{batch}, {side} px, {classes}"
                );
            }
        }
    }
}
