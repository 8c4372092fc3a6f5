//! Batch norm, layer norm, and the other sums over pixels.

use super::slices::Slice;
use super::{Lowering, activation, u};
use crate::base::shape::Shape;
use crate::compiler::kernel::params;
use crate::compiler::ops::Op;
use crate::compiler::split;
use crate::compiler::tensor::TensorId;
use crate::net::layers::BatchNorm;

/// Layer norm's epsilon.
const LAYER_NORM_EPS: f32 = 1e-5;

/// Parameters of batch norm on some images of maps of shape `x`.
fn batch_norm(x: Shape, norm: BatchNorm, s: Slice) -> params::BatchNorm {
    let cut = split::reduction(x);
    params::BatchNorm {
        pixels: u(x.with_n(s.count).pixels()),
        c: u(x.c),
        c4: u(x.c4()),
        parts: u(cut.parts),
        group: u(cut.images * x.h * x.w),
        first: u(cut.count(s.first)),
        total: u(x.pixels()),
        across: u(across(x, s)),
        eps: norm.eps,
        momentum: norm.momentum,
    }
}

/// Invocations for each channel group where each has several pixels.
fn across(x: Shape, s: Slice) -> usize {
    x.with_n(s.count).pixels().div_ceil(8)
}

/// Groups of four values in some images.
fn values(x: Shape, s: Slice) -> usize {
    x.with_n(s.count).pixels() * x.c4()
}

impl Lowering<'_> {
    /// `y = act(norm(x) + residual)` with the statistics in `stats`.
    pub fn batch_norm_apply(
        &mut self,
        (x, residual, y): (TensorId, Option<TensorId>, TensorId),
        (gamma, beta, stats): (TensorId, TensorId, TensorId),
        norm: BatchNorm,
    ) {
        let shape = self.shape(x);
        let whole = [("gamma", gamma), ("beta", beta), ("stats", stats)];
        let mut flags: Vec<_> = activation(norm.act).into_iter().collect();
        let mut each = vec![("x", x), ("y", y)];
        if let Some(residual) = residual {
            flags.push(("RESIDUAL", 1));
            each.push(("residual", residual));
        }
        let make = |s| (batch_norm(shape, norm, s), across(shape, s) * shape.c4());
        self.per_image(("batch_norm", "apply", &flags), shape.n, &each, &whole, make);
    }

    pub fn batch_norm(&mut self, op: &Op) {
        let Op::BatchNorm { x, residual, gamma, beta, running, stats, y, scratch, norm } = *op
        else {
            return;
        };
        let shape = self.shape(x);
        let cut = split::reduction(shape);
        let all = Slice { first: 0, count: shape.n };
        self.per_group(
            ("batch_norm", "reduce", &[]),
            (shape.n, cut.images),
            &[("x", x)],
            &[("partial", scratch)],
            |s| (batch_norm(shape, norm, s), cut.count(s.count) * shape.c4()),
        );
        let operands = [("partial", scratch), ("stats", stats), ("running", running)];
        let params = batch_norm(shape, norm, all);
        let join = self.join(shape.c4(), cut.count(shape.n));
        let permutation = ("batch_norm", "finish", join.as_slice());
        self.once(permutation, &operands, params, shape.c4());
        self.batch_norm_apply((x, residual, y), (gamma, beta, stats), norm);
    }

    pub fn batch_norm_grad(&mut self, op: &Op) {
        let Op::BatchNormGrad { x, dy, gamma, beta, stats, dx, dgamma, dbeta, scratch, norm } = *op
        else {
            return;
        };
        let shape = self.shape(x);
        let cut = split::reduction(shape);
        let all = Slice { first: 0, count: shape.n };
        let act = activation(norm.act);
        let whole = [("stats", stats), ("partial", scratch), ("gamma", gamma), ("beta", beta)];
        self.per_group(
            ("batch_norm", "grad_reduce", act.as_slice()),
            (shape.n, cut.images),
            &[("x", x), ("dy", dy)],
            &whole,
            |s| (batch_norm(shape, norm, s), cut.count(s.count) * shape.c4()),
        );
        let operands = [("partial", scratch), ("dgamma", dgamma), ("dbeta", dbeta)];
        let params = batch_norm(shape, norm, all);
        let join = self.join(shape.c4(), cut.count(shape.n));
        let permutation = ("batch_norm", "grad_finish", join.as_slice());
        self.once(permutation, &operands, params, shape.c4());
        let whole = [
            ("gamma", gamma),
            ("beta", beta),
            ("stats", stats),
            ("dgamma", dgamma),
            ("dbeta", dbeta),
        ];
        let make = |s| (batch_norm(shape, norm, s), across(shape, s) * shape.c4());
        let each = [("x", x), ("dy", dy), ("y", dx)];
        let permutation = ("batch_norm", "grad_apply", act.as_slice());
        self.per_image(permutation, shape.n, &each, &whole, make);
    }

    pub fn bias_grad(&mut self, dy: TensorId, db: TensorId, scratch: TensorId) {
        let shape = self.shape(dy);
        let cut = split::reduction(shape);
        let make = |s: Slice| {
            let params = params::BiasGrad {
                pixels: u(shape.with_n(s.count).pixels()),
                c4: u(shape.c4()),
                parts: u(cut.parts),
                group: u(cut.images * shape.h * shape.w),
                first: u(cut.count(s.first)),
            };
            (params, cut.count(s.count) * shape.c4())
        };
        let permutation = ("bias_grad", "main", &[][..]);
        let partial = [("partial", scratch)];
        self.per_group(permutation, (shape.n, cut.images), &[("dy", dy)], &partial, make);
        self.sum_rows(scratch, db);
    }

    pub fn layer_norm(&mut self, x: TensorId, y: TensorId, stats: TensorId, scratch: TensorId) {
        let (shape, chunks) = (self.shape(x), self.shape(scratch).h);
        let params = |s| layer_norm(shape, chunks, s);
        let each = [("x", x), ("partial", scratch)];
        let join = self.join(shape.n * chunks, shape.c4());
        self.per_image(("layer_norm", "reduce", join.as_slice()), shape.n, &each, &[], |s| {
            (params(s), s.count * chunks)
        });
        let each = [("partial", scratch), ("stats", stats)];
        let join = self.join(shape.n, chunks);
        self.per_image(("layer_norm", "finish", join.as_slice()), shape.n, &each, &[], |s| {
            (params(s), s.count)
        });
        let each = [("x", x), ("stats", stats), ("y", y)];
        self.per_image(("layer_norm", "apply", &[]), shape.n, &each, &[], |s| {
            (params(s), values(shape, s))
        });
    }

    pub fn layer_norm_grad(
        &mut self,
        (y, dy, dx): (TensorId, TensorId, TensorId),
        stats: TensorId,
        scratch: TensorId,
        relu: bool,
    ) {
        let (shape, chunks) = (self.shape(y), self.shape(scratch).h);
        let params = |s| layer_norm(shape, chunks, s);
        let each = [("y", y), ("dy", dy), ("partial", scratch)];
        let join = self.join(shape.n * chunks, shape.c4());
        self.per_image(("layer_norm", "grad_reduce", join.as_slice()), shape.n, &each, &[], |s| {
            (params(s), s.count * chunks)
        });
        let each = [("partial", scratch)];
        let join = self.join(shape.n, chunks);
        self.per_image(("layer_norm", "grad_finish", join.as_slice()), shape.n, &each, &[], |s| {
            (params(s), s.count)
        });
        let each = [("y", y), ("dy", dy), ("stats", stats), ("partial", scratch), ("dx", dx)];
        let flags = [("RELU", u32::from(relu))];
        self.per_image(("layer_norm", "grad_apply", &flags), shape.n, &each, &[], |s| {
            (params(s), values(shape, s))
        });
    }
}

fn layer_norm(x: Shape, chunks: usize, s: Slice) -> params::LayerNorm {
    params::LayerNorm {
        images: u(s.count),
        size: u(x.h * x.w),
        c: u(x.c),
        c4: u(x.c4()),
        chunks: u(chunks),
        eps: LAYER_NORM_EPS,
    }
}
