// Register tiles of the products with Gram matrices: PIXELS rows by COLUMNS groups of four columns.
#import goodness/gram_params

// Sums of a tile.
alias Acc = array<array<vec4<f32>, COLUMNS>, PIXELS>;

// The rows and columns of a tile, clamped to the last ones; and which of its rows exist.
struct Tile {
    row: array<u32, PIXELS>,
    live: array<bool, PIXELS>,
    column: array<u32, COLUMNS>,
}

// Tile `index` of the rows. Its rows are strided over the matrix: adjacent tiles read adjacent rows.
fn tile_at(index: u32, first_column: u32) -> Tile {
    let tiles = div_ceil(params.rows, PIXELS);
    var tile: Tile;
#for p in 0..PIXELS
    tile.live[${p}] = index + ${p}u * tiles < params.rows;
    tile.row[${p}] = min(index + ${p}u * tiles, params.rows - 1u);
#endfor
#for v in 0..COLUMNS
    tile.column[${v}] = min(first_column + ${v}u, params.width - 1u);
#endfor
    return tile;
}

// The work of an invocation: a tile of the result for an image, or for a part of the images.
struct Work {
    image: u32,
    tile: u32,
    // The first group of four columns.
    column: u32,
}

fn work_of(invocation: Invocation) -> Work {
    let id = flat_id(invocation);
    let column_tiles = div_ceil(params.width, COLUMNS);
    let tiles = div_ceil(params.rows, PIXELS);
    return Work(id / column_tiles / tiles, id / column_tiles % tiles, id % column_tiles * COLUMNS);
}
