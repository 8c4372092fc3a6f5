//! Dropout.

use super::Forward;
use crate::base::shape::{Layout, Shape};
use crate::compiler::ops;
use crate::compiler::program::emit::Emitter;
use crate::compiler::program::tape::Saved;
use crate::compiler::tensor::{Kind, TensorId};

struct Dropout {
    /// Index among the dropout layers of the routine.
    layer: u32,
    rate: f32,
}

impl Emitter {
    /// Dropout in training, the identity in evaluation.
    pub(super) fn dropout(&mut self, x: TensorId, rate: f32) -> Forward {
        if !self.training {
            return (x, None);
        }
        let dropout = Dropout { layer: self.dropouts, rate };
        self.dropouts += 1;
        (dropout.emit(self, x), Some(Box::new(dropout)))
    }
}

impl Dropout {
    /// Drops values of `x`, which may be the gradient: the same ones for the same key and layer.
    fn emit(&self, e: &mut Emitter, x: TensorId) -> TensorId {
        let key = e.dropout_key.unwrap_or_else(|| {
            let name = format!("{}.dropout_key", e.prefix);
            e.program.add(&name, Shape::vector(2), Layout::Words, Kind::Io)
        });
        e.dropout_key = Some(key);
        let y = e.like(x, "dropout", e.shape(x));
        e.program.push(ops::Dropout { x, key, y, layer: self.layer, rate: self.rate });
        y
    }
}

impl Saved for Dropout {
    fn backward(&self, e: &mut Emitter, dy: TensorId, need_dx: bool) -> Option<TensorId> {
        need_dx.then(|| self.emit(e, dy))
    }

    fn replay(&self, e: &mut Emitter, x: TensorId, need_y: bool) -> (TensorId, Box<dyn Saved>) {
        let y = if need_y { self.emit(e, x) } else { x };
        (y, Box::new(Self { layer: self.layer, rate: self.rate }))
    }
}
