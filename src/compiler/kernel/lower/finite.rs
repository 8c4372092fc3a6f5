//! A look at the members of a slab.

use super::{Lowering, u};
use crate::base::shape::ALIGNMENT;
use crate::compiler::kernel::params;
use crate::compiler::kernel::tensor;
use crate::compiler::tensor::TensorId;

/// Vectors that an invocation looks at: members begin at multiples of so many.
const RUN: usize = ALIGNMENT / 16;
/// Members that one dispatch looks at; so many fit into its parameters.
const MEMBERS: usize = 24;

impl Lowering<'_> {
    pub(super) fn finite(&mut self, x: TensorId, out: TensorId, at: usize) {
        let part = |offset: usize, bytes: usize| [offset / 16, (offset + bytes) / 16];
        let members = self.tensors.iter().filter_map(|member| {
            let (slab, offset) = member.parent?;
            (slab == x).then(|| part(offset, member.bytes()))
        });
        let mut members: Vec<_> = members.collect();
        if members.is_empty() {
            members.push(part(0, tensor(self.tensors, x).bytes()));
        }
        for some in members.chunks(MEMBERS) {
            let mut ends = [0; 2 * MEMBERS];
            ends.iter_mut().zip(some.as_flattened()).for_each(|(end, value)| *end = u(*value));
            let (first, last) = (some[0][0], some[some.len() - 1][1]);
            let pieces = (last - first).div_ceil(RUN);
            let params = params::Finite {
                len: u(pieces),
                members: u(some.len()),
                first: u(first),
                at: u(at),
                ends: bytemuck::cast(ends),
            };
            let operands = [("x", x), ("result", out)];
            let definitions = [("RUN", u(RUN))];
            self.once(("finite", "main", &definitions), &operands, params, pieces);
        }
    }
}
