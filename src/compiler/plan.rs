//! Memory plans: an address in one arena for every tensor.
//!
//! A plan is a pure function of a program and limits. Tensors that keep their value between steps come
//! first; above them, tensors that are never alive at the same time share bytes. An arena that is larger
//! than the largest buffer is split into several.

mod cells;
mod layout;
mod report;
mod verify;

pub use cells::Cell;
pub use report::{BlockPeak, LiveByKind, MemoryReport};
pub use verify::verify;

use std::fmt;
use std::ops::Range;

use self::cells::{cells, lifetimes};
use self::layout::{best_layout, height};
use crate::base::shape::ALIGNMENT;
use crate::compiler::program::Program;
use crate::compiler::tensor::TensorId;
use crate::{Error, Result};

/// Memory layout of a program.
#[derive(Clone, Debug)]
pub struct Plan {
    offsets: Vec<usize>,
    lifetimes: Vec<Option<Range<usize>>>,
    cells: Vec<Cell>,
    limits: Limits,
    /// Bytes of the arena: the peak.
    pub bytes: usize,
    /// Bytes at its start, for tensors that persist.
    pub persistent: usize,
    /// Largest sum of simultaneously live bytes: no layout can need less.
    pub lower_bound: usize,
}

/// Memory limits of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest buffer, in bytes.
    pub max_buffer: usize,
    /// Largest binding of a storage buffer, in bytes.
    pub max_binding: usize,
}

impl Limits {
    /// WebGPU's default limits, which every device has.
    pub const WEBGPU: Self = Self { max_buffer: 256 << 20, max_binding: 128 << 20 };
    /// No limits, to measure how much memory a program needs.
    pub const NONE: Self = Self { max_buffer: usize::MAX >> 1, max_binding: usize::MAX >> 1 };

    /// Size of an arena, bytes.
    fn arena(&self) -> usize {
        self.max_buffer / ALIGNMENT * ALIGNMENT
    }

    /// The lowest address from `at` on where `bytes` do not straddle two arenas.
    fn fit(&self, at: usize, bytes: usize) -> usize {
        let left = self.arena() - at % self.arena();
        if bytes > left { at + left } else { at }
    }
}

impl Plan {
    /// Lays out `program` for a device with these limits.
    ///
    /// # Errors
    /// [`Error::Limit`] if a tensor alone is larger than the device's largest buffer.
    pub fn new(program: &Program, limits: Limits) -> Result<Self> {
        Self::guarded(program, limits, 0)
    }

    /// The same with at least `guard` unused bytes after each live tensor. Writes to them show kernels
    /// that exceed their tensors.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn guarded(program: &Program, limits: Limits, guard: usize) -> Result<Self> {
        for t in program.ids().map(|id| program.tensor(id)) {
            if t.bytes() > limits.arena() {
                return Err(Error::Limit {
                    what: format!("{} ({})", t.name, t.shape),
                    needed: format!("{} MiB", t.bytes().div_ceil(1 << 20)),
                    available: format!("{} MiB in one buffer", limits.max_buffer >> 20),
                    advice: t.smaller(),
                });
            }
        }
        let lifetimes = lifetimes(program);
        let size = |id: TensorId| (program.tensor(id).bytes() + guard).next_multiple_of(ALIGNMENT);
        let mut offsets = vec![0; program.tensors().len()];
        let mut persistent = 0;
        for id in program.ids().filter(|id| program.tensor(*id).parent.is_none()) {
            if program.tensor(id).persists() {
                offsets[id.0] = limits.fit(persistent, size(id));
                persistent = offsets[id.0] + size(id);
            }
        }
        let cells = cells(program, &lifetimes, size);
        let live = |op: usize| -> usize {
            cells.iter().filter(|c| c.life.contains(&op)).map(|c| c.bytes).sum()
        };
        let bound = (0..program.ops().len()).map(live).max().unwrap_or(0);
        let base = |at: usize, bytes: usize| limits.fit(persistent + at, bytes) - persistent;
        let places = best_layout(&cells, bound, &base);
        for (cell, place) in cells.iter().zip(&places) {
            cell.tensors.iter().for_each(|id| offsets[id.0] = persistent + place);
        }
        for id in program.ids() {
            let (root, offset) = program.root(id);
            offsets[id.0] = offsets[root.0] + offset;
        }
        let bytes = persistent + height(&cells, &places);
        let lower_bound = persistent + bound;
        Ok(Self { offsets, lifetimes, cells, limits, bytes, persistent, lower_bound })
    }

    /// Bytes of each arena, [`Plan::bytes`] in total. All but the last have the size of the largest buffer.
    pub fn arenas(&self) -> Vec<usize> {
        let largest = self.limits.arena();
        (0..self.bytes).step_by(largest).map(|at| largest.min(self.bytes - at)).collect()
    }

    /// The arena that holds a tensor, and the tensor's first byte in it.
    pub fn place(&self, id: TensorId) -> (usize, usize) {
        let largest = self.limits.arena();
        (self.offsets[id.0] / largest, self.offsets[id.0] % largest)
    }

    /// Cells of memory above the tensors that persist.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// First byte of a tensor, counted through all arenas.
    pub fn offset(&self, id: TensorId) -> usize {
        self.offsets[id.0]
    }

    /// The ops during which a tensor holds its value; `None` if it persists or is never used. A member of a
    /// slab lives as long as the slab.
    pub fn lifetime(&self, id: TensorId) -> Option<Range<usize>> {
        self.lifetimes[id.0].clone()
    }

    /// The plan as a table, one line per tensor, in order of address.
    pub fn table<'a>(&'a self, program: &'a Program) -> impl fmt::Display + 'a {
        Table { plan: self, program }
    }
}

struct Table<'a> {
    plan: &'a Plan,
    program: &'a Program,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, program } = *self;
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
        write!(f, "{}", MemoryReport::new(program, plan, &[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shape::{Layout, Shape, Weight, Window};
    use crate::compiler::ops::{Activate, Add, Conv2d, MaxPool};
    use crate::compiler::tensor::Kind;
    use crate::net::layers::Activation;
    use proptest::prelude::*;

    /// Each op reads random earlier tensors and writes new ones; sums may be in place.
    fn random_program(steps: &[(usize, usize, usize, bool)]) -> Program {
        let mut program = Program::default();
        let shape = |size: usize| Shape::new(1, 1, size, 64);
        let mut made = vec![program.add("x", shape(1), Layout::Nhwc, Kind::Io)];
        for (i, (size, a, b, pool)) in steps.iter().enumerate() {
            let (a, b) = (made[a % made.len()], made[b % made.len()]);
            let y = program.add(&format!("t{i}"), shape(*size), Layout::Nhwc, Kind::Activation);
            if *pool {
                let argmax =
                    program.add(&format!("m{i}"), shape(*size), Layout::Words, Kind::Activation);
                let window = Window { kernel: 2, stride: 2, pad: 0 };
                program.push(MaxPool { x: a, y, argmax, window });
                made.push(argmax);
            } else {
                program.push(Add { a, b, y });
            }
            made.push(y);
        }
        program
    }

    proptest! {
        // The search for a good layout takes most of the time.
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_read_sees_the_last_write(
            steps in prop::collection::vec((1usize..5, 0usize..100, 0usize..100, any::<bool>()), 1..40),
            several: bool,
        ) {
            let program = random_program(&steps);
            // Arenas of five of the smallest tensors.
            let tight = Limits { max_buffer: 5 * 256, max_binding: 5 * 256 };
            let plan = Plan::new(&program, if several { tight } else { Limits::NONE }).unwrap();
            verify(&program, &plan).unwrap();
            prop_assert!(plan.bytes >= plan.lower_bound);
            prop_assert_eq!(plan.arenas().iter().sum::<usize>(), plan.bytes);
            for id in program.ids() {
                let (arena, at) = plan.place(id);
                prop_assert!(at + program.tensor(id).bytes() <= plan.arenas()[arena]);
            }
            for id in program.ids() {
                prop_assert_eq!(plan.offset(id) % ALIGNMENT, 0);
                prop_assert!(plan.offset(id) + program.tensor(id).bytes() <= plan.bytes);
            }
        }
    }

    #[test]
    fn wrong_plans_are_detected() {
        let steps = [(2, 0, 0, true), (2, 0, 0, false), (2, 1, 2, false), (2, 3, 3, false)];
        let program = random_program(&steps);
        let good = Plan::new(&program, Limits::NONE).unwrap();
        verify(&program, &good).unwrap();
        let mut detected = 0;
        for id in program.ids() {
            for place in program.ids() {
                let mut bad = good.clone();
                bad.offsets[id.0] = good.offset(place);
                detected += usize::from(verify(&program, &bad).is_err());
            }
        }
        assert!(detected > 5, "{detected}");
    }

    #[test]
    fn a_chain_of_ops_reuses_the_memory_of_two_tensors() {
        let mut program = Program::default();
        let mut x = program.add("x", Shape::vector(64), Layout::Nhwc, Kind::Io);
        let w = program.add("w", Weight::new(1, 64, 64), Layout::Hwio, Kind::Parameter);
        for i in 0..10 {
            let y =
                program.add(&format!("y{i}"), Shape::vector(64), Layout::Nhwc, Kind::Activation);
            let window = Window { kernel: 1, stride: 1, pad: 0 };
            program.push(Conv2d { x, w, bias: None, y, window });
            let z =
                program.add(&format!("z{i}"), Shape::vector(64), Layout::Nhwc, Kind::Activation);
            program.push(Activate { x: y, y: z, act: Activation::Relu });
            x = z;
        }
        let plan = Plan::new(&program, Limits::NONE).unwrap();
        let weight = program.tensor(w).bytes();
        assert_eq!((plan.bytes, plan.lower_bound), (weight + 3 * 256, weight + 3 * 256));
    }
}
