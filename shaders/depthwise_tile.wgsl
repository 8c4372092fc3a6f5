// The input of a tile of ROWS × COLUMNS results of a depthwise kernel that slides by STEP: each
// value is loaded once and serves every result whose window of TAPS × TAPS covers it. Pasted into
// a function that defines `c` (group of four channels), `base` (the image's first input row),
// `first_row` and `first_column` (of the tile's input); leaves `x_r_c`, zero outside of the map.
#for i in 0..ROWS*STEP-STEP+TAPS
    let iy_${i} = u32(first_row + ${i});
    let line_${i} = (base + iy_${i}) * params.in_w;
#endfor
#for j in 0..COLUMNS*STEP-STEP+TAPS
    // Negative positions wrap to huge ones, which the comparison refuses.
    let ix_${j} = u32(first_column + ${j});
    let inside_${j} = ix_${j} < params.in_w;
#endfor
#for i in 0..ROWS*STEP-STEP+TAPS
#for j in 0..COLUMNS*STEP-STEP+TAPS
    let inside_${i}_${j} = inside_${j} && iy_${i} < params.in_h;
    let at_${i}_${j} = select(0u, (line_${i} + ix_${j}) * params.in_c4 + c, inside_${i}_${j});
    let x_${i}_${j} = select(vec4<f32>(), vec4<f32>(x[at_${i}_${j}]), inside_${i}_${j});
#endfor
#endfor
