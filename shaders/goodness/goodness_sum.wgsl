// The goodness of each class from its partial sums: scores[first + image] = factor * sum of the parts of
// the image, in order.
#import common/grid

struct Params {
    images: u32,
    c4: u32,
    parts: u32,
    first: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> scores: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.c4 {
        return;
    }
    let first = id / params.c4 * params.parts * params.c4 + id % params.c4;
    var total = vec4<f32>();
    for (var part = 0u; part < params.parts; part++) {
        total += partial[first + part * params.c4];
    }
    scores[params.first * params.c4 + id] = params.factor * total;
}
