// The tile of an invocation where all pixels of the batch are alike: pasted into an entry point,
// it returns from those that have none. Invocations that share have the same columns.
    let column_tiles = div_ceil(params.out_c4, ${COLUMNS}u);
#if SPAN
    let image_tiles = tiles_of_image();
    let pixel_tiles = params.images * image_tiles;
#else
#if PHASES
    // Pixels whose coordinates leave the same remainders (the phase) modulo the stride see the same
    // positions of the window, every stride-th one: all of a tile, and of those that share, are so.
    let phase_h = div_ceil(params.out_h, params.stride);
    let phase_w = div_ceil(params.out_w, params.stride);
    let phase_pixels = params.images * phase_h * phase_w;
    let phase_tiles = div_ceil(phase_pixels, ${PIXELS}u * SHARE) * SHARE;
    let pixel_tiles = params.stride * params.stride * phase_tiles;
#else
    let pixel_tiles = div_ceil(params.pixels, ${PIXELS}u);
#endif
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
#if PHASES
    let phase_y = tile / phase_tiles / params.stride;
    let phase_x = tile / phase_tiles % params.stride;
#for p in 0..PIXELS
    let within_${p} = tile % phase_tiles + ${p}u * phase_tiles;
    let line_${p} = within_${p} / phase_w;
    let y_${p} = line_${p} % phase_h * params.stride + phase_y;
    let x_of_${p} = within_${p} % phase_w * params.stride + phase_x;
    let live_${p} = within_${p} < phase_pixels && y_${p} < params.out_h && x_of_${p} < params.out_w;
    let pixel_${p} = (line_${p} / phase_h * params.out_h + y_${p}) * params.out_w + x_of_${p};
#endfor
#else
#for p in 0..PIXELS
    let pixel_${p} = tile + ${p}u * pixel_tiles;
    let live_${p} = tile < pixel_tiles && pixel_${p} < params.pixels;
#endfor
#endif
#endif
#import conv2d_tile
