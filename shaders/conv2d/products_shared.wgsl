// The products of a tile. The SHARED invocations of a subgroup need the same weights: each loads some
// of them and broadcasts them. The weights are LANES rows of COLUMNS, and the weight of row l and
// column v has the number l * COLUMNS + v. Invocation i loads the numbers i, i + SHARED and so on.

// The number of weights that each invocation loads.
const LOADS: u32 = (LANES * COLUMNS + SHARED - 1u) / SHARED;

struct Weights {
    offset: array<u32, LOADS>,
}

fn weights_of(column: u32, lane: u32) -> Weights {
    var weights: Weights;
#for k in 0..(LANES*COLUMNS+SHARED-1)/SHARED
    {
        let row = min((lane + ${k}u * SHARED) / COLUMNS, LANES - 1u);
        let column = min(column + (lane + ${k}u * SHARED) % COLUMNS, params.out_c4 - 1u);
#if DGRAD
        weights.offset[${k}] = (4u * column + row) * params.in_c4;
#else
        weights.offset[${k}] = row * params.out_c4 + column;
#endif
    }
#endfor
    return weights;
}

// Multiplies the inputs of the pixels at position `tap` of the window, group `c` of input channels,
// with the weight, and adds the products. Only the first LANES channels of a group are used.
fn multiply(acc: ptr<function, Acc>, inputs: Inputs, weights: Weights, tap: u32, c: u32) {
#if DGRAD
    let first = tap * params.out_c4 * 4u * params.in_c4 + c;
#else
    let first = (tap * params.in_c4 + c) * 4u * params.out_c4;
#endif
    var loaded: array<vec4<f32>, LOADS>;
#for k in 0..(LANES*COLUMNS+SHARED-1)/SHARED
    loaded[${k}] = w[first + weights.offset[${k}]];
#endfor
#for v in 0..COLUMNS
#for l in 0..LANES
    {
        let m = subgroupBroadcast(loaded[${(l*COLUMNS+v)/SHARED}], ${(l*COLUMNS+v)%SHARED}u);
#for p in 0..PIXELS
#if DGRAD
        acc[${p}][${v}][${l}] += dot(inputs[${p}], m);
#else
        acc[${p}][${v}] += inputs[${p}][${l}] * m;
#endif
#endfor
    }
#endfor
#endfor
}
