// Max pooling. The position of each maximum within its window is kept, a byte per channel, so
// that the pooled maps need not be.
#import grid
#import map

struct Params {
    in_h: u32,
    in_w: u32,
    out_h: u32,
    out_w: u32,
    c4: u32,
    kernel: u32,
    stride: u32,
    pad: u32,
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> y: array<Map>;
@group(0) @binding(3) var<storage, read_write> argmax: array<u32>;

// One invocation per pooled vec4; `len` counts those.
@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.len {
        return;
    }
    let c = id % params.c4;
    let pixel = id / params.c4;
    let ox = i32(pixel % params.out_w);
    let oy = i32(pixel / params.out_w % params.out_h);
    let base = pixel / params.out_w / params.out_h * params.in_h;
    var best = vec4<f32>(-3.4028234e38);
    var position = vec4<u32>();
    for (var ky = 0u; ky < params.kernel; ky++) {
        for (var kx = 0u; kx < params.kernel; kx++) {
            let iy = u32(oy * i32(params.stride) + i32(ky) - i32(params.pad));
            let ix = u32(ox * i32(params.stride) + i32(kx) - i32(params.pad));
            if iy < params.in_h && ix < params.in_w {
                let value = vec4<f32>(x[((base + iy) * params.in_w + ix) * params.c4 + c]);
                // Written so that the first of equals wins and a NaN is not hidden.
                let better = !(value <= best);
                best = select(best, value, better);
                position = select(position, vec4<u32>(ky * params.kernel + kx), better);
            }
        }
    }
    y[id] = to_map(best);
    argmax[id] = position.x | (position.y << 8u) | (position.z << 16u) | (position.w << 24u);
}

// The first window that reaches a position, counted from the padding's first.
fn first_window(position: u32) -> u32 {
    return select(0u, (position - params.kernel) / params.stride + 1u, position >= params.kernel);
}

// One invocation per vec4 of the gradient `y` of the input; `x` is that of the output.
@compute @workgroup_size(GROUP)
fn grad(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.len {
        return;
    }
    let c = id % params.c4;
    let pixel = id / params.c4;
    let sx = pixel % params.in_w + params.pad;
    let sy = pixel / params.in_w % params.in_h + params.pad;
    let base = pixel / params.in_w / params.in_h * params.out_h;
    var total = vec4<f32>();
    // The windows that see the pixel: one where they do not overlap.
    for (var oy = first_window(sy); oy < min(sy / params.stride + 1u, params.out_h); oy++) {
        for (var ox = first_window(sx); ox < min(sx / params.stride + 1u, params.out_w); ox++) {
            let at = ((base + oy) * params.out_w + ox) * params.c4 + c;
            let here = (sy - oy * params.stride) * params.kernel + sx - ox * params.stride;
            let position = (vec4<u32>(argmax[at]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
            total += select(vec4<f32>(), vec4<f32>(x[at]), position == vec4<u32>(here));
        }
    }
    y[id] = to_map(total);
}
