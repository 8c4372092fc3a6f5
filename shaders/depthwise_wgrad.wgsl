// Gradient of a depthwise convolution's weight. Tiles of ROWS × COLUMNS output pixels (which
// `params.pixels` and `params.group` count here) are dealt out to the parts of the sum, each with
// an invocation per group of four channels; sum_rows joins their results.
#import grid
#import map
#import conv2d_params
#import cut

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> dy: array<Map>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    let c = id % params.in_c4;
    let part = id / params.in_c4;
    if part >= part_count() {
        return;
    }
    let tiles_x = div_ceil(params.out_w, ${COLUMNS}u);
    let tiles_y = div_ceil(params.out_h, ${ROWS}u);
#for k in 0..TAPS
#for l in 0..TAPS
    var sum_${k}_${l} = vec4<f32>();
#endfor
#endfor
    let tiles = group_of(part);
    for (var at = part % params.parts; at < tiles.size; at += params.parts) {
        let tile = tiles.first + at;
        let ox = tile % tiles_x * ${COLUMNS}u;
        let oy = tile / tiles_x % tiles_y * ${ROWS}u;
        let image = tile / tiles_x / tiles_y;
        let base = image * params.in_h;
        let first_row = i32(oy) * ${STEP} - i32(params.pad);
        let first_column = i32(ox) * ${STEP} - i32(params.pad);
#import depthwise_tile
#for r in 0..ROWS
#for p in 0..COLUMNS
        {
            let live = oy + ${r}u < params.out_h && ox + ${p}u < params.out_w;
            let pixel = (image * params.out_h + oy + ${r}u) * params.out_w + ox + ${p}u;
            let at = select(0u, pixel * params.in_c4 + c, live);
            let d = select(vec4<f32>(), vec4<f32>(dy[at]), live);
#for k in 0..TAPS
#for l in 0..TAPS
            sum_${k}_${l} += x_${r*STEP+k}_${p*STEP+l} * d;
#endfor
#endfor
        }
#endfor
#endfor
    }
#for k in 0..TAPS
#for l in 0..TAPS
    partial[((params.first + part) * ${TAPS*TAPS}u + ${k*TAPS+l}u) * params.in_c4 + c] = sum_${k}_${l};
#endfor
#endfor
}
