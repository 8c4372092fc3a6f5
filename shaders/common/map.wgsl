// What maps are made of, and their gradients. Arithmetic is in f32: values are converted as they
// are loaded, by vec4<f32>(x[i]), and as they are stored, by to_map(v).
#if F16
alias Map = vec4<f16>;

// What is larger than the largest f16 becomes that; what is not a number stays so.
fn to_map(v: vec4<f32>) -> Map {
    return Map(select(v, sign(v) * 65504.0, abs(v) > vec4<f32>(65504.0)));
}
#else
alias Map = vec4<f32>;

fn to_map(v: vec4<f32>) -> Map {
    return v;
}
#endif
