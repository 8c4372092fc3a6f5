// The products of a tile. Each invocation loads its own weights.

struct Weights {
    column: array<u32, COLUMNS>,
}

fn weights_of(column: u32, lane: u32) -> Weights {
    var weights: Weights;
#for v in 0..COLUMNS
    weights.column[${v}] = min(column + ${v}u, params.out_c4 - 1u);
#endfor
    return weights;
}

// Multiplies the inputs of the pixels at position `tap` of the window, group `c` of input channels,
// with the weight, and adds the products. Only the first LANES channels of a group are used.
fn multiply(acc: ptr<function, Acc>, inputs: Inputs, weights: Weights, tap: u32, c: u32) {
#for v in 0..COLUMNS
    {
#if DGRAD
        let at = (tap * params.out_c4 + weights.column[${v}]) * 4u * params.in_c4 + c;
        let m = mat4x4<f32>(w[at], w[at + params.in_c4], w[at + 2u * params.in_c4], w[at + 3u * params.in_c4]);
#for p in 0..PIXELS
        acc[${p}][${v}] += inputs[${p}] * m;
#endfor
#else
        let at = (tap * params.in_c4 + c) * 4u * params.out_c4 + weights.column[${v}];
#for l in 0..LANES
        let row_${l} = w[at + ${l}u * params.out_c4];
#endfor
#for p in 0..PIXELS
#for l in 0..LANES
        acc[${p}][${v}] += inputs[${p}][${l}] * row_${l};
#endfor
#endfor
#endif
    }
#endfor
}
