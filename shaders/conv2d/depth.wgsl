// The state of a loop over the depth of a convolution, some groups of four channels at a time: a
// position in the window, and the first group.
struct Depth {
    ky: u32,
    kx: u32,
    c: u32,
}

fn advance(depth: ptr<function, Depth>, groups: u32) {
    depth.c += groups;
    if depth.c >= params.in_c4 {
        depth.c = 0u;
        depth.kx++;
        if depth.kx == params.kernel {
            depth.kx = 0u;
            depth.ky++;
        }
    }
}
