// Mean and variance in pieces (Chan, Golub and LeVeque, 1979). Each piece sums its values
// shifted by its first one, so that a large mean does not swallow a small variance.

struct Moments {
    count: f32,
    mean: vec4<f32>,
    m2: vec4<f32>,
}

fn moments(count: f32, shift: vec4<f32>, sum: vec4<f32>, squares: vec4<f32>) -> Moments {
    let mean = sum / count;
    return Moments(count, shift + mean, max(squares - sum * mean, vec4<f32>()));
}

fn merge(a: Moments, b: Moments) -> Moments {
    let count = a.count + b.count;
    let delta = b.mean - a.mean;
    let weight = b.count / count;
    return Moments(count, a.mean + delta * weight, a.m2 + b.m2 + delta * delta * (a.count * weight));
}
