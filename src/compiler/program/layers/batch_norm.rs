//! Batch norm.

use super::Forward;
use crate::base::shape::{Layout, Shape};
use crate::compiler::ops;
use crate::compiler::program::emit::{Emitter, Init, Normalized};
use crate::compiler::program::tape::Saved;
use crate::compiler::tensor::TensorId;
use crate::net::layers;

struct BatchNorm {
    x: TensorId,
    /// Prefix of the parameters.
    name: String,
    stats: TensorId,
    norm: layers::BatchNorm,
}

impl Emitter {
    /// Batch norm: by the batch's statistics in training, else by the running ones.
    pub(super) fn batch_norm(
        &mut self,
        name: &str,
        x: TensorId,
        norm: layers::BatchNorm,
    ) -> Forward {
        let shape = self.shape(x);
        let vector = Shape::vector(shape.c);
        let mut affine = |what: &str, value| {
            let name = format!("{name}.{what}");
            self.parameter(&name, vector, Layout::Nhwc, Init::Constant(value))
        };
        let (gamma, beta) = (affine("weight", 1.0), affine("bias", 0.0));
        let running = self.running(name, shape.c);
        let y = self.like(x, name, shape);
        let residual = None;
        if !self.training {
            self.program.push(ops::BatchNormEval { x, residual, gamma, beta, running, y, norm });
            return (y, None);
        }
        let stats = self.exact("stats", Shape::new(1, 1, 2, shape.c));
        self.normalized.insert(y, Normalized { x, gamma, beta, stats, norm });
        self.program.push(ops::BatchNorm { x, residual, gamma, beta, running, stats, y, norm });
        (y, Some(Box::new(BatchNorm { x, name: name.to_owned(), stats, norm })))
    }

    /// Recomputes the output of a batch norm in training.
    pub(super) fn normalize_again(&mut self, from: Normalized) -> TensorId {
        let Normalized { x, gamma, beta, stats, norm } = from;
        let y = self.like(x, "again", self.shape(x));
        // The batch's statistics take the place of the running ones.
        let (residual, running) = (None, stats);
        self.program.push(ops::BatchNormEval { x, residual, gamma, beta, running, y, norm });
        y
    }
}

impl Saved for BatchNorm {
    fn backward(&self, e: &mut Emitter, dy: TensorId, _need_dx: bool) -> Option<TensorId> {
        let &Self { x, ref name, stats, norm } = self;
        let shape = e.shape(x);
        let [weight, bias] =
            ["weight", "bias"].map(|p| e.parameters[&format!("{name}.{p}")].clone());
        let dx = e.like(x, "dx", shape);
        // `dx` depends on both sums, so they are computed even if no parameter needs them.
        let [dgamma, dbeta] = if e.weight_gradients {
            [weight.grad, bias.grad]
        } else {
            ["dgamma", "dbeta"].map(|what| e.exact(what, Shape::vector(shape.c)))
        };
        let (gamma, beta) = (weight.value, bias.value);
        e.program.push(ops::BatchNormGrad { x, dy, gamma, beta, stats, dx, dgamma, dbeta, norm });
        Some(dx)
    }

    fn replay(&self, e: &mut Emitter, x: TensorId, need_y: bool) -> (TensorId, Box<dyn Saved>) {
        let &Self { ref name, stats, norm, .. } = self;
        let mut y = x;
        if need_y {
            let [gamma, beta] =
                ["weight", "bias"].map(|p| e.parameters[&format!("{name}.{p}")].value);
            y = e.normalize_again(Normalized { x, gamma, beta, stats, norm });
        }
        (y, Box::new(Self { x, name: name.clone(), stats, norm }))
    }
}
