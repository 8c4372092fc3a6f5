// The matrix that maps an image's pixels to their gradients: y[image] = sum over classes k of
// factor * scores[image, k] * w_k w_kᵀ. The depth of the product is the classes.
#import common/grid
#import common/map
#import goodness/gram_tile

@group(0) @binding(1) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> scores: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let work = work_of(invocation);
    let image = work.image;
    if image >= params.images {
        return;
    }
    let tile = tile_at(work.tile, work.column);
    var acc: Acc;
    for (var c = 0u; c < params.depth; c++) {
        let slope = params.factor * scores[(params.first + image) * params.depth + c];
#for p in 0..PIXELS
        let row_${p} = slope * w[tile.row[${p}] * params.depth + c];
#endfor
#for v in 0..COLUMNS
        {
            let at = 4u * tile.column[${v}] * params.depth + c;
            let m = mat4x4<f32>(w[at], w[at + params.depth], w[at + 2u * params.depth], w[at + 3u * params.depth]);
#for p in 0..PIXELS
            acc[${p}][${v}] += row_${p} * m;
#endfor
        }
#endfor
    }
#for v in 0..COLUMNS
    if work.column + ${v}u < params.width {
#for p in 0..PIXELS
        if tile.live[${p}] {
            y[(image * params.rows + tile.row[${p}]) * params.width + work.column + ${v}u] = acc[${p}][${v}];
        }
#endfor
    }
#endfor
}
