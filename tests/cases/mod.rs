//! Cases of every op: small programs, the values of their inputs, and which gradients belong to
//! which inputs. The same cases serve all purposes: gradients against finite differences, kernels
//! against the f64 reference, rates.
#![allow(dead_code)]

pub mod activation;
pub mod batch_norm;
pub mod conv2d;
pub mod depthwise;
pub mod dropout;
pub mod excite;
pub mod goodness;
pub mod layer_norm;
pub mod pool;
pub mod scores;
pub mod update;

#[allow(unused_imports)]
pub use self::{activation::ACTIVATIONS, goodness::goodness};

use std::collections::{BTreeMap, BTreeSet};

use sff::internals::base::random::{Rng, Stream};
use sff::internals::base::shape::{Layout, Shape, Weight};
use sff::internals::compiler::program::Program;
use sff::internals::compiler::reference::Reference;
use sff::internals::compiler::tensor::{Kind, TensorId};
use sff::internals::net::options::Precision;

/// The purpose of cases, which decides their sizes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Purpose {
    /// Small ones, for finite differences.
    Gradient,
    /// Odd sizes, batch 1, channels that are not multiples of four, many channels.
    Kernel,
    /// Larger than most caches, for timing.
    Rate,
}

/// The cases of a family of ops.
pub type Cases = fn(Purpose, Precision) -> Vec<Case>;

/// Passes the families of ops to a macro: all but `input`, which `tests/train/augment.rs` tests.
macro_rules! families {
    ($then:ident) => {
        $then![
            conv2d, depthwise, batch_norm, layer_norm, activation, pool, dropout, excite, goodness,
            scores, update,
        ];
    };
}
#[allow(unused_imports)]
pub(crate) use families;

macro_rules! list {
    ($($name:ident),* $(,)?) => {
        /// The families of ops, by name.
        pub const FAMILIES: &[(&str, Cases)] = &[$((stringify!($name), $name::cases)),*];
    };
}
families!(list);

/// Shapes of maps, each with a number of output channels.
pub const MAPS: [(Shape, usize); 8] = [
    (Shape::new(1, 1, 1, 1), 1),
    (Shape::new(1, 7, 5, 3), 6),
    (Shape::new(3, 6, 9, 8), 70),
    (Shape::new(2, 11, 3, 5), 33),
    (Shape::new(5, 4, 4, 130), 18),
    (Shape::new(70, 3, 3, 4), 10),
    (Shape::new(5, 4, 4, 4), 600),
    // Weight gradients with enough partial sums that invocations share the sum over them (JOIN).
    (Shape::new(2, 33, 34, 3), 6),
];

/// Long sums over pixels and over channels, which invocations share (JOIN).
const LONG: Shape = Shape::new(2, 23, 25, 130);

/// The shapes for float16 and for tiles that no session uses by default: one image of odd size; rows and
/// output channels that take several tiles; many input channels, and pixels of several images in a tile.
const SELECTED: [(Shape, usize); 3] = [MAPS[1], MAPS[2], MAPS[4]];

/// Shapes for kernels that compile quickly.
fn all_maps() -> impl Iterator<Item = Shape> {
    MAPS.map(|(shape, _)| shape).into_iter().chain([LONG])
}

/// Shapes and output channels for kernels that compile slowly: only [`SELECTED`] in float16.
fn most_maps(precision: Precision) -> Vec<(Shape, usize)> {
    match precision {
        Precision::F32 => MAPS.to_vec(),
        Precision::F16 => SELECTED.to_vec(),
    }
}

/// Random values around 0 with a few exact zeros.
pub fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed, Stream::Init, 0, 0);
    (0..count).map(|_| if rng.below(16) == 0 { 0.0 } else { rng.normal() as f32 * 0.5 }).collect()
}

/// A program, and the values of its inputs.
#[derive(Default)]
pub struct Case {
    /// Its name in messages.
    pub label: String,
    pub program: Program,
    pub inputs: BTreeMap<TensorId, Vec<f32>>,
    pub words: BTreeMap<TensorId, Vec<u32>>,
    /// Number format of maps.
    pub precision: Precision,
    /// Whether to test it with tiles that no session uses by default, too.
    pub every_tile: bool,
    /// The gradients' objective: the scalar product of the first tensor with the second, or its mean.
    objective: Option<(TensorId, Option<TensorId>)>,
    /// Inputs, and the gradients with respect to them that the program computes.
    gradients: Vec<(TensorId, TensorId)>,
}

impl Case {
    /// An empty program with maps of this precision.
    pub fn of(precision: Precision) -> Self {
        Self { precision, ..Self::default() }
    }

    /// The same with a name.
    pub fn called(mut self, label: String) -> Self {
        self.label = format!("{label}, {:?}", self.precision);
        self
    }

    /// Makes the sum of `y * dy` the objective of the gradients.
    fn objective(&mut self, y: TensorId, dy: TensorId) {
        self.objective = Some((y, Some(dy)));
    }

    /// Makes the mean of `y` the objective of the gradients.
    fn mean_objective(&mut self, y: TensorId) {
        self.objective = Some((y, None));
    }

    /// Declares `dx` to be the gradient with respect to the input `x`.
    fn gradient(&mut self, x: TensorId, dx: TensorId) {
        self.gradients.push((x, dx));
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

    /// Maps with random values as an input.
    pub fn maps(&mut self, shape: Shape) -> TensorId {
        let seed = self.inputs.len() as u64 + 1;
        self.given(shape, self.precision.maps(), random(seed, shape.elements()))
    }

    /// A random convolution weight.
    pub fn weight(&mut self, k: usize, cin: usize, cout: usize) -> TensorId {
        let shape = Shape::from(Weight::new(k, cin, cout));
        let seed = self.inputs.len() as u64 + 1;
        self.given(shape, Layout::Hwio, random(seed, shape.elements()))
    }

    /// The gradient of a convolution weight.
    pub fn weight_output(&mut self, k: usize, cin: usize, cout: usize) -> TensorId {
        let shape = Shape::from(Weight::new(k, cin, cout));
        self.temporary("dw", shape, Layout::Hwio, Kind::ParamGradient)
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

    /// The kinds of its ops.
    pub fn kinds(&self) -> BTreeSet<&'static str> {
        self.program.ops().iter().map(|op| op.kind()).collect()
    }

    /// The reference with the values of all inputs.
    fn start(&self) -> Reference<'_> {
        let mut reference = Reference::new(self.program.tensors());
        for (id, values) in &self.inputs {
            reference.set(*id, values.iter().map(|v| f64::from(*v)).collect());
        }
        let float =
            |id: &TensorId| self.program.ops().iter().any(|op| op.float_words().contains(id));
        for (id, words) in &self.words {
            let value = |word: &u32| match float(id) {
                true => f64::from(f32::from_bits(*word)),
                false => f64::from(*word),
            };
            reference.set(*id, words.iter().map(value).collect());
        }
        reference
    }

    /// Compares every gradient with central differences; returns the number of gradients.
    ///
    /// # Panics
    /// If one differs.
    pub fn check_gradients(&self) -> usize {
        const STEP: f64 = 1e-5;
        let Some((y, dy)) = self.objective else { return 0 };
        let start = self.start();
        // Ops after the one that writes `y` are backward.
        let writes = |at: &usize| self.program.ops()[*at].access().writes.contains(&y);
        let forward = 1 + (0..self.program.ops().len()).find(writes).expect("an op writes it");
        let mut exact = start.clone();
        self.program.ops().iter().for_each(|op| op.reference(&mut exact));
        let count = exact.get(y).len();
        let weights = dy.map_or(vec![1.0 / count as f64; count], |dy| start.get(dy).to_vec());
        let objective = |x: TensorId, at: usize, delta: f64| -> f64 {
            let mut moved = start.clone();
            let mut values = start.get(x).to_vec();
            values[at] += delta;
            moved.set(x, values);
            self.program.ops()[..forward].iter().for_each(|op| op.reference(&mut moved));
            moved.get(y).iter().zip(&weights).map(|(y, w)| y * w).sum()
        };
        for (x, dx) in &self.gradients {
            let dx = exact.get(*dx);
            let largest = dx.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            assert!(largest > 1e-3, "{}: nothing to compare", self.label);
            for (at, dx) in dx.iter().enumerate() {
                let difference = objective(*x, at, STEP) - objective(*x, at, -STEP);
                let expected = difference / (2.0 * STEP);
                assert!(
                    (dx - expected).abs() <= 1e-6 * largest,
                    "{}: the gradient of {} at {at} is {dx}, not {expected}",
                    self.label,
                    self.program.tensor(*x).name,
                );
            }
        }
        self.gradients.len()
    }
}
