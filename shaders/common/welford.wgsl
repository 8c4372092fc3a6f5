// Mean and variance of pieces, merged (Chan, Golub and LeVeque, 1979). Each piece subtracts its first
// value from all values before it sums them, so that a small variance next to a large mean is not lost
// to rounding. A kernel that imports this must import common/join before.

struct Moments {
    count: f32,
    mean: vec4<f32>,
    // The sum of squared deviations from the mean.
    m2: vec4<f32>,
}

// From the sum and the sum of squares of `count` values minus `shift`.
fn moments(count: f32, shift: vec4<f32>, sum: vec4<f32>, squares: vec4<f32>) -> Moments {
    let mean = sum / count;
    return Moments(count, shift + mean, max(squares - sum * mean, vec4<f32>()));
}

fn merge(a: Moments, b: Moments) -> Moments {
    // An empty piece has no mean, and would divide by zero.
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

// Call it at most once in a kernel: it writes `counts` without waiting for earlier reads.
fn join_moments(i: Invocation, own: Moments) -> Moments {
    var total = own;
#if JOIN
    counts[i.local] = own.count;
    publish(i, Sums(own.mean, own.m2));
    total = Moments(0.0, vec4<f32>(), vec4<f32>());
    for (var at = first_share(i); at < first_share(i) + SHARES; at++) {
        total = merge(total, Moments(counts[at], shares_a[at], shares_b[at]));
    }
#endif
    return total;
}
