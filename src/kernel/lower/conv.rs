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

/// Register tiles of a kernel.
pub struct Tile {
    pub definitions: Vec<(&'static str, u32)>,
    /// Output pixels of each.
    pixels: usize,
    /// Tiles of columns side by side.
    pub across: usize,
    /// Invocations that share loads.
    share: usize,
}

impl Tile {
    /// Threads of a kernel with a tile for so many pieces of work.
    pub fn threads_for(&self, pieces: usize) -> usize {
        pieces.next_multiple_of(self.share) * self.across
    }

    /// Threads of a kernel with one tile of pixels for each.
    pub fn threads(&self, pixels: u32) -> usize {
        self.threads_for((pixels as usize).div_ceil(self.pixels))
    }
}

impl Lowering<'_> {
    /// Tiles of a matrix product with `out_c4` groups of columns.
    pub fn tile(&self, out_c4: u32, flag: Option<&'static str>) -> Tile {
        let tiles = self.target.tiles;
        let columns = tiles.columns.min(out_c4);
        let mut definitions = vec![("PIXELS", tiles.pixels), ("COLUMNS", columns)];
        definitions.extend(flag.map(|flag| (flag, 1)));
        let (pixels, across) = (tiles.pixels as usize, out_c4.div_ceil(columns) as usize);
        Tile { definitions, pixels, across, share: 1 }
    }

    /// Tiles of a convolution, whose invocations may share weights.
    pub fn conv_tile(&self, out_c4: u32, flag: Option<&'static str>) -> Tile {
        let mut tile = self.tile(out_c4, flag);
        tile.definitions.extend(self.shared());
        Tile { share: self.target.tiles.share as usize, ..tile }
    }

    /// The definition that makes invocations share loads, if they are to.
    fn shared(&self) -> Option<(&'static str, u32)> {
        Some(("SHARED", self.target.tiles.share)).filter(|(_, share)| *share > 1)
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
        let tile = self.conv_tile(u(to.c4()), flag);
        let make = |s: Slice| {
            let params = conv(from.with_n(s.count), to.with_n(s.count), window);
            (params, tile.threads(params.pixels))
        };
        let each = [("x", x), ("y", y)];
        self.per_image(("conv2d", "main", &tile.definitions), from.n, &each, weights, make);
    }

    /// Definitions of a weight gradient's kernel, and its threads for each part of the sum.
    pub fn wgrad_tile(&self, params: &params::Conv2d) -> (Vec<(&'static str, u32)>, usize) {
        let tiles = self.target.tiles;
        let depth = params.kernel * params.kernel * params.in_c4;
        // Those that share should all have rows.
        let rows = tiles.rows.min(depth.div_ceil(tiles.share));
        let columns = tiles.wgrad_columns.min(params.out_c4);
        let down = depth.div_ceil(rows).next_multiple_of(tiles.share);
        let mut definitions = vec![("ROWS", rows), ("COLUMNS", columns)];
        definitions.extend(self.shared());
        (definitions, down as usize * params.out_c4.div_ceil(columns) as usize)
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
