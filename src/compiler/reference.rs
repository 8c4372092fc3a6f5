//! The meaning of every [`Op`]: plain loops in f64 on the CPU, which kernels are tested against.
//!
//! Clarity comes before speed here, and nothing is shared with the kernels but the op list.

mod activation;
mod dropout;
mod input;
mod norm;
mod train;
mod window;

#[cfg(test)]
mod gradient_tests;
#[cfg(test)]
mod input_tests;
#[cfg(test)]
mod tests;

use crate::base::shape::{Shape, Window};
use crate::compiler::ops::Op;
use crate::compiler::tensor::{Tensor, TensorId};
use crate::net::augment::Sample;
use crate::net::layers::Activation::HardSigmoid;
use window::{Conv, Depthwise};

/// Runs ops on logical f64 values: one `Vec` per tensor, without padding lanes.
///
/// Values lie in the order of the tensor's shape (images, rows, columns, channels; rows,
/// columns, input, output channels of a weight). A tensor of words holds its u32 values as f64.
/// Scratch is neither read nor written.
///
/// Memory is not shared as it is on the device: each member of a slab (a tensor with a parent)
/// has values of its own, and an op over a slab visits the members instead of the root.
#[derive(Clone, Debug)]
pub struct Reference<'a> {
    tensors: &'a [Tensor],
    values: Vec<Option<Vec<f64>>>,
}

impl<'a> Reference<'a> {
    /// Starts with no tensor set; `TensorId(i)` is `tensors[i]`.
    pub fn new(tensors: &'a [Tensor]) -> Self {
        Self { tensors, values: vec![None; tensors.len()] }
    }

    /// Gives a tensor its logical values, which it holds as exactly as its layout does.
    ///
    /// # Panics
    ///
    /// If there are not as many values as the tensor's shape has elements.
    pub fn set(&mut self, id: TensorId, values: Vec<f64>) {
        let tensor = &self.tensors[id.0];
        assert_eq!(values.len(), tensor.shape.elements(), "{}: {}", tensor.name, tensor.shape);
        self.values[id.0] = Some(values.into_iter().map(|v| tensor.layout.round(v)).collect());
    }

    /// A tensor's logical values.
    ///
    /// # Panics
    ///
    /// If nothing has set the tensor.
    pub fn get(&self, id: TensorId) -> &[f64] {
        match &self.values[id.0] {
            Some(values) => values,
            None => panic!("{} is read before it is set", self.tensors[id.0].name),
        }
    }

    /// Reads the op's inputs and sets its outputs.
    ///
    /// # Panics
    ///
    /// If a tensor that the op reads was not set, or if shapes do not fit together.
    pub fn run(&mut self, op: &Op) {
        match *op {
            Op::Input {
                pixels,
                all_labels,
                samples,
                x,
                labels,
                partners,
                greys,
                stored,
                normalize,
            } => {
                let samples = input::samples(self.get(samples));
                let shape = self.shape(x);
                let view = input::View { stored, input: shape, jitter: greys.is_some(), normalize };
                let mut images = view.all(self.get(pixels), &samples);
                let all_labels = self.get(all_labels);
                let label_of = |sample: &Sample| all_labels[sample.index as usize];
                let own = samples[..shape.n].iter().map(label_of).collect();
                if let Some(partners) = partners {
                    let pairs = samples.windows(2).map(|pair| {
                        [label_of(&pair[1]), f64::from(pair[0].partner_share.to_bits())]
                    });
                    let pairs: Vec<f64> = pairs.flatten().collect();
                    images = input::mixed(&images, &samples);
                    self.set(partners, pairs);
                }
                self.set(x, images.concat());
                self.set(labels, own);
            }
            Op::Conv2d { x, w, bias, y, window } => {
                let mut out = self.conv(x, w, window).forward(self.get(x), self.get(w));
                if let Some(bias) = bias {
                    let bias = self.get(bias);
                    for pixel in out.chunks_exact_mut(bias.len()) {
                        pixel.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
                    }
                }
                self.set(y, out);
            }
            Op::Conv2dDgrad { dy, w, dx, window } => {
                let out = self.conv(dx, w, window).dgrad(self.get(dy), self.get(w));
                self.set(dx, out);
            }
            Op::Conv2dWgrad { x, dy, dw, window, .. } => {
                let out = self.conv(x, dw, window).wgrad(self.get(x), self.get(dy));
                self.set(dw, out);
            }
            Op::Depthwise { x, w, y, window } => {
                let out = self.depthwise(x, w, window).forward(self.get(x), self.get(w));
                self.set(y, out);
            }
            Op::DepthwiseDgrad { dy, w, dx, window } => {
                let out = self.depthwise(dx, w, window).dgrad(self.get(dy), self.get(w));
                self.set(dx, out);
            }
            Op::DepthwiseWgrad { x, dy, dw, window, .. } => {
                let out = self.depthwise(x, dw, window).wgrad(self.get(x), self.get(dy));
                self.set(dw, out);
            }
            Op::BiasGrad { dy, db, .. } => {
                let mut out = vec![0.0; self.shape(db).c];
                for pixel in self.get(dy).chunks_exact(out.len()) {
                    out.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += v);
                }
                self.set(db, out);
            }
            Op::BatchNorm { x, residual, gamma, beta, running, stats, y, norm, .. } => {
                let (values, channels) = (self.get(x), self.shape(x).c);
                let batch = norm::channel_stats(values, channels);
                let (gamma, beta) = (self.get(gamma), self.get(beta));
                let residual = residual.map(|r| self.get(r));
                let out = norm::batch_norm(values, residual, &batch, gamma, beta, &norm);
                let count = values.len() / channels;
                let new = norm::running_stats(self.get(running), &batch, count, norm.momentum);
                self.set(running, new);
                self.set(stats, batch);
                self.set(y, out);
            }
            Op::BatchNormEval { x, residual, gamma, beta, running, y, norm } => {
                let (gamma, beta) = (self.get(gamma), self.get(beta));
                let (x, residual) = (self.get(x), residual.map(|r| self.get(r)));
                let out = norm::batch_norm(x, residual, self.get(running), gamma, beta, &norm);
                self.set(y, out);
            }
            Op::BatchNormGrad { x, dy, gamma, beta, stats, dx, dgamma, dbeta, norm, .. } => {
                let grads = norm::batch_norm_grad(
                    (self.get(x), self.get(dy)),
                    self.get(stats),
                    (self.get(gamma), self.get(beta)),
                    &norm,
                );
                self.set(dx, grads.dx);
                self.set(dgamma, grads.dgamma);
                self.set(dbeta, grads.dbeta);
            }
            Op::Activate { x, y, act } => {
                let out = self.get(x).iter().map(|x| activation::value(act, *x)).collect();
                self.set(y, out);
            }
            Op::ActivateGrad { x, dy, dx, act } => {
                let out = self.zip(x, dy, |x, dy| dy * activation::slope(act, x));
                self.set(dx, out);
            }
            Op::Add { a, b, y } => {
                let out = self.zip(a, b, |a, b| a + b);
                self.set(y, out);
            }
            Op::MaxPool { x, y, argmax, window } => {
                let (out, places) = window::max_pool(self.get(x), self.shape(x), window);
                self.set(y, out);
                self.set(argmax, places);
            }
            Op::MaxPoolGrad { dy, argmax, dx, window } => {
                let (dy, argmax) = (self.get(dy), self.get(argmax));
                let out = window::max_pool_grad(dy, argmax, self.shape(dx), window);
                self.set(dx, out);
            }
            Op::Dropout { x, key, y, layer, rate } => {
                let out = dropout::drop(self.get(x), self.get(key), layer, rate);
                self.set(y, out);
            }
            Op::AvgPool { x, y } => {
                let out = window::avg_pool(self.get(x), self.shape(x), self.shape(y));
                self.set(y, out);
            }
            Op::AvgPoolGrad { dy, dx } => {
                let out = window::avg_pool_grad(self.get(dy), self.shape(dx), self.shape(dy));
                self.set(dx, out);
            }
            Op::Excite { x, s, y } => {
                let out = window::scale_maps(self.get(x), &self.factors(s), self.shape(x));
                self.set(y, out);
            }
            Op::ExciteGrad { x, s, dy, ds } => {
                let sums = window::sum_of_maps(&self.zip(dy, x, |dy, x| dy * x), self.shape(x));
                let slopes = self.get(s).iter().map(|s| activation::slope(HardSigmoid, *s));
                let out = sums.iter().zip(slopes).map(|(sum, slope)| sum * slope).collect();
                self.set(ds, out);
            }
            Op::SqueezeExciteGrad { s, dy, dmean, dx } => {
                let shape = self.shape(dx);
                let scaled = window::scale_maps(self.get(dy), &self.factors(s), shape);
                let spread = window::spread_over_maps(self.get(dmean), shape);
                let out = scaled.iter().zip(spread).map(|(a, b)| a + b).collect();
                self.set(dx, out);
            }
            Op::LayerNorm { x, y, stats, .. } => {
                let (out, kept) = norm::layer_norm(self.get(x), self.shape(x).n);
                self.set(y, out);
                self.set(stats, kept);
            }
            Op::LayerNormGrad { y, dy, stats, dx, relu, .. } => {
                let layout = self.tensors[y.0].layout;
                let relu = relu.then_some(|zero| layout.round(zero));
                let out = norm::layer_norm_grad(self.get(y), self.get(dy), self.get(stats), relu);
                self.set(dx, out);
            }
            Op::Goodness { x, w, scores, window, scale, .. } => {
                let out = goodness(&self.conv(x, w, window), self.get(x), self.get(w), scale);
                self.set(scores, out);
            }
            // By definition, and not by Gram matrices, that those are tested too.
            Op::GramGoodness { x, w, scores, scale, .. } => {
                let conv = self.conv(x, w, Window::same(1, 1));
                let out = goodness(&conv, self.get(x), self.get(w), scale);
                self.set(scores, out);
            }
            Op::GoodnessGrad { x, w, dscores, dx, dw, window, scale, .. } => {
                self.goodness_grad((x, w, dscores), (dx, dw), window, scale);
            }
            Op::GramGoodnessGrad { x, w, dscores, dx, dw, scale, .. } => {
                self.goodness_grad((x, w, dscores), (dx, dw), Window::same(1, 1), scale);
            }
            Op::ScaleScores { x, log_scale, y } => {
                let factor = self.get(log_scale)[0].exp();
                let out = self.get(x).iter().map(|x| factor * x).collect();
                self.set(y, out);
            }
            Op::ScaleScoresGrad { y, dy, log_scale, dx, dlog_scale, .. } => {
                let factor = self.get(log_scale)[0].exp();
                let to_x = self.get(dy).iter().map(|dy| factor * dy).collect();
                let to_scale = self.zip(y, dy, |y, dy| y * dy).iter().sum();
                self.set(dx, to_x);
                self.set(dlog_scale, vec![to_scale]);
            }
            Op::CrossEntropy { scores, labels, partners, loss, dscores, scale } => {
                let partners = partners.map(|partners| self.get(partners));
                let targets = train::targets(self.get(labels), partners);
                let (losses, grads) = train::cross_entropy(self.get(scores), &targets);
                self.set(loss, losses);
                if let Some(dscores) = dscores {
                    let scaled = grads.iter().map(|g| f64::from(scale) * g).collect();
                    self.set(dscores, scaled);
                }
            }
            Op::Accumulate { x, total, keep, factor } => {
                let kept = self.get(keep)[0] != 0.0;
                for [x, total] in self.matching_members([x, total]) {
                    let mut sum: Vec<f64> =
                        self.get(x).iter().map(|v| f64::from(factor) * v).collect();
                    if kept {
                        sum.iter_mut().zip(self.get(total)).for_each(|(sum, old)| *sum += old);
                    }
                    self.set(total, sum);
                }
            }
            Op::AdamW { params, grads, m, v, step, adamw, scale } => {
                let step = train::Step::new(self.get(step));
                for [p, g, m, v] in self.matching_members([params, grads, m, v]) {
                    let mut state = [p, m, v].map(|id| self.get(id).to_vec());
                    let gradient: Vec<f64> =
                        self.get(g).iter().map(|g| g / f64::from(scale)).collect();
                    train::adamw(&mut state, &gradient, &step, &adamw);
                    for (id, values) in [p, m, v].into_iter().zip(state) {
                        self.set(id, values);
                    }
                }
            }
            Op::Metrics { scores, losses, labels, step, out, blocks, .. } => {
                let (scores, losses) = (self.blocks(scores, blocks), self.blocks(losses, blocks));
                let valid = train::Step::new(self.get(step)).valid;
                let mut values = train::metrics(&scores, &losses, &self.get(labels)[..valid]);
                values.extend(vec![0.0; blocks]);
                self.set(out, values);
            }
            Op::Finite { x, out, at } => {
                let finite = |(_, id)| self.get(id).iter().all(|v| v.is_finite());
                let mut values = self.get(out).to_vec();
                if !self.members(x).into_iter().all(finite) {
                    values[at] = 1.0;
                }
                self.set(out, values);
            }
        }
    }

    /// Gradients of the goodness with respect to maps and weight.
    fn goodness_grad(
        &mut self,
        (x, w, dscores): (TensorId, TensorId, TensorId),
        (dx, dw): (TensorId, TensorId),
        window: Window,
        scale: f32,
    ) {
        let conv = self.conv(x, w, window);
        let (x, w) = (self.get(x), self.get(w));
        let mut da = window::spread_over_maps(self.get(dscores), conv.y());
        for (da, a) in da.iter_mut().zip(conv.forward(x, w)) {
            *da *= f64::from(scale) * 2.0 * a;
        }
        let (to_x, to_w) = (conv.dgrad(&da, w), conv.wgrad(x, &da));
        self.set(dx, to_x);
        self.set(dw, to_w);
    }

    fn shape(&self, id: TensorId) -> Shape {
        self.tensors[id.0].shape
    }

    /// The convolution that takes `x` (or gives its gradient) with the weight `w`.
    fn conv(&self, x: TensorId, w: TensorId, window: Window) -> Conv {
        Conv::new(self.shape(x), self.shape(w), window)
    }

    /// The same, of each channel by itself.
    fn depthwise(&self, x: TensorId, w: TensorId, window: Window) -> Depthwise {
        Depthwise::new(self.shape(x), self.shape(w), window)
    }

    /// What [`Op::Excite`] multiplies with.
    fn factors(&self, s: TensorId) -> Vec<f64> {
        self.get(s).iter().map(|s| activation::value(HardSigmoid, *s)).collect()
    }

    fn zip(&self, a: TensorId, b: TensorId, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let (a, b) = (self.get(a), self.get(b));
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()
    }

    /// A slab's members and their offsets, by offset; the root itself if it has none.
    fn members(&self, root: TensorId) -> Vec<(usize, TensorId)> {
        let children = self.tensors.iter().enumerate().filter_map(|(i, tensor)| {
            let (parent, offset) = tensor.parent?;
            (parent == root).then_some((offset, TensorId(i)))
        });
        let mut members: Vec<_> = children.collect();
        if members.is_empty() {
            members.push((0, root));
        }
        members.sort();
        members
    }

    /// For each member of the first slab, the members of all slabs at the same offset.
    fn matching_members<const N: usize>(&self, roots: [TensorId; N]) -> Vec<[TensorId; N]> {
        let slabs = roots.map(|root| self.members(root));
        let same_offset = |offset| {
            slabs.each_ref().map(|slab| match slab.iter().find(|member| member.0 == offset) {
                Some(&(_, id)) => id,
                None => panic!("slabs differ: none of {slab:?} is at {offset}"),
            })
        };
        assert!(slabs.iter().all(|slab| slab.len() == slabs[0].len()), "slabs differ: {slabs:?}");
        slabs[0].iter().map(|&(offset, _)| same_offset(offset)).collect()
    }

    /// The values of a slab that has one member per block.
    fn blocks(&self, root: TensorId, blocks: usize) -> Vec<&[f64]> {
        let members = self.members(root);
        assert_eq!(members.len(), blocks, "members of {}", self.tensors[root.0].name);
        members.into_iter().map(|(_, id)| self.get(id)).collect()
    }
}

/// The mean square of each class map, times `scale`.
fn goodness(conv: &Conv, x: &[f64], w: &[f64], scale: f32) -> Vec<f64> {
    let squares: Vec<f64> = conv.forward(x, w).iter().map(|a| a * a).collect();
    let means = window::mean_of_maps(&squares, conv.y()).into_iter();
    means.map(|mean| f64::from(scale) * mean).collect()
}
