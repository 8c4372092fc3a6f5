//! Goodness heads: their ops, forward and backward.

use std::ops::Range;

use super::Program;
use super::emit::{Emitter, Init};
use super::tape::Tape;
use crate::base::shape::{Layout, Shape, Weight, Window};
use crate::compiler::ops::{self, Op};
use crate::compiler::tensor::{Kind, TensorId};
use crate::net::layers::{Goodness, Scale};

/// What a goodness head keeps from forward for backward.
pub struct Kept {
    /// The layers from the block's output to `x`.
    tape: Tape,
    /// Input of the convolution to class maps; `w` is the name of its weight.
    x: TensorId,
    w: String,
    window: Window,
    scale: Factor,
}

/// The factor on the goodness.
enum Factor {
    Fixed(f32),
    /// Name of the parameter with its logarithm, and the scaled scores.
    Learnable {
        name: String,
        scores: TensorId,
    },
}

impl Factor {
    /// The factor that the goodness op applies.
    fn fixed(&self) -> f32 {
        match self {
            Self::Fixed(scale) => *scale,
            Self::Learnable { .. } => 1.0,
        }
    }
}

impl Emitter {
    /// Goodness of every class, from a block's normalised output; writes `scores`. Parameters are
    /// called `{name}.…`.
    pub fn goodness(&mut self, name: &str, head: Goodness, n: TensorId, scores: TensorId) -> Kept {
        let (mut x, mut tape) = (n, Tape::new());
        let from = self.shape(n);
        if let Some(side) = head.pool.filter(|side| *side < from.h.max(from.w)) {
            let to = Shape::new(from.n, from.h.min(side), from.w.min(side), from.c);
            let (y, saved) = self.avg_pool(x, to);
            x = y;
            tape.push(saved);
        }
        let mut kernel = head.kernel;
        if head.separable {
            let (y, name) = (self.like(x, "depthwise", self.shape(x)), format!("{name}.depthwise"));
            tape.push(self.depthwise(&name, x, y, Window::same(kernel, 1)));
            if let Some(weight) = self.parameters.get_mut(&format!("{name}.weight")) {
                // Preserves the magnitude of maps, so that the goodness starts like that of a full head.
                weight.init = Init::Normal(1.0 / kernel as f32);
            }
            (x, kernel) = (y, 1);
        }
        let (shape, classes) = (self.shape(x), self.shape(scores).c);
        let w = format!("{name}.weight");
        let deviation = (2.0 / (kernel * kernel * shape.c) as f32).sqrt();
        let weight = Weight::new(kernel, shape.c, classes);
        let weight = self.parameter(&w, weight, Layout::Hwio, Init::Normal(deviation));
        let window = Window::same(kernel, 1);
        let scale = match head.scale {
            Scale::Fixed(scale) => {
                self.program.push(ops::Goodness { x, w: weight, scores, window, scale });
                Factor::Fixed(scale)
            }
            Scale::Learnable => {
                let goodness = self.like(scores, "goodness", self.shape(scores));
                self.program.push(ops::Goodness {
                    x,
                    w: weight,
                    scores: goodness,
                    window,
                    scale: 1.0,
                });
                let name = format!("{name}.log_scale");
                let start = Init::Constant(0.0);
                let log_scale = self.parameter(&name, Shape::vector(1), Layout::Nhwc, start);
                self.program.push(ops::ScaleScores { x: goodness, log_scale, y: scores });
                Factor::Learnable { name, scores }
            }
        };
        Kept { tape, x, w, window, scale }
    }

    /// Gradients of the head's parameters; returns that of the block's normalised output.
    pub fn goodness_backward(&mut self, kept: &Kept, mut dscores: TensorId) -> TensorId {
        let Kept { tape, x, w, window, scale } = kept;
        let (x, window) = (*x, *window);
        if let Factor::Learnable { name, scores } = scale {
            let shape = self.shape(dscores);
            let dx = self.like(dscores, "dgoodness", shape);
            self.program.push(ops::ScaleScoresGrad {
                y: *scores,
                dy: dscores,
                log_scale: self.parameters[name].value,
                dx,
                dlog_scale: self.grad(name),
            });
            dscores = dx;
        }
        let (shape, scale) = (self.shape(x), scale.fixed());
        let (dx, dw, w) = (self.like(x, "dn", shape), self.grad(w), self.parameters[w].value);
        self.program.push(ops::GoodnessGrad { x, w, dscores, dx, dw, window, scale });
        self.backward(tape, dx, true).unwrap_or(dx)
    }
}

/// Appends convolutions to the class maps of the goodness ops in `range`, which do not store these. Returns
/// the maps, a persistent tensor for each block, and the range of the convolutions.
pub fn class_maps(program: &mut Program, range: Range<usize>) -> (Vec<TensorId>, Range<usize>) {
    let heads = program.ops()[range].iter().filter_map(|node| match &node.op {
        Op::Goodness(goodness) => Some(goodness.clone()),
        _ => None,
    });
    let heads: Vec<_> = heads.collect();
    let first = program.ops().len();
    let mut maps = Vec::new();
    for (block, ops::Goodness { x, w, window, .. }) in heads.into_iter().enumerate() {
        let shape = program.tensor(x).shape.with_c(program.tensor(w).shape.c);
        let name = format!("class_maps.{block}");
        let y = program.add(&name, shape, Layout::Nhwc, Kind::Activation);
        program.set_block(y, block);
        program.keep(y);
        program.push(ops::Conv2d { x, w, bias: None, y, window });
        maps.push(y);
    }
    (maps, first..program.ops().len())
}
