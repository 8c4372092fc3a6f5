//! Shared by the integration tests: runs a program on the device and in the f64 reference, op
//! by op, and compares every value that an op writes.
#![allow(dead_code, unused_imports)]

mod inputs;

pub use inputs::Inputs;

use std::collections::BTreeMap;
use std::rc::Rc;

use sff::gpu::Gpu;
use sff::kernel::Tiles;
use sff::ops::Op;
use sff::program::{Precision, Program};
use sff::reference::Reference;
use sff::rng::{Rng, Stream};
use sff::session::{Options, Session};
use sff::shape::{Layout, Shape};
use sff::tensor::{Kind, TensorId};

/// Largest difference allowed, relative to the tensor's largest magnitude.
pub const TOLERANCE: f64 = 1e-4;

/// Besides it, of what is stored in float16: the distance between neighbours, relative to a value.
/// Devices may round to either of the two.
pub const HALF: f64 = 1.0 / 1024.0;

/// The device under test; `SFF_TEST_DEVICE` names another than the default one.
pub fn gpu() -> Gpu {
    let selector = std::env::var("SFF_TEST_DEVICE").ok();
    Gpu::open(selector.as_deref()).expect("the tests need a Vulkan, Metal or DX12 device")
}

/// What the device under test can store maps in.
pub fn precisions(gpu: &Gpu) -> &'static [Precision] {
    if gpu.adapter.features.contains(&"f16") {
        return &[Precision::F32, Precision::F16];
    }
    eprintln!("{} cannot compute with float16: tested in float32 only", gpu.adapter.name);
    &[Precision::F32]
}

/// Random values in -1..1 with a few exact zeros.
pub fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed, Stream::Init, 0, 0);
    (0..count).map(|_| if rng.below(16) == 0 { 0.0 } else { rng.normal() as f32 * 0.5 }).collect()
}

/// `max |a - b| / max |b|`, or infinity if `a` is not finite where `b` is.
pub fn difference(a: &[f32], b: &[f64]) -> f64 {
    difference_in(largest(b), 0.0, a, b)
}

/// `max (|a - b| - own |b|) / scale`, or infinity if `a` is not finite where `b` is.
fn difference_in(scale: f64, own: f64, a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |worst: f64, (a, b)| {
        let d = ((f64::from(*a) - b).abs() - own * b.abs()) / scale;
        if d.is_nan() { f64::INFINITY } else { worst.max(d) }
    })
}

/// The largest magnitude; never 0, so that it can divide.
fn largest(values: &[f64]) -> f64 {
    values.iter().fold(1e-30f64, |m, v| m.max(v.abs()))
}

/// A program under construction with the values of its inputs.
#[derive(Default)]
pub struct Case {
    pub program: Program,
    pub inputs: BTreeMap<TensorId, Vec<f32>>,
    pub words: BTreeMap<TensorId, Vec<u32>>,
    /// What maps are stored in.
    pub precision: Precision,
}

impl Case {
    /// An empty program, whose maps are stored like this.
    pub fn of(precision: Precision) -> Self {
        Self { precision, ..Self::default() }
    }

    /// An input with given values.
    pub fn given(&mut self, shape: Shape, layout: Layout, values: Vec<f32>) -> TensorId {
        let id = self.program.add(&format!("in{}", self.inputs.len()), shape, layout, Kind::Io);
        self.inputs.insert(id, values);
        id
    }

    /// An input with random values.
    pub fn input(&mut self, shape: Shape) -> TensorId {
        let seed = self.inputs.len() as u64 + 1;
        self.given(shape, Layout::Nhwc, random(seed, shape.elements()))
    }

    /// The same of maps.
    pub fn maps(&mut self, shape: Shape) -> TensorId {
        let seed = self.inputs.len() as u64 + 1;
        self.given(shape, self.precision.maps(), random(seed, shape.elements()))
    }

    /// A random convolution weight.
    pub fn weight(&mut self, k: usize, cin: usize, cout: usize) -> TensorId {
        let shape = Shape::weight(k, cin, cout);
        let seed = self.inputs.len() as u64 + 1;
        self.given(shape, Layout::Hwio, random(seed, shape.elements()))
    }

    /// An input of words.
    pub fn words(&mut self, values: Vec<u32>) -> TensorId {
        let name = format!("words{}", self.words.len());
        let id = self.program.add(&name, Shape::vector(values.len()), Layout::Words, Kind::Io);
        self.words.insert(id, values);
        id
    }

    /// An output.
    pub fn output(&mut self, shape: Shape) -> TensorId {
        self.temporary("out", shape, Layout::Nhwc, Kind::Activation)
    }

    /// Maps as an output.
    pub fn output_maps(&mut self, shape: Shape) -> TensorId {
        self.temporary("out", shape, self.precision.maps(), Kind::Activation)
    }

    /// Any other tensor.
    pub fn temporary(&mut self, what: &str, shape: Shape, layout: Layout, kind: Kind) -> TensorId {
        let name = format!("{what}{}", self.program.tensors().len());
        self.program.add(&name, shape, layout, kind)
    }

    /// Runs the program's ops on both sides, with both sets of tiles, and compares.
    pub fn check(&self, gpu: &Gpu, label: &str) {
        for tiles in [Tiles::CPU, Tiles::GPU] {
            let options = Options { tiles: Some(tiles), checked: true, ..Options::default() };
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
}

/// One program in two places.
pub struct Pair {
    pub session: Session,
    pub values: BTreeMap<TensorId, Vec<f64>>,
    /// Whether the reference goes on from what the device has. Then every op is judged alone: in a
    /// deep network, small differences put values on the other side of a kink.
    pub follow: bool,
    program: Rc<Program>,
}

impl Pair {
    pub fn new(session: Session) -> Self {
        let program = Rc::new(session.program().clone());
        Self { session, values: BTreeMap::new(), follow: false, program }
    }

    /// Sets a tensor on both sides.
    pub fn set(&mut self, id: TensorId, values: &[f32]) {
        self.session.write(id, values);
        self.values.insert(id, values.iter().map(|v| f64::from(*v)).collect());
    }

    /// Sets a tensor of words on both sides.
    pub fn set_words(&mut self, id: TensorId, values: &[u32]) {
        self.session.write_bytes(id, bytemuck::cast_slice(values));
        let floats = values.iter().map(|v| f64::from(f32::from_bits(*v)));
        let small = values.iter().map(|v| f64::from(*v));
        // The step's words are float32, all others integers.
        let step = self.program.ops().iter().any(|op| match op {
            Op::AdamW { step, .. } | Op::Metrics { step, .. } => *step == id,
            _ => false,
        });
        self.values.insert(id, if step { floats.collect() } else { small.collect() });
    }

    /// Runs op `index` on both sides and compares what it writes.
    pub fn step(&mut self, index: usize, label: &str) {
        let program = Rc::clone(&self.program);
        let op = &program.ops()[index];
        let access = op.access();
        let members = |ids: &[TensorId]| -> Vec<TensorId> {
            ids.iter().flat_map(|id| program.members(*id)).collect()
        };
        let written = members(&access.writes);
        let mut reference = Reference::new(program.tensors());
        for id in members(&access.reads).iter().chain(&written) {
            if let Some(values) = self.values.get(id) {
                reference.set(*id, values.clone());
            }
        }
        reference.run(op);
        self.session.run(index..index + 1, None).unwrap();
        for id in written {
            let expected = reference.get(id).to_vec();
            let t = program.tensor(id);
            let what = format!("{label}: {} writes {} {}", op.name(), t.name, t.shape);
            let integers = t.layout == Layout::Words && !matches!(op, Op::Metrics { .. });
            if integers {
                let got = self.session.read_words(id).unwrap();
                // Bytes of padding channels mean nothing.
                let live = |i: usize, word: u32| match op {
                    Op::MaxPool { y, .. } => {
                        let channels = program.tensor(*y).shape.c - i % t.shape.c * 4;
                        if channels < 4 { word & ((1 << (8 * channels)) - 1) } else { word }
                    }
                    _ => word,
                };
                let got = got.into_iter().enumerate().map(|(i, w)| f64::from(live(i, w)));
                let got: Vec<f64> = got.collect();
                assert_eq!(got, expected, "{what}");
            } else {
                let got = self.session.read(id).unwrap();
                let scale = match op {
                    // A batch norm that follows makes beta's gradient vanish, but for rounding.
                    Op::BatchNormGrad { dgamma, dbeta, .. } if id == *dbeta => {
                        largest(reference.get(*dgamma)).max(largest(&expected))
                    }
                    _ => largest(&expected),
                };
                let half = |id: &TensorId| program.tensor(*id).layout == Layout::Half;
                let own = if half(&id) { HALF } else { 0.0 };
                let worst = difference_in(scale, own, &got, &expected);
                let within = if access.scratch.iter().any(half) { HALF } else { 0.0 };
                let allowed = TOLERANCE + within;
                assert!(worst <= allowed, "{what}: off by {worst:.2e} of the largest value");
                self.check_padding(id, &what);
                // What a layer norm makes of 0 marks where a ReLU before it was 0, to the last bit.
                if self.follow && !matches!(op, Op::LayerNorm { .. }) {
                    self.values.insert(id, got.into_iter().map(f64::from).collect());
                    continue;
                }
            }
            self.values.insert(id, expected);
        }
    }

    /// Padding lanes are zero after every op.
    fn check_padding(&mut self, id: TensorId, what: &str) {
        let t = self.program.tensor(id).clone();
        let stored = self.session.read_bytes(id).unwrap();
        let logical = t.layout.unpack(t.shape, &stored);
        if t.layout != Layout::Words {
            let all = |bytes: &[u8]| t.layout.unpack(t.layout.stored(t.shape), bytes);
            let padded = t.layout.pack(t.shape, &logical);
            assert!(all(&padded) == all(&stored), "{what}: padding is not zero");
        }
    }
}
