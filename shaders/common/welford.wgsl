// Mean and variance in pieces (Chan, Golub and LeVeque, 1979). Each piece sums its values
// shifted by its first one, so that a large mean does not swallow a small variance. With `join`,
// which must be imported before.

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
    // Of nothing there is no mean to be far from.
    if a.count == 0.0 || b.count == 0.0 {
        return Moments(a.count + b.count, a.mean + b.mean, a.m2 + b.m2);
    }
    let count = a.count + b.count;
    let delta = b.mean - a.mean;
    let weight = b.count / count;
    return Moments(count, a.mean + delta * weight, a.m2 + b.m2 + delta * delta * (a.count * weight));
}

#if JOIN
var<workgroup> counts: array<f32, GROUP>;
#endif

// At most once in a kernel: `counts` is written before all have let go of it.
fn join_moments(i: Invocation, own: Moments) -> Moments {
    var total = own;
#if JOIN
    counts[i.local] = own.count;
    show(i, Sums(own.mean, own.m2));
    total = Moments(0.0, vec4<f32>(), vec4<f32>());
    for (var at = first_share(i); at < first_share(i) + SHARES; at++) {
        total = merge(total, Moments(counts[at], shares_a[at], shares_b[at]));
    }
#endif
    return total;
}
