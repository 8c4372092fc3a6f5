//! The f64 reference on the CPU: values of a program's tensors, which each op computes by
//! [`crate::compiler::ops::Operation::reference`]. Kernels are tested against it.
//!
//! Clarity comes before speed, and no code is shared with the kernels.

pub mod window;

use crate::base::shape::{Layout, Shape, Weight};
use crate::compiler::tensor::{Tensor, TensorId, Tensors};

/// Logical f64 values: one `Vec` per tensor, without padding channels.
///
/// Values lie in the order of the tensor's shape (images, rows, columns, channels; rows,
/// columns, input, output channels of a weight). A tensor of words holds its u32 values as f64.
/// Scratch is neither read nor written.
///
/// Unlike on the device, tensors share no memory: each member of a slab has values of its own, and an op
/// over a slab visits the members.
#[derive(Clone, Debug)]
pub struct Reference<'a> {
    tensors: Tensors<'a>,
    values: Vec<Option<Vec<f64>>>,
}

impl<'a> Reference<'a> {
    /// Without values; `TensorId(i)` is `tensors[i]`.
    pub fn new(tensors: &'a [Tensor]) -> Self {
        Self { tensors: Tensors(tensors), values: vec![None; tensors.len()] }
    }

    /// Sets a tensor's logical values, rounded to the precision of its layout.
    ///
    /// # Panics
    ///
    /// If there are not as many values as the tensor's shape has elements.
    pub fn set(&mut self, id: TensorId, values: Vec<f64>) {
        let tensor = self.tensors.get(id);
        assert_eq!(values.len(), tensor.shape.elements(), "{}: {}", tensor.name, tensor.shape);
        self.values[id.0] = Some(values.into_iter().map(|v| tensor.layout.round(v)).collect());
    }

    /// A tensor's logical values.
    ///
    /// # Panics
    ///
    /// If nothing has set the tensor.
    pub fn get(&self, id: TensorId) -> &[f64] {
        match &self.values[id.0] {
            Some(values) => values,
            None => panic!("{} is read before it is set", self.tensors.get(id).name),
        }
    }

    /// A tensor's shape.
    pub fn shape(&self, id: TensorId) -> Shape {
        self.tensors.shape(id)
    }

    /// The dimensions of a convolution's weight.
    pub fn weight(&self, id: TensorId) -> Weight {
        self.tensors.weight(id)
    }

    /// How a tensor's values are stored.
    pub fn layout(&self, id: TensorId) -> Layout {
        self.tensors.layout(id)
    }

    /// Applies `f` to the values of two tensors, element by element.
    pub fn zip(&self, a: TensorId, b: TensorId, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let (a, b) = (self.get(a), self.get(b));
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()
    }

    /// Members of a slab and their byte offsets, in order; the tensor itself at 0 if it is no slab.
    pub fn members(&self, slab: TensorId) -> Vec<(usize, TensorId)> {
        self.tensors.members(slab)
    }

    /// For each member of the first slab, the members of all slabs at the same offset.
    pub fn matching_members<const N: usize>(&self, slabs: [TensorId; N]) -> Vec<[TensorId; N]> {
        let slabs = slabs.map(|slab| self.members(slab));
        let same_offset = |offset| {
            slabs.each_ref().map(|slab| match slab.iter().find(|member| member.0 == offset) {
                Some(&(_, id)) => id,
                None => panic!("slabs differ: none of {slab:?} is at {offset}"),
            })
        };
        assert!(slabs.iter().all(|slab| slab.len() == slabs[0].len()), "slabs differ: {slabs:?}");
        slabs[0].iter().map(|&(offset, _)| same_offset(offset)).collect()
    }
}

/// Mean.
pub fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// Mean and biased variance.
pub fn moments(values: impl ExactSizeIterator<Item = f64> + Clone) -> (f64, f64) {
    let center = mean(values.clone());
    (center, mean(values.map(|v| (v - center) * (v - center))))
}
