// Layer norm per image over rows, columns and channels. Padding lanes count for nothing and
// stay zero. Sums are taken in two stages, `chunks` partial results per image.
#import grid
#import map
#import lanes
#import welford

struct Params {
    images: u32,
    size: u32,
    c: u32,
    c4: u32,
    chunks: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> y: array<Map>;
@group(0) @binding(3) var<storage, read_write> stats: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dy: array<Map>;
@group(0) @binding(6) var<storage, read_write> dx: array<Map>;

@compute @workgroup_size(GROUP)
fn reduce(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.chunks {
        return;
    }
    let base = id / params.chunks * params.size;
    let chunk = id % params.chunks;
    let shift = f32(x[(base + chunk) * params.c4].x);
    var count = 0.0;
    var sum = 0.0;
    var squares = 0.0;
    for (var pixel = chunk; pixel < params.size; pixel += params.chunks) {
        for (var c = 0u; c < params.c4; c++) {
            let d = (vec4<f32>(x[(base + pixel) * params.c4 + c]) - shift) * lanes(c, params.c);
            sum += dot(d, vec4<f32>(1.0));
            squares += dot(d, d);
        }
        count += f32(params.c);
    }
    let m = moments(count, vec4<f32>(shift), vec4<f32>(sum), vec4<f32>(squares));
    partial[id] = vec4<f32>(count, m.mean.x, m.m2.x, 0.0);
}

@compute @workgroup_size(GROUP)
fn finish(invocation: Invocation) {
    let image = flat_id(invocation);
    if image >= params.images {
        return;
    }
    let first = partial[image * params.chunks];
    var total = Moments(first.x, vec4<f32>(first.y), vec4<f32>(first.z));
    for (var chunk = 1u; chunk < params.chunks; chunk++) {
        let p = partial[image * params.chunks + chunk];
        total = merge(total, Moments(p.x, vec4<f32>(p.y), vec4<f32>(p.z)));
    }
    stats[image] = vec4<f32>(total.mean.x, 1.0 / sqrt(total.m2.x / total.count + params.eps), 0.0, 0.0);
}

@compute @workgroup_size(GROUP)
fn apply(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.size * params.c4 {
        return;
    }
    let s = stats[id / (params.size * params.c4)];
    y[id] = to_map((vec4<f32>(x[id]) - s.x) * s.y * lanes(id % params.c4, params.c));
}

@compute @workgroup_size(GROUP)
fn grad_reduce(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.chunks {
        return;
    }
    let base = id / params.chunks * params.size;
    var sum = 0.0;
    var product = 0.0;
    for (var pixel = id % params.chunks; pixel < params.size; pixel += params.chunks) {
        for (var c = 0u; c < params.c4; c++) {
            let at = (base + pixel) * params.c4 + c;
            let d = vec4<f32>(dy[at]);
            sum += dot(d, lanes(c, params.c));
            product += dot(d, vec4<f32>(y[at]));
        }
    }
    partial[id] = vec4<f32>(sum, product, 0.0, 0.0);
}

// Leaves the two means in the image's first partial result.
@compute @workgroup_size(GROUP)
fn grad_finish(invocation: Invocation) {
    let image = flat_id(invocation);
    if image >= params.images {
        return;
    }
    var total = vec4<f32>();
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        total += partial[image * params.chunks + chunk];
    }
    partial[image * params.chunks] = total / f32(params.size * params.c);
}

@compute @workgroup_size(GROUP)
fn grad_apply(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.size * params.c4 {
        return;
    }
    let image = id / (params.size * params.c4);
    let means = partial[image * params.chunks];
    let s = stats[image];
    let normal = vec4<f32>(y[id]);
    let centred = vec4<f32>(dy[id]) - means.x - normal * means.y;
    let slope = s.y * centred * lanes(id % params.c4, params.c);
#if RELU
    // What `apply` makes of zero, by the same operations.
    let zero = vec4<f32>(to_map(vec4<f32>((0.0 - s.x) * s.y)));
    dx[id] = to_map(select(vec4<f32>(), slope, normal > zero));
#else
    dx[id] = to_map(slope);
#endif
}
