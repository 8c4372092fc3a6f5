//! From ops to dispatches: which kernel, with which operands, parameters and grid.
//!
//! Pure data: nothing here needs a device.

mod lower;
mod params;

pub use lower::lower;

use crate::shaders::Definitions;
use crate::tensor::{Tensor, TensorId};
use crate::{Error, Result};

/// One permutation of one entry point; the key of a pipeline.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Kernel {
    /// File in `shaders/`, without extension.
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
    /// First byte within it; a multiple of [`crate::shape::ALIGNMENT`].
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

/// Register tile sizes. One set per family of devices; results differ by rounding only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tiles {
    /// Pixels per invocation of a convolution.
    pub pixels: u32,
    /// Groups of four output channels per invocation of a convolution, at most.
    pub columns: u32,
    /// Groups of four weight rows per invocation of a weight gradient, at most.
    pub rows: u32,
    /// Groups of four output channels per invocation of a weight gradient, at most.
    pub wgrad_columns: u32,
    /// Rows of pixels per invocation of a depthwise convolution, at most.
    pub depthwise_rows: u32,
    /// Columns of pixels per invocation of a depthwise convolution, at most.
    pub depthwise_columns: u32,
    /// Invocations that load for each other what several need; 1 if each loads for itself. The size
    /// of every subgroup, and a divisor of a workgroup's 64.
    pub share: u32,
}

impl Tiles {
    /// For GPUs: small enough to stay in registers.
    pub const GPU: Self = Self {
        pixels: 8,
        columns: 2,
        rows: 2,
        wgrad_columns: 2,
        depthwise_rows: 2,
        depthwise_columns: 4,
        share: 1,
    };
    /// For Vulkan on a CPU, where loads are slow and registers are memory anyway.
    pub const CPU: Self = Self {
        pixels: 16,
        columns: 4,
        rows: 4,
        wgrad_columns: 4,
        depthwise_rows: 4,
        depthwise_columns: 4,
        share: 1,
    };
}

impl Tiles {
    /// For Vulkan on a CPU with subgroups of so many invocations, if that divides a workgroup. A
    /// load is a loop over them there, also where all load the same, so weights are loaded once
    /// and handed round.
    pub fn sharing(subgroup: u32) -> Option<Self> {
        let shared = Self { columns: 8, wgrad_columns: 8, share: subgroup, ..Self::CPU };
        matches!(subgroup, 4 | 8 | 16 | 32 | 64).then_some(shared)
    }

    /// Those that suit a device: whether it is a CPU that runs large tiles well, and the size of its
    /// subgroups if all are alike.
    pub fn of(cpu: bool, subgroup: Option<u32>) -> Self {
        let own = if cpu { Self::CPU } else { Self::GPU };
        subgroup.filter(|_| cpu).and_then(Self::sharing).unwrap_or(own)
    }
}

/// What dispatches are made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Register tiles.
    pub tiles: Tiles,
    /// Largest range of a buffer that a kernel can see, in bytes.
    pub max_binding: usize,
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
    let t = tensor(tensors, operand.tensor);
    Err(Error::Limit {
        what: format!("{} ({})", t.name, t.shape),
        needed: format!("{} MiB", operand.bytes.div_ceil(1 << 20)),
        available: format!("{} MiB in one binding", max_binding >> 20),
        advice: t.smaller().to_owned(),
    })
}

/// Looks tensors up by id.
pub(crate) fn tensor(tensors: &[Tensor], id: TensorId) -> &Tensor {
    &tensors[id.0]
}
