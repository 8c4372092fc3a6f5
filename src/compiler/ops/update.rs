//! Updates of a block's parameters: sums of gradients, AdamW, and a check that the result is finite.

use super::scores::STEP_WORDS;
use super::{Access, Misfit, Operation, expect};
use crate::base::shape::{ALIGNMENT, Shape};
use crate::compiler::kernel::{Lowering, params, to_u32};
use crate::compiler::reference::Reference;
use crate::compiler::tensor::{TensorId, Tensors};
use crate::net::options;

/// `total = factor * x`, plus the old total if `keep`, a single value, is not 0: sums gradients over
/// micro-batches. Both slabs have the same members.
#[derive(Clone, PartialEq, Debug)]
pub struct Accumulate {
    pub x: TensorId,
    pub total: TensorId,
    pub keep: TensorId,
    pub factor: f32,
}

/// Updates a block's parameters and moments in place (Loshchilov and Hutter, arXiv 1711.05101). `grads`
/// holds gradients times `scale`; all four slabs have the same members.
#[derive(Clone, PartialEq, Debug)]
pub struct AdamW {
    pub params: TensorId,
    pub grads: TensorId,
    pub m: TensorId,
    pub v: TensorId,
    pub step: TensorId,
    pub adamw: options::AdamW,
    pub scale: f32,
}

/// Sets value `at` of `out` to 1 if a value of `x` is not finite, else leaves it unchanged.
#[derive(Clone, PartialEq, Debug)]
pub struct Finite {
    pub x: TensorId,
    pub out: TensorId,
    pub at: usize,
}

/// Checks that slabs have members of the same shapes at the same offsets.
fn same_members(t: Tensors, slabs: &[TensorId]) -> Result<(), Misfit> {
    let layout = |slab: &TensorId| -> Vec<(usize, Shape)> {
        t.members(*slab).into_iter().map(|(offset, id)| (offset, t.shape(id))).collect()
    };
    let first = layout(&slabs[0]);
    match slabs.iter().find(|slab| layout(slab) != first) {
        None => Ok(()),
        Some(other) => {
            let [a, b] = [slabs[0], *other].map(|id| &t.get(id).name);
            Err(format!("{b} is not laid out as {a}"))
        }
    }
}

impl Operation for Accumulate {
    fn name(&self) -> &'static str {
        "accumulate"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x, self.total, self.keep], &[self.total])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        same_members(t, &[self.x, self.total])?;
        expect(t, self.keep, Shape::vector(1))
    }

    fn operations(&self, t: Tensors) -> u64 {
        2 * t.elements(self.total) as u64
    }

    fn reference(&self, r: &mut Reference) {
        let kept = r.get(self.keep)[0] != 0.0;
        for [x, total] in r.matching_members([self.x, self.total]) {
            let mut sum: Vec<f64> = r.get(x).iter().map(|v| f64::from(self.factor) * v).collect();
            if kept {
                sum.iter_mut().zip(r.get(total)).for_each(|(sum, old)| *sum += old);
            }
            r.set(total, sum);
        }
    }

    fn lower(&self, l: &mut Lowering) {
        let len = l.vectors(self.total);
        let operands = [("a", self.x), ("keep", self.keep), ("y", self.total)];
        let params = params::Elementwise { len: to_u32(len), c: 0, c4: 0, factor: self.factor };
        l.once(("elementwise", "accumulate", &[]), &operands, params, len);
    }
}

impl Operation for AdamW {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn access(&self) -> Access {
        let reads = [self.params, self.grads, self.m, self.v, self.step];
        Access::of(&reads, &[self.params, self.m, self.v])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        same_members(t, &[self.params, self.grads, self.m, self.v])?;
        expect(t, self.step, Shape::vector(STEP_WORDS))
    }

    fn operations(&self, t: Tensors) -> u64 {
        15 * t.elements(self.params) as u64
    }

    fn float_words(&self) -> Vec<TensorId> {
        vec![self.step]
    }

    /// Weight decay uses the parameter before the step.
    fn reference(&self, r: &mut Reference) {
        let options::AdamW { beta1, beta2, eps, weight_decay } = self.adamw;
        let [beta1, beta2, eps, decay] = [beta1, beta2, eps, weight_decay].map(f64::from);
        // The corrections divide out the moments' bias towards zero. `check` refuses another shape of `step`.
        let [rate, correction1, correction2, _]: [f64; STEP_WORDS] =
            r.get(self.step).try_into().expect("a step of STEP_WORDS values");
        for [p, g, m, v] in r.matching_members([self.params, self.grads, self.m, self.v]) {
            let [mut params, mut first, mut second] = [p, m, v].map(|id| r.get(id).to_vec());
            let each = params.iter_mut().zip(&mut first).zip(&mut second).zip(r.get(g));
            for (((p, m), v), g) in each {
                let g = g / f64::from(self.scale);
                *p -= rate * decay * *p;
                *m = beta1 * *m + (1.0 - beta1) * g;
                *v = beta2 * *v + (1.0 - beta2) * g * g;
                let [first, second] = [*m / correction1, *v / correction2];
                *p -= rate * first / (second.sqrt() + eps);
            }
            for (id, values) in [(p, params), (m, first), (v, second)] {
                r.set(id, values);
            }
        }
    }

    fn lower(&self, l: &mut Lowering) {
        let len = l.vectors(self.params);
        let operands = [
            ("value", self.params),
            ("grad", self.grads),
            ("m", self.m),
            ("v", self.v),
            ("step", self.step),
        ];
        let params = params::Adamw {
            len: to_u32(len),
            factor: self.scale.recip(),
            beta1: self.adamw.beta1,
            beta2: self.adamw.beta2,
            eps: self.adamw.eps,
            weight_decay: self.adamw.weight_decay,
        };
        l.once(("adamw", "main", &[]), &operands, params, len);
    }
}

/// vec4s that an invocation checks: members begin at multiples of it.
const RUN: usize = ALIGNMENT / 16;
/// Members that one dispatch checks: the size of the array in its parameters.
const MEMBERS: usize = 24;

impl Operation for Finite {
    fn name(&self) -> &'static str {
        "finite"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x, self.out], &[self.out])
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        let out = t.get(self.out);
        let inside = self.at < out.shape.elements();
        if inside { Ok(()) } else { Err(format!("{} has no value {}", out.name, self.at)) }
    }

    fn float_words(&self) -> Vec<TensorId> {
        vec![self.out]
    }

    fn reference(&self, r: &mut Reference) {
        let finite = |(_, id)| r.get(id).iter().all(|v| v.is_finite());
        let mut values = r.get(self.out).to_vec();
        if !r.members(self.x).into_iter().all(finite) {
            values[self.at] = 1.0;
        }
        r.set(self.out, values);
    }

    /// Checks members only, because memory between them is undefined.
    fn lower(&self, l: &mut Lowering) {
        let part = |(offset, id)| [offset / 16, (offset + l.tensors.get(id).bytes()) / 16];
        let members: Vec<_> = l.tensors.members(self.x).into_iter().map(part).collect();
        for some in members.chunks(MEMBERS) {
            let mut ends = [0; 2 * MEMBERS];
            ends.iter_mut().zip(some.as_flattened()).for_each(|(end, value)| *end = to_u32(*value));
            let (first, last) = (some[0][0], some[some.len() - 1][1]);
            let pieces = (last - first).div_ceil(RUN);
            let params = params::Finite {
                len: to_u32(pieces),
                members: to_u32(some.len()),
                first: to_u32(first),
                at: to_u32(self.at),
                ends: bytemuck::cast(ends),
            };
            let operands = [("x", self.x), ("result", self.out)];
            l.once(("finite", "main", &[("RUN", to_u32(RUN))]), &operands, params, pieces);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::ops::tests::{Table, assert_close};

    #[test]
    fn the_first_step_of_adamw_follows_the_sign_of_the_gradient() {
        let mut t = Table::default();
        let [params, grads, m, v] = [(); 4].map(|()| t.vector(2));
        let step = t.vector(4);
        let adamw = options::AdamW { beta1: 0.5, beta2: 0.75, eps: 0.0, weight_decay: 0.5 };
        let scale = 8.0;
        let op = AdamW { params, grads, m, v, step, adamw, scale };
        let zeros: &[f64] = &[0.0; 2];
        let inputs: [(TensorId, &[f64]); 5] = [
            (params, &[1.0, -2.0]),
            (grads, &[4.0, -2.0]),
            (m, zeros),
            (v, zeros),
            (step, &[0.1, 0.5, 0.25, 1.0]),
        ];
        let r = t.run(&op, &inputs);
        assert_close(r.get(params), &[0.85, -1.8]);
        assert_close(r.get(m), &[0.25, -0.125]);
        assert_close(r.get(v), &[0.0625, 0.015625]);
    }

    #[test]
    fn adamw_pairs_members_by_offset() {
        let mut t = Table::default();
        let roots = [(); 4].map(|()| t.vector(8));
        let step = t.vector(4);
        let [small, large] = [Shape::vector(1), Shape::vector(3)];
        // The gradients stand in the other order in the table.
        let [p, m, v] =
            [0, 2, 3].map(|i| [t.member(roots[i], 0, small), t.member(roots[i], 16, large)]);
        let g1 = t.member(roots[1], 16, large);
        let g0 = t.member(roots[1], 0, small);
        let [params, grads, m_root, v_root] = roots;
        let adamw = options::AdamW { beta1: 0.5, beta2: 0.5, eps: 0.0, weight_decay: 0.0 };
        let op = AdamW { params, grads, m: m_root, v: v_root, step, adamw, scale: 1.0 };
        let zeros = [0.0; 3];
        let mut inputs: Vec<(TensorId, &[f64])> =
            [p, m, v].iter().flat_map(|[a, b]| [(*a, &zeros[..1]), (*b, &zeros[..])]).collect();
        inputs.extend([(g0, &[7.0][..]), (g1, &[-1.0, 2.0, -3.0]), (step, &[1.0, 0.5, 0.5, 1.0])]);
        let r = t.run(&op, &inputs);
        assert_close(r.get(p[0]), &[-1.0]);
        assert_close(r.get(p[1]), &[1.0, -1.0, 1.0]);
    }
}
