//! Layers to ops, forward.

use std::collections::BTreeMap;

use super::Program;
use super::tape::{Norm, Normalized, Saved, pop_relu};
use crate::base::shape::{Layout, Shape, Window};
use crate::compiler::ops;
use crate::compiler::ops::pool::argmax_shape;
use crate::compiler::tensor::{Kind, TensorId};
use crate::net::layers::{Activation, Layer};
use crate::net::options::{AdamW, Recompute};
use crate::{Error, Result};

/// How a parameter begins.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Init {
    /// Everywhere the same.
    Constant(f32),
    /// Normal with mean 0 and this standard deviation (He et al., arXiv 1502.01852).
    Normal(f32),
    /// Uniform between minus and plus this.
    Uniform(f32),
}

/// A trained tensor: its value and, in a program that trains, its gradient and moments.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The value.
    pub value: TensorId,
    /// Gradient, valid between the block's backward and its update.
    pub grad: TensorId,
    /// First moment.
    pub m: TensorId,
    /// Second moment.
    pub v: TensorId,
    /// The block that trains it.
    pub block: usize,
    /// How its values begin.
    pub init: Init,
    /// Its shape in files: output channels first, as torchvision has it.
    pub file_shape: Vec<usize>,
}

impl Parameter {
    /// Whether it has a gradient and moments.
    pub fn trained(&self) -> bool {
        self.grad != self.value
    }
}

/// The slabs of one block.
#[derive(Clone, Copy)]
struct Slabs {
    value: TensorId,
    grad: TensorId,
    m: TensorId,
    v: TensorId,
    /// Sum of the gradients over micro-batches, if there are several.
    total: Option<TensorId>,
}

/// Appends ops to a program; keeps count of parameters and names.
pub struct Emitter {
    pub program: Program,
    /// Every trained tensor, by its name on disk.
    pub parameters: BTreeMap<String, Parameter>,
    /// Running statistics, by the name of their batch norm.
    pub running: BTreeMap<String, TensorId>,
    /// Whether gradients are summed over several micro-batches before an update.
    pub summing: bool,
    /// What backward computes again.
    pub recompute: Recompute,
    /// Outputs of batch norm in training, and how they come about.
    pub normalized: BTreeMap<TensorId, Normalized>,
    /// Outputs of squeeze-and-excitation: the maps, and what says how much each is scaled.
    pub excited: BTreeMap<TensorId, (TensorId, TensorId)>,
    /// Whether forward is for training: batch statistics, values kept for backward.
    pub training: bool,
    /// Whether parameters need gradients and moments at all.
    pub trainable: bool,
    /// Whether backward takes gradients of weights, or only passes gradients on.
    pub weight_gradients: bool,
    /// Whether parameters that are made now are never trained, though others are.
    frozen: bool,
    /// What decides what this routine's dropout layers drop, if it has any.
    pub dropout_key: Option<TensorId>,
    dropouts: u32,
    block: usize,
    slabs: Vec<Slabs>,
    prefix: &'static str,
    serial: usize,
}

impl Emitter {
    pub fn new(trainable: bool, summing: bool, recompute: Recompute) -> Self {
        Self {
            summing,
            recompute,
            normalized: BTreeMap::new(),
            excited: BTreeMap::new(),
            program: Program::default(),
            parameters: BTreeMap::new(),
            running: BTreeMap::new(),
            training: false,
            trainable,
            weight_gradients: true,
            frozen: false,
            dropout_key: None,
            dropouts: 0,
            block: 0,
            slabs: Vec::new(),
            prefix: "",
            serial: 0,
        }
    }

    /// Starts a routine: its tensors' names begin with `prefix`.
    pub fn routine(&mut self, prefix: &'static str, training: bool) {
        (self.prefix, self.training, self.serial) = (prefix, training, 0);
        (self.dropout_key, self.dropouts) = (None, 0);
    }

    /// What follows belongs to block `block`.
    pub fn block(&mut self, block: usize) {
        self.block = block;
        if block == self.slabs.len() {
            let mut slab = |name: &str, kind| {
                let id = self.program.add_slab(&format!("b{block}.{name}"), kind);
                self.program.set_block(id, block);
                id
            };
            let value = slab("params", Kind::Parameter);
            let [grad, m, v] = if self.trainable {
                [
                    slab("grads", Kind::ParamGradient),
                    slab("m", Kind::Optimizer),
                    slab("v", Kind::Optimizer),
                ]
            } else {
                [value; 3]
            };
            let total = self.summing.then(|| {
                let id = self.program.add_slab(&format!("b{block}.total"), Kind::ParamGradient);
                self.program.set_block(id, block);
                self.program.keep(id);
                id
            });
            self.slabs.push(Slabs { value, grad, m, v, total });
        }
    }

    /// A tensor of this block that lives within a step.
    pub fn temporary(&mut self, what: &str, shape: Shape, layout: Layout, kind: Kind) -> TensorId {
        let name = format!("{}.b{}.{}.{what}", self.prefix, self.block, self.serial);
        self.serial += 1;
        let id = self.program.add(&name, shape, layout, kind);
        self.program.set_block(id, self.block);
        id
    }

    /// Maps, or gradients of maps, that are stored as those of `other` are.
    pub fn like(&mut self, other: TensorId, what: &str, shape: Shape) -> TensorId {
        self.temporary(what, shape, self.layout(other), Kind::Activation)
    }

    /// Statistics, means and scores, which are always exact.
    pub fn exact(&mut self, what: &str, shape: Shape) -> TensorId {
        self.temporary(what, shape, Layout::Nhwc, Kind::Activation)
    }

    /// Positions of the maxima of pooled maps.
    pub fn argmax(&mut self, pooled: Shape) -> TensorId {
        self.temporary("argmax", argmax_shape(pooled), Layout::Words, Kind::Activation)
    }

    pub fn shape(&self, id: TensorId) -> Shape {
        self.program.tensor(id).shape
    }

    pub fn layout(&self, id: TensorId) -> Layout {
        self.program.tensor(id).layout
    }

    /// The parameter called `name`: made at first use, the same one later.
    pub fn parameter(&mut self, name: &str, shape: Shape, layout: Layout, init: Init) -> TensorId {
        // Training and evaluation share parameters.
        if let Some(known) = self.parameters.get(name) {
            return known.value;
        }
        if self.frozen {
            // Outside of the slab, all of which is updated.
            let value = self.program.add(name, shape, layout, Kind::Parameter);
            self.program.set_block(value, self.block);
            self.insert(name, [value; 4], shape, layout, init);
            return value;
        }
        let slabs = self.slabs[self.block];
        let mut member = |slab, suffix: &str| {
            self.program.add_member(slab, &format!("{name}{suffix}"), shape, layout)
        };
        let value = member(slabs.value, "");
        let [grad, m, v] = if self.trainable {
            [member(slabs.grad, ".grad"), member(slabs.m, ".m"), member(slabs.v, ".v")]
        } else {
            [value; 3]
        };
        if let Some(total) = slabs.total {
            self.program.add_member(total, &format!("{name}.total"), shape, layout);
        }
        self.insert(name, [value, grad, m, v], shape, layout, init);
        value
    }

    fn insert(
        &mut self,
        name: &str,
        [value, grad, m, v]: [TensorId; 4],
        shape: Shape,
        layout: Layout,
        init: Init,
    ) {
        let block = self.block;
        let Shape { n, h, w, c } = shape;
        let file_shape = if layout == Layout::Hwio { vec![c, w, n, h] } else { vec![c] };
        let parameter = Parameter { value, grad, m, v, block, init, file_shape };
        self.parameters.insert(name.to_owned(), parameter);
    }

    pub fn grad(&self, name: &str) -> TensorId {
        self.parameters[name].grad
    }

    fn running(&mut self, name: &str, channels: usize) -> TensorId {
        if let Some(known) = self.running.get(name) {
            return *known;
        }
        let shape = Shape::new(1, 1, 2, channels);
        let id = self.program.add(&format!("{name}.running"), shape, Layout::Nhwc, Kind::Parameter);
        self.program.set_block(id, self.block);
        self.running.insert(name.to_owned(), id);
        id
    }

    /// Adds the block's gradients to their sum over micro-batches.
    pub fn accumulate(&mut self, keep: TensorId, factor: f32) {
        let Slabs { grad, total, .. } = self.slabs[self.block];
        if let Some(total) = total {
            self.program.push(ops::Accumulate { x: grad, total, keep, factor });
        }
    }

    /// Updates all parameters of the block by gradients that are `scale` times too large.
    pub fn adamw(&mut self, step: TensorId, adamw: AdamW, scale: f32) {
        let Slabs { value, grad, m, v, total } = self.slabs[self.block];
        let grads = total.unwrap_or(grad);
        self.program.push(ops::AdamW { params: value, grads, m, v, step, adamw, scale });
    }

    /// Notes in value `at` of `out` whether the block's weights and their second moments are
    /// finite: a gradient that is too large for its square shows in the latter alone.
    pub fn check_finite(&mut self, out: TensorId, at: usize) {
        let Slabs { value, v, .. } = self.slabs[self.block];
        for x in [value, v] {
            self.program.push(ops::Finite { x, out, at });
        }
    }

    /// Runs layers forward; returns the output and, in training, what backward needs.
    pub fn forward(&mut self, layers: &[Layer], mut x: TensorId) -> Result<(TensorId, Vec<Saved>)> {
        let mut tape = Vec::new();
        for layer in layers {
            let (y, saved) = self.layer(layer, x)?;
            x = y;
            tape.extend(saved);
        }
        Ok((x, tape))
    }

    /// The layer's output, and what backward needs of it, if it is ever to be trained.
    fn layer(&mut self, layer: &Layer, x: TensorId) -> Result<(TensorId, Option<Saved>)> {
        let shape = self.shape(x);
        let output = |window: Window| {
            window.output(shape).ok_or_else(|| {
                Error::Model(format!(
                    "a {0}×{0} window does not fit maps of {1}×{2}; use larger images or a shallower network",
                    window.kernel, shape.h, shape.w
                ))
            })
        };
        let (y, saved) = match layer {
            Layer::Conv2d { name, out, window, bias } => {
                let y_shape = output(*window)?.with_c(*out);
                let y = self.like(x, name, y_shape);
                (y, self.conv2d(name, x, y, *window, *bias))
            }
            Layer::DepthwiseConv2d { name, window } => {
                let y = self.like(x, name, output(*window)?);
                (y, self.depthwise(name, x, y, *window))
            }
            Layer::BatchNorm { name, norm } => {
                let vector = Shape::vector(shape.c);
                let mut affine = |what: &str, value| {
                    let name = format!("{name}.{what}");
                    self.parameter(&name, vector, Layout::Nhwc, Init::Constant(value))
                };
                let (gamma, beta) = (affine("weight", 1.0), affine("bias", 0.0));
                let running = self.running(name, shape.c);
                let y = self.like(x, name, shape);
                let norm = *norm;
                if !self.training {
                    let residual = None;
                    self.program.push(ops::BatchNormEval {
                        x,
                        residual,
                        gamma,
                        beta,
                        running,
                        y,
                        norm,
                    });
                    return Ok((y, None));
                }
                let stats = self.exact("stats", Shape::new(1, 1, 2, shape.c));
                let name = name.clone();
                self.normalized.insert(y, Normalized { x, gamma, beta, stats, norm });
                self.program.push(ops::BatchNorm {
                    x,
                    residual: None,
                    gamma,
                    beta,
                    running,
                    stats,
                    y,
                    norm,
                });
                (y, Saved::BatchNorm { x, name, stats, norm })
            }
            Layer::Activation(act) => self.activate(x, *act),
            Layer::Dropout(_) if !self.training => return Ok((x, None)),
            Layer::Dropout(rate) => {
                let (layer, rate) = (self.dropouts, *rate);
                self.dropouts += 1;
                (self.dropout(x, layer, rate), Saved::Dropout { layer, rate })
            }
            Layer::MaxPool(window) => {
                let pooled = output(*window)?;
                let y = self.like(x, "pool", pooled);
                let argmax = self.argmax(pooled);
                self.program.push(ops::MaxPool { x, y, argmax, window: *window });
                (y, Saved::MaxPool { x: shape, argmax, window: *window })
            }
            Layer::GlobalAvgPool => (self.mean(x), Saved::AvgPool { x }),
            Layer::SqueezeExcite { name, hidden } => {
                let fc = |part: &str, out| {
                    let (name, window) = (format!("{name}.{part}"), Window::same(1, 1));
                    Layer::Conv2d { name, out, window, bias: true }
                };
                let relu = Layer::Activation(Activation::Relu);
                let mean = self.mean(x);
                let (s, gate) =
                    self.forward(&[fc("fc1", *hidden), relu, fc("fc2", shape.c)], mean)?;
                let y = self.excite(x, s);
                if self.training {
                    self.excited.insert(y, (x, s));
                }
                (y, Saved::SqueezeExcite { x, s, gate })
            }
            Layer::LayerNorm => {
                let norm = self.layer_norm(x, &mut Vec::new());
                (norm.y, Saved::LayerNorm(norm))
            }
            Layer::Frozen(layers) => {
                let training = std::mem::replace(&mut self.training, false);
                let frozen = std::mem::replace(&mut self.frozen, true);
                let result = self.forward(layers, x);
                (self.training, self.frozen) = (training, frozen);
                return Ok((result?.0, None));
            }
            Layer::Group(layers) => {
                let (y, tape) = self.forward(layers, x)?;
                (y, Saved::Group { x, tape })
            }
            Layer::Residual { body, shortcut } => {
                let (a, body) = self.forward(body, x)?;
                let (b, shortcut) = self.forward(shortcut, x)?;
                if self.shape(a) != self.shape(b) {
                    return Err(Error::Model(format!(
                        "a residual's body gives {} but its shortcut {}; give the shortcut a 1×1 convolution",
                        self.shape(a),
                        self.shape(b)
                    )));
                }
                if self.layout(a) != self.layout(b) {
                    return Err(Error::Model(
                        "a residual adds means to maps, which are not stored alike in float16; give body and shortcut a pool, or neither".into(),
                    ));
                }
                let y = self.add("sum", a, b);
                (y, Saved::Residual { body, shortcut })
            }
        };
        Ok((y, self.training.then_some(saved)))
    }

    /// A convolution into an existing tensor.
    pub fn conv2d(
        &mut self,
        name: &str,
        x: TensorId,
        y: TensorId,
        window: Window,
        bias: bool,
    ) -> Saved {
        let (from, to) = (self.shape(x), self.shape(y));
        let w = format!("{name}.weight");
        let weight = Shape::weight(window.kernel, from.c, to.c);
        // A layer with a bias is a linear one, and begins as those usually do.
        let fan_in = (window.kernel * window.kernel * from.c) as f32;
        let linear = Init::Uniform(1.0 / fan_in.sqrt());
        let init = if bias { linear } else { Init::Normal((2.0 / fan_in).sqrt()) };
        let wid = self.parameter(&w, weight, Layout::Hwio, init);
        let b = bias.then(|| format!("{name}.bias"));
        let vector = Shape::vector(to.c);
        let bid = b.as_ref().map(|b| self.parameter(b, vector, Layout::Nhwc, linear));
        self.program.push(ops::Conv2d { x, w: wid, bias: bid, y, window });
        Saved::Conv2d { x, w, bias: b, y: to, window }
    }

    /// Exact means over parts of maps, for maps of shape `to`.
    pub fn avg_pool(&mut self, x: TensorId, to: Shape) -> TensorId {
        let y = self.exact("mean", to);
        self.program.push(ops::AvgPool { x, y });
        y
    }

    /// The mean of each map.
    pub fn mean(&mut self, x: TensorId) -> TensorId {
        let shape = self.shape(x);
        self.avg_pool(x, Shape::rows(shape.n, shape.c))
    }

    /// The sum of two branches, or of two gradients of the same maps.
    pub fn add(&mut self, what: &str, a: TensorId, b: TensorId) -> TensorId {
        let y = self.like(a, what, self.shape(a));
        self.program.push(ops::Add { a, b, y });
        y
    }

    /// An activation of its own.
    pub fn activate(&mut self, x: TensorId, act: Activation) -> (TensorId, Saved) {
        // The slope of a ReLU is the same at its output, which the next layer often keeps.
        let at_output = act == Activation::Relu;
        let y = self.like(x, "activation", self.shape(x));
        self.program.push(ops::Activate { x, y, act });
        (y, Saved::Activation { x: if at_output { y } else { x }, act })
    }

    /// A convolution of each channel by itself into an existing tensor.
    pub fn depthwise(&mut self, name: &str, x: TensorId, y: TensorId, window: Window) -> Saved {
        let (k, to) = (window.kernel, self.shape(y));
        let name = format!("{name}.weight");
        let shape = Shape::weight(k, 1, to.c);
        let init = Init::Normal((2.0 / (k * k) as f32).sqrt());
        let w = self.parameter(&name, shape, Layout::Nhwc, init);
        if let Some(weight) = self.parameters.get_mut(&name) {
            weight.file_shape = vec![to.c, 1, k, k];
        }
        self.program.push(ops::Depthwise { x, w, y, window });
        Saved::Depthwise { x, w: name, y: to, window }
    }

    /// Maps, each scaled by what `s` says of it.
    pub fn excite(&mut self, x: TensorId, s: TensorId) -> TensorId {
        let y = self.like(x, "excited", self.shape(x));
        self.program.push(ops::Excite { x, s, y });
        y
    }

    /// Dropout, or its gradient.
    pub fn dropout(&mut self, x: TensorId, layer: u32, rate: f32) -> TensorId {
        let key = self.dropout_key.unwrap_or_else(|| {
            let name = format!("{}.dropout_key", self.prefix);
            self.program.add(&name, Shape::vector(2), Layout::Words, Kind::Io)
        });
        self.dropout_key = Some(key);
        let y = self.like(x, "dropout", self.shape(x));
        self.program.push(ops::Dropout { x, key, y, layer, rate });
        y
    }

    /// Layer norm of what the layers that left `tape` gave: the block's output as the next block
    /// sees it. A ReLU at the tape's end becomes part of it.
    pub fn layer_norm(&mut self, x: TensorId, tape: &mut Vec<Saved>) -> Norm {
        let shape = self.shape(x);
        let y = self.like(x, "n", shape);
        let stats = self.exact("n.stats", Shape::rows(shape.n, 2));
        self.program.push(ops::LayerNorm { x, y, stats });
        Norm { y, stats, relu: pop_relu(tape) }
    }
}
