// Looks for values that are not finite in the members of a slab; what is between them may be
// anything. The bits tell: compilers may take comparisons to know that there is no NaN.
#import grid

struct Params {
    // Vectors to look at, from `first` on.
    len: u32,
    members: u32,
    first: u32,
    at: u32,
    // Two members each: where one begins and ends, then the same of the next.
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
    let at = params.first + id;
    var inside = false;
    for (var member = 0u; member < params.members; member++) {
        let pair = params.ends[member / 2u];
        let ends = select(pair.xy, pair.zw, (member & 1u) == 1u);
        inside = inside || (at >= ends.x && at < ends.y);
    }
    let exponent = vec4(0x7f800000u);
    if inside && any((x[at] & exponent) == exponent) {
        // Whoever comes first or last writes the same.
        atomicStore(&result[params.at], bitcast<u32>(1.0));
    }
}
