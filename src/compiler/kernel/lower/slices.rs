//! Cutting the work of an op along the batch, where an operand is larger than a kernel may see.

use super::{Lowering, Permutation};
use crate::base::shape::ALIGNMENT;
use crate::compiler::kernel::params::Params;
use crate::compiler::kernel::{Operand, tensor};
use crate::compiler::tensor::TensorId;

/// Some adjacent images of a batch.
#[derive(Clone, Copy)]
pub struct Slice {
    pub first: usize,
    pub count: usize,
}

/// Shader variables and the tensors behind them.
pub type Named<'a> = &'a [(&'static str, TensorId)];

impl Lowering<'_> {
    /// All of a tensor.
    pub fn whole(&self, id: TensorId) -> Operand {
        Operand { tensor: id, offset: 0, bytes: tensor(self.tensors, id).bytes() }
    }

    /// Bytes of each of the `n` images of a tensor.
    fn image_bytes(&self, id: TensorId, n: usize) -> usize {
        tensor(self.tensors, id).content_bytes() / n
    }

    /// Some images of a tensor of `n`.
    pub fn part(&self, id: TensorId, n: usize, slice: Slice) -> Operand {
        let one = self.image_bytes(id, n);
        let (offset, end) = (slice.first * one, (slice.first + slice.count) * one);
        // Words are filled up to whole vec4s after the last image.
        let end = if end == n * one { tensor(self.tensors, id).bytes() } else { end };
        Operand { tensor: id, offset, bytes: end - offset }
    }

    /// Slices of a batch of `n` images such that none of these tensors is larger than a kernel
    /// may see, none has more arithmetic than a dispatch may, each starts at an aligned byte, and
    /// holds whole groups of images.
    fn slices(&self, n: usize, ids: impl Iterator<Item = TensorId>, group: usize) -> Vec<Slice> {
        let affordable = self.target.max_flops / (self.flops / n as u64).max(1);
        let (mut step, mut most) = (group, n.min(usize::try_from(affordable).unwrap_or(n)));
        for one in ids.map(|id| self.image_bytes(id, n)) {
            step = lcm(step, ALIGNMENT >> one.trailing_zeros().min(ALIGNMENT.ilog2()));
            most = most.min(self.target.max_binding / one.max(1));
        }
        let count = if most >= n { n } else { (most / step * step).max(step) };
        let slice = |first| Slice { first, count: count.min(n - first) };
        (0..n).step_by(count).map(slice).collect()
    }

    /// Dispatches a kernel that treats groups of `group` of the `n` images alike. Operands in
    /// `each` have a share for every image, those in `whole` do not. `make` gives the parameters
    /// and the number of threads of a slice.
    pub fn per_group<P: Params>(
        &mut self,
        permutation: Permutation,
        (n, group): (usize, usize),
        each: Named,
        whole: Named,
        make: impl Fn(Slice) -> (P, usize),
    ) {
        for slice in self.slices(n, each.iter().map(|(_, id)| *id), group) {
            let mut operands: Vec<_> =
                each.iter().map(|(name, id)| (*name, self.part(*id, n, slice))).collect();
            operands.extend(whole.iter().map(|(name, id)| (*name, self.whole(*id))));
            let (params, threads) = make(slice);
            self.push(permutation, &operands, params, threads);
        }
    }

    /// The same for a kernel that treats all images alike.
    pub fn per_image<P: Params>(
        &mut self,
        permutation: Permutation,
        n: usize,
        each: Named,
        whole: Named,
        make: impl Fn(Slice) -> (P, usize),
    ) {
        self.per_group(permutation, (n, 1), each, whole, make);
    }

    /// Dispatches a kernel once, on whole tensors.
    pub fn once<P: Params>(
        &mut self,
        permutation: Permutation,
        operands: Named,
        params: P,
        threads: usize,
    ) {
        let operands: Vec<_> = operands.iter().map(|(n, id)| (*n, self.whole(*id))).collect();
        self.push(permutation, &operands, params, threads);
    }
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}
