// Tiles of adjacent pixels, in rows of SPAN, for a stride of 1. The input of a pixel at one position of
// the window is the input of its neighbour at the next position, so it is loaded once.

struct Tile {
    pixels: array<Pixel, PIXELS>,
    // The first row of the image in the input, and the position of the first pixel in the image.
    base: u32,
    y: u32,
    x: u32,
}

fn tiles_across() -> u32 {
    return div_ceil(params.out_w, SPAN);
}

fn image_tile_count() -> u32 {
    return tiles_across() * div_ceil(params.out_h, PIXELS / SPAN);
}

fn tile_count() -> u32 {
    return params.images * image_tile_count();
}

fn tile_of_batch(index: u32) -> Tile {
    let tiles = image_tile_count();
    return rows_of_image(index / tiles, index % tiles, index < tile_count());
}

fn tile_of_image(image: u32, index: u32) -> Tile {
    let tiles = image_tile_count();
    return rows_of_image(image, min(index, tiles - 1u), index < tiles);
}

fn rows_of_image(image: u32, within: u32, live: bool) -> Tile {
    let y = within / tiles_across() * (PIXELS / SPAN);
    let x = within % tiles_across() * SPAN;
    let base = image * params.in_h;
    var tile = Tile(array<Pixel, PIXELS>(), base, y, x);
#for p in 0..PIXELS
    {
        let row = y + ${p/SPAN}u;
        let column = x + ${p%SPAN}u;
        let here = live && row < params.out_h && column < params.out_w;
        let index = (image * params.out_h + row) * params.out_w + column;
        tile.pixels[${p}] = Pixel(index, image, base, i32(row), i32(column), here);
    }
#endfor
    return tile;
}

fn convolve(tile: Tile, weights: Weights) -> Acc {
    var acc: Acc;
    for (var ky = 0u; ky < params.kernel; ky++) {
#if DGRAD
        let first_row = i32(tile.y + params.pad) - i32(ky);
        let first_column = i32(tile.x + params.pad) - i32(params.kernel - 1u);
#else
        let first_row = i32(tile.y + ky) - i32(params.pad);
        let first_column = i32(tile.x) - i32(params.pad);
#endif
        // For each row of pixels, whether its row of the input is in the map, and where that begins.
        var inside: array<bool, PIXELS / SPAN>;
        var at: array<u32, PIXELS / SPAN>;
#for r in 0..PIXELS/SPAN
        {
            // Negative positions wrap to huge ones, which fail the comparison.
            let iy = u32(first_row + ${r});
            inside[${r}] = tile.pixels[${r*SPAN}].live && iy < params.in_h;
            at[${r}] = (tile.base + iy) * params.in_w;
        }
#endfor
        for (var c = 0u; c < params.in_c4; c++) {
            // The inputs at the first position, for all but the last pixel of each row. They are stored
            // one pixel later, because each step begins with a shift.
            var inputs: Inputs;
#for r in 0..PIXELS/SPAN
#for s in 0..SPAN-1
            inputs[${r*SPAN+s+1}] = pixel_of_row(at[${r}], inside[${r}], u32(first_column + ${s}), c);
#endfor
#endfor
            for (var step = 0u; step < params.kernel; step++) {
                let ix = u32(first_column + ${SPAN-1} + i32(step));
#for r in 0..PIXELS/SPAN
#for s in 0..SPAN-1
                inputs[${r*SPAN+s}] = inputs[${r*SPAN+s+1}];
#endfor
                inputs[${r*SPAN+SPAN-1}] = pixel_of_row(at[${r}], inside[${r}], ix, c);
#endfor
#if DGRAD
                let tap = ky * params.kernel + params.kernel - 1u - step;
#else
                let tap = ky * params.kernel + step;
#endif
                multiply(&acc, inputs, weights, tap, c);
            }
        }
    }
    return acc;
}

// Column `ix` of the row of the input that begins at pixel `row`; zero outside of the map.
fn pixel_of_row(row: u32, inside: bool, ix: u32, c: u32) -> vec4<f32> {
    let here = inside && ix < params.in_w;
    let at = select(0u, (row + ix) * params.in_c4 + c, here);
    return select(vec4<f32>(), vec4<f32>(x[at]), here);
}
