// The same sums as conv2d_wgrad, with tiles of both factors in workgroup memory. TALL × WIDE
// invocations compute one part of the sum for a tile of TALL·ROWS groups of four rows by WIDE·COLUMNS
// groups of four columns. They loop over the part's pixels, DEPTH at a time, with double buffering:
// while they multiply one pair of tiles, the next pair is loaded.
#import common/grid
#import common/map
#import common/parts
#import conv2d/conv2d_params
#import conv2d/gather

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> dy: array<Map>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

const WORKERS: u32 = TALL * WIDE;
const HEIGHT: u32 = TALL * ROWS;
const WIDTH: u32 = WIDE * COLUMNS;

// Double buffers.
var<workgroup> tile_x: array<vec4<f32>, 2u * DEPTH * HEIGHT>;
var<workgroup> tile_d: array<vec4<f32>, 2u * DEPTH * WIDTH>;

// The last index is the row within its group of four.
alias Acc = array<array<array<vec4<f32>, 4>, COLUMNS>, ROWS>;

// Adds the product of one pair of tiles, for the invocation at (tall, wide) of TALL × WIDE.
fn multiply(acc: ptr<function, Acc>, buffer: u32, tall: u32, wide: u32) {
#for k in 0..DEPTH
    {
        let pixel = buffer * DEPTH + ${k}u;
#for r in 0..ROWS
        let x_${r} = tile_x[pixel * HEIGHT + tall + TALL * ${r}u];
#endfor
#for v in 0..COLUMNS
        let d_${v} = tile_d[pixel * WIDTH + wide + WIDE * ${v}u];
#for r in 0..ROWS
#for l in 0..4
        acc[${r}][${v}][${l}] += x_${r}[${l}] * d_${v};
#endfor
#endfor
#endfor
    }
#endfor
}

@compute @workgroup_size(WORKERS)
fn main(invocation: Invocation) {
    let local = invocation.local;
    let rows = params.kernel * params.kernel * params.in_c4;
    let row_tiles = div_ceil(rows, HEIGHT);
    let column_tiles = div_ceil(params.out_c4, WIDTH);
    let tile = flat_group(invocation);
    let first_row = tile % row_tiles * HEIGHT;
    let first_column = tile / row_tiles % column_tiles * WIDTH;
    let part = tile / row_tiles / column_tiles;
    // A folded grid may have more workgroups than tiles. These also execute the barriers.
    let exists = part < part_count();
    let pixels = range_of(select(0u, part, exists));
    let last = select(pixels.first, pixels.last, exists);
    // What the invocation loads: inputs of one row of the weight, gradients of one column.
    let loaded_row = first_row + local % HEIGHT;
    let tap = loaded_row / params.in_c4;
    let ky = tap / params.kernel;
    let kx = tap % params.kernel;
    let c = loaded_row % params.in_c4;
    let column = first_column + local % WIDTH;
    // Its row and column among the invocations.
    let tall = local / WIDE;
    let wide = local % WIDE;
    var acc: Acc;
    // The number of iterations for the largest part, because all invocations must execute the barriers.
    let steps = div_ceil(div_ceil(min(params.group, params.pixels), params.parts), DEPTH);
    // The loads after the last pixel give zeros.
    for (var step = 0u; step <= steps; step++) {
        let next = pixels.first + step * DEPTH;
#for i in 0..DEPTH*ROWS/WIDE
        let at_x_${i} = next + local / HEIGHT + ${i}u * (WORKERS / HEIGHT);
        let x_${i} = gather(pixel_at(at_x_${i}, at_x_${i} < last), ky, kx, c);
#endfor
#for i in 0..DEPTH*COLUMNS/TALL
        let at_d_${i} = next + local / WIDTH + ${i}u * (WORKERS / WIDTH);
        let live_${i} = at_d_${i} < last && column < params.out_c4;
        let d_${i} = select(vec4<f32>(), vec4<f32>(dy[select(0u, at_d_${i} * params.out_c4 + column, live_${i})]), live_${i});
#endfor
        if step > 0u {
            multiply(&acc, (step - 1u) % 2u, tall, wide);
        }
        let buffer = step % 2u;
#for i in 0..DEPTH*ROWS/WIDE
        tile_x[buffer * DEPTH * HEIGHT + local + ${i}u * WORKERS] = x_${i};
#endfor
#for i in 0..DEPTH*COLUMNS/TALL
        tile_d[buffer * DEPTH * WIDTH + local + ${i}u * WORKERS] = d_${i};
#endfor
        workgroupBarrier();
    }
#for r in 0..ROWS
#for v in 0..COLUMNS
    {
        let row = first_row + tall + TALL * ${r}u;
        let column = first_column + wide + WIDE * ${v}u;
        if exists && row < rows && column < params.out_c4 {
            let at = ((params.first + part) * rows + row) * 4u * params.out_c4 + column;
#for l in 0..4
#if ADD
            partial[at + ${l}u * params.out_c4] += acc[${r}][${v}][${l}];
#else
            partial[at + ${l}u * params.out_c4] = acc[${r}][${v}][${l}];
#endif
#endfor
        }
    }
#endfor
#endfor
}
