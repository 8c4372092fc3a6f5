// Parameters of every kernel that convolves. `pixels` are those of the output, over all
// `images`; `factor` scales results. Sums over pixels are cut in `parts`, per image or per group
// of `group` pixels. Where only some images of the batch are bound, `first` counts what comes
// before them in operands that are bound whole: rows of partial sums, or images.
//
// With DGRAD the roles turn round: "input" is the gradient of the convolution's output, "output"
// that of its input, and the same weight is read transposed.

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
