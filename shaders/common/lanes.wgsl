// A mask of the lanes of group `group`: 1 for each of the `channels` channels, 0 for padding.
fn lanes(group: u32, channels: u32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(1.0), vec4<u32>(4u * group) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(channels));
}
