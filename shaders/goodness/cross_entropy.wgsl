// Softmax cross-entropy of each image, and `scale` times the gradient of its mean over images. Scores
// are rows of `stride` values, the first `classes` of which are used. With mixup, the partner's label
// has its share of the target.
#import common/grid
#import common/join

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
    let live = result_id(invocation) < params.images;
    // Invocations beyond the last image read the first one, and write nothing.
    let image = select(0u, result_id(invocation), live);
    let share = share_of(invocation);
    let first = image * params.stride;
    let label = labels[image];
#if MIX
    let partner = partners[image].x;
    let weight = bitcast<f32>(partners[image].y);
    let label_score = mix(scores[first + label], scores[first + partner], weight);
#else
    let label_score = scores[first + label];
#endif
    var best = Sums();
    best.a.x = scores[first];
    for (var k = share; k < params.classes; k += SHARES) {
        best.a.x = max(best.a.x, scores[first + k]);
    }
    let largest = join_largest(invocation, best).a.x;
    var sum = Sums();
    for (var k = share; k < params.classes; k += SHARES) {
        sum.a.x += exp(scores[first + k] - largest);
    }
    let total = join_sums(invocation, sum).a.x;
    if !live {
        return;
    }
    if share == 0u {
        loss[image] = vec4<f32>(log(total) + largest - label_score, 0.0, 0.0, 0.0);
    }
#if GRAD
    for (var k = share; k < params.stride; k += SHARES) {
        var slope = 0.0;
        if k < params.classes {
#if MIX
            let truth = mix(f32(k == label), f32(k == partner), weight);
#else
            let truth = f32(k == label);
#endif
            slope = exp(scores[first + k] - largest) / total - truth;
        }
        dscores[first + k] = params.scale * slope / f32(params.images);
    }
#endif
}
