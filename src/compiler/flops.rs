//! FLOPs of a program: products of maps and weights, two for each multiply-add. Ops with a constant
//! cost per value (norms, activations, pools, the optimiser) count in
//! [`crate::compiler::ops::Operation::operations`] only.

use std::ops::Range;

use crate::base::shape::Shape;
use crate::compiler::ops::Node;
use crate::compiler::program::{Feed, Program, Setup, build};
use crate::compiler::tensor::Tensors;
use crate::net::layers::Network;
use crate::net::options::TrainOptions;

/// Floating-point operations of some ops.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Flops {
    /// Total.
    pub total: u64,
    /// Part of the goodness heads.
    pub heads: u64,
}

impl Flops {
    /// Counts the ops of a program in `range`.
    pub fn count(program: &Program, range: Range<usize>) -> Self {
        let mut flops = Self::default();
        for op in &program.ops()[range] {
            let count = op.flops(Tensors(program.tensors()));
            flops.total += count;
            flops.heads += if is_head(op, program) { count } else { 0 };
        }
        flops
    }

    /// The heads' fraction of the total, 0 to 1.
    pub fn share(&self) -> f64 {
        self.heads as f64 / self.total.max(1) as f64
    }
}

/// FLOPs of a training step on one image of `side` × `side` pixels; `None` if the network does not
/// support this size.
pub fn step(network: &Network, side: usize) -> Option<Flops> {
    let setup = Setup {
        train: Some(Feed { batch: 1, resident: 1, stored: [side, side] }),
        ..Setup::new(Shape::new(1, side, side, 3), &TrainOptions::default())
    };
    let built = build(network, &setup).ok()?;
    Some(Flops::count(&built.program, built.train?.ops))
}

/// Whether an op uses parameters of a goodness head.
fn is_head(op: &Node, program: &Program) -> bool {
    let access = op.access();
    let mut all = access.reads.iter().chain(&access.writes);
    all.any(|id| program.tensor(*id).name.starts_with("aux."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shape::{Weight, Window};
    use crate::compiler::ops::{AvgPool, Conv2d, Conv2dDgrad, Depthwise, Goodness, Op};
    use crate::compiler::tensor::Kind;
    use crate::net::layers::{Head, Network};
    use crate::net::models::{Arch, Stem};
    use crate::net::options::Partition;

    #[test]
    fn flops_of_ops_match_a_count_by_hand() {
        use crate::base::shape::Layout::{Hwio, Nhwc};
        let mut program = Program::default();
        let mut maps = |n, h, w, c| program.add("", Shape::new(n, h, w, c), Nhwc, Kind::Io);
        let (x, y) = (maps(2, 5, 4, 3), maps(2, 3, 2, 7));
        let (depthwise, scores) = (maps(3, 3, 1, 3), maps(2, 1, 1, 70));
        let weight = program.add("", Weight::new(3, 3, 7), Hwio, Kind::Io);
        let one = program.add("", Weight::new(1, 3, 70), Hwio, Kind::Io);
        let window = Window::same(3, 2);
        let same = |kernel| Window::same(kernel, 1);
        let ops: [(Op, u64); 5] = [
            (Conv2d { x, w: weight, bias: None, y, window }.into(), 2 * 12 * 27 * 7),
            (Conv2dDgrad { dy: y, w: weight, dx: x, window }.into(), 2 * 12 * 27 * 7),
            (Depthwise { x, w: depthwise, y: x, window: same(3) }.into(), 2 * 40 * 9 * 3),
            // By Gram matrices, because there are many classes.
            (
                Goodness { x, w: one, scores, window: same(1), scale: 1.0 }.into(),
                2 * (40 * 9 + 2 * 70 * 9),
            ),
            (AvgPool { x, y: scores }.into(), 0),
        ];
        for (op, flops) in ops {
            assert_eq!(op.flops(Tensors(program.tensors())), flops, "{op:?}");
        }
    }

    /// The expected MFLOP were counted independently of this project, for class maps that are kept for
    /// the gradient. This engine recomputes them, which is subtracted.
    #[test]
    fn flops_of_networks_match_independent_counts() {
        for (arch, side, kernel, mflop) in [
            (Arch::Resnet18, 32, None, 3329.0),
            (Arch::Resnet18, 32, Some(1), 2844.0),
            (Arch::Resnet18, 32, Some(5), 3293.0),
            (Arch::MobilenetV3Small, 224, None, 322.0),
            (Arch::MobilenetV3Small, 224, Some(1), 292.0),
            (Arch::MobilenetV3Small, 224, Some(5), 830.0),
        ] {
            let (partition, head) = match kernel {
                Some(kernel) => (Partition::Block, Head::goodness(kernel)),
                None => (Partition::Whole, arch.classifier()),
            };
            let blocks = arch.blocks(&[], Stem::for_side(side), partition);
            let flops = step(&Network { blocks, head, classes: 10 }, side).unwrap();
            let recomputed = flops.heads / 4;
            let counted = (flops.total - recomputed) as f64 / 1e6;
            let what = format!("{arch:?}, {head:?}: {counted}, not {mflop}");
            assert!((counted / mflop - 1.0).abs() < 2e-3, "{what}");
        }
    }
}
