//! Layers made of layers: groups, residuals and frozen layers.

use super::Forward;
use crate::compiler::ops;
use crate::compiler::program::emit::Emitter;
use crate::compiler::program::tape::{Saved, Tape};
use crate::compiler::tensor::TensorId;
use crate::net::layers::Layer;
use crate::net::options::Recompute;
use crate::{Error, Result};

struct Group {
    x: TensorId,
    tape: Tape,
}

struct Residual {
    body: Tape,
    shortcut: Tape,
}

impl Emitter {
    /// Layers in evaluation mode, whose parameters are not trained.
    pub(super) fn frozen(&mut self, layers: &[Layer], x: TensorId) -> Result<Forward> {
        let training = std::mem::replace(&mut self.training, false);
        let frozen = std::mem::replace(&mut self.frozen, true);
        let result = self.forward(layers, x);
        (self.training, self.frozen) = (training, frozen);
        Ok((result?.0, None))
    }

    pub(super) fn group(&mut self, layers: &[Layer], x: TensorId) -> Result<Forward> {
        let (y, tape) = self.forward(layers, x)?;
        Ok((y, Some(Box::new(Group { x, tape }))))
    }

    pub(super) fn residual(
        &mut self,
        body: &[Layer],
        shortcut: &[Layer],
        x: TensorId,
    ) -> Result<Forward> {
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
        Ok((y, Some(Box::new(Residual { body, shortcut }))))
    }

    /// The sum of two branches, or of two gradients of the same maps.
    pub fn add(&mut self, what: &str, a: TensorId, b: TensorId) -> TensorId {
        let y = self.like(a, what, self.shape(a));
        self.program.push(ops::Add { a, b, y });
        y
    }
}

impl Saved for Group {
    fn backward(&self, e: &mut Emitter, dy: TensorId, need_dx: bool) -> Option<TensorId> {
        if e.recompute == Recompute::Block {
            let (_, tape) = e.replay(&self.tape, self.x, false);
            return e.backward(&tape, dy, need_dx);
        }
        e.backward(&self.tape, dy, need_dx)
    }

    fn replay(&self, e: &mut Emitter, x: TensorId, need_y: bool) -> (TensorId, Box<dyn Saved>) {
        let (y, tape) = e.replay(&self.tape, x, need_y);
        (y, Box::new(Self { x, tape }))
    }

    fn sequence(&mut self) -> Option<&mut Tape> {
        Some(&mut self.tape)
    }
}

impl Saved for Residual {
    fn backward(&self, e: &mut Emitter, dy: TensorId, need_dx: bool) -> Option<TensorId> {
        let a = e.backward(&self.body, dy, need_dx);
        let b = e.backward(&self.shortcut, dy, need_dx);
        need_dx.then_some(())?;
        let (a, b) = (a?, b?);
        Some(e.add("dx", a, b))
    }

    fn replay(&self, e: &mut Emitter, x: TensorId, need_y: bool) -> (TensorId, Box<dyn Saved>) {
        let (a, body) = e.replay(&self.body, x, need_y);
        let (b, shortcut) = e.replay(&self.shortcut, x, need_y);
        let y = if need_y { e.add("sum", a, b) } else { x };
        (y, Box::new(Self { body, shortcut }))
    }
}
