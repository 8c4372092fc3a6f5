//! Layer norm, as between blocks.

use crate::base::shape::Shape;
use crate::compiler::ops;
use crate::compiler::program::emit::Emitter;
use crate::compiler::program::tape::{Saved, Tape, pop_relu};
use crate::compiler::tensor::TensorId;

/// A layer norm, such as that at the end of a block.
#[derive(Clone, Copy)]
pub struct Norm {
    /// Its output.
    pub y: TensorId,
    /// Mean and reciprocal standard deviation of each image.
    stats: TensorId,
    /// Whether its input comes from a ReLU. Then `y` shows where that was 0, and the input need not
    /// be kept.
    relu: bool,
}

impl Emitter {
    /// Layer norm of the output `x` of the layers of `tape`. A ReLU at the end of the tape becomes
    /// part of the norm's backward.
    pub fn layer_norm(&mut self, x: TensorId, tape: &mut Tape) -> Norm {
        let shape = self.shape(x);
        let y = self.like(x, "n", shape);
        let stats = self.exact("n.stats", Shape::rows(shape.n, 2));
        self.program.push(ops::LayerNorm { x, y, stats });
        Norm { y, stats, relu: pop_relu(tape) }
    }
}

impl Norm {
    /// The gradient of the norm's input.
    pub fn grad(self, e: &mut Emitter, dy: TensorId) -> TensorId {
        let Self { y, stats, relu } = self;
        let dx = e.like(y, "dh", e.shape(y));
        e.program.push(ops::LayerNormGrad { y, dy, stats, dx, relu });
        dx
    }
}

impl Saved for Norm {
    fn backward(&self, e: &mut Emitter, dy: TensorId, need_dx: bool) -> Option<TensorId> {
        need_dx.then(|| self.grad(e, dy))
    }

    fn replay(&self, e: &mut Emitter, x: TensorId, _need_y: bool) -> (TensorId, Box<dyn Saved>) {
        let norm = e.layer_norm(x, &mut Tape::new());
        (norm.y, Box::new(norm))
    }
}
