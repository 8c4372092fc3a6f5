//! Programs: ordered ops over named tensors, as plain data.

mod build;
mod emit;
mod fuse;
mod head;
mod layers;
mod routine;
mod setup;
mod tape;

pub use build::build;
pub use emit::{Init, Parameter};
pub use head::class_maps;
pub use setup::{Built, Feed, Routine, Setup};

use std::fmt;

use crate::base::shape::{ALIGNMENT, Layout, Shape};
use crate::compiler::ops::{Node, Op};
use crate::compiler::tensor::{Kind, Tensor, TensorId, Tensors};
use crate::{Error, Result};

/// Ops in order, over named tensors without addresses.
#[derive(Clone, Default, Debug)]
pub struct Program {
    tensors: Vec<Tensor>,
    ops: Vec<Node>,
}

impl Program {
    /// All tensors; a [`TensorId`] is an index into them.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// All ops, in order.
    pub fn ops(&self) -> &[Node] {
        &self.ops
    }

    /// The tensor behind an id.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0]
    }

    /// All ids, except those of tensors that fusion removed.
    pub fn ids(&self) -> impl Iterator<Item = TensorId> + '_ {
        (0..self.tensors.len()).filter(|index| !self.tensors[*index].fused).map(TensorId)
    }

    /// Finds a tensor by name.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.ids().find(|id| self.tensor(*id).name == name)
    }

    /// Adds a tensor.
    pub fn add(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        layout: Layout,
        kind: Kind,
    ) -> TensorId {
        let shape = shape.into();
        let name = name.to_owned();
        self.tensors.push(Tensor {
            name,
            shape,
            layout,
            kind,
            block: None,
            keep: false,
            fused: false,
            parent: None,
        });
        TensorId(self.tensors.len() - 1)
    }

    /// Adds an empty slab: one range of memory for several tensors, so that one op can process them all.
    pub fn add_slab(&mut self, name: &str, kind: Kind) -> TensorId {
        self.add(name, Shape::vector(0), Layout::Words, kind)
    }

    /// Adds a tensor at the end of a slab, aligned.
    pub fn add_member(
        &mut self,
        slab: TensorId,
        name: &str,
        shape: Shape,
        layout: Layout,
    ) -> TensorId {
        let offset = self.tensors[slab.0].bytes().next_multiple_of(ALIGNMENT);
        let id = self.add(name, shape, layout, self.tensors[slab.0].kind);
        let words = (offset + layout.bytes(shape)) / 4;
        self.tensors[slab.0].shape = Shape::vector(words);
        self.tensors[id.0].parent = Some((slab, offset));
        self.tensors[id.0].block = self.tensors[slab.0].block;
        self.tensors[id.0].keep = self.tensors[slab.0].keep;
        id
    }

    /// Sets the block that a tensor belongs to.
    pub fn set_block(&mut self, id: TensorId, block: usize) {
        self.tensors[id.0].block = Some(block);
    }

    /// The block whose tensors op `index` writes or, if it writes none of a block, reads.
    pub fn block_of(&self, index: usize) -> Option<usize> {
        let access = self.ops[index].access();
        let mut touched = access.writes.into_iter().chain(access.reads);
        touched.find_map(|id| self.tensor(id).block)
    }

    /// Makes a tensor keep its value between runs.
    pub fn keep(&mut self, id: TensorId) {
        self.tensors[id.0].keep = true;
    }

    /// Appends an op, with the scratch that it needs.
    pub fn push(&mut self, op: impl Into<Op>) {
        let op = op.into();
        let first = op.access().writes[0];
        let (name, block) = (self.tensor(first).name.clone(), self.tensor(first).block);
        let wanted = op.scratch(Tensors(&self.tensors)).into_iter();
        let scratch = wanted.map(|(what, shape, layout)| {
            let id = self.add(&format!("{name}.{what}"), shape, layout, Kind::Workspace);
            self.tensors[id.0].block = block;
            id
        });
        let scratch = scratch.collect();
        self.ops.push(Node { op, scratch });
    }

    /// A program of op `index` only, `times` times. Its operands persist; other tensors take no memory.
    pub fn alone(&self, index: usize, times: usize) -> Self {
        let node = &self.ops[index];
        let access = node.access();
        let mut tensors = self.tensors.clone();
        for tensor in &mut tensors {
            (tensor.kind, tensor.keep, tensor.parent) = (Kind::Workspace, false, None);
        }
        for id in [access.reads, access.writes, access.scratch].into_iter().flatten() {
            tensors[id.0].keep = true;
        }
        Self { tensors, ops: vec![node.clone(); times] }
    }

    /// The tensor that owns the memory of `id`, and the byte in it where `id` starts.
    pub fn root(&self, id: TensorId) -> (TensorId, usize) {
        self.tensor(id).parent.unwrap_or((id, 0))
    }

    /// Members of a slab, in order of offset; the tensor itself if it is no slab.
    pub fn members(&self, id: TensorId) -> Vec<TensorId> {
        Tensors(&self.tensors).members(id).into_iter().map(|(_, member)| member).collect()
    }

    /// Checks that the shapes of every op fit together, and that every value is written before it is
    /// read.
    ///
    /// # Errors
    /// [`Error::Model`] names the op and the tensor.
    pub fn validate(&self) -> Result<()> {
        let mut written: Vec<bool> = self.tensors.iter().map(Tensor::persists).collect();
        for (index, op) in self.ops.iter().enumerate() {
            op.check(Tensors(&self.tensors)).map_err(|problem| {
                Error::Model(format!("op {index} ({}): {problem}", op.name()))
            })?;
            let access = op.access();
            for id in access.reads {
                for member in self.members(id) {
                    if !written[member.0] {
                        return Err(Error::Model(format!(
                            "op {index} ({}) reads {} before anything wrote it",
                            op.name(),
                            self.tensor(member).name
                        )));
                    }
                }
            }
            for id in access.writes {
                self.members(id).into_iter().for_each(|m| written[m.0] = true);
                written[id.0] = true;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |ids: &[TensorId]| -> String {
            let each = ids.iter().map(|id| {
                let t = self.tensor(*id);
                format!("{} {}", t.name, t.shape)
            });
            each.collect::<Vec<_>>().join(", ")
        };
        for (index, op) in self.ops.iter().enumerate() {
            let access = op.access();
            writeln!(
                f,
                "{index:4}  {:20} {} <- {}",
                op.name(),
                names(&access.writes),
                names(&access.reads)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shape::Weight;
    use crate::compiler::ops::{Activate, Add};
    use crate::net::layers::Activation;

    #[test]
    fn a_read_before_a_write_is_refused() {
        let mut program = Program::default();
        let shape = Shape::new(1, 2, 2, 3);
        let x = program.add("x", shape, Layout::Nhwc, Kind::Io);
        let y = program.add("y", shape, Layout::Nhwc, Kind::Activation);
        let z = program.add("z", shape, Layout::Nhwc, Kind::Activation);
        program.push(Activate { x, y, act: Activation::Relu });
        program.validate().unwrap();
        program.push(Add { a: y, b: z, y: x });
        let message = program.validate().unwrap_err().to_string();
        assert!(message.contains("op 1 (add) reads z"), "{message}");
        assert!(program.to_string().contains("activate             y 1×2×2×3 <- x 1×2×2×3"));
    }

    #[test]
    fn members_share_their_slab() {
        let mut program = Program::default();
        let slab = program.add_slab("slab", Kind::ParamGradient);
        let a = program.add_member(slab, "a", Shape::vector(5), Layout::Nhwc);
        let b = program.add_member(slab, "b", Weight::new(1, 1, 1).into(), Layout::Hwio);
        assert_eq!(program.root(a), (slab, 0));
        assert_eq!(program.root(b), (slab, ALIGNMENT));
        assert_eq!(program.tensor(slab).bytes(), ALIGNMENT + 64);
        assert_eq!(program.members(slab), [a, b]);
    }
}
