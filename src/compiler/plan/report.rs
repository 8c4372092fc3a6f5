//! Memory of a plan, by kind of tensor and by block.

use std::fmt;

use serde::Serialize;

use super::Plan;
use crate::compiler::program::Program;
use crate::compiler::tensor::Kind;

/// Memory of a plan, in bytes. Tensors that share memory by in-place ops count once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MemoryReport {
    /// Bytes of the arena.
    pub peak_bytes: usize,
    /// Largest sum of simultaneously live bytes.
    pub lower_bound_bytes: usize,
    /// Peak of each kind by itself.
    pub max_live_by_kind: LiveByKind,
    /// Peak of activations and workspace together.
    pub activations_and_workspace: usize,
    /// Peak of each block.
    pub blocks: Vec<BlockPeak>,
}

/// Most live bytes of each kind at a time.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize)]
pub struct LiveByKind {
    /// Weights and running statistics.
    pub parameters: usize,
    /// AdamW's moments.
    pub optimizer: usize,
    /// Gradients of parameters.
    pub param_gradients: usize,
    /// Forward values and their gradients.
    pub activations: usize,
    /// Scratch of single ops.
    pub workspace: usize,
    /// Images, labels and metrics.
    pub io: usize,
}

/// Most live bytes during the ops of one block, without tensors that persist.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BlockPeak {
    /// The block's name.
    pub name: String,
    /// Bytes.
    pub peak_bytes: usize,
}

impl MemoryReport {
    /// The report of a plan; `blocks` are the names of the program's blocks.
    pub fn new(program: &Program, plan: &Plan, blocks: &[String]) -> Self {
        let ops = program.ops().len();
        let kind = |cell: &super::Cell| program.tensor(cell.tensors[0]).kind;
        let most = |wanted: &[Kind]| -> usize {
            let persistent: usize = program
                .tensors()
                .iter()
                .filter(|t| t.parent.is_none() && t.persists() && wanted.contains(&t.kind))
                .map(crate::compiler::tensor::Tensor::bytes)
                .sum();
            let live = |op| -> usize {
                let alive = plan.cells.iter().filter(|c| c.life.contains(&op));
                alive.filter(|c| wanted.contains(&kind(c))).map(|c| c.bytes).sum()
            };
            persistent + (0..ops).map(live).max().unwrap_or(0)
        };
        let block_of = |op: usize| {
            program.ops()[op].access().writes.iter().find_map(|id| program.tensor(*id).block)
        };
        let live = |op: &usize| -> usize {
            plan.cells.iter().filter(|c| c.life.contains(op)).map(|c| c.bytes).sum()
        };
        let blocks = blocks
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let own = (0..ops).filter(|op| block_of(*op) == Some(index));
                let peak_bytes = own.map(|op| live(&op)).max().unwrap_or(0);
                BlockPeak { name: name.clone(), peak_bytes }
            })
            .collect();
        Self {
            peak_bytes: plan.bytes,
            lower_bound_bytes: plan.lower_bound,
            max_live_by_kind: LiveByKind {
                parameters: most(&[Kind::Parameter]),
                optimizer: most(&[Kind::Optimizer]),
                param_gradients: most(&[Kind::ParamGradient]),
                activations: most(&[Kind::Activation]),
                workspace: most(&[Kind::Workspace]),
                io: most(&[Kind::Io]),
            },
            activations_and_workspace: most(&[Kind::Activation, Kind::Workspace]),
            blocks,
        }
    }

    /// How far the peak is above the lower bound, as a fraction of that.
    pub fn overhead(&self) -> f64 {
        self.peak_bytes as f64 / self.lower_bound_bytes.max(1) as f64 - 1.0
    }
}

impl fmt::Display for MemoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = &self.max_live_by_kind;
        let rows = [
            ("parameters", kinds.parameters),
            ("optimiser state", kinds.optimizer),
            ("parameter gradients", kinds.param_gradients),
            ("activations", kinds.activations),
            ("workspace", kinds.workspace),
            ("images and metrics", kinds.io),
        ];
        let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
        for (name, bytes) in rows {
            writeln!(f, "{name:20} {:9.2} MiB at most at a time", mib(bytes))?;
        }
        for BlockPeak { name, peak_bytes } in &self.blocks {
            writeln!(f, "{:20} {:9.2} MiB", format!("peak of {name}"), mib(*peak_bytes))?;
        }
        let (peak, bound) = (mib(self.peak_bytes), mib(self.lower_bound_bytes));
        let over = 100.0 * self.overhead();
        write!(
            f,
            "{:20} {peak:9.2} MiB, {over:.2}% above the {bound:.2} MiB of live bytes",
            "arena"
        )
    }
}
