// Loads the gradient of a pixel. Each invocation loads its own columns.

struct Columns {
    column: array<u32, COLUMNS>,
}

fn columns_of(column: u32, lane: u32) -> Columns {
    var columns: Columns;
#for v in 0..COLUMNS
    columns.column[${v}] = min(column + ${v}u, params.out_c4 - 1u);
#endfor
    return columns;
}

fn slopes_at(columns: Columns, pixel: u32) -> Slopes {
    var slopes: Slopes;
#for v in 0..COLUMNS
    slopes[${v}] = vec4<f32>(dy[pixel * params.out_c4 + columns.column[${v}]]);
#endfor
    return slopes;
}
