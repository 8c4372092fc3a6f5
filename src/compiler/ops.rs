//! The operations that a program is made of: what each reads, writes and means.
//!
//! An op is data. [`crate::compiler::reference`] gives its meaning in f64 on the CPU, and
//! [`crate::compiler::kernel`] the dispatches that compute it on a GPU.

use crate::base::shape::Window;
use crate::compiler::tensor::TensorId;
use crate::net::layers::{Activation, BatchNorm};
use crate::net::options::{AdamW, Normalize};

/// Words in the `step` tensor: what changes from one step to the next.
///
/// `[learning rate, 1 - beta1^t, 1 - beta2^t, valid images]`, all float32.
pub const STEP_WORDS: usize = 4;

/// Words per image that say with what it is mixed: the partner's label, and its share as float32.
pub const PARTNER_WORDS: usize = 2;

/// Scratch of [`Op::Input`] for the mean grey of each image, which contrast is relative to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Greys {
    /// Rows of partial sums, each with a value per sample.
    pub partial: TensorId,
    /// A value per sample.
    pub mean: TensorId,
}

/// One operation over named tensors.
///
/// Field names are the same throughout: `x` input and `y` output maps, `w` weight, `d…` the
/// gradient of a loss with respect to `…`, `scratch` memory that only this op uses.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub enum Op {
    /// Gathers a batch of u8 images (`pixels`, four to a word) and its labels; changes images as
    /// `samples` say ([`crate::net::augment`]) and normalises them. `stored` is their height and width.
    /// Colours change if there is memory for the `greys`. With `partners`, images are mixed, and
    /// `samples` has one more, the partner of the last.
    Input {
        pixels: TensorId,
        all_labels: TensorId,
        samples: TensorId,
        x: TensorId,
        labels: TensorId,
        partners: Option<TensorId>,
        greys: Option<Greys>,
        stored: [usize; 2],
        normalize: Normalize,
    },
    /// `y = x * w + bias`, zero padding.
    Conv2d { x: TensorId, w: TensorId, bias: Option<TensorId>, y: TensorId, window: Window },
    /// Gradient of [`Op::Conv2d`] with respect to its input.
    Conv2dDgrad { dy: TensorId, w: TensorId, dx: TensorId, window: Window },
    /// Gradient of [`Op::Conv2d`] with respect to its weight.
    Conv2dWgrad { x: TensorId, dy: TensorId, dw: TensorId, scratch: TensorId, window: Window },
    /// `y = x * w`, zero padding, each channel by itself; `w` is `(k, k, 1, c)`.
    Depthwise { x: TensorId, w: TensorId, y: TensorId, window: Window },
    /// Gradient of [`Op::Depthwise`] with respect to its input.
    DepthwiseDgrad { dy: TensorId, w: TensorId, dx: TensorId, window: Window },
    /// Gradient of [`Op::Depthwise`] with respect to its weight.
    DepthwiseWgrad { x: TensorId, dy: TensorId, dw: TensorId, scratch: TensorId, window: Window },
    /// Gradient of a bias: the sum of `dy` over pixels.
    BiasGrad { dy: TensorId, db: TensorId, scratch: TensorId },
    /// `y = act(norm(x) + residual)`, where `norm` brings each channel to a mean of `beta` and a
    /// deviation of `gamma` by the batch's mean and biased variance, which `stats` (2 rows) keeps;
    /// updates `running` with the unbiased variance.
    BatchNorm {
        x: TensorId,
        residual: Option<TensorId>,
        gamma: TensorId,
        beta: TensorId,
        running: TensorId,
        stats: TensorId,
        y: TensorId,
        scratch: TensorId,
        norm: BatchNorm,
    },
    /// The same with the running statistics.
    BatchNormEval {
        x: TensorId,
        residual: Option<TensorId>,
        gamma: TensorId,
        beta: TensorId,
        running: TensorId,
        y: TensorId,
        norm: BatchNorm,
    },
    /// Gradients of [`Op::BatchNorm`] without a residual; what the activation saw is computed again
    /// from `x`.
    BatchNormGrad {
        x: TensorId,
        dy: TensorId,
        gamma: TensorId,
        beta: TensorId,
        stats: TensorId,
        dx: TensorId,
        dgamma: TensorId,
        dbeta: TensorId,
        scratch: TensorId,
        norm: BatchNorm,
    },
    /// `y = act(x)`.
    Activate { x: TensorId, y: TensorId, act: Activation },
    /// `dx = dy * act'(x)`.
    ActivateGrad { x: TensorId, dy: TensorId, dx: TensorId, act: Activation },
    /// `y = a + b`.
    Add { a: TensorId, b: TensorId, y: TensorId },
    /// Largest value under each window; `argmax` keeps its position, a byte per channel.
    MaxPool { x: TensorId, y: TensorId, argmax: TensorId, window: Window },
    /// Routes each gradient to the position that was the largest.
    MaxPoolGrad { dy: TensorId, argmax: TensorId, dx: TensorId, window: Window },
    /// Sets about `rate` of the values to 0 and divides the others by `1 - rate`, so that their
    /// mean stays (Srivastava et al., JMLR 15, 2014). Which ones depends on the two words of
    /// `key`, the number of the dropout layer and the value's position only, so the gradient is
    /// the same op.
    Dropout { x: TensorId, key: TensorId, y: TensorId, layer: u32, rate: f32 },
    /// Mean over rows and columns of what each value of `y` covers: with a single one the whole
    /// map, else rows `i * h / p` to `(i + 1) * h / p` (rounded outwards) for row `i` of `p`, and
    /// columns likewise.
    AvgPool { x: TensorId, y: TensorId },
    /// Gradient of [`Op::AvgPool`]: spreads each value evenly over what it covers.
    AvgPoolGrad { dy: TensorId, dx: TensorId },
    /// `y = x * hard_sigmoid(s)`, with one `s` per image and channel: what squeeze-and-excitation
    /// does to maps.
    Excite { x: TensorId, s: TensorId, y: TensorId },
    /// Gradient of [`Op::Excite`] with respect to `s`: `hard_sigmoid'(s)` times the sum over pixels
    /// of `dy * x`.
    ExciteGrad { x: TensorId, s: TensorId, dy: TensorId, ds: TensorId },
    /// Gradient of squeeze-and-excitation with respect to maps that are both scaled and, by their
    /// means, decide the scale: `dx = dy * hard_sigmoid(s) + dmean / pixels`.
    SqueezeExciteGrad { s: TensorId, dy: TensorId, dmean: TensorId, dx: TensorId },
    /// `y = (x - mean) / sqrt(var + 1e-5)` per image over rows, columns and channels, no affine;
    /// `stats` keeps mean and reciprocal deviation.
    LayerNorm { x: TensorId, y: TensorId, stats: TensorId, scratch: TensorId },
    /// Gradient of [`Op::LayerNorm`], from its output. With `relu`, its input is what a ReLU gave,
    /// and the gradient goes on through that: where the input was 0 shows in the output.
    LayerNormGrad {
        y: TensorId,
        dy: TensorId,
        stats: TensorId,
        dx: TensorId,
        scratch: TensorId,
        relu: bool,
    },
    /// `scores[i, k] = scale * mean over pixels of (x * w)[i, k]²`: the goodness of each class.
    /// The convolution's output is never stored.
    Goodness {
        x: TensorId,
        w: TensorId,
        scores: TensorId,
        scratch: TensorId,
        window: Window,
        scale: f32,
    },
    /// Gradients of [`Op::Goodness`]; class maps exist for a few images at a time, in `maps`.
    GoodnessGrad {
        x: TensorId,
        w: TensorId,
        dscores: TensorId,
        dx: TensorId,
        dw: TensorId,
        maps: TensorId,
        scratch: TensorId,
        window: Window,
        scale: f32,
    },
    /// [`Op::Goodness`] of a 1×1 convolution, from the Gram matrix of each image's pixels:
    /// `scores[i, k] = scale * w_kᵀ M_i w_k`, where `M_i` is the mean of `x xᵀ`. Matrices exist for
    /// a few images at a time, in `gram`.
    GramGoodness {
        x: TensorId,
        w: TensorId,
        scores: TensorId,
        gram: TensorId,
        scratch: TensorId,
        scale: f32,
    },
    /// Gradients of [`Op::GramGoodness`].
    GramGoodnessGrad {
        x: TensorId,
        w: TensorId,
        dscores: TensorId,
        dx: TensorId,
        dw: TensorId,
        gram: TensorId,
        scratch: TensorId,
        scale: f32,
    },
    /// `y = exp(log_scale) * x`, for scores; `log_scale` is a single value.
    ScaleScores { x: TensorId, log_scale: TensorId, y: TensorId },
    /// Gradients of [`Op::ScaleScores`], from its output `y`.
    ScaleScoresGrad {
        y: TensorId,
        dy: TensorId,
        log_scale: TensorId,
        dx: TensorId,
        dlog_scale: TensorId,
        scratch: TensorId,
    },
    /// `loss[i] = logsumexp(scores[i]) - scores[i, label]`; `dscores` is `scale` times the gradient
    /// of its mean.
    /// With `partners`, it is the mean of this for the label and for the partner's, by share.
    CrossEntropy {
        scores: TensorId,
        labels: TensorId,
        partners: Option<TensorId>,
        loss: TensorId,
        dscores: Option<TensorId>,
        scale: f32,
    },
    /// `total = factor * x`, added to the old total if the first value of `keep` is not 0: sums
    /// gradients over micro-batches. Both hold the same layout.
    Accumulate { x: TensorId, total: TensorId, keep: TensorId, factor: f32 },
    /// Updates a block's parameters in place, by gradients of which `grads` holds `scale` times the
    /// values; all four hold the same layout.
    AdamW {
        params: TensorId,
        grads: TensorId,
        m: TensorId,
        v: TensorId,
        step: TensorId,
        adamw: AdamW,
        scale: f32,
    },
    /// Sums over the valid images: loss per block, then correct answers per block, then those of
    /// the votes of all blocks, the later half, and the last. A zero for each block follows, which
    /// [`Op::Finite`] may change. `scores` and `losses` hold the blocks one after another.
    Metrics {
        scores: TensorId,
        losses: TensorId,
        labels: TensorId,
        step: TensorId,
        scratch: TensorId,
        out: TensorId,
        blocks: usize,
        classes: usize,
    },
    /// Sets value `at` of `out` to 1 if a value of `x` is not finite, and leaves it else.
    Finite { x: TensorId, out: TensorId, at: usize },
}

/// The tensors that an op touches.
#[derive(Default, Debug)]
pub struct Access {
    /// Values that must have been written before.
    pub reads: Vec<TensorId>,
    /// Values that are whole after the op.
    pub writes: Vec<TensorId>,
    /// Memory that holds nothing before or after.
    pub scratch: Vec<TensorId>,
}

/// The first block of the later half, whose mean score is the `late` vote.
pub const fn late_half(blocks: usize) -> usize {
    blocks / 2
}

/// Sums in the tensor that [`Op::Metrics`] writes.
pub const fn metrics_words(blocks: usize) -> usize {
    2 * blocks + 3
}

/// All values in that tensor: the sums, and for each block whether it is not finite.
pub const fn result_words(blocks: usize) -> usize {
    metrics_words(blocks) + blocks
}

impl Op {
    /// What the op reads, writes and uses as scratch.
    pub fn access(&self) -> Access {
        let access = |reads: &[TensorId], writes: &[TensorId], scratch: &[TensorId]| Access {
            reads: reads.to_vec(),
            writes: writes.to_vec(),
            scratch: scratch.to_vec(),
        };
        match *self {
            Self::Input { pixels, all_labels, samples, x, labels, partners, greys, .. } => {
                let mut a = access(&[pixels, all_labels, samples], &[x, labels], &[]);
                a.writes.extend(partners);
                a.scratch.extend(greys.into_iter().flat_map(|g| [g.partial, g.mean]));
                a
            }
            Self::Conv2d { x, w, bias, y, .. } => {
                let mut a = access(&[x, w], &[y], &[]);
                a.reads.extend(bias);
                a
            }
            Self::Conv2dDgrad { dy, w, dx, .. } => access(&[dy, w], &[dx], &[]),
            Self::Conv2dWgrad { x, dy, dw, scratch, .. } => access(&[x, dy], &[dw], &[scratch]),
            Self::Depthwise { x, w, y, .. } => access(&[x, w], &[y], &[]),
            Self::DepthwiseDgrad { dy, w, dx, .. } => access(&[dy, w], &[dx], &[]),
            Self::DepthwiseWgrad { x, dy, dw, scratch, .. } => access(&[x, dy], &[dw], &[scratch]),
            Self::BiasGrad { dy, db, scratch } => access(&[dy], &[db], &[scratch]),
            Self::BatchNorm { x, residual, gamma, beta, running, stats, y, scratch, .. } => {
                let mut a = access(&[x, gamma, beta, running], &[running, stats, y], &[scratch]);
                a.reads.extend(residual);
                a
            }
            Self::BatchNormEval { x, residual, gamma, beta, running, y, .. } => {
                let mut a = access(&[x, gamma, beta, running], &[y], &[]);
                a.reads.extend(residual);
                a
            }
            Self::BatchNormGrad {
                x, dy, gamma, beta, stats, dx, dgamma, dbeta, scratch, ..
            } => access(&[x, dy, gamma, beta, stats], &[dx, dgamma, dbeta], &[scratch]),
            Self::Activate { x, y, .. } => access(&[x], &[y], &[]),
            Self::ActivateGrad { x, dy, dx, .. } => access(&[x, dy], &[dx], &[]),
            Self::Add { a, b, y } => access(&[a, b], &[y], &[]),
            Self::MaxPool { x, y, argmax, .. } => access(&[x], &[y, argmax], &[]),
            Self::MaxPoolGrad { dy, argmax, dx, .. } => access(&[dy, argmax], &[dx], &[]),
            Self::Dropout { x, key, y, .. } => access(&[x, key], &[y], &[]),
            Self::AvgPool { x, y } => access(&[x], &[y], &[]),
            Self::AvgPoolGrad { dy, dx } => access(&[dy], &[dx], &[]),
            Self::Excite { x, s, y } => access(&[x, s], &[y], &[]),
            Self::ExciteGrad { x, s, dy, ds } => access(&[x, s, dy], &[ds], &[]),
            Self::SqueezeExciteGrad { s, dy, dmean, dx } => access(&[s, dy, dmean], &[dx], &[]),
            Self::LayerNorm { x, y, stats, scratch } => access(&[x], &[y, stats], &[scratch]),
            Self::LayerNormGrad { y, dy, stats, dx, scratch, .. } => {
                access(&[y, dy, stats], &[dx], &[scratch])
            }
            Self::Goodness { x, w, scores, scratch, .. } => access(&[x, w], &[scores], &[scratch]),
            Self::GoodnessGrad { x, w, dscores, dx, dw, maps, scratch, .. } => {
                access(&[x, w, dscores], &[dx, dw], &[maps, scratch])
            }
            Self::GramGoodness { x, w, scores, gram, scratch, .. } => {
                access(&[x, w], &[scores], &[gram, scratch])
            }
            Self::GramGoodnessGrad { x, w, dscores, dx, dw, gram, scratch, .. } => {
                access(&[x, w, dscores], &[dx, dw], &[gram, scratch])
            }
            Self::ScaleScores { x, log_scale, y } => access(&[x, log_scale], &[y], &[]),
            Self::ScaleScoresGrad { y, dy, log_scale, dx, dlog_scale, scratch } => {
                access(&[y, dy, log_scale], &[dx, dlog_scale], &[scratch])
            }
            Self::CrossEntropy { scores, labels, partners, loss, dscores, .. } => {
                let mut a = access(&[scores, labels], &[loss], &[]);
                a.reads.extend(partners);
                a.writes.extend(dscores);
                a
            }
            Self::Accumulate { x, total, keep, .. } => access(&[x, total, keep], &[total], &[]),
            Self::AdamW { params, grads, m, v, step, .. } => {
                access(&[params, grads, m, v, step], &[params, m, v], &[])
            }
            Self::Metrics { scores, losses, labels, step, scratch, out, .. } => {
                access(&[scores, losses, labels, step], &[out], &[scratch])
            }
            Self::Finite { x, out, .. } => access(&[x, out], &[out], &[]),
        }
    }

    /// Pairs of an output and an input that may share memory, if nothing reads the input later:
    /// the kernels read a value before they write the one at the same place.
    pub fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        match *self {
            // Backward reads its input.
            Self::BatchNorm { residual, y, .. } => residual.map(|r| (y, r)).into_iter().collect(),
            Self::BatchNormEval { x, residual, y, .. } => {
                [Some(x), residual].into_iter().flatten().map(|from| (y, from)).collect()
            }
            Self::Activate { x, y, .. }
            | Self::Dropout { x, y, .. }
            | Self::Excite { x, y, .. }
            | Self::LayerNorm { x, y, .. } => vec![(y, x)],
            Self::BatchNormGrad { dy, dx, .. }
            | Self::ActivateGrad { dy, dx, .. }
            | Self::SqueezeExciteGrad { dy, dx, .. }
            | Self::ScaleScoresGrad { dy, dx, .. }
            | Self::LayerNormGrad { dy, dx, .. } => vec![(dx, dy)],
            Self::Add { a, b, y } => vec![(y, a), (y, b)],
            _ => vec![],
        }
    }

    /// The op's name, as in the literature.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Conv2d { .. } => "conv2d",
            Self::Conv2dDgrad { .. } => "conv2d_dgrad",
            Self::Conv2dWgrad { .. } => "conv2d_wgrad",
            Self::Depthwise { .. } => "depthwise",
            Self::DepthwiseDgrad { .. } => "depthwise_dgrad",
            Self::DepthwiseWgrad { .. } => "depthwise_wgrad",
            Self::BiasGrad { .. } => "bias_grad",
            Self::BatchNorm { .. } => "batch_norm",
            Self::BatchNormEval { .. } => "batch_norm_eval",
            Self::BatchNormGrad { .. } => "batch_norm_grad",
            Self::Activate { .. } => "activate",
            Self::ActivateGrad { .. } => "activate_grad",
            Self::Add { .. } => "add",
            Self::MaxPool { .. } => "max_pool",
            Self::MaxPoolGrad { .. } => "max_pool_grad",
            Self::Dropout { .. } => "dropout",
            Self::AvgPool { .. } => "avg_pool",
            Self::AvgPoolGrad { .. } => "avg_pool_grad",
            Self::Excite { .. } => "excite",
            Self::ExciteGrad { .. } => "excite_grad",
            Self::SqueezeExciteGrad { .. } => "squeeze_excite_grad",
            Self::LayerNorm { .. } => "layer_norm",
            Self::LayerNormGrad { .. } => "layer_norm_grad",
            Self::Goodness { .. } => "goodness",
            Self::GoodnessGrad { .. } => "goodness_grad",
            Self::GramGoodness { .. } => "gram_goodness",
            Self::GramGoodnessGrad { .. } => "gram_goodness_grad",
            Self::ScaleScores { .. } => "scale_scores",
            Self::ScaleScoresGrad { .. } => "scale_scores_grad",
            Self::CrossEntropy { .. } => "cross_entropy",
            Self::Accumulate { .. } => "accumulate",
            Self::AdamW { .. } => "adamw",
            Self::Metrics { .. } => "metrics",
            Self::Finite { .. } => "finite",
        }
    }
}
