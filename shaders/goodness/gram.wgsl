// The goodness of 1×1 heads from Gram matrices: with M the sum of n nᵀ over an image's pixels, the
// goodness of class k is wᵀ M w, w being column k of the weight. With F16, `a` and `y` are float16.
#import common/grid
#import common/map
#import goodness/gram_tile

@group(0) @binding(1) var<storage, read_write> a: array<Map>;
@group(0) @binding(2) var<storage, read_write> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> scores: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<Map>;

// Rows of `a`, counted from row `first_a`, times the matrix that begins at vector `first_b` of `b`.
fn product_of(tile: Tile, first_a: u32, first_b: u32) -> Acc {
    var first: array<u32, PIXELS>;
#for p in 0..PIXELS
    first[${p}] = (first_a + tile.row[${p}]) * params.depth;
#endfor
    var acc: Acc;
    for (var c = 0u; c < params.depth; c++) {
#for p in 0..PIXELS
        let row_${p} = vec4<f32>(a[first[${p}] + c]);
#endfor
#for v in 0..COLUMNS
        {
            let at = first_b + 4u * c * params.width + tile.column[${v}];
            let m = mat4x4<f32>(b[at], b[at + params.width], b[at + 2u * params.width], b[at + 3u * params.width]);
#for p in 0..PIXELS
            acc[${p}][${v}] += m * row_${p};
#endfor
        }
#endfor
    }
    return acc;
}

// partial[image, part, k] = sum over the part's channels of w * (M w).
@compute @workgroup_size(GROUP)
fn squares(invocation: Invocation) {
    let id = flat_id(invocation);
    let column_tiles = div_ceil(params.width, COLUMNS);
    let column = id % column_tiles * COLUMNS;
    let cell = id / column_tiles;
    if cell >= params.images * params.parts {
        return;
    }
    let first = cell / params.parts * params.rows;
    var sums: array<vec4<f32>, COLUMNS>;
    for (var index = cell % params.parts; index < div_ceil(params.rows, PIXELS); index += params.parts) {
        let tile = tile_at(index, column);
        let acc = product_of(tile, first, 0u);
#for v in 0..COLUMNS
#for p in 0..PIXELS
        sums[${v}] += select(vec4<f32>(), b[tile.row[${p}] * params.width + tile.column[${v}]] * acc[${p}][${v}], tile.live[${p}]);
#endfor
#endfor
    }
#for v in 0..COLUMNS
    if column + ${v}u < params.width {
        partial[cell * params.width + column + ${v}u] = sums[${v}];
    }
#endfor
}

// partial[part] = sum over the part's images of factor * scores[image] * (M w), the gradient of the
// weight. With ADD it is added to the old value.
@compute @workgroup_size(GROUP)
fn weight_grad(invocation: Invocation) {
    let work = work_of(invocation);
    let part = work.image;
    if part >= params.parts {
        return;
    }
    let tile = tile_at(work.tile, work.column);
    var total: Acc;
    for (var image = part; image < params.images; image += params.parts) {
        let acc = product_of(tile, image * params.rows, 0u);
#for v in 0..COLUMNS
        let slope_${v} = params.factor * scores[(params.first + image) * params.width + tile.column[${v}]];
#for p in 0..PIXELS
        total[${p}][${v}] += slope_${v} * acc[${p}][${v}];
#endfor
#endfor
    }
#for v in 0..COLUMNS
    if work.column + ${v}u < params.width {
#for p in 0..PIXELS
        if tile.live[${p}] {
            let at = (part * params.rows + tile.row[${p}]) * params.width + work.column + ${v}u;
#if ADD
            partial[at] += total[${p}][${v}];
#else
            partial[at] = total[${p}][${v}];
#endif
        }
#endfor
    }
#endfor
}

// y[image] = a[image] * b[image]: the gradients of the pixels.
@compute @workgroup_size(GROUP)
fn product(invocation: Invocation) {
    let work = work_of(invocation);
    let image = work.image;
    if image >= params.images {
        return;
    }
    let tile = tile_at(work.tile, work.column);
    let acc = product_of(tile, image * params.rows, image * 4u * params.depth * params.width);
#for v in 0..COLUMNS
    if work.column + ${v}u < params.width {
#for p in 0..PIXELS
        if tile.live[${p}] {
            y[(image * params.rows + tile.row[${p}]) * params.width + work.column + ${v}u] = to_map(acc[${p}][${v}]);
        }
#endfor
    }
#endfor
}
