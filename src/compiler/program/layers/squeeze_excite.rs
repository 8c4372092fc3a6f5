//! Squeeze-and-excitation (Hu et al., arXiv 1709.01507).

use super::Forward;
use crate::Result;
use crate::base::shape::Window;
use crate::compiler::ops;
use crate::compiler::program::emit::Emitter;
use crate::compiler::program::tape::{Saved, Tape};
use crate::compiler::tensor::TensorId;
use crate::net::layers::{Activation, Layer};

struct SqueezeExcite {
    x: TensorId,
    /// The excitations before the hard-sigmoid.
    s: TensorId,
    /// The layers from the means to `s`.
    gate: Tape,
}

impl Emitter {
    pub(super) fn squeeze_excite(
        &mut self,
        name: &str,
        hidden: usize,
        x: TensorId,
    ) -> Result<Forward> {
        let fc = |part: &str, out| {
            let (name, window) = (format!("{name}.{part}"), Window::same(1, 1));
            Layer::Conv2d { name, out, window, bias: true }
        };
        let relu = Layer::Activation(Activation::Relu);
        let layers = [fc("fc1", hidden), relu, fc("fc2", self.shape(x).c)];
        let mean = self.mean(x);
        let (s, gate) = self.forward(&layers, mean)?;
        let y = self.excite(x, s);
        if self.training {
            self.excited.insert(y, (x, s));
        }
        Ok((y, Some(Box::new(SqueezeExcite { x, s, gate }))))
    }

    /// Each map of `x`, times the hard-sigmoid of its value of `s`.
    pub(super) fn excite(&mut self, x: TensorId, s: TensorId) -> TensorId {
        let y = self.like(x, "excited", self.shape(x));
        self.program.push(ops::Excite { x, s, y });
        y
    }
}

impl Saved for SqueezeExcite {
    fn backward(&self, e: &mut Emitter, dy: TensorId, need_dx: bool) -> Option<TensorId> {
        let (x, s) = (e.recall(self.x), self.s);
        let ds = e.like(s, "ds", e.shape(s));
        e.program.push(ops::ExciteGrad { x, s, dy, ds });
        let dmean = e.backward(&self.gate, ds, need_dx)?;
        let dx = e.like(x, "dx", e.shape(x));
        e.program.push(ops::SqueezeExciteGrad { s, dy, dmean, dx });
        Some(dx)
    }

    fn replay(&self, e: &mut Emitter, x: TensorId, need_y: bool) -> (TensorId, Box<dyn Saved>) {
        let mean = e.mean(x);
        let (s, gate) = e.replay(&self.gate, mean, true);
        let y = if need_y { e.excite(x, s) } else { x };
        (y, Box::new(Self { x, s, gate }))
    }
}
