// The same product as conv2d, for maps in float16, on matrix units. A workgroup of four subgroups
// computes a tile of 64 pixels by 64 channels, each subgroup a quarter of it in matrices of SIDE ×
// SIDE. Both factors are staged in workgroup memory in float16, 16 channels of the depth at a time,
// with double buffering: while the subgroups multiply one pair of tiles, the next pair is loaded. Sums
// are in float32.
#import common/grid
#import common/map
#import conv2d/conv2d_params
#import conv2d/gather
#import conv2d/weight
#import conv2d/depth
#if COOPERATIVE
#import conv2d/matrices
#else
#import conv2d/matrices_emulated
#endif

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Map>;
@group(0) @binding(4) var<storage, read_write> bias: array<vec4<f32>>;

const WORKERS: u32 = 4u * SUBGROUP;
// Pixels, and channels, of a tile and of a subgroup's quarter.
const TILE: u32 = 64u;
const QUARTER: u32 = 32u;
const DEPTH: u32 = 16u;
const AREA: u32 = SIDE * SIDE;

// Double buffers: pixels by depth, and depth by channels.
var<workgroup> tile_x: array<f16, 2u * TILE * DEPTH>;
var<workgroup> tile_w: array<f16, 2u * TILE * DEPTH>;
var<workgroup> results: array<f32, 4u * AREA>;

@compute @workgroup_size(WORKERS)
fn main(invocation: Invocation) {
    let local = invocation.local;
    let quarter = subgroup_of(invocation);
    let tile = flat_group(invocation);
    let column_tiles = div_ceil(params.out_c4, TILE / 4u);
    let first_pixel = tile / column_tiles * TILE;
    let first_column = tile % column_tiles * (TILE / 4u);
    let first_row_of_quarter = quarter / 2u * QUARTER;
    let first_column_of_quarter = quarter % 2u * QUARTER;
    // What the invocation loads: four channels of a pixel, and of a row of the weight.
#for i in 0..64/SUBGROUP
    let slot_${i} = local + ${i}u * WORKERS;
    let pixel_${i} = pixel_at(first_pixel + slot_${i} / 4u, first_pixel + slot_${i} / 4u < params.pixels);
    let row_${i} = slot_${i} / (TILE / 4u);
    let column_${i} = slot_${i} % (TILE / 4u);
#endfor
#for p in 0..32/SIDE
#for v in 0..32/SIDE
    var acc_${p}_${v} = zero(quarter * ${32/SIDE*(32/SIDE)}u + ${32/SIDE*p+v}u);
#endfor
#endfor
    var depth = Depth(0u, 0u, 0u);
    let steps = params.kernel * params.kernel * div_ceil(params.in_c4, DEPTH / 4u);
    // The loads after the last step give zeros.
    for (var step = 0u; step <= steps; step++) {
#for i in 0..64/SUBGROUP
        let x_${i} = vec4<f16>(gather(pixel_${i}, depth.ky, depth.kx, depth.c + slot_${i} % 4u));
        let w_${i} = vec4<f16>(weight(depth.ky, depth.kx, depth.c + row_${i} / 4u, row_${i} % 4u, first_column + column_${i}));
#endfor
        if step > 0u {
            let buffer = (step - 1u) % 2u;
            let from_x = buffer * TILE * DEPTH + first_row_of_quarter * DEPTH;
            let from_w = buffer * TILE * DEPTH + first_column_of_quarter;
#for d in 0..16/SIDE
            {
#for p in 0..32/SIDE
                let a_${p} = left(from_x + ${SIDE*p}u * DEPTH + ${SIDE*d}u);
#endfor
#for v in 0..32/SIDE
                {
                    let b = right(from_w + ${SIDE*d}u * TILE + ${SIDE*v}u);
#for p in 0..32/SIDE
                    acc_${p}_${v} = multiply_add(a_${p}, b, acc_${p}_${v});
#endfor
                }
#endfor
            }
#endfor
        }
        let buffer = step % 2u;
#for i in 0..64/SUBGROUP
#for l in 0..4
        tile_x[buffer * TILE * DEPTH + slot_${i} * 4u + ${l}u] = x_${i}[${l}];
#if DGRAD
        // Four consecutive values of the depth, for one channel.
        tile_w[buffer * TILE * DEPTH + (row_${i} / 4u * 4u + ${l}u) * TILE + column_${i} * 4u + row_${i} % 4u] = w_${i}[${l}];
#else
        tile_w[buffer * TILE * DEPTH + row_${i} * TILE + column_${i} * 4u + ${l}u] = w_${i}[${l}];
#endif
#endfor
#endfor
        workgroupBarrier();
        advance(&depth, DEPTH / 4u);
    }
    // Matrices of float32 cannot be converted to float16: they go through workgroup memory.
#for p in 0..32/SIDE
#for v in 0..32/SIDE
    store_matrix(acc_${p}_${v}, quarter * AREA);
    workgroupBarrier();
    for (var at = local; at < AREA; at += WORKERS) {
        let from_quarter = at / (AREA / 4u);
        let row = at % (AREA / 4u) / ${SIDE/4}u;
        let column = at % ${SIDE/4}u;
        let pixel = first_pixel + from_quarter / 2u * QUARTER + ${SIDE*p}u + row;
        let group = first_column + from_quarter % 2u * (QUARTER / 4u) + ${SIDE/4*v}u + column;
        if pixel < params.pixels && group < params.out_c4 {
            let first = 4u * at;
            var sum = vec4<f32>(results[first], results[first + 1u], results[first + 2u], results[first + 3u]);
#if BIAS
            sum += bias[group];
#endif
            y[pixel * params.out_c4 + group] = to_map(sum);
        }
    }
    workgroupBarrier();
#endfor
#endfor
}
