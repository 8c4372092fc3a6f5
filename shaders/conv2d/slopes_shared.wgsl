// Loads the gradient of a pixel. The SHARED invocations of a subgroup need the same columns: each loads
// some of them and broadcasts them. Invocation i loads columns i, i + SHARED and so on.

// The number of columns that each invocation loads.
const LOADS: u32 = (COLUMNS + SHARED - 1u) / SHARED;

struct Columns {
    column: array<u32, LOADS>,
}

fn columns_of(column: u32, lane: u32) -> Columns {
    var columns: Columns;
#for k in 0..(COLUMNS+SHARED-1)/SHARED
    columns.column[${k}] = min(column + lane + ${k}u * SHARED, params.out_c4 - 1u);
#endfor
    return columns;
}

fn slopes_at(columns: Columns, pixel: u32) -> Slopes {
    var loaded: array<vec4<f32>, LOADS>;
#for k in 0..(COLUMNS+SHARED-1)/SHARED
    loaded[${k}] = vec4<f32>(dy[pixel * params.out_c4 + columns.column[${k}]]);
#endfor
    var slopes: Slopes;
#for v in 0..COLUMNS
    slopes[${v}] = subgroupBroadcast(loaded[${v/SHARED}], ${v%SHARED}u);
#endfor
    return slopes;
}
