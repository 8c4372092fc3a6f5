//! Compares ops with the reference: each runs alone on the device and in the f64
//! [`reference`](mod@crate::compiler::reference), and the first one that deviates is reported.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use crate::base::shape::Layout;
use crate::compiler::flops::Flops;
use crate::compiler::ops::{BatchNormGrad, LayerNorm, MaxPool, Node, Op};
use crate::compiler::program::Program;
use crate::compiler::reference::Reference;
use crate::compiler::tensor::{Tensor, TensorId};
use crate::gpu::session::Session;
use crate::{Error, Result};

/// Largest difference allowed, relative to the tensor's largest magnitude.
pub const TOLERANCE: f64 = 1e-4;

/// Added to it for float16: the relative spacing of its values. A device may round to either
/// neighbour.
pub const HALF: f64 = 1.0 / 1024.0;

/// Largest number of FLOPs of a step that is also computed in the reference: some seconds on a CPU.
const MAX_REFERENCE_FLOPS: u64 = 2_000_000_000;

/// An op whose result differs from the reference.
#[derive(Clone, Debug)]
pub struct Deviation {
    /// Position in the program.
    pub op: usize,
    /// The tensor.
    pub tensor: TensorId,
    /// A message with all details.
    pub problem: String,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

/// The reference's side of a session.
#[derive(Clone, Debug)]
pub struct Numerics {
    /// The reference's values of each tensor. Words are converted: those of a step and its results
    /// from float32, all others from integers.
    pub values: BTreeMap<TensorId, Vec<f64>>,
    /// Whether the reference continues from the device's values, so that each op is compared alone.
    /// In a deep network, small differences move values across the kink of a ReLU.
    pub follow: bool,
    /// Largest difference allowed, [`TOLERANCE`] by default.
    pub tolerance: f64,
    /// Whether to compute the reference. Otherwise values are only checked for NaN and infinity.
    pub compare: bool,
    program: Rc<Program>,
}

impl Numerics {
    /// For a program, without values.
    pub fn new(program: &Program) -> Self {
        let program = Rc::new(program.clone());
        Self {
            values: BTreeMap::new(),
            follow: false,
            tolerance: TOLERANCE,
            compare: true,
            program,
        }
    }

    /// For training with the ops in `step`; they are compared unless that takes too long.
    pub fn of_training(program: &Program, step: Range<usize>) -> Self {
        let compare = Flops::count(program, step).total <= MAX_REFERENCE_FLOPS;
        Self { follow: true, compare, ..Self::new(program) }
    }

    /// Runs some ops, starting from the device's values.
    ///
    /// # Errors
    /// [`Error::Gpu`] and the like.
    pub fn run(&mut self, session: &mut Session, ops: Range<usize>) -> Result<Option<Deviation>> {
        self.values.clear();
        for index in ops {
            if let Some(deviation) = self.op(session, index)? {
                return Ok(Some(deviation));
            }
        }
        Ok(None)
    }

    /// Runs op `index` on both sides. Values that the reference lacks are read from the device.
    ///
    /// # Errors
    /// [`Error::Gpu`] and the like.
    pub fn op(&mut self, session: &mut Session, index: usize) -> Result<Option<Deviation>> {
        let program = Rc::clone(&self.program);
        let op = &program.ops()[index];
        let access = op.access();
        let members = |ids: &[TensorId]| -> Vec<TensorId> {
            ids.iter().flat_map(|id| program.members(*id)).collect()
        };
        let (read, written) = (members(&access.reads), members(&access.writes));
        if !self.compare {
            session.run(index..index + 1, None)?;
            for id in written {
                let t = program.tensor(id);
                let got = if is_integer(&program, id) { Vec::new() } else { session.read(id)? };
                if let Some(at) = got.iter().position(|v| !v.is_finite()) {
                    let problem = format!("{} in value {at}", got[at]);
                    return Ok(Some(deviation(&program, index, t, id, &problem)));
                }
            }
            return Ok(None);
        }
        for id in &read {
            if !self.values.contains_key(id) {
                let values = pull(session, &program, *id)?;
                self.values.insert(*id, values);
            }
        }
        let mut reference = Reference::new(program.tensors());
        for id in read.iter().chain(&written) {
            if let Some(values) = self.values.get(id) {
                reference.set(*id, values.clone());
            }
        }
        op.reference(&mut reference);
        session.run(index..index + 1, None)?;
        for id in written {
            let expected = reference.get(id).to_vec();
            let t = program.tensor(id);
            let bad = |problem: String| Ok(Some(deviation(&program, index, t, id, &problem)));
            if is_integer(&program, id) {
                let got = integers(op, &program, session, id)?;
                if let Some(at) = (0..got.len()).find(|at| got[*at] != expected[*at]) {
                    return bad(format!("{} in value {at}, not {}", got[at], expected[at]));
                }
            } else {
                let got = session.read(id)?;
                let half = |id: &TensorId| program.tensor(*id).layout == Layout::Half;
                let own = if half(&id) { HALF } else { 0.0 };
                let within = if op.scratch.iter().any(half) { HALF } else { 0.0 };
                let off = |at: usize| {
                    (f64::from(got[at]) - expected[at]).abs() - own * expected[at].abs()
                };
                let scale = scale(op, &reference, id);
                let worst = (0..got.len()).fold(0, |worst, at| {
                    let larger = off(at) > off(worst) || !got[at].is_finite();
                    if larger && got[worst].is_finite() { at } else { worst }
                });
                // NaN fails this comparison.
                let agrees = got.is_empty() || off(worst) <= (self.tolerance + within) * scale;
                if !agrees || got.iter().any(|v| !v.is_finite()) {
                    let (is, off) = (got[worst], off(worst) / scale);
                    let should = expected[worst];
                    return bad(format!(
                        "{is:e} in value {worst}, not {should:e}: off by {off:.1e} of the largest"
                    ));
                }
                if let Some(problem) = padding(session, t, id)? {
                    return bad(problem);
                }
                if self.follow {
                    let mut got: Vec<_> = got.into_iter().map(f64::from).collect();
                    match &op.op {
                        Op::LayerNorm(LayerNorm { x, y, .. }) if id == *y => {
                            mark_zeros(&mut got, &expected, reference.get(*x), t.shape.n);
                        }
                        // Its statistics determine the normalised zero.
                        Op::LayerNorm(_) => got = expected,
                        _ => {}
                    }
                    self.values.insert(id, got);
                    continue;
                }
            }
            self.values.insert(id, expected);
        }
        Ok(None)
    }
}

/// Layer norm maps 0 to one value per image, which marks, exactly, where the preceding ReLU was 0.
/// Replaces the device's mark by the reference's, image by image.
fn mark_zeros(got: &mut [f64], expected: &[f64], x: &[f64], images: usize) {
    let size = x.len() / images;
    let each =
        got.chunks_exact_mut(size).zip(expected.chunks_exact(size)).zip(x.chunks_exact(size));
    for ((got, expected), x) in each {
        let Some(zero) = x.iter().position(|x| *x == 0.0) else { continue };
        let (own, mark) = (got[zero], expected[zero]);
        got.iter_mut().filter(|v| **v == own).for_each(|v| *v = mark);
    }
}

fn deviation(
    program: &Program,
    index: usize,
    t: &Tensor,
    id: TensorId,
    problem: &str,
) -> Deviation {
    let op = &program.ops()[index];
    let named = |id: &TensorId| {
        let t = program.tensor(*id);
        format!("{} {}", t.name, t.shape)
    };
    let reads = op.access().reads.iter().map(named).collect::<Vec<_>>().join(", ");
    let block = t.block.map_or(String::new(), |block| format!(" of block {}", block + 1));
    let problem = format!(
        "{} (op {index}) writes {} {}{block} from {reads}: {problem}",
        op.name(),
        t.name,
        t.shape
    );
    Deviation { op: index, tensor: id, problem }
}

/// Whether a tensor holds words that are not float32.
fn is_integer(program: &Program, id: TensorId) -> bool {
    let floats = program.ops().iter().any(|op| op.float_words().contains(&id));
    program.tensor(id).layout == Layout::Words && !floats
}

/// Reads a tensor's values from the device.
fn pull(session: &mut Session, program: &Program, id: TensorId) -> Result<Vec<f64>> {
    if is_integer(program, id) {
        return Ok(session.read_words(id)?.into_iter().map(f64::from).collect());
    }
    Ok(session.read(id)?.into_iter().map(f64::from).collect())
}

/// The words that `op` wrote, with padding masked out.
fn integers(op: &Node, program: &Program, session: &mut Session, id: TensorId) -> Result<Vec<f64>> {
    let shape = program.tensor(id).shape;
    let live = |i: usize, word: u32| match &op.op {
        // Mask the bytes of padding channels.
        Op::MaxPool(MaxPool { y, .. }) => {
            let channels = program.tensor(*y).shape.c - i % shape.c * 4;
            if channels < 4 { word & ((1 << (8 * channels)) - 1) } else { word }
        }
        _ => word,
    };
    let words = session.read_words(id)?.into_iter().enumerate();
    Ok(words.map(|(i, word)| f64::from(live(i, word))).collect())
}

/// The magnitude that differences are relative to; never 0.
fn scale(op: &Node, reference: &Reference, id: TensorId) -> f64 {
    let largest = |id| reference.get(id).iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    match &op.op {
        // A batch norm after it makes beta's gradient 0 up to rounding.
        Op::BatchNormGrad(BatchNormGrad { dgamma, dbeta, .. }) if id == *dbeta => {
            largest(*dgamma).max(largest(id))
        }
        _ => largest(id),
    }
}

/// Checks that padding lanes are zero.
fn padding(session: &mut Session, t: &Tensor, id: TensorId) -> Result<Option<String>> {
    if t.layout == Layout::Words {
        return Ok(None);
    }
    let stored = session.read_bytes(id)?;
    let padded = t.layout.pack(t.shape, &t.layout.unpack(t.shape, &stored));
    let all = |bytes: &[u8]| t.layout.unpack(t.layout.stored(t.shape), bytes);
    let clean = all(&padded) == all(&stored);
    Ok((!clean).then(|| "its padding is not zero".into()))
}

impl Deviation {
    /// The error with its step and epoch, both counted from 1.
    pub fn at(self, step: u64, epoch: u32) -> Error {
        Error::Numerics { problem: self.problem, step, epoch }
    }
}
