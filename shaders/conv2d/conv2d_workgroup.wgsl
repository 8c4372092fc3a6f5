// The same product as conv2d, with tiles of both factors in workgroup memory, for devices where that is
// fast. TALL × WIDE invocations compute a tile of TALL·PIXELS pixels by WIDE·COLUMNS groups of four
// channels. They loop over the depth, DEPTH groups of four at a time, with double buffering: while they
// multiply one pair of tiles, the next pair is loaded.
#import common/grid
#import common/map
#import conv2d/conv2d_params
#import conv2d/gather
#import conv2d/weight
#import conv2d/depth

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Map>;
@group(0) @binding(4) var<storage, read_write> bias: array<vec4<f32>>;

const WORKERS: u32 = TALL * WIDE;
const ROWS: u32 = TALL * PIXELS;
const GROUPS: u32 = WIDE * COLUMNS;

// Double buffers.
var<workgroup> tile_x: array<vec4<f32>, 2u * DEPTH * ROWS>;
var<workgroup> tile_w: array<vec4<f32>, 2u * DEPTH * 4u * GROUPS>;

alias Acc = array<array<vec4<f32>, COLUMNS>, PIXELS>;

// Adds the product of one pair of tiles, for the invocation at (tall, wide) of TALL × WIDE.
fn multiply(acc: ptr<function, Acc>, buffer: u32, tall: u32, wide: u32) {
#for d in 0..DEPTH
    {
        let from_x = (buffer * DEPTH + ${d}u) * ROWS + tall;
        let from_w = (buffer * DEPTH + ${d}u) * 4u * GROUPS + wide;
#for p in 0..PIXELS
        let x_${p} = tile_x[from_x + TALL * ${p}u];
#endfor
#for v in 0..COLUMNS
        {
            let at = from_w + WIDE * ${v}u;
            let m = mat4x4<f32>(tile_w[at], tile_w[at + GROUPS], tile_w[at + 2u * GROUPS], tile_w[at + 3u * GROUPS]);
#for p in 0..PIXELS
#if DGRAD
            acc[${p}][${v}] += x_${p} * m;
#else
            acc[${p}][${v}] += m * x_${p};
#endif
#endfor
        }
#endfor
    }
#endfor
}

@compute @workgroup_size(WORKERS)
fn main(invocation: Invocation) {
    let local = invocation.local;
    let tile = flat_group(invocation);
    let column_tiles = div_ceil(params.out_c4, GROUPS);
    let first_pixel = tile / column_tiles * ROWS;
    let first_column = tile % column_tiles * GROUPS;
    // What the invocation loads: inputs of one pixel, and one column of the weight.
    let loaded_pixel = first_pixel + local % ROWS;
    let pixel = pixel_at(loaded_pixel, loaded_pixel < params.pixels);
    let column = first_column + local % GROUPS;
    // Its row and column among the invocations.
    let tall = local / WIDE;
    let wide = local % WIDE;
    var acc: Acc;
    var depth = Depth(0u, 0u, 0u);
    let steps = params.kernel * params.kernel * div_ceil(params.in_c4, DEPTH);
    // The loads after the last step give zeros.
    for (var step = 0u; step <= steps; step++) {
#for i in 0..DEPTH*PIXELS/WIDE
        let x_${i} = gather(pixel, depth.ky, depth.kx, depth.c + local / ROWS + ${i}u * (WORKERS / ROWS));
#endfor
#for i in 0..4*DEPTH*COLUMNS/TALL
        let row_${i} = local / GROUPS + ${i}u * (WORKERS / GROUPS);
        let w_${i} = weight(depth.ky, depth.kx, depth.c + row_${i} / 4u, row_${i} % 4u, column);
#endfor
        if step > 0u {
            multiply(&acc, (step - 1u) % 2u, tall, wide);
        }
        let buffer = step % 2u;
#for i in 0..DEPTH*PIXELS/WIDE
        tile_x[buffer * DEPTH * ROWS + local + ${i}u * WORKERS] = x_${i};
#endfor
#for i in 0..4*DEPTH*COLUMNS/TALL
        tile_w[buffer * DEPTH * 4u * GROUPS + local + ${i}u * WORKERS] = w_${i};
#endfor
        workgroupBarrier();
        advance(&depth, DEPTH);
    }
#for v in 0..COLUMNS
    {
        let column = first_column + wide + WIDE * ${v}u;
        if column < params.out_c4 {
#if BIAS
            let shift = bias[column];
#else
            let shift = vec4<f32>();
#endif
#for p in 0..PIXELS
            {
                let at = first_pixel + tall + TALL * ${p}u;
                if at < params.pixels {
                    y[at * params.out_c4 + column] = to_map(acc[${p}][${v}] + shift);
                }
            }
#endfor
        }
    }
#endfor
}
