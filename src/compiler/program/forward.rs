//! Layers to ops, forward.

use super::emit::{Emitter, Init};
use super::tape::{Norm, Normalized, Saved, pop_relu};
use crate::base::shape::{Layout, Shape, Weight, Window};
use crate::compiler::ops;
use crate::compiler::tensor::{Kind, TensorId};
use crate::net::layers::{Activation, Layer};
use crate::{Error, Result};

impl Emitter {
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
        let weight = Weight::new(window.kernel, from.c, to.c);
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
        let shape = Weight::new(k, 1, to.c);
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
