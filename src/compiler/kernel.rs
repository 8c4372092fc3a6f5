//! Dispatches as data: which kernel, with which operands, parameters and grid. What ops make them
//! with: tiles, slices of the batch, parameters. Nothing here needs a device.

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

/// A tensor, or some of its images, bound to a kernel's variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operand {
    /// Which tensor.
    pub tensor: TensorId,
    /// First byte within it; a multiple of [`crate::base::shape::ALIGNMENT`].
    pub offset: usize,
    /// Bytes bound.
    pub bytes: usize,
}

/// One dispatch of a kernel.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The pipeline.
    pub kernel: Kernel,
    /// Shader variable and what is bound to it.
    pub operands: Vec<(&'static str, Operand)>,
    /// The bytes of the uniform.
    pub params: Vec<u8>,
    /// Name, offset and size of each of the uniform's members, as Rust lays them out.
    pub members: &'static [(&'static str, usize, usize)],
    /// Invocations needed.
    pub threads: usize,
}

impl Dispatch {
    /// Columns and rows of workgroups, `workgroup` invocations in each.
    pub fn grid(&self, workgroup: u32) -> (u32, u32) {
        grid(self.threads, workgroup as usize)
    }
}

/// Columns and rows of workgroups for `threads` invocations, `workgroup` of them in each.
pub fn grid(threads: usize, workgroup: usize) -> (u32, u32) {
    /// Workgroups that a dispatch may have in one dimension, on any device.
    const MAX_GROUPS: usize = 65_535;
    let groups = threads.div_ceil(workgroup).max(1);
    let rows = groups.div_ceil(MAX_GROUPS);
    (groups.div_ceil(rows) as u32, rows as u32)
}

/// What dispatches are made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Register tiles.
    pub tiles: Tiles,
    /// Largest range of a buffer that a kernel can see, in bytes.
    pub max_binding: usize,
    /// Floating-point operations of products  that a dispatch may have;
    /// one image may have more.
    pub max_flops: u64,
    /// Steps that the loops of an invocation may take, all together.
    pub max_steps: usize,
}

impl Target {
    /// For a device without limits.
    pub fn unlimited(tiles: Tiles) -> Self {
        Self { tiles, max_binding: usize::MAX, max_flops: u64::MAX, max_steps: usize::MAX }
    }
}

/// Checks that no dispatch sees more than `max_binding` bytes of a tensor: what is still too large
/// after lowering cannot be cut along the batch.
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
