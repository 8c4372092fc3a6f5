// Looks for values that are not finite in the members of a slab; what is between them may be
// anything. The bits tell: compilers may take comparisons to know that there is no NaN.
#import common/grid

struct Params {
    // Pieces of RUN vectors to look at, from vector `first` on. Members begin at multiples of RUN, so
    // that a piece belongs to one of them at most.
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
        // Whoever comes first or last writes the same.
        atomicStore(&result[params.at], bitcast<u32>(1.0));
    }
}
