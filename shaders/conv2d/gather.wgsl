// Loads the inputs of output pixels, for kernels that stage them in workgroup memory.
#import conv2d/pixel

// Group `c` of four input channels at position (ky, kx) of the window; zero outside of the map, the
// window or the channels.
fn gather(pixel: Pixel, ky: u32, kx: u32, c: u32) -> vec4<f32> {
#if DGRAD
    // Negative positions wrap to huge ones, which fail the comparison.
    let sy = u32(pixel.y + i32(params.pad) - i32(ky));
    let sx = u32(pixel.x + i32(params.pad) - i32(kx));
    let iy = sy / params.stride;
    let ix = sx / params.stride;
    let hit = iy * params.stride == sy && ix * params.stride == sx;
#else
    let iy = u32(pixel.y * i32(params.stride) + i32(ky) - i32(params.pad));
    let ix = u32(pixel.x * i32(params.stride) + i32(kx) - i32(params.pad));
    let hit = true;
#endif
    let inside = hit && pixel.live && ky < params.kernel && c < params.in_c4
        && iy < params.in_h && ix < params.in_w;
    let at = select(0u, ((pixel.base + iy) * params.in_w + ix) * params.in_c4 + c, inside);
    return select(vec4<f32>(), vec4<f32>(x[at]), inside);
}
