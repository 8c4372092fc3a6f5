// max(x, 0), but what is not a number stays so: max may hide it, and training would go on.
fn relu(x: vec4<f32>) -> vec4<f32> {
    return select(x, vec4<f32>(), x < vec4<f32>());
}
