// Gathers a batch from the u8 images: crop and resize, mirror, change colours, normalise, cut a
// hole, mix with the next image. One invocation per pixel. CHANNELS is no parameter: Mesa's software
// driver compiles a kernel anew, and loses memory, whenever it runs one with a condition on parameters
// alone.
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
    // A multiple of 16 bytes.
    unused: u32,
}

struct Sample {
    index: u32,
    mirror: u32,
    // Those that may be negative wrap: they are only added to, and compared.
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

// A pixel of the box; positions outside of the image wrap to huge ones and are black.
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

// Two neighbours along an axis, and the share of the second.
struct Between {
    low: u32,
    high: u32,
    share: f32,
}

// Where position `at` of `count` lies among `side` pixels: at (at + 1/2) * side / count - 1/2, and not
// before the first. Counted in units of 1 / (2 * count), so that it is exact.
fn between(at: u32, count: u32, side: u32) -> Between {
    let units = 2u * count;
    let place = max((2u * at + 1u) * side, count) - count;
    let low = place / units;
    return Between(low, min(low + 1u, side - 1u), f32(place % units) / f32(units));
}

// The box resized, before anything else.
fn resized(sample: Sample, row: u32, column: u32) -> vec4<f32> {
    let y = between(row, params.h, sample.height);
    let x = between(column, params.w, sample.width);
    let above = mix(pixel(sample, y.low, x.low), pixel(sample, y.low, x.high), x.share);
    let below = mix(pixel(sample, y.high, x.low), pixel(sample, y.high, x.high), x.share);
    return mix(above, below, y.share);
}

fn lit(sample: Sample, row: u32, column: u32) -> vec4<f32> {
    return clamp(sample.brightness * resized(sample, row, column), vec4<f32>(), vec4<f32>(1.0));
}

// Everything that is done to one image. Padding lanes have mean 0 and scale 0.
fn view(record: u32, row: u32, column: u32) -> vec4<f32> {
    let sample = samples[record];
    if row - sample.hole_top < sample.hole_side && column - sample.hole_left < sample.hole_side {
        return vec4<f32>();
    }
    let source = select(column, params.w - 1u - column, sample.mirror == 1u);
#if JITTER
    let bright = lit(sample, row, source);
    let grey = vec4<f32>(greys[record].x);
    let far = clamp(mix(grey, bright, sample.contrast), vec4<f32>(), vec4<f32>(1.0));
    let own = vec4<f32>(dot(far, params.luma));
    let value = clamp(mix(own, far, sample.saturation), vec4<f32>(), vec4<f32>(1.0));
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
    let own = view(record, row, column);
#if MIX
    let share = samples[record].partner_share;
    x[id] = to_map(mix(own, view(record + 1u, row, column), share));
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

// partial[part, sample] = share of the part in the sample's mean grey.
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
        total += dot(lit(sample, within / params.w, within % params.w), params.luma);
    }
    partial[id] = vec4<f32>(total / f32(size), 0.0, 0.0, 0.0);
}
