// Dropout, and its gradient, which is the same function: the mask depends on the key and on the
// position of a value, not on the value.
#import common/grid
#import common/map

struct Params {
    len: u32,
    c: u32,
    c4: u32,
    // Pixels of the batch before the first one of this dispatch.
    before: u32,
    layer: u32,
    // A value is dropped if its 32 random bits are less than this.
    threshold: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> key: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> y: array<Map>;

// The finaliser of MurmurHash3, which is in the public domain.
fn hash(bits: vec4<u32>) -> vec4<u32> {
    var h = (bits ^ (bits >> vec4<u32>(16u))) * 0x85ebca6bu;
    h = (h ^ (h >> vec4<u32>(13u))) * 0xc2b2ae35u;
    return h ^ (h >> vec4<u32>(16u));
}

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.len {
        return;
    }
    let first = (params.before + id / params.c4) * params.c + id % params.c4 * 4u;
    let position = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
    let bits = hash(hash(position ^ vec4<u32>(key[0].x)) + key[0].y + params.layer * 0x9e3779b9u);
    let value = vec4<f32>(x[id]) * params.factor;
    y[id] = to_map(select(vec4<f32>(), value, bits >= vec4<u32>(params.threshold)));
}
