// The tile of an invocation where all pixels of the batch are alike: pasted into an entry point,
// it returns from those that have none.
    let id = flat_id(invocation);
    let column_tiles = div_ceil(params.out_c4, ${COLUMNS}u);
    let pixel_tiles = div_ceil(params.pixels, ${PIXELS}u);
    let column = id % column_tiles * ${COLUMNS}u;
    let tile = id / column_tiles;
    if tile >= pixel_tiles {
        return;
    }
#for p in 0..PIXELS
    let pixel_${p} = tile + ${p}u * pixel_tiles;
    let live_${p} = pixel_${p} < params.pixels;
#endfor
#import conv2d_tile
