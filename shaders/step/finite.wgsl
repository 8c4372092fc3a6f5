// Looks for values that are not finite in the members of a slab; the bytes between members are
// undefined. Tests the bits, because compilers may assume that floats are finite.
#import common/grid

struct Params {
    // Number of pieces of RUN vectors, from vector `first` on. Members begin at multiples of RUN, so
    // that a piece overlaps at most one member.
    len: u32,
    members: u32,
    first: u32,
    at: u32,
    // Begin and end of two members each.
    ends: array<vec4<u32>, 12>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> result: array<atomic<u32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.len {
        return;
    }
    let first = params.first + id * RUN;
    var end = first;
    for (var member = 0u; member < params.members; member++) {
        let pair = params.ends[member / 2u];
        let ends = select(pair.xy, pair.zw, (member & 1u) == 1u);
        end = select(end, min(ends.y, first + RUN), first >= ends.x && first < ends.y);
    }
    let exponent = vec4(0x7f800000u);
    var found = vec4<bool>();
    for (var at = first; at < end; at++) {
        found = found | ((x[at] & exponent) == exponent);
    }
    if any(found) {
        // All invocations write the same value.
        atomicStore(&result[params.at], bitcast<u32>(1.0));
    }
}
