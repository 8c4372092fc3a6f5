// Batch norm per channel, with an optional ReLU. Sums over pixels are taken in two stages:
// `chunks` partial results per channel group, then one invocation per group joins them in order.
#import grid
#import welford

struct Params {
    pixels: u32,
    c4: u32,
    chunks: u32,
    eps: f32,
    momentum: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> gamma: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> beta: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> running: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> dgamma: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read_write> dbeta: array<vec4<f32>>;

// How many of the pixels chunk, chunk + chunks, … there are.
fn chunk_size(chunk: u32) -> f32 {
    return f32(div_ceil(params.pixels - chunk, params.chunks));
}

fn deviation(variance: vec4<f32>) -> vec4<f32> {
    return sqrt(variance + params.eps);
}

// The gradient that reaches the normalised value behind the ReLU, and that value.
struct Upstream {
    dy: vec4<f32>,
    normal: vec4<f32>,
}

fn upstream(at: u32, c: u32) -> Upstream {
    let normal = (x[at] - stats[c]) / deviation(stats[params.c4 + c]);
#if RELU
    return Upstream(select(vec4<f32>(), dy[at], normal * gamma[c] + beta[c] > vec4<f32>()), normal);
#else
    return Upstream(dy[at], normal);
#endif
}

@compute @workgroup_size(GROUP)
fn reduce(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let id = flat_id(group, groups, local);
    if id >= params.chunks * params.c4 {
        return;
    }
    let c = id % params.c4;
    let chunk = id / params.c4;
    let shift = x[chunk * params.c4 + c];
    var sum = vec4<f32>();
    var squares = vec4<f32>();
    for (var pixel = chunk; pixel < params.pixels; pixel += params.chunks) {
        let d = x[pixel * params.c4 + c] - shift;
        sum += d;
        squares += d * d;
    }
    let m = moments(chunk_size(chunk), shift, sum, squares);
    partial[2u * id] = m.mean;
    partial[2u * id + 1u] = m.m2;
}

@compute @workgroup_size(GROUP)
fn finish(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let c = flat_id(group, groups, local);
    if c >= params.c4 {
        return;
    }
    var total = Moments(chunk_size(0u), partial[2u * c], partial[2u * c + 1u]);
    for (var chunk = 1u; chunk < params.chunks; chunk++) {
        let at = 2u * (chunk * params.c4 + c);
        total = merge(total, Moments(chunk_size(chunk), partial[at], partial[at + 1u]));
    }
    stats[c] = total.mean;
    stats[params.c4 + c] = total.m2 / total.count;
    let unbiased = total.m2 / max(total.count - 1.0, 1.0);
    running[c] += params.momentum * (total.mean - running[c]);
    running[params.c4 + c] += params.momentum * (unbiased - running[params.c4 + c]);
}

@compute @workgroup_size(GROUP)
fn apply(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let id = flat_id(group, groups, local);
    if id >= params.pixels * params.c4 {
        return;
    }
    let c = id % params.c4;
    let value = (x[id] - stats[c]) / deviation(stats[params.c4 + c]) * gamma[c] + beta[c];
#if RELU
    y[id] = max(value, vec4<f32>());
#else
    y[id] = value;
#endif
}

@compute @workgroup_size(GROUP)
fn grad_reduce(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let id = flat_id(group, groups, local);
    if id >= params.chunks * params.c4 {
        return;
    }
    let c = id % params.c4;
    var sum = vec4<f32>();
    var product = vec4<f32>();
    for (var pixel = id / params.c4; pixel < params.pixels; pixel += params.chunks) {
        let u = upstream(pixel * params.c4 + c, c);
        sum += u.dy;
        product += u.dy * u.normal;
    }
    partial[2u * id] = sum;
    partial[2u * id + 1u] = product;
}

@compute @workgroup_size(GROUP)
fn grad_finish(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let c = flat_id(group, groups, local);
    if c >= params.c4 {
        return;
    }
    var sum = vec4<f32>();
    var product = vec4<f32>();
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        let at = 2u * (chunk * params.c4 + c);
        sum += partial[at];
        product += partial[at + 1u];
    }
    dbeta[c] = sum;
    dgamma[c] = product;
}

// Writes the gradient of the input to `y`.
@compute @workgroup_size(GROUP)
fn grad_apply(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let id = flat_id(group, groups, local);
    if id >= params.pixels * params.c4 {
        return;
    }
    let c = id % params.c4;
    let u = upstream(id, c);
    let centred = u.dy - (dbeta[c] + u.normal * dgamma[c]) / f32(params.pixels);
    y[id] = gamma[c] / deviation(stats[params.c4 + c]) * centred;
}
