// Gathers a batch from the u8 images: shift, mirror, normalise. One invocation per pixel.
#import grid

struct Params {
    mean: vec4<f32>,
    scale: vec4<f32>,
    h: u32,
    w: u32,
    c: u32,
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> pixels: array<u32>;
@group(0) @binding(2) var<storage, read_write> all_labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> samples: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> labels: array<u32>;

fn byte(at: u32) -> f32 {
    return f32((pixels[at / 4u] >> (at % 4u * 8u)) & 255u) / 255.0;
}

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.len {
        return;
    }
    let image = id / (params.h * params.w);
    let within = id % (params.h * params.w);
    let sample = samples[image];
    if within == 0u {
        labels[image] = all_labels[sample.x];
    }
    let column = within % params.w;
    let mirrored = select(column, params.w - 1u - column, (sample.y & 1u) == 1u);
    // Shifts are stored plus 128; positions outside wrap to huge ones and are black.
    let sy = within / params.w + ((sample.y >> 8u) & 255u) - 128u;
    let sx = mirrored + ((sample.y >> 16u) & 255u) - 128u;
    let inside = sy < params.h && sx < params.w;
    var value = vec4<f32>();
    if inside {
        let at = ((sample.x * params.h + sy) * params.w + sx) * params.c;
        value.x = byte(at);
        if params.c > 1u { value.y = byte(at + 1u); }
        if params.c > 2u { value.z = byte(at + 2u); }
        if params.c > 3u { value.w = byte(at + 3u); }
    }
    // Padding lanes have mean 0 and scale 0.
    x[id] = (value - params.mean) * params.scale;
}
