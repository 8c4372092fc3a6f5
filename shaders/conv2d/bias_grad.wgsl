// Gradient of a bias: sums dy over pixels, a partial sum per part and group of four channels. sum_rows
// adds the parts.
#import common/grid
#import common/map
#import common/parts

struct Params {
    pixels: u32,
    c4: u32,
    parts: u32,
    group: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> dy: array<Map>;
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    let c = id % params.c4;
    let part = id / params.c4;
    if part >= part_count() {
        return;
    }
    let pixels = group_of(part);
    var total = vec4<f32>();
    for (var at = part % params.parts; at < pixels.size; at += params.parts) {
        total += vec4<f32>(dy[(pixels.first + at) * params.c4 + c]);
    }
    partial[(params.first + part) * params.c4 + c] = total;
}
