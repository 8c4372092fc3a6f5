// Loads four values of the weight as the right factor of the convolution's matrix product: row `lane`
// of group `c` of the depth at position (ky, kx) of the window, in the four columns of group `column`.
// With DGRAD the weight is read transposed: column `lane` of group `column`, in the four rows of group
// `c`.
fn weight(ky: u32, kx: u32, c: u32, lane: u32, column: u32) -> vec4<f32> {
    let tap = ky * params.kernel + kx;
    let inside = ky < params.kernel && c < params.in_c4 && column < params.out_c4;
#if DGRAD
    let at = ((tap * params.out_c4 + column) * 4u + lane) * params.in_c4 + c;
#else
    let at = ((tap * params.in_c4 + c) * 4u + lane) * params.out_c4 + column;
#endif
    return select(vec4<f32>(), w[select(0u, at, inside)], inside);
}
