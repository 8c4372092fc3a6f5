// One for each lane of group `group` that is one of `channels` channels, zero for padding.
fn lanes(group: u32, channels: u32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(1.0), vec4<u32>(4u * group) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(channels));
}
