// Register tiles of a weight's gradient: ROWS groups of four rows (input channels at a position of the
// window) by COLUMNS groups of four columns (output channels). Of each four rows, the first LANES are
// used.

// Sums of a tile; the last index is the row within its group.
alias Acc = array<array<array<vec4<f32>, LANES>, COLUMNS>, ROWS>;
// The inputs of the rows at a pixel.
alias Inputs = array<vec4<f32>, ROWS>;
// The gradient of the pixel in all columns.
alias Slopes = array<vec4<f32>, COLUMNS>;

#if SHARED
#import conv2d/slopes_shared
#else
#import conv2d/slopes
#endif

fn multiply(acc: ptr<function, Acc>, inputs: Inputs, slopes: Slopes) {
#for r in 0..ROWS
#for v in 0..COLUMNS
#for l in 0..LANES
    acc[${r}][${v}][${l}] += inputs[${r}][${l}] * slopes[${v}];
#endfor
#endfor
#endfor
}

// The rows of a tile: their indices in the weight, and which exist.
struct Rows {
    row: array<u32, ROWS>,
    live: array<bool, ROWS>,
}

// Writes the sums of a part; with ADD, adds them to the old values.
fn store(acc: Acc, rows: Rows, part: u32, column: u32) {
    let all = params.kernel * params.kernel * params.in_c4;
#for r in 0..ROWS
    if rows.live[${r}] {
#for v in 0..COLUMNS
        if column + ${v}u < params.out_c4 {
            let at = ((params.first + part) * all + rows.row[${r}]) * 4u * params.out_c4 + column + ${v}u;
#for l in 0..LANES
#if ADD
            partial[at + ${l}u * params.out_c4] += acc[${r}][${v}][${l}];
#else
            partial[at + ${l}u * params.out_c4] = acc[${r}][${v}][${l}];
#endif
#endfor
#if !ADD
#for l in LANES..4
            partial[at + ${l}u * params.out_c4] = vec4<f32>();
#endfor
#endif
        }
#endfor
    }
#endfor
}

// The work of an invocation: a part of the pixels, and a tile of the weight.
struct Work {
    part: u32,
    // The tile's index among tiles of rows. The last tiles of invocations that share loads may not
    // exist.
    row_tile: u32,
    // The first group of four columns.
    column: u32,
    // Its number among the invocations that share loads. They have the same columns and pixels.
    lane: u32,
}

fn work_of(invocation: Invocation, row_tiles: u32) -> Work {
    let column_tiles = div_ceil(params.out_c4, COLUMNS);
    let lines = div_ceil(row_tiles, SHARE);
    let id = work_id(invocation);
    let lane = lane_of(invocation);
    let column = id / lines % column_tiles * COLUMNS;
    return Work(id / lines / column_tiles, id % lines * SHARE + lane, column, lane);
}

// The position of a pixel, advanced by counting, because divisions would cost more than the products.
// `base` is the first row of the image in the input.
struct Cursor {
    x: i32,
    y: i32,
    base: u32,
}

fn cursor_at(pixel: u32) -> Cursor {
    let row = pixel / params.out_w;
    return Cursor(i32(pixel % params.out_w), i32(row % params.out_h), row / params.out_h * params.in_h);
}

fn advance(cursor: ptr<function, Cursor>) {
    cursor.x++;
    if cursor.x == i32(params.out_w) {
        cursor.x = 0;
        cursor.y++;
        if cursor.y == i32(params.out_h) {
            cursor.y = 0;
            cursor.base += params.in_h;
        }
    }
}
