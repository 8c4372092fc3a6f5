// Sums a gradient over pixels, `chunks` partial sums per channel group; sum_rows joins them.
#import grid

struct Params {
    pixels: u32,
    c4: u32,
    chunks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let id = flat_id(group, groups, local);
    if id >= params.chunks * params.c4 {
        return;
    }
    var total = vec4<f32>();
    for (var pixel = id / params.c4; pixel < params.pixels; pixel += params.chunks) {
        total += dy[pixel * params.c4 + id % params.c4];
    }
    partial[id] = total;
}
