// Batch norm per channel, with an activation. Sums over pixels have two stages: a partial sum per part
// of the pixels, then the total of each group of four channels, in order. `pixels` counts the pixels of
// the dispatch, `total` those of the batch.
//
// Elementwise passes have `across` invocations per group of channels, and each computes several pixels,
// so that it loads the constants of its channels once.
#import common/activation
#import common/grid
#import common/map
#import common/parts
#import common/join
#import common/welford

struct Params {
    pixels: u32,
    c: u32,
    c4: u32,
    parts: u32,
    group: u32,
    first: u32,
    total: u32,
    across: u32,
    eps: f32,
    momentum: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> gamma: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> beta: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<Map>;
@group(0) @binding(6) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> running: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dy: array<Map>;
@group(0) @binding(9) var<storage, read_write> dgamma: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read_write> dbeta: array<vec4<f32>>;
@group(0) @binding(11) var<storage, read_write> residual: array<Map>;

// The number of pixels of a part, which has every `params.parts`th pixel of its group.
fn part_size(part: u32) -> f32 {
    return f32(div_ceil(group_of(part).size - part % params.parts, params.parts));
}

fn deviation(variance: vec4<f32>) -> vec4<f32> {
    return sqrt(variance + params.eps);
}

// The normalisation of a group of four channels.
struct Channels {
    mean: vec4<f32>,
    deviation: vec4<f32>,
    gamma: vec4<f32>,
    beta: vec4<f32>,
}

fn channels(c: u32) -> Channels {
    return Channels(stats[c], deviation(stats[params.c4 + c]), gamma[c], beta[c]);
}

// The gradient before the activation, and the normalised value.
struct BeforeActivation {
    dy: vec4<f32>,
    normal: vec4<f32>,
}

fn before_activation(at: u32, norm: Channels) -> BeforeActivation {
    let normal = (vec4<f32>(x[at]) - norm.mean) / norm.deviation;
    return BeforeActivation(vec4<f32>(dy[at]) * slope(normal * norm.gamma + norm.beta), normal);
}

// The moments of each part, to `partial`.
@compute @workgroup_size(GROUP)
fn reduce(invocation: Invocation) {
    let id = flat_id(invocation);
    let c = id % params.c4;
    let part = id / params.c4;
    if part >= part_count() {
        return;
    }
    let pixels = group_of(part);
    let shift = vec4<f32>(x[(pixels.first + part % params.parts) * params.c4 + c]);
    var sum = vec4<f32>();
    var squares = vec4<f32>();
    for (var at = part % params.parts; at < pixels.size; at += params.parts) {
        let d = vec4<f32>(x[(pixels.first + at) * params.c4 + c]) - shift;
        sum += d;
        squares += d * d;
    }
    let m = moments(part_size(part), shift, sum, squares);
    let to = 2u * ((params.first + part) * params.c4 + c);
    partial[to] = m.mean;
    partial[to + 1u] = m.m2;
}

// Merges the moments of all parts; updates the running statistics.
@compute @workgroup_size(GROUP)
fn finish(invocation: Invocation) {
    let c = result_id(invocation);
    let parts = select(0u, part_count(), c < params.c4);
    var total = Moments(0.0, vec4<f32>(), vec4<f32>());
    for (var part = share_of(invocation); part < parts; part += SHARES) {
        let at = 2u * (part * params.c4 + c);
        total = merge(total, Moments(part_size(part), partial[at], partial[at + 1u]));
    }
    total = join_moments(invocation, total);
    if c >= params.c4 || share_of(invocation) > 0u {
        return;
    }
    stats[c] = total.mean;
    stats[params.c4 + c] = total.m2 / total.count;
    let unbiased = total.m2 / max(total.count - 1.0, 1.0);
    running[c] += params.momentum * (total.mean - running[c]);
    running[params.c4 + c] += params.momentum * (unbiased - running[params.c4 + c]);
}

// Normalises, adds the residual, applies the activation.
@compute @workgroup_size(GROUP)
fn apply(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.across * params.c4 {
        return;
    }
    let c = id % params.c4;
    let norm = channels(c);
    for (var pixel = id / params.c4; pixel < params.pixels; pixel += params.across) {
        let at = pixel * params.c4 + c;
        var value = (vec4<f32>(x[at]) - norm.mean) / norm.deviation * norm.gamma + norm.beta;
#if RESIDUAL
        value += vec4<f32>(residual[at]);
#endif
        y[at] = to_map(activate(value, c, params.c));
    }
}

// Partial sums of dy and of dy times the normalised value.
@compute @workgroup_size(GROUP)
fn grad_reduce(invocation: Invocation) {
    let id = flat_id(invocation);
    let c = id % params.c4;
    let part = id / params.c4;
    if part >= part_count() {
        return;
    }
    let pixels = group_of(part);
    var sum = vec4<f32>();
    var product = vec4<f32>();
    let norm = channels(c);
    for (var at = part % params.parts; at < pixels.size; at += params.parts) {
        let value = before_activation((pixels.first + at) * params.c4 + c, norm);
        sum += value.dy;
        product += value.dy * value.normal;
    }
    let to = 2u * ((params.first + part) * params.c4 + c);
    partial[to] = sum;
    partial[to + 1u] = product;
}

// Adds the partial sums: the gradients of beta and gamma.
@compute @workgroup_size(GROUP)
fn grad_finish(invocation: Invocation) {
    let c = result_id(invocation);
    let parts = select(0u, part_count(), c < params.c4);
    var total = Sums();
    for (var part = share_of(invocation); part < parts; part += SHARES) {
        let at = 2u * (part * params.c4 + c);
        total = Sums(total.a + partial[at], total.b + partial[at + 1u]);
    }
    total = join_sums(invocation, total);
    if c < params.c4 && share_of(invocation) == 0u {
        dbeta[c] = total.a;
        dgamma[c] = total.b;
    }
}

// Writes the gradient of the input to `y`.
@compute @workgroup_size(GROUP)
fn grad_apply(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.across * params.c4 {
        return;
    }
    let c = id % params.c4;
    let norm = channels(c);
    let factor = norm.gamma / norm.deviation;
    let mean_dy = dbeta[c] / f32(params.total);
    let mean_product = dgamma[c] / f32(params.total);
    for (var pixel = id / params.c4; pixel < params.pixels; pixel += params.across) {
        let at = pixel * params.c4 + c;
        let value = before_activation(at, norm);
        y[at] = to_map(factor * (value.dy - mean_dy - value.normal * mean_product));
    }
}
