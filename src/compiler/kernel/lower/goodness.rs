//! The goodness and its gradients, from class maps or from Gram matrices.

use super::conv::{Wgrad, conv, cut_params};
use super::slices::Slice;
use super::{Lowering, u};
use crate::base::shape::{LANES, Shape, Window};
use crate::compiler::kernel::{Operand, params};
use crate::compiler::ops::Op;
use crate::compiler::split::{self, Cut};
use crate::compiler::tensor::TensorId;

/// Of the head that Gram matrices are for.
const ONE: Window = Window::same(1, 1);

/// Some images of the maps that a head sees, and the matrices that their pixels make.
struct Grams {
    /// Shape of these images.
    shape: Shape,
    x: Operand,
    matrices: Operand,
}

impl Grams {
    /// Of a product with the matrices of all these images; `depth` and `width` are theirs.
    fn params(&self) -> params::Gram {
        let (images, c4) = (u(self.shape.n), u(self.shape.c4()));
        let (parts, first, factor) = (1, 0, 1.0);
        params::Gram { images, rows: u(LANES) * c4, depth: c4, width: c4, parts, first, factor }
    }

    fn size(&self) -> usize {
        self.shape.h * self.shape.w
    }
}

/// A batch of `n` images, so many at a time.
fn slices(n: usize, count: usize) -> impl Iterator<Item = Slice> {
    (0..n).step_by(count).map(move |first| Slice { first, count: count.min(n - first) })
}

/// All slices but the first add to its partial sums.
fn adding(slice: Slice) -> Option<(&'static str, u32)> {
    (slice.first > 0).then_some(("ADD", 1))
}

impl Lowering<'_> {
    pub fn goodness(&mut self, op: &Op) {
        let Op::Goodness { x, w, scores, scratch, window, scale } = *op else { return };
        let from = self.shape(x);
        let maps = from.with_c(self.shape(scores).c);
        let parts = self.shape(scratch).h;
        let tile = self.conv_tile(from.c, &conv(from, maps, window), None);
        let make = |s: Slice, threads: usize| {
            let mut params = conv(from.with_n(s.count), maps.with_n(s.count), window);
            params.parts = u(parts);
            params.factor = scale / (maps.h * maps.w) as f32;
            (params, threads)
        };
        let each = [("x", x), ("partial", scratch)];
        let permutation = ("goodness", "squares", &tile.definitions[..]);
        self.per_image(permutation, from.n, &each, &[("w", w)], |s| {
            make(s, tile.threads_for(s.count * parts))
        });
        let each = [("partial", scratch), ("scores", scores)];
        let permutation = ("goodness", "sum", &tile.definitions[..]);
        self.per_image(permutation, from.n, &each, &[], |s| make(s, s.count * maps.c4()));
    }

    /// Slice after slice of the batch: class maps again, times the gradient of the scores, and
    /// from them the gradients of input and weight.
    pub fn goodness_grad(&mut self, op: &Op) {
        let Op::GoodnessGrad { x, w, dscores, dx, dw, maps, scratch, window, scale } = *op else {
            return;
        };
        let (from, slice) = (self.shape(x), self.shape(maps).n);
        let n = from.n;
        let cut = split::wgrad(self.shape(maps), self.shape(w));
        for s in slices(n, slice) {
            let (x_shape, map_shape) = (from.with_n(s.count), self.shape(maps).with_n(s.count));
            let (input, output) = (self.part(x, n, s), self.part(dx, n, s));
            let part = self.part(maps, slice, Slice { first: 0, count: s.count });
            let weight = ("w", self.whole(w));
            let mut params = conv(x_shape, map_shape, window);
            params.factor = 2.0 * scale / (map_shape.h * map_shape.w) as f32;

            let tile = self.conv_tile(from.c, &params, None);
            let scores = ("scores", self.whole(dscores));
            let operands = [("x", input), weight, scores, ("maps", part)];
            let threads = tile.threads(&params);
            let slopes = params::Conv2d { first: u(s.first), ..params };
            self.push(("goodness", "map_grad", &tile.definitions), &operands, slopes, threads);

            let back = conv(map_shape, x_shape, window);
            let (file, tile) = self.product(maps, &back, Some("DGRAD"));
            let operands = [("x", part), weight, ("y", output)];
            let threads = tile.threads(&back);
            self.push((file, "main", &tile.definitions), &operands, back, threads);

            let Wgrad { file, mut definitions, threads } = self.wgrad_product(from.c, &params);
            definitions.extend(adding(s));
            let operands = [("x", input), ("dy", part), ("partial", self.whole(scratch))];
            let (params, parts) = (cut_params(params, cut, 0), cut.count(s.count));
            self.push((file, "main", &definitions), &operands, params, threads * parts);
        }
        self.sum_rows(scratch, dw);
    }

    /// Slice after slice of the batch: Gram matrices, and what the weights make of them.
    pub fn gram_goodness(&mut self, op: &Op) {
        let Op::GramGoodness { x, w, scores, gram, scratch, scale } = *op else { return };
        let (n, slice) = (self.shape(x).n, self.shape(gram).n);
        let (classes, parts) = (self.shape(scores), self.shape(scratch).h);
        for s in slices(n, slice) {
            let g = self.grams(x, gram, s);
            let width = u(classes.c4());
            let params = params::Gram { width, parts: u(parts), ..g.params() };
            let tile = self.tile(width, None);
            let bound = Slice { first: 0, count: s.count };
            let partial = ("partial", self.part(scratch, slice, bound));
            let operands = [("a", g.matrices), ("b", self.whole(w)), partial];
            let threads = tile.threads_for(s.count * parts);
            self.push(("gram", "squares", &tile.definitions), &operands, params, threads);

            let one = Shape::rows(s.count, classes.c);
            let mut sum = params::Conv2d { parts: u(parts), ..conv(one, one, ONE) };
            (sum.first, sum.factor) = (u(s.first), scale / g.size() as f32);
            let operands = [partial, ("scores", self.whole(scores))];
            self.push(("goodness", "sum", &tile.definitions), &operands, sum, one.n * one.c4());
        }
    }

    /// Slice after slice of the batch: Gram matrices again, their share of the weight's gradient;
    /// then in their place the matrices that take pixels to their gradients.
    pub fn gram_goodness_grad(&mut self, op: &Op) {
        let Op::GramGoodnessGrad { x, w, dscores, dx, dw, gram, scratch, scale } = *op else {
            return;
        };
        let (n, classes) = (self.shape(x).n, u(self.shape(dscores).c4()));
        let (weight, scores) = (self.whole(w), ("scores", self.whole(dscores)));
        let parts = self.shape(scratch).n;
        for s in slices(n, self.shape(gram).n) {
            let g = self.grams(x, gram, s);
            let factor = 2.0 * scale / g.size() as f32;
            let slopes = params::Gram { first: u(s.first), factor, ..g.params() };

            let params = params::Gram { width: classes, parts: u(parts), ..slopes };
            let mut tile = self.tile(classes, None);
            tile.definitions.extend(adding(s));
            let partial = ("partial", self.whole(scratch));
            let operands = [("a", g.matrices), ("b", weight), partial, scores];
            let threads = parts * tile.threads_of(params.rows);
            self.push(("gram", "weight_grad", &tile.definitions), &operands, params, threads);

            let params = params::Gram { depth: classes, ..slopes };
            let tile = self.tile(params.width, Some("CLASSES"));
            let operands = [("a", weight), ("b", weight), scores, ("y", g.matrices)];
            let threads = s.count * tile.threads_of(params.rows);
            self.push(("gram", "product", &tile.definitions), &operands, params, threads);

            let params = params::Gram { rows: u(g.size()), ..g.params() };
            let tile = self.tile(params.width, None);
            let operands = [("a", g.x), ("b", g.matrices), ("y", self.part(dx, n, s))];
            let threads = s.count * tile.threads_of(params.rows);
            self.push(("gram", "product", &tile.definitions), &operands, params, threads);
        }
        self.sum_rows(scratch, dw);
    }

    /// The Gram matrices of some images: a weight gradient with the input as the output's
    /// gradient, in a part for each image.
    fn grams(&mut self, x: TensorId, gram: TensorId, s: Slice) -> Grams {
        let (n, shape) = (self.shape(x).n, self.shape(x).with_n(s.count));
        let bound = Slice { first: 0, count: s.count };
        let x = self.part(x, n, s);
        let matrices = self.part(gram, self.shape(gram).n, bound);
        let params = cut_params(conv(shape, shape, ONE), Cut { images: 1, parts: 1 }, 0);
        let Wgrad { file, definitions, threads } = self.wgrad_product(shape.c, &params);
        let operands = [("x", x), ("dy", x), ("partial", matrices)];
        self.push((file, "main", &definitions), &operands, params, threads * s.count);
        Grams { shape, x, matrices }
    }
}
