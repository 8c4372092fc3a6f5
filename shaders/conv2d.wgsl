// Convolution as an implicit matrix product: rows are output pixels, columns output channels,
// the depth is the window times the input channels. Each invocation owns a register tile of
// PIXELS pixels, spread so that neighbours read neighbours, by COLUMNS × 4 channels.
#import grid
#import map
#import conv2d_params

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Map>;
@group(0) @binding(4) var<storage, read_write> bias: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
#import conv2d_batch_tile
#for v in 0..COLUMNS
    if column + ${v}u < params.out_c4 {
#if BIAS
        let shift = bias[column_${v}];
#else
        let shift = vec4<f32>();
#endif
#for p in 0..PIXELS
        if live_${p} {
            y[pixel_${p} * params.out_c4 + column_${v}] = to_map(acc_${p}_${v} + shift);
        }
#endfor
    }
#endfor
}
