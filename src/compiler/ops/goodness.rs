//! The goodness of each class, and its gradients, from class maps or from Gram matrices.
//!
//! The class maps `x * w` are never stored for the whole batch. For a 1×1 convolution, the goodness is
//! `w_kᵀ M_i w_k` with the Gram matrix `M_i` of image `i`, the mean of `x xᵀ` over its pixels. With few
//! channels and many classes, this takes fewer FLOPs.

use super::conv2d::conv_flops;
use super::{Access, Misfit, Operation, Product, Scratch, advice, alike, expect};
use crate::base::shape::{LANES, Layout, Shape, Weight, Window};
use crate::compiler::kernel::{Lowering, Operand, Slice, Wgrad, conv, cut_params, params, to_u32};
use crate::compiler::reference::Reference;
use crate::compiler::reference::window::{Conv, mean_of_maps, spread_over_maps};
use crate::compiler::split::{self, Cut, convolution_steps, goodness_steps};
use crate::compiler::tensor::{TensorId, Tensors};

/// `scores[i, k] = scale * mean over pixels of (x * w)[i, k]²`: the goodness of each class.
#[derive(Clone, PartialEq, Debug)]
pub struct Goodness {
    pub x: TensorId,
    pub w: TensorId,
    pub scores: TensorId,
    pub window: Window,
    pub scale: f32,
}

/// Gradients of [`Goodness`].
#[derive(Clone, PartialEq, Debug)]
pub struct GoodnessGrad {
    pub x: TensorId,
    pub w: TensorId,
    pub dscores: TensorId,
    pub dx: TensorId,
    pub dw: TensorId,
    pub window: Window,
    pub scale: f32,
}

/// The window of heads that can use Gram matrices.
const ONE: Window = Window::same(1, 1);

/// Whether a head uses Gram matrices instead of class maps.
fn uses_gram(t: Tensors, x: TensorId, w: TensorId, window: Window) -> bool {
    window.kernel == 1 && split::gram_pays(t.shape(x), t.shape(w).c)
}

/// Scratch for the Gram matrices of a slice of the batch, and the number of images of a slice.
fn gram_scratch(t: Tensors, x: TensorId) -> (Scratch, usize) {
    let slice = split::gram_slice(t.layout(x), t.shape(x));
    (("gram", split::gram(t.shape(x).with_n(slice)), Layout::Nhwc), slice)
}

/// FLOPs of the Gram matrices of `x`, and of a product of each with the weight.
fn gram_flops(x: Shape, weight: Weight) -> u64 {
    2 * ((x.pixels() + x.n * weight.outputs) * x.c * x.c) as u64
}

fn check(
    t: Tensors,
    (x, w, scores): (TensorId, TensorId, TensorId),
    window: Window,
) -> Result<(), Misfit> {
    let (from, classes) = (t.shape(x), t.shape(w).c);
    if window.output(from) != Some(from) {
        return Err(format!("maps of {from} do not keep their size under {window:?}"));
    }
    expect(t, w, Weight::new(window.kernel, from.c, classes))?;
    expect(t, scores, Shape::rows(from.n, classes))
}

/// The definition ADD, by which all slices but the first add to the partial sums.
fn adding(slice: Slice) -> Option<(&'static str, u32)> {
    (slice.first > 0).then_some(("ADD", 1))
}

impl Operation for Goodness {
    fn name(&self) -> &'static str {
        "goodness"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x, self.w], &[self.scores])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        check(t, (self.x, self.w, self.scores), self.window)
    }

    fn scratch(&self, t: Tensors) -> Vec<Scratch> {
        let (shape, classes) = (t.shape(self.x), t.weight(self.w).outputs);
        let partial = |n, parts| ("scratch", Shape::new(n, parts, 1, classes), Layout::Nhwc);
        if uses_gram(t, self.x, self.w, self.window) {
            let (gram, slice) = gram_scratch(t, self.x);
            return vec![gram, partial(slice, split::goodness_parts(gram.1, 1))];
        }
        vec![partial(shape.n, split::goodness_parts(shape, self.window.kernel))]
    }

    fn flops(&self, t: Tensors) -> u64 {
        let (x, w) = (t.shape(self.x), t.weight(self.w));
        match uses_gram(t, self.x, self.w, self.window) {
            true => gram_flops(x, w),
            false => conv_flops(x, w),
        }
    }

    fn product(&self, t: Tensors) -> Option<Product> {
        uses_gram(t, self.x, self.w, self.window).then_some(Product::Gram)
    }

    fn loop_steps(&self, t: Tensors) -> Option<(usize, &'static str)> {
        let (x, kernel) = (t.shape(self.x), self.window.kernel);
        let steps = goodness_steps(x, kernel, split::goodness_parts(x, kernel));
        (!uses_gram(t, self.x, self.w, self.window)).then_some((steps, advice::KERNEL))
    }

    /// By class maps, even where the kernels use Gram matrices.
    fn reference(&self, r: &mut Reference) {
        let conv = Conv::new(r.shape(self.x), r.weight(self.w), self.window);
        let maps = conv.forward(r.get(self.x), r.get(self.w));
        let squares: Vec<f64> = maps.iter().map(|a| a * a).collect();
        let means = mean_of_maps(&squares, conv.y()).into_iter();
        let scores = means.map(|mean| f64::from(self.scale) * mean).collect();
        r.set(self.scores, scores);
    }

    fn lower(&self, l: &mut Lowering) {
        match uses_gram(l.tensors, self.x, self.w, self.window) {
            true => self.lower_gram(l),
            false => self.lower_maps(l),
        }
    }
}

/// The kernel that adds the partial sums of a goodness.
const SUM: (&str, &str, &[(&str, u32)]) = ("goodness_sum", "main", &[]);

impl Goodness {
    fn lower_maps(&self, l: &mut Lowering) {
        let (from, partial) = (l.shape(self.x), ("partial", l.scratch[0]));
        let maps = from.with_c(l.shape(self.scores).c);
        let parts = l.shape(partial.1).h;
        let tile = l.conv_tile(from.c, &conv(from, maps, self.window), None);
        let permutation = ("goodness", "squares", &tile.definitions[..]);
        let each = [("x", self.x), partial];
        l.per_image(permutation, from.n, &each, &[("w", self.w)], |s| {
            let mut params = conv(from.with_n(s.count), maps.with_n(s.count), self.window);
            params.parts = to_u32(parts);
            (params, tile.threads_for_tiles(s.count * parts))
        });
        l.per_image(SUM, from.n, &[partial, ("scores", self.scores)], &[], |s| {
            self.sum(Shape::rows(s.count, maps.c), parts, maps.h * maps.w)
        });
    }

    /// The parameters and invocations of the sum of `parts` partial sums, for scores of shape `scores`
    /// and maps of `pixels` pixels.
    fn sum(&self, scores: Shape, parts: usize, pixels: usize) -> (params::GoodnessSum, usize) {
        let params = params::GoodnessSum {
            images: to_u32(scores.n),
            c4: to_u32(scores.c4()),
            parts: to_u32(parts),
            first: 0,
            factor: self.scale / pixels as f32,
        };
        (params, scores.n * scores.c4())
    }

    /// For each slice of the batch: Gram matrices, then their products with the weights.
    fn lower_gram(&self, l: &mut Lowering) {
        let [gram, partial] = [l.scratch[0], l.scratch[1]];
        let (n, slice) = (l.shape(self.x).n, l.shape(gram).n);
        let (classes, parts) = (l.shape(self.scores), l.shape(partial).h);
        for s in Slice::each(n, slice) {
            let g = grams(l, self.x, gram, s);
            let width = to_u32(classes.c4());
            let params = params::Gram { width, parts: to_u32(parts), ..g.params() };
            let tile = l.tile(width, None);
            let partial = ("partial", l.part(partial, slice, Slice::first(s.count)));
            let operands = [("a", g.matrices), ("b", l.whole(self.w)), partial];
            let threads = tile.threads_for_tiles(s.count * parts);
            l.push(("gram", "squares", &tile.definitions), &operands, params, threads);

            let (mut sum, threads) = self.sum(Shape::rows(s.count, classes.c), parts, g.size());
            sum.first = to_u32(s.first);
            l.push(SUM, &[partial, ("scores", l.whole(self.scores))], sum, threads);
        }
    }
}

impl Operation for GoodnessGrad {
    fn name(&self) -> &'static str {
        "goodness_grad"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x, self.w, self.dscores], &[self.dx, self.dw])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        check(t, (self.x, self.w, self.dscores), self.window)?;
        alike(t, &[self.x, self.dx])?;
        alike(t, &[self.w, self.dw])
    }

    fn scratch(&self, t: Tensors) -> Vec<Scratch> {
        let (shape, weight) = (t.shape(self.x), t.weight(self.w));
        let sums = |parts| ("scratch", Shape::rows(parts, weight.stored()), Layout::Nhwc);
        if uses_gram(t, self.x, self.w, self.window) {
            let (gram, slice) = gram_scratch(t, self.x);
            return vec![gram, sums(split::gram_parts(slice, weight))];
        }
        let layout = t.layout(self.x);
        let slice = split::goodness_slice(layout, shape, weight.outputs);
        let maps = shape.with_n(slice).with_c(weight.outputs);
        vec![("class_maps", maps, layout), sums(split::wgrad(maps, weight).count(slice))]
    }

    fn flops(&self, t: Tensors) -> u64 {
        let (x, w) = (t.shape(self.x), t.weight(self.w));
        match uses_gram(t, self.x, self.w, self.window) {
            // Gram matrices are recomputed, and the gradients take as much.
            true => 2 * gram_flops(x, w),
            // Class maps are recomputed, and two gradients follow.
            false => 3 * conv_flops(x, w),
        }
    }

    fn product(&self, t: Tensors) -> Option<Product> {
        Some(match uses_gram(t, self.x, self.w, self.window) {
            true => Product::Gram,
            // Gradients of maps and of the weight.
            false => Product::Weight(t.shape(self.dx).c),
        })
    }

    fn loop_steps(&self, t: Tensors) -> Option<(usize, &'static str)> {
        let c4 = t.shape(self.x).c4().max(t.shape(self.w).c4());
        let steps = convolution_steps(c4, self.window.kernel);
        (!uses_gram(t, self.x, self.w, self.window)).then_some((steps, advice::KERNEL))
    }

    fn reference(&self, r: &mut Reference) {
        let conv = Conv::new(r.shape(self.x), r.weight(self.w), self.window);
        let (x, w) = (r.get(self.x), r.get(self.w));
        let mut da = spread_over_maps(r.get(self.dscores), conv.y());
        for (da, a) in da.iter_mut().zip(conv.forward(x, w)) {
            *da *= f64::from(self.scale) * 2.0 * a;
        }
        let (to_x, to_w) = (conv.dgrad(&da, w), conv.wgrad(x, &da));
        r.set(self.dx, to_x);
        r.set(self.dw, to_w);
    }

    fn lower(&self, l: &mut Lowering) {
        match uses_gram(l.tensors, self.x, self.w, self.window) {
            true => self.lower_gram(l),
            false => self.lower_maps(l),
        }
    }
}

impl GoodnessGrad {
    /// For each slice of the batch: recomputes class maps, times the gradient of the scores; then the
    /// gradients of input and weight.
    fn lower_maps(&self, l: &mut Lowering) {
        let [maps, sums] = [l.scratch[0], l.scratch[1]];
        let (from, slice) = (l.shape(self.x), l.shape(maps).n);
        let n = from.n;
        let cut = split::wgrad(l.shape(maps), l.tensors.weight(self.w));
        for s in Slice::each(n, slice) {
            let (x_shape, map_shape) = (from.with_n(s.count), l.shape(maps).with_n(s.count));
            let (input, output) = (l.part(self.x, n, s), l.part(self.dx, n, s));
            let part = l.part(maps, slice, Slice::first(s.count));
            let weight = ("w", l.whole(self.w));
            let mut params = conv(x_shape, map_shape, self.window);
            params.factor = 2.0 * self.scale / (map_shape.h * map_shape.w) as f32;

            let tile = l.conv_tile(from.c, &params, None);
            let scores = ("scores", l.whole(self.dscores));
            let operands = [("x", input), weight, scores, ("maps", part)];
            let threads = tile.threads(&params);
            let slopes = params::Conv2d { first: to_u32(s.first), ..params };
            l.push(("goodness", "map_grad", &tile.definitions), &operands, slopes, threads);

            let back = conv(map_shape, x_shape, self.window);
            let (file, tile) = l.product(maps, &back, Some("DGRAD"));
            let operands = [("x", part), weight, ("y", output)];
            let threads = tile.threads(&back);
            l.push((file, "main", &tile.definitions), &operands, back, threads);

            let Wgrad { file, mut definitions, threads } = l.wgrad_product(from.c, &params);
            definitions.extend(adding(s));
            let operands = [("x", input), ("dy", part), ("partial", l.whole(sums))];
            let (params, parts) = (cut_params(params, cut, 0), cut.count(s.count));
            l.push((file, "main", &definitions), &operands, params, threads * parts);
        }
        l.sum_rows(sums, self.dw);
    }

    /// For each slice of the batch: recomputes Gram matrices and adds their part of the weight's gradient,
    /// then overwrites them with the matrices that map pixels to their gradients.
    fn lower_gram(&self, l: &mut Lowering) {
        let [gram, sums] = [l.scratch[0], l.scratch[1]];
        let (n, classes) = (l.shape(self.x).n, to_u32(l.shape(self.dscores).c4()));
        let (weight, scores) = (l.whole(self.w), ("scores", l.whole(self.dscores)));
        let parts = l.shape(sums).n;
        for s in Slice::each(n, l.shape(gram).n) {
            let g = grams(l, self.x, gram, s);
            let factor = 2.0 * self.scale / g.size() as f32;
            let slopes = params::Gram { first: to_u32(s.first), factor, ..g.params() };

            let params = params::Gram { width: classes, parts: to_u32(parts), ..slopes };
            let mut tile = l.tile(classes, None);
            tile.definitions.extend(adding(s));
            let partial = ("partial", l.whole(sums));
            let operands = [("a", g.matrices), ("b", weight), partial, scores];
            let threads = parts * tile.threads_for_rows(params.rows);
            l.push(("gram", "weight_grad", &tile.definitions), &operands, params, threads);

            let params = params::Gram { depth: classes, ..slopes };
            let tile = l.tile(params.width, None);
            let operands = [("w", weight), scores, ("y", g.matrices)];
            let threads = s.count * tile.threads_for_rows(params.rows);
            l.push(("gram_slopes", "main", &tile.definitions), &operands, params, threads);

            let params = params::Gram { rows: to_u32(g.size()), ..g.params() };
            let tile = l.tile(params.width, None);
            let operands = [("a", g.x), ("b", g.matrices), ("y", l.part(self.dx, n, s))];
            let threads = s.count * tile.threads_for_rows(params.rows);
            l.push(("gram", "product", &tile.definitions), &operands, params, threads);
        }
        l.sum_rows(sums, self.dw);
    }
}

/// A slice of a head's input, and its Gram matrices.
struct Grams {
    /// Shape of the slice.
    shape: Shape,
    x: Operand,
    matrices: Operand,
}

impl Grams {
    /// Parameters of a product with all these matrices; `depth` and `width` are those of a matrix.
    fn params(&self) -> params::Gram {
        let (images, c4) = (to_u32(self.shape.n), to_u32(self.shape.c4()));
        let (parts, first, factor) = (1, 0, 1.0);
        let rows = to_u32(LANES) * c4;
        params::Gram { images, rows, depth: c4, width: c4, parts, first, factor }
    }

    /// Pixels per image.
    fn size(&self) -> usize {
        self.shape.h * self.shape.w
    }
}

/// Dispatches the Gram matrices of a slice: the weight gradient of a 1×1 convolution with the input as the
/// output's gradient, and one partial sum per image.
fn grams(l: &mut Lowering, x: TensorId, gram: TensorId, s: Slice) -> Grams {
    let (n, shape) = (l.shape(x).n, l.shape(x).with_n(s.count));
    let x = l.part(x, n, s);
    let matrices = l.part(gram, l.shape(gram).n, Slice::first(s.count));
    let params = cut_params(conv(shape, shape, ONE), Cut { images: 1, parts: 1 }, 0);
    let Wgrad { file, definitions, threads } = l.wgrad_product(shape.c, &params);
    let operands = [("x", x), ("dy", x), ("partial", matrices)];
    l.push((file, "main", &definitions), &operands, params, threads * s.count);
    Grams { shape, x, matrices }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::ops::tests::{Table, assert_close};

    #[test]
    fn goodness_is_the_scaled_mean_square() {
        let mut t = Table::default();
        let (x, w, scores, _scratch) =
            (t.maps(1, 1, 2, 1), t.weight(1, 1, 2), t.maps(1, 1, 1, 2), t.vector(1));
        let op = Goodness { x, w, scores, window: Window::same(1, 1), scale: 0.5 };
        let r = t.run(&op, &[(x, &[1.0, 3.0]), (w, &[1.0, 2.0])]);
        assert_close(r.get(scores), &[2.5, 10.0]);
    }
}
