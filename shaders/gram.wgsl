// The goodness of 1×1 heads from Gram matrices: with M the sum of n nᵀ over an image's pixels,
// that of class k is wᵀ M w. Every kernel is a matrix product for each image, `a` times `b`, with
// `rows` rows, groups of four of `depth` and `width`. Images are some of a batch; `first` counts
// those before them in `scores`. With F16, what takes part as `a` and `y` is maps.
#import grid
#import map

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
@group(0) @binding(1) var<storage, read_write> a: array<Map>;
@group(0) @binding(2) var<storage, read_write> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> scores: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<Map>;

// partial[image, part, k] = sum over the part's share of the channels of w * (M w).
@compute @workgroup_size(GROUP)
fn squares(invocation: Invocation) {
    let id = flat_id(invocation);
    let column_tiles = div_ceil(params.width, ${COLUMNS}u);
    let column = id % column_tiles * ${COLUMNS}u;
    let cell = id / column_tiles;
    if cell >= params.images * params.parts {
        return;
    }
    let image = cell / params.parts;
    let tiles = div_ceil(params.rows, ${PIXELS}u);
    let first_b = 0u;
#for v in 0..COLUMNS
    var sum_${v} = vec4<f32>();
#endfor
    for (var tile = cell % params.parts; tile < tiles; tile += params.parts) {
#for p in 0..PIXELS
        let live_${p} = tile + ${p}u * tiles < params.rows;
        let within_${p} = min(tile + ${p}u * tiles, params.rows - 1u);
        let a_${p} = (image * params.rows + within_${p}) * params.depth;
#endfor
#import gram_tile
#for v in 0..COLUMNS
#for p in 0..PIXELS
        sum_${v} += select(vec4<f32>(), b[within_${p} * params.width + column_${v}] * acc_${p}_${v}, live_${p});
#endfor
#endfor
    }
#for v in 0..COLUMNS
    if column + ${v}u < params.width {
        partial[cell * params.width + column + ${v}u] = sum_${v};
    }
#endfor
}

// partial[part] = sum over the part's images of factor * scores[image] * (M w), the gradient of
// the weight; with ADD added to what is there.
@compute @workgroup_size(GROUP)
fn weight_grad(invocation: Invocation) {
    let id = flat_id(invocation);
    let column_tiles = div_ceil(params.width, ${COLUMNS}u);
    let tiles = div_ceil(params.rows, ${PIXELS}u);
    let column = id % column_tiles * ${COLUMNS}u;
    let tile = id / column_tiles % tiles;
    let part = id / column_tiles / tiles;
    if part >= params.parts {
        return;
    }
    let first_b = 0u;
#for p in 0..PIXELS
    let live_${p} = tile + ${p}u * tiles < params.rows;
    let within_${p} = min(tile + ${p}u * tiles, params.rows - 1u);
#for v in 0..COLUMNS
    var total_${p}_${v} = vec4<f32>();
#endfor
#endfor
    for (var image = part; image < params.images; image += params.parts) {
#for p in 0..PIXELS
        let a_${p} = (image * params.rows + within_${p}) * params.depth;
#endfor
#import gram_tile
#for v in 0..COLUMNS
        let slope_${v} = params.factor * scores[(params.first + image) * params.width + column_${v}];
#for p in 0..PIXELS
        total_${p}_${v} += slope_${v} * acc_${p}_${v};
#endfor
#endfor
    }
#for v in 0..COLUMNS
    if column + ${v}u < params.width {
#for p in 0..PIXELS
        if live_${p} {
            let at = (part * params.rows + within_${p}) * params.width + column + ${v}u;
#if ADD
            partial[at] += total_${p}_${v};
#else
            partial[at] = total_${p}_${v};
#endif
        }
#endfor
    }
#endfor
}

// y[image] = a[image] * b[image]. With CLASSES both are the weight, of all images, and the result
// is the sum over classes of factor * scores[image, k] * w_k w_kᵀ: what takes pixels to their
// gradients, which is the other use.
@compute @workgroup_size(GROUP)
fn product(invocation: Invocation) {
    let id = flat_id(invocation);
    let column_tiles = div_ceil(params.width, ${COLUMNS}u);
    let tiles = div_ceil(params.rows, ${PIXELS}u);
    let column = id % column_tiles * ${COLUMNS}u;
    let tile = id / column_tiles % tiles;
    let image = id / column_tiles / tiles;
    if image >= params.images {
        return;
    }
#if CLASSES
    let first_a = 0u;
    let first_b = 0u;
#else
    let first_a = image * params.rows;
    let first_b = image * 4u * params.depth * params.width;
#endif
#for p in 0..PIXELS
    let live_${p} = tile + ${p}u * tiles < params.rows;
    let within_${p} = min(tile + ${p}u * tiles, params.rows - 1u);
    let a_${p} = (first_a + within_${p}) * params.depth;
#endfor
#import gram_tile
#for v in 0..COLUMNS
    if column + ${v}u < params.width {
#for p in 0..PIXELS
        if live_${p} {
            y[(image * params.rows + within_${p}) * params.width + column + ${v}u] = to_map(acc_${p}_${v});
        }
#endfor
    }
#endfor
}
