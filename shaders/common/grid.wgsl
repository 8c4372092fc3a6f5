// Every kernel has a one-dimensional grid of workgroups. It is folded into rows if it is longer than
// 65,535 groups, the limit of a dispatch per dimension.
//
// Where many invocations need the same values, the SHARED invocations of a subgroup can each load
// some of them and broadcast them. These invocations have the same `work_id`. Without sharing, every
// invocation has its own.

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

fn work_id(i: Invocation) -> u32 {
    return flat_group(i) * (GROUP / SHARE) + i.subgroup;
}

fn lane_of(i: Invocation) -> u32 {
    return i.lane;
}
#else
const SHARE: u32 = 1u;

fn work_id(i: Invocation) -> u32 {
    return flat_id(i);
}

fn lane_of(i: Invocation) -> u32 {
    return 0u;
}
#endif

fn div_ceil(a: u32, b: u32) -> u32 {
    return (a + b - 1u) / b;
}
