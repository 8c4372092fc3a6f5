// Every kernel runs on a line of workgroups, folded into rows where it is longer than the
// 65,535 groups that a dispatch may have in one dimension.

const GROUP: u32 = 64u;

fn flat_id(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return (group.x + group.y * groups.x) * GROUP + local;
}

fn div_ceil(a: u32, b: u32) -> u32 {
    return (a + b - 1u) / b;
}
