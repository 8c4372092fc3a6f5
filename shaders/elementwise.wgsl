// Ops that treat every value alike.
#import grid
#import activation

struct Params {
    len: u32,
    c: u32,
    c4: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> keep: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn activation(invocation: Invocation) {
    let id = flat_id(invocation);
    if id < params.len {
        y[id] = activate(a[id], id % params.c4, params.c);
    }
}

// From the input `a` and the gradient `b` of the output.
@compute @workgroup_size(GROUP)
fn activation_grad(invocation: Invocation) {
    let id = flat_id(invocation);
    if id < params.len {
        y[id] = b[id] * slope(a[id]);
    }
}

@compute @workgroup_size(GROUP)
fn add(invocation: Invocation) {
    let id = flat_id(invocation);
    if id < params.len {
        y[id] = a[id] + b[id];
    }
}

@compute @workgroup_size(GROUP)
fn accumulate(invocation: Invocation) {
    let id = flat_id(invocation);
    if id < params.len {
        // A total that is not kept may hold anything, even what is not a number.
        y[id] = select(vec4<f32>(), y[id], keep[0].x != 0.0) + params.factor * a[id];
    }
}
