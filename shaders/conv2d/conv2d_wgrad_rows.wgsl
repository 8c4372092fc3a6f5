// The same sums as conv2d_wgrad, for a stride of 1 and a window with side TAPS. The rows of an
// invocation are all positions of one row of the window, for GROUPS groups of channels. The input of a
// position at one pixel is the input of the previous position at the next pixel, so it is loaded once.
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
    let group_tiles = div_ceil(params.in_c4, GROUPS);
    let row_tiles = params.kernel * group_tiles;
    let work = work_of(invocation, row_tiles);
    if work.part >= part_count() {
        return;
    }
    let ky = min(work.row_tile / group_tiles, params.kernel - 1u);
    let first_group = work.row_tile % group_tiles * GROUPS;
    var rows: Rows;
    var c: array<u32, GROUPS>;
#for g in 0..GROUPS
    c[${g}] = min(first_group + ${g}u, params.in_c4 - 1u);
#for t in 0..TAPS
    rows.row[${g*TAPS+t}] = (ky * params.kernel + ${t}u) * params.in_c4 + c[${g}];
    rows.live[${g*TAPS+t}] = work.row_tile < row_tiles && first_group + ${g}u < params.in_c4;
#endfor
#endfor
    let columns = columns_of(work.column, work.lane);
    let pixels = range_of(work.part);
    var acc: Acc;
    var inputs: Inputs;
    var cursor = cursor_at(pixels.first);
    for (var pixel = pixels.first; pixel < pixels.last; pixel++) {
        let slopes = slopes_at(columns, pixel);
        // Negative positions wrap to huge ones, which fail the comparison.
        let iy = u32(cursor.y + i32(ky) - i32(params.pad));
        let line = (cursor.base + iy) * params.in_w;
        if pixel == pixels.first || cursor.x == 0 {
#for t in 0..TAPS-1
#for g in 0..GROUPS
            inputs[${g*TAPS+t+1}] = input_at(line, iy, u32(cursor.x + ${t} - i32(params.pad)), c[${g}]);
#endfor
#endfor
        }
        let ix = u32(cursor.x + ${TAPS-1} - i32(params.pad));
#for g in 0..GROUPS
#for t in 0..TAPS-1
        inputs[${g*TAPS+t}] = inputs[${g*TAPS+t+1}];
#endfor
        inputs[${g*TAPS+TAPS-1}] = input_at(line, iy, ix, c[${g}]);
#endfor
        multiply(&acc, inputs, slopes);
        advance(&cursor);
    }
    store(acc, rows, work.part, work.column);
}

// Column `ix` of row `iy` of the input, which begins at pixel `line`; zero outside of the map.
fn input_at(line: u32, iy: u32, ix: u32, c: u32) -> vec4<f32> {
    let inside = iy < params.in_h && ix < params.in_w;
    return select(vec4<f32>(), vec4<f32>(x[select(0u, (line + ix) * params.in_c4, inside) + c]), inside);
}
