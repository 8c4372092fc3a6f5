//! Sizes of the tiles that kernels compute.

/// Sizes of the tiles that kernels compute; results differ by rounding only.
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
    /// Rows of pixels that an invocation of a depthwise convolution goes down, at most.
    pub depthwise_rows: u32,
    /// Pixels side by side in each of these rows, at most.
    pub depthwise_columns: u32,
    /// Invocations that load for each other what several need; 1 if each loads for itself. The size
    /// of every subgroup, and a divisor of a workgroup's 64.
    pub share: u32,
    /// Invocations that share a sum of many terms, for a result that has few others beside it; 1 if
    /// none do. A divisor of a workgroup's 64.
    pub join: u32,
    /// Whether the pixels of an invocation lie side by side where the stride is 1, so that positions
    /// of the window share loads.
    pub rows_of_pixels: bool,
    /// Rows of eight invocations that together keep what a convolution multiplies in workgroup
    /// memory; 0 if each invocation loads from the maps. Tiles with more channels than there are
    /// results for become narrower.
    pub tall: u32,
    /// The matrices that multiply what is stored in float16, if any.
    pub matrices: Option<Matrices>,
}

/// Matrices that the invocations of a subgroup hold and multiply together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Matrices {
    /// Rows and columns of each: 8 or 16.
    pub side: u32,
    /// Invocations of a subgroup: 8, 16, 32 or 64.
    pub subgroup: u32,
    /// Whether plain arithmetic stands in for them: for tests of all that is around them, on devices
    /// that have none.
    pub emulated: bool,
}

/// Invocations side by side in a tile of workgroup memory: the rows that [`Tiles::tall`] counts.
pub const WIDE: u32 = 8;

impl Tiles {
    /// For GPUs: small enough to stay in registers.
    pub const GPU: Self = Self {
        pixels: 8,
        columns: 2,
        rows: 2,
        wgrad_columns: 2,
        depthwise_rows: 8,
        depthwise_columns: 4,
        share: 1,
        join: 16,
        rows_of_pixels: false,
        tall: 0,
        matrices: None,
    };
    /// For drivers that take minutes and gigabytes to compile larger ones.
    pub const SMALL: Self = Self {
        pixels: 2,
        columns: 1,
        rows: 1,
        wgrad_columns: 1,
        depthwise_columns: 1,
        join: 1,
        ..Self::GPU
    };
    /// For Vulkan on a CPU, where loads are slow and registers are memory anyway. Larger tiles take
    /// the driver seconds to compile, and spill.
    pub const CPU: Self = Self {
        pixels: 8,
        columns: 4,
        rows: 4,
        wgrad_columns: 4,
        depthwise_rows: 8,
        depthwise_columns: 4,
        share: 1,
        join: 1,
        rows_of_pixels: false,
        tall: 0,
        matrices: None,
    };
}

impl Tiles {
    /// For GPUs with fewer registers: half the channels.
    pub const NARROW: Self = Self { columns: 1, wgrad_columns: 1, ..Self::GPU };
    /// With tiles in workgroup memory, at most 12 KiB, as the others below: 64 pixels by 64 channels
    /// of results, by 64 invocations.
    pub const WORKGROUP_64X64: Self = Self { tall: 8, ..Self::GPU };
    /// 128 × 64, by 128 invocations.
    pub const WORKGROUP_128X64: Self = Self { tall: 16, ..Self::GPU };
    /// 64 × 32, by 64.
    pub const WORKGROUP_64X32: Self = Self { tall: 8, ..Self::NARROW };
    /// 32 × 32, by 64.
    pub const WORKGROUP_32X32: Self = Self { pixels: 4, rows: 1, ..Self::WORKGROUP_64X32 };

    /// With such matrices where maps are float16, and workgroup memory elsewhere.
    pub const fn cooperative(matrices: Matrices) -> Self {
        Self { matrices: Some(matrices), ..Self::WORKGROUP_64X64 }
    }

    /// The same with pixels side by side.
    pub const fn rows(self) -> Self {
        Self { rows_of_pixels: true, ..self }
    }

    /// For Vulkan on a CPU with subgroups of so many invocations, if that divides a workgroup. A
    /// load is a loop over them there, also where all load the same, so weights are loaded once
    /// and handed round.
    pub fn sharing(subgroup: u32) -> Option<Self> {
        let shared = Self { wgrad_columns: 8, share: subgroup, ..Self::CPU };
        matches!(subgroup, 4 | 8 | 16 | 32 | 64).then_some(shared)
    }
}
