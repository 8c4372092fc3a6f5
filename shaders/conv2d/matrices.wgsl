// Cooperative matrices of SIDE × SIDE: a subgroup holds them and multiplies them on the device's matrix
// units. For conv2d_cooperative.
alias Left = coop_mat${SIDE}x${SIDE}<f16, A>;
alias Right = coop_mat${SIDE}x${SIDE}<f16, B>;
alias Product = coop_mat${SIDE}x${SIDE}<f32, C>;

fn subgroup_of(i: Invocation) -> u32 {
    return i.subgroup;
}

fn zero(nth: u32) -> Product {
    return Product();
}

// Both tiles are row-major.
fn left(at: u32) -> Left {
    return coopLoadT<Left>(&tile_x[at], DEPTH);
}

fn right(at: u32) -> Right {
    return coopLoadT<Right>(&tile_w[at], TILE);
}

fn multiply_add(a: Left, b: Right, sum: Product) -> Product {
    return coopMultiplyAdd(a, b, sum);
}

fn store_matrix(sum: Product, at: u32) {
    coopStoreT(sum, &results[at], SIDE);
}
