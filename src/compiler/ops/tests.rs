//! Fixtures for the unit tests of ops, which are small cases computed by hand.

use crate::base::shape::{Layout, Shape, Weight};
use crate::compiler::ops::{Activate, Operation};
use crate::compiler::reference::Reference;
use crate::compiler::tensor::{Kind, Tensor, TensorId};
use crate::net::layers::Activation;

/// The tensors of a test.
#[derive(Default)]
pub struct Table(pub Vec<Tensor>);

impl Table {
    /// A tensor of any layout.
    pub fn add(&mut self, layout: Layout, shape: Shape) -> TensorId {
        let name = format!("t{}", self.0.len());
        self.0.push(Tensor {
            name,
            shape,
            layout,
            kind: Kind::Io,
            block: None,
            keep: false,
            fused: false,
            parent: None,
        });
        TensorId(self.0.len() - 1)
    }

    pub fn maps(&mut self, n: usize, h: usize, w: usize, c: usize) -> TensorId {
        self.add(Layout::Nhwc, Shape::new(n, h, w, c))
    }

    pub fn vector(&mut self, c: usize) -> TensorId {
        self.maps(1, 1, 1, c)
    }

    pub fn weight(&mut self, k: usize, cin: usize, cout: usize) -> TensorId {
        self.add(Layout::Hwio, Weight::new(k, cin, cout).into())
    }

    pub fn words(&mut self, count: usize) -> TensorId {
        self.add(Layout::Words, Shape::vector(count))
    }

    /// A member of a slab, at a byte offset.
    pub fn member(&mut self, root: TensorId, offset: usize, shape: Shape) -> TensorId {
        let id = self.add(Layout::Nhwc, shape);
        self.0[id.0].parent = Some((root, offset));
        id
    }

    /// Runs one op on the given inputs.
    pub fn run(&self, op: &dyn Operation, inputs: &[(TensorId, &[f64])]) -> Reference<'_> {
        let mut reference = Reference::new(&self.0);
        for (id, values) in inputs {
            reference.set(*id, values.to_vec());
        }
        op.reference(&mut reference);
        reference
    }
}

#[track_caller]
pub fn assert_close(actual: &[f64], expected: &[f64]) {
    let close = |(a, e): (&f64, &f64)| (a - e).abs() <= 1e-12;
    let same = actual.len() == expected.len() && actual.iter().zip(expected).all(close);
    assert!(same, "{actual:?} is not {expected:?}");
}

/// 1, 2, 3 and so on.
pub fn counting(count: usize) -> Vec<f64> {
    (1..=count).map(|v| v as f64).collect()
}

#[test]
#[should_panic(expected = "t0 is read before it is set")]
fn unset_tensors_are_named() {
    let mut t = Table::default();
    let (x, y) = (t.vector(1), t.vector(1));
    t.run(&Activate { x, y, act: Activation::Relu }, &[]);
}
