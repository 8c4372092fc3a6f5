// Every kernel runs on a line of workgroups, folded into rows where it is longer than the
// 65,535 groups that a dispatch may have in one dimension.
//
// Kernels that load the same values in many invocations can have the SHARED invocations of each
// subgroup load some each and hand them round. They do one piece of work together (line_id), or,
// if they do not share, each its own.

const GROUP: u32 = 64u;

struct Invocation {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
#if SHARED
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
#endif
#if COOPERATIVE
    @builtin(subgroup_id) subgroup: u32,
#endif
}

fn flat_group(i: Invocation) -> u32 {
    return i.group.x + i.group.y * i.groups.x;
}

fn flat_id(i: Invocation) -> u32 {
    return flat_group(i) * GROUP + i.local;
}

#if SHARED
const SHARE: u32 = SHARED;

fn line_id(i: Invocation) -> u32 {
    return flat_group(i) * (GROUP / SHARE) + i.subgroup;
}

fn lane_of(i: Invocation) -> u32 {
    return i.lane;
}
#else
const SHARE: u32 = 1u;

fn line_id(i: Invocation) -> u32 {
    return flat_id(i);
}

fn lane_of(i: Invocation) -> u32 {
    return 0u;
}
#endif

fn div_ceil(a: u32, b: u32) -> u32 {
    return (a + b - 1u) / b;
}
