// Parameters of every kernel that convolves. `pixels` are those of the output, over all
// `images`; `factor` scales results. Sums over pixels are cut in `parts`, per image or per group
// of `group` pixels. Where only some images of the batch are bound, `first` counts what comes
// before them in operands that are bound whole: rows of partial sums, or images.
struct Params {
    in_h: u32,
    in_w: u32,
    in_c4: u32,
    out_h: u32,
    out_w: u32,
    out_c4: u32,
    kernel: u32,
    stride: u32,
    pad: u32,
    pixels: u32,
    images: u32,
    parts: u32,
    group: u32,
    first: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;

#if SPAN
// Tiles of the rows of SPAN pixels in which an image is cut.
fn tiles_across() -> u32 {
    return div_ceil(params.out_w, ${SPAN}u);
}

fn tiles_of_image() -> u32 {
    return tiles_across() * div_ceil(params.out_h, ${PIXELS/SPAN}u);
}
#endif
