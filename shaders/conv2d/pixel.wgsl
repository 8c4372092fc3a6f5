// An output pixel of a convolution.
struct Pixel {
    // Its index in the batch, and the index of its image.
    index: u32,
    image: u32,
    // The first row of the image in the input.
    base: u32,
    // Its position in the image.
    y: i32,
    x: i32,
    // Whether it exists.
    live: bool,
}

fn pixel_at(index: u32, live: bool) -> Pixel {
    let row = index / params.out_w;
    let image = row / params.out_h;
    let y = i32(row - image * params.out_h);
    return Pixel(index, image, image * params.in_h, y, i32(index - row * params.out_w), live);
}
