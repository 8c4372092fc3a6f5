// Parameters of the kernels of Gram matrices: each is a matrix product for each image, with `rows`
// rows, groups of four of `depth` and `width`. Images are some of a batch; `first` counts those before
// them in `scores`.

struct Params {
    images: u32,
    rows: u32,
    depth: u32,
    width: u32,
    parts: u32,
    first: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
