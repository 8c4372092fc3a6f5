//! Convolution, its gradients, and the gradient of a bias.

use super::{Access, Misfit, Operation, Product, Scratch, advice, expect};
use crate::base::shape::{Layout, Shape, Weight, Window};
use crate::compiler::kernel::params;
use crate::compiler::kernel::{Lowering, Named, Slice, Wgrad, conv, cut_params, to_u32};
use crate::compiler::reference::Reference;
use crate::compiler::reference::window::Conv;
use crate::compiler::split::{self, convolution_steps};
use crate::compiler::tensor::{TensorId, Tensors};

/// `y = x * w + bias`, zero padding.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv2d {
    pub x: TensorId,
    pub w: TensorId,
    pub bias: Option<TensorId>,
    pub y: TensorId,
    pub window: Window,
}

/// Gradient of [`Conv2d`] with respect to its input.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv2dDgrad {
    pub dy: TensorId,
    pub w: TensorId,
    pub dx: TensorId,
    pub window: Window,
}

/// Gradient of [`Conv2d`] with respect to its weight.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv2dWgrad {
    pub x: TensorId,
    pub dy: TensorId,
    pub dw: TensorId,
    pub window: Window,
}

/// Gradient of a bias: the sum of `dy` over pixels.
#[derive(Clone, PartialEq, Debug)]
pub struct BiasGrad {
    pub dy: TensorId,
    pub db: TensorId,
}

/// Checks the maps and the weight of a convolution.
pub(super) fn check_conv(
    t: Tensors,
    (x, w, y): (TensorId, TensorId, TensorId),
    window: Window,
) -> Result<(), Misfit> {
    let (from, to) = (t.shape(x), t.shape(y));
    expect(t, w, Weight::new(window.kernel, from.c, to.c))?;
    let fits = window.output(from).ok_or("the window is larger than the maps")?;
    expect(t, y, fits.with_c(to.c))
}

/// Floating-point operations of a convolution to maps `y`, or of one of its gradients.
pub(super) fn conv_flops(y: Shape, weight: Weight) -> u64 {
    2 * (y.pixels() * weight.elements()) as u64
}

impl Operation for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn access(&self) -> Access {
        let mut access = Access::of(&[self.x, self.w], &[self.y]);
        access.reads.extend(self.bias);
        access
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        check_conv(t, (self.x, self.w, self.y), self.window)?;
        self.bias.map_or(Ok(()), |bias| expect(t, bias, Shape::vector(t.shape(self.y).c)))
    }

    fn flops(&self, t: Tensors) -> u64 {
        conv_flops(t.shape(self.y), t.weight(self.w))
    }

    fn product(&self, t: Tensors) -> Option<Product> {
        Some(Product::Maps(t.shape(self.y).c))
    }

    fn loop_steps(&self, t: Tensors) -> Option<(usize, &'static str)> {
        Some((convolution_steps(t.shape(self.x).c4(), self.window.kernel), advice::KERNEL))
    }

    fn reference(&self, r: &mut Reference) {
        let conv = Conv::new(r.shape(self.x), r.weight(self.w), self.window);
        let mut out = conv.forward(r.get(self.x), r.get(self.w));
        if let Some(bias) = self.bias {
            let bias = r.get(bias);
            for pixel in out.chunks_exact_mut(bias.len()) {
                pixel.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
            }
        }
        r.set(self.y, out);
    }

    fn lower(&self, l: &mut Lowering) {
        let mut weights = vec![("w", self.w)];
        weights.extend(self.bias.map(|b| ("bias", b)));
        let flag = self.bias.map(|_| "BIAS");
        dispatch(l, (self.x, self.y), &weights, self.window, flag);
    }
}

/// A convolution from `x` to `y`; with the flag DGRAD, the gradient of one with respect to its input.
fn dispatch(
    l: &mut Lowering,
    (x, y): (TensorId, TensorId),
    weights: Named,
    window: Window,
    flag: Option<&'static str>,
) {
    let (from, to) = (l.shape(x), l.shape(y));
    let (file, tile) = l.product(x, &conv(from, to, window), flag);
    let make = |s: Slice| {
        let params = conv(from.with_n(s.count), to.with_n(s.count), window);
        (params, tile.threads(&params))
    };
    let each = [("x", x), ("y", y)];
    l.per_image((file, "main", &tile.definitions), from.n, &each, weights, make);
}

impl Operation for Conv2dDgrad {
    fn name(&self) -> &'static str {
        "conv2d_dgrad"
    }

    fn access(&self) -> Access {
        Access::of(&[self.dy, self.w], &[self.dx])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        check_conv(t, (self.dx, self.w, self.dy), self.window)
    }

    fn flops(&self, t: Tensors) -> u64 {
        conv_flops(t.shape(self.dy), t.weight(self.w))
    }

    fn product(&self, t: Tensors) -> Option<Product> {
        Some(Product::Maps(t.shape(self.dx).c))
    }

    fn loop_steps(&self, t: Tensors) -> Option<(usize, &'static str)> {
        Some((convolution_steps(t.shape(self.dy).c4(), self.window.kernel), advice::KERNEL))
    }

    fn reference(&self, r: &mut Reference) {
        let conv = Conv::new(r.shape(self.dx), r.weight(self.w), self.window);
        let out = conv.dgrad(r.get(self.dy), r.get(self.w));
        r.set(self.dx, out);
    }

    fn lower(&self, l: &mut Lowering) {
        dispatch(l, (self.dy, self.dx), &[("w", self.w)], self.window, Some("DGRAD"));
    }
}

impl Operation for Conv2dWgrad {
    fn name(&self) -> &'static str {
        "conv2d_wgrad"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x, self.dy], &[self.dw])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        check_conv(t, (self.x, self.dw, self.dy), self.window)
    }

    fn scratch(&self, t: Tensors) -> Vec<Scratch> {
        let (dy, weight) = (t.shape(self.dy), t.weight(self.dw));
        let parts = split::wgrad(dy, weight).count(dy.n);
        vec![("scratch", Shape::rows(parts, weight.stored()), Layout::Nhwc)]
    }

    fn flops(&self, t: Tensors) -> u64 {
        conv_flops(t.shape(self.dy), t.weight(self.dw))
    }

    fn product(&self, t: Tensors) -> Option<Product> {
        Some(Product::Weight(t.shape(self.dw).c))
    }

    fn reference(&self, r: &mut Reference) {
        let conv = Conv::new(r.shape(self.x), r.weight(self.dw), self.window);
        let out = conv.wgrad(r.get(self.x), r.get(self.dy));
        r.set(self.dw, out);
    }

    fn lower(&self, l: &mut Lowering) {
        let (from, to) = (l.shape(self.x), l.shape(self.dy));
        let cut = split::wgrad(to, l.tensors.weight(self.dw));
        let Wgrad { file, definitions, threads } =
            l.wgrad_product(from.c, &conv(from, to, self.window));
        let make = |s: Slice| {
            let params = conv(from.with_n(s.count), to.with_n(s.count), self.window);
            (cut_params(params, cut, s.first), threads * cut.count(s.count))
        };
        let each = [("x", self.x), ("dy", self.dy)];
        let partial = l.scratch[0];
        let permutation = (file, "main", &definitions[..]);
        l.per_group(permutation, (from.n, cut.images), &each, &[("partial", partial)], make);
        l.sum_rows(partial, self.dw);
    }
}

impl Operation for BiasGrad {
    fn name(&self) -> &'static str {
        "bias_grad"
    }

    fn access(&self) -> Access {
        Access::of(&[self.dy], &[self.db])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        expect(t, self.db, Shape::vector(t.shape(self.dy).c))
    }

    fn scratch(&self, t: Tensors) -> Vec<Scratch> {
        let dy = t.shape(self.dy);
        let parts = split::reduction(dy).count(dy.n);
        vec![("scratch", Shape::rows(parts, dy.c), Layout::Nhwc)]
    }

    fn operations(&self, t: Tensors) -> u64 {
        t.elements(self.dy) as u64
    }

    fn reference(&self, r: &mut Reference) {
        let mut out = vec![0.0; r.shape(self.db).c];
        for pixel in r.get(self.dy).chunks_exact(out.len()) {
            out.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += v);
        }
        r.set(self.db, out);
    }

    fn lower(&self, l: &mut Lowering) {
        let shape = l.shape(self.dy);
        let cut = split::reduction(shape);
        let make = |s: Slice| {
            let params = params::BiasGrad {
                pixels: to_u32(shape.with_n(s.count).pixels()),
                c4: to_u32(shape.c4()),
                parts: to_u32(cut.parts),
                group: to_u32(cut.images * shape.h * shape.w),
                first: to_u32(cut.count(s.first)),
            };
            (params, cut.count(s.count) * shape.c4())
        };
        let partial = l.scratch[0];
        let (each, whole) = ([("dy", self.dy)], [("partial", partial)]);
        l.per_group(("bias_grad", "main", &[]), (shape.n, cut.images), &each, &whole, make);
        l.sum_rows(partial, self.db);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::ops::tests::{Table, counting};

    #[test]
    fn convolution_with_stride_padding_and_bias() {
        let mut t = Table::default();
        let (x, w, b, y) = (t.maps(1, 3, 3, 1), t.weight(3, 1, 1), t.vector(1), t.maps(1, 2, 2, 1));
        let op = Conv2d { x, w, bias: Some(b), y, window: Window::same(3, 2) };
        let nine = counting(9);
        let r = t.run(&op, &[(x, &nine), (w, &nine), (b, &[0.5])]);
        assert_eq!(r.get(y), [94.5, 106.5, 106.5, 94.5]);
    }

    #[test]
    fn large_windows_stay_within_their_image() {
        let mut t = Table::default();
        let (x, w, y) = (t.maps(2, 1, 3, 1), t.weight(5, 1, 1), t.maps(2, 1, 3, 1));
        let op = Conv2d { x, w, bias: None, y, window: Window::same(5, 1) };
        let r = t.run(&op, &[(x, &[1.0, 10.0, 100.0, 0.0, 0.0, 1.0]), (w, &counting(25))]);
        assert_eq!(r.get(y), [1653.0, 1542.0, 1431.0, 15.0, 14.0, 13.0]);
    }

    #[test]
    fn weights_are_input_by_output_channels() {
        let mut t = Table::default();
        let (x, w, y) = (t.maps(1, 1, 1, 2), t.weight(1, 2, 3), t.maps(1, 1, 1, 3));
        let op = Conv2d { x, w, bias: None, y, window: Window::same(1, 1) };
        let r = t.run(&op, &[(x, &[1.0, 2.0]), (w, &counting(6))]);
        assert_eq!(r.get(y), [9.0, 12.0, 15.0]);
    }
}
