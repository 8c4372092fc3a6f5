//! Convolutions, and the goodness, which is one.

use super::slices::{Named, Slice};
use super::{Lowering, u};
use crate::kernel::{Operand, params};
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

/// The operands of [`Lowering::goodness_grad`].
pub struct GoodnessGrad {
    pub x: TensorId,
    pub w: TensorId,
    pub dscores: TensorId,
    pub dx: TensorId,
    pub dw: TensorId,
    pub maps: TensorId,
    pub scratch: TensorId,
    pub window: Window,
    pub scale: f32,
}

impl Lowering<'_> {
    /// Tile sizes as definitions, and tiles of `columns` side by side.
    fn tile(&self, out_c4: u32, flag: Option<&'static str>) -> (Vec<(&'static str, u32)>, usize) {
        let columns = self.target.tiles.columns.min(out_c4);
        let mut definitions = vec![("PIXELS", self.target.tiles.pixels), ("COLUMNS", columns)];
        definitions.extend(flag.map(|flag| (flag, 1)));
        (definitions, out_c4.div_ceil(columns) as usize)
    }

    /// Threads of a kernel with one register tile of pixels for each.
    fn tile_threads(&self, pixels: u32, across: usize) -> usize {
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

    fn wgrad_tile(&self, params: &params::Conv2d) -> (Vec<(&'static str, u32)>, usize) {
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

    pub fn goodness(
        &mut self,
        (x, w, scores, scratch): (TensorId, TensorId, TensorId, TensorId),
        window: Window,
        scale: f32,
    ) {
        let from = self.shape(x);
        let maps = from.with_c(self.shape(scores).c);
        let parts = self.shape(scratch).h;
        let (definitions, across) = self.tile(u(maps.c4()), None);
        let make = |s: Slice, per_image: usize| {
            let mut params = conv(from.with_n(s.count), maps.with_n(s.count), window);
            params.parts = u(parts);
            params.factor = scale / (maps.h * maps.w) as f32;
            (params, s.count * per_image)
        };
        let each = [("x", x), ("partial", scratch)];
        let permutation = ("goodness", "squares", &definitions[..]);
        self.per_image(permutation, from.n, &each, &[("w", w)], |s| make(s, parts * across));
        let each = [("partial", scratch), ("scores", scores)];
        let permutation = ("goodness", "sum", &definitions[..]);
        self.per_image(permutation, from.n, &each, &[], |s| make(s, maps.c4()));
    }

    /// Slice after slice of the batch: class maps again, times the gradient of the scores, and
    /// from them the gradients of input and weight.
    pub fn goodness_grad(&mut self, op: &GoodnessGrad) {
        let &GoodnessGrad { x, w, dscores, dx, dw, maps, scratch, window, scale } = op;
        let (from, slice) = (self.shape(x), self.shape(maps).n);
        let n = from.n;
        let cut = split::wgrad(self.shape(maps), self.shape(w));
        for first in (0..n).step_by(slice) {
            let s = Slice { first, count: slice.min(n - first) };
            let (x_shape, map_shape) = (from.with_n(s.count), self.shape(maps).with_n(s.count));
            let (input, output) = (self.part(x, n, s), self.part(dx, n, s));
            let part = self.part(maps, slice, Slice { first: 0, count: s.count });
            let weight = ("w", self.whole(w));
            let mut params = conv(x_shape, map_shape, window);
            params.factor = 2.0 * scale / (map_shape.h * map_shape.w) as f32;

            let (definitions, across) = self.tile(params.out_c4, None);
            let scores = ("scores", self.whole(dscores));
            let operands = [("x", input), weight, scores, ("maps", part)];
            let threads = self.tile_threads(params.pixels, across);
            let slopes = params::Conv2d { first: u(first), ..params };
            self.push(("goodness", "map_grad", &definitions), &operands, slopes, threads);

            let back = conv(map_shape, x_shape, window);
            let (definitions, across) = self.tile(back.out_c4, Some("DGRAD"));
            let operands = [("x", part), weight, ("y", output)];
            let threads = self.tile_threads(back.pixels, across);
            self.push(("conv2d", "main", &definitions), &operands, back, threads);

            // All slices but the first add to its partial sums.
            let (mut definitions, tiles) = self.wgrad_tile(&params);
            definitions.extend((first > 0).then_some(("ADD", 1)));
            let operands: [(&'static str, Operand); 3] =
                [("x", input), ("dy", part), ("partial", self.whole(scratch))];
            let (params, parts) = (cut_params(params, cut, 0), cut.count(s.count));
            self.push(("conv2d_wgrad", "main", &definitions), &operands, params, tiles * parts);
        }
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
