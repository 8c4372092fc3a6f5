//! Appends ops to a program: names of tensors, parameters and their slabs.

use std::collections::BTreeMap;

use super::Program;
use crate::base::shape::{Layout, Shape};
use crate::compiler::ops;
use crate::compiler::ops::pool::argmax_shape;
use crate::compiler::tensor::{Kind, TensorId};
use crate::net::layers::BatchNorm;
use crate::net::options::{AdamW, Recompute};

/// Initial values of a parameter.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Init {
    /// The same value everywhere.
    Constant(f32),
    /// Normal with mean 0 and this standard deviation (He et al., arXiv 1502.01852).
    Normal(f32),
    /// Uniform between minus and plus this value.
    Uniform(f32),
}

/// A trained tensor: its value and, in a program that trains, its gradient and moments.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The value.
    pub value: TensorId,
    /// Gradient, valid between the block's backward and its update.
    pub grad: TensorId,
    /// First moment.
    pub m: TensorId,
    /// Second moment.
    pub v: TensorId,
    /// The block that trains it.
    pub block: usize,
    /// Initial values.
    pub init: Init,
    /// Its shape in files: output channels first, as in torchvision.
    pub file_shape: Vec<usize>,
}

impl Parameter {
    /// Whether it has a gradient and moments.
    pub fn trained(&self) -> bool {
        self.grad != self.value
    }
}

/// The slabs of one block.
#[derive(Clone, Copy)]
struct Slabs {
    value: TensorId,
    grad: TensorId,
    m: TensorId,
    v: TensorId,
    /// Sum of the gradients over micro-batches, if there are several.
    total: Option<TensorId>,
}

/// The operands from which the output of a batch norm is computed.
#[derive(Clone, Copy)]
pub struct Normalized {
    pub x: TensorId,
    pub gamma: TensorId,
    pub beta: TensorId,
    pub stats: TensorId,
    pub norm: BatchNorm,
}

/// Appends ops to a program, and keeps track of parameters and names.
pub struct Emitter {
    pub program: Program,
    /// Every trained tensor, by its name on disk.
    pub parameters: BTreeMap<String, Parameter>,
    /// Running statistics, by the name of their batch norm.
    pub running: BTreeMap<String, TensorId>,
    /// Whether gradients are summed over several micro-batches before an update.
    pub summing: bool,
    /// What backward recomputes.
    pub recompute: Recompute,
    /// Operands of the batch norms in training, by output, to recompute it.
    pub normalized: BTreeMap<TensorId, Normalized>,
    /// Operands of the excitations in training (maps, and scales before the hard-sigmoid), by output.
    pub excited: BTreeMap<TensorId, (TensorId, TensorId)>,
    /// Whether forward is for training: batch statistics, values kept for backward.
    pub training: bool,
    /// Whether parameters need gradients and moments at all.
    pub trainable: bool,
    /// Whether backward computes gradients of weights, or of maps only.
    pub weight_gradients: bool,
    /// Whether new parameters are frozen: never trained, though others are.
    pub frozen: bool,
    /// The random key of this routine's dropout layers, if it has any.
    pub dropout_key: Option<TensorId>,
    /// Number of this routine's dropout layers so far.
    pub dropouts: u32,
    block: usize,
    slabs: Vec<Slabs>,
    /// Prefix of the names of this routine's tensors.
    pub prefix: &'static str,
    serial: usize,
}

impl Emitter {
    pub fn new(trainable: bool, summing: bool, recompute: Recompute) -> Self {
        Self {
            summing,
            recompute,
            normalized: BTreeMap::new(),
            excited: BTreeMap::new(),
            program: Program::default(),
            parameters: BTreeMap::new(),
            running: BTreeMap::new(),
            training: false,
            trainable,
            weight_gradients: true,
            frozen: false,
            dropout_key: None,
            dropouts: 0,
            block: 0,
            slabs: Vec::new(),
            prefix: "",
            serial: 0,
        }
    }

    /// Starts a routine: its tensors' names begin with `prefix`.
    pub fn routine(&mut self, prefix: &'static str, training: bool) {
        (self.prefix, self.training, self.serial) = (prefix, training, 0);
        (self.dropout_key, self.dropouts) = (None, 0);
    }

    /// What follows belongs to block `block`.
    pub fn block(&mut self, block: usize) {
        self.block = block;
        if block == self.slabs.len() {
            let mut slab = |name: &str, kind| {
                let id = self.program.add_slab(&format!("b{block}.{name}"), kind);
                self.program.set_block(id, block);
                id
            };
            let value = slab("params", Kind::Parameter);
            let [grad, m, v] = if self.trainable {
                [
                    slab("grads", Kind::ParamGradient),
                    slab("m", Kind::Optimizer),
                    slab("v", Kind::Optimizer),
                ]
            } else {
                [value; 3]
            };
            let total = self.summing.then(|| {
                let id = self.program.add_slab(&format!("b{block}.total"), Kind::ParamGradient);
                self.program.set_block(id, block);
                self.program.keep(id);
                id
            });
            self.slabs.push(Slabs { value, grad, m, v, total });
        }
    }

    /// A tensor of this block that lives within a step.
    pub fn temporary(&mut self, what: &str, shape: Shape, layout: Layout, kind: Kind) -> TensorId {
        let name = format!("{}.b{}.{}.{what}", self.prefix, self.block, self.serial);
        self.serial += 1;
        let id = self.program.add(&name, shape, layout, kind);
        self.program.set_block(id, self.block);
        id
    }

    /// Maps, or gradients of maps, in the layout of `other`.
    pub fn like(&mut self, other: TensorId, what: &str, shape: Shape) -> TensorId {
        self.temporary(what, shape, self.layout(other), Kind::Activation)
    }

    /// Statistics, means or scores, which are always float32.
    pub fn exact(&mut self, what: &str, shape: Shape) -> TensorId {
        self.temporary(what, shape, Layout::Nhwc, Kind::Activation)
    }

    /// The argmax of pooled maps.
    pub fn argmax(&mut self, pooled: Shape) -> TensorId {
        self.temporary("argmax", argmax_shape(pooled), Layout::Words, Kind::Activation)
    }

    pub fn shape(&self, id: TensorId) -> Shape {
        self.program.tensor(id).shape
    }

    pub fn layout(&self, id: TensorId) -> Layout {
        self.program.tensor(id).layout
    }

    /// The parameter called `name`, created at its first use.
    pub fn parameter(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        layout: Layout,
        init: Init,
    ) -> TensorId {
        let shape = shape.into();
        // Training and evaluation share parameters.
        if let Some(known) = self.parameters.get(name) {
            return known.value;
        }
        if self.frozen {
            // Outside of the slab, because an update covers all of that.
            let value = self.program.add(name, shape, layout, Kind::Parameter);
            self.program.set_block(value, self.block);
            self.insert(name, [value; 4], shape, layout, init);
            return value;
        }
        let slabs = self.slabs[self.block];
        let mut member = |slab, suffix: &str| {
            self.program.add_member(slab, &format!("{name}{suffix}"), shape, layout)
        };
        let value = member(slabs.value, "");
        let [grad, m, v] = if self.trainable {
            [member(slabs.grad, ".grad"), member(slabs.m, ".m"), member(slabs.v, ".v")]
        } else {
            [value; 3]
        };
        if let Some(total) = slabs.total {
            self.program.add_member(total, &format!("{name}.total"), shape, layout);
        }
        self.insert(name, [value, grad, m, v], shape, layout, init);
        value
    }

    fn insert(
        &mut self,
        name: &str,
        [value, grad, m, v]: [TensorId; 4],
        shape: Shape,
        layout: Layout,
        init: Init,
    ) {
        let block = self.block;
        let Shape { n, h, w, c } = shape;
        let file_shape = if layout == Layout::Hwio { vec![c, w, n, h] } else { vec![c] };
        let parameter = Parameter { value, grad, m, v, block, init, file_shape };
        self.parameters.insert(name.to_owned(), parameter);
    }

    pub fn grad(&self, name: &str) -> TensorId {
        self.parameters[name].grad
    }

    /// The running statistics of the batch norm called `name`.
    pub fn running(&mut self, name: &str, channels: usize) -> TensorId {
        if let Some(known) = self.running.get(name) {
            return *known;
        }
        let shape = Shape::new(1, 1, 2, channels);
        let id = self.program.add(&format!("{name}.running"), shape, Layout::Nhwc, Kind::Parameter);
        self.program.set_block(id, self.block);
        self.running.insert(name.to_owned(), id);
        id
    }

    /// Adds the block's gradients to their sum over micro-batches.
    pub fn accumulate(&mut self, keep: TensorId, factor: f32) {
        let Slabs { grad, total, .. } = self.slabs[self.block];
        if let Some(total) = total {
            self.program.push(ops::Accumulate { x: grad, total, keep, factor });
        }
    }

    /// Updates all parameters of the block by gradients that are multiplied by `scale`.
    pub fn adamw(&mut self, step: TensorId, adamw: AdamW, scale: f32) {
        let Slabs { value, grad, m, v, total } = self.slabs[self.block];
        let grads = total.unwrap_or(grad);
        self.program.push(ops::AdamW { params: value, grads, m, v, step, adamw, scale });
    }

    /// Sets value `at` of `out` if the block's weights or their second moments are not finite. A gradient
    /// whose square overflows shows in the moments only.
    pub fn check_finite(&mut self, out: TensorId, at: usize) {
        let Slabs { value, v, .. } = self.slabs[self.block];
        for x in [value, v] {
            self.program.push(ops::Finite { x, out, at });
        }
    }
}
