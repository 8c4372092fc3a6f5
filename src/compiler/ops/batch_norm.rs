//! Batch norm (Ioffe and Szegedy, arXiv 1502.03167), fused with a residual sum and an activation.

use super::activation::{slope, value};
use super::{Access, Misfit, Operation, Scratch, alike, expect};
use crate::base::shape::{LANES, Layout, Shape};
use crate::compiler::kernel::{Lowering, Slice, activation, params, to_u32};
use crate::compiler::reference::{Reference, moments};
use crate::compiler::split;
use crate::compiler::tensor::{TensorId, Tensors};
use crate::net::layers;

/// `y = act(norm(x) + residual)` with `norm(x) = gamma * (x - mean) / sqrt(var + eps) + beta` per channel.
/// Mean and biased variance are those of the batch, and kept in `stats` (2 rows); `running` (2 rows) is
/// updated with the mean and the unbiased variance.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNorm {
    pub x: TensorId,
    pub residual: Option<TensorId>,
    pub gamma: TensorId,
    pub beta: TensorId,
    pub running: TensorId,
    pub stats: TensorId,
    pub y: TensorId,
    pub norm: layers::BatchNorm,
}

/// [`BatchNorm`] with the running statistics.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormEval {
    pub x: TensorId,
    pub residual: Option<TensorId>,
    pub gamma: TensorId,
    pub beta: TensorId,
    pub running: TensorId,
    pub y: TensorId,
    pub norm: layers::BatchNorm,
}

/// Gradients of [`BatchNorm`] without a residual. The input of the activation is recomputed from `x`.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormGrad {
    pub x: TensorId,
    pub dy: TensorId,
    pub gamma: TensorId,
    pub beta: TensorId,
    pub stats: TensorId,
    pub dx: TensorId,
    pub dgamma: TensorId,
    pub dbeta: TensorId,
    pub norm: layers::BatchNorm,
}

/// Shape of statistics: a row of means, then a row of variances.
fn two_rows(x: Shape) -> Shape {
    Shape::new(1, 1, 2, x.c)
}

fn partial_sums(x: Shape) -> Vec<Scratch> {
    let parts = split::reduction(x).count(x.n);
    vec![("scratch", Shape::rows(parts, 2 * x.c4() * LANES), Layout::Nhwc)]
}

/// Parameters of the kernels on the images `s` of maps of shape `x`.
fn kernel_params(x: Shape, norm: layers::BatchNorm, s: Slice) -> params::BatchNorm {
    let cut = split::reduction(x);
    params::BatchNorm {
        pixels: to_u32(x.with_n(s.count).pixels()),
        c: to_u32(x.c),
        c4: to_u32(x.c4()),
        parts: to_u32(cut.parts),
        group: to_u32(cut.images * x.h * x.w),
        first: to_u32(cut.count(s.first)),
        total: to_u32(x.pixels()),
        across: to_u32(across(x, s)),
        eps: norm.eps,
        momentum: norm.momentum,
    }
}

/// Invocations per group of four channels in kernels with eight pixels per invocation.
fn across(x: Shape, s: Slice) -> usize {
    x.with_n(s.count).pixels().div_ceil(8)
}

/// `y = act(norm(x) + residual)` with the statistics in `stats`.
fn apply(
    l: &mut Lowering,
    (x, residual, y): (TensorId, Option<TensorId>, TensorId),
    (gamma, beta, stats): (TensorId, TensorId, TensorId),
    norm: layers::BatchNorm,
) {
    let shape = l.shape(x);
    let whole = [("gamma", gamma), ("beta", beta), ("stats", stats)];
    let mut flags: Vec<_> = activation(norm.act).into_iter().collect();
    let mut each = vec![("x", x), ("y", y)];
    if let Some(residual) = residual {
        flags.push(("RESIDUAL", 1));
        each.push(("residual", residual));
    }
    let make = |s| (kernel_params(shape, norm, s), across(shape, s) * shape.c4());
    l.per_image(("batch_norm", "apply", &flags), shape.n, &each, &whole, make);
}

/// The values of channel `ch`.
fn channel(x: &[f64], ch: usize, channels: usize) -> impl ExactSizeIterator<Item = f64> + Clone {
    x[ch..].iter().step_by(channels).copied()
}

/// A row of means, then a row of biased variances.
fn channel_stats(x: &[f64], channels: usize) -> Vec<f64> {
    let (means, variances): (Vec<f64>, Vec<f64>) =
        (0..channels).map(|ch| moments(channel(x, ch, channels))).unzip();
    [means, variances].concat()
}

/// The running statistics after a batch of `count` values per channel.
fn running_stats(running: &[f64], batch: &[f64], count: usize, momentum: f32) -> Vec<f64> {
    let momentum = f64::from(momentum);
    // The unbiased variance of a single value is undefined; its biased variance is 0.
    let unbias = if count > 1 { count as f64 / (count - 1) as f64 } else { 1.0 };
    let channels = batch.len() / 2;
    let update = |(i, (old, new)): (usize, (&f64, &f64))| {
        let new = if i < channels { *new } else { new * unbias };
        (1.0 - momentum) * old + momentum * new
    };
    running.iter().zip(batch).enumerate().map(update).collect()
}

/// Reciprocal standard deviations.
fn reciprocal(variances: &[f64], eps: f32) -> Vec<f64> {
    variances.iter().map(|var| (var + f64::from(eps)).sqrt().recip()).collect()
}

/// Batch norm with the given statistics, residual and activation included.
fn normalized(
    r: &Reference,
    (x, residual): (TensorId, Option<TensorId>),
    (gamma, beta): (TensorId, TensorId),
    stats: &[f64],
    norm: layers::BatchNorm,
) -> Vec<f64> {
    let (gamma, beta, residual) = (r.get(gamma), r.get(beta), residual.map(|id| r.get(id)));
    let channels = gamma.len();
    let (means, variances) = stats.split_at(channels);
    let scale = reciprocal(variances, norm.eps);
    let one = |(i, x): (usize, &f64)| {
        let ch = i % channels;
        let normal = gamma[ch] * (x - means[ch]) * scale[ch] + beta[ch];
        value(norm.act, normal + residual.map_or(0.0, |r| r[i]))
    };
    r.get(x).iter().enumerate().map(one).collect()
}

impl Operation for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn access(&self) -> Access {
        let reads = [self.x, self.gamma, self.beta, self.running];
        let mut access = Access::of(&reads, &[self.running, self.stats, self.y]);
        access.reads.extend(self.residual);
        access
    }

    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        // Backward reads `x`.
        self.residual.map(|residual| (self.y, residual)).into_iter().collect()
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        let x = t.shape(self.x);
        alike(t, &[self.x, self.y])?;
        self.residual.map_or(Ok(()), |residual| expect(t, residual, x))?;
        [self.gamma, self.beta].iter().try_for_each(|id| expect(t, *id, Shape::vector(x.c)))?;
        [self.running, self.stats].iter().try_for_each(|id| expect(t, *id, two_rows(x)))
    }

    fn scratch(&self, t: Tensors) -> Vec<Scratch> {
        partial_sums(t.shape(self.x))
    }

    fn operations(&self, t: Tensors) -> u64 {
        // Three for the statistics, the others to apply them.
        (6 + u64::from(self.residual.is_some())) * t.elements(self.x) as u64
    }

    fn reference(&self, r: &mut Reference) {
        let (values, channels) = (r.get(self.x), r.shape(self.x).c);
        let batch = channel_stats(values, channels);
        let (input, affine) = ((self.x, self.residual), (self.gamma, self.beta));
        let out = normalized(r, input, affine, &batch, self.norm);
        let count = values.len() / channels;
        let running = running_stats(r.get(self.running), &batch, count, self.norm.momentum);
        r.set(self.running, running);
        r.set(self.stats, batch);
        r.set(self.y, out);
    }

    fn lower(&self, l: &mut Lowering) {
        let (shape, norm, partial) = (l.shape(self.x), self.norm, l.scratch[0]);
        let cut = split::reduction(shape);
        l.per_group(
            ("batch_norm", "reduce", &[]),
            (shape.n, cut.images),
            &[("x", self.x)],
            &[("partial", partial)],
            |s| (kernel_params(shape, norm, s), cut.count(s.count) * shape.c4()),
        );
        let operands = [("partial", partial), ("stats", self.stats), ("running", self.running)];
        let params = kernel_params(shape, norm, Slice::first(shape.n));
        let join = l.join(shape.c4(), cut.count(shape.n));
        l.once(("batch_norm", "finish", join.as_slice()), &operands, params, shape.c4());
        let maps = (self.x, self.residual, self.y);
        apply(l, maps, (self.gamma, self.beta, self.stats), norm);
    }
}

impl Operation for BatchNormEval {
    fn name(&self) -> &'static str {
        "batch_norm_eval"
    }

    fn access(&self) -> Access {
        let mut access = Access::of(&[self.x, self.gamma, self.beta, self.running], &[self.y]);
        access.reads.extend(self.residual);
        access
    }

    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        [Some(self.x), self.residual].into_iter().flatten().map(|from| (self.y, from)).collect()
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        let x = t.shape(self.x);
        alike(t, &[self.x, self.y])?;
        self.residual.map_or(Ok(()), |residual| expect(t, residual, x))?;
        [self.gamma, self.beta].iter().try_for_each(|id| expect(t, *id, Shape::vector(x.c)))?;
        expect(t, self.running, two_rows(x))
    }

    fn operations(&self, t: Tensors) -> u64 {
        (3 + u64::from(self.residual.is_some())) * t.elements(self.x) as u64
    }

    fn reference(&self, r: &mut Reference) {
        let (input, affine) = ((self.x, self.residual), (self.gamma, self.beta));
        let out = normalized(r, input, affine, r.get(self.running), self.norm);
        r.set(self.y, out);
    }

    fn lower(&self, l: &mut Lowering) {
        let maps = (self.x, self.residual, self.y);
        apply(l, maps, (self.gamma, self.beta, self.running), self.norm);
    }
}

impl Operation for BatchNormGrad {
    fn name(&self) -> &'static str {
        "batch_norm_grad"
    }

    fn access(&self) -> Access {
        let reads = [self.x, self.dy, self.gamma, self.beta, self.stats];
        Access::of(&reads, &[self.dx, self.dgamma, self.dbeta])
    }

    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        vec![(self.dx, self.dy)]
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        let x = t.shape(self.x);
        alike(t, &[self.x, self.dy, self.dx])?;
        let vectors = [self.gamma, self.beta, self.dgamma, self.dbeta];
        vectors.iter().try_for_each(|id| expect(t, *id, Shape::vector(x.c)))?;
        expect(t, self.stats, two_rows(x))
    }

    fn scratch(&self, t: Tensors) -> Vec<Scratch> {
        partial_sums(t.shape(self.x))
    }

    fn operations(&self, t: Tensors) -> u64 {
        11 * t.elements(self.x) as u64
    }

    /// Differentiates through the batch's statistics.
    fn reference(&self, r: &mut Reference) {
        let (x, dy, norm) = (r.get(self.x), r.get(self.dy), self.norm);
        let (gamma, beta) = (r.get(self.gamma), r.get(self.beta));
        let channels = gamma.len();
        let (means, variances) = r.get(self.stats).split_at(channels);
        let scale = reciprocal(variances, norm.eps);
        let (mut dgamma, mut dbeta) = (vec![0.0; channels], vec![0.0; channels]);
        // The normalised value, and the gradient before the activation.
        let mut pairs = Vec::with_capacity(x.len());
        for (i, (x, dy)) in x.iter().zip(dy).enumerate() {
            let ch = i % channels;
            let xhat = (x - means[ch]) * scale[ch];
            let dy = dy * slope(norm.act, gamma[ch] * xhat + beta[ch]);
            dgamma[ch] += dy * xhat;
            dbeta[ch] += dy;
            pairs.push((xhat, dy));
        }
        let count = (x.len() / channels) as f64;
        let one = |(i, (xhat, dy)): (usize, &(f64, f64))| {
            let ch = i % channels;
            gamma[ch] * scale[ch] * (dy - dbeta[ch] / count - xhat * dgamma[ch] / count)
        };
        let dx = pairs.iter().enumerate().map(one).collect();
        r.set(self.dx, dx);
        r.set(self.dgamma, dgamma);
        r.set(self.dbeta, dbeta);
    }

    fn lower(&self, l: &mut Lowering) {
        let (shape, norm, partial) = (l.shape(self.x), self.norm, l.scratch[0]);
        let cut = split::reduction(shape);
        let act = activation(norm.act);
        let affine = [("gamma", self.gamma), ("beta", self.beta), ("stats", self.stats)];
        let [gamma, beta, stats] = affine;
        let maps = [("x", self.x), ("dy", self.dy)];
        l.per_group(
            ("batch_norm", "grad_reduce", act.as_slice()),
            (shape.n, cut.images),
            &maps,
            &[stats, ("partial", partial), gamma, beta],
            |s| (kernel_params(shape, norm, s), cut.count(s.count) * shape.c4()),
        );
        let sums = [("dgamma", self.dgamma), ("dbeta", self.dbeta)];
        let operands = [("partial", partial), sums[0], sums[1]];
        let params = kernel_params(shape, norm, Slice::first(shape.n));
        let join = l.join(shape.c4(), cut.count(shape.n));
        l.once(("batch_norm", "grad_finish", join.as_slice()), &operands, params, shape.c4());
        let whole = [gamma, beta, stats, sums[0], sums[1]];
        let make = |s| (kernel_params(shape, norm, s), across(shape, s) * shape.c4());
        let each = [maps[0], maps[1], ("y", self.dx)];
        let permutation = ("batch_norm", "grad_apply", act.as_slice());
        l.per_image(permutation, shape.n, &each, &whole, make);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::ops::tests::{Table, assert_close};
    use crate::net::layers::Activation;

    #[test]
    fn stats_keep_biased_and_running_unbiased_variances() {
        let mut t = Table::default();
        let [x, y, other] = [(); 3].map(|()| t.maps(2, 1, 1, 2));
        let [gamma, beta, _scratch] = [(); 3].map(|()| t.vector(2));
        let [running, stats] = [(); 2].map(|()| t.maps(1, 1, 2, 2));
        let norm = layers::BatchNorm { eps: 0.0, momentum: 0.25, act: Activation::Relu };
        let residual = None;
        let op = BatchNorm { x, residual, gamma, beta, running, stats, y, norm };
        let inputs: [(TensorId, &[f64]); 4] = [
            (x, &[1.0, 0.0, 3.0, 4.0]),
            (gamma, &[2.0, -1.0]),
            (beta, &[0.5, 0.0]),
            (running, &[10.0, 0.0, 4.0, 0.0]),
        ];
        let mut r = t.run(&op, &inputs);
        assert_close(r.get(stats), &[2.0, 2.0, 1.0, 4.0]);
        assert_close(r.get(running), &[8.0, 0.5, 3.5, 2.0]);
        assert_close(r.get(y), &[0.0, 1.0, 2.5, 0.0]);

        r.set(running, vec![1.0, 4.0, 4.0, 16.0]);
        let norm = layers::BatchNorm { act: Activation::None, ..norm };
        BatchNormEval { x, residual, gamma, beta, running, y, norm }.reference(&mut r);
        assert_close(r.get(y), &[0.5, 1.0, 2.5, 0.0]);

        // The activation follows the sum.
        r.set(other, vec![1.0, -2.0, -4.0, 0.5]);
        let norm = layers::BatchNorm { act: Activation::Relu, ..norm };
        BatchNormEval { x, residual: Some(other), gamma, beta, running, y, norm }.reference(&mut r);
        assert_close(r.get(y), &[1.5, 0.0, 0.0, 0.5]);
    }

    #[test]
    fn the_variance_of_a_single_value_is_zero() {
        let mut t = Table::default();
        let [x, gamma, beta, _scratch, y] = [(); 5].map(|()| t.vector(1));
        let [running, stats] = [(); 2].map(|()| t.maps(1, 1, 2, 1));
        let norm = layers::BatchNorm { eps: 1e-5, momentum: 0.25, act: Activation::None };
        let op = BatchNorm { x, residual: None, gamma, beta, running, stats, y, norm };
        let one: &[f64] = &[1.0];
        let r = t.run(&op, &[(x, &[5.0]), (gamma, one), (beta, one), (running, &[1.0, 4.0])]);
        assert_close(r.get(running), &[2.0, 3.0]);
        assert_close(r.get(y), &[1.0]);
    }
}
