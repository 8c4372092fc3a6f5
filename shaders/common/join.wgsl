// Sums of many terms for few results. JOIN = n: n adjacent invocations of a workgroup share each
// result. Each sums every n-th term, then their partial sums are added in order. Without JOIN one
// invocation sums all terms. All invocations of a workgroup must call the join functions, because these
// contain barriers.

struct Sums {
    a: vec4<f32>,
    b: vec4<f32>,
}

#if JOIN
const SHARES: u32 = JOIN;

var<workgroup> shares_a: array<vec4<f32>, GROUP>;
var<workgroup> shares_b: array<vec4<f32>, GROUP>;
#else
const SHARES: u32 = 1u;
#endif

// The index of the result that an invocation contributes to.
fn result_id(i: Invocation) -> u32 {
    return flat_id(i) / SHARES;
}

// Its number among the invocations that share the result: its first term.
fn share_of(i: Invocation) -> u32 {
    return i.local % SHARES;
}

// The first of these invocations, as an index in the workgroup.
fn first_share(i: Invocation) -> u32 {
    return i.local - share_of(i);
}

#if JOIN
// Writes the sums of an invocation to workgroup memory.
fn publish(i: Invocation, own: Sums) {
    // Other invocations may still read the values of an earlier join.
    workgroupBarrier();
    shares_a[i.local] = own.a;
    shares_b[i.local] = own.b;
    workgroupBarrier();
}
#endif

// The total of the invocations that share a result.
fn join_sums(i: Invocation, own: Sums) -> Sums {
    var total = own;
#if JOIN
    publish(i, own);
    total = Sums();
    for (var at = first_share(i); at < first_share(i) + SHARES; at++) {
        total = Sums(total.a + shares_a[at], total.b + shares_b[at]);
    }
#endif
    return total;
}

// The sums with the largest `a.x` and, among equal ones, the smallest `b.x`.
fn join_largest(i: Invocation, own: Sums) -> Sums {
    var best = own;
#if JOIN
    publish(i, own);
    for (var at = first_share(i); at < first_share(i) + SHARES; at++) {
        let other = Sums(shares_a[at], shares_b[at]);
        let larger = other.a.x > best.a.x || (other.a.x == best.a.x && other.b.x < best.b.x);
        if larger {
            best = other;
        }
    }
#endif
    return best;
}
