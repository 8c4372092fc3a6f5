//! How long sums are cut into partial sums.
//!
//! The cuts depend on shapes alone, never on the device, so that a program and its memory plan
//! are the same everywhere.

use crate::base::shape::{ALIGNMENT, LANES, Layout, Shape, Weight};

/// Steps of an invocation's loops that a cut aims at. Mesa's software driver ends loops after 65,535
/// steps of all loops together, silently, and cuts are rounded.
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

    /// Parts of so many images.
    pub fn count(&self, images: usize) -> usize {
        images.div_ceil(self.images) * self.parts
    }
}

/// The cut of a sum for each channel over all pixels of a map.
pub fn reduction(maps: Shape) -> Cut {
    Cut::new(maps, (maps.pixels() / 32).clamp(1, 1024))
}

/// Partial sums per image of its mean grey.
pub fn grey_parts(shape: Shape) -> usize {
    (shape.h * shape.w / 64).clamp(1, 64)
}

/// Partial results per image when a map is summed over one image.
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

/// Parts of a sum over pixels that has `width` invocations for each part.
fn wanted(pixels: usize, width: usize) -> usize {
    const INVOCATIONS: usize = 8192;
    let parts = (INVOCATIONS / width).clamp(1, 256).min((pixels / 64).max(1));
    // Half as many steps, because the cut may round to twice as many images.
    parts.max(pixels.div_ceil(STEPS / 2))
}

/// The cut of a depthwise convolution's weight gradient over the pixels of `dy`.
pub fn depthwise_wgrad(dy: Shape) -> Cut {
    Cut::new(dy, wanted(dy.pixels(), dy.c4()))
}

/// Partial sums per image of the goodness of maps `x`, each of the same number of 16 pixels: at most 16,
/// or more where the head's convolution takes very many steps.
pub fn goodness_parts(x: Shape, kernel: usize) -> usize {
    let size = x.h * x.w;
    let steps = size.div_ceil(TILE) * convolution_steps(x.c4(), kernel);
    let (pieces, most) = (size.div_ceil(16), steps.div_ceil(STEPS).max(16));
    pieces.div_ceil(pieces.div_ceil(most))
}

/// Pixels of a tile of a CPU, at least.
const TILE: usize = 4;

/// Loop iterations of a convolution over `c4` groups of four channels and a `kernel` × `kernel` window.
pub fn convolution_steps(c4: usize, kernel: usize) -> usize {
    kernel * kernel * (c4 + 1) + kernel
}

/// Steps of the loops of an invocation that sums one of so many parts of the goodness of `x`.
pub fn goodness_steps(x: Shape, kernel: usize, parts: usize) -> usize {
    let tiles = (x.h * x.w).div_ceil(TILE);
    tiles.div_ceil(parts) * convolution_steps(x.c4(), kernel)
}

/// Images whose class maps exist at the same time in the gradient of the goodness of `x`. They
/// have its layout.
pub fn goodness_slice(layout: Layout, x: Shape, classes: usize) -> usize {
    slice(layout, x, layout.bytes(x.with_n(1).with_c(classes)))
}

/// Images of `x` whose Gram matrices exist at the same time.
pub fn gram_slice(layout: Layout, x: Shape) -> usize {
    slice(layout, x, Layout::Nhwc.bytes(gram(x.with_n(1))))
}

/// The Gram matrices of each image's pixels; rows are padded as columns are.
pub fn gram(x: Shape) -> Shape {
    Shape::new(x.n, x.c.next_multiple_of(LANES), 1, x.c)
}

/// The bytes that what a head makes of some images may take: an eighth of `x`, or a few MiB.
fn room(layout: Layout, x: Shape) -> usize {
    const FEW: usize = 4 << 20;
    (layout.bytes(x) / 8).max(FEW)
}

/// Images at a time that each take so many bytes: at most a quarter of the batch, and as many as
/// there is [`room`] for. Rounded up so that each slice of `x` starts at an aligned byte, which is
/// seldom more than one image.
fn slice(layout: Layout, x: Shape, bytes: usize) -> usize {
    let image = layout.bytes(x.with_n(1));
    let step = ALIGNMENT >> image.trailing_zeros().min(ALIGNMENT.ilog2());
    x.n.div_ceil(4).min(room(layout, x) / bytes).max(1).next_multiple_of(step).min(x.n)
}

/// The cut of the sum over images for the gradient of a 1×1 head's weight from Gram matrices.
pub fn gram_parts(slice: usize, weight: Weight) -> usize {
    const VALUES_PER_INVOCATION: usize = 64;
    let values = weight.stored();
    (4096 / values.div_ceil(VALUES_PER_INVOCATION)).clamp(1, slice)
}

/// Whether a 1×1 head on maps `x` goes by Gram matrices: they cost less arithmetic than class
/// maps, and no more memory, in single precision.
pub fn gram_pays(x: Shape, classes: usize) -> bool {
    let (size, image) = (x.h * x.w, x.with_n(1));
    // Multiply-adds of forward and backward: class maps twice, and two gradients from them; Gram
    // matrices twice, what they make of the weights twice, and the two gradients.
    let (direct, by_gram) = (4 * size * classes, 3 * (size + classes) * x.c);
    let [maps, matrix] = [image.with_c(classes), gram(image)].map(|s| Layout::Nhwc.bytes(s));
    // The matrix of an image is one sum over its pixels.
    size <= STEPS && by_gram < direct && matrix <= maps.max(room(Layout::Nhwc, x))
}
