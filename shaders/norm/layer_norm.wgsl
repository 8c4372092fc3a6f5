// Layer norm per image over rows, columns and channels. Padding lanes are excluded and stay zero. Sums
// have two stages, with `chunks` partial results per image.
#import common/grid
#import common/map
#import common/join
#import common/lanes
#import common/welford

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

// The moments of each chunk of an image, to `partial`.
@compute @workgroup_size(GROUP)
fn reduce(invocation: Invocation) {
    let id = result_id(invocation);
    let live = id < params.images * params.chunks;
    let base = select(0u, id / params.chunks * params.size, live);
    let chunk = id % params.chunks;
    let size = select(0u, params.size, live);
    let shift = f32(x[(base + chunk) * params.c4].x);
    var sums = Sums();
    for (var pixel = chunk; pixel < size; pixel += params.chunks) {
        for (var c = share_of(invocation); c < params.c4; c += SHARES) {
            let d = (vec4<f32>(x[(base + pixel) * params.c4 + c]) - shift) * lanes(c, params.c);
            sums = Sums(sums.a + d, sums.b + d * d);
        }
    }
    sums = join_sums(invocation, sums);
    if live && share_of(invocation) == 0u {
        let pixels = div_ceil(params.size - chunk, params.chunks);
        let count = f32(pixels * params.c);
        let sum = vec4<f32>(dot(sums.a, vec4<f32>(1.0)));
        let m = moments(count, vec4<f32>(shift), sum, vec4<f32>(dot(sums.b, vec4<f32>(1.0))));
        partial[id] = vec4<f32>(count, m.mean.x, m.m2.x, 0.0);
    }
}

// Merges the moments of an image: its mean, and the reciprocal of its standard deviation.
@compute @workgroup_size(GROUP)
fn finish(invocation: Invocation) {
    let image = result_id(invocation);
    let chunks = select(0u, params.chunks, image < params.images);
    var total = Moments(0.0, vec4<f32>(), vec4<f32>());
    for (var chunk = share_of(invocation); chunk < chunks; chunk += SHARES) {
        let p = partial[image * params.chunks + chunk];
        total = merge(total, Moments(p.x, vec4<f32>(p.y), vec4<f32>(p.z)));
    }
    total = join_moments(invocation, total);
    if image < params.images && share_of(invocation) == 0u {
        let deviation = sqrt(total.m2.x / total.count + params.eps);
        stats[image] = vec4<f32>(total.mean.x, 1.0 / deviation, 0.0, 0.0);
    }
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

// Partial sums of dy, and of dy times the normalised value `y`.
@compute @workgroup_size(GROUP)
fn grad_reduce(invocation: Invocation) {
    let id = result_id(invocation);
    let live = id < params.images * params.chunks;
    let base = select(0u, id / params.chunks * params.size, live);
    let size = select(0u, params.size, live);
    var sums = Sums();
    for (var pixel = id % params.chunks; pixel < size; pixel += params.chunks) {
        for (var c = share_of(invocation); c < params.c4; c += SHARES) {
            let at = (base + pixel) * params.c4 + c;
            let d = vec4<f32>(dy[at]);
            sums = Sums(sums.a + d * lanes(c, params.c), sums.b + d * vec4<f32>(y[at]));
        }
    }
    sums = join_sums(invocation, sums);
    if live && share_of(invocation) == 0u {
        let one = vec4<f32>(1.0);
        partial[id] = vec4<f32>(dot(sums.a, one), dot(sums.b, one), 0.0, 0.0);
    }
}

// Writes the means of both to the image's first partial result.
@compute @workgroup_size(GROUP)
fn grad_finish(invocation: Invocation) {
    let image = result_id(invocation);
    let chunks = select(0u, params.chunks, image < params.images);
    var total = Sums();
    for (var chunk = share_of(invocation); chunk < chunks; chunk += SHARES) {
        total.a += partial[image * params.chunks + chunk];
    }
    total = join_sums(invocation, total);
    if image < params.images && share_of(invocation) == 0u {
        partial[image * params.chunks] = total.a / f32(params.size * params.c);
    }
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
    let projected = vec4<f32>(dy[id]) - means.x - normal * means.y;
    let slope = s.y * projected * lanes(id % params.c4, params.c);
#if RELU
    // The normalised value of x = 0, by the same operations as in `apply`: x was ReLU's output.
    let zero = vec4<f32>(to_map(vec4<f32>((0.0 - s.x) * s.y)));
    dx[id] = to_map(select(vec4<f32>(), slope, normal > zero));
#else
    dx[id] = to_map(slope);
#endif
}
