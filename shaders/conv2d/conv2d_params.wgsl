// Parameters of the convolution kernels. `pixels` is the number of output pixels of all `images`;
// `factor` scales results. Sums over pixels are split into `parts`, per image or per group of `group`
// pixels. If a dispatch binds a slice of the batch, `first` is the offset of the slice in operands that
// are bound whole: in rows of partial sums, or in images.
//
// With DGRAD the roles are exchanged: "input" is the gradient of the convolution's output, "output"
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
