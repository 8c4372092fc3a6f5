// The heart of every convolution: pasted into a function that defines, for each p in
// 0..PIXELS, `pixel_p` (index of an output pixel) and `live_p` (whether it exists), `column`, the
// tile's first group of four output channels, and `lane`, which of those that share it is. Leaves
// the sums in `acc_p_v`.
//
// With DGRAD the roles turn round: "input" is the gradient of the convolution's output,
// "output" that of its input, and the same weight is read transposed.
//
// With PHASES the pixels of a tile are of one phase of a strided convolution, whose remainders are
// `phase_y` and `phase_x`.
//
// With SPAN (and a stride of 1), the pixels are rows of SPAN side by side, the first one at
// (`y_first`, `x_first`) of image `image_0`: what one of them sees, its neighbour sees next.
#for v in 0..COLUMNS
    let column_${v} = min(column + ${v}u, params.out_c4 - 1u);
#for p in 0..PIXELS
    var acc_${p}_${v} = vec4<f32>();
#endfor
#endfor
#if SHARED
    // Which of the tile's weights each invocation loads for all: with LANES rows of COLUMNS, the
    // weight of row l and column v is number l * COLUMNS + v.
#for k in 0..(LANES*COLUMNS+SHARED-1)/SHARED
    let row_of_${k} = min((lane + ${k*SHARED}u) / ${COLUMNS}u, ${LANES-1}u);
    let column_of_${k} = min(column + (lane + ${k*SHARED}u) % ${COLUMNS}u, params.out_c4 - 1u);
#if DGRAD
    let offset_${k} = (4u * column_of_${k} + row_of_${k}) * params.in_c4;
#else
    let offset_${k} = row_of_${k} * params.out_c4 + column_of_${k};
#endif
#endfor
#endif
#if SPAN
    for (var ky = 0u; ky < params.kernel; ky++) {
#if DGRAD
        let iy_first = i32(y_first + params.pad) - i32(ky);
        let ix_first = i32(x_first + params.pad) - i32(params.kernel - 1u);
#else
        let iy_first = i32(y_first + ky) - i32(params.pad);
        let ix_first = i32(x_first) - i32(params.pad);
#endif
#for r in 0..PIXELS/SPAN
        // Negative positions wrap to huge ones, which the comparison refuses.
        let iy_${r} = u32(iy_first + ${r});
        let inside_${r} = live_${r*SPAN} && iy_${r} < params.in_h;
        let at_${r} = (image_0 * params.in_h + iy_${r}) * params.in_w;
#endfor
        for (var c = 0u; c < params.in_c4; c++) {
#for p in 0..PIXELS
            var x_${p} = vec4<f32>();
#endfor
#for r in 0..PIXELS/SPAN
#for s in 0..SPAN-1
            {
                let ix = u32(ix_first + ${s});
                let seen = inside_${r} && ix < params.in_w;
                x_${r*SPAN+s+1} = select(vec4<f32>(), vec4<f32>(x[select(0u, (at_${r} + ix) * params.in_c4 + c, seen)]), seen);
            }
#endfor
#endfor
            for (var step = 0u; step < params.kernel; step++) {
                let ix = u32(ix_first + ${SPAN-1} + i32(step));
#for r in 0..PIXELS/SPAN
                let seen_${r} = inside_${r} && ix < params.in_w;
#for s in 0..SPAN-1
                x_${r*SPAN+s} = x_${r*SPAN+s+1};
#endfor
                x_${r*SPAN+SPAN-1} = select(vec4<f32>(), vec4<f32>(x[select(0u, (at_${r} + ix) * params.in_c4 + c, seen_${r})]), seen_${r});
#endfor
#if DGRAD
                let tap = ky * params.kernel + params.kernel - 1u - step;
#else
                let tap = ky * params.kernel + step;
#endif
#import conv2d_multiply
            }
        }
    }
#else
#for p in 0..PIXELS
    let row_${p} = pixel_${p} / params.out_w;
    let ox_${p} = i32(pixel_${p} - row_${p} * params.out_w);
    let image_${p} = row_${p} / params.out_h;
    let oy_${p} = i32(row_${p} - image_${p} * params.out_h);
    let base_${p} = image_${p} * params.in_h;
#endfor
#if PHASES
    let first_ky = (phase_y + params.pad) % params.stride;
    let first_kx = (phase_x + params.pad) % params.stride;
    let stride = params.stride;
#else
    let first_ky = 0u;
    let first_kx = 0u;
    let stride = 1u;
#endif
    for (var ky = first_ky; ky < params.kernel; ky += stride) {
    for (var kx = first_kx; kx < params.kernel; kx += stride) {
        let tap = ky * params.kernel + kx;
#for p in 0..PIXELS
#if DGRAD
        // Negative positions wrap to huge ones, which the comparison refuses.
        let sy_${p} = u32(oy_${p} + i32(params.pad) - i32(ky));
        let sx_${p} = u32(ox_${p} + i32(params.pad) - i32(kx));
        let iy_${p} = sy_${p} / params.stride;
        let ix_${p} = sx_${p} / params.stride;
        let inside_${p} = live_${p} && iy_${p} < params.in_h && ix_${p} < params.in_w;
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
#import conv2d_multiply
        }
    }
    }
#endif
