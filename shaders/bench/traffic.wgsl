// Measures memory bandwidth: two kernels of McCalpin's STREAM benchmark, VECTORS vectors per
// invocation.
#import common/grid

struct Params {
    len: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn copy(invocation: Invocation) {
    let id = flat_id(invocation);
    let threads = params.len / VECTORS;
    if id < threads {
#for v in 0..VECTORS
        y[id + ${v}u * threads] = a[id + ${v}u * threads];
#endfor
    }
}

@compute @workgroup_size(GROUP)
fn triad(invocation: Invocation) {
    let id = flat_id(invocation);
    let threads = params.len / VECTORS;
    if id < threads {
#for v in 0..VECTORS
        y[id + ${v}u * threads] = a[id + ${v}u * threads] + params.factor * b[id + ${v}u * threads];
#endfor
    }
}
