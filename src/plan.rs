//! Where each tensor lives: lifetimes laid out in one arena.
//!
//! A plan is a pure function of a program. Tensors that keep their value between steps come
//! first; above them, tensors that are never alive at the same time share bytes.

use std::fmt;
use std::ops::Range;

use crate::program::Program;
use crate::shape::ALIGNMENT;
use crate::tensor::{Kind, TensorId};

/// Memory layout of a program.
#[derive(Clone, Debug)]
pub struct Plan {
    offsets: Vec<usize>,
    lifetimes: Vec<Option<Range<usize>>>,
    /// Bytes of the arena: the peak.
    pub bytes: usize,
    /// Bytes at its start that belong to tensors which keep their value.
    pub persistent: usize,
    /// Largest sum of simultaneously live bytes: no layout can need less.
    pub lower_bound: usize,
}

impl Plan {
    /// Lays out `program`.
    pub fn new(program: &Program) -> Self {
        let lifetimes = lifetimes(program);
        let size = |id: TensorId| program.tensor(id).bytes().next_multiple_of(ALIGNMENT);
        let mut offsets = vec![0; program.tensors().len()];
        let mut persistent = 0;
        let mut order: Vec<TensorId> = Vec::new();
        for id in program.ids().filter(|id| program.tensor(*id).parent.is_none()) {
            if program.tensor(id).kind.persists() {
                offsets[id.0] = persistent;
                persistent += size(id);
            } else if lifetimes[id.0].is_some() {
                order.push(id);
            }
        }
        // Large tensors first, each at the lowest place that is free during its whole life.
        order.sort_by_key(|id| (std::cmp::Reverse(size(*id)), *id));
        let mut placed: Vec<TensorId> = Vec::new();
        let mut bytes = persistent;
        for id in order {
            let life = lifetimes[id.0].clone().unwrap_or_default();
            let mut busy: Vec<Range<usize>> = placed
                .iter()
                .filter(|other| {
                    lifetimes[other.0]
                        .as_ref()
                        .is_some_and(|l| l.start < life.end && life.start < l.end)
                })
                .map(|other| offsets[other.0]..offsets[other.0] + size(*other))
                .collect();
            busy.sort_by_key(|range| range.start);
            let mut at = persistent;
            for range in busy {
                if at + size(id) <= range.start {
                    break;
                }
                at = at.max(range.end);
            }
            offsets[id.0] = at;
            bytes = bytes.max(at + size(id));
            placed.push(id);
        }
        for id in program.ids() {
            let (root, offset) = program.root(id);
            offsets[id.0] = offsets[root.0] + offset;
        }
        let live_at = |op: usize| -> usize {
            placed
                .iter()
                .filter(|id| lifetimes[id.0].as_ref().is_some_and(|l| l.contains(&op)))
                .map(|id| size(*id))
                .sum()
        };
        let peak = (0..program.ops().len()).map(live_at).max().unwrap_or(0);
        Self { offsets, lifetimes, bytes, persistent, lower_bound: persistent + peak }
    }

    /// First byte of a tensor in the arena.
    pub fn offset(&self, id: TensorId) -> usize {
        self.offsets[id.0]
    }

    /// The ops during which a tensor's memory is its own; `None` if it keeps its value for ever
    /// or is never used. A member of a slab lives as long as the slab.
    pub fn lifetime(&self, id: TensorId) -> Option<Range<usize>> {
        self.lifetimes[id.0].clone()
    }

    /// The plan as a table, one line per tensor, in order of address.
    pub fn table<'a>(&'a self, program: &'a Program) -> impl fmt::Display + 'a {
        Table { plan: self, program }
    }
}

/// First to last use of every tensor that does not persist.
fn lifetimes(program: &Program) -> Vec<Option<Range<usize>>> {
    let mut lives: Vec<Option<Range<usize>>> = vec![None; program.tensors().len()];
    for (index, op) in program.ops().iter().enumerate() {
        let access = op.access();
        for id in access.reads.into_iter().chain(access.writes).chain(access.scratch) {
            let (root, _) = program.root(id);
            if !program.tensor(root).kind.persists() {
                lives[root.0].get_or_insert(index..index + 1).end = index + 1;
            }
        }
    }
    for id in program.ids() {
        lives[id.0] = lives[program.root(id).0.0].clone();
    }
    lives
}

struct Table<'a> {
    plan: &'a Plan,
    program: &'a Program,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, program } = *self;
        let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
        let mut ids: Vec<_> =
            program.ids().filter(|id| program.tensor(*id).parent.is_none()).collect();
        ids.sort_by_key(|id| (plan.offset(*id), *id));
        writeln!(f, "{:>12} {:>12}  {:11} {:24} tensor", "offset", "bytes", "ops", "shape")?;
        for id in ids {
            let t = program.tensor(id);
            let life = match plan.lifetime(id) {
                Some(life) => format!("{}..{}", life.start, life.end),
                None => "always".to_owned(),
            };
            let (offset, bytes) = (plan.offset(id), t.bytes());
            writeln!(
                f,
                "{offset:>12} {bytes:>12}  {life:11} {:24} {}",
                t.shape.to_string(),
                t.name
            )?;
        }
        for kind in Kind::ALL {
            let live = |op: usize| -> usize {
                let alive = |id: &TensorId| match plan.lifetime(*id) {
                    Some(life) => life.contains(&op),
                    None => program.tensor(*id).kind.persists(),
                };
                program
                    .ids()
                    .filter(|id| program.tensor(*id).parent.is_none())
                    .filter(|id| program.tensor(*id).kind == kind && alive(id))
                    .map(|id| program.tensor(id).bytes())
                    .sum()
            };
            let most = (0..program.ops().len()).map(live).max().unwrap_or(0);
            writeln!(f, "{:>14} {:9.2} MiB at most at a time", format!("{kind:?}"), mib(most))?;
        }
        let over = 100.0 * (plan.bytes as f64 / plan.lower_bound.max(1) as f64 - 1.0);
        writeln!(f, "peak {:.2} MiB, {over:.1}% above the live bytes", mib(plan.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Op;
    use crate::shape::{Layout, Shape};
    use proptest::prelude::*;

    /// A chain with side branches: op i reads any earlier tensors and writes tensor i + 1.
    fn random_program(sizes: &[usize], reads: &[(usize, usize)]) -> Program {
        let mut program = Program::default();
        let shape = |size: usize| Shape::vector(size);
        let mut made = vec![program.add("x", shape(8), Layout::Nhwc, Kind::Io)];
        for (i, (size, (a, b))) in sizes.iter().zip(reads).enumerate() {
            let (a, b) = (made[a % made.len()], made[b % made.len()]);
            let y = program.add(&format!("t{i}"), shape(*size), Layout::Nhwc, Kind::Activation);
            program.push(Op::Add { a, b, y });
            made.push(y);
        }
        program
    }

    proptest! {
        #[test]
        fn tensors_alive_together_never_overlap(
            sizes in prop::collection::vec(1usize..2000, 1..40),
            reads in prop::collection::vec((0usize..100, 0usize..100), 40),
        ) {
            let program = random_program(&sizes, &reads);
            program.validate().unwrap();
            let plan = Plan::new(&program);
            let range = |id| plan.offset(id)..plan.offset(id) + program.tensor(id).bytes();
            for a in program.ids() {
                prop_assert_eq!(plan.offset(a) % ALIGNMENT, 0);
                prop_assert!(range(a).end <= plan.bytes);
                for b in program.ids().filter(|b| *b > a) {
                    let apart = range(a).end <= range(b).start || range(b).end <= range(a).start;
                    let together = match (plan.lifetime(a), plan.lifetime(b)) {
                        (Some(l), Some(m)) => l.start < m.end && m.start < l.end,
                        _ => true,
                    };
                    prop_assert!(apart || !together, "{:?} {:?}", a, b);
                }
            }
            prop_assert!(plan.bytes >= plan.lower_bound);
        }
    }

    #[test]
    fn a_chain_reuses_its_memory() {
        let mut program = Program::default();
        let mut x = program.add("x", Shape::vector(64), Layout::Nhwc, Kind::Io);
        for i in 0..10 {
            let y =
                program.add(&format!("y{i}"), Shape::vector(64), Layout::Nhwc, Kind::Activation);
            program.push(Op::Relu { x, y });
            x = y;
        }
        let plan = Plan::new(&program);
        assert_eq!((plan.bytes, plan.lower_bound), (3 * 256, 3 * 256));
    }
}
