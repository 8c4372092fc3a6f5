// The tile of an invocation where all pixels of the batch are alike: pasted into an entry point,
// it returns from those that have none. Invocations that share have the same columns.
    let column_tiles = div_ceil(params.out_c4, ${COLUMNS}u);
#if SPAN
    let image_tiles = tiles_of_image();
    let pixel_tiles = params.images * image_tiles;
#else
    let pixel_tiles = div_ceil(params.pixels, ${PIXELS}u);
#endif
    let column = line_id(invocation) % column_tiles * ${COLUMNS}u;
    let first_tile = line_id(invocation) / column_tiles * SHARE;
    if first_tile >= pixel_tiles {
        return;
    }
    let lane = lane_of(invocation);
    let tile = first_tile + lane;
#if SPAN
    let within = tile % image_tiles;
    let live = tile < pixel_tiles;
#for p in 0..PIXELS
    let image_${p} = tile / image_tiles;
#endfor
#import conv2d_rows
#else
#for p in 0..PIXELS
    let pixel_${p} = tile + ${p}u * pixel_tiles;
    let live_${p} = tile < pixel_tiles && pixel_${p} < params.pixels;
#endfor
#endif
#import conv2d_tile
