// Gradient of a depthwise convolution's weight. The sum over output pixels is split into parts of
// strips of at most ROWS × COLUMNS pixels; here `params.pixels` and `params.group` count strips. Each
// part has an invocation per group of four channels, which goes through a strip from top to bottom and
// loads each row of the input once. sum_rows adds the parts.
#import common/grid
#import common/map
#import conv2d/conv2d_params
#import depthwise/row
#import common/parts

@group(0) @binding(1) var<storage, read_write> x: array<Map>;
@group(0) @binding(2) var<storage, read_write> dy: array<Map>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    let c = id % params.in_c4;
    let part = id / params.in_c4;
    if part >= part_count() {
        return;
    }
    let strips_x = div_ceil(params.out_w, COLUMNS);
    let strips_y = div_ceil(params.out_h, ROWS);
    let rows = div_ceil(params.out_h, strips_y);
#for k in 0..TAPS
#for l in 0..TAPS
    var sum_${k}_${l} = vec4<f32>();
#endfor
#endfor
    let strips = group_of(part);
    for (var at = part % params.parts; at < strips.size; at += params.parts) {
        let strip = strips.first + at;
        let ox = strip % strips_x * COLUMNS;
        let oy = strip / strips_x % strips_y * rows;
        let image = strip / strips_x / strips_y;
        let base = image * params.in_h;
        let end = min(oy + rows, params.out_h);
        let first_column = i32(ox) * i32(STEP) - i32(params.pad);
        // The gradients of the rows of results, at most OPEN, whose windows cover a row of the input.
#for h in 0..OPEN
#for p in 0..COLUMNS
        var d_${h}_${p} = vec4<f32>();
#endfor
#endfor
        for (var y = oy; y < end + OPEN - 1u; y++) {
#for p in 0..COLUMNS
#for h in 1..OPEN
            d_${OPEN-h}_${p} = d_${OPEN-h-1}_${p};
#endfor
            let live_${p} = y < end && ox + ${p}u < params.out_w;
            let pixel_${p} = (image * params.out_h + y) * params.out_w + ox + ${p}u;
            let at_${p} = select(0u, pixel_${p} * params.in_c4 + c, live_${p});
            d_0_${p} = select(vec4<f32>(), vec4<f32>(dy[at_${p}]), live_${p});
#endfor
#for q in 0..STEP
            {
                let row = row_at(base, i32(y * STEP) + ${q} - i32(params.pad), first_column, c);
#for h in 0..(TAPS+STEP-1-q)/STEP
#for l in 0..TAPS
#for p in 0..COLUMNS
                sum_${h*STEP+q}_${l} += row[${p*STEP+l}] * d_${h}_${p};
#endfor
#endfor
#endfor
            }
#endfor
        }
    }
#for k in 0..TAPS
#for l in 0..TAPS
    partial[((params.first + part) * TAPS * TAPS + ${k*TAPS+l}u) * params.in_c4 + c] = sum_${k}_${l};
#endfor
#endfor
}
