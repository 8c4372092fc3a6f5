//! Lifetimes of tensors, and the cells of memory that they share by in-place ops.

use std::ops::Range;

use crate::compiler::program::Program;
use crate::compiler::tensor::TensorId;

/// Memory of one tensor, or of several in turn that in-place ops write over each other.
#[derive(Clone, Debug)]
pub struct Cell {
    /// In order of their lifetimes.
    pub tensors: Vec<TensorId>,
    /// The ops during which the bytes are in use.
    pub life: Range<usize>,
    /// Size in bytes, with the guard.
    pub bytes: usize,
}

impl Cell {
    /// Whether both are in use during an op.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.life.start < other.life.end && other.life.start < self.life.end
    }
}

/// First to last use of every tensor that does not persist, as a range of ops.
pub(super) fn lifetimes(program: &Program) -> Vec<Option<Range<usize>>> {
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
pub(super) fn cells(
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
