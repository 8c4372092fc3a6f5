// A convolution in which each pixel of a tile loads its own inputs.

struct Tile {
    pixels: array<Pixel, PIXELS>,
    // The first position of the window that the pixels use, and the distance between positions.
    ky: u32,
    kx: u32,
    step: u32,
}

fn convolve(tile: Tile, weights: Weights) -> Acc {
    var acc: Acc;
    for (var ky = tile.ky; ky < params.kernel; ky += tile.step) {
        for (var kx = tile.kx; kx < params.kernel; kx += tile.step) {
            let tap = ky * params.kernel + kx;
            var inside: array<bool, PIXELS>;
            var at: array<u32, PIXELS>;
#for p in 0..PIXELS
            {
                let pixel = tile.pixels[${p}];
                // Negative positions wrap to huge ones, which fail the comparison.
                let iy = input_at(pixel.y, ky);
                let ix = input_at(pixel.x, kx);
                inside[${p}] = pixel.live && iy < params.in_h && ix < params.in_w;
                at[${p}] = select(0u, ((pixel.base + iy) * params.in_w + ix) * params.in_c4, inside[${p}]);
            }
#endfor
            for (var c = 0u; c < params.in_c4; c++) {
                var inputs: Inputs;
#for p in 0..PIXELS
                inputs[${p}] = select(vec4<f32>(), vec4<f32>(x[at[${p}] + c]), inside[${p}]);
#endfor
                multiply(&acc, inputs, weights, tap, c);
            }
        }
    }
    return acc;
}
