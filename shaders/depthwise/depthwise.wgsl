// Depthwise convolution. An invocation computes a strip of at most ROWS × COLUMNS results of four
// channels, from top to bottom. It loads each row of the input once, and adds its products to all rows
// of results whose windows cover it (at most OPEN).
//
// With DGRAD, `x` is the gradient of the output and `y` that of the input. Pixels whose coordinates
// have the same remainders modulo the stride (the phase) use the same window positions, every stride-th
// one, in reverse order: each phase is a convolution of stride 1.
#import common/grid
#import common/map
#import conv2d/conv2d_params
#import depthwise/row

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Map>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    let c = id % params.in_c4;
    var strip = id / params.in_c4;
#if DGRAD
    // The distance of adjacent results of a strip, which belong to one phase.
    let spacing = params.stride;
#else
    let spacing = 1u;
#endif
    let height = div_ceil(params.out_h, spacing);
    let strips_x = div_ceil(params.out_w, COLUMNS * spacing);
    let strips_y = div_ceil(height, ROWS);
    let strip_x = i32(strip % strips_x * COLUMNS);
    strip = strip / strips_x;
    let rows = div_ceil(height, strips_y);
    let strip_y = i32(strip % strips_y * rows);
    strip = strip / strips_y;
    let phase_x = strip % spacing;
    let phase_y = strip / spacing % spacing;
    let image = strip / (spacing * spacing);
    if image >= params.images {
        return;
    }
    let base = image * params.in_h;
#if DGRAD
    let first_row = strip_y + i32((phase_y + params.pad) / params.stride) - i32(TAPS - 1u);
    let first_column = strip_x + i32((phase_x + params.pad) / params.stride) - i32(TAPS - 1u);
#for k in 0..TAPS
    let ky_${k} = (phase_y + params.pad) % params.stride + ${TAPS-1-k}u * params.stride;
    let kx_${k} = (phase_x + params.pad) % params.stride + ${TAPS-1-k}u * params.stride;
#endfor
#else
    let first_row = strip_y * i32(STEP) - i32(params.pad);
    let first_column = strip_x * i32(STEP) - i32(params.pad);
#for k in 0..TAPS
    let ky_${k} = ${k}u;
    let kx_${k} = ${k}u;
#endfor
#endif
#for k in 0..TAPS
#for l in 0..TAPS
    let inside_${k}_${l} = ky_${k} < params.kernel && kx_${l} < params.kernel;
    let tap_${k}_${l} = select(0u, ky_${k} * params.kernel + kx_${l}, inside_${k}_${l});
    let w_${k}_${l} = select(vec4<f32>(), w[tap_${k}_${l} * params.in_c4 + c], inside_${k}_${l});
#endfor
#endfor
#for h in 0..OPEN
#for p in 0..COLUMNS
    var sum_${h}_${p} = vec4<f32>();
#endfor
#endfor
    // The last strip may have fewer rows.
    let steps = min(i32(rows), i32(height) - strip_y) + i32(OPEN - 1u);
    for (var step = 0; step < steps; step++) {
#for q in 0..STEP
        {
            let row = row_at(base, first_row + step * i32(STEP) + ${q}, first_column, c);
#for h in 0..(TAPS+STEP-1-q)/STEP
#for p in 0..COLUMNS
#for l in 0..TAPS
            sum_${h}_${p} += row[${p*STEP+l}] * w_${h*STEP+q}_${l};
#endfor
#endfor
#endfor
        }
#endfor
        // The oldest row of results is complete.
        let oy = u32(strip_y + step - i32(OPEN - 1u)) * spacing + phase_y;
#for p in 0..COLUMNS
        let ox_${p} = u32(strip_x + ${p}) * spacing + phase_x;
        if step >= i32(OPEN - 1u) && oy < params.out_h && ox_${p} < params.out_w {
            let at = ((image * params.out_h + oy) * params.out_w + ox_${p}) * params.in_c4 + c;
            y[at] = to_map(sum_${OPEN-1}_${p});
        }
#for h in 1..OPEN
        sum_${OPEN-h}_${p} = sum_${OPEN-h-1}_${p};
#endfor
        sum_0_${p} = vec4<f32>();
#endfor
    }
}
