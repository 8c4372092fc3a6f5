// Sums of many terms for few results: JOIN neighbours in a workgroup take every JOIN-th term each, and
// join what they have, in order. Without JOIN an invocation takes all terms. All invocations of a
// workgroup must come to the joining, also those that have nothing to do.

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

// The result that an invocation works for, and its first term.
fn result_id(i: Invocation) -> u32 {
    return flat_id(i) / SHARES;
}

fn share_of(i: Invocation) -> u32 {
    return i.local % SHARES;
}

// The first of those in the workgroup that work for the same result.
fn first_share(i: Invocation) -> u32 {
    return i.local - share_of(i);
}

#if JOIN
// Lets its neighbours see what an invocation has.
fn show(i: Invocation, own: Sums) {
    // They may still look at what they saw before.
    workgroupBarrier();
    shares_a[i.local] = own.a;
    shares_b[i.local] = own.b;
    workgroupBarrier();
}
#endif

fn join_sums(i: Invocation, own: Sums) -> Sums {
    var total = own;
#if JOIN
    show(i, own);
    total = Sums();
    for (var at = first_share(i); at < first_share(i) + SHARES; at++) {
        total = Sums(total.a + shares_a[at], total.b + shares_b[at]);
    }
#endif
    return total;
}

// The value that is largest by `a`, of equal ones that with the smallest `b`, in their first lanes.
fn join_largest(i: Invocation, own: Sums) -> Sums {
    var best = own;
#if JOIN
    show(i, own);
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
