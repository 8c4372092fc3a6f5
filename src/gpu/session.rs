//! A program and its plan on one GPU: buffers, pipelines, bind groups, submits.
//!
//! Everything is created with the session. A step encodes prepared dispatches, in one submit or, if
//! it is long, a few.

mod compare;
mod ready;
mod submit;
mod timed;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub use compare::{Copied, Difference, kernels};
pub(crate) use ready::allocate;
pub use timed::Clock;

use crate::base::faults::FaultKind;
use crate::base::shape::{ALIGNMENT, Layout};
use crate::compiler::kernel::{Dispatch, Target, Tiles, check_bindings};
use crate::compiler::plan::{Limits, Plan};
use crate::compiler::program::Program;
use crate::compiler::tensor::TensorId;
use crate::gpu::device::Gpu;
use crate::{Error, Result};
use ready::{Ready, bind, extend_to_guard, out_of_memory};

/// How long to wait for the device: far longer than any submit takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// How a session is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionOptions {
    /// The tiles of all ops; by default those of [`Gpu::choices`].
    pub tiles: Option<Tiles>,
    /// Limits to respect; by default the device's.
    pub limits: Option<Limits>,
    /// Keeps bounds checks and loop bounds in the shaders, and fills workgroup memory with huge
    /// values before each kernel: for tests.
    pub checked: bool,
    /// Bytes of unused memory after each tensor, see [`Session::guard`]: for tests.
    pub guard: usize,
}

/// A copy on its way to the host.
struct Fetch {
    buffer: wgpu::Buffer,
    mapped: mpsc::Receiver<Result<(), wgpu::BufferAsyncError>>,
    submission: wgpu::SubmissionIndex,
    /// Submits of the session up to this one.
    submits: u64,
}

/// Statistics of a session since it was created.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Activity {
    /// Submits.
    pub submits: u64,
    /// Waits for the device.
    pub waits: u64,
    /// Waits for the latest submit, which leave the device idle.
    pub stalls: u64,
    /// Time spent encoding what [`Session::run`] submitted.
    pub encoding: Duration,
    /// Time spent submitting it.
    pub submitting: Duration,
    /// Time spent waiting for results.
    pub waiting: Duration,
}

/// A program ready to run.
pub struct Session {
    gpu: Gpu,
    program: Program,
    plan: Plan,
    arenas: Vec<wgpu::Buffer>,
    dispatches: Vec<Dispatch>,
    /// The cost of each dispatch, see [`submit::costs`].
    costs: Vec<u64>,
    ready: Vec<Ready>,
    /// The dispatches of each op.
    of_op: Vec<Range<usize>>,
    activity: Activity,
    guard: usize,
    in_flight: VecDeque<Fetch>,
    spare: Vec<wgpu::Buffer>,
    patience: Duration,
    full: bool,
}

impl Session {
    /// Plans `program`, allocates its arena and compiles its kernels.
    ///
    /// # Errors
    /// [`Error::Adapter`] if the program uses float16 and the device does not support it,
    /// [`Error::Limit`] if a tensor or the arena exceeds the device's limits, [`Error::OutOfMemory`]
    /// if its memory does not suffice, [`Error::Gpu`] if the device reports an error,
    /// [`Error::Shader`] if a kernel does not compile.
    pub fn new(gpu: &Gpu, program: Program, options: SessionOptions) -> Result<Self> {
        let (ops, tensors, variants) = (program.ops(), program.tensors(), gpu.variants());
        let chosen = |op| gpu.choices().tiles(op, tensors, &variants);
        let tiles = ops.iter().map(|op| options.tiles.map_or_else(|| chosen(op), Ok));
        let tiles = tiles.collect::<Result<Vec<_>>>()?;
        Self::with_tiles(gpu, program, options, |op| tiles[op])
    }

    /// The same with tiles chosen per op, by its index.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn with_tiles(
        gpu: &Gpu,
        program: Program,
        options: SessionOptions,
        tiles: impl Fn(usize) -> Tiles,
    ) -> Result<Self> {
        program.validate()?;
        gpu.adapter.can_compute(&program)?;
        let limits = options.limits.unwrap_or(gpu.limits());
        let plan = Plan::guarded(&program, limits, options.guard)?;
        let (mut dispatches, mut costs, mut of_op) = (Vec::new(), Vec::new(), Vec::new());
        for (index, op) in program.ops().iter().enumerate() {
            let target = Target {
                tiles: tiles(index),
                max_binding: limits.max_binding,
                max_flops: gpu.max_flops(),
                max_steps: gpu.adapter.max_steps(),
            };
            let some = op.lower(program.tensors(), target)?;
            costs.extend(submit::costs(op, program.tensors(), &some));
            of_op.push(dispatches.len()..dispatches.len() + some.len());
            dispatches.extend(some);
        }
        check_bindings(program.tensors(), &dispatches, limits.max_binding)?;
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let arenas: Vec<_> = plan
            .arenas()
            .into_iter()
            .map(|bytes| allocate(gpu, "arena", bytes, usage))
            .collect::<Result<_>>()?;
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniforms = allocate(gpu, "uniforms", dispatches.len() * ALIGNMENT, usage)?;
        let pipelines = gpu.pipelines(dispatches.iter().map(|d| &d.kernel), options.checked)?;
        let mut ready = Vec::new();
        for (index, dispatch) in dispatches.iter().enumerate() {
            let pipeline = &pipelines[&dispatch.kernel];
            let uniform = (&uniforms, index * ALIGNMENT);
            gpu.queue.write_buffer(&uniforms, uniform.1 as u64, &dispatch.params);
            let mut dispatch = dispatch.clone();
            if options.guard > 0 {
                // With exact bindings, a driver that checks bounds would hide a kernel that does not.
                let operands = dispatch.operands.iter_mut();
                operands.for_each(|(_, o)| extend_to_guard(o, &program, options.guard));
            }
            ready.push(bind(gpu, &plan, &arenas, uniform, pipeline, &dispatch)?);
        }
        gpu.check()?;
        Ok(Self {
            gpu: gpu.clone(),
            program,
            plan,
            arenas,
            dispatches,
            costs,
            ready,
            of_op,
            activity: Activity::default(),
            guard: options.guard,
            in_flight: VecDeque::new(),
            spare: Vec::new(),
            patience: PATIENCE,
            full: false,
        })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The GPU it runs on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The memory plan; the arenas have exactly `plan().bytes` bytes.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes of the arenas as the device reports them.
    pub fn allocated(&self) -> u64 {
        self.arenas.iter().map(wgpu::Buffer::size).sum()
    }

    /// Injects a fault.
    pub fn inject(&mut self, fault: FaultKind) {
        match fault {
            FaultKind::Lost => self.gpu.destroy(),
            FaultKind::Memory => self.full = true,
            FaultKind::Stall => self.patience = Duration::ZERO,
        }
    }

    /// The dispatches of some ops, in order.
    pub fn dispatches(&self, ops: Range<usize>) -> &[Dispatch] {
        &self.dispatches[self.span(ops)]
    }

    /// Indices of the dispatches of some ops.
    fn span(&self, ops: Range<usize>) -> Range<usize> {
        match &self.of_op[ops] {
            [] => 0..0,
            [first, .., last] => first.start..last.end,
            [one] => one.clone(),
        }
    }

    /// Statistics so far.
    pub fn activity(&self) -> Activity {
        self.activity
    }

    /// Sets the first words of a tensor to raw bytes, before the next [`Session::run`].
    pub fn write_bytes(&self, id: TensorId, bytes: &[u8]) {
        let size = self.program.tensor(id).bytes();
        assert!(bytes.len() <= size, "{} bytes do not fit into {size}", bytes.len());
        let (arena, offset) = self.plan.place(id);
        let (arena, offset) = (&self.arenas[arena], offset as u64);
        // Copies are in whole words; the last one is padded.
        let whole = bytes.len() / 4 * 4;
        self.gpu.queue.write_buffer(arena, offset, &bytes[..whole]);
        if whole < bytes.len() {
            let mut last = [0; 4];
            last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
            self.gpu.queue.write_buffer(arena, offset + whole as u64, &last);
        }
    }

    /// Fills the guard: the [`SessionOptions::guard`] bytes after a tensor's last vec4, which no other
    /// live tensor uses.
    pub fn fill_guard(&self, id: TensorId, value: u8) {
        let (arena, offset) = self.plan.place(id);
        let end = offset + self.program.tensor(id).bytes();
        let guard = vec![value; self.guard];
        self.gpu.queue.write_buffer(&self.arenas[arena], end as u64, &guard);
    }

    /// Waits for the device and reads the bytes that [`Session::fill_guard`] fills.
    ///
    /// # Errors
    /// [`Error::Gpu`].
    pub fn guard(&mut self, id: TensorId) -> Result<Vec<u8>> {
        self.read_range(id, self.program.tensor(id).bytes(), self.guard)
    }

    /// Sets a tensor to logical values.
    pub fn write(&self, id: TensorId, values: &[f32]) {
        let t = self.program.tensor(id);
        assert_eq!(values.len(), t.shape.elements(), "{} has shape {}", t.name, t.shape);
        self.write_bytes(id, &t.layout.pack(t.shape, values));
    }

    /// Waits for the device and reads a tensor's bytes, padding included.
    ///
    /// # Errors
    /// [`Error::Gpu`].
    pub fn read_bytes(&mut self, id: TensorId) -> Result<Vec<u8>> {
        self.read_range(id, 0, self.program.tensor(id).bytes())
    }

    /// Reads some bytes from the start of a tensor on.
    fn read_range(&mut self, id: TensorId, from: usize, bytes: usize) -> Result<Vec<u8>> {
        let buffer = self.staging(bytes)?;
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let fetch = self.fetch(&mut encoder, id, from, buffer);
        let fetch = self.submit(encoder, fetch);
        self.wait(&fetch)
    }

    /// Waits for the device and reads a tensor's logical values.
    ///
    /// # Errors
    /// [`Error::Gpu`].
    pub fn read(&mut self, id: TensorId) -> Result<Vec<f32>> {
        let bytes = self.read_bytes(id)?;
        let t = self.program.tensor(id);
        Ok(t.layout.unpack(t.shape, &bytes))
    }

    /// Reads a tensor of words.
    ///
    /// # Errors
    /// [`Error::Gpu`].
    pub fn read_words(&mut self, id: TensorId) -> Result<Vec<u32>> {
        let t = self.program.tensor(id);
        assert_eq!(t.layout, Layout::Words, "{} does not hold words", t.name);
        let elements = t.shape.elements();
        let mut words = bytemuck::pod_collect_to_vec::<u8, u32>(&self.read_bytes(id)?);
        words.truncate(elements);
        Ok(words)
    }

    /// The bytes of the oldest fetch, if more than `keep` fetches are in flight; waits for them.
    ///
    /// # Errors
    /// [`Error::Gpu`].
    pub fn fetched(&mut self, keep: usize) -> Result<Option<Vec<u8>>> {
        if self.in_flight.len() <= keep {
            return Ok(None);
        }
        let Some(fetch) = self.in_flight.pop_front() else { return Ok(None) };
        let bytes = self.wait(&fetch)?;
        self.spare.push(fetch.buffer);
        Ok(Some(bytes))
    }

    fn staging(&mut self, bytes: usize) -> Result<wgpu::Buffer> {
        if self.full {
            return Err(out_of_memory("staging", bytes));
        }
        if let Some(at) = self.spare.iter().position(|b| b.size() == bytes as u64) {
            return Ok(self.spare.swap_remove(at));
        }
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
        allocate(&self.gpu, "staging", bytes, usage)
    }

    fn fetch(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        id: TensorId,
        from: usize,
        buffer: wgpu::Buffer,
    ) -> wgpu::Buffer {
        let (arena, offset) = self.plan.place(id);
        encoder.copy_buffer_to_buffer(
            &self.arenas[arena],
            (offset + from) as u64,
            &buffer,
            0,
            buffer.size(),
        );
        buffer
    }

    fn wait(&mut self, fetch: &Fetch) -> Result<Vec<u8>> {
        let start = Instant::now();
        let bytes = self.receive(fetch);
        self.activity.waits += 1;
        self.activity.stalls += u64::from(fetch.submits == self.activity.submits);
        self.activity.waiting += start.elapsed();
        bytes
    }

    fn receive(&self, fetch: &Fetch) -> Result<Vec<u8>> {
        let gpu_error = |e: &dyn std::fmt::Display| {
            // A loss of the device is reported only when it is idle.
            let _ = self.gpu.wait(None, self.patience);
            match self.gpu.check() {
                Err(cause) => cause,
                Ok(()) => Error::Gpu(e.to_string()),
            }
        };
        match self.gpu.wait(Some(fetch.submission.clone()), self.patience) {
            Ok(()) => {}
            Err(Some(wgpu::PollError::Timeout)) => {
                // Dropping the device would wait for it, perhaps forever: it is leaked.
                std::mem::forget(self.gpu.clone());
                return Err(Error::TimedOut(self.patience));
            }
            Err(Some(e)) => return Err(gpu_error(&e)),
            Err(None) => return Err(gpu_error(&"the device cannot be waited for")),
        }
        match fetch.mapped.recv() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(gpu_error(&e)),
            Err(e) => return Err(gpu_error(&e)),
        }
        let bytes = fetch.buffer.get_mapped_range(..).map_err(|e| gpu_error(&e))?.to_vec();
        fetch.buffer.unmap();
        self.gpu.check()?;
        Ok(bytes)
    }
}
