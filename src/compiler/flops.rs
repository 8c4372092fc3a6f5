//! How much arithmetic a program does: products of maps and weights, two operations for each
//! multiply-add. What costs a constant per value (norms, activations, pools, the optimiser) counts
//! in [`operations_of`] only.

use std::ops::Range;

use crate::base::shape::Shape;
use crate::compiler::ops::Op;
use crate::compiler::program::{Feed, Program, Setup, build};
use crate::compiler::tensor::{Tensor, TensorId};
use crate::net::layers::Network;
use crate::net::options::TrainOptions;

/// Floating-point operations of some ops.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Flops {
    /// All of them.
    pub total: u64,
    /// Those of the goodness heads.
    pub heads: u64,
}

impl Flops {
    /// Counts the ops of a program in `range`.
    pub fn count(program: &Program, range: Range<usize>) -> Self {
        let mut flops = Self::default();
        for op in &program.ops()[range] {
            let count = flops_of(op, program.tensors());
            flops.total += count;
            flops.heads += if is_head(op, program) { count } else { 0 };
        }
        flops
    }

    /// The heads' part of all.
    pub fn share(&self) -> f64 {
        self.heads as f64 / self.total.max(1) as f64
    }
}

/// The arithmetic of a step on one image with sides of `side` pixels; `None` if the network cannot
/// work on such images.
pub fn step(network: &Network, side: usize) -> Option<Flops> {
    let setup = Setup {
        train: Some(Feed { batch: 1, resident: 1, stored: [side, side] }),
        ..Setup::new(Shape::new(1, side, side, 3), &TrainOptions::default())
    };
    let built = build(network, &setup).ok()?;
    Some(Flops::count(&built.program, built.train?.ops))
}

/// Whether an op has to do with the parameters of a goodness head.
fn is_head(op: &Op, program: &Program) -> bool {
    let access = op.access();
    let mut all = access.reads.iter().chain(&access.writes);
    all.any(|id| program.tensor(*id).name.starts_with("aux."))
}

/// Floating-point operations of one op; `tensors` are the program's, by id.
pub fn flops_of(op: &Op, tensors: &[Tensor]) -> u64 {
    let shape = |id: TensorId| tensors[id.0].shape;
    let products = match *op {
        Op::Conv2d { w, y, .. } => convolution(shape(y), shape(w)),
        Op::Conv2dDgrad { dy, w, .. } => convolution(shape(dy), shape(w)),
        Op::Conv2dWgrad { dy, dw, .. } => convolution(shape(dy), shape(dw)),
        Op::Depthwise { w, y, .. } => convolution(shape(y), shape(w)),
        Op::DepthwiseDgrad { dy, w, .. } => convolution(shape(dy), shape(w)),
        Op::DepthwiseWgrad { dy, dw, .. } => convolution(shape(dy), shape(dw)),
        Op::Goodness { x, w, .. } => convolution(shape(x), shape(w)),
        // Class maps again, and two gradients from them.
        Op::GoodnessGrad { x, w, .. } => 3 * convolution(shape(x), shape(w)),
        Op::GramGoodness { x, w, .. } => gram(shape(x), shape(w)),
        // Gram matrices again, and as much from them.
        Op::GramGoodnessGrad { x, w, .. } => 2 * gram(shape(x), shape(w)),
        _ => 0,
    };
    2 * products as u64
}

/// The same, and where there are no products what the op does for each value: additions,
/// multiplications, divisions, roots and comparisons of its formula, each as one.
pub fn operations_of(op: &Op, tensors: &[Tensor]) -> u64 {
    let values = |id: TensorId| tensors[id.0].shape.elements();
    let operations = match *op {
        Op::Activate { y, .. }
        | Op::Add { y, .. }
        | Op::Dropout { y, .. }
        | Op::Excite { y, .. }
        | Op::ScaleScores { y, .. } => values(y),
        Op::ActivateGrad { dx, .. } | Op::ScaleScoresGrad { dx, .. } => 2 * values(dx),
        Op::MaxPool { y, window, .. } => values(y) * window.kernel * window.kernel,
        Op::MaxPoolGrad { dx, .. } | Op::AvgPoolGrad { dx, .. } => values(dx),
        Op::AvgPool { x, .. } => values(x),
        Op::BiasGrad { dy, .. } => values(dy),
        Op::ExciteGrad { x, .. } => 2 * values(x),
        Op::SqueezeExciteGrad { dx, .. } => 2 * values(dx),
        // Statistics take three, the rest is applied.
        Op::BatchNorm { x, residual, .. } => (6 + usize::from(residual.is_some())) * values(x),
        Op::BatchNormEval { x, residual, .. } => (3 + usize::from(residual.is_some())) * values(x),
        Op::BatchNormGrad { x, .. } => 11 * values(x),
        Op::LayerNorm { x, .. } => 5 * values(x),
        Op::LayerNormGrad { y, .. } => 7 * values(y),
        Op::CrossEntropy { scores, .. } => 4 * values(scores),
        Op::Metrics { scores, .. } => values(scores),
        Op::Accumulate { total, .. } => 2 * values(total),
        Op::AdamW { params, .. } => 15 * values(params),
        Op::Input { x, .. } => 2 * values(x),
        _ => return flops_of(op, tensors),
    };
    operations as u64
}

/// Multiply-adds of a convolution to maps `y`, or of one of its gradients.
fn convolution(y: Shape, weight: Shape) -> usize {
    y.pixels() * weight.elements()
}

/// Multiply-adds of all Gram matrices of `x`, and of a product of each with a 1×1 weight.
fn gram(x: Shape, weight: Shape) -> usize {
    (x.pixels() + x.n * weight.c) * x.c * x.c
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shape::Window;
    use crate::compiler::tensor::Kind;
    use crate::net::layers::{Head, Network};
    use crate::net::models::{self, Stem};
    use crate::net::options::Partition;

    #[test]
    fn products_are_counted_by_hand() {
        use crate::base::shape::Layout::{Hwio, Nhwc};
        let mut program = Program::default();
        let mut maps = |n, h, w, c| program.add("", Shape::new(n, h, w, c), Nhwc, Kind::Io);
        let (x, y) = (maps(2, 5, 4, 3), maps(2, 3, 2, 7));
        let (depthwise, scores, scratch) = (maps(3, 3, 1, 3), maps(2, 1, 1, 7), maps(1, 1, 1, 1));
        let weight = program.add("", Shape::weight(3, 3, 7), Hwio, Kind::Io);
        let one = program.add("", Shape::weight(1, 3, 7), Hwio, Kind::Io);
        let window = Window::same(3, 2);
        for (op, flops) in [
            (Op::Conv2d { x, w: weight, bias: None, y, window }, 2 * 12 * 27 * 7),
            (Op::Conv2dDgrad { dy: y, w: weight, dx: x, window }, 2 * 12 * 27 * 7),
            (Op::Depthwise { x, w: depthwise, y: x, window: Window::same(3, 1) }, 2 * 40 * 9 * 3),
            (
                Op::GramGoodness { x, w: one, scores, gram: scratch, scratch, scale: 1.0 },
                2 * (40 * 9 + 2 * 7 * 9),
            ),
            (Op::AvgPool { x, y: scores }, 0),
        ] {
            assert_eq!(flops_of(&op, program.tensors()), flops, "{op:?}");
        }
    }

    /// Next to figures in MFLOP that were counted independently of this project. Those keep class
    /// maps for the gradient, while ours are computed again.
    #[test]
    fn networks_cost_what_others_count() {
        for (arch, side, kernel, mflop) in [
            ("resnet18", 32, None, 3329.0),
            ("resnet18", 32, Some(1), 2844.0),
            ("resnet18", 32, Some(5), 3293.0),
            ("mobilenet-v3-small", 224, None, 322.0),
            ("mobilenet-v3-small", 224, Some(1), 292.0),
            ("mobilenet-v3-small", 224, Some(5), 830.0),
        ] {
            let (partition, head) = match kernel {
                Some(kernel) => (Partition::Block, Head::goodness(kernel)),
                None => (Partition::Whole, models::classifier(arch)),
            };
            let blocks = models::named(arch, &[], Stem::suiting(side), partition).unwrap();
            let flops = step(&Network { blocks, head, classes: 10 }, side).unwrap();
            let again = flops.heads / 4;
            let ours = (flops.total - again) as f64 / 1e6;
            assert!((ours / mflop - 1.0).abs() < 2e-3, "{arch}, {head:?}: {ours}, not {mflop}");
        }
    }
}
