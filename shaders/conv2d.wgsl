// Convolution as an implicit matrix product: rows are output pixels, columns output channels,
// the depth is the window times the input channels. Each invocation owns a register tile of
// PIXELS pixels, spread so that neighbours read neighbours, by COLUMNS × 4 channels.
#import grid
#import conv2d_params

@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> bias: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let id = flat_id(group, groups, local);
    let column_tiles = div_ceil(params.out_c4, ${COLUMNS}u);
    let pixel_tiles = div_ceil(params.pixels, ${PIXELS}u);
    let column = id % column_tiles * ${COLUMNS}u;
    let tile = id / column_tiles;
    if tile >= pixel_tiles {
        return;
    }
#for p in 0..PIXELS
    let pixel_${p} = tile + ${p}u * pixel_tiles;
    let live_${p} = pixel_${p} < params.pixels;
#endfor
#import conv2d_tile
#for v in 0..COLUMNS
    if column + ${v}u < params.out_c4 {
#if BIAS
        let shift = bias[column_${v}];
#else
        let shift = vec4<f32>();
#endif
#for p in 0..PIXELS
        if live_${p} {
            y[pixel_${p} * params.out_c4 + column_${v}] = acc_${p}_${v} + shift;
        }
#endfor
    }
#endfor
}
