// Convolution of each channel by itself, one tile of ROWS × COLUMNS pixels by four channels per
// invocation.
//
// With DGRAD, `x` is the gradient of the output and `y` that of the input. Pixels whose
// coordinates leave the same remainders (the phase) modulo the stride see the same window
// positions, every stride-th one, turned round: each phase is a convolution of stride 1.
#import grid
#import map
#import conv2d_params

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Map>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    let c = id % params.in_c4;
    var tile = id / params.in_c4;
#if DGRAD
    // Pixels of the result that a tile steps over to stay in its phase.
    let spread = params.stride;
#else
    let spread = 1u;
#endif
    let tiles_x = div_ceil(params.out_w, ${COLUMNS}u * spread);
    let tiles_y = div_ceil(params.out_h, ${ROWS}u * spread);
    let tile_x = i32(tile % tiles_x) * ${COLUMNS};
    tile = tile / tiles_x;
    let tile_y = i32(tile % tiles_y) * ${ROWS};
    tile = tile / tiles_y;
    let phase_x = tile % spread;
    let phase_y = tile / spread % spread;
    let image = tile / (spread * spread);
    if image >= params.images {
        return;
    }
    let base = image * params.in_h;
#if DGRAD
    let first_row = tile_y + i32((phase_y + params.pad) / params.stride) - ${TAPS-1};
    let first_column = tile_x + i32((phase_x + params.pad) / params.stride) - ${TAPS-1};
#for k in 0..TAPS
    let ky_${k} = (phase_y + params.pad) % params.stride + ${TAPS-1-k}u * params.stride;
    let kx_${k} = (phase_x + params.pad) % params.stride + ${TAPS-1-k}u * params.stride;
#endfor
#else
    let first_row = tile_y * ${STEP} - i32(params.pad);
    let first_column = tile_x * ${STEP} - i32(params.pad);
#for k in 0..TAPS
    let ky_${k} = ${k}u;
    let kx_${k} = ${k}u;
#endfor
#endif
#import depthwise_tile
#for k in 0..TAPS
#for l in 0..TAPS
    let known_${k}_${l} = ky_${k} < params.kernel && kx_${l} < params.kernel;
    let tap_${k}_${l} = select(0u, ky_${k} * params.kernel + kx_${l}, known_${k}_${l});
    let w_${k}_${l} = select(vec4<f32>(), w[tap_${k}_${l} * params.in_c4 + c], known_${k}_${l});
#endfor
#endfor
#for r in 0..ROWS
    let oy_${r} = u32(tile_y + ${r}) * spread + phase_y;
#for p in 0..COLUMNS
    {
        let ox = u32(tile_x + ${p}) * spread + phase_x;
        var sum = vec4<f32>();
#for k in 0..TAPS
#for l in 0..TAPS
        sum += x_${r*STEP+k}_${p*STEP+l} * w_${k}_${l};
#endfor
#endfor
        if oy_${r} < params.out_h && ox < params.out_w {
            y[((image * params.out_h + oy_${r}) * params.out_w + ox) * params.in_c4 + c] = to_map(sum);
        }
    }
#endfor
#endfor
}
