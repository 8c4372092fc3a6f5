//! The operations that a program is made of.
//!
//! An op is a struct with the tensors that it works on. Its file has all that is particular to it:
//! what it reads and writes, its check of shapes, the scratch that it needs, its arithmetic, its
//! meaning in f64, and the dispatches that compute it on a GPU.
//!
//! Field names are the same throughout: `x` input and `y` output maps, `w` weight, `d…` the gradient
//! of a loss with respect to `…`.

#![allow(missing_docs)]

pub mod activation;
pub mod batch_norm;
pub mod conv2d;
pub mod depthwise;
pub mod dropout;
pub mod excite;
pub mod goodness;
pub mod input;
pub mod layer_norm;
pub mod pool;
pub mod scores;
pub mod update;

use std::fmt::Debug;
use std::ops::Deref;

use crate::base::shape::{Layout, Shape};
use crate::compiler::kernel::{Dispatch, Lowering, Target};
use crate::compiler::reference::Reference;
use crate::compiler::tensor::{Tensor, TensorId, Tensors};
use crate::{Error, Result};

/// The tensors that an op touches.
#[derive(Default, Debug)]
pub struct Access {
    /// Values that must have been written before.
    pub reads: Vec<TensorId>,
    /// Values that are whole after the op.
    pub writes: Vec<TensorId>,
    /// Memory that holds nothing before or after.
    pub scratch: Vec<TensorId>,
}

impl Access {
    /// Of an op that reads and writes these.
    fn of(reads: &[TensorId], writes: &[TensorId]) -> Self {
        Self { reads: reads.to_vec(), writes: writes.to_vec(), scratch: Vec::new() }
    }
}

/// Memory that only one op uses: what it is for, its shape, how its values are stored.
pub type Scratch = (&'static str, Shape, Layout);

/// The matrix product that an op is made of: what decides which tiles suit it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Product {
    /// Pixels times a weight, to maps of this number of channels.
    Maps(usize),
    /// A sum over pixels for a weight with this number of output channels.
    Weight(usize),
    /// Products of the pixels of an image with each other.
    Gram,
}

/// Why an op does not fit its tensors.
pub type Misfit = String;

/// What every op says of itself. `t` are the program's tensors.
pub trait Operation: Debug {
    /// As in the literature.
    fn name(&self) -> &'static str;

    /// What it reads and writes.
    fn access(&self) -> Access;

    /// Pairs of an output and an input that may share memory, if nothing reads the input later:
    /// the kernels read a value before they write the one at the same place.
    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        Vec::new()
    }

    /// Checks that the shapes fit together.
    fn check(&self, t: Tensors) -> Result<(), Misfit>;

    /// The scratch that it needs.
    fn scratch(&self, _t: Tensors) -> Vec<Scratch> {
        Vec::new()
    }

    /// Floating-point operations of its products of maps and weights, two for each multiply-add.
    fn flops(&self, _t: Tensors) -> u64 {
        0
    }

    /// The same, and where there are no products what it does for each value: additions,
    /// multiplications, divisions, roots and comparisons of its formula, each as one.
    fn operations(&self, t: Tensors) -> u64 {
        self.flops(t)
    }

    /// Those of its tensors of words that hold float32.
    fn float_words(&self) -> Vec<TensorId> {
        Vec::new()
    }

    /// The matrix product that it is made of, if any.
    fn product(&self, _t: Tensors) -> Option<Product> {
        None
    }

    /// About the most steps that the loops of an invocation take, where that depends on what a user
    /// chooses, and what makes them fewer.
    fn loop_steps(&self, _t: Tensors) -> Option<(usize, &'static str)> {
        None
    }

    /// Computes it in f64, by the plainest loops.
    fn reference(&self, r: &mut Reference);

    /// Dispatches the kernels that compute it.
    fn lower(&self, l: &mut Lowering);
}

/// Makes an enum of the ops of all files.
macro_rules! ops {
    ($($file:ident: $($name:ident),*;)*) => {
        $(pub use $file::{$($name),*};)*

        /// One operation over named tensors.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Op { $($($name($name)),*),* }

        impl Op {
            /// What the variants are called.
            pub const KINDS: &[&str] = &[$($(stringify!($name)),*),*];

            /// What this variant is called.
            pub fn kind(&self) -> &'static str {
                match self { $($(Self::$name(_) => stringify!($name)),*),* }
            }
        }

        impl Deref for Op {
            type Target = dyn Operation;

            fn deref(&self) -> &Self::Target {
                match self { $($(Self::$name(op) => op),*),* }
            }
        }

        $($(impl From<$name> for Op {
            fn from(op: $name) -> Self {
                Self::$name(op)
            }
        })*)*
    };
}

ops! {
    activation: Activate, ActivateGrad, Add;
    batch_norm: BatchNorm, BatchNormEval, BatchNormGrad;
    conv2d: BiasGrad, Conv2d, Conv2dDgrad, Conv2dWgrad;
    depthwise: Depthwise, DepthwiseDgrad, DepthwiseWgrad;
    dropout: Dropout;
    excite: Excite, ExciteGrad, SqueezeExciteGrad;
    goodness: Goodness, GoodnessGrad;
    input: Input;
    layer_norm: LayerNorm, LayerNormGrad;
    pool: AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad;
    scores: CrossEntropy, Metrics, ScaleScores, ScaleScoresGrad;
    update: Accumulate, AdamW, Finite;
}

/// An op in a program, and the scratch that the program gave it.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// What to compute.
    pub op: Op,
    /// As [`Operation::scratch`] asked for it.
    pub scratch: Vec<TensorId>,
}

impl Deref for Node {
    type Target = Op;

    fn deref(&self) -> &Op {
        &self.op
    }
}

impl Node {
    /// What the op reads, writes and uses as scratch.
    pub fn access(&self) -> Access {
        Access { scratch: self.scratch.clone(), ..self.op.access() }
    }

    /// The dispatches that compute the op, in order; `tensors` are the program's. Where an operand
    /// is larger than a kernel may see at once, or the arithmetic more than a dispatch may have,
    /// work on images is done in several slices of the batch, with the same results, bit for bit.
    ///
    /// # Errors
    /// [`Error::Limit`] names a tensor of 2^32 values or more, which kernels cannot index, or an op
    /// whose loops take more steps than the device does.
    pub fn lower(&self, tensors: &[Tensor], target: Target) -> Result<Vec<Dispatch>> {
        let t = Tensors(tensors);
        let access = self.access();
        let touched = access.reads.iter().chain(&access.writes).chain(&access.scratch);
        touched.map(|id| t.get(*id)).try_for_each(indexable)?;
        self.check_loops(t, target.max_steps)?;
        let mut lowering = Lowering::new(t, &self.scratch, target, self.flops(t));
        self.op.lower(&mut lowering);
        Ok(lowering.finish())
    }

    /// Checks that no invocation takes more than `most` steps in its loops: some drivers end them
    /// without a word. Sums over a batch are cut so that they do not.
    fn check_loops(&self, t: Tensors, most: usize) -> Result<()> {
        let Some((steps, advice)) = self.loop_steps(t).filter(|(steps, _)| *steps > most) else {
            return Ok(());
        };
        let access = self.access();
        let shapes = access.reads.iter().map(|id| t.shape(*id).to_string());
        Err(Error::Limit {
            what: format!("{} of {}", self.name(), shapes.collect::<Vec<_>>().join(" and ")),
            needed: format!("{steps} steps of a loop"),
            available: format!("{most}, and would end it silently"),
            advice: advice.into(),
        })
    }
}

/// Checks that the values of a tensor can be counted in a shader's 32 bits.
fn indexable(tensor: &Tensor) -> Result<()> {
    let values = tensor.layout.stored(tensor.shape).elements();
    if u32::try_from(values).is_ok() {
        return Ok(());
    }
    Err(Error::Limit {
        what: format!("{} ({})", tensor.name, tensor.shape),
        needed: format!("{values} values"),
        available: format!("{} in one tensor", u32::MAX),
        advice: tensor.smaller().to_owned(),
    })
}

/// Checks that a tensor has a shape.
fn expect(t: Tensors, id: TensorId, shape: impl Into<Shape>) -> Result<(), Misfit> {
    let shape = shape.into();
    let found = t.get(id);
    if found.shape == shape {
        return Ok(());
    }
    Err(format!("{} is {}, not {shape}", found.name, found.shape))
}

/// Checks that all tensors have the shape of the first one.
fn alike(t: Tensors, ids: &[TensorId]) -> Result<(), Misfit> {
    ids.iter().try_for_each(|id| expect(t, *id, t.shape(ids[0])))
}

/// What to tell a user whose network makes a kernel loop for too long.
mod advice {
    pub const KERNEL: &str = "use a smaller aux-kernel or fewer channels";
    pub const IMAGE: &str = "use smaller images";
    pub const CLASSES: &str = "use fewer classes";
}

#[cfg(test)]
mod input_tests;
#[cfg(test)]
mod tests;
