// The activation that the definitions name, and its derivative. Both are flat at their kinks, as
// in PyTorch. Written without min and max, which may hide what is not a number.
#import common/lanes

// min(max(x + 3, 0), 6) / 6
fn ramp(x: vec4<f32>) -> vec4<f32> {
    let y = select(x + 3.0, vec4<f32>(), x < vec4<f32>(-3.0)) / 6.0;
    return select(y, vec4<f32>(1.0), x > vec4<f32>(3.0));
}

// `group` and `channels` tell padding lanes, which must stay zero even if the function of zero
// is not.
fn activate(x: vec4<f32>, group: u32, channels: u32) -> vec4<f32> {
    var y = x;
#if RELU
    y = select(x, vec4<f32>(), x < vec4<f32>());
#endif
#if HARD_SWISH
    y = x * ramp(x);
#endif
#if HARD_SIGMOID
    y = ramp(x) * lanes(group, channels);
#endif
    return y;
}

fn slope(x: vec4<f32>) -> vec4<f32> {
    var s = vec4<f32>(1.0);
#if RELU
    s = select(vec4<f32>(), s, x > vec4<f32>());
#endif
#if HARD_SWISH
    s = select(vec4<f32>(), x / 3.0 + 0.5, x > vec4<f32>(-3.0));
    s = select(s, vec4<f32>(1.0), x >= vec4<f32>(3.0));
#endif
#if HARD_SIGMOID
    s = select(vec4<f32>(), s / 6.0, abs(x) < vec4<f32>(3.0));
#endif
    return s;
}
