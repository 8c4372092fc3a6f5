// A row of the input of a strip of COLUMNS results of a depthwise kernel that slides by STEP. Pasted
// into a block that defines `c` (group of four channels), `base` (the image's first input row), `row`
// and `first_column` (of the strip's input, signed); leaves `x_0` and so on, zero outside of the map.
            // Negative positions wrap to huge ones, which comparisons refuse.
            let iy = u32(row);
            let line = (base + iy) * params.in_w;
#for j in 0..COLUMNS*STEP-STEP+TAPS
            let ix_${j} = u32(first_column + ${j});
            let inside_${j} = ix_${j} < params.in_w && iy < params.in_h;
            let at_${j} = select(0u, (line + ix_${j}) * params.in_c4 + c, inside_${j});
            let x_${j} = select(vec4<f32>(), vec4<f32>(x[at_${j}]), inside_${j});
#endfor
