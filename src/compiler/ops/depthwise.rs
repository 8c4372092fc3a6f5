//! Depthwise convolution, and its gradients.

use super::conv2d::conv_flops;
use super::{Access, Misfit, Operation, Scratch, expect};
use crate::base::shape::{Layout, Shape, Weight, Window};
use crate::compiler::kernel::{Lowering, Slice, conv, cut_params, to_u32};
use crate::compiler::reference::Reference;
use crate::compiler::split;
use crate::compiler::tensor::{TensorId, Tensors};

/// `y = x * w` for each channel separately, zero padding; `w` is `(k, k, 1, c)`.
#[derive(Clone, PartialEq, Debug)]
pub struct Depthwise {
    pub x: TensorId,
    pub w: TensorId,
    pub y: TensorId,
    pub window: Window,
}

/// Gradient of [`Depthwise`] with respect to its input.
#[derive(Clone, PartialEq, Debug)]
pub struct DepthwiseDgrad {
    pub dy: TensorId,
    pub w: TensorId,
    pub dx: TensorId,
    pub window: Window,
}

/// Gradient of [`Depthwise`] with respect to its weight.
#[derive(Clone, PartialEq, Debug)]
pub struct DepthwiseWgrad {
    pub x: TensorId,
    pub dy: TensorId,
    pub dw: TensorId,
    pub window: Window,
}

fn check(
    t: Tensors,
    (x, w, y): (TensorId, TensorId, TensorId),
    window: Window,
) -> Result<(), Misfit> {
    let from = t.shape(x);
    expect(t, w, Weight::new(window.kernel, 1, from.c))?;
    expect(t, y, window.output(from).ok_or("the window is larger than the maps")?)
}

/// Strips of output pixels; each invocation computes one for four channels.
struct Strips {
    definitions: Vec<(&'static str, u32)>,
    /// Strips per image and group of four channels.
    count: usize,
}

/// Strips that cover maps of `height` × `width`, for a window of `taps` × `taps` with stride `step`.
fn strips(l: &Lowering, (height, width): (usize, usize), taps: usize, step: usize) -> Strips {
    let rows = l.target.tiles.depthwise_rows as usize;
    let columns = (l.target.tiles.depthwise_columns as usize).min(width);
    let open = taps.div_ceil(step);
    let definitions =
        [("ROWS", rows), ("COLUMNS", columns), ("TAPS", taps), ("STEP", step), ("OPEN", open)];
    Strips {
        definitions: definitions.map(|(name, value)| (name, to_u32(value))).to_vec(),
        count: height.div_ceil(rows) * width.div_ceil(columns),
    }
}

/// The kernel of [`Depthwise`], or with DGRAD of its input's gradient, with `per_image` strips.
fn dispatch(
    l: &mut Lowering,
    (x, w, y): (TensorId, TensorId, TensorId),
    window: Window,
    definitions: &[(&'static str, u32)],
    per_image: usize,
) {
    let (from, to) = (l.shape(x), l.shape(y));
    let make = |s: Slice| {
        let params = conv(from.with_n(s.count), to.with_n(s.count), window);
        (params, s.count * per_image * to.c4())
    };
    let each = [("x", x), ("y", y)];
    l.per_image(("depthwise", "main", definitions), from.n, &each, &[("w", w)], make);
}

/// Taps of a depthwise convolution for the reference; forward and both gradients visit the same.
struct Taps {
    x: Shape,
    window: Window,
}

impl Taps {
    /// Calls `f` for every product, with the offsets of its input value, weight and output value.
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let c = self.x.c;
        crate::compiler::reference::window::for_each_tap(self.x, self.window, |tap| {
            (0..c).for_each(|ch| f(tap.x * c + ch, tap.k * c + ch, tap.y * c + ch));
        });
    }
}

impl Operation for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x, self.w], &[self.y])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        check(t, (self.x, self.w, self.y), self.window)
    }

    fn flops(&self, t: Tensors) -> u64 {
        conv_flops(t.shape(self.y), t.weight(self.w))
    }

    fn reference(&self, r: &mut Reference) {
        let taps = Taps { x: r.shape(self.x), window: self.window };
        let (x, w, mut y) = (r.get(self.x), r.get(self.w), vec![0.0; r.shape(self.y).elements()]);
        taps.each(|x_at, w_at, y_at| y[y_at] += x[x_at] * w[w_at]);
        r.set(self.y, y);
    }

    fn lower(&self, l: &mut Lowering) {
        let (to, window) = (l.shape(self.y), self.window);
        let strips = strips(l, (to.h, to.w), window.kernel, window.stride);
        dispatch(l, (self.x, self.w, self.y), window, &strips.definitions, strips.count);
    }
}

impl Operation for DepthwiseDgrad {
    fn name(&self) -> &'static str {
        "depthwise_dgrad"
    }

    fn access(&self) -> Access {
        Access::of(&[self.dy, self.w], &[self.dx])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        check(t, (self.dx, self.w, self.dy), self.window)
    }

    fn flops(&self, t: Tensors) -> u64 {
        conv_flops(t.shape(self.dy), t.weight(self.w))
    }

    fn reference(&self, r: &mut Reference) {
        let taps = Taps { x: r.shape(self.dx), window: self.window };
        let (dy, w, mut dx) = (r.get(self.dy), r.get(self.w), vec![0.0; taps.x.elements()]);
        taps.each(|x_at, w_at, y_at| dx[x_at] += dy[y_at] * w[w_at]);
        r.set(self.dx, dx);
    }

    /// Pixels of one phase use every `stride`-th position of the window, with stride 1.
    fn lower(&self, l: &mut Lowering) {
        let (to, stride) = (l.shape(self.dx), self.window.stride);
        let phase = (to.h.div_ceil(stride), to.w.div_ceil(stride));
        let mut strips = strips(l, phase, self.window.kernel.div_ceil(stride), 1);
        strips.definitions.push(("DGRAD", 1));
        let count = stride * stride * strips.count;
        dispatch(l, (self.dy, self.w, self.dx), self.window, &strips.definitions, count);
    }
}

impl Operation for DepthwiseWgrad {
    fn name(&self) -> &'static str {
        "depthwise_wgrad"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x, self.dy], &[self.dw])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        check(t, (self.x, self.dw, self.dy), self.window)
    }

    fn scratch(&self, t: Tensors) -> Vec<Scratch> {
        let dy = t.shape(self.dy);
        let parts = split::depthwise_wgrad(dy).count(dy.n);
        let values = Layout::Nhwc.stored(t.shape(self.dw)).elements();
        vec![("scratch", Shape::rows(parts, values), Layout::Nhwc)]
    }

    fn flops(&self, t: Tensors) -> u64 {
        conv_flops(t.shape(self.dy), t.weight(self.dw))
    }

    fn reference(&self, r: &mut Reference) {
        let taps = Taps { x: r.shape(self.x), window: self.window };
        let mut dw = vec![0.0; r.shape(self.dw).elements()];
        let (x, dy) = (r.get(self.x), r.get(self.dy));
        taps.each(|x_at, w_at, y_at| dw[w_at] += x[x_at] * dy[y_at]);
        r.set(self.dw, dw);
    }

    fn lower(&self, l: &mut Lowering) {
        let (from, to, window) = (l.shape(self.x), l.shape(self.dy), self.window);
        let cut = split::depthwise_wgrad(to);
        let strips = strips(l, (to.h, to.w), window.kernel, window.stride);
        let make = |s: Slice| {
            let params = conv(from.with_n(s.count), to.with_n(s.count), window);
            let mut params = cut_params(params, cut, s.first);
            // The kernel sums over strips of pixels.
            params.pixels = to_u32(s.count * strips.count);
            params.group = to_u32(cut.images * strips.count);
            (params, cut.count(s.count) * to.c4())
        };
        let permutation = ("depthwise_wgrad", "main", &strips.definitions[..]);
        let (each, partial) = ([("x", self.x), ("dy", self.dy)], l.scratch[0]);
        l.per_group(permutation, (from.n, cut.images), &each, &[("partial", partial)], make);
        l.sum_rows(partial, self.dw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::ops::tests::{Table, counting};

    #[test]
    fn channels_are_separate() {
        let mut t = Table::default();
        let (x, w, y) = (t.maps(1, 1, 3, 2), t.maps(3, 3, 1, 2), t.maps(1, 1, 2, 2));
        let op = Depthwise { x, w, y, window: Window::same(3, 2) };
        let r = t.run(&op, &[(x, &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]), (w, &counting(18))]);
        // The middle row of the window is 7, 9, 11 for the first channel and 8, 10, 12 for the other.
        assert_eq!(r.get(y), [31.0, 340.0, 41.0, 460.0]);
    }
}
