// Convolution as an implicit matrix product: rows are output pixels, columns output channels, and the
// depth is the positions of the window times the input channels. Each invocation computes a register
// tile of PIXELS pixels by COLUMNS groups of four channels.
#import common/grid
#import common/map
#import conv2d/conv2d_params
#import conv2d/tile

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Map>;
@group(0) @binding(4) var<storage, read_write> bias: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let work = work_of(invocation, tile_count());
    if !work.exists {
        return;
    }
    let tile = tile_of_batch(work.row);
    let acc = convolve(tile, weights_of(work.column, work.lane));
#for v in 0..COLUMNS
    if work.column + ${v}u < params.out_c4 {
#if BIAS
        let shift = bias[work.column + ${v}u];
#else
        let shift = vec4<f32>();
#endif
#for p in 0..PIXELS
        if tile.pixels[${p}].live {
            y[tile.pixels[${p}].index * params.out_c4 + work.column + ${v}u] = to_map(acc[${p}][${v}] + shift);
        }
#endfor
    }
#endfor
}
