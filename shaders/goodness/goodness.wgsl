// The goodness of each class: the mean square of its map, where the maps are a convolution of the
// block's output. The maps are kept in registers only; the gradient recomputes them, a few images at a
// time.
#import common/grid
#import common/map
#import conv2d/conv2d_params
#import conv2d/tile

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> scores: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> maps: array<Map>;

// partial[image, part] = sum of squares over the part's pixels of the image.
@compute @workgroup_size(GROUP)
fn squares(invocation: Invocation) {
    let rows = params.images * params.parts;
    let work = work_of(invocation, rows);
    if !work.exists {
        return;
    }
    let row = min(work.row, rows - 1u);
    let tiles = image_tile_count();
    let weights = weights_of(work.column, work.lane);
    var sums: array<vec4<f32>, COLUMNS>;
    // The same number of iterations in all invocations, because they may share loads.
    for (var skipped = 0u; skipped < tiles; skipped += params.parts) {
        let tile = tile_of_image(row / params.parts, skipped + row % params.parts);
        let acc = convolve(tile, weights);
#for v in 0..COLUMNS
#for p in 0..PIXELS
        sums[${v}] += select(vec4<f32>(), acc[${p}][${v}] * acc[${p}][${v}], tile.pixels[${p}].live);
#endfor
#endfor
    }
#for v in 0..COLUMNS
    if work.row < rows && work.column + ${v}u < params.out_c4 {
        partial[row * params.out_c4 + work.column + ${v}u] = sums[${v}];
    }
#endfor
}

// maps = factor * scores[image] * (x * w): the gradient of the maps, given that of the scores.
@compute @workgroup_size(GROUP)
fn map_grad(invocation: Invocation) {
    let work = work_of(invocation, tile_count());
    if !work.exists {
        return;
    }
    let tile = tile_of_batch(work.row);
    let acc = convolve(tile, weights_of(work.column, work.lane));
#for v in 0..COLUMNS
    if work.column + ${v}u < params.out_c4 {
#for p in 0..PIXELS
        if tile.pixels[${p}].live {
            let pixel = tile.pixels[${p}];
            let slope = params.factor * scores[(params.first + pixel.image) * params.out_c4 + work.column + ${v}u];
            maps[pixel.index * params.out_c4 + work.column + ${v}u] = to_map(slope * acc[${p}][${v}]);
        }
#endfor
    }
#endfor
}
