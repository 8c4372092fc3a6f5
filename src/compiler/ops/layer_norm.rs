//! Layer norm over each image, as at the end of a block.

use super::{Access, Misfit, Operation, Scratch, advice, alike, expect};
use crate::base::shape::{LANES, Layout, Shape};
use crate::compiler::kernel::{Lowering, Slice, params, to_u32};
use crate::compiler::reference::{Reference, mean, moments};
use crate::compiler::split;
use crate::compiler::tensor::{TensorId, Tensors};

/// Added to the variance.
const EPS: f64 = 1e-5;

/// `y = (x - mean) / sqrt(var + 1e-5)` per image over rows, columns and channels, no affine;
/// `stats` keeps mean and reciprocal standard deviation per image.
#[derive(Clone, PartialEq, Debug)]
pub struct LayerNorm {
    pub x: TensorId,
    pub y: TensorId,
    pub stats: TensorId,
}

/// Gradient of [`LayerNorm`], computed from its output. With `relu`, its input is the output of a ReLU, and
/// `dx` is the gradient of the ReLU's input: 0 where `y` is no more than what layer norm maps 0 to.
#[derive(Clone, PartialEq, Debug)]
pub struct LayerNormGrad {
    pub y: TensorId,
    pub dy: TensorId,
    pub stats: TensorId,
    pub dx: TensorId,
    pub relu: bool,
}

fn partial_sums(x: Shape) -> Vec<Scratch> {
    vec![("scratch", Shape::new(x.n, split::image_chunks(x), 1, LANES), Layout::Nhwc)]
}

fn loop_steps(x: Shape) -> Option<(usize, &'static str)> {
    Some(((x.h * x.w).div_ceil(split::image_chunks(x)) * (x.c4() + 1), advice::IMAGE))
}

fn kernel_params(x: Shape, s: Slice) -> params::LayerNorm {
    params::LayerNorm {
        images: to_u32(s.count),
        size: to_u32(x.h * x.w),
        c: to_u32(x.c),
        c4: to_u32(x.c4()),
        chunks: to_u32(split::image_chunks(x)),
        eps: EPS as f32,
    }
}

/// Number of vec4s in the images `s`.
fn vectors(x: Shape, s: Slice) -> usize {
    x.with_n(s.count).pixels() * x.c4()
}

impl Operation for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x], &[self.y, self.stats])
    }

    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        vec![(self.y, self.x)]
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        alike(t, &[self.x, self.y])?;
        expect(t, self.stats, Shape::rows(t.shape(self.x).n, 2))
    }

    fn scratch(&self, t: Tensors) -> Vec<Scratch> {
        partial_sums(t.shape(self.x))
    }

    fn operations(&self, t: Tensors) -> u64 {
        5 * t.elements(self.x) as u64
    }

    fn loop_steps(&self, t: Tensors) -> Option<(usize, &'static str)> {
        loop_steps(t.shape(self.x))
    }

    fn reference(&self, r: &mut Reference) {
        let x = r.get(self.x);
        let (mut y, mut stats) = (Vec::with_capacity(x.len()), Vec::new());
        for image in x.chunks_exact(x.len() / r.shape(self.x).n) {
            let (center, variance) = moments(image.iter().copied());
            let scale = (variance + EPS).sqrt().recip();
            y.extend(image.iter().map(|v| (v - center) * scale));
            stats.extend([center, scale]);
        }
        r.set(self.y, y);
        r.set(self.stats, stats);
    }

    fn lower(&self, l: &mut Lowering) {
        let (shape, partial) = (l.shape(self.x), ("partial", l.scratch[0]));
        let chunks = split::image_chunks(shape);
        let (x, y, stats) = (("x", self.x), ("y", self.y), ("stats", self.stats));
        let join = l.join(shape.n * chunks, shape.c4());
        let permutation = ("layer_norm", "reduce", join.as_slice());
        l.per_image(permutation, shape.n, &[x, partial], &[], |s| {
            (kernel_params(shape, s), s.count * chunks)
        });
        let join = l.join(shape.n, chunks);
        let permutation = ("layer_norm", "finish", join.as_slice());
        l.per_image(permutation, shape.n, &[partial, stats], &[], |s| {
            (kernel_params(shape, s), s.count)
        });
        l.per_image(("layer_norm", "apply", &[]), shape.n, &[x, stats, y], &[], |s| {
            (kernel_params(shape, s), vectors(shape, s))
        });
    }
}

impl Operation for LayerNormGrad {
    fn name(&self) -> &'static str {
        "layer_norm_grad"
    }

    fn access(&self) -> Access {
        Access::of(&[self.y, self.dy, self.stats], &[self.dx])
    }

    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        vec![(self.dx, self.dy)]
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        alike(t, &[self.y, self.dy, self.dx])?;
        expect(t, self.stats, Shape::rows(t.shape(self.y).n, 2))
    }

    fn scratch(&self, t: Tensors) -> Vec<Scratch> {
        partial_sums(t.shape(self.y))
    }

    fn operations(&self, t: Tensors) -> u64 {
        7 * t.elements(self.y) as u64
    }

    fn loop_steps(&self, t: Tensors) -> Option<(usize, &'static str)> {
        loop_steps(t.shape(self.dx))
    }

    fn reference(&self, r: &mut Reference) {
        let (y, dy, stats) = (r.get(self.y), r.get(self.dy), r.get(self.stats));
        let layout = r.layout(self.y);
        let mut dx = Vec::with_capacity(y.len());
        let size = y.len() / (stats.len() / 2);
        let images = y.chunks_exact(size).zip(dy.chunks_exact(size)).zip(stats.chunks_exact(2));
        for ((y, dy), stats) in images {
            let along_one = mean(dy.iter().copied());
            let along_y = mean(dy.iter().zip(y).map(|(dy, y)| dy * y));
            let zero = self.relu.then(|| layout.round((0.0 - stats[0]) * stats[1]));
            let value = |(dy, y): (&f64, &f64)| match zero.is_some_and(|zero| *y <= zero) {
                true => 0.0,
                false => stats[1] * (dy - along_one - y * along_y),
            };
            dx.extend(dy.iter().zip(y).map(value));
        }
        r.set(self.dx, dx);
    }

    fn lower(&self, l: &mut Lowering) {
        let (shape, partial) = (l.shape(self.y), ("partial", l.scratch[0]));
        let chunks = split::image_chunks(shape);
        let (y, dy, stats) = (("y", self.y), ("dy", self.dy), ("stats", self.stats));
        let join = l.join(shape.n * chunks, shape.c4());
        let permutation = ("layer_norm", "grad_reduce", join.as_slice());
        l.per_image(permutation, shape.n, &[y, dy, partial], &[], |s| {
            (kernel_params(shape, s), s.count * chunks)
        });
        let join = l.join(shape.n, chunks);
        let permutation = ("layer_norm", "grad_finish", join.as_slice());
        l.per_image(permutation, shape.n, &[partial], &[], |s| (kernel_params(shape, s), s.count));
        let each = [y, dy, stats, partial, ("dx", self.dx)];
        let flags = [("RELU", u32::from(self.relu))];
        l.per_image(("layer_norm", "grad_apply", &flags), shape.n, &each, &[], |s| {
            (kernel_params(shape, s), vectors(shape, s))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::ops::tests::{Table, assert_close, counting};
    use crate::compiler::ops::{Activate, ActivateGrad};
    use crate::net::layers::Activation;

    #[test]
    fn statistics_are_per_image() {
        let mut t = Table::default();
        let (x, y, stats, _scratch) =
            (t.maps(2, 1, 2, 1), t.maps(2, 1, 2, 1), t.maps(2, 1, 1, 2), t.vector(1));
        let op = LayerNorm { x, y, stats };
        let r = t.run(&op, &[(x, &[1.0, 3.0, 2.0, 2.0])]);
        let scale = 1.0 / 1.00001f64.sqrt();
        assert_close(r.get(y), &[-scale, scale, 0.0, 0.0]);
        assert_close(r.get(stats), &[2.0, scale, 2.0, 1.0 / 1e-5f64.sqrt()]);
    }

    #[test]
    fn the_gradient_through_a_relu_is_that_of_separate_ops() {
        let mut t = Table::default();
        let [x, h, y, dy, dn, dx, again] = [(); 7].map(|()| t.maps(2, 1, 3, 2));
        let (stats, _scratch) = (t.maps(2, 1, 1, 2), t.vector(1));
        let act = Activation::Relu;
        let values = [-1.0, 2.0, 0.5, -3.0, 0.0, 1.0, -1.0, -2.0, 4.0, 1e-9, -0.5, 3.0];
        let mut r = t.run(&Activate { x, y: h, act }, &[(x, &values), (dy, &counting(12))]);
        LayerNorm { x: h, y, stats }.reference(&mut r);
        LayerNormGrad { y, dy, stats, dx: dn, relu: false }.reference(&mut r);
        ActivateGrad { x: h, dy: dn, dx: again, act }.reference(&mut r);
        LayerNormGrad { y, dy, stats, dx, relu: true }.reference(&mut r);
        assert_eq!(r.get(dx), r.get(again));
        assert_eq!(r.get(dx).iter().filter(|v| **v == 0.0).count(), 6);
    }
}
