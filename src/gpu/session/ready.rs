//! Buffers and bind groups of a session.

use crate::compiler::kernel::{Dispatch, Operand};
use crate::compiler::plan::Plan;
use crate::compiler::program::Program;
use crate::gpu::device::{Gpu, Pipeline};
use crate::{Error, Result};

/// A dispatch that is ready to be encoded.
pub struct Ready {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    groups: (u32, u32),
}

impl Ready {
    pub fn encode(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(self.groups.0, self.groups.1, 1);
    }
}

/// Extends a binding that reaches a tensor's end over the guard after it.
pub fn extend_to_guard(operand: &mut Operand, program: &Program, guard: usize) {
    let tensor = program.tensor(operand.tensor);
    if tensor.parent.is_none() && operand.offset + operand.bytes == tensor.bytes() {
        operand.bytes += guard;
    }
}

/// Allocates a buffer.
///
/// # Errors
/// [`Error::OutOfMemory`] if the device's memory does not suffice.
pub(crate) fn allocate(
    gpu: &Gpu,
    label: &str,
    bytes: usize,
    usage: wgpu::BufferUsages,
) -> Result<wgpu::Buffer> {
    gpu.made(1);
    let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: bytes as u64,
        usage,
        mapped_at_creation: false,
    });
    match pollster::block_on(scope.pop()) {
        None => Ok(buffer),
        Some(_) => Err(out_of_memory(label, bytes)),
    }
}

/// The error for a buffer that does not fit into the device's memory.
pub fn out_of_memory(label: &str, bytes: usize) -> Error {
    Error::OutOfMemory(format!("{label} buffers ({} MiB)", bytes.div_ceil(1 << 20)))
}

/// Binds the operands of a dispatch.
pub fn bind(
    gpu: &Gpu,
    plan: &Plan,
    arenas: &[wgpu::Buffer],
    (uniforms, uniform_offset): (&wgpu::Buffer, usize),
    pipeline: &Pipeline,
    dispatch: &Dispatch,
) -> Result<Ready> {
    let Pipeline { pipeline, layout, reflection } = pipeline;
    let mut entries = Vec::new();
    for binding in &reflection.bindings {
        let (buffer, offset, bytes) = if binding.uniform {
            (uniforms, uniform_offset, dispatch.params.len())
        } else {
            let operand = dispatch.operands.iter().find(|(name, _)| *name == binding.name);
            let (_, operand) = operand.ok_or_else(|| Error::Shader {
                name: format!("{}.{}", dispatch.kernel.file, dispatch.kernel.entry),
                problem: format!("nothing is bound to `{}`", binding.name),
            })?;
            let (arena, offset) = plan.place(operand.tensor);
            (&arenas[arena], offset + operand.offset, operand.bytes)
        };
        entries.push(wgpu::BindGroupEntry {
            binding: binding.index,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset: offset as u64,
                size: std::num::NonZeroU64::new(bytes as u64),
            }),
        });
    }
    gpu.made(1);
    let bind_group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout,
        entries: &entries,
    });
    let groups = dispatch.grid(reflection.workgroup_size);
    Ok(Ready { pipeline: pipeline.clone(), bind_group, groups })
}
