//! One op by itself, computed in several ways.

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

/// Runs of a variant at most.
const RUNS: usize = 20;
/// A variant that takes so many times as long as the best is not timed again.
const HOPELESS: f64 = 1.5;
/// Values that are drawn for a tensor, about; larger tensors repeat them.
const DRAWN: usize = 1 << 18;

/// A variant that computed something else than the usual one.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Refusal {
    /// The op, see [`crate::compiler::variants::key`].
    pub op: String,
    /// The variant.
    pub variant: &'static str,
    /// The variant that it was compared with.
    pub usual: &'static str,
    /// How far off it was, relative to the largest value; infinite for what is not finite.
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

/// A session with an op once for each variant, on random values.
pub(super) struct Trial {
    session: Session,
    clock: Clock,
    tolerance: f64,
    /// What is compared, with what the first variant wrote once it ran.
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
            // Some drivers' timestamps are of no use.
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

    /// Runs a variant; how far its results are from those of the first, relative to their largest
    /// value, if that is too far.
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

    /// Seconds of a variant that ran before, the best of some runs. `best` is what others took.
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
