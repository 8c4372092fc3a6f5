// A tile of a weight's gradient in registers: ROWS groups of four rows (input channels at a position
// of the window) by COLUMNS groups of four columns (output channels). Of each four rows the first
// LANES count.

// Sums of a tile; the last index is the row within its group.
alias Acc = array<array<array<vec4<f32>, LANES>, COLUMNS>, ROWS>;
// What the rows see at a pixel.
alias Seen = array<vec4<f32>, ROWS>;
// The gradient of the pixel, of all columns.
alias Slopes = array<vec4<f32>, COLUMNS>;

#if SHARED
#import conv2d/slopes_shared
#else
#import conv2d/slopes
#endif

fn multiply(acc: ptr<function, Acc>, seen: Seen, slopes: Slopes) {
#for r in 0..ROWS
#for v in 0..COLUMNS
#for l in 0..LANES
    acc[${r}][${v}][${l}] += seen[${r}][${l}] * slopes[${v}];
#endfor
#endfor
#endfor
}

// Rows of the weight that a tile has: their numbers, and which exist.
struct Rows {
    row: array<u32, ROWS>,
    live: array<bool, ROWS>,
}

// Writes the sums of a part; with ADD adds them to what is there.
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

// What an invocation works on: a part of the pixels, and a tile of the weight.
struct Work {
    part: u32,
    // Which tile of rows; the last ones of those that share loads may be missing.
    row_tile: u32,
    // The first group of four columns.
    column: u32,
    // Which one it is of those that share loads: they have the same columns and pixels.
    lane: u32,
}

fn work_of(invocation: Invocation, row_tiles: u32) -> Work {
    let column_tiles = div_ceil(params.out_c4, COLUMNS);
    let lines = div_ceil(row_tiles, SHARE);
    let id = line_id(invocation);
    let lane = lane_of(invocation);
    let column = id / lines % column_tiles * COLUMNS;
    return Work(id / lines / column_tiles, id % lines * SHARE + lane, column, lane);
}

// A pixel whose place is counted along: divisions would cost more than the products. `base` is the
// image's first row of the input.
struct Walk {
    x: i32,
    y: i32,
    base: u32,
}

fn walk_from(pixel: u32) -> Walk {
    let row = pixel / params.out_w;
    return Walk(i32(pixel % params.out_w), i32(row % params.out_h), row / params.out_h * params.in_h);
}

fn advance(walk: ptr<function, Walk>) {
    walk.x++;
    if walk.x == i32(params.out_w) {
        walk.x = 0;
        walk.y++;
        if walk.y == i32(params.out_h) {
            walk.y = 0;
            walk.base += params.in_h;
        }
    }
}
