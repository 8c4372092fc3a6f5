// Elementwise ops.
#import common/grid
#import common/map
#import common/activation

struct Params {
    len: u32,
    c: u32,
    c4: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> a: array<Map>;
@group(0) @binding(2) var<storage, read_write> b: array<Map>;
@group(0) @binding(3) var<storage, read_write> y: array<Map>;
@group(0) @binding(4) var<storage, read_write> keep: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn activation(invocation: Invocation) {
    let id = flat_id(invocation);
    if id < params.len {
        y[id] = to_map(activate(vec4<f32>(a[id]), id % params.c4, params.c));
    }
}

// `a` is the input, `b` the gradient of the output.
@compute @workgroup_size(GROUP)
fn activation_grad(invocation: Invocation) {
    let id = flat_id(invocation);
    if id < params.len {
        y[id] = to_map(vec4<f32>(b[id]) * slope(vec4<f32>(a[id])));
    }
}

@compute @workgroup_size(GROUP)
fn add(invocation: Invocation) {
    let id = flat_id(invocation);
    if id < params.len {
        y[id] = to_map(vec4<f32>(a[id]) + vec4<f32>(b[id]));
    }
}

// y = keep * y + factor * a.
@compute @workgroup_size(GROUP)
fn accumulate(invocation: Invocation) {
    let id = flat_id(invocation);
    if id < params.len {
        // If the total is not kept, the old value is undefined and may be NaN.
        let old = select(vec4<f32>(), vec4<f32>(y[id]), keep[0].x != 0.0);
        y[id] = to_map(old + params.factor * vec4<f32>(a[id]));
    }
}
