//! The tape: what the layers of a block keep from forward for backward.

use super::emit::Emitter;
use crate::Result;
use crate::compiler::tensor::TensorId;
use crate::net::layers::Layer;

/// What a layer keeps from forward for backward. Each kind of layer has its own, in `layers/`.
pub trait Saved {
    /// Emits backward from `dy`, the gradient of the layer's output: the gradients of its
    /// parameters and, if `need_dx`, that of its input, which is returned.
    fn backward(&self, e: &mut Emitter, dy: TensorId, need_dx: bool) -> Option<TensorId>;

    /// Emits forward again from `x`. Returns the output and what backward needs now. Without
    /// `need_y` the output is not computed, and `x` is returned in its place.
    fn replay(&self, e: &mut Emitter, x: TensorId, need_y: bool) -> (TensorId, Box<dyn Saved>);

    /// Whether the layer is a ReLU.
    fn is_relu(&self) -> bool {
        false
    }

    /// The tape of the layers inside, if they run in sequence.
    fn sequence(&mut self) -> Option<&mut Tape> {
        None
    }
}

/// The layers of a sequence, in the order of forward.
pub type Tape = Vec<Box<dyn Saved>>;

/// Removes a ReLU from the end of a tape, if there is one.
pub fn pop_relu(tape: &mut Tape) -> bool {
    match tape.last_mut() {
        Some(last) if last.is_relu() => tape.pop().is_some(),
        Some(last) => last.sequence().is_some_and(pop_relu),
        None => false,
    }
}

impl Emitter {
    /// Runs layers forward; returns the output and, in training, what backward needs.
    pub fn forward(&mut self, layers: &[Layer], mut x: TensorId) -> Result<(TensorId, Tape)> {
        let mut tape = Tape::new();
        for layer in layers {
            let (y, saved) = self.layer(layer, x)?;
            x = y;
            if self.training {
                tape.extend(saved);
            }
        }
        Ok((x, tape))
    }

    /// Runs backward through a tape. The gradient of the first layer's input is computed only if
    /// `need_dx`.
    pub fn backward(&mut self, tape: &Tape, dy: TensorId, need_dx: bool) -> Option<TensorId> {
        let mut gradient = Some(dy);
        for (index, saved) in tape.iter().enumerate().rev() {
            gradient = saved.backward(self, gradient?, need_dx || index > 0);
        }
        gradient
    }

    /// Runs the layers of a tape forward again, from `x`. The last layer's output is computed only
    /// if `need_y`.
    pub fn replay(&mut self, tape: &Tape, mut x: TensorId, need_y: bool) -> (TensorId, Tape) {
        let mut replayed = Tape::new();
        for (index, saved) in tape.iter().enumerate() {
            let (y, saved) = saved.replay(self, x, need_y || index + 1 < tape.len());
            x = y;
            replayed.push(saved);
        }
        (x, replayed)
    }
}
