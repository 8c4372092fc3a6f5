// A tile of a convolution in registers: which pixels it has, what they see, and the products.
//
// All orders of pixels offer the same: `Tile`, whose `pixels` it has; `tile_count` and
// `tile_of_batch`, the tiles of the batch; `image_tile_count` and `tile_of_image`, those of an image
// by itself; and `convolve`, which returns the sums of a tile.
#import conv2d/pixel

// Sums of a tile.
alias Acc = array<array<vec4<f32>, COLUMNS>, PIXELS>;
// What the pixels of a tile see at one position of the window, in one group of four input channels.
alias Seen = array<vec4<f32>, PIXELS>;

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

// What an invocation works on: a row of pixels' tiles or parts, and its first group of four output
// channels.
struct Work {
    exists: bool,
    row: u32,
    column: u32,
    // Which one it is of the invocations that share loads: they have the same column, and
    // neighbouring rows, of which the last may be missing.
    lane: u32,
}

fn work_of(invocation: Invocation, rows: u32) -> Work {
    let column_tiles = div_ceil(params.out_c4, COLUMNS);
    let column = line_id(invocation) % column_tiles * COLUMNS;
    let first = line_id(invocation) / column_tiles * SHARE;
    let lane = lane_of(invocation);
    return Work(first < rows, first + lane, column, lane);
}
