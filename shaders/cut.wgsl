// Which pixels a part of a cut sum covers: groups of `params.group` pixels, each in
// `params.parts` parts.

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
