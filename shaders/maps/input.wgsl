// Gathers a batch from the u8 images: crop and resize, flip, colour jitter, normalisation, cutout,
// mixup with the next image. One invocation per pixel. CHANNELS is a definition, not a parameter: with
// a condition on parameters alone, Mesa's software driver recompiles the kernel at each run and leaks
// memory.
#import common/grid
#import common/map

struct Params {
    mean: vec4<f32>,
    scale: vec4<f32>,
    luma: vec4<f32>,
    stored_h: u32,
    stored_w: u32,
    h: u32,
    w: u32,
    first: u32,
    parts: u32,
    len: u32,
    // Pads the struct to a multiple of 16 bytes.
    unused: u32,
}

struct Sample {
    index: u32,
    mirror: u32,
    // Negative values wrap: top, left, hole_top and hole_left are only added, subtracted and compared.
    top: u32,
    left: u32,
    height: u32,
    width: u32,
    brightness: f32,
    contrast: f32,
    saturation: f32,
    hole_top: u32,
    hole_left: u32,
    hole_side: u32,
    partner_share: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> pixels: array<u32>;
@group(0) @binding(2) var<storage, read_write> all_labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> samples: array<Sample>;
@group(0) @binding(4) var<storage, read_write> x: array<Map>;
@group(0) @binding(5) var<storage, read_write> labels: array<u32>;
@group(0) @binding(6) var<storage, read_write> partners: array<vec2<u32>>;
@group(0) @binding(7) var<storage, read_write> greys: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> partial: array<vec4<f32>>;

fn byte(at: u32) -> f32 {
    return f32((pixels[at / 4u] >> (at % 4u * 8u)) & 255u) / 255.0;
}

// A pixel of the box. Positions outside of the image fail the comparison, and are black.
fn pixel(sample: Sample, row: u32, column: u32) -> vec4<f32> {
    let y = sample.top + row;
    let x = sample.left + column;
    var value = vec4<f32>();
    if y < params.stored_h && x < params.stored_w {
        let at = ((sample.index * params.stored_h + y) * params.stored_w + x) * CHANNELS;
#for c in 0..CHANNELS
        value[${c}u] = byte(at + ${c}u);
#endfor
    }
    return value;
}

// Two adjacent pixels along an axis, and the weight of the second.
struct Neighbours {
    low: u32,
    high: u32,
    share: f32,
}

// The pixels to interpolate for pixel `at` of `count`, from `side` pixels: its position is
// (at + 1/2) * side / count - 1/2, but at least 0. Exact, in integer units of 1 / (2 * count).
fn neighbours(at: u32, count: u32, side: u32) -> Neighbours {
    let units = 2u * count;
    let place = max((2u * at + 1u) * side, count) - count;
    let low = place / units;
    return Neighbours(low, min(low + 1u, side - 1u), f32(place % units) / f32(units));
}

// A pixel of the resized box.
fn resized(sample: Sample, row: u32, column: u32) -> vec4<f32> {
    let y = neighbours(row, params.h, sample.height);
    let x = neighbours(column, params.w, sample.width);
    let above = mix(pixel(sample, y.low, x.low), pixel(sample, y.low, x.high), x.share);
    let below = mix(pixel(sample, y.high, x.low), pixel(sample, y.high, x.high), x.share);
    return mix(above, below, y.share);
}

// The same after the jitter of brightness.
fn brightened(sample: Sample, row: u32, column: u32) -> vec4<f32> {
    return clamp(sample.brightness * resized(sample, row, column), vec4<f32>(), vec4<f32>(1.0));
}

// A pixel of the augmented image `record`, before mixup. Padding lanes have mean 0 and scale 0.
fn augmented(record: u32, row: u32, column: u32) -> vec4<f32> {
    let sample = samples[record];
    if row - sample.hole_top < sample.hole_side && column - sample.hole_left < sample.hole_side {
        return vec4<f32>();
    }
    let source = select(column, params.w - 1u - column, sample.mirror == 1u);
#if JITTER
    let bright = brightened(sample, row, source);
    let grey = vec4<f32>(greys[record].x);
    let contrasted = clamp(mix(grey, bright, sample.contrast), vec4<f32>(), vec4<f32>(1.0));
    let pixel_grey = vec4<f32>(dot(contrasted, params.luma));
    let value = clamp(mix(pixel_grey, contrasted, sample.saturation), vec4<f32>(), vec4<f32>(1.0));
#else
    let value = resized(sample, row, source);
#endif
    return (value - params.mean) * params.scale;
}

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.len {
        return;
    }
    let image = id / (params.h * params.w);
    let within = id % (params.h * params.w);
    let row = within / params.w;
    let column = within % params.w;
    let record = params.first + image;
    let own = augmented(record, row, column);
#if MIX
    let share = samples[record].partner_share;
    x[id] = to_map(mix(own, augmented(record + 1u, row, column), share));
#else
    x[id] = to_map(own);
#endif
    if within == 0u {
        labels[image] = all_labels[samples[record].index];
#if MIX
        partners[image] = vec2<u32>(all_labels[samples[record + 1u].index], bitcast<u32>(share));
#endif
    }
}

// partial[part, sample] = the part's contribution to the sample's mean grey, after brightness.
@compute @workgroup_size(GROUP)
fn grey(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.len {
        return;
    }
    let records = params.len / params.parts;
    let sample = samples[id % records];
    let size = params.h * params.w;
    var total = 0.0;
    for (var within = id / records; within < size; within += params.parts) {
        total += dot(brightened(sample, within / params.w, within % params.w), params.luma);
    }
    partial[id] = vec4<f32>(total / f32(size), 0.0, 0.0, 0.0);
}
