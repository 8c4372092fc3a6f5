//! Max pooling and average pooling.

use super::{Access, Misfit, Operation, advice, expect};
use crate::base::shape::{LANES, Shape, Window};
use crate::compiler::kernel::{Lowering, Named, params, to_u32};
use crate::compiler::reference::Reference;
use crate::compiler::reference::window::{for_each_share, for_each_tap};
use crate::compiler::tensor::{TensorId, Tensors};

/// Largest value in each window; `argmax` keeps its position in the window, a byte per channel.
#[derive(Clone, PartialEq, Debug)]
pub struct MaxPool {
    pub x: TensorId,
    pub y: TensorId,
    pub argmax: TensorId,
    pub window: Window,
}

/// Gradient of [`MaxPool`]: each value goes to the position of the maximum.
#[derive(Clone, PartialEq, Debug)]
pub struct MaxPoolGrad {
    pub dy: TensorId,
    pub argmax: TensorId,
    pub dx: TensorId,
    pub window: Window,
}

/// Adaptive average pooling: row `i` of the `p` rows of `y` is a mean over rows `i * h / p` to
/// `(i + 1) * h / p` of `x` (rounded outwards), and columns likewise. A single output pixel is the mean of
/// the whole map.
#[derive(Clone, PartialEq, Debug)]
pub struct AvgPool {
    pub x: TensorId,
    pub y: TensorId,
}

/// Gradient of [`AvgPool`]: spreads each value evenly over the pixels that it is the mean of.
#[derive(Clone, PartialEq, Debug)]
pub struct AvgPoolGrad {
    pub dy: TensorId,
    pub dx: TensorId,
}

/// Shape of the words that hold the argmax of pooled maps of shape `y`, four channels per word.
pub fn argmax_shape(y: Shape) -> Shape {
    y.with_c(y.c4())
}

fn check_max(
    t: Tensors,
    (x, y, argmax): (TensorId, TensorId, TensorId),
    window: Window,
) -> Result<(), Misfit> {
    let pooled = window.output(t.shape(x)).ok_or("the window is larger than the maps")?;
    expect(t, y, pooled)?;
    expect(t, argmax, argmax_shape(pooled))
}

/// Max pooling of maps of shape `x` to `y`, or its gradient, with an invocation per vec4 of maps of
/// shape `over`.
fn dispatch_max(
    l: &mut Lowering,
    entry: &'static str,
    (x, y, over): (Shape, Shape, Shape),
    operands: Named,
    window: Window,
) {
    let definitions = [("KERNEL", to_u32(window.kernel)), ("STRIDE", to_u32(window.stride))];
    l.per_image(("max_pool", entry, &definitions), x.n, operands, &[], |s| {
        let len = over.with_n(s.count).pixels() * over.c4();
        let params = params::MaxPool {
            in_h: to_u32(x.h),
            in_w: to_u32(x.w),
            out_h: to_u32(y.h),
            out_w: to_u32(y.w),
            c4: to_u32(x.c4()),
            pad: to_u32(window.pad),
            len: to_u32(len),
        };
        (params, len)
    });
}

/// Average pooling of maps of shape `x` to `y`, or its gradient, with one result per vec4 of maps of shape
/// `over`.
fn dispatch_avg(
    l: &mut Lowering,
    entry: &'static str,
    (x, y, over): (Shape, Shape, Shape),
    maps: Named,
) {
    let join = l.join(over.pixels() * over.c4(), x.pixels() / over.pixels());
    l.per_image(("avg_pool", entry, join.as_slice()), x.n, maps, &[], |s| {
        let len = over.with_n(s.count).pixels() * over.c4();
        let params = params::AvgPool {
            in_h: to_u32(x.h),
            in_w: to_u32(x.w),
            out_h: to_u32(y.h),
            out_w: to_u32(y.w),
            c4: to_u32(x.c4()),
            len: to_u32(len),
        };
        (params, len)
    });
}

impl Operation for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x], &[self.y, self.argmax])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        check_max(t, (self.x, self.y, self.argmax), self.window)
    }

    fn operations(&self, t: Tensors) -> u64 {
        (t.elements(self.y) * self.window.kernel * self.window.kernel) as u64
    }

    /// Of equal values, the first is the maximum.
    fn reference(&self, r: &mut Reference) {
        let (x, c) = (r.get(self.x), r.shape(self.x).c);
        let mut best: Vec<Option<(f64, usize)>> = vec![None; r.shape(self.y).elements()];
        for_each_tap(r.shape(self.x), self.window, |tap| {
            for ch in 0..c {
                let (value, best) = (x[tap.x * c + ch], &mut best[tap.y * c + ch]);
                if best.is_none_or(|(largest, _)| value > largest) {
                    *best = Some((value, tap.k));
                }
            }
        });
        // Networks pad max pools by at most half of the window, so that each window has a tap on the map.
        let (values, places): (Vec<f64>, Vec<usize>) =
            best.into_iter().map(|b| b.expect("a window that touches the map")).unzip();
        let word = |lanes: &[usize]| lanes.iter().rev().fold(0, |word, place| word << 8 | place);
        let words = places.chunks_exact(c).flat_map(|pixel| pixel.chunks(LANES).map(word));
        let words = words.map(|word| word as f64).collect();
        r.set(self.y, values);
        r.set(self.argmax, words);
    }

    fn lower(&self, l: &mut Lowering) {
        let (from, to) = (l.shape(self.x), l.shape(self.y));
        let operands = [("x", self.x), ("y", self.y), ("argmax", self.argmax)];
        dispatch_max(l, "main", (from, to, to), &operands, self.window);
    }
}

impl Operation for MaxPoolGrad {
    fn name(&self) -> &'static str {
        "max_pool_grad"
    }

    fn access(&self) -> Access {
        Access::of(&[self.dy, self.argmax], &[self.dx])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        check_max(t, (self.dx, self.dy, self.argmax), self.window)
    }

    fn operations(&self, t: Tensors) -> u64 {
        t.elements(self.dx) as u64
    }

    fn reference(&self, r: &mut Reference) {
        let (dy, argmax, shape) = (r.get(self.dy), r.get(self.argmax), r.shape(self.dx));
        let (c, mut dx) = (shape.c, vec![0.0; shape.elements()]);
        for_each_tap(shape, self.window, |tap| {
            for ch in 0..c {
                let word = argmax[tap.y * shape.c4() + ch / LANES] as u32;
                if usize::from(word.to_le_bytes()[ch % LANES]) == tap.k {
                    dx[tap.x * c + ch] += dy[tap.y * c + ch];
                }
            }
        });
        r.set(self.dx, dx);
    }

    fn lower(&self, l: &mut Lowering) {
        let (from, to, window) = (l.shape(self.dx), l.shape(self.dy), self.window);
        let operands = [("x", self.dy), ("y", self.dx), ("argmax", self.argmax)];
        let cells = |size: usize| (size + window.pad).div_ceil(window.stride);
        let over = Shape { h: cells(from.h), w: cells(from.w), ..from };
        dispatch_max(l, "grad", (from, to, over), &operands, window);
    }
}

fn check_avg(t: Tensors, x: TensorId, y: TensorId) -> Result<(), Misfit> {
    let (from, to) = (t.shape(x), t.shape(y));
    let fits = to.n == from.n && to.c == from.c && to.h <= from.h && to.w <= from.w;
    if fits { Ok(()) } else { Err(format!("maps of {from} cannot be averaged to {to}")) }
}

fn avg_steps(x: Shape, y: Shape) -> Option<(usize, &'static str)> {
    Some((x.h.div_ceil(y.h) * (x.w.div_ceil(y.w) + 1), advice::IMAGE))
}

impl Operation for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x], &[self.y])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        check_avg(t, self.x, self.y)
    }

    fn operations(&self, t: Tensors) -> u64 {
        t.elements(self.x) as u64
    }

    fn loop_steps(&self, t: Tensors) -> Option<(usize, &'static str)> {
        avg_steps(t.shape(self.x), t.shape(self.y))
    }

    fn reference(&self, r: &mut Reference) {
        let (x, to) = (r.get(self.x), r.shape(self.y));
        let mut y = vec![0.0; to.elements()];
        for_each_share(r.shape(self.x), to, |x_at, y_at, share| y[y_at] += share * x[x_at]);
        r.set(self.y, y);
    }

    fn lower(&self, l: &mut Lowering) {
        let (from, to) = (l.shape(self.x), l.shape(self.y));
        dispatch_avg(l, "main", (from, to, to), &[("maps", self.x), ("means", self.y)]);
    }
}

impl Operation for AvgPoolGrad {
    fn name(&self) -> &'static str {
        "avg_pool_grad"
    }

    fn access(&self) -> Access {
        Access::of(&[self.dy], &[self.dx])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        check_avg(t, self.dx, self.dy)
    }

    fn operations(&self, t: Tensors) -> u64 {
        t.elements(self.dx) as u64
    }

    fn loop_steps(&self, t: Tensors) -> Option<(usize, &'static str)> {
        avg_steps(t.shape(self.dx), t.shape(self.dy))
    }

    fn reference(&self, r: &mut Reference) {
        let (dy, from) = (r.get(self.dy), r.shape(self.dx));
        let mut dx = vec![0.0; from.elements()];
        for_each_share(from, r.shape(self.dy), |x_at, y_at, share| dx[x_at] += share * dy[y_at]);
        r.set(self.dx, dx);
    }

    fn lower(&self, l: &mut Lowering) {
        let (from, to) = (l.shape(self.dx), l.shape(self.dy));
        dispatch_avg(l, "grad", (from, to, from), &[("maps", self.dx), ("means", self.dy)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::ops::tests::{Table, assert_close};

    #[test]
    fn averages_overlap_where_sizes_do_not_divide() {
        let mut t = Table::default();
        let (x, y, dx) = (t.maps(1, 1, 5, 1), t.maps(1, 1, 3, 1), t.maps(1, 1, 5, 1));
        // Columns 0-1, 1-3 and 3-4, as PyTorch's adaptive average pool has them.
        let mut r = t.run(&AvgPool { x, y }, &[(x, &[1.0, 3.0, 6.0, 9.0, 11.0])]);
        assert_close(r.get(y), &[2.0, 6.0, 10.0]);
        AvgPoolGrad { dy: y, dx }.reference(&mut r);
        assert_close(r.get(dx), &[1.0, 3.0, 2.0, 7.0, 5.0]);
    }

    #[test]
    fn argmax_is_the_first_maximum_and_takes_a_byte_per_channel() {
        let mut t = Table::default();
        let (x, y, dx) = (t.maps(1, 2, 2, 5), t.maps(1, 1, 1, 5), t.maps(1, 2, 2, 5));
        let argmax = t.words(2);
        let window = Window { kernel: 2, stride: 2, pad: 0 };
        #[rustfmt::skip]
        let values = [
            1.0, 0.0, 0.0, 0.0, -5.0,
            1.0, 2.0, 1.0, 0.0, -2.0,
            1.0, 2.0, 3.0, 0.0, -1.0,
            1.0, 1.0, 3.0, 1.0, -1.0,
        ];
        let mut r = t.run(&MaxPool { x, y, argmax, window }, &[(x, &values)]);
        assert_eq!(r.get(y), [1.0, 2.0, 3.0, 1.0, -1.0]);
        assert_eq!(r.get(argmax), [f64::from(0x0302_0100), 2.0]);

        MaxPoolGrad { dy: y, argmax, dx, window }.reference(&mut r);
        #[rustfmt::skip]
        let routed = [
            1.0, 0.0, 0.0, 0.0, 0.0,
            0.0, 2.0, 0.0, 0.0, 0.0,
            0.0, 0.0, 3.0, 0.0, -1.0,
            0.0, 0.0, 0.0, 1.0, 0.0,
        ];
        assert_eq!(r.get(dx), routed);
    }

    #[test]
    fn max_pool_ignores_padding() {
        let mut t = Table::default();
        let (x, y, argmax) = (t.maps(2, 2, 2, 1), t.maps(2, 1, 1, 1), t.words(2));
        let op = MaxPool { x, y, argmax, window: Window::same(3, 2) };
        let r = t.run(&op, &[(x, &[-4.0, -3.0, -2.0, -1.0, -7.0, -7.0, -7.0, -7.0])]);
        assert_eq!(r.get(y), [-1.0, -7.0]);
        assert_eq!(r.get(argmax), [8.0, 4.0]);
    }
}
