// The goodness of each class: the mean square of its map, where the maps are a convolution of
// the block's output. The maps live in registers only; the gradient computes them again for a
// few images at a time.
#import grid
#import map
#import conv2d_params

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> scores: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> maps: array<Map>;

// partial[image, part] = sum of squares over the part's share of the image's pixels.
@compute @workgroup_size(GROUP)
fn squares(invocation: Invocation) {
    let column_tiles = div_ceil(params.out_c4, ${COLUMNS}u);
    let column = line_id(invocation) % column_tiles * ${COLUMNS}u;
    let first_row = line_id(invocation) / column_tiles * SHARE;
    let rows = params.images * params.parts;
    if first_row >= rows {
        return;
    }
    let lane = lane_of(invocation);
    let row = min(first_row + lane, rows - 1u);
    let image = row / params.parts;
    let size = params.out_h * params.out_w;
#if SPAN
    let tiles = tiles_of_image();
#else
    let tiles = div_ceil(size, ${PIXELS}u);
#endif
#for v in 0..COLUMNS
    var sum_${v} = vec4<f32>();
#endfor
    // As often in all invocations, which may share.
    for (var skipped = 0u; skipped < tiles; skipped += params.parts) {
        let tile = skipped + row % params.parts;
#if SPAN
        let within = min(tile, tiles - 1u);
        let live = tile < tiles;
#for p in 0..PIXELS
        let image_${p} = image;
#endfor
#import conv2d_rows
#else
#for p in 0..PIXELS
        let within_${p} = tile + ${p}u * tiles;
        let live_${p} = tile < tiles && within_${p} < size;
        let pixel_${p} = image * size + min(within_${p}, size - 1u);
#endfor
#endif
#import conv2d_tile
#for v in 0..COLUMNS
#for p in 0..PIXELS
        sum_${v} += select(vec4<f32>(), acc_${p}_${v} * acc_${p}_${v}, live_${p});
#endfor
#endfor
    }
#for v in 0..COLUMNS
    if first_row + lane < rows && column + ${v}u < params.out_c4 {
        partial[row * params.out_c4 + column + ${v}u] = sum_${v};
    }
#endfor
}

// scores[first + image] = factor * sum of the image's parts.
@compute @workgroup_size(GROUP)
fn sum(invocation: Invocation) {
    let id = flat_id(invocation);
    if id >= params.images * params.out_c4 {
        return;
    }
    let first = id / params.out_c4 * params.parts * params.out_c4 + id % params.out_c4;
    var total = vec4<f32>();
    for (var part = 0u; part < params.parts; part++) {
        total += partial[first + part * params.out_c4];
    }
    scores[params.first * params.out_c4 + id] = params.factor * total;
}

// maps = factor * scores[image] * (x * w): the gradient of the maps, given that of the scores.
@compute @workgroup_size(GROUP)
fn map_grad(invocation: Invocation) {
#import conv2d_batch_tile
#for v in 0..COLUMNS
    if column + ${v}u < params.out_c4 {
#if SPAN
        let slope = params.factor * scores[(params.first + image_0) * params.out_c4 + column_${v}];
#endif
#for p in 0..PIXELS
        if live_${p} {
#if !SPAN
            let slope = params.factor * scores[(params.first + image_${p}) * params.out_c4 + column_${v}];
#endif
            maps[pixel_${p} * params.out_c4 + column_${v}] = to_map(slope * acc_${p}_${v});
        }
#endfor
    }
#endfor
}
