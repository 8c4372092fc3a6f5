// Scales each map by a factor of its own, and the gradient of that factor.
#import grid
#import map
#import per_image

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> s: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Map>;

// With the output's gradient as `x` this gives the gradient of the maps.
@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.size * params.c4 {
        return;
    }
    let image = id / (params.size * params.c4);
    y[id] = to_map(vec4<f32>(x[id]) * s[image * params.c4 + id % params.c4]);
}

// `s`, the gradient of the factors, from the maps `x` and the gradient `y` of the scaled ones.
@compute @workgroup_size(GROUP)
fn grad(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.c4 {
        return;
    }
    let first = id / params.c4 * params.size * params.c4 + id % params.c4;
    var total = vec4<f32>();
    for (var pixel = 0u; pixel < params.size; pixel++) {
        let at = first + pixel * params.c4;
        total += vec4<f32>(x[at]) * vec4<f32>(y[at]);
    }
    s[id] = total;
}
