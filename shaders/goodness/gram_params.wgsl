// Parameters of the kernels that use Gram matrices. Each computes a matrix product per image, with
// `rows` rows; `depth` and `width` are in groups of four. `images` may be a slice of the batch: `first`
// is the index of its first image in `scores`.

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
