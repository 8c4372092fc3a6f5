//! Where each tensor lives: lifetimes laid out in one arena.
//!
//! A plan is a pure function of a program. Tensors that keep their value between steps come
//! first; above them, tensors that are never alive at the same time share bytes.

mod report;
mod verify;

pub use report::{BlockPeak, LiveByKind, MemoryReport};
pub use verify::verify;

use std::fmt;
use std::ops::Range;

use crate::base::random::hash;
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
    /// Bytes at its start that belong to tensors which keep their value.
    pub persistent: usize,
    /// Largest sum of simultaneously live bytes: no layout can need less.
    pub lower_bound: usize,
}

/// What a plan must respect of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest buffer, in bytes.
    pub max_buffer: usize,
    /// Largest range of a buffer that a kernel can see, in bytes.
    pub max_binding: usize,
}

impl Limits {
    /// What every WebGPU device has.
    pub const WEBGPU: Self = Self { max_buffer: 256 << 20, max_binding: 128 << 20 };
    /// No limits: how much memory would it take?
    pub const NONE: Self = Self { max_buffer: usize::MAX >> 1, max_binding: usize::MAX >> 1 };

    /// Bytes of a full arena.
    fn arena(&self) -> usize {
        self.max_buffer / ALIGNMENT * ALIGNMENT
    }

    /// The first place from `at` on where `bytes` do not straddle two arenas.
    fn fit(&self, at: usize, bytes: usize) -> usize {
        let left = self.arena() - at % self.arena();
        if bytes > left { at + left } else { at }
    }
}

/// Moves an address up to where so many bytes can start.
type Fit<'a> = dyn Fn(usize, usize) -> usize + 'a;

/// Tensors that hold the same bytes one after another: one, or several that are updated in place.
#[derive(Clone, Debug)]
pub struct Cell {
    /// In the order in which they hold it.
    pub tensors: Vec<TensorId>,
    /// The ops during which the bytes are in use.
    pub life: Range<usize>,
    /// How many there are.
    pub bytes: usize,
}

impl Cell {
    fn meets(&self, other: &Self) -> bool {
        self.life.start < other.life.end && other.life.start < self.life.end
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

    /// The same with at least `guard` bytes after each tensor that no other tensor has while it
    /// lives. What is found there shows whether kernels keep to their tensors.
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

    /// Bytes of each arena. Together they are [`Plan::bytes`]; all but the last are as large as a
    /// buffer may be.
    pub fn arenas(&self) -> Vec<usize> {
        let largest = self.limits.arena();
        (0..self.bytes).step_by(largest).map(|at| largest.min(self.bytes - at)).collect()
    }

    /// The arena that holds a tensor, and the tensor's first byte in it.
    pub fn place(&self, id: TensorId) -> (usize, usize) {
        let largest = self.limits.arena();
        (self.offsets[id.0] / largest, self.offsets[id.0] % largest)
    }

    /// What shares the arena above the tensors that persist.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// First byte of a tensor, counted through all arenas.
    pub fn offset(&self, id: TensorId) -> usize {
        self.offsets[id.0]
    }

    /// The ops during which a tensor holds its value; `None` if it keeps its value for ever or is
    /// never used. A member of a slab lives as long as the slab.
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
            if !program.tensor(root).persists() {
                lives[root.0].get_or_insert(index..index + 1).end = index + 1;
            }
        }
    }
    for id in program.ids() {
        lives[id.0] = lives[program.root(id).0.0].clone();
    }
    lives
}

/// Gathers tensors into cells: an op's output joins the cell of an input that it may overwrite
/// and that nothing reads afterwards.
fn cells(
    program: &Program,
    lifetimes: &[Option<Range<usize>>],
    size: impl Fn(TensorId) -> usize,
) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    let mut cell_of = vec![None; program.tensors().len()];
    for id in program.ids().filter(|id| program.tensor(*id).parent.is_none()) {
        if let Some(life) = lifetimes[id.0].clone() {
            cell_of[id.0] = Some(cells.len());
            cells.push(Cell { tensors: vec![id], life, bytes: size(id) });
        }
    }
    for (index, op) in program.ops().iter().enumerate() {
        for (out, input) in op.in_place() {
            let (Some(from), Some(to)) = (cell_of[out.0], cell_of[input.0]) else { continue };
            let fresh = cells[from].life.start == index && cells[from].tensors == [out];
            let dies = cells[to].life.end == index + 1;
            if from != to && fresh && dies && cells[from].bytes == cells[to].bytes {
                cells[to].life.end = cells[from].life.end;
                cells[to].tensors.push(out);
                cells[from].tensors.clear();
                cell_of[out.0] = Some(to);
            }
        }
    }
    cells.retain(|cell| !cell.tensors.is_empty());
    cells
}

/// The lowest layout that was found. Each places cells one by one at the lowest address that is
/// free during the cell's whole life; they differ in the order. Several orders are tried, and the
/// best is improved by placing a cell at the top earlier, or by swapping two that live while it does,
/// until it reaches `bound` or a fixed number of tries. All choices are the same at every call.
fn best_layout(cells: &[Cell], bound: usize, fit: &Fit) -> Vec<usize> {
    /// By bytes and by how crowded it gets while the cell lives, largest first or not.
    type Order = fn(&Cell, usize) -> (usize, usize);
    const ORDERS: [Order; 5] = [
        |c, _| (usize::MAX - c.bytes, c.life.start),
        |c, _| (usize::MAX - c.bytes.saturating_mul(c.life.len()), c.life.start),
        |c, _| (usize::MAX - c.life.len(), usize::MAX - c.bytes),
        |c, _| (c.life.start, usize::MAX - c.bytes),
        |c, crowd| (usize::MAX - crowd, usize::MAX - c.bytes),
    ];
    /// Pairs of cells that the search may look at: a fraction of a second.
    const EFFORT: usize = 10_000_000;

    let ops = cells.iter().map(|cell| cell.life.end).max().unwrap_or(0);
    let mut live = vec![0; ops];
    for cell in cells {
        live[cell.life.clone()].iter_mut().for_each(|bytes| *bytes += cell.bytes);
    }
    let crowd = |cell: &Cell| live[cell.life.clone()].iter().copied().max().unwrap_or(0);
    let crowds: Vec<usize> = cells.iter().map(crowd).collect();
    let sorted = ORDERS.map(|order| {
        let mut indices: Vec<usize> = (0..cells.len()).collect();
        indices.sort_by_key(|i| order(&cells[*i], crowds[*i]));
        indices
    });
    let meets = |cell: &Cell| (0..cells.len()).filter(|i| cells[*i].meets(cell)).collect();
    let meetings: Vec<Vec<usize>> = cells.iter().map(meets).collect();
    let lay = |order: Vec<usize>| {
        let places = first_fit(cells, &meetings, &order, fit);
        (height(cells, &places), order, places)
    };
    let Some(mut best) = sorted.into_iter().map(lay).min_by_key(|(height, ..)| *height) else {
        return Vec::new();
    };
    let tries = EFFORT / meetings.iter().map(Vec::len).sum::<usize>().max(1);
    for attempt in 0..tries.min(20000) {
        let (top, order, places) = &best;
        if *top <= bound {
            break;
        }
        let mut order = order.clone();
        let random = |key, below| hash([attempt as u64, key, 0, 0]) as usize % below;
        let at_top = |i: &usize| places[*i] + cells[*i].bytes == *top;
        let Some(from) = order.iter().position(at_top) else { break };
        if attempt % 3 == 0 {
            order[random(1, from + 1)..=from].rotate_right(1);
        } else {
            // Small cells leave no large gaps.
            let (high, gap) = (&cells[order[from]], *top - bound);
            let large = |i: &usize| cells[*i].meets(high) && 4 * cells[*i].bytes >= gap;
            let large: Vec<_> = (0..order.len()).filter(|at| large(&order[*at])).collect();
            let Some(last) = large.len().checked_sub(1).filter(|last| *last > 0) else { continue };
            order.swap(large[random(1, last + 1)], large[random(2, last + 1)]);
        }
        let next = lay(order);
        if next.0 <= best.0 {
            best = next;
        }
    }
    best.2
}

/// Places for all cells, in this order; `meetings` says for each cell which others live while it does.
fn first_fit(cells: &[Cell], meetings: &[Vec<usize>], order: &[usize], fit: &Fit) -> Vec<usize> {
    let mut places = vec![None; cells.len()];
    for index in order {
        let cell = &cells[*index];
        let taken = |other: &usize| places[*other].map(|at| at..at + cells[*other].bytes);
        let mut busy: Vec<Range<usize>> = meetings[*index].iter().filter_map(taken).collect();
        busy.sort_unstable_by_key(|range| range.start);
        let mut at = fit(0, cell.bytes);
        for range in busy {
            if at + cell.bytes <= range.start {
                break;
            }
            at = fit(at.max(range.end), cell.bytes);
        }
        places[*index] = Some(at);
    }
    places.into_iter().flatten().collect()
}

fn height(cells: &[Cell], places: &[usize]) -> usize {
    cells.iter().zip(places).map(|(cell, place)| place + cell.bytes).max().unwrap_or(0)
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

    /// Each op reads any earlier tensors and writes a new one, some of them in place if they may.
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
            // The second limit makes arenas of five of the smallest tensors.
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
    fn a_wrong_plan_is_noticed() {
        let steps = [(2, 0, 0, true), (2, 0, 0, false), (2, 1, 2, false), (2, 3, 3, false)];
        let program = random_program(&steps);
        let good = Plan::new(&program, Limits::NONE).unwrap();
        verify(&program, &good).unwrap();
        let mut noticed = 0;
        for id in program.ids() {
            for place in program.ids() {
                let mut bad = good.clone();
                bad.offsets[id.0] = good.offset(place);
                noticed += usize::from(verify(&program, &bad).is_err());
            }
        }
        assert!(noticed > 5, "{noticed}");
    }

    #[test]
    fn a_chain_needs_what_one_op_touches() {
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
