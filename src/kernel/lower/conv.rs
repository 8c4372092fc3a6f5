//! Convolutions.

use super::slices::{Named, Slice};
use super::{Lowering, u};
use crate::kernel::params;
use crate::shape::{Shape, Window};
use crate::split::{self, Cut};
use crate::tensor::TensorId;

/// Parameters of a convolution that reads maps of shape `x` and writes maps of shape `y`.
pub fn conv(x: Shape, y: Shape, window: Window) -> params::Conv2d {
    params::Conv2d {
        in_h: u(x.h),
        in_w: u(x.w),
        in_c4: u(x.c4()),
        out_h: u(y.h),
        out_w: u(y.w),
        out_c4: u(y.c4()),
        kernel: u(window.kernel),
        stride: u(window.stride),
        pad: u(window.pad),
        pixels: u(y.pixels()),
        images: u(y.n),
        parts: 1,
        group: u(y.pixels()),
        first: 0,
        factor: 1.0,
    }
}

impl Lowering<'_> {
    /// Tile sizes as definitions, and tiles of `columns` side by side.
    pub fn tile(
        &self,
        out_c4: u32,
        flag: Option<&'static str>,
    ) -> (Vec<(&'static str, u32)>, usize) {
        let columns = self.target.tiles.columns.min(out_c4);
        let mut definitions = vec![("PIXELS", self.target.tiles.pixels), ("COLUMNS", columns)];
        definitions.extend(flag.map(|flag| (flag, 1)));
        (definitions, out_c4.div_ceil(columns) as usize)
    }

    /// Threads of a kernel with one register tile of pixels for each.
    pub fn tile_threads(&self, pixels: u32, across: usize) -> usize {
        pixels.div_ceil(self.target.tiles.pixels) as usize * across
    }

    /// A convolution from `x` to `y`; with DGRAD the gradient of one.
    pub fn conv2d(
        &mut self,
        (x, y): (TensorId, TensorId),
        weights: Named,
        window: Window,
        flag: Option<&'static str>,
    ) {
        let (from, to) = (self.shape(x), self.shape(y));
        let (definitions, across) = self.tile(u(to.c4()), flag);
        let pixels = self.target.tiles.pixels as usize;
        let make = |s: Slice| {
            let params = conv(from.with_n(s.count), to.with_n(s.count), window);
            (params, (params.pixels as usize).div_ceil(pixels) * across)
        };
        let each = [("x", x), ("y", y)];
        self.per_image(("conv2d", "main", &definitions), from.n, &each, weights, make);
    }

    pub fn wgrad_tile(&self, params: &params::Conv2d) -> (Vec<(&'static str, u32)>, usize) {
        let depth = params.kernel * params.kernel * params.in_c4;
        let rows = self.target.tiles.rows.min(depth);
        let columns = self.target.tiles.wgrad_columns.min(params.out_c4);
        let tiles = depth.div_ceil(rows) as usize * params.out_c4.div_ceil(columns) as usize;
        (vec![("ROWS", rows), ("COLUMNS", columns)], tiles)
    }

    pub fn wgrad(
        &mut self,
        (x, dy, dw, scratch): (TensorId, TensorId, TensorId, TensorId),
        window: Window,
    ) {
        let (from, to) = (self.shape(x), self.shape(dy));
        let cut = split::wgrad(to, self.shape(dw));
        let (definitions, tiles) = self.wgrad_tile(&conv(from, to, window));
        let make = |s: Slice| {
            let params = conv(from.with_n(s.count), to.with_n(s.count), window);
            (cut_params(params, cut, s.first), tiles * cut.count(s.count))
        };
        let permutation = ("conv2d_wgrad", "main", &definitions[..]);
        let each = [("x", x), ("dy", dy)];
        self.per_group(permutation, (from.n, cut.images), &each, &[("partial", scratch)], make);
        self.sum_rows(scratch, dw);
    }
}

/// Parameters of a sum over the output's pixels, cut; the slice begins at image `first`.
pub fn cut_params(mut params: params::Conv2d, cut: Cut, first: usize) -> params::Conv2d {
    params.parts = u(cut.parts);
    params.group = params.out_h * params.out_w * u(cut.images);
    params.first = u(cut.count(first));
    params
}
