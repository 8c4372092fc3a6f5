//! Tensors of a program, before they have a place in memory.

use crate::base::hint::{Hint, Message, message};
use crate::base::shape::{Layout, Shape, Weight};

/// Index of a tensor in its [`crate::compiler::program::Program`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TensorId(pub(crate) usize);

/// Purpose of a tensor: decides its lifetime, and its row in memory reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Images, labels and per-step values that the host writes, and metrics that it reads.
    Io,
    /// Weights, and the running statistics of batch norm.
    Parameter,
    /// AdamW's moments.
    Optimizer,
    /// Gradients of parameters; alive only while their block is updated.
    ParamGradient,
    /// Forward values and their gradients.
    Activation,
    /// Scratch of one op: partial sums, tiles of class maps.
    Workspace,
}

impl Kind {
    /// Whether tensors of this kind keep their value between runs.
    pub fn persists(self) -> bool {
        matches!(self, Self::Io | Self::Parameter | Self::Optimizer)
    }

    /// All kinds, in the order in which they are reported.
    pub const ALL: [Self; 6] = [
        Self::Parameter,
        Self::Optimizer,
        Self::ParamGradient,
        Self::Activation,
        Self::Workspace,
        Self::Io,
    ];
}

/// A named tensor: shape, layout, purpose.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Unique in its program; parameters have the name that files use.
    pub name: String,
    /// Logical shape.
    pub shape: Shape,
    /// How values are stored.
    pub layout: Layout,
    /// Its purpose.
    pub kind: Kind,
    /// The block it belongs to, if any.
    pub block: Option<usize>,
    /// Whether it keeps its value between runs although its kind does not.
    pub keep: bool,
    /// Whether fusion removed it: the ops that wrote and read it became one.
    pub fused: bool,
    /// The slab that it is a member of, and its first byte there.
    pub parent: Option<(TensorId, usize)>,
}

impl Tensor {
    /// Whether the tensor keeps its value between runs.
    pub fn persists(&self) -> bool {
        self.keep || self.kind.persists()
    }

    /// Bytes of its values and padding channels, without the padding of words to a whole vec4.
    pub fn content_bytes(&self) -> usize {
        match self.layout {
            Layout::Words => self.shape.elements() * 4,
            _ => self.bytes(),
        }
    }

    /// Advice for a user whose device cannot hold the tensor.
    pub fn smaller(&self) -> Message {
        match self.kind {
            Kind::Activation | Kind::Workspace | Kind::Io => {
                message!["use a smaller ", Hint::Option("batch")]
            }
            _ => "use fewer channels".into(),
        }
    }

    /// Bytes it occupies, padding included.
    pub fn bytes(&self) -> usize {
        self.layout.bytes(self.shape)
    }
}

/// The tensors of a program, by id.
#[derive(Clone, Copy, Debug)]
pub struct Tensors<'a>(pub &'a [Tensor]);

impl<'a> Tensors<'a> {
    /// The tensor behind an id.
    pub fn get(self, id: TensorId) -> &'a Tensor {
        &self.0[id.0]
    }

    /// Its shape.
    pub fn shape(self, id: TensorId) -> Shape {
        self.get(id).shape
    }

    /// The dimensions of a convolution's weight.
    pub fn weight(self, id: TensorId) -> Weight {
        let Shape { n: kernel, w: inputs, c: outputs, .. } = self.shape(id);
        Weight { kernel, inputs, outputs }
    }

    /// How its values are stored.
    pub fn layout(self, id: TensorId) -> Layout {
        self.get(id).layout
    }

    /// Number of its logical values.
    pub fn elements(self, id: TensorId) -> usize {
        self.shape(id).elements()
    }

    /// Members of a slab and their byte offsets, in order; the tensor itself at 0 if it is no slab.
    pub fn members(self, slab: TensorId) -> Vec<(usize, TensorId)> {
        let children = self.0.iter().enumerate().filter_map(|(index, tensor)| {
            let (parent, offset) = tensor.parent?;
            (parent == slab).then_some((offset, TensorId(index)))
        });
        let mut members: Vec<_> = children.collect();
        if members.is_empty() {
            members.push((0, slab));
        }
        members.sort();
        members
    }
}
