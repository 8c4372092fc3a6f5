//! What surrounds the network in a training step: images, loss, optimizer, metrics.

use crate::ops::{AdamW, IMAGE_CHANNELS, Normalize, SAMPLE_WORDS, STEP_WORDS, late_half};
use crate::shape::Shape;

/// One image of a batch, read from its words.
pub struct Sample {
    /// Place among all images.
    pub index: usize,
    mirror: bool,
    rows: isize,
    columns: isize,
}

pub fn samples(words: &[f64]) -> Vec<Sample> {
    let sample = |words: &[f64]| {
        let [flags, rows, columns, _] = (words[1] as u32).to_le_bytes();
        Sample {
            index: words[0] as usize,
            mirror: flags & 1 == 1,
            rows: isize::from(rows) - 128,
            columns: isize::from(columns) - 128,
        }
    };
    words.chunks_exact(SAMPLE_WORDS).map(sample).collect()
}

/// The normalised batch; `pixels` are words of four bytes that know nothing of images.
pub fn input(pixels: &[f64], samples: &[Sample], x: Shape, normalize: &Normalize) -> Vec<f64> {
    assert!(x.c <= IMAGE_CHANNELS && x.n == samples.len());
    let byte = |at: usize| f64::from((pixels[at / 4] as u32).to_le_bytes()[at % 4]);
    let mut out = Vec::with_capacity(x.elements());
    for sample in samples {
        for (row, column) in (0..x.h).flat_map(|row| (0..x.w).map(move |column| (row, column))) {
            let column = if sample.mirror { x.w - 1 - column } else { column };
            let row = row.checked_add_signed(sample.rows).filter(|row| *row < x.h);
            let column = column.checked_add_signed(sample.columns).filter(|c| *c < x.w);
            for ch in 0..x.c {
                let value = match (row, column) {
                    (Some(row), Some(column)) => {
                        byte(((sample.index * x.h + row) * x.w + column) * x.c + ch)
                    }
                    _ => 0.0,
                };
                let (mean, std) = (f64::from(normalize.mean[ch]), f64::from(normalize.std[ch]));
                out.push((value / 255.0 - mean) / std);
            }
        }
    }
    out
}

/// Losses per image, and the gradient of their mean with respect to the scores.
pub fn cross_entropy(scores: &[f64], labels: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let images = labels.len();
    let (mut losses, mut grads) = (Vec::with_capacity(images), Vec::with_capacity(scores.len()));
    for (scores, label) in scores.chunks_exact(scores.len() / images).zip(labels) {
        let label = *label as usize;
        // The largest score is taken out of the exponentials, which could overflow.
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
        let log_sum = largest + sum.ln();
        losses.push(log_sum - scores[label]);
        grads.extend(scores.iter().enumerate().map(|(class, s)| {
            let target = if class == label { 1.0 } else { 0.0 };
            ((s - log_sum).exp() - target) / images as f64
        }));
    }
    (losses, grads)
}

/// What changes from one step to the next.
pub struct Step {
    rate: f64,
    /// What is left of the moments' bias towards zero.
    corrections: [f64; 2],
    /// Images that count.
    pub valid: usize,
}

impl Step {
    pub fn new(words: &[f64]) -> Self {
        let [rate, first, second, valid]: [f64; STEP_WORDS] =
            words.try_into().expect("a step tensor");
        Self { rate, corrections: [first, second], valid: valid as usize }
    }
}

/// Updates a parameter and its two moments; the decay sees the parameter before the step.
pub fn adamw([p, m, v]: &mut [Vec<f64>; 3], grad: &[f64], step: &Step, adamw: &AdamW) {
    assert!(p.len() == grad.len() && m.len() == grad.len() && v.len() == grad.len());
    let [beta1, beta2, eps, decay] =
        [adamw.beta1, adamw.beta2, adamw.eps, adamw.weight_decay].map(f64::from);
    for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(grad) {
        *p -= step.rate * decay * *p;
        *m = beta1 * *m + (1.0 - beta1) * g;
        *v = beta2 * *v + (1.0 - beta2) * g * g;
        let [first, second] = [*m / step.corrections[0], *v / step.corrections[1]];
        *p -= step.rate * first / (second.sqrt() + eps);
    }
}

/// Sums over the images that `valid_labels` cover, in the order of [`crate::ops::Op::Metrics`].
pub fn metrics(scores: &[&[f64]], losses: &[&[f64]], valid_labels: &[f64]) -> Vec<f64> {
    let (blocks, valid) = (scores.len(), valid_labels.len());
    let classes = scores[0].len() / losses[0].len();
    let correct = |voters: &[&[f64]]| {
        let hit = |(image, label): (usize, &f64)| {
            let votes = (0..classes).map(|class| {
                let sum: f64 = voters.iter().map(|scores| scores[image * classes + class]).sum();
                sum / voters.len() as f64
            });
            f64::from(first_largest(votes) == *label as usize)
        };
        valid_labels.iter().enumerate().map(hit).sum::<f64>()
    };
    let mut out: Vec<f64> = losses.iter().map(|losses| losses[..valid].iter().sum()).collect();
    out.extend(scores.chunks(1).map(correct));
    out.extend([scores, &scores[late_half(blocks)..], &scores[blocks - 1..]].map(correct));
    out
}

fn first_largest(values: impl Iterator<Item = f64>) -> usize {
    let best = values.enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.expect("at least one class").0
}
