// AdamW over all parameters of a block at once (Loshchilov and Hutter, arXiv 1711.05101). `factor`
// removes the loss scale from the gradients.
#import common/grid

struct Params {
    len: u32,
    factor: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> value: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> grad: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> step: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.len {
        return;
    }
    // Learning rate and the two bias corrections.
    let now = step[0];
    let g = params.factor * grad[id];
    let first = m[id] + (1.0 - params.beta1) * (g - m[id]);
    let second = params.beta2 * v[id] + (1.0 - params.beta2) * g * g;
    m[id] = first;
    v[id] = second;
    value[id] = value[id] * (1.0 - now.x * params.weight_decay)
        - now.x * (first / now.y) / (sqrt(second / now.z) + params.eps);
}
