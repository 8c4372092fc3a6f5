// The same sums as conv2d_wgrad, with tiles of both factors in workgroup memory. TALL × WIDE
// invocations own one part of the sum for a tile of TALL·ROWS groups of four rows by WIDE·COLUMNS
// groups of four columns. They walk along the part's pixels, DEPTH at a time; while they compute
// with one pair of tiles, the next one comes in beside it.
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

// Two of each: one is computed with, one comes in.
var<workgroup> tile_x: array<vec4<f32>, 2u * DEPTH * HEIGHT>;
var<workgroup> tile_d: array<vec4<f32>, 2u * DEPTH * WIDTH>;

// The last index is the row within its group of four.
alias Acc = array<array<array<vec4<f32>, 4>, COLUMNS>, ROWS>;

// Adds the product of one pair of tiles, for the invocation in row `tall` and column `wide`.
fn multiply(acc: ptr<function, Acc>, half: u32, tall: u32, wide: u32) {
#for k in 0..DEPTH
    {
        let place = half * DEPTH + ${k}u;
#for r in 0..ROWS
        let x_${r} = tile_x[place * HEIGHT + tall + TALL * ${r}u];
#endfor
#for v in 0..COLUMNS
        let d_${v} = tile_d[place * WIDTH + wide + WIDE * ${v}u];
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
    // A line of workgroups that is folded may have a few too many; all of them meet at barriers.
    let exists = part < part_count();
    let pixels = range_of(select(0u, part, exists));
    let last = select(pixels.first, pixels.last, exists);
    // What the invocation brings in: one row of the window's values, one column of the gradient.
    let brought = first_row + local % HEIGHT;
    let tap = brought / params.in_c4;
    let ky = tap / params.kernel;
    let kx = tap % params.kernel;
    let c = brought % params.in_c4;
    let column = first_column + local % WIDTH;
    // Where it stands in the tile that it computes.
    let tall = local / WIDE;
    let wide = local % WIDE;
    var acc: Acc;
    // As many as the largest part needs.
    let steps = div_ceil(div_ceil(min(params.group, params.pixels), params.parts), DEPTH);
    // What is brought in after the last pixel is zero.
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
        let half = step % 2u;
#for i in 0..DEPTH*ROWS/WIDE
        tile_x[half * DEPTH * HEIGHT + local + ${i}u * WORKERS] = x_${i};
#endfor
#for i in 0..DEPTH*COLUMNS/TALL
        tile_d[half * DEPTH * WIDTH + local + ${i}u * WORKERS] = d_${i};
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
