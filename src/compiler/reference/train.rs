//! What follows the network in a training step: loss, optimizer, metrics.

use crate::compiler::ops::{PARTNER_WORDS, STEP_WORDS, late_half};
use crate::net::options::AdamW;

/// Classes that an image should have, and the share of each.
pub type Target = [(usize, f64); 2];

/// What images should be; `partners` are words that know nothing of floats.
pub fn targets(labels: &[f64], partners: Option<&[f64]>) -> Vec<Target> {
    let target = |(image, label): (usize, &f64)| {
        let (other, share) = partners.map_or((*label, 0.0), |words| {
            let words = &words[image * PARTNER_WORDS..][..PARTNER_WORDS];
            (words[0], f64::from(f32::from_bits(words[1] as u32)))
        });
        [(*label as usize, 1.0 - share), (other as usize, share)]
    };
    labels.iter().enumerate().map(target).collect()
}

/// Losses per image, and the gradient of their mean with respect to the scores.
pub fn cross_entropy(scores: &[f64], targets: &[Target]) -> (Vec<f64>, Vec<f64>) {
    let images = targets.len();
    let (mut losses, mut grads) = (Vec::with_capacity(images), Vec::with_capacity(scores.len()));
    for (scores, target) in scores.chunks_exact(scores.len() / images).zip(targets) {
        // The largest score is taken out of the exponentials, which could overflow.
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
        let log_sum = largest + sum.ln();
        losses.push(target.iter().map(|(class, share)| share * (log_sum - scores[*class])).sum());
        grads.extend(scores.iter().enumerate().map(|(class, s)| {
            let wanted = target.iter().filter(|(wanted, _)| *wanted == class);
            let wanted: f64 = wanted.map(|(_, share)| share).sum();
            ((s - log_sum).exp() - wanted) / images as f64
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
        // The tensor of a step has this shape in every program.
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

/// Sums over the images that `valid_labels` cover, in the order of [`crate::compiler::ops::Op::Metrics`].
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
    // Networks have two classes or more.
    best.expect("at least one class").0
}
