// The number format of maps and their gradients. Arithmetic is in f32: values are converted when they
// are loaded, by vec4<f32>(x[i]), and when they are stored, by to_map(v).
#if F16
alias Map = vec4<f16>;

// Saturates at the largest f16; NaN stays NaN.
fn to_map(v: vec4<f32>) -> Map {
    return Map(select(v, sign(v) * 65504.0, abs(v) > vec4<f32>(65504.0)));
}
#else
alias Map = vec4<f32>;

fn to_map(v: vec4<f32>) -> Map {
    return v;
}
#endif
