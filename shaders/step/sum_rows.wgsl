// y[i] = sum over rows r of partial[r, i], in order: the second stage of a sum in parts.
#import common/grid
#import common/join

struct Params {
    rows: u32,
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = result_id(invocation);
    let rows = select(0u, params.rows, id < params.len);
    var total = Sums();
    for (var row = share_of(invocation); row < rows; row += SHARES) {
        total.a += partial[row * params.len + id];
    }
    total = join_sums(invocation, total);
    if id < params.len && share_of(invocation) == 0u {
        y[id] = total.a;
    }
}
