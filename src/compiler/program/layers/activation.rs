//! Activations.

use super::Forward;
use crate::compiler::ops;
use crate::compiler::program::emit::Emitter;
use crate::compiler::program::tape::Saved;
use crate::compiler::tensor::TensorId;
use crate::net::layers::Activation;

struct Activated {
    /// The input, or the output of a ReLU: its slope is the same there, and the next layer often
    /// keeps that anyway.
    at: TensorId,
    act: Activation,
}

impl Emitter {
    /// An activation on its own.
    pub(super) fn activation(&mut self, x: TensorId, act: Activation) -> Forward {
        let y = activate(self, x, act);
        (y, Some(Box::new(Activated::new(x, y, act))))
    }
}

fn activate(e: &mut Emitter, x: TensorId, act: Activation) -> TensorId {
    let y = e.like(x, "activation", e.shape(x));
    e.program.push(ops::Activate { x, y, act });
    y
}

impl Activated {
    fn new(x: TensorId, y: TensorId, act: Activation) -> Self {
        Self { at: if act == Activation::Relu { y } else { x }, act }
    }
}

impl Saved for Activated {
    fn backward(&self, e: &mut Emitter, dy: TensorId, need_dx: bool) -> Option<TensorId> {
        need_dx.then(|| {
            let x = e.recall(self.at);
            let dx = e.like(x, "dx", e.shape(x));
            e.program.push(ops::ActivateGrad { x, dy, dx, act: self.act });
            dx
        })
    }

    fn replay(&self, e: &mut Emitter, x: TensorId, need_y: bool) -> (TensorId, Box<dyn Saved>) {
        let act = self.act;
        let y = if need_y { activate(e, x, act) } else { x };
        (y, Box::new(Self::new(x, y, act)))
    }

    fn is_relu(&self) -> bool {
        self.act == Activation::Relu
    }
}
