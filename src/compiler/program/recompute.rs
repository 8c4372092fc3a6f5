//! Trading time for memory: forward values that are computed again when backward needs them.

use super::emit::Emitter;
use super::tape::{Normalized, Saved};
use crate::compiler::ops;
use crate::compiler::tensor::TensorId;
use crate::net::options::Recompute;

impl Emitter {
    /// A value for backward to read: the one of forward, or the same computed again.
    pub fn recall(&mut self, y: TensorId) -> TensorId {
        if self.recompute != Recompute::Cheap {
            return y;
        }
        if let Some(from) = self.normalized.get(&y).copied() {
            return self.normalize_again(from);
        }
        match self.excited.get(&y).copied() {
            Some((x, s)) => {
                let x = self.recall(x);
                self.excite(x, s)
            }
            None => y,
        }
    }

    fn normalize_again(&mut self, from: Normalized) -> TensorId {
        let Normalized { x, gamma, beta, stats, norm } = from;
        let y = self.like(x, "again", self.shape(x));
        // The batch's statistics stand in for the running ones.
        let (residual, running) = (None, stats);
        self.program.push(ops::BatchNormEval { x, residual, gamma, beta, running, y, norm });
        y
    }

    /// Runs the layers that left `tape` forward again, from `x`. The last layer's output is
    /// computed only if `need_y`.
    pub fn replay(&mut self, tape: &[Saved], x: TensorId, need_y: bool) -> (TensorId, Vec<Saved>) {
        let mut at = x;
        let mut fresh = Vec::new();
        for (index, saved) in tape.iter().enumerate() {
            let need_y = need_y || index + 1 < tape.len();
            let (y, saved) = self.replay_layer(saved, at, need_y);
            at = y;
            fresh.push(saved);
        }
        (at, fresh)
    }

    fn replay_layer(&mut self, saved: &Saved, x: TensorId, need_y: bool) -> (TensorId, Saved) {
        let emit = |e: &mut Self, like, shape, op: &dyn Fn(TensorId) -> ops::Op| {
            if !need_y {
                return x;
            }
            let y = e.like(like, "again", shape);
            e.program.push(op(y));
            y
        };
        match saved {
            Saved::Conv2d { w, bias, y: shape, window, .. } => {
                let weight = self.parameters[w].value;
                let b = bias.as_ref().map(|b| self.parameters[b].value);
                let window = *window;
                let y = emit(self, x, *shape, &|y| {
                    ops::Conv2d { x, w: weight, bias: b, y, window }.into()
                });
                (y, Saved::Conv2d { x, w: w.clone(), bias: bias.clone(), y: *shape, window })
            }
            Saved::BatchNorm { name, stats, norm, .. } => {
                let [gamma, beta] =
                    ["weight", "bias"].map(|p| self.parameters[&format!("{name}.{p}")].value);
                let (residual, stats, norm) = (None, *stats, *norm);
                let op = |y| {
                    ops::BatchNormEval { x, residual, gamma, beta, running: stats, y, norm }.into()
                };
                let y = emit(self, x, self.shape(x), &op);
                (y, Saved::BatchNorm { x, name: name.clone(), stats, norm })
            }
            Saved::Depthwise { w, y: shape, window, .. } => {
                let (weight, window) = (self.parameters[w].value, *window);
                let y =
                    emit(self, x, *shape, &|y| ops::Depthwise { x, w: weight, y, window }.into());
                (y, Saved::Depthwise { x, w: w.clone(), y: *shape, window })
            }
            Saved::Activation { act, .. } if need_y => self.activate(x, *act),
            Saved::Activation { act, .. } => (x, Saved::Activation { x, act: *act }),
            Saved::Dropout { layer, rate } => {
                let (layer, rate) = (*layer, *rate);
                let y = if need_y { self.dropout(x, layer, rate) } else { x };
                (y, Saved::Dropout { layer, rate })
            }
            Saved::LayerNorm { .. } => {
                let norm = self.layer_norm(x, &mut Vec::new());
                (norm.y, Saved::LayerNorm(norm))
            }
            Saved::SqueezeExcite { gate, .. } => {
                let mean = self.mean(x);
                let (s, gate) = self.replay(gate, mean, true);
                let y = if need_y { self.excite(x, s) } else { x };
                (y, Saved::SqueezeExcite { x, s, gate })
            }
            Saved::MaxPool { x: shape, window, .. } => {
                let pooled = window.output(*shape).unwrap_or(*shape);
                let y = self.like(x, "again", pooled);
                let argmax = self.argmax(pooled);
                self.program.push(ops::MaxPool { x, y, argmax, window: *window });
                (y, Saved::MaxPool { x: *shape, argmax, window: *window })
            }
            Saved::AvgPool { .. } => {
                let y = if need_y { self.mean(x) } else { x };
                (y, Saved::AvgPool { x })
            }
            Saved::Residual { body, shortcut } => {
                let (a, body) = self.replay(body, x, need_y);
                let (b, shortcut) = self.replay(shortcut, x, need_y);
                let y = if need_y { self.add("sum", a, b) } else { x };
                (y, Saved::Residual { body, shortcut })
            }
            Saved::Group { tape, .. } => {
                let (y, tape) = self.replay(tape, x, need_y);
                (y, Saved::Group { x, tape })
            }
        }
    }
}
