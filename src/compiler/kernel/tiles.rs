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
    /// Rows of output pixels per invocation of a depthwise convolution, at most.
    pub depthwise_rows: u32,
    /// Output pixels in each of these rows, at most.
    pub depthwise_columns: u32,
    /// Invocations that share loads through their subgroup; 1 if each loads for itself. It is the size of
    /// every subgroup, and divides the 64 invocations of a workgroup.
    pub share: u32,
    /// JOIN: invocations that share each sum of many terms where there are few results; 1 for none. It
    /// divides the 64 invocations of a workgroup.
    pub join: u32,
    /// Whether an invocation computes adjacent pixels where the stride is 1, so that positions of the
    /// window share loads.
    pub rows_of_pixels: bool,
    /// Rows of [`WIDE`] invocations that share tiles of a convolution in workgroup memory; 0 if each
    /// invocation loads from the maps. Tiles are no wider than the output channels.
    pub tall: u32,
    /// Cooperative matrices for maps in float16, if any.
    pub matrices: Option<Matrices>,
}

/// Cooperative matrices: the invocations of a subgroup hold and multiply them together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Matrices {
    /// Rows and columns of each: 8 or 16.
    pub side: u32,
    /// Invocations of a subgroup: 8, 16, 32 or 64.
    pub subgroup: u32,
    /// Whether plain arithmetic emulates them, for tests on devices without them.
    pub emulated: bool,
}

/// Invocations in a row of a tile in workgroup memory; [`Tiles::tall`] counts the rows.
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
    /// For drivers that take minutes and gigabytes to compile larger tiles.
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
    /// With tiles in workgroup memory, at most 12 KiB, like those below: 64 pixels × 64 output channels,
    /// by 64 invocations.
    pub const WORKGROUP_64X64: Self = Self { tall: 8, ..Self::GPU };
    /// 128 pixels × 64 output channels, by 128 invocations.
    pub const WORKGROUP_128X64: Self = Self { tall: 16, ..Self::GPU };
    /// 64 pixels × 32 output channels, by 64 invocations.
    pub const WORKGROUP_64X32: Self = Self { tall: 8, ..Self::NARROW };
    /// 32 pixels × 32 output channels, by 64 invocations.
    pub const WORKGROUP_32X32: Self = Self { pixels: 4, rows: 1, ..Self::WORKGROUP_64X32 };

    /// With cooperative matrices for maps in float16, and tiles in workgroup memory elsewhere.
    pub const fn cooperative(matrices: Matrices) -> Self {
        Self { matrices: Some(matrices), ..Self::WORKGROUP_64X64 }
    }

    /// The same with [`Tiles::rows_of_pixels`].
    pub const fn rows(self) -> Self {
        Self { rows_of_pixels: true, ..self }
    }

    /// For Vulkan on a CPU with subgroups of `subgroup` invocations; `None` if that does not divide a
    /// workgroup. There a load is a loop over the subgroup, even if all invocations load the same, so each
    /// weight is loaded once and shared.
    pub fn sharing(subgroup: u32) -> Option<Self> {
        let shared = Self { wgrad_columns: 8, share: subgroup, ..Self::CPU };
        matches!(subgroup, 4 | 8 | 16 | 32 | 64).then_some(shared)
    }
}
