//! Convolution of each channel by itself, and its two gradients.

use super::conv2d::conv_flops;
use super::{Access, Misfit, Operation, Scratch, expect};
use crate::base::shape::{Layout, Shape, Weight, Window};
use crate::compiler::kernel::{Lowering, Slice, conv, cut_params, to_u32};
use crate::compiler::reference::Reference;
use crate::compiler::split;
use crate::compiler::tensor::{TensorId, Tensors};

/// `y = x * w`, zero padding, each channel by itself; `w` is `(k, k, 1, c)`.
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

/// How a kernel's strips lie on a map.
struct Strips {
    definitions: Vec<(&'static str, u32)>,
    /// Strips of one image, for each group of four channels.
    count: usize,
}

/// Strips of results that cover maps of `height` by `width`, for a window of `taps` × `taps` that
/// slides by `step`.
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

/// The kernel of [`Depthwise`], or with DGRAD that of its gradient.
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

/// A depthwise convolution's shapes in f64; its three products walk the same taps.
struct Reached {
    x: Shape,
    window: Window,
}

impl Reached {
    fn y(&self) -> usize {
        self.window.output(self.x).expect("checked shapes").elements()
    }

    /// Calls `f` with the offsets of an input value, of a weight, and of the output value that
    /// their product is part of.
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
        let reached = Reached { x: r.shape(self.x), window: self.window };
        let (x, w, mut y) = (r.get(self.x), r.get(self.w), vec![0.0; reached.y()]);
        reached.each(|x_at, w_at, y_at| y[y_at] += x[x_at] * w[w_at]);
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
        let reached = Reached { x: r.shape(self.dx), window: self.window };
        let (dy, w, mut dx) = (r.get(self.dy), r.get(self.w), vec![0.0; reached.x.elements()]);
        reached.each(|x_at, w_at, y_at| dx[x_at] += dy[y_at] * w[w_at]);
        r.set(self.dx, dx);
    }

    /// Pixels of each phase see every `stride`-th position of the window, and slide by one.
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
        let reached = Reached { x: r.shape(self.x), window: self.window };
        let mut dw = vec![0.0; r.shape(self.dw).elements()];
        let (x, dy) = (r.get(self.x), r.get(self.dy));
        reached.each(|x_at, w_at, y_at| dw[w_at] += x[x_at] * dy[y_at]);
        r.set(self.dw, dw);
    }

    fn lower(&self, l: &mut Lowering) {
        let (from, to, window) = (l.shape(self.x), l.shape(self.dy), self.window);
        let cut = split::depthwise_wgrad(to);
        let strips = strips(l, (to.h, to.w), window.kernel, window.stride);
        let make = |s: Slice| {
            let params = conv(from.with_n(s.count), to.with_n(s.count), window);
            let mut params = cut_params(params, cut, s.first);
            // This sum goes over strips of pixels.
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
