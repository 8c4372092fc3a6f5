// Measures the peak arithmetic rate: fused multiply-adds only, on CHAINS independent vectors, in a loop
// that is unrolled UNROLL times.
#import common/grid

#if F16
alias Value = vec4<f16>;
#else
alias Value = vec4<f32>;
#endif

struct Params {
    rounds: u32,
    factor: f32,
    shift: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(invocation: Invocation) {
    let id = flat_id(invocation);
    // Parameters, so that the compiler cannot compute the result.
    let factor = Value(vec4<f32>(params.factor));
    let shift = Value(vec4<f32>(params.shift));
#for i in 0..CHAINS
    var x_${i} = Value(vec4<f32>(f32(invocation.local), ${i}.0, 1.0, 2.0));
#endfor
    for (var round = 0u; round < params.rounds; round++) {
#for u in 0..UNROLL
#for i in 0..CHAINS
        x_${i} = fma(x_${i}, factor, shift);
#endfor
#endfor
    }
    var total = Value();
#for i in 0..CHAINS
    total += x_${i};
#endfor
    y[id] = vec4<f32>(total);
}
