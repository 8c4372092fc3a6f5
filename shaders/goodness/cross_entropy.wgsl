// Softmax cross-entropy of each image, and `scale` times its gradient, already divided by the
// number of images. Scores are rows of `stride` values of which the first `classes` count.
// Where images are mixed, the partner's label counts by its share.
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
    // Those without an image of their own look at the first, and write nothing.
    let image = select(0u, result_id(invocation), live);
    let share = share_of(invocation);
    let first = image * params.stride;
    let label = labels[image];
#if MIX
    let other = partners[image].x;
    let weight = bitcast<f32>(partners[image].y);
    let wanted = mix(scores[first + label], scores[first + other], weight);
#else
    let wanted = scores[first + label];
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
        loss[image] = vec4<f32>(log(total) + largest - wanted, 0.0, 0.0, 0.0);
    }
#if GRAD
    for (var k = share; k < params.stride; k += SHARES) {
        var slope = 0.0;
        if k < params.classes {
#if MIX
            let goal = mix(f32(k == label), f32(k == other), weight);
#else
            let goal = f32(k == label);
#endif
            slope = exp(scores[first + k] - largest) / total - goal;
        }
        dscores[first + k] = params.scale * slope / f32(params.images);
    }
#endif
}
