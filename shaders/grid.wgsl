// Every kernel runs on a line of workgroups, folded into rows where it is longer than the
// 65,535 groups that a dispatch may have in one dimension.

const GROUP: u32 = 64u;

struct Invocation {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
}

fn flat_id(i: Invocation) -> u32 {
    return (i.group.x + i.group.y * i.groups.x) * GROUP + i.local;
}

fn div_ceil(a: u32, b: u32) -> u32 {
    return (a + b - 1u) / b;
}
