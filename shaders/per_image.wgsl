// Parameters of kernels that pair maps of `size` pixels with one value per image and channel.
struct Params {
    images: u32,
    size: u32,
    c4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
