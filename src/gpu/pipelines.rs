//! Pipelines: compiled in parallel, once for all sessions on a GPU.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::device::{Gpu, Pipeline};
use crate::compiler::kernel::Kernel;
use crate::compiler::wgsl::{self, Reflection};
use crate::{Error, Result};

impl Gpu {
    /// The pipelines of some kernels; new ones are compiled by one thread per core. `checked` keeps
    /// bounds checks and loop bounds, and fills workgroup memory with huge values first.
    ///
    /// # Errors
    /// [`Error::Shader`] if a kernel does not compile, [`Error::Gpu`] if the device refuses it.
    pub(crate) fn pipelines<'a>(
        &self,
        kernels: impl Iterator<Item = &'a Kernel>,
        checked: bool,
    ) -> Result<BTreeMap<&'a Kernel, Pipeline>> {
        let poisoned = |_| Error::Gpu("a thread that compiled kernels failed".into());
        let kernels: BTreeSet<_> = kernels.collect();
        let mut made = self.pipelines.lock().map_err(poisoned)?;
        let new = kernels.iter().filter(|k| !made.contains_key(&((**k).clone(), checked)));
        let new: Vec<_> = new.copied().collect();
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(Kernel, Pipeline)>> {
            let mut done = Vec::new();
            while let Some(kernel) = new.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push(((*kernel).clone(), compile(self, kernel, checked)?));
            }
            Ok(done)
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(new.len());
        let results: Vec<_> = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        for result in results {
            let done =
                result.map_err(|_| Error::Gpu("a kernel could not be compiled".into()))??;
            made.extend(done.into_iter().map(|(kernel, made)| ((kernel, checked), made)));
        }
        let of = |kernel: &'a Kernel| (kernel, made[&(kernel.clone(), checked)].clone());
        Ok(kernels.into_iter().map(of).collect())
    }
}

/// Creates a shader module. Without checks, the compiler trusts every index: only shaders of this
/// project are compiled, and tests run all of them with checks.
pub(crate) fn shader_module(
    gpu: &Gpu,
    label: &str,
    wgsl: String,
    checked: bool,
) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(label),
        source: wgpu::ShaderSource::Wgsl(wgsl.into()),
    };
    if checked {
        return gpu.device.create_shader_module(descriptor);
    }
    let checks = wgpu::ShaderRuntimeChecks::unchecked();
    // SAFETY: the kernels index within the ranges that `lower` binds and have no endless loop;
    // the same dispatches run with checks on in the tests, against a reference.
    unsafe { gpu.device.create_shader_module_trusted(descriptor, checks) }
}

fn compile(gpu: &Gpu, kernel: &Kernel, checked: bool) -> Result<Pipeline> {
    let Kernel { file, entry, definitions } = kernel;
    let label = format!("{file}.{entry}");
    let shader = wgsl::compose(file, definitions)?;
    let reflection = Reflection::new(&label, &shader, entry)?;
    let wgsl = match checked {
        true => wgsl::poison(&label, &shader, entry)?,
        false => shader.wgsl,
    };
    let entries: Vec<_> = reflection
        .bindings
        .iter()
        .map(|b| wgpu::BindGroupLayoutEntry {
            binding: b.index,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: if b.uniform {
                    wgpu::BufferBindingType::Uniform
                } else {
                    wgpu::BufferBindingType::Storage { read_only: false }
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    let device = &gpu.device;
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some(&label),
        entries: &entries,
    });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(&label),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let module = shader_module(gpu, &label, wgsl, checked);
    gpu.made(4);
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&label),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            // Kernels write before they read; tests verify that with `poison`.
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    });
    gpu.check()?;
    Ok(Pipeline { pipeline, layout, reflection })
}
