// Rows of `a` times the matrix `b`: pasted into a function that defines `image`, `column` (the
// tile's first group of four columns), `first_b` (where `b` begins), and for each p in 0..PIXELS
// `a_p` (where a row begins). Leaves the sums in `acc_p_v`.
//
// With CLASSES the depth is the classes: each has a weight, the gradient of its score, and `b` is
// read transposed.
#for v in 0..COLUMNS
    let column_${v} = min(column + ${v}u, params.width - 1u);
#for p in 0..PIXELS
    var acc_${p}_${v} = vec4<f32>();
#endfor
#endfor
    for (var c = 0u; c < params.depth; c++) {
#if CLASSES
        let slope = params.factor * scores[(params.first + image) * params.depth + c];
#for p in 0..PIXELS
        let row_${p} = slope * vec4<f32>(a[a_${p} + c]);
#endfor
#for v in 0..COLUMNS
        {
            let at = first_b + 4u * column_${v} * params.depth + c;
            let m = mat4x4<f32>(b[at], b[at + params.depth], b[at + 2u * params.depth], b[at + 3u * params.depth]);
#for p in 0..PIXELS
            acc_${p}_${v} += row_${p} * m;
#endfor
        }
#endfor
#else
#for p in 0..PIXELS
        let row_${p} = vec4<f32>(a[a_${p} + c]);
#endfor
#for v in 0..COLUMNS
        {
            let at = first_b + 4u * c * params.width + column_${v};
            let m = mat4x4<f32>(b[at], b[at + params.width], b[at + 2u * params.width], b[at + 3u * params.width]);
#for p in 0..PIXELS
            acc_${p}_${v} += m * row_${p};
#endfor
        }
#endfor
#endif
    }
