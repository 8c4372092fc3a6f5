// Results of a step: losses and correct answers of each block, and correct answers of the three votes.
// The scores of consecutive blocks are `score_stride` values apart, their losses `loss_stride` vectors.
#import common/grid
#import common/join

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

// For each image and each answer (of each block, of all blocks, of the later half, of the last):
// whether the class with the largest sum of scores is the label. The sum ranks classes as the mean
// does. Of equal sums the first class wins. Also copies the losses of the blocks for each image.
@compute @workgroup_size(GROUP)
fn per_image(invocation: Invocation) {
    let answers = params.blocks + 3u;
    let id = result_id(invocation);
    let live = id < params.images * answers;
    let image = select(0u, id / answers, live);
    let answer = id % answers;
    var first = answer;
    if answer == params.blocks {
        first = 0u;
    } else if answer == params.blocks + 1u {
        first = params.late;
    } else if answer == params.blocks + 2u {
        first = params.blocks - 1u;
    }
    let last = min(answer + 1u, params.blocks);
    // The largest sum and its class. Initially, and for an invocation without classes, a class that
    // does not exist.
    var best = Sums(vec4<f32>(), vec4<f32>(f32(params.classes)));
    for (var k = share_of(invocation); k < params.classes; k += SHARES) {
        var sum = 0.0;
        for (var b = first; b < last; b++) {
            sum += scores[b * params.score_stride + image * params.stride + k];
        }
        if k == share_of(invocation) || sum > best.a.x {
            best.a.x = sum;
            best.b.x = f32(k);
        }
    }
    best = join_largest(invocation, best);
    if !live || share_of(invocation) > 0u {
        return;
    }
    let row = image * params.words;
    if answer < params.blocks {
        rows[row + answer] = losses[answer * params.loss_stride + image].x;
    }
    rows[row + params.blocks + answer] = f32(u32(best.b.x) == labels[image]);
}

// Sums each column over the valid images, whose number is the step's fourth value. The words after
// `words` are set to zero.
@compute @workgroup_size(GROUP)
fn sum(invocation: Invocation) {
    let word = result_id(invocation);
    let images = select(0u, min(u32(step[0].w), params.images), word < params.words);
    var total = Sums();
    for (var image = share_of(invocation); image < images; image += SHARES) {
        total.a.x += rows[image * params.words + word];
    }
    total = join_sums(invocation, total);
    if word < params.words + params.blocks && share_of(invocation) == 0u {
        result[word] = total.a.x;
    }
}
