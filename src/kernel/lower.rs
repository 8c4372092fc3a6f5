//! The dispatches that compute each op.

use bytemuck::Zeroable;

use super::params::{self, Params};
use super::{Dispatch, Kernel, Operand, Tiles, tensor};
use crate::ops::{Op, late_half, metrics_words};
use crate::shape::{ALIGNMENT, LANES, Layout, Shape, Window};
use crate::tensor::{Tensor, TensorId};

/// Layer norm's epsilon.
const LAYER_NORM_EPS: f32 = 1e-5;

/// The dispatches of `op`, in order. Tensors are the program's, by id.
pub fn lower(op: &Op, tensors: &[Tensor], tiles: Tiles) -> Vec<Dispatch> {
    Lowering { tensors, tiles, dispatches: Vec::new() }.op(op)
}

struct Lowering<'a> {
    tensors: &'a [Tensor],
    tiles: Tiles,
    dispatches: Vec<Dispatch>,
}

/// A dispatch under construction: file, entry point, definitions.
type Permutation<'a> = (&'static str, &'static str, &'a [(&'static str, u32)]);

fn u(value: usize) -> u32 {
    u32::try_from(value).expect("sizes were checked against the device's 32-bit limits")
}

impl Lowering<'_> {
    fn shape(&self, id: TensorId) -> Shape {
        tensor(self.tensors, id).shape
    }

    fn whole(&self, id: TensorId) -> Operand {
        Operand { tensor: id, offset: 0, bytes: tensor(self.tensors, id).bytes() }
    }

    /// Images `first .. first + count` of a tensor.
    fn slice(&self, id: TensorId, first: usize, count: usize) -> Operand {
        let t = tensor(self.tensors, id);
        let one = t.layout.bytes(t.shape.with_n(1));
        Operand { tensor: id, offset: first * one, bytes: count * one }
    }

    fn push<P: Params>(
        &mut self,
        (file, entry, definitions): Permutation,
        operands: &[(&'static str, Operand)],
        params: P,
        threads: usize,
    ) {
        self.dispatches.push(Dispatch {
            kernel: Kernel { file, entry, definitions: definitions.iter().copied().collect() },
            operands: operands.to_vec(),
            params: bytemuck::bytes_of(&params).to_vec(),
            members: P::MEMBERS,
            threads,
        });
    }

    /// One invocation per vec4 of the last operand.
    fn elementwise(&mut self, entry: &'static str, operands: &[(&'static str, TensorId)]) {
        let operands: Vec<_> = operands.iter().map(|(n, id)| (*n, self.whole(*id))).collect();
        let len = operands.last().map_or(0, |(_, o)| o.bytes / 16);
        let params = params::Elementwise { len: u(len), factor: 1.0 };
        self.push(("elementwise", entry, &[]), &operands, params, len);
    }

    fn sum_rows(&mut self, partial: TensorId, y: TensorId) {
        let len = tensor(self.tensors, y).bytes() / 16;
        let rows = tensor(self.tensors, partial).bytes() / 16 / len;
        let operands = [("partial", self.whole(partial)), ("y", self.whole(y))];
        let params = params::SumRows { rows: u(rows), len: u(len) };
        self.push(("sum_rows", "main", &[]), &operands, params, len);
    }

    /// Parameters of a convolution that reads maps of shape `x` and writes maps of shape `y`.
    fn conv(x: Shape, y: Shape, window: Window) -> params::Conv2d {
        params::Conv2d {
            in_h: u(x.h),
            in_w: u(x.w),
            in_c4: u(x.c4()),
            out_h: u(y.h),
            out_w: u(y.w),
            out_c4: u(y.c4()),
            kernel: u(window.kernel),
            stride: u(window.stride),
            pad: u(window.pad),
            pixels: u(y.pixels()),
            images: u(y.n),
            parts: 1,
            factor: 1.0,
        }
    }

    /// A convolution-like kernel with one register tile per invocation.
    fn conv_tiles(
        &mut self,
        file: &'static str,
        entry: &'static str,
        flag: Option<&'static str>,
        operands: &[(&'static str, Operand)],
        params: params::Conv2d,
    ) {
        let pixels = self.tiles.pixels;
        let columns = self.tiles.columns.min(params.out_c4);
        let mut definitions = vec![("PIXELS", pixels), ("COLUMNS", columns)];
        definitions.extend(flag.map(|flag| (flag, 1)));
        let threads = params.out_c4.div_ceil(columns) as usize
            * (params.pixels as usize).div_ceil(pixels as usize);
        self.push((file, entry, &definitions), operands, params, threads);
    }

    fn dgrad(&mut self, dy: Operand, w: TensorId, dx: Operand, params: params::Conv2d) {
        let operands = [("x", dy), ("w", self.whole(w)), ("y", dx)];
        self.conv_tiles("conv2d", "main", Some("DGRAD"), &operands, params);
    }

    /// Partial weight gradients, one row of `partial` per split.
    fn wgrad(&mut self, x: Operand, dy: Operand, partial: Operand, params: params::Conv2d) {
        let depth = params.kernel * params.kernel * params.in_c4;
        let rows = self.tiles.rows.min(depth);
        let columns = self.tiles.wgrad_columns.min(params.out_c4);
        let threads = depth.div_ceil(rows) as usize
            * params.out_c4.div_ceil(columns) as usize
            * params.parts as usize;
        let definitions = [("ROWS", rows), ("COLUMNS", columns)];
        let operands = [("x", x), ("dy", dy), ("partial", partial)];
        self.push(("conv2d_wgrad", "main", &definitions), &operands, params, threads);
    }

    fn batch_norm(&mut self, x: TensorId, chunks: usize, norm: crate::ops::BatchNorm) -> Norm {
        let shape = self.shape(x);
        let params = params::BatchNorm {
            pixels: u(shape.pixels()),
            c4: u(shape.c4()),
            chunks: u(chunks),
            eps: norm.eps,
            momentum: norm.momentum,
        };
        Norm {
            params,
            relu: u32::from(norm.relu),
            groups: shape.c4(),
            all: shape.pixels() * shape.c4(),
        }
    }

    fn layer_norm(&self, x: TensorId, scratch: TensorId) -> (params::LayerNorm, usize, usize) {
        let shape = self.shape(x);
        let chunks = self.shape(scratch).h;
        let params = params::LayerNorm {
            images: u(shape.n),
            size: u(shape.h * shape.w),
            c: u(shape.c),
            c4: u(shape.c4()),
            chunks: u(chunks),
            eps: LAYER_NORM_EPS,
        };
        (params, shape.n * chunks, shape.pixels() * shape.c4())
    }

    fn max_pool(x: Shape, y: Shape, window: Window, len: usize) -> params::MaxPool {
        params::MaxPool {
            in_h: u(x.h),
            in_w: u(x.w),
            out_h: u(y.h),
            out_w: u(y.w),
            c4: u(x.c4()),
            kernel: u(window.kernel),
            stride: u(window.stride),
            pad: u(window.pad),
            len: u(len),
        }
    }

    fn op(mut self, op: &Op) -> Vec<Dispatch> {
        let whole = |s: &Self, pairs: &[(&'static str, TensorId)]| -> Vec<_> {
            pairs.iter().map(|(name, id)| (*name, s.whole(*id))).collect()
        };
        match *op {
            Op::Input { pixels, all_labels, samples, x, labels, normalize } => {
                let shape = self.shape(x);
                let mut p = params::Input::zeroed();
                for c in 0..shape.c {
                    p.mean[c] = normalize.mean[c];
                    p.scale[c] = 1.0 / normalize.std[c];
                }
                (p.h, p.w, p.c, p.len) = (u(shape.h), u(shape.w), u(shape.c), u(shape.pixels()));
                let operands = whole(
                    &self,
                    &[
                        ("pixels", pixels),
                        ("all_labels", all_labels),
                        ("samples", samples),
                        ("x", x),
                        ("labels", labels),
                    ],
                );
                self.push(("input", "main", &[]), &operands, p, shape.pixels());
            }
            Op::Conv2d { x, w, bias, y, window } => {
                let mut operands = whole(&self, &[("x", x), ("w", w), ("y", y)]);
                operands.extend(bias.map(|b| ("bias", self.whole(b))));
                let params = Self::conv(self.shape(x), self.shape(y), window);
                self.conv_tiles("conv2d", "main", bias.map(|_| "BIAS"), &operands, params);
            }
            Op::Conv2dDgrad { dy, w, dx, window } => {
                let params = Self::conv(self.shape(dy), self.shape(dx), window);
                self.dgrad(self.whole(dy), w, self.whole(dx), params);
            }
            Op::Conv2dWgrad { x, dy, dw, scratch, window } => {
                let mut params = Self::conv(self.shape(x), self.shape(dy), window);
                params.parts = u(self.shape(scratch).n);
                self.wgrad(self.whole(x), self.whole(dy), self.whole(scratch), params);
                self.sum_rows(scratch, dw);
            }
            Op::BiasGrad { dy, db, scratch } => {
                let (shape, chunks) = (self.shape(dy), self.shape(scratch).n);
                let params = params::BiasGrad {
                    pixels: u(shape.pixels()),
                    c4: u(shape.c4()),
                    chunks: u(chunks),
                };
                let operands = whole(&self, &[("dy", dy), ("partial", scratch)]);
                self.push(("bias_grad", "main", &[]), &operands, params, chunks * shape.c4());
                self.sum_rows(scratch, db);
            }
            Op::BatchNorm { x, gamma, beta, running, stats, y, scratch, norm } => {
                let chunks = self.shape(scratch).n;
                let n = self.batch_norm(x, chunks, norm);
                let operands = whole(&self, &[("x", x), ("partial", scratch)]);
                self.push(("batch_norm", "reduce", &[]), &operands, n.params, chunks * n.groups);
                let operands =
                    whole(&self, &[("partial", scratch), ("stats", stats), ("running", running)]);
                self.push(("batch_norm", "finish", &[]), &operands, n.params, n.groups);
                let operands = whole(
                    &self,
                    &[("x", x), ("gamma", gamma), ("beta", beta), ("stats", stats), ("y", y)],
                );
                self.push(("batch_norm", "apply", &[("RELU", n.relu)]), &operands, n.params, n.all);
            }
            Op::BatchNormEval { x, gamma, beta, running, y, norm } => {
                let n = self.batch_norm(x, 1, norm);
                let operands = whole(
                    &self,
                    &[("x", x), ("gamma", gamma), ("beta", beta), ("stats", running), ("y", y)],
                );
                self.push(("batch_norm", "apply", &[("RELU", n.relu)]), &operands, n.params, n.all);
            }
            Op::BatchNormGrad { x, dy, gamma, beta, stats, dx, dgamma, dbeta, scratch, norm } => {
                let chunks = self.shape(scratch).n;
                let n = self.batch_norm(x, chunks, norm);
                let relu = [("RELU", n.relu)];
                let mut shared = vec![("x", x), ("dy", dy), ("stats", stats)];
                if norm.relu {
                    shared.extend([("gamma", gamma), ("beta", beta)]);
                }
                let mut operands = whole(&self, &shared);
                operands.push(("partial", self.whole(scratch)));
                let threads = chunks * n.groups;
                self.push(("batch_norm", "grad_reduce", &relu), &operands, n.params, threads);
                let operands =
                    whole(&self, &[("partial", scratch), ("dgamma", dgamma), ("dbeta", dbeta)]);
                self.push(("batch_norm", "grad_finish", &[]), &operands, n.params, n.groups);
                if !norm.relu {
                    shared.push(("gamma", gamma));
                }
                shared.extend([("dgamma", dgamma), ("dbeta", dbeta), ("y", dx)]);
                let operands = whole(&self, &shared);
                self.push(("batch_norm", "grad_apply", &relu), &operands, n.params, n.all);
            }
            Op::Relu { x, y } => self.elementwise("relu", &[("a", x), ("y", y)]),
            Op::ReluGrad { y, dy, dx } => {
                self.elementwise("relu_grad", &[("a", y), ("b", dy), ("y", dx)]);
            }
            Op::Add { a, b, y } => self.elementwise("add", &[("a", a), ("b", b), ("y", y)]),
            Op::MaxPool { x, y, argmax, window } => {
                let (from, to) = (self.shape(x), self.shape(y));
                let len = to.pixels() * to.c4();
                let operands = whole(&self, &[("x", x), ("y", y), ("argmax", argmax)]);
                let params = Self::max_pool(from, to, window, len);
                self.push(("max_pool", "main", &[]), &operands, params, len);
            }
            Op::MaxPoolGrad { dy, argmax, dx, window } => {
                let (from, to) = (self.shape(dx), self.shape(dy));
                let len = from.pixels() * from.c4();
                let operands = whole(&self, &[("x", dy), ("y", dx), ("argmax", argmax)]);
                let params = Self::max_pool(from, to, window, len);
                self.push(("max_pool", "grad", &[]), &operands, params, len);
            }
            Op::GlobalAvgPool { x, y } => {
                let s = self.shape(x);
                let params =
                    params::GlobalAvgPool { images: u(s.n), size: u(s.h * s.w), c4: u(s.c4()) };
                let operands = whole(&self, &[("x", x), ("y", y)]);
                self.push(("global_avg_pool", "main", &[]), &operands, params, s.n * s.c4());
            }
            Op::GlobalAvgPoolGrad { dy, dx } => {
                let s = self.shape(dx);
                let params =
                    params::GlobalAvgPool { images: u(s.n), size: u(s.h * s.w), c4: u(s.c4()) };
                let operands = whole(&self, &[("x", dy), ("y", dx)]);
                self.push(("global_avg_pool", "grad", &[]), &operands, params, s.pixels() * s.c4());
            }
            Op::LayerNorm { x, y, stats, scratch } => {
                let (params, chunks, all) = self.layer_norm(x, scratch);
                let operands = whole(&self, &[("x", x), ("partial", scratch)]);
                self.push(("layer_norm", "reduce", &[]), &operands, params, chunks);
                let operands = whole(&self, &[("partial", scratch), ("stats", stats)]);
                self.push(("layer_norm", "finish", &[]), &operands, params, params.images as usize);
                let operands = whole(&self, &[("x", x), ("stats", stats), ("y", y)]);
                self.push(("layer_norm", "apply", &[]), &operands, params, all);
            }
            Op::LayerNormGrad { y, dy, stats, dx, scratch } => {
                let (params, chunks, all) = self.layer_norm(y, scratch);
                let images = params.images as usize;
                let operands = whole(&self, &[("y", y), ("dy", dy), ("partial", scratch)]);
                self.push(("layer_norm", "grad_reduce", &[]), &operands, params, chunks);
                let operands = whole(&self, &[("partial", scratch)]);
                self.push(("layer_norm", "grad_finish", &[]), &operands, params, images);
                let operands = whole(
                    &self,
                    &[("y", y), ("dy", dy), ("stats", stats), ("partial", scratch), ("dx", dx)],
                );
                self.push(("layer_norm", "grad_apply", &[]), &operands, params, all);
            }
            Op::Goodness { x, w, scores, scratch, window, scale } => {
                let from = self.shape(x);
                let maps = from.with_c(self.shape(scores).c);
                let mut params = Self::conv(from, maps, window);
                params.parts = u(self.shape(scratch).h);
                params.factor = scale / (maps.h * maps.w) as f32;
                let columns = self.tiles.columns.min(params.out_c4);
                let definitions = [("PIXELS", self.tiles.pixels), ("COLUMNS", columns)];
                let threads =
                    params.out_c4.div_ceil(columns) as usize * from.n * params.parts as usize;
                let operands = whole(&self, &[("x", x), ("w", w), ("partial", scratch)]);
                self.push(("goodness", "squares", &definitions), &operands, params, threads);
                let operands = whole(&self, &[("partial", scratch), ("scores", scores)]);
                let threads = from.n * maps.c4();
                self.push(("goodness", "sum", &definitions), &operands, params, threads);
            }
            Op::GoodnessGrad { x, w, dscores, dx, dw, maps, scratch, window, scale } => {
                let (from, slice) = (self.shape(x), self.shape(maps).n);
                let slices = from.n.div_ceil(slice);
                let splits = self.shape(scratch).n / slices;
                let partial = self.whole(scratch).bytes / slices;
                for (i, first) in (0..from.n).step_by(slice).enumerate() {
                    let count = slice.min(from.n - first);
                    let maps_shape = self.shape(maps).with_n(count);
                    let (input, output) =
                        (self.slice(x, first, count), self.slice(dx, first, count));
                    let part = self.slice(maps, 0, count);
                    let mut params = Self::conv(from.with_n(count), maps_shape, window);
                    params.factor = 2.0 * scale / (maps_shape.h * maps_shape.w) as f32;
                    params.parts = u(splits);
                    let operands = [
                        ("x", input),
                        ("w", self.whole(w)),
                        ("scores", self.slice(dscores, first, count)),
                        ("maps", part),
                    ];
                    self.conv_tiles("goodness", "map_grad", None, &operands, params);
                    self.dgrad(part, w, output, Self::conv(maps_shape, from.with_n(count), window));
                    let sums = Operand { tensor: scratch, offset: i * partial, bytes: partial };
                    self.wgrad(input, part, sums, params);
                }
                self.sum_rows(scratch, dw);
            }
            Op::CrossEntropy { scores, labels, loss, dscores } => {
                let shape = self.shape(scores);
                let params = params::CrossEntropy {
                    images: u(shape.n),
                    classes: u(shape.c),
                    stride: u(shape.c4() * LANES),
                };
                let mut operands =
                    whole(&self, &[("scores", scores), ("labels", labels), ("loss", loss)]);
                operands.extend(dscores.map(|d| ("dscores", self.whole(d))));
                let grad = [("GRAD", u32::from(dscores.is_some()))];
                self.push(("cross_entropy", "main", &grad), &operands, params, shape.n);
            }
            Op::Accumulate { x, total, keep, factor } => {
                let len = tensor(self.tensors, total).bytes() / 16;
                let operands = whole(&self, &[("a", x), ("keep", keep), ("y", total)]);
                let params = params::Elementwise { len: u(len), factor };
                self.push(("elementwise", "accumulate", &[]), &operands, params, len);
            }
            Op::AdamW { params, grads, m, v, step, adamw } => {
                let len = tensor(self.tensors, params).bytes() / 16;
                let operands = whole(
                    &self,
                    &[("value", params), ("grad", grads), ("m", m), ("v", v), ("step", step)],
                );
                let params = params::AdamW {
                    len: u(len),
                    beta1: adamw.beta1,
                    beta2: adamw.beta2,
                    eps: adamw.eps,
                    weight_decay: adamw.weight_decay,
                };
                self.push(("adamw", "main", &[]), &operands, params, len);
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
                let operands = whole(
                    &self,
                    &[
                        ("scores", scores),
                        ("losses", losses),
                        ("labels", labels),
                        ("rows", scratch),
                    ],
                );
                self.push(("metrics", "per_image", &[]), &operands, params, images);
                let operands = whole(&self, &[("step", step), ("rows", scratch), ("result", out)]);
                self.push(("metrics", "sum", &[]), &operands, params, metrics_words(blocks));
            }
        }
        self.dispatches
    }
}

/// Batch norm's parameters and grids.
struct Norm {
    params: params::BatchNorm,
    relu: u32,
    groups: usize,
    all: usize,
}
