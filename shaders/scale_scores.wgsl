// Scores times a factor that is trained through its logarithm, an image per invocation.
#import grid

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
    let image = flat_id(invocation);
    if image >= params.images {
        return;
    }
    let factor = exp(log_scale[0].x);
    for (var k = 0u; k < params.c4; k++) {
        y[image * params.c4 + k] = factor * x[image * params.c4 + k];
    }
}

// Leaves each image's share of the gradient of the logarithm in `partial`.
@compute @workgroup_size(GROUP)
fn grad(invocation: Invocation) {
    let image = flat_id(invocation);
    if image >= params.images {
        return;
    }
    let factor = exp(log_scale[0].x);
    var total = 0.0;
    for (var k = 0u; k < params.c4; k++) {
        let at = image * params.c4 + k;
        total += dot(dy[at], y[at]);
        dx[at] = factor * dy[at];
    }
    partial[image] = vec4<f32>(total, 0.0, 0.0, 0.0);
}
