// Softmax cross-entropy of one image per invocation, and `scale` times its gradient, already
// divided by the number of images. Scores are rows of `stride` values of which the first `classes` count.
// Where images are mixed, the partner's label counts by its share.
#import grid

struct Params {
    images: u32,
    classes: u32,
    stride: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> scores: array<f32>;
@group(0) @binding(2) var<storage, read_write> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> loss: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dscores: array<f32>;
@group(0) @binding(5) var<storage, read_write> partners: array<vec2<u32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let image = flat_id(invocation);
    if image >= params.images {
        return;
    }
    let first = image * params.stride;
    let label = labels[image];
#if MIX
    let other = partners[image].x;
    let share = bitcast<f32>(partners[image].y);
    let wanted = mix(scores[first + label], scores[first + other], share);
#else
    let wanted = scores[first + label];
#endif
    var largest = scores[first];
    for (var k = 1u; k < params.classes; k++) {
        largest = max(largest, scores[first + k]);
    }
    var total = 0.0;
    for (var k = 0u; k < params.classes; k++) {
        total += exp(scores[first + k] - largest);
    }
    loss[image] = vec4<f32>(log(total) + largest - wanted, 0.0, 0.0, 0.0);
#if GRAD
    for (var k = 0u; k < params.stride; k++) {
        var slope = 0.0;
        if k < params.classes {
#if MIX
            let goal = mix(f32(k == label), f32(k == other), share);
#else
            let goal = f32(k == label);
#endif
            slope = exp(scores[first + k] - largest) / total - goal;
        }
        dscores[first + k] = params.scale * slope / f32(params.images);
    }
#endif
}
