// Tiles of the gradient of a strided convolution's input, by phase. Pixels whose coordinates have the
// same remainders modulo the stride (the phase) use the same positions of the window, every stride-th
// one. All pixels of a tile, and of the tiles that share loads, belong to one phase.
#import conv2d/scattered

fn phase_size() -> vec2<u32> {
    return vec2<u32>(div_ceil(params.out_h, params.stride), div_ceil(params.out_w, params.stride));
}

// The number of tiles of a phase, rounded up so that tiles of different phases never share loads.
fn phase_tile_count() -> u32 {
    let size = phase_size();
    return div_ceil(params.images * size.x * size.y, PIXELS * SHARE) * SHARE;
}

fn tile_count() -> u32 {
    return params.stride * params.stride * phase_tile_count();
}

fn tile_of_batch(index: u32) -> Tile {
    let size = phase_size();
    let tiles = phase_tile_count();
    let phase_y = index / tiles / params.stride;
    let phase_x = index / tiles % params.stride;
    let ky = (phase_y + params.pad) % params.stride;
    let kx = (phase_x + params.pad) % params.stride;
    var tile = Tile(array<Pixel, PIXELS>(), ky, kx, params.stride);
#for p in 0..PIXELS
    {
        let within = index % tiles + ${p}u * tiles;
        let line = within / size.y;
        let image = line / size.x;
        let y = line % size.x * params.stride + phase_y;
        let x = within % size.y * params.stride + phase_x;
        let live = image < params.images && y < params.out_h && x < params.out_w;
        let pixel = (image * params.out_h + y) * params.out_w + x;
        tile.pixels[${p}] = Pixel(pixel, image, image * params.in_h, i32(y), i32(x), live);
    }
#endfor
    return tile;
}

// The row (or column) of the output's gradient for row `o` of the input's gradient at position `k` of
// the window. Negative positions wrap to huge ones.
fn input_at(o: i32, k: u32) -> u32 {
    return u32(o + i32(params.pad) - i32(k)) / params.stride;
}
