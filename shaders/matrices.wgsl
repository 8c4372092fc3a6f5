// Matrices of SIDE × SIDE that a subgroup holds together, with the depth of tiles in workgroup
// memory from conv2d_cooperative. With COOPERATIVE on the device's matrix units; else, for tests on
// devices without them, each invocation computes some of a matrix in workgroup memory.
#if COOPERATIVE
alias Left = coop_mat${SIDE}x${SIDE}<f16, A>;
alias Right = coop_mat${SIDE}x${SIDE}<f16, B>;
alias Sums = coop_mat${SIDE}x${SIDE}<f32, C>;

fn subgroup_of(i: Invocation) -> u32 {
    return i.subgroup;
}

fn zero(nth: u32) -> Sums {
    return Sums();
}

// From the tile of pixels, as from the tile of the weight, row by row.
fn left(at: u32) -> Left {
    return coopLoadT<Left>(&tile_x[at], DEPTH);
}

fn right(at: u32) -> Right {
    return coopLoadT<Right>(&tile_w[at], TILE);
}

fn multiply_add(a: Left, b: Right, sums: Sums) -> Sums {
    return coopMultiplyAdd(a, b, sums);
}

fn keep(sums: Sums, at: u32) {
    coopStoreT(sums, &results[at], ${SIDE}u);
}
#else
// Those of all subgroups, one after another.
var<workgroup> sums: array<f32, ${64*64}>;
var<private> lane: u32;

fn subgroup_of(i: Invocation) -> u32 {
    lane = i.local % ${SUBGROUP}u;
    return i.local / ${SUBGROUP}u;
}

// Factors and sums are where they begin in workgroup memory.
fn zero(nth: u32) -> u32 {
    for (var at = lane; at < AREA; at += ${SUBGROUP}u) {
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
    for (var at = lane; at < AREA; at += ${SUBGROUP}u) {
        for (var k = 0u; k < ${SIDE}u; k++) {
            let value = f32(tile_x[a + at / ${SIDE}u * DEPTH + k]);
            sums[first + at] += value * f32(tile_w[b + k * TILE + at % ${SIDE}u]);
        }
    }
    return first;
}

fn keep(first: u32, to: u32) {
    for (var at = lane; at < AREA; at += ${SUBGROUP}u) {
        results[to + at] = sums[first + at];
    }
}
#endif
