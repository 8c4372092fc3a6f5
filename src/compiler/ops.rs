//! The operations that a program is made of.
//!
//! An op is a struct of its tensors and options. Its file has everything specific to it: what it reads
//! and writes, the check of shapes, scratch, FLOPs, the f64 reference, and the dispatches that compute it
//! on a GPU.
//!
//! Field names are the same in all ops: `x` input and `y` output maps, `w` weight, `d…` the gradient
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

/// The tensors that an op uses.
#[derive(Default, Debug)]
pub struct Access {
    /// Values that must have been written before.
    pub reads: Vec<TensorId>,
    /// Values that are complete after the op.
    pub writes: Vec<TensorId>,
    /// Memory without defined contents before and after the op.
    pub scratch: Vec<TensorId>,
}

impl Access {
    /// Of an op with these reads and writes.
    fn of(reads: &[TensorId], writes: &[TensorId]) -> Self {
        Self { reads: reads.to_vec(), writes: writes.to_vec(), scratch: Vec::new() }
    }
}

/// Memory that only one op uses: name, shape, layout.
pub type Scratch = (&'static str, Shape, Layout);

/// The matrix product that an op consists of; decides the tiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Product {
    /// Convolution to maps with this number of channels.
    Maps(usize),
    /// Weight gradient with this number of output channels.
    Weight(usize),
    /// Gram matrices of the pixels of images.
    Gram,
}

/// Why the shapes of an op's tensors do not fit together.
pub type Misfit = String;

/// What every op defines. `t` are the program's tensors.
pub trait Operation: Debug {
    /// Its name, as in the literature.
    fn name(&self) -> &'static str;

    /// The tensors that it reads and writes.
    fn access(&self) -> Access;

    /// Pairs of an output and an input that may share memory if nothing reads the input later: kernels
    /// read each value before they write the one at the same position.
    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        Vec::new()
    }

    /// Checks that the shapes fit together.
    fn check(&self, t: Tensors) -> Result<(), Misfit>;

    /// The scratch that it needs.
    fn scratch(&self, _t: Tensors) -> Vec<Scratch> {
        Vec::new()
    }

    /// FLOPs of its products of maps and weights, two for each multiply-add.
    fn flops(&self, _t: Tensors) -> u64 {
        0
    }

    /// All FLOPs. Ops without products count the additions, multiplications, divisions, roots and
    /// comparisons of their formula, each as one.
    fn operations(&self, t: Tensors) -> u64 {
        self.flops(t)
    }

    /// Its tensors in [`Layout::Words`] that hold float32.
    fn float_words(&self) -> Vec<TensorId> {
        Vec::new()
    }

    /// The matrix product that it consists of, if any.
    fn product(&self, _t: Tensors) -> Option<Product> {
        None
    }

    /// About the most loop iterations of an invocation, and advice to reduce them; `None` if no
    /// network exceeds the limit of a device.
    fn loop_steps(&self, _t: Tensors) -> Option<(usize, &'static str)> {
        None
    }

    /// Computes it in f64, by plain loops.
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
            /// Names of all variants.
            pub const KINDS: &[&str] = &[$($(stringify!($name)),*),*];

            /// Name of this variant.
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
    /// The op.
    pub op: Op,
    /// As requested by [`Operation::scratch`], in order.
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

    /// The dispatches that compute the op, in order; `tensors` are the program's. If an operand exceeds the
    /// binding limit, or the FLOPs the dispatch limit, work on images is cut into slices of the batch, with
    /// bit-identical results.
    ///
    /// # Errors
    /// [`Error::Limit`] names a tensor of 2^32 values or more, which kernels cannot index, or an op whose
    /// loops take more iterations than the device supports.
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

    /// Checks that no invocation takes more than `most` loop iterations: some drivers silently end longer
    /// loops. Sums over a batch need no check, because they are cut ([`crate::compiler::split`]).
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

/// Checks that a shader can index the values of a tensor with 32 bits.
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

/// Advice for networks whose kernels would loop for too long.
mod advice {
    pub const KERNEL: &str = "use a smaller aux-kernel or fewer channels";
    pub const IMAGE: &str = "use smaller images";
    pub const CLASSES: &str = "use fewer classes";
}

#[cfg(test)]
mod tests;
