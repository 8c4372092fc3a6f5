//! Convolutions of each channel by itself.

use super::conv::{conv, cut_params};
use super::slices::Slice;
use super::{Lowering, u};
use crate::base::shape::Window;
use crate::compiler::split;
use crate::compiler::tensor::TensorId;

/// How a kernel's strips lie on a map.
struct Strips {
    definitions: Vec<(&'static str, u32)>,
    /// Strips of one image, for each group of four channels.
    count: usize,
}

impl Lowering<'_> {
    /// Strips of results that cover maps of `height` by `width`, for a window of `taps` × `taps` that
    /// slides by `step`.
    fn strips(&self, (height, width): (usize, usize), taps: usize, step: usize) -> Strips {
        let rows = self.target.tiles.depthwise_rows as usize;
        let columns = (self.target.tiles.depthwise_columns as usize).min(width);
        let open = taps.div_ceil(step);
        let definitions =
            [("ROWS", rows), ("COLUMNS", columns), ("TAPS", taps), ("STEP", step), ("OPEN", open)];
        Strips {
            definitions: definitions.map(|(name, value)| (name, u(value))).to_vec(),
            count: height.div_ceil(rows) * width.div_ceil(columns),
        }
    }

    pub fn depthwise(&mut self, (x, w, y): (TensorId, TensorId, TensorId), window: Window) {
        let to = self.shape(y);
        let strips = self.strips((to.h, to.w), window.kernel, window.stride);
        self.depthwise_strips((x, w, y), window, &strips.definitions, strips.count);
    }

    /// Pixels of each phase see every `stride`-th position of the window, and slide by one.
    pub fn depthwise_dgrad(&mut self, (dy, w, dx): (TensorId, TensorId, TensorId), window: Window) {
        let (to, stride) = (self.shape(dx), window.stride);
        let phase = (to.h.div_ceil(stride), to.w.div_ceil(stride));
        let mut strips = self.strips(phase, window.kernel.div_ceil(stride), 1);
        strips.definitions.push(("DGRAD", 1));
        let count = stride * stride * strips.count;
        self.depthwise_strips((dy, w, dx), window, &strips.definitions, count);
    }

    fn depthwise_strips(
        &mut self,
        (x, w, y): (TensorId, TensorId, TensorId),
        window: Window,
        definitions: &[(&'static str, u32)],
        per_image: usize,
    ) {
        let (from, to) = (self.shape(x), self.shape(y));
        let make = |s: Slice| {
            let params = conv(from.with_n(s.count), to.with_n(s.count), window);
            (params, s.count * per_image * to.c4())
        };
        let each = [("x", x), ("y", y)];
        self.per_image(("depthwise", "main", definitions), from.n, &each, &[("w", w)], make);
    }

    pub fn depthwise_wgrad(
        &mut self,
        (x, dy, dw, scratch): (TensorId, TensorId, TensorId, TensorId),
        window: Window,
    ) {
        let (from, to) = (self.shape(x), self.shape(dy));
        let cut = split::depthwise_wgrad(to);
        let strips = self.strips((to.h, to.w), window.kernel, window.stride);
        let make = |s: Slice| {
            let params = conv(from.with_n(s.count), to.with_n(s.count), window);
            let mut params = cut_params(params, cut, s.first);
            // This sum goes over strips of pixels.
            params.pixels = u(s.count * strips.count);
            params.group = u(cut.images * strips.count);
            (params, cut.count(s.count) * to.c4())
        };
        let permutation = ("depthwise_wgrad", "main", &strips.definitions[..]);
        let each = [("x", x), ("dy", dy)];
        self.per_group(permutation, (from.n, cut.images), &each, &[("partial", scratch)], make);
        self.sum_rows(scratch, dw);
    }
}
