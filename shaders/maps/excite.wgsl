// Scales each map by the hard sigmoid of a value of its own, and the gradients of squeeze-and-excitation,
// where that value comes from the means of the maps. Maps have `size` pixels.
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

// Where the values for the map of vec4 `id` are.
fn of_map(id: u32) -> u32 {
    return id / (params.size * params.c4) * params.c4 + id % params.c4;
}

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.size * params.c4 {
        return;
    }
    let factor = activate(s[of_map(id)], id % params.c4, params.c);
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

// The gradient of the maps, by both ways.
@compute @workgroup_size(GROUP)
fn squeeze_grad(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.size * params.c4 {
        return;
    }
    let map = of_map(id);
    let factor = activate(s[map], id % params.c4, params.c);
    dx[id] = to_map(vec4<f32>(dy[id]) * factor + dmean[map] / f32(params.size));
}
