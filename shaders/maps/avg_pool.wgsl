// Adaptive average pooling to out_h × out_w, as in PyTorch, and its gradient. Row `i` of the result
// covers the rows from floor(i * in_h / out_h) to ceil((i + 1) * in_h / out_h) exclusive, columns
// likewise: windows overlap where sizes do not divide.
#import common/grid
#import common/join
#import common/map

struct Params {
    in_h: u32,
    in_w: u32,
    out_h: u32,
    out_w: u32,
    c4: u32,
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> maps: array<Map>;
@group(0) @binding(2) var<storage, read_write> means: array<vec4<f32>>;

// The first and the last position that result `i` of `outputs` covers, of `inputs` positions.
fn covered(i: u32, inputs: u32, outputs: u32) -> vec2<u32> {
    return vec2<u32>(i * inputs / outputs, ((i + 1u) * inputs - 1u) / outputs);
}

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = result_id(invocation);
    let pixel = id / params.c4;
    let rows = covered(pixel / params.out_w % params.out_h, params.in_h, params.out_h);
    let columns = covered(pixel % params.out_w, params.in_w, params.out_w);
    let wide = columns.y - columns.x + 1u;
    let image = pixel / (params.out_h * params.out_w);
    let size = (rows.y - rows.x + 1u) * wide;
    let terms = select(0u, size, id < params.len);
    var total = Sums();
    for (var term = share_of(invocation); term < terms; term += SHARES) {
        let row = image * params.in_h + rows.x + term / wide;
        let at = row * params.in_w + columns.x + term % wide;
        total.a += vec4<f32>(maps[at * params.c4 + id % params.c4]);
    }
    total = join_sums(invocation, total);
    if id < params.len && share_of(invocation) == 0u {
        means[id] = total.a / f32(size);
    }
}

// `maps` and `means` are gradients here. The results that cover a pixel are those that the pixel would
// cover if the two sizes were exchanged.
@compute @workgroup_size(GROUP)
fn grad(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.len {
        return;
    }
    let pixel = id / params.c4;
    let rows = covered(pixel / params.in_w % params.in_h, params.out_h, params.in_h);
    let columns = covered(pixel % params.in_w, params.out_w, params.in_w);
    let image = pixel / (params.in_h * params.in_w);
    var total = vec4<f32>();
    for (var row = rows.x; row <= rows.y; row++) {
        let high = covered(row, params.in_h, params.out_h);
        for (var column = columns.x; column <= columns.y; column++) {
            let wide = covered(column, params.in_w, params.out_w);
            let size = f32((high.y - high.x + 1u) * (wide.y - wide.x + 1u));
            let at = (image * params.out_h + row) * params.out_w + column;
            total += means[at * params.c4 + id % params.c4] / size;
        }
    }
    maps[id] = to_map(total);
}
