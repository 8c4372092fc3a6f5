// Tiles whose pixels are spread over the maps: adjacent tiles read adjacent pixels.
#import conv2d/scattered

fn tile_count() -> u32 {
    return div_ceil(params.pixels, PIXELS);
}

fn tile_of_batch(index: u32) -> Tile {
    let tiles = tile_count();
    var tile = Tile(array<Pixel, PIXELS>(), 0u, 0u, 1u);
#for p in 0..PIXELS
    {
        let pixel = index + ${p}u * tiles;
        tile.pixels[${p}] = pixel_at(pixel, index < tiles && pixel < params.pixels);
    }
#endfor
    return tile;
}

fn image_tile_count() -> u32 {
    return div_ceil(params.out_h * params.out_w, PIXELS);
}

fn tile_of_image(image: u32, index: u32) -> Tile {
    let size = params.out_h * params.out_w;
    let tiles = image_tile_count();
    var tile = Tile(array<Pixel, PIXELS>(), 0u, 0u, 1u);
#for p in 0..PIXELS
    {
        let within = index + ${p}u * tiles;
        let live = index < tiles && within < size;
        tile.pixels[${p}] = pixel_at(image * size + min(within, size - 1u), live);
    }
#endfor
    return tile;
}

// The row (or column) of the input for row `o` of the output at position `k` of the window.
fn input_at(o: i32, k: u32) -> u32 {
    return u32(o * i32(params.stride) + i32(k) - i32(params.pad));
}
