// The pixels of tile `within` of image `image_0`, if it is `live`: rows of SPAN side by side.
    let y_first = within / tiles_across() * ${PIXELS/SPAN}u;
    let x_first = within % tiles_across() * ${SPAN}u;
#for p in 0..PIXELS
    let live_${p} = live && y_first + ${p/SPAN}u < params.out_h && x_first + ${p%SPAN}u < params.out_w;
    let pixel_${p} = (image_0 * params.out_h + y_first + ${p/SPAN}u) * params.out_w + x_first + ${p%SPAN}u;
#endfor
