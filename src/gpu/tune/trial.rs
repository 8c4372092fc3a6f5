//! Runs the variants of one op.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::base::random::{Rng, Stream};
use crate::base::shape::Layout;
use crate::compiler::program::Program;
use crate::compiler::tensor::TensorId;
use crate::compiler::variants::Variant;
use crate::gpu::device::Gpu;
use crate::gpu::numerics::{HALF, TOLERANCE};
use crate::gpu::session::{Clock, Copied, Difference, Session, SessionOptions};
use crate::{Error, Result};

/// Most runs of a variant.
const RUNS: usize = 20;
/// A variant that is slower than the best by this factor is not timed again.
const HOPELESS: f64 = 1.5;
/// Approximate number of random values for a tensor; larger tensors repeat them.
const DRAWN: usize = 1 << 18;

/// A variant whose result differs from the default's.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Refusal {
    /// The op, see [`crate::compiler::variants::key`].
    pub op: String,
    /// The variant.
    pub variant: &'static str,
    /// The variant that it was compared with.
    pub usual: &'static str,
    /// The largest difference relative to the largest value; infinite for NaN and infinity.
    pub difference: f64,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, variant, usual, difference } = self;
        write!(
            f,
            "{op}: `{variant}` differs from `{usual}` by {difference:.1e} of the largest value"
        )
    }
}

/// A session with one copy of an op per variant, on random values.
pub(super) struct Trial {
    session: Session,
    clock: Clock,
    tolerance: f64,
    /// The tensors to compare, with the result of the first variant once it ran.
    results: Vec<(TensorId, Option<Copied>)>,
}

impl Trial {
    /// For op `index` of `program`.
    pub fn new(gpu: &Gpu, program: &Program, index: usize, variants: &[Variant]) -> Result<Self> {
        let op = &program.ops()[index];
        let access = op.access();
        let touched: Vec<TensorId> = [&access.reads[..], &access.writes, &access.scratch].concat();
        let alone = program.alone(index, variants.len());
        let tiles = |nth: usize| variants[nth].tiles;
        let session = Session::with_tiles(gpu, alone, SessionOptions::default(), tiles)?;
        let halves = touched.iter().any(|id| program.tensor(*id).layout == Layout::Half);
        let mut trial = Self {
            clock: session.clock(),
            session,
            tolerance: if halves { TOLERANCE + HALF } else { TOLERANCE },
            results: access.writes.iter().map(|id| (*id, None)).collect(),
        };
        access.reads.iter().enumerate().for_each(|(nth, id)| trial.fill(*id, nth as u64));
        match trial.run(0) {
            // Some drivers have inconsistent timestamps.
            Err(Error::Gpu(_)) if !gpu.is_lost() => trial.clock = Clock::Wall,
            run => drop(run?),
        }
        Ok(trial)
    }

    /// Gives a tensor random values.
    fn fill(&self, id: TensorId, seed: u64) {
        let t = self.session.program().tensor(id);
        let images = (DRAWN / t.shape.with_n(1).elements().max(1)).clamp(1, t.shape.n);
        let some = t.shape.with_n(images);
        let mut rng = Rng::new(seed, Stream::Init, 0, 0);
        let values: Vec<f32> = (0..some.elements()).map(|_| rng.normal() as f32).collect();
        let period = t.layout.pack(some, &values);
        let mut bytes = period.repeat(t.bytes().div_ceil(period.len()));
        bytes.truncate(t.bytes());
        self.session.write_bytes(id, &bytes);
    }

    /// Runs a variant and compares its results with those of the first: the largest relative
    /// difference if it exceeds the tolerance.
    pub fn check(&mut self, nth: usize) -> Result<Option<f64>> {
        self.results.iter().for_each(|(id, _)| self.session.clear(*id));
        self.session.run(nth..nth + 1, None)?;
        let mut worst = 0.0f64;
        for (id, first) in &mut self.results {
            let Some(first) = first else {
                *first = Some(self.session.copied(*id)?);
                continue;
            };
            let Difference { largest, magnitude, finite } = self.session.difference(*id, first)?;
            let relative = f64::from(largest) / f64::from(magnitude).max(1e-30);
            worst = worst.max(if finite { relative } else { f64::INFINITY });
        }
        Ok((worst > self.tolerance).then_some(worst))
    }

    /// Seconds of the fastest run of a variant, after [`Trial::check`]. `best` is the time of the
    /// fastest other variant.
    pub fn seconds(&mut self, nth: usize, effort: Duration, best: f64) -> Result<f64> {
        let start = Instant::now();
        let mut seconds = f64::INFINITY;
        for run in 0..RUNS {
            if run > 0 && (start.elapsed() > effort || seconds > HOPELESS * best) {
                break;
            }
            seconds = seconds.min(self.run(nth)?);
        }
        Ok(seconds)
    }

    fn run(&mut self, nth: usize) -> Result<f64> {
        let spans = self.session.run_timed(nth..nth + 1, self.clock)?;
        Ok(spans.iter().map(|span| span.end - span.start).sum())
    }
}
