// Gradient of a convolution's weight: a matrix product whose depth is the pixels. Rows are
// (window position, input channel), columns output channels. The depth is cut in parts; each
// invocation sums one part for a tile of ROWS × 4 rows by COLUMNS × 4 columns, and with ADD adds
// it to what is there. Of each four rows, channels of one group, the first LANES count.
//
// With TAPS (the window's side; and a stride of 1), the rows of an invocation are all positions of
// a row of the window, for GROUPS groups of channels: what one of them sees at a pixel, the one
// before it sees at the next.
#import grid
#import map
#import conv2d_params
#import cut

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> dy: array<Map>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let rows = params.kernel * params.kernel * params.in_c4;
#if TAPS
    let row_tiles = params.kernel * div_ceil(params.in_c4, ${GROUPS}u);
#else
    let row_tiles = div_ceil(rows, ${ROWS}u);
#endif
    let column_tiles = div_ceil(params.out_c4, ${COLUMNS}u);
    // Invocations that share have the same columns and pixels.
    let lines = div_ceil(row_tiles, SHARE);
    let id = line_id(invocation);
    let lane = lane_of(invocation);
    let row_tile = id % lines * SHARE + lane;
    let column = id / lines % column_tiles * ${COLUMNS}u;
    let part = id / lines / column_tiles;
    if part >= part_count() {
        return;
    }
#for v in 0..COLUMNS
    let column_${v} = min(column + ${v}u, params.out_c4 - 1u);
#endfor
#if TAPS
    let ky = min(row_tile / div_ceil(params.in_c4, ${GROUPS}u), params.kernel - 1u);
    let first_c = row_tile % div_ceil(params.in_c4, ${GROUPS}u) * ${GROUPS}u;
    let ky_0 = i32(ky) - i32(params.pad);
#endif
#for r in 0..ROWS
#if TAPS
    let c_${r} = min(first_c + ${r/TAPS}u, params.in_c4 - 1u);
    let row_${r} = (ky * params.kernel + ${r%TAPS}u) * params.in_c4 + c_${r};
    let live_${r} = row_tile < row_tiles && first_c + ${r/TAPS}u < params.in_c4;
    var x_${r} = vec4<f32>();
#else
    let row_${r} = min(row_tile * ${ROWS}u + ${r}u, rows - 1u);
    let live_${r} = row_tile * ${ROWS}u + ${r}u < rows;
    let tap_${r} = row_${r} / params.in_c4;
    let c_${r} = row_${r} % params.in_c4;
    let ky_${r} = i32(tap_${r} / params.kernel) - i32(params.pad);
    let kx_${r} = i32(tap_${r} % params.kernel) - i32(params.pad);
#endif
#for v in 0..COLUMNS
#for l in 0..LANES
    var acc_${r}_${v}_${l} = vec4<f32>();
#endfor
#endfor
#endfor
#if SHARED
#for k in 0..(COLUMNS+SHARED-1)/SHARED
    let loading_${k} = min(column + lane + ${k*SHARED}u, params.out_c4 - 1u);
#endfor
#endif
    let pixels = group_of(part);
    let share = div_ceil(pixels.size, params.parts);
    let skipped = min(part % params.parts * share, pixels.size);
    let first = pixels.first + skipped;
    let last = first + min(share, pixels.size - skipped);
    // The pixel's coordinates are counted along: divisions cost more than the products here.
    var ox = i32(first % params.out_w);
    var oy = i32(first / params.out_w % params.out_h);
    var base = first / params.out_w / params.out_h * params.in_h;
    for (var pixel = first; pixel < last; pixel++) {
#if SHARED
#for k in 0..(COLUMNS+SHARED-1)/SHARED
        let loaded_${k} = vec4<f32>(dy[pixel * params.out_c4 + loading_${k}]);
#endfor
#for v in 0..COLUMNS
        let d_${v} = subgroupBroadcast(loaded_${v/SHARED}, ${v%SHARED}u);
#endfor
#else
#for v in 0..COLUMNS
        let d_${v} = vec4<f32>(dy[pixel * params.out_c4 + column_${v}]);
#endfor
#endif
#if TAPS
        // Negative positions wrap to huge ones, which the comparison refuses.
        let iy = u32(oy + ky_0);
        let at = (base + iy) * params.in_w;
        if pixel == first || ox == 0 {
#for t in 0..TAPS-1
            {
                let ix = u32(ox + ${t} - i32(params.pad));
                let inside = iy < params.in_h && ix < params.in_w;
#for g in 0..GROUPS
                x_${g*TAPS+t+1} = select(vec4<f32>(), vec4<f32>(x[select(0u, (at + ix) * params.in_c4, inside) + c_${g*TAPS}]), inside);
#endfor
            }
#endfor
        }
        let ix = u32(ox + ${TAPS-1} - i32(params.pad));
        let inside = iy < params.in_h && ix < params.in_w;
#for g in 0..GROUPS
#for t in 0..TAPS-1
        x_${g*TAPS+t} = x_${g*TAPS+t+1};
#endfor
        x_${g*TAPS+TAPS-1} = select(vec4<f32>(), vec4<f32>(x[select(0u, (at + ix) * params.in_c4, inside) + c_${g*TAPS}]), inside);
#endfor
#endif
#for r in 0..ROWS
        {
#if TAPS
            let v = x_${r};
#else
            let iy = u32(oy * i32(params.stride) + ky_${r});
            let ix = u32(ox * i32(params.stride) + kx_${r});
            let inside = iy < params.in_h && ix < params.in_w;
            let at = select(0u, ((base + iy) * params.in_w + ix) * params.in_c4, inside) + c_${r};
            let v = select(vec4<f32>(), vec4<f32>(x[at]), inside);
#endif
#for v in 0..COLUMNS
#for l in 0..LANES
            acc_${r}_${v}_${l} += v[${l}] * d_${v};
#endfor
#endfor
        }
#endfor
        ox++;
        if ox == i32(params.out_w) {
            ox = 0;
            oy++;
            if oy == i32(params.out_h) {
                oy = 0;
                base += params.in_h;
            }
        }
    }
#for r in 0..ROWS
    if live_${r} {
#for v in 0..COLUMNS
        if column + ${v}u < params.out_c4 {
            let at = ((params.first + part) * rows + row_${r}) * 4u * params.out_c4 + column_${v};
#for l in 0..LANES
#if ADD
            partial[at + ${l}u * params.out_c4] += acc_${r}_${v}_${l};
#else
            partial[at + ${l}u * params.out_c4] = acc_${r}_${v}_${l};
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
