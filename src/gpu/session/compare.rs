//! Compares the results of kernel variants on the device.

use std::iter::once;

use super::{Session, allocate};
use crate::Result;
use crate::base::shape::Layout;
use crate::compiler::kernel::{Kernel, grid};
use crate::compiler::tensor::TensorId;

/// Invocations of the comparison: enough to fill a GPU, few enough for the host to reduce.
const THREADS: usize = 1 << 14;

/// A copy of a tensor on the device.
pub struct Copied(wgpu::Buffer);

/// The difference of a tensor from an earlier copy.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Difference {
    /// The largest absolute difference of two values.
    pub largest: f32,
    /// The largest magnitude in the copy.
    pub magnitude: f32,
    /// Whether all values of the tensor are finite.
    pub finite: bool,
}

fn kernel(layout: Layout) -> Kernel {
    let half = u32::from(layout == Layout::Half);
    Kernel { file: "difference", entry: "main", definitions: [("F16", half)].into() }
}

/// All kernels of the comparison.
pub fn kernels() -> [Kernel; 2] {
    [Layout::Nhwc, Layout::Half].map(kernel)
}

impl Session {
    /// Fills a tensor with zeros, before the next [`Session::run`].
    pub fn clear(&self, id: TensorId) {
        let (arena, offset) = self.plan.place(id);
        let bytes = self.program.tensor(id).bytes() as u64;
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        encoder.clear_buffer(&self.arenas[arena], offset as u64, Some(bytes));
        self.gpu.queue.submit([encoder.finish()]);
    }

    /// Copies a tensor after the work submitted so far.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn copied(&self, id: TensorId) -> Result<Copied> {
        let (arena, offset) = self.plan.place(id);
        let bytes = self.program.tensor(id).bytes();
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let copy = allocate(&self.gpu, "copy", bytes, usage)?;
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&self.arenas[arena], offset as u64, &copy, 0, copy.size());
        self.gpu.queue.submit([encoder.finish()]);
        Ok(Copied(copy))
    }

    /// Waits for the device and compares a tensor of floats with an earlier copy.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] and the like.
    pub fn difference(&mut self, id: TensorId, Copied(before): &Copied) -> Result<Difference> {
        let tensor = self.program.tensor(id);
        let len = tensor.bytes() / (4 * tensor.layout.width());
        let threads = len.min(THREADS);
        let kernel = kernel(tensor.layout);
        let pipeline =
            self.gpu.pipelines(once(&kernel), false)?.remove(&kernel).expect("asked for");
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let params = allocate(&self.gpu, "parameters", 8, usage)?;
        let words = [len as u32, threads as u32];
        self.gpu.queue.write_buffer(&params, 0, bytemuck::cast_slice(&words));
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let result = allocate(&self.gpu, "differences", 16 * threads, usage)?;
        let (arena, offset) = self.plan.place(id);
        let after = wgpu::BufferBinding {
            buffer: &self.arenas[arena],
            offset: offset as u64,
            size: std::num::NonZeroU64::new(tensor.bytes() as u64),
        };
        let resources = [
            params.as_entire_binding(),
            before.as_entire_binding(),
            wgpu::BindingResource::Buffer(after),
            result.as_entire_binding(),
        ];
        let entries = resources.into_iter().zip(0..);
        let entries: Vec<_> =
            entries.map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource }).collect();
        let bind_group = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("difference"),
            layout: &pipeline.layout,
            entries: &entries,
        });
        let staging = self.staging(16 * threads)?;
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            let (columns, rows) = grid(threads, pipeline.reflection.workgroup_size as usize);
            pass.dispatch_workgroups(columns, rows, 1);
        }
        encoder.copy_buffer_to_buffer(&result, 0, &staging, 0, staging.size());
        let fetch = self.submit(encoder, staging);
        let rows = bytemuck::pod_collect_to_vec::<u8, [f32; 4]>(&self.wait(&fetch)?);
        self.spare.push(fetch.buffer);
        let largest = |lane: usize| rows.iter().map(|row| row[lane]).fold(0.0, f32::max);
        Ok(Difference { largest: largest(0), magnitude: largest(1), finite: largest(2) == 0.0 })
    }
}
