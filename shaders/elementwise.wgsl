// Ops that treat every value alike.
#import grid
#import relu

struct Params {
    len: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> keep: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn rectify(invocation: Invocation) {
    let id = flat_id(invocation);
    if id < params.len {
        y[id] = relu(a[id]);
    }
}

// Passes the gradient `b` where the output `a` is positive.
@compute @workgroup_size(GROUP)
fn relu_grad(invocation: Invocation) {
    let id = flat_id(invocation);
    if id < params.len {
        y[id] = select(vec4<f32>(), b[id], a[id] > vec4<f32>());
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
