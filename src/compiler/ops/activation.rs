//! Element-wise activations, and sums of two maps.

use super::{Access, Misfit, Operation, alike};
use crate::compiler::kernel::{Lowering, Named, activation, params, to_u32};
use crate::compiler::reference::Reference;
use crate::compiler::tensor::{TensorId, Tensors};
use crate::net::layers::Activation;

/// `y = act(x)`.
#[derive(Clone, PartialEq, Debug)]
pub struct Activate {
    pub x: TensorId,
    pub y: TensorId,
    pub act: Activation,
}

/// `dx = dy * act'(x)`.
#[derive(Clone, PartialEq, Debug)]
pub struct ActivateGrad {
    pub x: TensorId,
    pub dy: TensorId,
    pub dx: TensorId,
    pub act: Activation,
}

/// `y = a + b`.
#[derive(Clone, PartialEq, Debug)]
pub struct Add {
    pub a: TensorId,
    pub b: TensorId,
    pub y: TensorId,
}

fn hard_sigmoid(x: f64) -> f64 {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

/// An activation at `x`, as PyTorch defines it.
pub(super) fn value(act: Activation, x: f64) -> f64 {
    match act {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::HardSwish => x * hard_sigmoid(x),
        Activation::HardSigmoid => hard_sigmoid(x),
    }
}

/// Its derivative at `x`; at kinks the value that PyTorch uses.
pub(super) fn slope(act: Activation, x: f64) -> f64 {
    let inside = |slope: f64| if x > -3.0 && x < 3.0 { slope } else { 0.0 };
    match act {
        Activation::None => 1.0,
        Activation::Relu => f64::from(x > 0.0),
        Activation::HardSwish if x >= 3.0 => 1.0,
        Activation::HardSwish => inside(x / 3.0 + 0.5),
        Activation::HardSigmoid => inside(1.0 / 6.0),
    }
}

/// A kernel on maps of the same shape, with one invocation per vec4.
fn dispatch(l: &mut Lowering, entry: &'static str, act: Activation, maps: Named) {
    let (shape, act) = (l.shape(maps[0].1), activation(act));
    let permutation = ("elementwise", entry, act.as_slice());
    l.per_image(permutation, shape.n, maps, &[], |s| {
        let len = shape.with_n(s.count).pixels() * shape.c4();
        let (c, c4) = (to_u32(shape.c), to_u32(shape.c4()));
        (params::Elementwise { len: to_u32(len), c, c4, factor: 1.0 }, len)
    });
}

impl Operation for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x], &[self.y])
    }

    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        vec![(self.y, self.x)]
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        alike(t, &[self.x, self.y])
    }

    fn operations(&self, t: Tensors) -> u64 {
        t.elements(self.y) as u64
    }

    fn reference(&self, r: &mut Reference) {
        let out = r.get(self.x).iter().map(|x| value(self.act, *x)).collect();
        r.set(self.y, out);
    }

    fn lower(&self, l: &mut Lowering) {
        dispatch(l, "activation", self.act, &[("a", self.x), ("y", self.y)]);
    }
}

impl Operation for ActivateGrad {
    fn name(&self) -> &'static str {
        "activate_grad"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x, self.dy], &[self.dx])
    }

    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        vec![(self.dx, self.dy)]
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        alike(t, &[self.x, self.dy, self.dx])
    }

    fn operations(&self, t: Tensors) -> u64 {
        2 * t.elements(self.dx) as u64
    }

    fn reference(&self, r: &mut Reference) {
        let out = r.zip(self.x, self.dy, |x, dy| dy * slope(self.act, x));
        r.set(self.dx, out);
    }

    fn lower(&self, l: &mut Lowering) {
        let maps = [("a", self.x), ("b", self.dy), ("y", self.dx)];
        dispatch(l, "activation_grad", self.act, &maps);
    }
}

impl Operation for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn access(&self) -> Access {
        Access::of(&[self.a, self.b], &[self.y])
    }

    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        vec![(self.y, self.a), (self.y, self.b)]
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        alike(t, &[self.a, self.b, self.y])
    }

    fn operations(&self, t: Tensors) -> u64 {
        t.elements(self.y) as u64
    }

    fn reference(&self, r: &mut Reference) {
        let out = r.zip(self.a, self.b, |a, b| a + b);
        r.set(self.y, out);
    }

    fn lower(&self, l: &mut Lowering) {
        dispatch(l, "add", Activation::None, &[("a", self.a), ("b", self.b), ("y", self.y)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::ops::tests::{Table, assert_close};

    #[test]
    fn values_and_slopes_at_and_around_the_kinks() {
        let mut t = Table::default();
        let [x, y, dx] = [(); 3].map(|()| t.vector(6));
        let (points, ones) = ([-4.0, -3.0, -1.5, 0.0, 3.0, 4.0], [1.0; 6]);
        for (act, values, slopes) in [
            (Activation::None, points, ones),
            (Activation::Relu, [0.0, 0.0, 0.0, 0.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]),
            (
                Activation::HardSwish,
                [0.0, 0.0, -0.375, 0.0, 3.0, 4.0],
                [0.0, 0.0, 0.0, 0.5, 1.0, 1.0],
            ),
            (
                Activation::HardSigmoid,
                [0.0, 0.0, 0.25, 0.5, 1.0, 1.0],
                [0.0, 0.0, 1.0 / 6.0, 1.0 / 6.0, 0.0, 0.0],
            ),
        ] {
            let mut r = t.run(&Activate { x, y, act }, &[(x, &points), (dx, &ones)]);
            ActivateGrad { x, dy: dx, dx, act }.reference(&mut r);
            assert_close(r.get(y), &values);
            assert_close(r.get(dx), &slopes);
        }
    }
}
