// Gradient of a convolution's weight (wgrad): a matrix product whose depth is the pixels. Rows are
// pairs of window position and input channel, columns are output channels. The depth is split into
// parts; each invocation sums one part for a tile of the weight.
#import common/grid
#import common/map
#import common/parts
#import conv2d/conv2d_params
#import conv2d/wgrad_tile

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> dy: array<Map>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let all = params.kernel * params.kernel * params.in_c4;
    let work = work_of(invocation, div_ceil(all, ROWS));
    if work.part >= part_count() {
        return;
    }
    // For each row, its position in the window minus the padding, and its group of input channels.
    var rows: Rows;
    var ky: array<i32, ROWS>;
    var kx: array<i32, ROWS>;
    var c: array<u32, ROWS>;
#for r in 0..ROWS
    {
        let row = work.row_tile * ROWS + ${r}u;
        rows.live[${r}] = row < all;
        rows.row[${r}] = min(row, all - 1u);
        let tap = rows.row[${r}] / params.in_c4;
        c[${r}] = rows.row[${r}] % params.in_c4;
        ky[${r}] = i32(tap / params.kernel) - i32(params.pad);
        kx[${r}] = i32(tap % params.kernel) - i32(params.pad);
    }
#endfor
    let columns = columns_of(work.column, work.lane);
    let pixels = range_of(work.part);
    var acc: Acc;
    var cursor = cursor_at(pixels.first);
    for (var pixel = pixels.first; pixel < pixels.last; pixel++) {
        let slopes = slopes_at(columns, pixel);
        var inputs: Inputs;
#for r in 0..ROWS
        {
            // Negative positions wrap to huge ones, which fail the comparison.
            let iy = u32(cursor.y * i32(params.stride) + ky[${r}]);
            let ix = u32(cursor.x * i32(params.stride) + kx[${r}]);
            let inside = iy < params.in_h && ix < params.in_w;
            let at = select(0u, ((cursor.base + iy) * params.in_w + ix) * params.in_c4, inside) + c[${r}];
            inputs[${r}] = select(vec4<f32>(), vec4<f32>(x[at]), inside);
        }
#endfor
        multiply(&acc, inputs, slopes);
        advance(&cursor);
    }
    store(acc, rows, work.part, work.column);
}
