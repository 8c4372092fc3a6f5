//! Executes a plan symbolically: does every read find the value that was written last?

use std::ops::Range;

use super::Plan;
use crate::compiler::program::Program;
use crate::compiler::tensor::{Tensor, TensorId};
use crate::{Error, Result};

/// Checks `plan` against what the ops of `program` read and write.
///
/// # Errors
/// [`Error::Model`] names the first op that reads overwritten bytes, or overwrites an operand that it
/// still needs.
pub fn verify(program: &Program, plan: &Plan) -> Result<()> {
    let range = |id: TensorId| -> Range<usize> {
        plan.offset(id)..plan.offset(id) + program.tensor(id).bytes()
    };
    let overlap = |a: TensorId, b: TensorId| {
        let (a, b) = (range(a), range(b));
        a.start < b.end && b.start < a.end
    };
    let related = |a: TensorId, b: TensorId| program.root(a).0 == program.root(b).0;
    let persistent: Vec<TensorId> =
        program.ids().filter(|id| program.tensor(*id).persists()).collect();
    // Which tensors hold their value before the current op.
    let mut whole: Vec<bool> = program.tensors().iter().map(Tensor::persists).collect();
    for (index, op) in program.ops().iter().enumerate() {
        let fail = |what: &str, a: TensorId, b: TensorId| {
            let (a, b) = (&program.tensor(a).name, &program.tensor(b).name);
            Err(Error::Model(format!("op {index} ({}) {what}: {a} and {b}", op.name())))
        };
        let access = op.access();
        for id in &access.reads {
            if let Some(lost) = program.members(*id).into_iter().find(|m| !whole[m.0]) {
                return fail("reads what was overwritten", *id, lost);
            }
        }
        let in_place = op.in_place();
        let outputs: Vec<TensorId> = access.writes.iter().chain(&access.scratch).copied().collect();
        for (at, out) in outputs.iter().enumerate() {
            for read in access.reads.iter().filter(|r| !related(**r, *out) && overlap(**r, *out)) {
                if !in_place.contains(&(*out, *read)) || range(*out) != range(*read) {
                    return fail("writes over its own input", *out, *read);
                }
            }
            if let Some(other) = outputs[..at].iter().find(|o| overlap(**o, *out)) {
                return fail("writes two results to one place", *out, *other);
            }
            if let Some(kept) =
                persistent.iter().find(|p| !related(**p, *out) && overlap(**p, *out))
            {
                return fail("writes over a tensor that is kept", *out, *kept);
            }
            for id in program.ids().filter(|id| !related(*id, *out)) {
                whole[id.0] &= !overlap(id, *out);
            }
        }
        for id in access.writes {
            program.members(id).into_iter().chain([id]).for_each(|m| whole[m.0] = true);
        }
    }
    Ok(())
}
