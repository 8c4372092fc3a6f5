// Per-step results: losses and correct answers of each block and of the three votes. The
// blocks' scores lie `score_stride` values apart, their losses `loss_stride` vectors.
#import grid

struct Params {
    images: u32,
    classes: u32,
    stride: u32,
    blocks: u32,
    late: u32,
    score_stride: u32,
    loss_stride: u32,
    words: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> scores: array<f32>;
@group(0) @binding(2) var<storage, read_write> losses: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> labels: array<u32>;
@group(0) @binding(4) var<storage, read_write> step: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> rows: array<f32>;
@group(0) @binding(6) var<storage, read_write> result: array<f32>;

// 1 if the label has the largest sum of scores over blocks first..last, else 0. The mean has
// the same order as the sum. Of equal sums the first class wins.
fn correct(image: u32, first: u32, last: u32) -> f32 {
    var best = 0u;
    var largest = 0.0;
    for (var k = 0u; k < params.classes; k++) {
        var sum = 0.0;
        for (var b = first; b < last; b++) {
            sum += scores[b * params.score_stride + image * params.stride + k];
        }
        if k == 0u || sum > largest {
            largest = sum;
            best = k;
        }
    }
    return f32(best == labels[image]);
}

@compute @workgroup_size(GROUP)
fn per_image(invocation: Invocation) {
    let image = flat_id(invocation);
    if image >= params.images {
        return;
    }
    let row = image * params.words;
    for (var b = 0u; b < params.blocks; b++) {
        rows[row + b] = losses[b * params.loss_stride + image].x;
        rows[row + params.blocks + b] = correct(image, b, b + 1u);
    }
    let votes = row + 2u * params.blocks;
    rows[votes] = correct(image, 0u, params.blocks);
    rows[votes + 1u] = correct(image, params.late, params.blocks);
    rows[votes + 2u] = correct(image, params.blocks - 1u, params.blocks);
}

// Sums each column over the images that count: those before the step's fourth value. Zeros follow.
@compute @workgroup_size(GROUP)
fn sum(invocation: Invocation) {
    let word = flat_id(invocation);
    if word >= params.words {
        if word < params.words + params.blocks {
            result[word] = 0.0;
        }
        return;
    }
    let images = min(u32(step[0].w), params.images);
    var total = 0.0;
    for (var image = 0u; image < images; image++) {
        total += rows[image * params.words + word];
    }
    result[word] = total;
}
