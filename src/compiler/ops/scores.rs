//! Scaling of scores, cross-entropy and metrics.

use super::{Access, Misfit, Operation, Scratch, advice, alike, expect};
use crate::base::shape::{ALIGNMENT, LANES, Layout, Shape};
use crate::compiler::kernel::{Lowering, Named, params, to_u32};
use crate::compiler::reference::Reference;
use crate::compiler::tensor::{TensorId, Tensors};

/// Words in the `step` tensor, the values of a step:
/// `[learning rate, 1 - beta1^t, 1 - beta2^t, valid images]`, all float32.
pub const STEP_WORDS: usize = 4;

/// Words per image in the `partners` tensor: the partner's label, and its share as float32.
pub const PARTNER_WORDS: usize = 2;

/// `y = exp(log_scale) * x` on scores; `log_scale` is a single trained value.
#[derive(Clone, PartialEq, Debug)]
pub struct ScaleScores {
    pub x: TensorId,
    pub log_scale: TensorId,
    pub y: TensorId,
}

/// Gradients of [`ScaleScores`], computed from its output `y`.
#[derive(Clone, PartialEq, Debug)]
pub struct ScaleScoresGrad {
    pub y: TensorId,
    pub dy: TensorId,
    pub log_scale: TensorId,
    pub dx: TensorId,
    pub dlog_scale: TensorId,
}

/// `loss[i] = logsumexp(scores[i]) - scores[i, label]`; `dscores` is `scale` times the gradient of the mean
/// loss. With `partners`, the loss is the mean of those for the image's label and for its partner's,
/// weighted by their shares.
#[derive(Clone, PartialEq, Debug)]
pub struct CrossEntropy {
    pub scores: TensorId,
    pub labels: TensorId,
    pub partners: Option<TensorId>,
    pub loss: TensorId,
    pub dscores: Option<TensorId>,
    pub scale: f32,
}

/// Sums over the valid images: loss per block; correct answers per block; correct answers of the votes of
/// all blocks, the later half, and the last. Then one 0 per block, which [`super::Finite`] sets to 1 if the
/// block is not finite. `scores` and `losses` are slabs with a member per block.
#[derive(Clone, PartialEq, Debug)]
pub struct Metrics {
    pub scores: TensorId,
    pub losses: TensorId,
    pub labels: TensorId,
    pub step: TensorId,
    pub out: TensorId,
    pub blocks: usize,
    pub classes: usize,
}

/// Index of the first block of the later half, whose mean score is the `late` vote.
pub const fn late_half(blocks: usize) -> usize {
    blocks / 2
}

/// Number of sums that [`Metrics`] writes.
pub const fn metrics_words(blocks: usize) -> usize {
    2 * blocks + 3
}

/// Number of values that [`Metrics`] writes: the sums, and a flag per block, 1 if it is not finite.
pub const fn result_words(blocks: usize) -> usize {
    metrics_words(blocks) + blocks
}

/// A kernel on the scores of each image.
fn dispatch_scale(
    l: &mut Lowering,
    entry: &'static str,
    scores: Shape,
    each: Named,
    log_scale: TensorId,
) {
    let whole = [("log_scale", log_scale)];
    let join = l.join(scores.n, scores.c4());
    l.per_image(("scale_scores", entry, join.as_slice()), scores.n, each, &whole, |s| {
        (params::ScaleScores { images: to_u32(s.count), c4: to_u32(scores.c4()) }, s.count)
    });
}

impl Operation for ScaleScores {
    fn name(&self) -> &'static str {
        "scale_scores"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x, self.log_scale], &[self.y])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        alike(t, &[self.x, self.y])?;
        expect(t, self.log_scale, Shape::vector(1))
    }

    fn operations(&self, t: Tensors) -> u64 {
        t.elements(self.y) as u64
    }

    fn reference(&self, r: &mut Reference) {
        let factor = r.get(self.log_scale)[0].exp();
        let out = r.get(self.x).iter().map(|x| factor * x).collect();
        r.set(self.y, out);
    }

    fn lower(&self, l: &mut Lowering) {
        let each = [("x", self.x), ("y", self.y)];
        dispatch_scale(l, "main", l.shape(self.x), &each, self.log_scale);
    }
}

impl Operation for ScaleScoresGrad {
    fn name(&self) -> &'static str {
        "scale_scores_grad"
    }

    fn access(&self) -> Access {
        Access::of(&[self.y, self.dy, self.log_scale], &[self.dx, self.dlog_scale])
    }

    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        vec![(self.dx, self.dy)]
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        alike(t, &[self.y, self.dy, self.dx])?;
        [self.log_scale, self.dlog_scale].iter().try_for_each(|id| expect(t, *id, Shape::vector(1)))
    }

    fn scratch(&self, t: Tensors) -> Vec<Scratch> {
        vec![("scratch", Shape::rows(t.shape(self.dy).n, 1), Layout::Nhwc)]
    }

    fn operations(&self, t: Tensors) -> u64 {
        2 * t.elements(self.dx) as u64
    }

    fn reference(&self, r: &mut Reference) {
        let factor = r.get(self.log_scale)[0].exp();
        let to_x = r.get(self.dy).iter().map(|dy| factor * dy).collect();
        let to_scale = r.zip(self.y, self.dy, |y, dy| y * dy).iter().sum();
        r.set(self.dx, to_x);
        r.set(self.dlog_scale, vec![to_scale]);
    }

    fn lower(&self, l: &mut Lowering) {
        let partial = l.scratch[0];
        let each = [("y", self.y), ("dy", self.dy), ("dx", self.dx), ("partial", partial)];
        dispatch_scale(l, "grad", l.shape(self.y), &each, self.log_scale);
        l.sum_rows(partial, self.dlog_scale);
    }
}

/// Target classes of an image, and the share of each.
type Target = [(usize, f64); 2];

/// Targets of all images; `partners` holds the bits of float32 shares.
fn targets(labels: &[f64], partners: Option<&[f64]>) -> Vec<Target> {
    let target = |(image, label): (usize, &f64)| {
        let (other, share) = partners.map_or((*label, 0.0), |words| {
            let words = &words[image * PARTNER_WORDS..][..PARTNER_WORDS];
            (words[0], f64::from(f32::from_bits(words[1] as u32)))
        });
        [(*label as usize, 1.0 - share), (other as usize, share)]
    };
    labels.iter().enumerate().map(target).collect()
}

impl Operation for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn access(&self) -> Access {
        let mut access = Access::of(&[self.scores, self.labels], &[self.loss]);
        access.reads.extend(self.partners);
        access.writes.extend(self.dscores);
        access
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        let scores = t.shape(self.scores);
        expect(t, self.labels, Shape::vector(scores.n))?;
        expect(t, self.loss, Shape::rows(scores.n, 1))?;
        let words = Shape::vector(scores.n * PARTNER_WORDS);
        self.partners.map_or(Ok(()), |partners| expect(t, partners, words))?;
        self.dscores.map_or(Ok(()), |dscores| expect(t, dscores, scores))
    }

    fn operations(&self, t: Tensors) -> u64 {
        4 * t.elements(self.scores) as u64
    }

    fn loop_steps(&self, t: Tensors) -> Option<(usize, &'static str)> {
        Some((3 * t.shape(self.scores).c, advice::CLASSES))
    }

    fn reference(&self, r: &mut Reference) {
        let partners = self.partners.map(|partners| r.get(partners));
        let targets = targets(r.get(self.labels), partners);
        let (scores, images) = (r.get(self.scores), targets.len());
        let (mut losses, mut grads) = (Vec::new(), Vec::with_capacity(scores.len()));
        for (scores, target) in scores.chunks_exact(scores.len() / images).zip(&targets) {
            // The largest score is subtracted, so that the exponentials do not overflow.
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
            let log_sum = largest + sum.ln();
            let loss = target.iter().map(|(class, share)| share * (log_sum - scores[*class]));
            losses.push(loss.sum());
            grads.extend(scores.iter().enumerate().map(|(class, s)| {
                let wanted = target.iter().filter(|(wanted, _)| *wanted == class);
                let wanted: f64 = wanted.map(|(_, share)| share).sum();
                f64::from(self.scale) * ((s - log_sum).exp() - wanted) / images as f64
            }));
        }
        r.set(self.loss, losses);
        if let Some(dscores) = self.dscores {
            r.set(dscores, grads);
        }
    }

    fn lower(&self, l: &mut Lowering) {
        let shape = l.shape(self.scores);
        let params = params::CrossEntropy {
            images: to_u32(shape.n),
            classes: to_u32(shape.c),
            stride: to_u32(shape.c4() * LANES),
            scale: self.scale,
        };
        let mut operands =
            vec![("scores", self.scores), ("labels", self.labels), ("loss", self.loss)];
        operands.extend(self.dscores.map(|d| ("dscores", d)));
        operands.extend(self.partners.map(|p| ("partners", p)));
        let flag = |given: Option<TensorId>| u32::from(given.is_some());
        let mut flags = vec![("GRAD", flag(self.dscores)), ("MIX", flag(self.partners))];
        flags.extend(l.join(shape.n, shape.c));
        l.once(("cross_entropy", "main", &flags), &operands, params, shape.n);
    }
}

/// The class with the largest value; the first of equal ones.
fn first_largest(values: impl Iterator<Item = f64>) -> usize {
    let best = values.enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    // Networks have two classes or more.
    best.expect("at least one class").0
}

impl Operation for Metrics {
    fn name(&self) -> &'static str {
        "metrics"
    }

    fn access(&self) -> Access {
        Access::of(&[self.scores, self.losses, self.labels, self.step], &[self.out])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        let images = t.elements(self.labels);
        let members = |slab, shape| {
            let members = t.members(slab);
            if members.len() != self.blocks {
                return Err(format!("{} has {} members", t.get(slab).name, members.len()));
            }
            members.iter().try_for_each(|(_, id)| expect(t, *id, shape))
        };
        members(self.scores, Shape::rows(images, self.classes))?;
        members(self.losses, Shape::rows(images, 1))?;
        expect(t, self.step, Shape::vector(STEP_WORDS))?;
        expect(t, self.out, Shape::vector(result_words(self.blocks)))
    }

    fn scratch(&self, t: Tensors) -> Vec<Scratch> {
        let words = t.elements(self.labels) * metrics_words(self.blocks);
        vec![("scratch", Shape::vector(words), Layout::Words)]
    }

    fn operations(&self, t: Tensors) -> u64 {
        t.elements(self.scores) as u64
    }

    fn loop_steps(&self, _t: Tensors) -> Option<(usize, &'static str)> {
        Some((self.classes * (self.blocks + 1), advice::CLASSES))
    }

    fn float_words(&self) -> Vec<TensorId> {
        vec![self.step, self.out]
    }

    fn reference(&self, r: &mut Reference) {
        let values = |slab| -> Vec<&[f64]> {
            r.members(slab).into_iter().map(|(_, id)| r.get(id)).collect()
        };
        let (scores, losses) = (values(self.scores), values(self.losses));
        let valid = r.get(self.step)[3] as usize;
        let (labels, classes) = (&r.get(self.labels)[..valid], self.classes);
        let correct = |voters: &[&[f64]]| {
            let hit = |(image, label): (usize, &f64)| {
                let votes = (0..classes).map(|class| {
                    let at = image * classes + class;
                    let sum: f64 = voters.iter().map(|scores| scores[at]).sum();
                    sum / voters.len() as f64
                });
                f64::from(first_largest(votes) == *label as usize)
            };
            labels.iter().enumerate().map(hit).sum::<f64>()
        };
        let mut out: Vec<f64> = losses.iter().map(|losses| losses[..valid].iter().sum()).collect();
        out.extend(scores.chunks(1).map(correct));
        let late = late_half(self.blocks);
        out.extend([&scores[..], &scores[late..], &scores[self.blocks - 1..]].map(correct));
        out.extend(vec![0.0; self.blocks]);
        r.set(self.out, out);
    }

    fn lower(&self, l: &mut Lowering) {
        let Self { scores, losses, labels, step, out, blocks, classes } = *self;
        let (images, rows) = (l.shape(labels).elements(), ("rows", l.scratch[0]));
        // Members of a slab are aligned.
        let stride = |c| Layout::Nhwc.bytes(Shape::rows(images, c)).next_multiple_of(ALIGNMENT);
        let params = params::Metrics {
            images: to_u32(images),
            classes: to_u32(classes),
            stride: to_u32(classes.next_multiple_of(LANES)),
            blocks: to_u32(blocks),
            late: to_u32(late_half(blocks)),
            score_stride: to_u32(stride(classes) / 4),
            loss_stride: to_u32(stride(1) / 16),
            words: to_u32(metrics_words(blocks)),
        };
        let operands = [("scores", scores), ("losses", losses), ("labels", labels), rows];
        let answers = images * (blocks + 3);
        let join = l.join(answers, classes);
        l.once(("metrics", "per_image", join.as_slice()), &operands, params, answers);
        let operands = [("step", step), rows, ("result", out)];
        let words = result_words(blocks);
        let join = l.join(words, images);
        l.once(("metrics", "sum", join.as_slice()), &operands, params, words);
    }
}

#[cfg(test)]
mod tests;
