// Register tiles of a convolution: their pixels, inputs and products.
//
// Each order of pixels (rows, phases, spread) defines the struct `Tile` with its `pixels`; `tile_count`
// and `tile_of_batch` for tiles of the batch; and `convolve`, which returns the sums of a tile. All but
// phases also define `image_tile_count` and `tile_of_image`, for tiles of a single image.
#import conv2d/pixel

// Sums of a tile.
alias Acc = array<array<vec4<f32>, COLUMNS>, PIXELS>;
// The inputs of the pixels of a tile at one position of the window, for one group of four input
// channels.
alias Inputs = array<vec4<f32>, PIXELS>;

#if SHARED
#import conv2d/products_shared
#else
#import conv2d/products
#endif
#if SPAN
#import conv2d/rows
#else
#if PHASES
#import conv2d/phases
#else
#import conv2d/spread
#endif
#endif

// The work of an invocation: a row, which is a tile of pixels or a part of an image, and a column, its
// first group of four output channels.
struct Work {
    exists: bool,
    row: u32,
    column: u32,
    // Its number among the invocations that share loads. They have the same column and consecutive
    // rows; the last rows may not exist.
    lane: u32,
}

fn work_of(invocation: Invocation, rows: u32) -> Work {
    let column_tiles = div_ceil(params.out_c4, COLUMNS);
    let column = work_id(invocation) % column_tiles * COLUMNS;
    let first = work_id(invocation) / column_tiles * SHARE;
    let lane = lane_of(invocation);
    return Work(first < rows, first + lane, column, lane);
}
