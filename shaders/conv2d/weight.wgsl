// A weight as the right factor of the matrix product that a convolution is: row `lane` of group `c`
// of the depth at a position of the window, four columns wide. With DGRAD the weight is read
// transposed: column `lane` of group `column`, four of the depth high.
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
