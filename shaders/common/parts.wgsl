// Sums over pixels are split twice: into groups of `params.group` pixels, and each group into
// `params.parts` parts.

// A range of pixels.
struct Part {
    first: u32,
    size: u32,
}

fn part_count() -> u32 {
    return div_ceil(params.pixels, params.group) * params.parts;
}

// The group that a part belongs to.
fn group_of(part: u32) -> Part {
    let first = part / params.parts * params.group;
    return Part(first, min(params.group, params.pixels - first));
}

// The pixels of a part, if each part of a group has a contiguous range of about the same size.
struct Range {
    first: u32,
    last: u32,
}

fn range_of(part: u32) -> Range {
    let pixels = group_of(part);
    let share = div_ceil(pixels.size, params.parts);
    let skipped = min(part % params.parts * share, pixels.size);
    let first = pixels.first + skipped;
    return Range(first, first + min(share, pixels.size - skipped));
}
