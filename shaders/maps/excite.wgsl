// Squeeze-and-excitation: scales each map of `size` pixels by hard-sigmoid of its value in `s`, and the
// gradients of that. `s` is computed from the means of the maps.
#import common/activation
#import common/grid
#import common/join
#import common/map

struct Params {
    images: u32,
    size: u32,
    c: u32,
    c4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> s: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Map>;
@group(0) @binding(4) var<storage, read_write> dy: array<Map>;
@group(0) @binding(5) var<storage, read_write> ds: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dmean: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dx: array<Map>;

// The index in `s` of the four maps that vec4 `id` belongs to.
fn map_index(id: u32) -> u32 {
    return id / (params.size * params.c4) * params.c4 + id % params.c4;
}

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.size * params.c4 {
        return;
    }
    let factor = activate(s[map_index(id)], id % params.c4, params.c);
    y[id] = to_map(vec4<f32>(x[id]) * factor);
}

// The gradient of `s`.
@compute @workgroup_size(GROUP)
fn grad(invocation: Invocation) {
    let id = result_id(invocation);
    let live = id < params.images * params.c4;
    let size = select(0u, params.size, live);
    let first = id / params.c4 * params.size * params.c4 + id % params.c4;
    var total = Sums();
    for (var pixel = share_of(invocation); pixel < size; pixel += SHARES) {
        let at = first + pixel * params.c4;
        total.a += vec4<f32>(x[at]) * vec4<f32>(dy[at]);
    }
    total = join_sums(invocation, total);
    if live && share_of(invocation) == 0u {
        ds[id] = total.a * slope(s[id]);
    }
}

// The gradient of the maps: through the scaled values, and through their means.
@compute @workgroup_size(GROUP)
fn squeeze_grad(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.size * params.c4 {
        return;
    }
    let map = map_index(id);
    let factor = activate(s[map], id % params.c4, params.c);
    dx[id] = to_map(vec4<f32>(dy[id]) * factor + dmean[map] / f32(params.size));
}
