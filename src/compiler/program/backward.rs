//! Backward through what forward kept.

use super::emit::Emitter;
use super::tape::{Norm, Saved};
use crate::base::shape::Shape;
use crate::compiler::ops;
use crate::compiler::tensor::TensorId;
use crate::net::options::Recompute;

impl Emitter {
    /// Runs backward through what forward kept. The gradient of the first input is computed
    /// only if `need_dx`.
    pub fn backward(&mut self, tape: &[Saved], dy: TensorId, need_dx: bool) -> Option<TensorId> {
        let mut gradient = Some(dy);
        for (index, saved) in tape.iter().enumerate().rev() {
            gradient = self.layer_backward(saved, gradient?, need_dx || index > 0);
        }
        gradient
    }

    fn layer_backward(&mut self, saved: &Saved, dy: TensorId, need_dx: bool) -> Option<TensorId> {
        match saved {
            Saved::Conv2d { x, w, bias, window, .. } => {
                let window = *window;
                if self.weight_gradients {
                    let x = self.recall(*x);
                    if let Some(bias) = bias {
                        let db = self.grad(bias);
                        self.program.push(ops::BiasGrad { dy, db });
                    }
                    let dw = self.grad(w);
                    self.program.push(ops::Conv2dWgrad { x, dy, dw, window });
                }
                need_dx.then(|| {
                    let dx = self.like(*x, "dx", self.shape(*x));
                    let w = self.parameters[w].value;
                    self.program.push(ops::Conv2dDgrad { dy, w, dx, window });
                    dx
                })
            }
            Saved::Depthwise { x, w, window, .. } => {
                let window = *window;
                if self.weight_gradients {
                    let x = self.recall(*x);
                    let dw = self.grad(w);
                    self.program.push(ops::DepthwiseWgrad { x, dy, dw, window });
                }
                need_dx.then(|| {
                    let dx = self.like(*x, "dx", self.shape(*x));
                    let w = self.parameters[w].value;
                    self.program.push(ops::DepthwiseDgrad { dy, w, dx, window });
                    dx
                })
            }
            Saved::BatchNorm { x, name, stats, norm } => {
                let shape = self.shape(*x);
                let [weight, bias] =
                    ["weight", "bias"].map(|p| self.parameters[&format!("{name}.{p}")].clone());
                let dx = self.like(*x, "dx", shape);
                // The way to `dx` needs both sums, wanted or not.
                let [dgamma, dbeta] = if self.weight_gradients {
                    [weight.grad, bias.grad]
                } else {
                    ["dgamma", "dbeta"].map(|what| self.exact(what, Shape::vector(shape.c)))
                };
                self.program.push(ops::BatchNormGrad {
                    x: *x,
                    dy,
                    gamma: weight.value,
                    beta: bias.value,
                    stats: *stats,
                    dx,
                    dgamma,
                    dbeta,
                    norm: *norm,
                });
                Some(dx)
            }
            Saved::Activation { x, act } => need_dx.then(|| {
                let x = self.recall(*x);
                let dx = self.like(x, "dx", self.shape(x));
                self.program.push(ops::ActivateGrad { x, dy, dx, act: *act });
                dx
            }),
            Saved::Dropout { layer, rate } => need_dx.then(|| self.dropout(dy, *layer, *rate)),
            Saved::SqueezeExcite { x, s, gate } => {
                let (x, s) = (self.recall(*x), *s);
                let ds = self.like(s, "ds", self.shape(s));
                self.program.push(ops::ExciteGrad { x, s, dy, ds });
                let dmean = self.backward(gate, ds, need_dx)?;
                let dx = self.like(x, "dx", self.shape(x));
                self.program.push(ops::SqueezeExciteGrad { s, dy, dmean, dx });
                Some(dx)
            }
            Saved::MaxPool { x, argmax, window } => need_dx.then(|| {
                let dx = self.like(dy, "dx", *x);
                self.program.push(ops::MaxPoolGrad { dy, argmax: *argmax, dx, window: *window });
                dx
            }),
            Saved::AvgPool { x } => need_dx.then(|| {
                let dx = self.like(*x, "dx", self.shape(*x));
                self.program.push(ops::AvgPoolGrad { dy, dx });
                dx
            }),
            Saved::LayerNorm(norm) => need_dx.then(|| self.layer_norm_grad(*norm, dy)),
            Saved::Group { x, tape } if self.recompute == Recompute::Block => {
                let (_, tape) = self.replay(tape, *x, false);
                self.backward(&tape, dy, need_dx)
            }
            Saved::Group { tape, .. } => self.backward(tape, dy, need_dx),
            Saved::Residual { body, shortcut } => {
                let a = self.backward(body, dy, need_dx);
                let b = self.backward(shortcut, dy, need_dx);
                need_dx.then_some(())?;
                let (a, b) = (a?, b?);
                Some(self.add("dx", a, b))
            }
        }
    }

    /// Backward through a block: its layer norm, if it has one, and the layers that left `tape`.
    /// Returns the gradient of the block's input if `need_dx`.
    pub fn block_backward(
        &mut self,
        tape: &[Saved],
        norm: Option<Norm>,
        mut dy: TensorId,
        need_dx: bool,
    ) -> Option<TensorId> {
        if let Some(norm) = norm {
            dy = self.layer_norm_grad(norm, dy);
        }
        self.backward(tape, dy, need_dx)
    }

    fn layer_norm_grad(&mut self, Norm { y, stats, relu }: Norm, dy: TensorId) -> TensorId {
        let dx = self.like(y, "dh", self.shape(y));
        self.program.push(ops::LayerNormGrad { y, dy, stats, dx, relu });
        dx
    }
}
