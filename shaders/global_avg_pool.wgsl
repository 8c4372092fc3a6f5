// Mean over each image's rows and columns, and its gradient.
#import grid
#import per_image

@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.c4 {
        return;
    }
    let first = id / params.c4 * params.size * params.c4 + id % params.c4;
    var total = vec4<f32>();
    for (var pixel = 0u; pixel < params.size; pixel++) {
        total += x[first + pixel * params.c4];
    }
    y[id] = total / f32(params.size);
}

// `x` is the gradient of the means, `y` that of the maps.
@compute @workgroup_size(GROUP)
fn grad(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.size * params.c4 {
        return;
    }
    let image = id / (params.size * params.c4);
    y[id] = x[image * params.c4 + id % params.c4] / f32(params.size);
}
