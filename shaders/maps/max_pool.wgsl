// Max pooling with a window of KERNEL and STRIDE. The position of each maximum in its window is stored
// in a byte per channel, so that the gradient does not need the maps.
#import common/grid
#import common/map

struct Params {
    in_h: u32,
    in_w: u32,
    out_h: u32,
    out_w: u32,
    c4: u32,
    pad: u32,
    len: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> y: array<Map>;
@group(0) @binding(3) var<storage, read_write> argmax: array<u32>;

// One invocation per vec4 of the result; `len` is their number.
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
    for (var ky = 0u; ky < KERNEL; ky++) {
        for (var kx = 0u; kx < KERNEL; kx++) {
            let iy = u32(oy * i32(STRIDE) + i32(ky) - i32(params.pad));
            let ix = u32(ox * i32(STRIDE) + i32(kx) - i32(params.pad));
            if iy < params.in_h && ix < params.in_w {
                let value = vec4<f32>(x[((base + iy) * params.in_w + ix) * params.c4 + c]);
                // The first of equal values wins, and NaN is not dropped.
                let better = !(value <= best);
                best = select(best, value, better);
                position = select(position, vec4<u32>(ky * KERNEL + kx), better);
            }
        }
    }
    y[id] = to_map(best);
    argmax[id] = position.x | (position.y << 8u) | (position.z << 16u) | (position.w << 24u);
}

// One invocation per cell of STRIDE × STRIDE pixels of the padded input and four channels: it loads the
// gradient of each window once. `len` is the number of invocations. `y` is the gradient of the input,
// `x` that of the output.
@compute @workgroup_size(GROUP)
fn grad(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.len {
        return;
    }
    let across = (params.in_w + params.pad + STRIDE - 1u) / STRIDE;
    let down = (params.in_h + params.pad + STRIDE - 1u) / STRIDE;
    let c = id % params.c4;
    let cell = id / params.c4;
    let cx = cell % across;
    let cy = cell / across % down;
    let image = cell / across / down;
#for v in 0..STRIDE
#for u in 0..STRIDE
    var total_${v}_${u} = vec4<f32>();
#endfor
#endfor
    // The windows that begin in this cell, or before it and reach into it.
#for back_y in 0..(KERNEL+STRIDE-1)/STRIDE
#for back_x in 0..(KERNEL+STRIDE-1)/STRIDE
    {
        // Negative positions wrap to huge ones, which fail the comparison.
        let oy = cy - ${back_y}u;
        let ox = cx - ${back_x}u;
        if oy < params.out_h && ox < params.out_w {
            let at = ((image * params.out_h + oy) * params.out_w + ox) * params.c4 + c;
            let slope = vec4<f32>(x[at]);
            let position = (vec4<u32>(argmax[at]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
#for v in 0..STRIDE
#for u in 0..STRIDE
            if ${v+back_y*STRIDE}u < KERNEL && ${u+back_x*STRIDE}u < KERNEL {
                let here = vec4<u32>(${(v+back_y*STRIDE)*KERNEL+u+back_x*STRIDE}u);
                total_${v}_${u} += select(vec4<f32>(), slope, position == here);
            }
#endfor
#endfor
        }
    }
#endfor
#endfor
#for v in 0..STRIDE
#for u in 0..STRIDE
    {
        let iy = cy * STRIDE + ${v}u - params.pad;
        let ix = cx * STRIDE + ${u}u - params.pad;
        if iy < params.in_h && ix < params.in_w {
            y[((image * params.in_h + iy) * params.in_w + ix) * params.c4 + c] = to_map(total_${v}_${u});
        }
    }
#endfor
#endfor
}
