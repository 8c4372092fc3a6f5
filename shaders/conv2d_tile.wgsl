// The heart of every convolution: pasted into a function that defines, for each p in
// 0..PIXELS, `pixel_p` (index of an output pixel) and `live_p` (whether it exists), `column`, the
// tile's first group of four output channels, and `lane`, which of those that share it is. Leaves
// the sums in `acc_p_v`.
//
// With DGRAD the roles turn round: "input" is the gradient of the convolution's output,
// "output" that of its input, and the same weight is read transposed.
#for v in 0..COLUMNS
    let column_${v} = min(column + ${v}u, params.out_c4 - 1u);
#for p in 0..PIXELS
    var acc_${p}_${v} = vec4<f32>();
#endfor
#endfor
#for p in 0..PIXELS
    let row_${p} = pixel_${p} / params.out_w;
    let ox_${p} = i32(pixel_${p} - row_${p} * params.out_w);
    let image_${p} = row_${p} / params.out_h;
    let oy_${p} = i32(row_${p} - image_${p} * params.out_h);
    let base_${p} = image_${p} * params.in_h;
#endfor
#if SHARED
    // Which of the tile's weights each invocation loads for all: with four rows of COLUMNS, the
    // weight of row l and column v is number l * COLUMNS + v.
#for k in 0..(4*COLUMNS+SHARED-1)/SHARED
    let row_of_${k} = min((lane + ${k*SHARED}u) / ${COLUMNS}u, 3u);
    let column_of_${k} = min(column + (lane + ${k*SHARED}u) % ${COLUMNS}u, params.out_c4 - 1u);
#if DGRAD
    let offset_${k} = (4u * column_of_${k} + row_of_${k}) * params.in_c4;
#else
    let offset_${k} = row_of_${k} * params.out_c4 + column_of_${k};
#endif
#endfor
#endif
    for (var ky = 0u; ky < params.kernel; ky++) {
    for (var kx = 0u; kx < params.kernel; kx++) {
        let tap = ky * params.kernel + kx;
#for p in 0..PIXELS
#if DGRAD
        // Negative positions wrap to huge ones, which the comparison refuses.
        let sy_${p} = u32(oy_${p} + i32(params.pad) - i32(ky));
        let sx_${p} = u32(ox_${p} + i32(params.pad) - i32(kx));
        let iy_${p} = sy_${p} / params.stride;
        let ix_${p} = sx_${p} / params.stride;
        let inside_${p} = live_${p} && iy_${p} < params.in_h && ix_${p} < params.in_w
            && iy_${p} * params.stride == sy_${p} && ix_${p} * params.stride == sx_${p};
#else
        let iy_${p} = u32(oy_${p} * i32(params.stride) + i32(ky) - i32(params.pad));
        let ix_${p} = u32(ox_${p} * i32(params.stride) + i32(kx) - i32(params.pad));
        let inside_${p} = live_${p} && iy_${p} < params.in_h && ix_${p} < params.in_w;
#endif
        let at_${p} = select(0u, ((base_${p} + iy_${p}) * params.in_w + ix_${p}) * params.in_c4, inside_${p});
#endfor
        for (var c = 0u; c < params.in_c4; c++) {
#for p in 0..PIXELS
            let x_${p} = select(vec4<f32>(), vec4<f32>(x[at_${p} + c]), inside_${p});
#endfor
#if SHARED
#if DGRAD
            let weights = tap * params.out_c4 * 4u * params.in_c4 + c;
#else
            let weights = (tap * params.in_c4 + c) * 4u * params.out_c4;
#endif
#for k in 0..(4*COLUMNS+SHARED-1)/SHARED
            let loaded_${k} = w[weights + offset_${k}];
#endfor
#for v in 0..COLUMNS
#for l in 0..4
            {
                let m = subgroupBroadcast(loaded_${(l*COLUMNS+v)/SHARED}, ${(l*COLUMNS+v)%SHARED}u);
#for p in 0..PIXELS
#if DGRAD
                acc_${p}_${v}[${l}] += dot(x_${p}, m);
#else
                acc_${p}_${v} += x_${p}[${l}] * m;
#endif
#endfor
            }
#endfor
#endfor
#else
#for v in 0..COLUMNS
            {
#if DGRAD
                let at = (tap * params.out_c4 + column_${v}) * 4u * params.in_c4 + c;
                let m = mat4x4<f32>(w[at], w[at + params.in_c4], w[at + 2u * params.in_c4], w[at + 3u * params.in_c4]);
#for p in 0..PIXELS
                acc_${p}_${v} += x_${p} * m;
#endfor
#else
                let at = (tap * params.in_c4 + c) * 4u * params.out_c4 + column_${v};
                let m = mat4x4<f32>(w[at], w[at + params.out_c4], w[at + 2u * params.out_c4], w[at + 3u * params.out_c4]);
#for p in 0..PIXELS
                acc_${p}_${v} += m * x_${p};
#endfor
#endif
            }
#endfor
#endif
        }
    }
    }
