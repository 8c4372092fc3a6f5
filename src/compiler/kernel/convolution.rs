//! Tiles of convolutions and matrix products.

use super::lowering::{Lowering, to_u32};
use super::params;
use super::tiles::{Matrices, WIDE};
use crate::base::shape::{LANES, Layout, Shape, Window};
use crate::compiler::split::Cut;
use crate::compiler::tensor::TensorId;

/// Parameters of a convolution that reads maps of shape `x` and writes maps of shape `y`.
pub fn conv(x: Shape, y: Shape, window: Window) -> params::Conv2d {
    params::Conv2d {
        in_h: to_u32(x.h),
        in_w: to_u32(x.w),
        in_c4: to_u32(x.c4()),
        out_h: to_u32(y.h),
        out_w: to_u32(y.w),
        out_c4: to_u32(y.c4()),
        kernel: to_u32(window.kernel),
        stride: to_u32(window.stride),
        pad: to_u32(window.pad),
        pixels: to_u32(y.pixels()),
        images: to_u32(y.n),
        parts: 1,
        group: to_u32(y.pixels()),
        first: 0,
        factor: 1.0,
    }
}

/// The definition LANES: used channels per group of four input channels. One or two, as of grey images,
/// get permutations of their own.
fn lanes(channels: usize) -> (&'static str, u32) {
    ("LANES", to_u32(if channels <= 2 { channels } else { LANES }))
}

/// Depth of a convolution's tiles in workgroup memory: groups of four input channels.
const CONV_DEPTH: u32 = 2;
/// Depth of a weight gradient's tiles in workgroup memory: pixels.
const WGRAD_DEPTH: u32 = 8;
/// Pixels, and output channels, of a tile of cooperative matrices.
const MATRIX_TILE: u32 = 64;

/// Which pixels of a map belong to a tile.
#[derive(Clone, Copy)]
enum Order {
    /// Strided: neighbouring pixels belong to neighbouring tiles.
    Spread,
    /// Rows of this number of adjacent pixels.
    Rows(u32),
    /// Strided within one phase of the gradient of a strided convolution.
    Phases,
}

/// The tiles of a kernel, and how they cover its output.
pub struct Tile {
    /// Tile sizes and flags.
    pub definitions: Vec<(&'static str, u32)>,
    /// Output pixels per tile.
    pixels: u32,
    /// Which pixels those are.
    order: Order,
    /// Invocations for all output channels of a tile's pixels.
    across: usize,
    /// Invocations that share loads.
    share: usize,
}

impl Tile {
    /// Invocations for `tiles` tiles of pixels, with all output channels.
    pub fn threads_for_tiles(&self, tiles: usize) -> usize {
        tiles.next_multiple_of(self.share) * self.across
    }

    /// Invocations for the output of a convolution.
    pub fn threads(&self, params: &params::Conv2d) -> usize {
        let (images, height, width) = (params.images, params.out_h, params.out_w);
        let tiles = match self.order {
            Order::Spread => return self.threads_for_rows(params.pixels),
            Order::Rows(span) => {
                images * width.div_ceil(span) * height.div_ceil(self.pixels / span)
            }
            Order::Phases => {
                let stride = params.stride;
                let pixels = images * height.div_ceil(stride) * width.div_ceil(stride);
                return (stride * stride) as usize * self.threads_for_rows(pixels);
            }
        };
        self.threads_for_tiles(tiles as usize)
    }

    /// Invocations for a matrix of `rows` rows.
    pub fn threads_for_rows(&self, rows: u32) -> usize {
        self.threads_for_tiles(rows.div_ceil(self.pixels) as usize)
    }
}

/// The kernel of a weight gradient.
pub struct Wgrad {
    /// The kernel's file.
    pub file: &'static str,
    /// Tile sizes and flags.
    pub definitions: Vec<(&'static str, u32)>,
    /// Invocations for each partial sum.
    pub threads: usize,
}

impl Lowering<'_> {
    /// Tiles of a matrix product with `out_c4` groups of four columns.
    pub fn tile(&self, out_c4: u32, flag: Option<&'static str>) -> Tile {
        let tiles = self.target.tiles;
        let columns = tiles.columns.min(out_c4);
        let mut definitions = vec![("PIXELS", tiles.pixels), ("COLUMNS", columns)];
        definitions.extend(flag.map(|flag| (flag, 1)));
        let across = out_c4.div_ceil(columns) as usize;
        Tile { definitions, pixels: tiles.pixels, order: Order::Spread, across, share: 1 }
    }

    /// Tiles of a convolution of `channels` input channels, whose invocations may share weights.
    pub fn conv_tile(
        &self,
        channels: usize,
        params: &params::Conv2d,
        flag: Option<&'static str>,
    ) -> Tile {
        let mut tile = self.tile(params.out_c4, flag);
        // The channels of an input gradient's `dy` are output channels, which are seldom one or two.
        let channels = if flag == Some("DGRAD") { LANES } else { channels };
        tile.definitions.push(lanes(channels));
        if self.shares_positions(params) {
            // Whole rows, or rows in parts of equal length.
            let (width, most) = (params.out_w, tile.pixels);
            let span = width.div_ceil(width.div_ceil(most));
            tile.pixels = span * (most / span).min(params.out_h);
            tile.order = Order::Rows(span);
            tile.definitions[0].1 = tile.pixels;
            tile.definitions.push(("SPAN", span));
        } else if flag == Some("DGRAD") {
            tile.order = Order::Phases;
            tile.definitions.push(("PHASES", 1));
        }
        tile.definitions.extend(self.shared());
        Tile { share: self.target.tiles.share as usize, ..tile }
    }

    /// Whether positions of the window share loads.
    fn shares_positions(&self, params: &params::Conv2d) -> bool {
        self.target.tiles.rows_of_pixels && params.stride == 1 && params.kernel > 1
    }

    /// The kernel of a convolution of maps `x`, and its tiles.
    pub fn product(
        &self,
        x: TensorId,
        params: &params::Conv2d,
        flag: Option<&'static str>,
    ) -> (&'static str, Tile) {
        let tiles = self.target.tiles;
        let order = Order::Spread;
        let half = self.tensors.layout(x) == Layout::Half;
        if let Some(Matrices { side, subgroup, emulated }) = tiles.matrices.filter(|_| half) {
            let mut definitions = vec![("SIDE", side), ("SUBGROUP", subgroup)];
            definitions.push(("COOPERATIVE", u32::from(!emulated)));
            definitions.extend(flag.map(|flag| (flag, 1)));
            let across = (params.out_c4.div_ceil(MATRIX_TILE / 4) * 4 * subgroup) as usize;
            let tile = Tile { definitions, pixels: MATRIX_TILE, order, across, share: 1 };
            return ("conv2d_cooperative", tile);
        }
        if tiles.tall == 0 {
            return ("conv2d", self.conv_tile(self.shape(x).c, params, flag));
        }
        // No wider than the output, but wide enough that every invocation loads a part of the weight tile.
        let columns = tiles.columns.min(params.out_c4.div_ceil(WIDE));
        let columns = columns.max(tiles.tall / (LANES as u32 * CONV_DEPTH));
        let mut definitions = self.workgroup(CONV_DEPTH);
        definitions.extend([("PIXELS", tiles.pixels), ("COLUMNS", columns)]);
        definitions.extend(flag.map(|flag| (flag, 1)));
        let across = (params.out_c4.div_ceil(WIDE * columns) * WIDE * tiles.tall) as usize;
        let pixels = tiles.tall * tiles.pixels;
        ("conv2d_workgroup", Tile { definitions, pixels, order, across, share: 1 })
    }

    /// Definitions of a kernel with tiles of depth `depth` in workgroup memory.
    fn workgroup(&self, depth: u32) -> Vec<(&'static str, u32)> {
        vec![("TALL", self.target.tiles.tall), ("WIDE", WIDE), ("DEPTH", depth)]
    }

    /// The definition SHARED, if invocations share loads.
    fn shared(&self) -> Option<(&'static str, u32)> {
        Some(("SHARED", self.target.tiles.share)).filter(|(_, share)| *share > 1)
    }

    /// The kernel of the weight gradient of a convolution of `channels` input channels.
    pub fn wgrad_product(&self, channels: usize, params: &params::Conv2d) -> Wgrad {
        let tiles = self.target.tiles;
        let depth = params.kernel * params.kernel * params.in_c4;
        if tiles.tall > 0 {
            // As in `product`.
            let columns = tiles.wgrad_columns.min(params.out_c4.div_ceil(WIDE));
            let columns = columns.max(tiles.tall / WGRAD_DEPTH);
            let rows = tiles.rows.min(depth.div_ceil(tiles.tall));
            let mut definitions = self.workgroup(WGRAD_DEPTH);
            definitions.extend([("ROWS", rows), ("COLUMNS", columns)]);
            let down = depth.div_ceil(tiles.tall * rows) * tiles.tall;
            let across = params.out_c4.div_ceil(WIDE * columns) * WIDE;
            let threads = down as usize * across as usize;
            return Wgrad { file: "conv2d_wgrad_workgroup", definitions, threads };
        }
        let columns = tiles.wgrad_columns.min(params.out_c4);
        let mut definitions = vec![("COLUMNS", columns), lanes(channels)];
        let (file, down) = if self.shares_positions(params) {
            let groups = (tiles.rows / params.kernel).clamp(1, params.in_c4);
            let rows = params.kernel * groups;
            definitions.extend([("ROWS", rows), ("TAPS", params.kernel), ("GROUPS", groups)]);
            ("conv2d_wgrad_rows", params.kernel * params.in_c4.div_ceil(groups))
        } else {
            // All invocations that share loads should have rows to compute.
            let rows = tiles.rows.min(depth.div_ceil(tiles.share));
            definitions.push(("ROWS", rows));
            ("conv2d_wgrad", depth.div_ceil(rows))
        };
        definitions.extend(self.shared());
        let down = down.next_multiple_of(tiles.share) as usize;
        let threads = down * params.out_c4.div_ceil(columns) as usize;
        Wgrad { file, definitions, threads }
    }
}

/// Parameters of partial sums over the output's pixels; the slice begins at image `first`.
pub fn cut_params(mut params: params::Conv2d, cut: Cut, first: usize) -> params::Conv2d {
    params.parts = to_u32(cut.parts);
    params.group = params.out_h * params.out_w * to_u32(cut.images);
    params.first = to_u32(cut.count(first));
    params
}
