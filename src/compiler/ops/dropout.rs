//! Dropout.

use super::{Access, Misfit, Operation, alike, expect};
use crate::base::shape::Shape;
use crate::compiler::kernel::{Lowering, params, to_u32};
use crate::compiler::reference::Reference;
use crate::compiler::tensor::{TensorId, Tensors};

/// Sets each value to 0 with probability `rate` and divides the others by `1 - rate`, which preserves the
/// expected value (Srivastava et al., JMLR 15, 2014). The choice depends only on the two words of `key`,
/// the index of the dropout layer and the value's position, so the gradient is the same op.
#[derive(Clone, PartialEq, Debug)]
pub struct Dropout {
    pub x: TensorId,
    pub key: TensorId,
    pub y: TensorId,
    pub layer: u32,
    pub rate: f32,
}

/// The finaliser of MurmurHash3.
fn mix(mut h: u32) -> u32 {
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// Drops the values whose 32 random bits are less than `rate` times 2^32.
fn drop(values: &[f64], key: &[f64], layer: u32, rate: f32) -> Vec<f64> {
    let [first, second] = [key[0], key[1]].map(|word| word as u32);
    let second = second.wrapping_add(layer.wrapping_mul(0x9e37_79b9));
    let kept = |position: usize| {
        let bits = mix(mix(position as u32 ^ first).wrapping_add(second));
        f64::from(bits) >= (f64::from(rate) * 2f64.powi(32)).floor()
    };
    let factor = 1.0 / (1.0 - f64::from(rate));
    let each = values.iter().enumerate();
    each.map(|(position, value)| if kept(position) { value * factor } else { 0.0 }).collect()
}

impl Operation for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn access(&self) -> Access {
        Access::of(&[self.x, self.key], &[self.y])
    }

    fn in_place(&self) -> Vec<(TensorId, TensorId)> {
        vec![(self.y, self.x)]
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        alike(t, &[self.x, self.y])?;
        expect(t, self.key, Shape::vector(2))
    }

    fn operations(&self, t: Tensors) -> u64 {
        t.elements(self.y) as u64
    }

    fn reference(&self, r: &mut Reference) {
        let out = drop(r.get(self.x), r.get(self.key), self.layer, self.rate);
        r.set(self.y, out);
    }

    fn lower(&self, l: &mut Lowering) {
        let shape = l.shape(self.x);
        let (each, whole) = ([("x", self.x), ("y", self.y)], [("key", self.key)]);
        l.per_image(("dropout", "main", &[]), shape.n, &each, &whole, |s| {
            let len = shape.with_n(s.count).pixels() * shape.c4();
            let params = params::Dropout {
                len: to_u32(len),
                c: to_u32(shape.c),
                c4: to_u32(shape.c4()),
                before: to_u32(shape.with_n(s.first).pixels()),
                layer: self.layer,
                // Values are kept if their 32 random bits are not less.
                threshold: (f64::from(self.rate) * 2f64.powi(32)) as u32,
                factor: 1.0 / (1.0 - self.rate),
            };
            (params, len)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 100,000 values, the number kept with key and layer `a`, and with both `a` and `b`.
    fn kept(a: ([f64; 2], u32), b: ([f64; 2], u32), rate: f32) -> (usize, usize) {
        let ones = vec![1.0; 100_000];
        let [a, b] = [a, b].map(|(key, layer)| drop(&ones, &key, layer, rate));
        let factor = 1.0 / (1.0 - f64::from(rate));
        assert!(a.iter().all(|v| *v == 0.0 || *v == factor));
        let both = a.iter().zip(&b).filter(|(a, b)| **a > 0.0 && **b > 0.0).count();
        (a.iter().filter(|v| **v > 0.0).count(), both)
    }

    #[test]
    fn the_rate_is_right_and_every_part_of_the_key_changes_the_choice() {
        let base = ([17.0, 4e9], 0);
        for rate in [0.0f32, 0.2, 0.5, 0.9] {
            for other in [([18.0, 4e9], 0), ([17.0, 4e9 - 1.0], 0), ([17.0, 4e9], 1)] {
                let (one, both) = kept(base, other, rate);
                let share = 1.0 - f64::from(rate);
                // Four standard deviations.
                assert!((one as f64 / 1e5 - share).abs() < 0.0065, "{rate}: {one}");
                assert!((both as f64 / 1e5 - share * share).abs() < 0.0065, "{rate}: {both}");
            }
        }
        let (one, both) = kept(base, base, 0.2);
        assert_eq!(one, both);
    }
}
