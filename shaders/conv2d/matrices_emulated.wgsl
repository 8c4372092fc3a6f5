// The functions of matrices.wgsl without matrix units, to test conv2d_cooperative on other devices.
// Each invocation computes some values of a matrix in workgroup memory. A matrix is represented by the
// index of its first value there.

// The sums of all subgroups.
var<workgroup> sums: array<f32, TILE * TILE>;
var<private> lane: u32;

fn subgroup_of(i: Invocation) -> u32 {
    lane = i.local % SUBGROUP;
    return i.local / SUBGROUP;
}

fn zero(nth: u32) -> u32 {
    for (var at = lane; at < AREA; at += SUBGROUP) {
        sums[nth * AREA + at] = 0.0;
    }
    return nth * AREA;
}

fn left(at: u32) -> u32 {
    return at;
}

fn right(at: u32) -> u32 {
    return at;
}

fn multiply_add(a: u32, b: u32, first: u32) -> u32 {
    for (var at = lane; at < AREA; at += SUBGROUP) {
        for (var k = 0u; k < SIDE; k++) {
            let value = f32(tile_x[a + at / SIDE * DEPTH + k]);
            sums[first + at] += value * f32(tile_w[b + k * TILE + at % SIDE]);
        }
    }
    return first;
}

fn store_matrix(first: u32, to: u32) {
    for (var at = lane; at < AREA; at += SUBGROUP) {
        results[to + at] = sums[first + at];
    }
}
