//! Batch norm and layer norm.

use super::activation;
use crate::net::layers::BatchNorm;

/// Added to the variance in layer norm.
const LAYER_NORM_EPS: f64 = 1e-5;

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// Mean and biased variance.
fn moments(values: impl ExactSizeIterator<Item = f64> + Clone) -> (f64, f64) {
    let center = mean(values.clone());
    (center, mean(values.map(|v| (v - center) * (v - center))))
}

/// One channel of pixels that lie one after another.
fn channel(x: &[f64], ch: usize, channels: usize) -> impl ExactSizeIterator<Item = f64> + Clone {
    x[ch..].iter().step_by(channels).copied()
}

/// A row of means, then a row of biased variances.
pub fn channel_stats(x: &[f64], channels: usize) -> Vec<f64> {
    let (means, variances): (Vec<f64>, Vec<f64>) =
        (0..channels).map(|ch| moments(channel(x, ch, channels))).unzip();
    [means, variances].concat()
}

/// The running statistics after a batch of `count` values per channel.
pub fn running_stats(running: &[f64], batch: &[f64], count: usize, momentum: f32) -> Vec<f64> {
    let momentum = f64::from(momentum);
    // A single value has no unbiased variance: its biased one (zero) is as good as any.
    let unbias = if count > 1 { count as f64 / (count - 1) as f64 } else { 1.0 };
    let channels = batch.len() / 2;
    let update = |(i, (old, new)): (usize, (&f64, &f64))| {
        let new = if i < channels { *new } else { new * unbias };
        (1.0 - momentum) * old + momentum * new
    };
    running.iter().zip(batch).enumerate().map(update).collect()
}

/// Reciprocal deviations.
fn reciprocal(variances: &[f64], eps: f32) -> Vec<f64> {
    variances.iter().map(|var| (var + f64::from(eps)).sqrt().recip()).collect()
}

/// Batch norm by the given statistics, and the activation.
pub fn batch_norm(
    x: &[f64],
    residual: Option<&[f64]>,
    stats: &[f64],
    gamma: &[f64],
    beta: &[f64],
    norm: &BatchNorm,
) -> Vec<f64> {
    let channels = gamma.len();
    let (means, variances) = stats.split_at(channels);
    let scale = reciprocal(variances, norm.eps);
    let value = |(i, x): (usize, &f64)| {
        let ch = i % channels;
        let normal = gamma[ch] * (x - means[ch]) * scale[ch] + beta[ch];
        activation::value(norm.act, normal + residual.map_or(0.0, |r| r[i]))
    };
    x.iter().enumerate().map(value).collect()
}

pub struct BatchNormGrads {
    pub dx: Vec<f64>,
    pub dgamma: Vec<f64>,
    pub dbeta: Vec<f64>,
}

/// Gradients through the batch's own statistics.
pub fn batch_norm_grad(
    (x, dy): (&[f64], &[f64]),
    stats: &[f64],
    (gamma, beta): (&[f64], &[f64]),
    norm: &BatchNorm,
) -> BatchNormGrads {
    let channels = gamma.len();
    let (means, variances) = stats.split_at(channels);
    let scale = reciprocal(variances, norm.eps);
    let (mut dgamma, mut dbeta) = (vec![0.0; channels], vec![0.0; channels]);
    // Per value: its normalised self, and its gradient before the activation.
    let mut pairs = Vec::with_capacity(x.len());
    for (i, (x, dy)) in x.iter().zip(dy).enumerate() {
        let ch = i % channels;
        let xhat = (x - means[ch]) * scale[ch];
        let dy = dy * activation::slope(norm.act, gamma[ch] * xhat + beta[ch]);
        dgamma[ch] += dy * xhat;
        dbeta[ch] += dy;
        pairs.push((xhat, dy));
    }
    let count = (x.len() / channels) as f64;
    let value = |(i, (xhat, dy)): (usize, &(f64, f64))| {
        let ch = i % channels;
        gamma[ch] * scale[ch] * (dy - dbeta[ch] / count - xhat * dgamma[ch] / count)
    };
    let dx = pairs.iter().enumerate().map(value).collect();
    BatchNormGrads { dx, dgamma, dbeta }
}

/// Normalised images, and a mean and reciprocal deviation per image.
pub fn layer_norm(x: &[f64], images: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut y, mut stats) = (Vec::with_capacity(x.len()), Vec::new());
    for image in x.chunks_exact(x.len() / images) {
        let (center, variance) = moments(image.iter().copied());
        let scale = (variance + LAYER_NORM_EPS).sqrt().recip();
        y.extend(image.iter().map(|v| (v - center) * scale));
        stats.extend([center, scale]);
    }
    (y, stats)
}

/// Gradient of [`layer_norm`], and with `relu` of the ReLU before it; that says what is kept of a
/// value in `y`.
pub fn layer_norm_grad(
    y: &[f64],
    dy: &[f64],
    stats: &[f64],
    relu: Option<impl Fn(f64) -> f64>,
) -> Vec<f64> {
    let mut dx = Vec::with_capacity(y.len());
    let size = y.len() / (stats.len() / 2);
    let images = y.chunks_exact(size).zip(dy.chunks_exact(size)).zip(stats.chunks_exact(2));
    for ((y, dy), stats) in images {
        let along_one = mean(dy.iter().copied());
        let along_y = mean(dy.iter().zip(y).map(|(dy, y)| dy * y));
        let zero = relu.as_ref().map(|kept| kept((0.0 - stats[0]) * stats[1]));
        let value = |(dy, y): (&f64, &f64)| match zero.is_some_and(|zero| *y <= zero) {
            true => 0.0,
            false => stats[1] * (dy - along_one - y * along_y),
        };
        dx.extend(dy.iter().zip(y).map(value));
    }
    dx
}
