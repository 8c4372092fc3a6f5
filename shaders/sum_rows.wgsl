// y[i] = sum over rows r of partial[r, i], in order: the second stage of a split sum.
#import grid

struct Params {
    rows: u32,
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.len {
        return;
    }
    var total = vec4<f32>();
    for (var row = 0u; row < params.rows; row++) {
        total += partial[row * params.len + id];
    }
    y[id] = total;
}
