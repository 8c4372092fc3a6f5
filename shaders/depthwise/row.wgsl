// The row of the input that COLUMNS adjacent results of a strip read: a window of TAPS with stride
// STEP.
const ROW: u32 = COLUMNS * STEP - STEP + TAPS;
alias Row = array<vec4<f32>, ROW>;

// Row `row` of the image whose first row is `base`, from column `first_column` on. Both may lie outside
// of the map, where the input is zero.
fn row_at(base: u32, row: i32, first_column: i32, c: u32) -> Row {
    // Negative positions wrap to huge ones, which fail the comparison.
    let iy = u32(row);
    let line = (base + iy) * params.in_w;
    var values: Row;
#for j in 0..COLUMNS*STEP-STEP+TAPS
    {
        let ix = u32(first_column + ${j});
        let inside = ix < params.in_w && iy < params.in_h;
        let at = select(0u, (line + ix) * params.in_c4 + c, inside);
        values[${j}] = select(vec4<f32>(), vec4<f32>(x[at]), inside);
    }
#endfor
    return values;
}
