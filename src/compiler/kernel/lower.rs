//! The dispatches that compute each op.

mod conv;
mod depthwise;
mod finite;
mod goodness;
mod input;
mod norm;
mod slices;

use self::slices::Named;
use super::params::{self, Params};
use super::{Dispatch, Kernel, Operand, Target, steps, tensor};
use crate::base::shape::{ALIGNMENT, LANES, Layout, Shape, Window};
use crate::compiler::flops::flops_of;
use crate::compiler::ops::{Op, late_half, metrics_words, result_words};
use crate::compiler::tensor::{Tensor, TensorId};
use crate::compiler::wgsl::Definitions;
use crate::net::layers::Activation;
use crate::{Error, Result};

/// The dispatches of `op`, in order. Tensors are the program's, by id. Where an operand is larger
/// than a kernel may see at once, or the arithmetic more than a dispatch may have, work on images is
/// done in several slices of the batch, with the same results, bit for bit.
///
/// # Errors
/// [`Error::Limit`] names a tensor of 2^32 values or more, which kernels cannot index, or an op whose
/// loops take more steps than the device does.
pub fn lower(op: &Op, tensors: &[Tensor], target: Target) -> Result<Vec<Dispatch>> {
    let access = op.access();
    let touched = access.reads.iter().chain(&access.writes).chain(&access.scratch);
    touched.map(|id| tensor(tensors, *id)).try_for_each(indexable)?;
    steps::check(op, tensors, target.max_steps)?;
    let flops = flops_of(op, tensors);
    let mut lowering = Lowering { tensors, target, flops, dispatches: Vec::new() };
    lowering.op(op);
    Ok(lowering.dispatches)
}

/// Checks that the values of a tensor can be counted in a shader's 32 bits.
fn indexable(tensor: &Tensor) -> Result<()> {
    let values = tensor.layout.stored(tensor.shape).elements();
    if u32::try_from(values).is_ok() {
        return Ok(());
    }
    Err(Error::Limit {
        what: format!("{} ({})", tensor.name, tensor.shape),
        needed: format!("{values} values"),
        available: format!("{} in one tensor", u32::MAX),
        advice: tensor.smaller().to_owned(),
    })
}

struct Lowering<'a> {
    tensors: &'a [Tensor],
    target: Target,
    /// Of the whole op.
    flops: u64,
    dispatches: Vec<Dispatch>,
}

/// File, entry point and definitions of a kernel.
type Permutation<'a> = (&'static str, &'static str, &'a [(&'static str, u32)]);

/// A number of a tensor's values, or of fewer.
fn u(value: usize) -> u32 {
    // `indexable` has refused tensors with more values.
    u32::try_from(value).expect("tensors are indexable")
}

/// What 32 random bits must reach for a value to be kept.
fn dropout_threshold(rate: f32) -> u32 {
    (f64::from(rate) * 2f64.powi(32)) as u32
}

/// The definition that chooses an activation in `activation.wgsl`.
fn activation(act: Activation) -> Option<(&'static str, u32)> {
    let name = match act {
        Activation::None => return None,
        Activation::Relu => "RELU",
        Activation::HardSwish => "HARD_SWISH",
        Activation::HardSigmoid => "HARD_SIGMOID",
    };
    Some((name, 1))
}

impl Lowering<'_> {
    fn shape(&self, id: TensorId) -> Shape {
        tensor(self.tensors, id).shape
    }

    /// Maps among the operands decide what the kernel's maps are made of: all of them are alike.
    fn push<P: Params>(
        &mut self,
        (file, entry, definitions): Permutation,
        operands: &[(&'static str, Operand)],
        params: P,
        threads: usize,
    ) {
        let mut definitions: Definitions = definitions.iter().copied().collect();
        let layout = |operand: &Operand| tensor(self.tensors, operand.tensor).layout;
        if operands.iter().any(|(_, operand)| layout(operand) == Layout::Half) {
            definitions.insert("F16", 1);
        }
        // With JOIN, that many work for what is one invocation's else.
        let threads = threads * definitions.get("JOIN").map_or(1, |join| *join as usize);
        self.dispatches.push(Dispatch {
            kernel: Kernel { file, entry, definitions },
            operands: operands.to_vec(),
            params: bytemuck::bytes_of(&params).to_vec(),
            members: P::MEMBERS,
            threads,
        });
    }

    /// One invocation per vec4 of maps that all have the same shape.
    fn elementwise(&mut self, entry: &'static str, act: Activation, maps: Named) {
        let (shape, act) = (self.shape(maps[0].1), activation(act));
        let permutation = ("elementwise", entry, act.as_slice());
        self.per_image(permutation, shape.n, maps, &[], |s| {
            let len = shape.with_n(s.count).pixels() * shape.c4();
            let (c, c4) = (u(shape.c), u(shape.c4()));
            (params::Elementwise { len: u(len), c, c4, factor: 1.0 }, len)
        });
    }

    /// The definition that makes invocations share sums of so many terms for so many results, if they
    /// are to.
    fn join(&self, results: usize, terms: usize) -> Option<(&'static str, u32)> {
        /// Results that keep a GPU busy by themselves.
        const MANY: usize = 1 << 15;
        let join = self.target.tiles.join;
        let pays = join > 1 && results < MANY && terms >= 2 * join as usize;
        pays.then_some(("JOIN", join))
    }

    fn sum_rows(&mut self, partial: TensorId, y: TensorId) {
        let len = tensor(self.tensors, y).bytes() / 16;
        let rows = tensor(self.tensors, partial).bytes() / 16 / len;
        let params = params::SumRows { rows: u(rows), len: u(len) };
        let join = self.join(len, rows);
        let operands = [("partial", partial), ("y", y)];
        self.once(("sum_rows", "main", join.as_slice()), &operands, params, len);
    }

    /// Max pooling of maps of shape `x` to `y`, or its gradient, with an invocation per vec4 of maps
    /// of shape `over`.
    fn max_pool(
        &mut self,
        entry: &'static str,
        (x, y, over): (Shape, Shape, Shape),
        operands: Named,
        window: Window,
    ) {
        let definitions = [("KERNEL", u(window.kernel)), ("STRIDE", u(window.stride))];
        self.per_image(("max_pool", entry, &definitions), x.n, operands, &[], |s| {
            let len = over.with_n(s.count).pixels() * over.c4();
            let params = params::MaxPool {
                in_h: u(x.h),
                in_w: u(x.w),
                out_h: u(y.h),
                out_w: u(y.w),
                c4: u(x.c4()),
                pad: u(window.pad),
                len: u(len),
            };
            (params, len)
        });
    }

    /// Means over parts of maps of shape `x` to `y`, or their gradient, with an invocation per vec4
    /// of `over`.
    fn avg_pool(&mut self, entry: &'static str, (x, y, over): (Shape, Shape, Shape), maps: Named) {
        let join = self.join(over.pixels() * over.c4(), x.pixels() / over.pixels());
        self.per_image(("avg_pool", entry, join.as_slice()), x.n, maps, &[], |s| {
            let len = over.with_n(s.count).pixels() * over.c4();
            let params = params::AvgPool {
                in_h: u(x.h),
                in_w: u(x.w),
                out_h: u(y.h),
                out_w: u(y.w),
                c4: u(x.c4()),
                len: u(len),
            };
            (params, len)
        });
    }

    /// A kernel on scores.
    fn scale_scores(
        &mut self,
        entry: &'static str,
        scores: Shape,
        each: Named,
        log_scale: TensorId,
    ) {
        let whole = [("log_scale", log_scale)];
        let join = self.join(scores.n, scores.c4());
        self.per_image(("scale_scores", entry, join.as_slice()), scores.n, each, &whole, |s| {
            (params::ScaleScores { images: u(s.count), c4: u(scores.c4()) }, s.count)
        });
    }

    /// A kernel on maps of shape `x` and tables with one value for each of them, whose results are
    /// the vec4s of `over`.
    fn excite(&mut self, entry: &'static str, x: Shape, operands: Named, over: TensorId) {
        let over = self.shape(over);
        let join = self.join(over.pixels() * over.c4(), x.pixels() / over.pixels());
        let mut definitions = vec![("HARD_SIGMOID", 1)];
        definitions.extend(join);
        self.per_image(("excite", entry, &definitions), x.n, operands, &[], |s| {
            let (images, size) = (u(s.count), u(x.h * x.w));
            let params = params::Excite { images, size, c: u(x.c), c4: u(x.c4()) };
            (params, over.with_n(s.count).pixels() * over.c4())
        });
    }

    fn op(&mut self, op: &Op) {
        match *op {
            Op::Input { .. } => self.input(op),
            Op::Conv2d { x, w, bias, y, window } => {
                let mut weights = vec![("w", w)];
                weights.extend(bias.map(|b| ("bias", b)));
                self.conv2d((x, y), &weights, window, bias.map(|_| "BIAS"));
            }
            Op::Conv2dDgrad { dy, w, dx, window } => {
                self.conv2d((dy, dx), &[("w", w)], window, Some("DGRAD"));
            }
            Op::Conv2dWgrad { x, dy, dw, scratch, window } => {
                self.wgrad((x, dy, dw, scratch), window);
            }
            Op::Depthwise { x, w, y, window } => self.depthwise((x, w, y), window),
            Op::DepthwiseDgrad { dy, w, dx, window } => self.depthwise_dgrad((dy, w, dx), window),
            Op::DepthwiseWgrad { x, dy, dw, scratch, window } => {
                self.depthwise_wgrad((x, dy, dw, scratch), window);
            }
            Op::BiasGrad { dy, db, scratch } => self.bias_grad(dy, db, scratch),
            Op::BatchNorm { .. } => self.batch_norm(op),
            Op::BatchNormEval { x, residual, gamma, beta, running, y, norm } => {
                self.batch_norm_apply((x, residual, y), (gamma, beta, running), norm);
            }
            Op::BatchNormGrad { .. } => self.batch_norm_grad(op),
            Op::Activate { x, y, act } => {
                self.elementwise("activation", act, &[("a", x), ("y", y)]);
            }
            Op::ActivateGrad { x, dy, dx, act } => {
                self.elementwise("activation_grad", act, &[("a", x), ("b", dy), ("y", dx)]);
            }
            Op::Add { a, b, y } => {
                self.elementwise("add", Activation::None, &[("a", a), ("b", b), ("y", y)]);
            }
            Op::MaxPool { x, y, argmax, window } => {
                let (from, to) = (self.shape(x), self.shape(y));
                let operands = [("x", x), ("y", y), ("argmax", argmax)];
                self.max_pool("main", (from, to, to), &operands, window);
            }
            Op::MaxPoolGrad { dy, argmax, dx, window } => {
                let (from, to) = (self.shape(dx), self.shape(dy));
                let operands = [("x", dy), ("y", dx), ("argmax", argmax)];
                let cells = |size: usize| (size + window.pad).div_ceil(window.stride);
                let over = Shape { h: cells(from.h), w: cells(from.w), ..from };
                self.max_pool("grad", (from, to, over), &operands, window);
            }
            Op::Dropout { x, key, y, layer, rate } => {
                let shape = self.shape(x);
                let (each, whole) = ([("x", x), ("y", y)], [("key", key)]);
                self.per_image(("dropout", "main", &[]), shape.n, &each, &whole, |s| {
                    let len = shape.with_n(s.count).pixels() * shape.c4();
                    let params = params::Dropout {
                        len: u(len),
                        c: u(shape.c),
                        c4: u(shape.c4()),
                        before: u(shape.with_n(s.first).pixels()),
                        layer,
                        threshold: dropout_threshold(rate),
                        factor: 1.0 / (1.0 - rate),
                    };
                    (params, len)
                });
            }
            Op::AvgPool { x, y } => {
                let (from, to) = (self.shape(x), self.shape(y));
                self.avg_pool("main", (from, to, to), &[("maps", x), ("means", y)]);
            }
            Op::AvgPoolGrad { dy, dx } => {
                let (from, to) = (self.shape(dx), self.shape(dy));
                self.avg_pool("grad", (from, to, from), &[("maps", dx), ("means", dy)]);
            }
            Op::Excite { x, s, y } => {
                let operands = [("x", x), ("s", s), ("y", y)];
                self.excite("main", self.shape(x), &operands, y);
            }
            Op::ExciteGrad { x, s, dy, ds } => {
                let operands = [("x", x), ("s", s), ("dy", dy), ("ds", ds)];
                self.excite("grad", self.shape(x), &operands, ds);
            }
            Op::SqueezeExciteGrad { s, dy, dmean, dx } => {
                let operands = [("s", s), ("dy", dy), ("dmean", dmean), ("dx", dx)];
                self.excite("squeeze_grad", self.shape(dx), &operands, dx);
            }
            Op::LayerNorm { x, y, stats, scratch } => self.layer_norm(x, y, stats, scratch),
            Op::LayerNormGrad { y, dy, stats, dx, scratch, relu } => {
                self.layer_norm_grad((y, dy, dx), stats, scratch, relu);
            }
            Op::Goodness { .. } => self.goodness(op),
            Op::GoodnessGrad { .. } => self.goodness_grad(op),
            Op::GramGoodness { .. } => self.gram_goodness(op),
            Op::GramGoodnessGrad { .. } => self.gram_goodness_grad(op),
            Op::ScaleScores { x, log_scale, y } => {
                let each = [("x", x), ("y", y)];
                self.scale_scores("main", self.shape(x), &each, log_scale);
            }
            Op::ScaleScoresGrad { y, dy, log_scale, dx, dlog_scale, scratch } => {
                let each = [("y", y), ("dy", dy), ("dx", dx), ("partial", scratch)];
                self.scale_scores("grad", self.shape(y), &each, log_scale);
                self.sum_rows(scratch, dlog_scale);
            }
            Op::CrossEntropy { scores, labels, partners, loss, dscores, scale } => {
                let shape = self.shape(scores);
                let params = params::CrossEntropy {
                    images: u(shape.n),
                    classes: u(shape.c),
                    stride: u(shape.c4() * LANES),
                    scale,
                };
                let mut operands = vec![("scores", scores), ("labels", labels), ("loss", loss)];
                operands.extend(dscores.map(|d| ("dscores", d)));
                operands.extend(partners.map(|p| ("partners", p)));
                let flag = |given: Option<TensorId>| u32::from(given.is_some());
                let mut flags = vec![("GRAD", flag(dscores)), ("MIX", flag(partners))];
                flags.extend(self.join(shape.n, shape.c));
                self.once(("cross_entropy", "main", &flags), &operands, params, shape.n);
            }
            Op::Accumulate { x, total, keep, factor } => {
                let len = tensor(self.tensors, total).bytes() / 16;
                let operands = [("a", x), ("keep", keep), ("y", total)];
                let params = params::Elementwise { len: u(len), c: 0, c4: 0, factor };
                self.once(("elementwise", "accumulate", &[]), &operands, params, len);
            }
            Op::AdamW { params, grads, m, v, step, adamw, scale } => {
                let len = tensor(self.tensors, params).bytes() / 16;
                let operands =
                    [("value", params), ("grad", grads), ("m", m), ("v", v), ("step", step)];
                let params = params::AdamW {
                    len: u(len),
                    factor: scale.recip(),
                    beta1: adamw.beta1,
                    beta2: adamw.beta2,
                    eps: adamw.eps,
                    weight_decay: adamw.weight_decay,
                };
                self.once(("adamw", "main", &[]), &operands, params, len);
            }
            Op::Metrics { scores, losses, labels, step, scratch, out, blocks, classes } => {
                let images = self.shape(labels).elements();
                // Members of a slab are aligned.
                let stride =
                    |c| Layout::Nhwc.bytes(Shape::rows(images, c)).next_multiple_of(ALIGNMENT);
                let params = params::Metrics {
                    images: u(images),
                    classes: u(classes),
                    stride: u(classes.next_multiple_of(LANES)),
                    blocks: u(blocks),
                    late: u(late_half(blocks)),
                    score_stride: u(stride(classes) / 4),
                    loss_stride: u(stride(1) / 16),
                    words: u(metrics_words(blocks)),
                };
                let operands =
                    [("scores", scores), ("losses", losses), ("labels", labels), ("rows", scratch)];
                let answers = images * (blocks + 3);
                let join = self.join(answers, classes);
                let permutation = ("metrics", "per_image", join.as_slice());
                self.once(permutation, &operands, params, answers);
                let operands = [("step", step), ("rows", scratch), ("result", out)];
                let words = result_words(blocks);
                let join = self.join(words, images);
                self.once(("metrics", "sum", join.as_slice()), &operands, params, words);
            }
            Op::Finite { x, out, at } => self.finite(x, out, at),
        }
    }
}
