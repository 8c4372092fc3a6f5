//! Shared by the integration tests: runs a program on the device and in the f64 reference, op
//! by op, and compares every value that an op writes.

mod inputs;

pub use inputs::Inputs;

use crate::cases::Case;
pub use crate::cases::random;
use std::ops::Deref;
use std::sync::Mutex;
use std::thread;

use sff::internals::compiler::kernel::{Kernel, Matrices, Target, Tiles};
use sff::internals::compiler::ops::Node;
use sff::internals::compiler::tensor::TensorId;
use sff::internals::compiler::variants::{Class, Variants};
use sff::internals::gpu::adapter::Adapter;
use sff::internals::gpu::device::{Access, Gpu};
use sff::internals::gpu::numerics::Numerics;
use sff::internals::gpu::session::{Session, SessionOptions};
use sff::internals::net::options::Precision;

/// The device under test, used by one test at a time. It returns to a pool afterwards, so that the
/// next test reuses its compiled pipelines.
pub struct PooledGpu(Gpu);

static IDLE: Mutex<Vec<Gpu>> = Mutex::new(Vec::new());

impl Deref for PooledGpu {
    type Target = Gpu;

    fn deref(&self) -> &Gpu {
        &self.0
    }
}

impl Drop for PooledGpu {
    fn drop(&mut self) {
        // A failed test may leave the device in a bad state.
        if !thread::panicking() {
            IDLE.lock().unwrap().push(self.0.clone());
        }
    }
}

/// The device under test, from the pool; opened only if the pool is empty.
pub fn gpu() -> PooledGpu {
    let idle = IDLE.lock().unwrap().pop();
    PooledGpu(idle.unwrap_or_else(open))
}

/// Opens the default device, or the one that `SFF_TEST_DEVICE` names. With `SFF_TEST_PORTABLE` it
/// has WebGPU's default limits and no optional features.
fn open() -> Gpu {
    let selector = std::env::var("SFF_TEST_DEVICE").ok();
    let access = match std::env::var_os("SFF_TEST_PORTABLE") {
        Some(_) => Access::Portable,
        None => Access::Full,
    };
    Gpu::open_with(selector.as_deref(), access)
        .expect("the tests need a Vulkan, Metal or DX12 device")
}

/// Tiles with cooperative matrices: emulated ones, and those that the device supports.
pub fn matrix_tiles(gpu: &Gpu) -> Vec<Tiles> {
    let emulated = [(16, 32), (8, 8)]
        .map(|(side, subgroup)| Tiles::cooperative(Matrices { side, subgroup, emulated: true }));
    let Adapter { subgroup, matrices, .. } = gpu.adapter;
    let native = Variants::of(Class::Discrete, subgroup, matrices).all.into_iter();
    let native = native.map(|variant| variant.tiles).filter(|tiles| tiles.matrices.is_some());
    emulated.into_iter().chain(native).collect()
}

/// The device under test once per kind of device, with that kind's default tiles; unchanged if it
/// compiles them too slowly.
pub fn as_every_class(gpu: &Gpu) -> Vec<(&'static str, Gpu)> {
    if gpu.adapter.class() == Class::SlowCompiler {
        return vec![("own class", gpu.clone())];
    }
    let of = |kind| {
        let mut gpu = gpu.clone();
        gpu.adapter.kind = kind;
        (kind, gpu)
    };
    ["discrete", "integrated", "cpu"].map(of).into()
}

/// Tiles that every shape is tested with: the register tiles of GPUs and of CPUs.
pub fn usual_tiles(gpu: &Gpu) -> Vec<Tiles> {
    if gpu.adapter.class() == Class::SlowCompiler {
        return vec![Tiles::SMALL];
    }
    vec![Tiles::GPU, Variants::of(Class::Cpu, gpu.adapter.subgroup, None).all[0].tiles]
}

/// Tiles of all other variants that the device supports; none if it compiles them too slowly.
pub fn other_tiles(gpu: &Gpu) -> Vec<Tiles> {
    if gpu.adapter.class() == Class::SlowCompiler {
        return Vec::new();
    }
    let subgroup = gpu.adapter.subgroup;
    let devices = [(Class::Discrete, subgroup), (Class::Cpu, None), (Class::Cpu, subgroup)];
    let all = devices.map(|(class, subgroup)| Variants::of(class, subgroup, None).all).concat();
    let usual = usual_tiles(gpu);
    all.into_iter().map(|variant| variant.tiles).filter(|tiles| !usual.contains(tiles)).collect()
}

/// The precisions of maps that the device under test supports.
pub fn precisions(gpu: &Gpu) -> &'static [Precision] {
    if gpu.adapter.features.contains(&"f16") {
        return &[Precision::F32, Precision::F16];
    }
    eprintln!("{} cannot compute with float16: tested in float32 only", gpu.adapter.name);
    &[Precision::F32]
}

/// `max |a - b| / max |b|`, or infinity if a difference is NaN.
pub fn difference(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0, |worst: f64, (a, b)| {
        let d = (f64::from(*a) - b).abs() / scale;
        if d.is_nan() { f64::INFINITY } else { worst.max(d) }
    })
}

impl Case {
    /// Runs the program's ops on both sides, with the usual tiles, and compares.
    pub fn check(&self, gpu: &Gpu) {
        self.check_with(gpu, &usual_tiles(gpu));
    }

    /// The same with the given tiles.
    pub fn check_with(&self, gpu: &Gpu, tiles: &[Tiles]) {
        let label = &self.label;
        let mut tested = Vec::new();
        for tiles in tiles.iter().copied() {
            // Different tiles may give the same dispatches for these shapes.
            let dispatches = self.dispatches(tiles);
            if tested.contains(&dispatches) {
                continue;
            }
            tested.push(dispatches);
            let options =
                SessionOptions { tiles: Some(tiles), checked: true, ..SessionOptions::default() };
            let session = Session::new(gpu, self.program.clone(), options)
                .unwrap_or_else(|e| panic!("{label}: {e}"));
            let mut pair = Pair::new(session);
            self.inputs.iter().for_each(|(id, values)| pair.set(*id, values));
            self.words.iter().for_each(|(id, values)| pair.set_words(*id, values));
            for index in 0..self.program.ops().len() {
                pair.step(index, label);
            }
        }
    }

    /// Kernel, parameters and invocations of every dispatch with these tiles.
    fn dispatches(&self, tiles: Tiles) -> Vec<(Kernel, Vec<u8>, usize)> {
        let target = Target::unlimited(tiles);
        let lowered = |op: &Node| op.lower(self.program.tensors(), target).unwrap();
        let all = self.program.ops().iter().flat_map(lowered);
        all.map(|dispatch| (dispatch.kernel, dispatch.params, dispatch.threads)).collect()
    }
}

/// A program on the device and in the reference.
pub struct Pair {
    pub session: Session,
    pub numerics: Numerics,
}

impl Pair {
    pub fn new(session: Session) -> Self {
        let numerics = Numerics::new(session.program());
        Self { session, numerics }
    }

    /// Sets a tensor on both sides.
    pub fn set(&mut self, id: TensorId, values: &[f32]) {
        self.session.write(id, values);
        self.numerics.values.insert(id, values.iter().map(|v| f64::from(*v)).collect());
    }

    /// Sets a tensor of words on both sides.
    pub fn set_words(&mut self, id: TensorId, values: &[u32]) {
        self.session.write_bytes(id, bytemuck::cast_slice(values));
        let floats = values.iter().map(|v| f64::from(f32::from_bits(*v)));
        let integers = values.iter().map(|v| f64::from(*v));
        let program = self.session.program();
        let is_float = program.ops().iter().any(|op| op.float_words().contains(&id));
        let values = if is_float { floats.collect() } else { integers.collect() };
        self.numerics.values.insert(id, values);
    }

    /// Runs op `index` on both sides and compares what it writes.
    pub fn step(&mut self, index: usize, label: &str) {
        if let Some(deviation) = self.numerics.op(&mut self.session, index).unwrap() {
            panic!("{label}: {deviation}");
        }
    }
}
