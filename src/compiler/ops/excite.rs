//! The scaling of maps in squeeze-and-excitation (Hu et al., arXiv 1709.01507), and its gradients.

use super::activation::{slope, value};
use super::{Access, Misfit, Operation, advice, alike, expect};
use crate::base::shape::Shape;
use crate::compiler::kernel::{Lowering, Named, params, to_u32};
use crate::compiler::reference::Reference;
use crate::compiler::reference::window::{scale_maps, spread_over_maps, sum_of_maps};
use crate::compiler::tensor::{TensorId, Tensors};
use crate::net::layers::Activation::HardSigmoid;

/// `y = x * hard_sigmoid(s)`, with one `s` per image and channel.
#[derive(Clone, PartialEq, Debug)]
pub struct Excite {
    pub x: TensorId,
    pub s: TensorId,
    pub y: TensorId,
}

/// Gradient of [`Excite`] with respect to `s`: `hard_sigmoid'(s)` times the sum over pixels of
/// `dy * x`.
#[derive(Clone, PartialEq, Debug)]
pub struct ExciteGrad {
    pub x: TensorId,
    pub s: TensorId,
    pub dy: TensorId,
    pub ds: TensorId,
}

/// Gradient of squeeze-and-excitation with respect to its input, which is scaled and whose means determine
/// the scale: `dx = dy * hard_sigmoid(s) + dmean / pixels`.
#[derive(Clone, PartialEq, Debug)]
pub struct SqueezeExciteGrad {
    pub s: TensorId,
    pub dy: TensorId,
    pub dmean: TensorId,
    pub dx: TensorId,
}

/// Shape of one value per image and channel.
fn per_map(maps: Shape) -> Shape {
    Shape::rows(maps.n, maps.c)
}

/// A kernel on maps of shape `x` and values per image and channel, with one result per vec4 of `over`.
fn dispatch(l: &mut Lowering, entry: &'static str, x: Shape, operands: Named, over: TensorId) {
    let over = l.shape(over);
    let join = l.join(over.pixels() * over.c4(), x.pixels() / over.pixels());
    let mut definitions = vec![("HARD_SIGMOID", 1)];
    definitions.extend(join);
    l.per_image(("excite", entry, &definitions), x.n, operands, &[], |s| {
        let (images, size) = (to_u32(s.count), to_u32(x.h * x.w));
        let params = params::Excite { images, size, c: to_u32(x.c), c4: to_u32(x.c4()) };
        (params, over.with_n(s.count).pixels() * over.c4())
    });
}

/// The scale of each image and channel.
fn factors(r: &Reference, s: TensorId) -> Vec<f64> {
    r.get(s).iter().map(|s| value(HardSigmoid, *s)).collect()
}

impl Operation for Excite {
    fn name(&self) -> &'static str {
        "excite"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x, self.s], &[self.y])
    }

    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        vec![(self.y, self.x)]
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        alike(t, &[self.x, self.y])?;
        expect(t, self.s, per_map(t.shape(self.x)))
    }

    fn operations(&self, t: Tensors) -> u64 {
        t.elements(self.y) as u64
    }

    fn reference(&self, r: &mut Reference) {
        let out = scale_maps(r.get(self.x), &factors(r, self.s), r.shape(self.x));
        r.set(self.y, out);
    }

    fn lower(&self, l: &mut Lowering) {
        let operands = [("x", self.x), ("s", self.s), ("y", self.y)];
        dispatch(l, "main", l.shape(self.x), &operands, self.y);
    }
}

impl Operation for ExciteGrad {
    fn name(&self) -> &'static str {
        "excite_grad"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x, self.s, self.dy], &[self.ds])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        alike(t, &[self.x, self.dy])?;
        [self.s, self.ds].iter().try_for_each(|id| expect(t, *id, per_map(t.shape(self.x))))
    }

    fn operations(&self, t: Tensors) -> u64 {
        2 * t.elements(self.x) as u64
    }

    fn loop_steps(&self, t: Tensors) -> Option<(usize, &'static str)> {
        let x = t.shape(self.x);
        Some((x.h * x.w, advice::IMAGE))
    }

    fn reference(&self, r: &mut Reference) {
        let sums = sum_of_maps(&r.zip(self.dy, self.x, |dy, x| dy * x), r.shape(self.x));
        let slopes = r.get(self.s).iter().map(|s| slope(HardSigmoid, *s));
        let out = sums.iter().zip(slopes).map(|(sum, slope)| sum * slope).collect();
        r.set(self.ds, out);
    }

    fn lower(&self, l: &mut Lowering) {
        let operands = [("x", self.x), ("s", self.s), ("dy", self.dy), ("ds", self.ds)];
        dispatch(l, "grad", l.shape(self.x), &operands, self.ds);
    }
}

impl Operation for SqueezeExciteGrad {
    fn name(&self) -> &'static str {
        "squeeze_excite_grad"
    }

    fn access(&self) -> Access {
        Access::of(&[self.s, self.dy, self.dmean], &[self.dx])
    }

    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        vec![(self.dx, self.dy)]
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        alike(t, &[self.dy, self.dx])?;
        [self.s, self.dmean].iter().try_for_each(|id| expect(t, *id, per_map(t.shape(self.dx))))
    }

    fn operations(&self, t: Tensors) -> u64 {
        2 * t.elements(self.dx) as u64
    }

    fn reference(&self, r: &mut Reference) {
        let shape = r.shape(self.dx);
        let scaled = scale_maps(r.get(self.dy), &factors(r, self.s), shape);
        let spread = spread_over_maps(r.get(self.dmean), shape);
        let out = scaled.iter().zip(spread).map(|(a, b)| a + b).collect();
        r.set(self.dx, out);
    }

    fn lower(&self, l: &mut Lowering) {
        let operands = [("s", self.s), ("dy", self.dy), ("dmean", self.dmean), ("dx", self.dx)];
        dispatch(l, "squeeze_grad", l.shape(self.dx), &operands, self.dx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::ops::tests::{Table, assert_close};

    #[test]
    fn scales_are_per_image_and_channel() {
        let mut t = Table::default();
        let [x, y, dx] = [(); 3].map(|()| t.maps(2, 1, 2, 1));
        let [s, ds, dmean] = [(); 3].map(|()| t.maps(2, 1, 1, 1));
        let inputs: [(_, &[f64]); 3] =
            [(x, &[1.0, 2.0, 3.0, 4.0]), (s, &[0.0, 30.0]), (dmean, &[8.0, -2.0])];
        let mut r = t.run(&Excite { x, s, y }, &inputs);
        assert_eq!(r.get(y), [0.5, 1.0, 3.0, 4.0]);
        ExciteGrad { x, s, dy: x, ds }.reference(&mut r);
        assert_close(r.get(ds), &[5.0 / 6.0, 0.0]);
        SqueezeExciteGrad { s, dy: x, dmean, dx }.reference(&mut r);
        assert_eq!(r.get(dx), [4.5, 5.0, 2.0, 3.0]);
    }
}
