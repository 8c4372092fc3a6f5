//! Fusion of adjacent ops into one.
//!
//! A batch norm absorbs the sum with the other branch of a residual, and the ReLU after that. The tensors
//! between them are removed.

use super::Program;
use crate::compiler::ops::{Activate, Add, BatchNorm, BatchNormEval, Op};
use crate::compiler::tensor::TensorId;
use crate::net::layers::{self, Activation};

impl Program {
    /// Fuses ops from `first` on, where the routine begins.
    pub(super) fn fuse(&mut self, first: usize) {
        let mut at = first;
        while at + 1 < self.ops.len() {
            match self.fused(first, at) {
                Some((op, between)) => {
                    self.ops[at].op = op;
                    self.ops.remove(at + 1);
                    self.tensors[between.0].fused = true;
                }
                None => at += 1,
            }
        }
    }

    /// The op at `at` fused with the next one, and the tensor between them, if nothing else reads that.
    fn fused(&self, first: usize, at: usize) -> Option<(Op, TensorId)> {
        let mut op = self.ops[at].op.clone();
        let norm = Norm::of(&mut op)?;
        let between = *norm.y;
        match self.ops[at + 1].op {
            Op::Add(Add { a, b, y }) if (a == between) != (b == between) => {
                norm.add(if a == between { b } else { a }, y)?;
            }
            Op::Activate(Activate { x, y, act }) if x == between => norm.activate(act, y)?,
            _ => return None,
        }
        let readers = self.ops[first..].iter().filter(|op| op.access().reads.contains(&between));
        (readers.count() == 1).then_some((op, between))
    }
}

/// A batch norm in training or evaluation.
struct Norm<'a> {
    residual: &'a mut Option<TensorId>,
    y: &'a mut TensorId,
    norm: &'a mut layers::BatchNorm,
}

impl<'a> Norm<'a> {
    fn of(op: &'a mut Op) -> Option<Self> {
        match op {
            Op::BatchNorm(BatchNorm { residual, y, norm, .. })
            | Op::BatchNormEval(BatchNormEval { residual, y, norm, .. }) => {
                Some(Self { residual, y, norm })
            }
            _ => None,
        }
    }

    fn add(self, other: TensorId, y: TensorId) -> Option<()> {
        if self.residual.is_some() || self.norm.act != Activation::None {
            return None;
        }
        (*self.residual, *self.y) = (Some(other), y);
        Some(())
    }

    /// Backward of a batch norm with a residual cannot recompute the input of the activation, and takes the
    /// slope from the output instead, which only a ReLU allows.
    fn activate(self, act: Activation, y: TensorId) -> Option<()> {
        if self.residual.is_none() || act != Activation::Relu {
            return None;
        }
        (self.norm.act, *self.y) = (act, y);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shape::{Layout, Shape};
    use crate::compiler::tensor::Kind;

    /// A batch norm, its sum with another tensor, a ReLU, and optionally another reader of the sum.
    fn residual(read_sum: bool) -> Program {
        let mut program = Program::default();
        let maps = Shape::new(1, 2, 2, 4);
        let mut add = |name, shape, kind| program.add(name, shape, Layout::Nhwc, kind);
        let (x, other) = (add("x", maps, Kind::Io), add("other", maps, Kind::Io));
        let [gamma, beta] = ["gamma", "beta"].map(|n| add(n, Shape::vector(4), Kind::Parameter));
        let running = add("running", Shape::new(1, 1, 2, 4), Kind::Parameter);
        let [normed, sum, y, z] =
            ["normed", "sum", "y", "z"].map(|name| add(name, maps, Kind::Activation));
        let norm = layers::BatchNorm { eps: 1e-5, momentum: 0.1, act: Activation::None };
        let residual = None;
        program.push(BatchNormEval { x, residual, gamma, beta, running, y: normed, norm });
        program.push(Add { a: other, b: normed, y: sum });
        program.push(Activate { x: sum, y, act: Activation::Relu });
        if read_sum {
            program.push(Activate { x: sum, y: z, act: Activation::HardSwish });
        }
        program
    }

    #[test]
    fn a_batch_norm_absorbs_sum_and_relu() {
        let mut program = residual(false);
        program.fuse(0);
        let [op] = program.ops() else { panic!("{program}") };
        let Op::BatchNormEval(BatchNormEval { residual, y, norm, .. }) = &op.op else {
            panic!("{program}")
        };
        let name = |id: TensorId| program.tensor(id).name.as_str();
        assert_eq!((residual.map(name), name(*y)), (Some("other"), "y"));
        assert_eq!(norm.act, Activation::Relu);
        assert!(program.ids().all(|id| !["normed", "sum"].contains(&name(id))));
        program.validate().unwrap();
    }

    #[test]
    fn tensors_with_other_readers_are_kept() {
        let mut program = residual(true);
        program.fuse(0);
        let names: Vec<_> = program.ops().iter().map(|op| op.name()).collect();
        assert_eq!(names, ["batch_norm_eval", "activate", "activate"]);
        program.validate().unwrap();
    }
}
