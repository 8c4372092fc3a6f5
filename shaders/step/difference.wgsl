// Compares two tensors of the same size. Each invocation reads every `threads`-th vec4, and writes the
// largest difference, the largest magnitude in `a`, and whether a value of `b` is not finite.
#import common/grid
#import common/map

struct Params {
    len: u32,
    threads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> a: array<Map>;
@group(0) @binding(2) var<storage, read_write> b: array<Map>;
@group(0) @binding(3) var<storage, read_write> result: array<vec4<f32>>;

fn largest(v: vec4<f32>) -> f32 {
    return max(max(v.x, v.y), max(v.z, v.w));
}

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.threads {
        return;
    }
    var difference = 0.0;
    var magnitude = 0.0;
    var not_finite = false;
    for (var at = id; at < params.len; at += params.threads) {
        let first = vec4<f32>(a[at]);
        let second = vec4<f32>(b[at]);
        difference = max(difference, largest(abs(first - second)));
        magnitude = max(magnitude, largest(abs(first)));
        // Tests the bits, because compilers may assume that floats are finite.
        let bits = bitcast<vec4<u32>>(second) & vec4<u32>(0x7f800000u);
        not_finite = not_finite || any(bits == vec4<u32>(0x7f800000u));
    }
    result[id] = vec4<f32>(difference, magnitude, select(0.0, 1.0, not_finite), 0.0);
}
