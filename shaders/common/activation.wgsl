// The activation that is defined, and its derivative. At a kink the derivative is that of the flat
// side, as in PyTorch. Written without min and max, which may drop NaN.
#import common/lanes

// min(max(x + 3, 0), 6) / 6
fn hard_sigmoid(x: vec4<f32>) -> vec4<f32> {
    let y = select(x + 3.0, vec4<f32>(), x < vec4<f32>(-3.0)) / 6.0;
    return select(y, vec4<f32>(1.0), x > vec4<f32>(3.0));
}

// Padding lanes, found from `group` and `channels`, must stay zero even where hard-sigmoid of zero is
// not.
fn activate(x: vec4<f32>, group: u32, channels: u32) -> vec4<f32> {
    var y = x;
#if RELU
    y = select(x, vec4<f32>(), x < vec4<f32>());
#endif
#if HARD_SWISH
    y = x * hard_sigmoid(x);
#endif
#if HARD_SIGMOID
    y = hard_sigmoid(x) * lanes(group, channels);
#endif
    return y;
}

// The derivative of the activation at `x`.
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
