//! Peak rates of a device, measured by micro-kernels, for the roofline of [`crate::app::profile`]
//! (Williams, Waterman and Patterson, CACM 52(4), 2009).
//!
//! Each figure is the best of several kernel shapes: on a CPU many dependency chains hide the latency
//! of the vector unit, on a GPU many invocations do.

mod sheet;

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::device::Gpu;
use super::pipelines::shader_module;
use crate::compiler::kernel::{Kernel, grid};
use crate::compiler::wgsl;
use crate::gpu::session::{PATIENCE, allocate};
use crate::{Error, Result};

pub use sheet::Sheet;

/// Invocations per workgroup of every kernel.
const GROUP: usize = 64;
/// Invocations of the arithmetic kernels on a GPU and on a CPU: enough to fill the largest GPUs, and
/// several workgroups per core of a CPU.
const THREADS: [usize; 2] = [1 << 18, 1 << 12];
/// Independent chains, and unrolled steps, of the arithmetic kernels.
const CHAINS: [(u32, u32); 6] = [(1, 32), (2, 16), (4, 16), (6, 16), (8, 16), (12, 8)];
/// Vectors per invocation of the memory kernels.
const VECTORS: [u32; 4] = [1, 2, 4, 8];
/// Bytes of each of the three buffers of the memory kernels, on a GPU and on a CPU: together more
/// than the last-level cache.
const BUFFER: [usize; 2] = [128 << 20, 32 << 20];
/// Most iterations of an arithmetic kernel: Mesa's software driver ends loops after 65,535.
const MOST_ROUNDS: u32 = 1 << 15;
/// Duration of an arithmetic dispatch: long compared with a submit, short for a watchdog.
const DISPATCH: Duration = Duration::from_millis(20);

/// Measured peak rates of a device.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Peak {
    /// Multiply-adds of float32, two operations each: 10⁹ per second.
    pub f32_gflops: f64,
    /// The same of float16, where the device has it.
    pub f16_gflops: Option<f64>,
    /// Copying from one buffer to another, bytes read and written: 10⁹ per second.
    pub copy_gbs: f64,
    /// Adding one buffer to another, times a factor, into a third.
    pub triad_gbs: f64,
}

impl Peak {
    /// Measures, taking about `effort` for each figure.
    ///
    /// # Errors
    /// [`Error::Gpu`], [`Error::OutOfMemory`] if the buffers do not fit.
    pub fn measure(gpu: &Gpu, effort: Duration) -> Result<Self> {
        let has_f16 = gpu.device.features().contains(wgpu::Features::SHADER_F16);
        let [a, b, y] = buffers(gpu)?;
        Ok(Self {
            f32_gflops: arithmetic(gpu, &y, effort, false)?,
            f16_gflops: if has_f16 { Some(arithmetic(gpu, &y, effort, true)?) } else { None },
            copy_gbs: traffic(gpu, "copy", &[(1, &a), (3, &y)], effort)?,
            triad_gbs: traffic(gpu, "triad", &[(1, &a), (2, &b), (3, &y)], effort)?,
        })
    }

    /// Memory bandwidth, the better of the two: 10⁹ bytes per second.
    pub fn gbs(&self) -> f64 {
        self.copy_gbs.max(self.triad_gbs)
    }

    /// The lower bound of the time for this work, in seconds.
    pub fn seconds(&self, flops: f64, bytes: f64) -> f64 {
        1e-9 * (flops / self.f32_gflops).max(bytes / self.gbs())
    }
}

impl fmt::Display for Peak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "float32    {:8.1} GFLOP/s", self.f32_gflops)?;
        match self.f16_gflops {
            Some(rate) => writeln!(f, "float16    {rate:8.1} GFLOP/s")?,
            None => writeln!(f, "float16    not on this device")?,
        }
        writeln!(f, "copy       {:8.1} GB/s", self.copy_gbs)?;
        write!(f, "triad      {:8.1} GB/s", self.triad_gbs)
    }
}

fn arithmetic_kernel(chains: u32, unroll: u32, f16: bool) -> Kernel {
    let definitions = [("CHAINS", chains), ("UNROLL", unroll), ("F16", u32::from(f16))];
    Kernel { file: "peak", entry: "main", definitions: definitions.into() }
}

fn traffic_kernel(entry: &'static str, vectors: u32) -> Kernel {
    Kernel { file: "traffic", entry, definitions: [("VECTORS", vectors)].into() }
}

/// Every kernel that is measured.
pub fn kernels() -> Vec<Kernel> {
    let kinds = [false, true].into_iter();
    let arithmetic =
        kinds.flat_map(|f16| CHAINS.map(|(chains, unroll)| arithmetic_kernel(chains, unroll, f16)));
    let entries = ["copy", "triad"].into_iter();
    let traffic = entries.flat_map(|entry| VECTORS.map(|vectors| traffic_kernel(entry, vectors)));
    arithmetic.chain(traffic).collect()
}

/// The buffers of the memory kernels.
fn buffers(gpu: &Gpu) -> Result<[wgpu::Buffer; 3]> {
    let limits = gpu.limits();
    let bytes = BUFFER[usize::from(gpu.adapter.kind == "cpu")]
        .min(limits.max_binding)
        .min(limits.max_buffer)
        / 4096
        * 4096;
    let make = || allocate(gpu, "measurement", bytes, wgpu::BufferUsages::STORAGE);
    Ok([make()?, make()?, make()?])
}

/// Multiply-adds per second, in 10⁹ operations.
fn arithmetic(gpu: &Gpu, y: &wgpu::Buffer, effort: Duration, f16: bool) -> Result<f64> {
    let threads = THREADS[usize::from(gpu.adapter.kind == "cpu")];
    let deadline = effort / CHAINS.len() as u32;
    let mut best = 0.0f64;
    for (chains, unroll) in CHAINS {
        let kernel = Ready::new(gpu, &arithmetic_kernel(chains, unroll, f16), &[(1, y)])?;
        let params = |rounds: u32| [rounds, 0.999f32.to_bits(), 0.001f32.to_bits(), 0];
        // Doubles the work until a dispatch is long enough to time.
        let mut rounds = 1;
        kernel.set(params(rounds));
        // The first dispatch may include compilation.
        kernel.time(threads)?;
        while kernel.time(threads)? < DISPATCH && rounds < MOST_ROUNDS {
            rounds *= 2;
            kernel.set(params(rounds));
        }
        let seconds = kernel.best(threads, deadline)?;
        let flops = 2.0 * 4.0 * f64::from(chains * unroll) * f64::from(rounds) * threads as f64;
        best = best.max(1e-9 * flops / seconds);
    }
    Ok(best)
}

/// Bytes per second that a kernel reads and writes, in 10⁹.
fn traffic(
    gpu: &Gpu,
    entry: &'static str,
    buffers: &[(u32, &wgpu::Buffer)],
    effort: Duration,
) -> Result<f64> {
    let bytes = buffers[0].1.size();
    let deadline = effort / VECTORS.len() as u32;
    let mut best = 0.0f64;
    for vectors in VECTORS {
        let kernel = Ready::new(gpu, &traffic_kernel(entry, vectors), buffers)?;
        let len = (bytes / 16) as u32;
        kernel.set([len, 0.5f32.to_bits(), 0, 0]);
        let seconds = kernel.best((len / vectors) as usize, deadline)?;
        best = best.max(1e-9 * (bytes * buffers.len() as u64) as f64 / seconds);
    }
    Ok(best)
}

/// A micro-kernel, ready to run.
struct Ready<'a> {
    gpu: &'a Gpu,
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    uniform: wgpu::Buffer,
}

impl<'a> Ready<'a> {
    fn new(gpu: &'a Gpu, kernel: &Kernel, buffers: &[(u32, &wgpu::Buffer)]) -> Result<Self> {
        let Kernel { file, entry, definitions } = kernel;
        let shader = wgsl::compose(file, definitions)?;
        let module = shader_module(gpu, file, shader.wgsl, false);
        let device = &gpu.device;
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(file),
            layout: None,
            module: &module,
            entry_point: Some(entry),
            compilation_options: Default::default(),
            cache: None,
        });
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniform = allocate(gpu, "parameters", 16, usage)?;
        let all = [(0, &uniform)].into_iter().chain(buffers.iter().copied());
        let entries: Vec<_> = all
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(file),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        gpu.check()?;
        Ok(Self { gpu, pipeline, bind_group, uniform })
    }

    fn set(&self, params: [u32; 4]) {
        self.gpu.queue.write_buffer(&self.uniform, 0, bytemuck::cast_slice(&params));
    }

    /// Time of one dispatch, from submit to completion.
    fn time(&self, threads: usize) -> Result<Duration> {
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.bind_group, &[]);
            let (columns, rows) = grid(threads, GROUP);
            pass.dispatch_workgroups(columns, rows, 1);
        }
        let commands = encoder.finish();
        let start = Instant::now();
        self.gpu.queue.submit([commands]);
        self.gpu.idle(PATIENCE)?;
        Ok(start.elapsed())
    }

    /// Seconds of the fastest run, of at least three, until the deadline, after a warm-up.
    fn best(&self, threads: usize, deadline: Duration) -> Result<f64> {
        self.time(threads)?;
        let start = Instant::now();
        let mut best = Duration::MAX;
        for run in 0.. {
            if run >= 3 && start.elapsed() > deadline {
                break;
            }
            best = best.min(self.time(threads)?);
        }
        if best.is_zero() {
            return Err(Error::Gpu("a measurement took no time".into()));
        }
        Ok(best.as_secs_f64())
    }
}
