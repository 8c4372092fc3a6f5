//! Dispatches as data: kernel, operands, parameters and grid; and what ops build them from: tiles,
//! slices of the batch, parameter structs. Nothing here needs a device.

mod convolution;
mod lowering;
pub mod params;
mod tiles;

pub use convolution::{Tile, Wgrad, conv, cut_params};
pub use lowering::{Lowering, Named, Permutation, Slice, activation, to_u32};
pub use tiles::{Matrices, Tiles};

use crate::compiler::tensor::{Tensor, TensorId};
use crate::compiler::wgsl::Definitions;
use crate::{Error, Result};

/// One permutation of one entry point; the key of a pipeline.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Kernel {
    /// Name of the file in `shaders/`, without folder and extension.
    pub file: &'static str,
    /// Entry point.
    pub entry: &'static str,
    /// Tile sizes and flags.
    pub definitions: Definitions,
}

/// A tensor, or a slice of its images, that is bound to a shader variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operand {
    /// The tensor.
    pub tensor: TensorId,
    /// First byte within it; a multiple of [`crate::base::shape::ALIGNMENT`].
    pub offset: usize,
    /// Size of the binding, bytes.
    pub bytes: usize,
}

/// One dispatch of a kernel.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The kernel.
    pub kernel: Kernel,
    /// Shader variables and their operands.
    pub operands: Vec<(&'static str, Operand)>,
    /// The bytes of the uniform.
    pub params: Vec<u8>,
    /// Name, offset and size of each of the uniform's members, as Rust lays them out.
    pub members: &'static [(&'static str, usize, usize)],
    /// Number of invocations; the grid rounds it up to whole workgroups.
    pub threads: usize,
}

impl Dispatch {
    /// Columns and rows of workgroups of `workgroup` invocations.
    pub fn grid(&self, workgroup: u32) -> (u32, u32) {
        grid(self.threads, workgroup as usize)
    }
}

/// Columns and rows of workgroups for `threads` invocations, with `workgroup` in each.
pub fn grid(threads: usize, workgroup: usize) -> (u32, u32) {
    /// Workgroups per dimension of a dispatch that every device supports.
    const MAX_GROUPS: usize = 65_535;
    let groups = threads.div_ceil(workgroup).max(1);
    let rows = groups.div_ceil(MAX_GROUPS);
    (groups.div_ceil(rows) as u32, rows as u32)
}

/// The tiles and limits that ops are lowered for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Sizes of tiles.
    pub tiles: Tiles,
    /// Largest binding of a storage buffer, bytes.
    pub max_binding: usize,
    /// Most FLOPs of products per dispatch. A single image may exceed it.
    pub max_flops: u64,
    /// Most loop iterations per invocation, in total.
    pub max_steps: usize,
}

impl Target {
    /// Without limits.
    pub fn unlimited(tiles: Tiles) -> Self {
        Self { tiles, max_binding: usize::MAX, max_flops: u64::MAX, max_steps: usize::MAX }
    }
}

/// Checks that no binding is larger than `max_binding` bytes. Lowering cuts along the batch only, so a
/// weight or a single image may be.
///
/// # Errors
/// [`Error::Limit`] names the tensor.
pub fn check_bindings(
    tensors: &[Tensor],
    dispatches: &[Dispatch],
    max_binding: usize,
) -> Result<()> {
    let mut operands = dispatches.iter().flat_map(|d| &d.operands).map(|(_, operand)| operand);
    let Some(operand) = operands.find(|o| o.bytes > max_binding) else { return Ok(()) };
    let t = &tensors[operand.tensor.0];
    Err(Error::Limit {
        what: format!("{} ({})", t.name, t.shape),
        needed: format!("{} MiB", operand.bytes.div_ceil(1 << 20)),
        available: format!("{} MiB in one binding", max_binding >> 20),
        advice: t.smaller().to_owned(),
    })
}
