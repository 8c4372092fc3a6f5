// The product at one position `tap` of the window and one group `c` of four input channels, of which the
// first LANES count: pasted where, for each p in 0..PIXELS, `x_p` is what the pixel sees there.
#if SHARED
#if DGRAD
    let weights = tap * params.out_c4 * 4u * params.in_c4 + c;
#else
    let weights = (tap * params.in_c4 + c) * 4u * params.out_c4;
#endif
#for k in 0..(LANES*COLUMNS+SHARED-1)/SHARED
    let loaded_${k} = w[weights + offset_${k}];
#endfor
#for v in 0..COLUMNS
#for l in 0..LANES
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
#for l in 0..LANES
        let row_${l} = w[at + ${l}u * params.out_c4];
#endfor
#for p in 0..PIXELS
#for l in 0..LANES
        acc_${p}_${v} += x_${p}[${l}] * row_${l};
#endfor
#endfor
#endif
    }
#endfor
#endif
