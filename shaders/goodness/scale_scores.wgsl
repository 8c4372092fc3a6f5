// Scores times a learnable scale, whose logarithm is the parameter.
#import common/grid
#import common/join

struct Params {
    images: u32,
    c4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> log_scale: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let image = result_id(invocation);
    if image >= params.images {
        return;
    }
    let factor = exp(log_scale[0].x);
    for (var k = share_of(invocation); k < params.c4; k += SHARES) {
        y[image * params.c4 + k] = factor * x[image * params.c4 + k];
    }
}

// The gradient of the scores and, in `partial`, each image's contribution to that of the logarithm.
@compute @workgroup_size(GROUP)
fn grad(invocation: Invocation) {
    let image = result_id(invocation);
    let c4 = select(0u, params.c4, image < params.images);
    let factor = exp(log_scale[0].x);
    var total = Sums();
    for (var k = share_of(invocation); k < c4; k += SHARES) {
        let at = image * params.c4 + k;
        total.a.x += dot(dy[at], y[at]);
        dx[at] = factor * dy[at];
    }
    total = join_sums(invocation, total);
    if image < params.images && share_of(invocation) == 0u {
        partial[image] = vec4<f32>(total.a.x, 0.0, 0.0, 0.0);
    }
}
