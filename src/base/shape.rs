//! Shapes and how they are laid out in memory.

use std::fmt;

use half::f16;

/// Channels are stored in groups of this many lanes (one `vec4`).
pub const LANES: usize = 4;

/// Tensors, members of slabs and slices start at multiples of this many bytes: the largest
/// `min_storage_buffer_offset_alignment` that WebGPU allows a device to ask for.
pub const ALIGNMENT: usize = 256;

/// A logical shape: images, rows, columns, channels.
///
/// Vectors are `(1, 1, 1, c)`. The four dimensions of a [`Weight`] are its window's rows and columns,
/// input and output channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Shape {
    /// Images in the batch.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Shape {
    /// A batch of feature maps.
    pub const fn new(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { n, h, w, c }
    }

    /// `c` values.
    pub const fn vector(c: usize) -> Self {
        Self::new(1, 1, 1, c)
    }

    /// `n` rows of `c` values.
    pub const fn rows(n: usize, c: usize) -> Self {
        Self::new(n, 1, 1, c)
    }

    /// Logical values.
    pub const fn elements(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Positions that hold a vector of channels.
    pub const fn pixels(&self) -> usize {
        self.n * self.h * self.w
    }

    /// Groups of four channels.
    pub const fn c4(&self) -> usize {
        self.c.div_ceil(LANES)
    }

    /// The same maps for another number of images.
    pub const fn with_n(&self, n: usize) -> Self {
        Self::new(n, self.h, self.w, self.c)
    }

    /// The same maps with another number of channels.
    pub const fn with_c(&self, c: usize) -> Self {
        Self::new(self.n, self.h, self.w, c)
    }
}

/// A convolution's weight: a matrix from input to output channels for each position of its window.
/// Where each channel is convolved by itself there is one input channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Weight {
    /// Side of the window.
    pub kernel: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
}

impl Weight {
    /// For a window of `kernel`×`kernel`.
    pub const fn new(kernel: usize, inputs: usize, outputs: usize) -> Self {
        Self { kernel, inputs, outputs }
    }

    /// Values that each output value is made of.
    pub const fn fan_in(&self) -> usize {
        self.kernel * self.kernel * self.inputs
    }

    /// Logical values.
    pub const fn elements(&self) -> usize {
        self.fan_in() * self.outputs
    }

    /// Values as they are stored, in [`Layout::Hwio`].
    pub fn stored(self) -> usize {
        Layout::Hwio.stored(self.into()).elements()
    }
}

impl From<Weight> for Shape {
    fn from(weight: Weight) -> Self {
        Self::new(weight.kernel, weight.kernel, weight.inputs, weight.outputs)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}×{}×{}×{}", self.n, self.h, self.w, self.c))
    }
}

/// How a tensor's values lie in memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Layout {
    /// float32, NHWC, channels padded with zeros to a multiple of [`LANES`].
    Nhwc,
    /// The same in float16.
    Half,
    /// float32, rows, columns, input, output channels; both channel counts padded with zeros.
    Hwio,
    /// 32-bit words with no padding between them.
    Words,
}

impl Layout {
    /// The padded shape in memory.
    pub const fn stored(self, shape: Shape) -> Shape {
        let c = shape.c.next_multiple_of(LANES);
        match self {
            Self::Nhwc | Self::Half => shape.with_c(c),
            Self::Hwio => Shape::new(shape.n, shape.h, shape.w.next_multiple_of(LANES), c),
            Self::Words => Shape::vector(shape.elements().next_multiple_of(LANES)),
        }
    }

    /// Bytes of a stored value.
    pub const fn width(self) -> usize {
        match self {
            Self::Half => 2,
            Self::Nhwc | Self::Hwio | Self::Words => 4,
        }
    }

    /// Bytes of a tensor of this layout: always whole `vec4`s.
    pub const fn bytes(self, shape: Shape) -> usize {
        self.stored(shape).elements() * self.width()
    }

    /// The value as stored: rounded to the nearest finite float16 in half precision, otherwise
    /// unchanged.
    pub fn round(self, value: f64) -> f64 {
        match self {
            Self::Half => {
                let largest = f16::MAX.to_f64();
                f16::from_f64(value.clamp(-largest, largest)).to_f64()
            }
            Self::Nhwc | Self::Hwio | Self::Words => value,
        }
    }

    /// The bytes of logical values; padding is zero.
    pub fn pack(self, shape: Shape, logical: &[f32]) -> Vec<u8> {
        let mut out = vec![0.0; self.stored(shape).elements()];
        self.for_each_row(shape, |from, to| {
            out[to..to + shape.c].copy_from_slice(&logical[from..from + shape.c]);
        });
        if self == Self::Half {
            let half = |v: f32| f16::from_f64(self.round(v.into())).to_le_bytes();
            return out.into_iter().flat_map(half).collect();
        }
        out.into_iter().flat_map(f32::to_le_bytes).collect()
    }

    /// The inverse of [`Layout::pack`].
    pub fn unpack(self, shape: Shape, bytes: &[u8]) -> Vec<f32> {
        let value = |bytes: &[u8]| match *bytes {
            [a, b] => f16::from_le_bytes([a, b]).to_f32(),
            [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
            // See `Layout::width`.
            _ => unreachable!("values have two or four bytes"),
        };
        let stored: Vec<f32> = bytes.chunks_exact(self.width()).map(value).collect();
        let mut out = vec![0.0; shape.elements()];
        self.for_each_row(shape, |to, from| {
            out[to..to + shape.c].copy_from_slice(&stored[from..from + shape.c]);
        });
        out
    }

    /// Calls `f(logical offset, stored offset)` for each run of `shape.c` adjacent values.
    fn for_each_row(self, shape: Shape, mut f: impl FnMut(usize, usize)) {
        let stored = self.stored(shape);
        if self == Self::Words {
            return (0..shape.pixels()).for_each(|row| f(row * shape.c, row * shape.c));
        }
        for outer in 0..shape.n * shape.h {
            for w in 0..shape.w {
                f((outer * shape.w + w) * shape.c, (outer * stored.w + w) * stored.c);
            }
        }
    }
}

/// A square sliding window: convolution or pooling.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Window {
    /// Rows and columns covered.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Zeros (for pooling: ignored positions) added on each side.
    pub pad: usize,
}

impl Window {
    /// A window of odd size that keeps the map's size at stride 1.
    pub const fn same(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, pad: kernel / 2 }
    }

    /// The maps that come out of maps of shape `x`; `None` if the window does not fit.
    pub fn output(&self, x: Shape) -> Option<Shape> {
        let side = |s: usize| Some((s + 2 * self.pad).checked_sub(self.kernel)? / self.stride + 1);
        Some(Shape::new(x.n, side(x.h)?, side(x.w)?, x.c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_pads_with_zeros_and_round_trips() {
        for (layout, shape) in [
            (Layout::Nhwc, Shape::new(2, 3, 1, 5)),
            (Layout::Half, Shape::new(2, 3, 1, 5)),
            (Layout::Hwio, Weight::new(3, 1, 6).into()),
            (Layout::Words, Shape::vector(7)),
        ] {
            let values: Vec<f32> = (1..=shape.elements()).map(|v| v as f32).collect();
            let stored = layout.pack(shape, &values);
            assert_eq!(stored.len(), layout.bytes(shape));
            let not_zero = |value: &&[u8]| value.iter().any(|byte| *byte != 0);
            let values_stored = stored.chunks_exact(layout.width()).filter(not_zero).count();
            assert_eq!(values_stored, values.len());
            assert_eq!(layout.unpack(shape, &stored), values);
        }
        let w = Layout::Hwio.pack(Weight::new(1, 2, 1).into(), &[1.0, 2.0]);
        let w: Vec<f32> = bytemuck::pod_collect_to_vec(&w);
        assert_eq!(w[..8], [1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn float16_rounds_to_nearest_and_saturates() {
        let half = |value| Layout::Half.round(value);
        // Between 1 and 2 the spacing is 2^-10.
        assert_eq!([1.0004, 1.0006].map(half), [1.0, 1.0 + 2f64.powi(-10)]);
        assert_eq!([1e6, -65_530.0, 1e-9].map(half), [65_504.0, -65_504.0, 0.0]);
        assert!(half(f64::NAN).is_nan());
        let shape = Shape::vector(2);
        let stored = Layout::Half.pack(shape, &[f32::MAX, f32::NAN]);
        let values = Layout::Half.unpack(shape, &stored);
        assert!(values[0] == 65_504.0 && values[1].is_nan());
        assert_eq!(Layout::Nhwc.round(1.0004), 1.0004);
    }

    #[test]
    fn windows_give_the_output_size_of_torch() {
        let x = Shape::new(1, 28, 27, 3);
        let out = |k, s, p| Window { kernel: k, stride: s, pad: p }.output(x).map(|y| (y.h, y.w));
        assert_eq!(out(3, 1, 1), Some((28, 27)));
        assert_eq!(out(3, 2, 1), Some((14, 14)));
        assert_eq!(out(2, 2, 0), Some((14, 13)));
        assert_eq!(out(31, 1, 0), None);
    }
}
