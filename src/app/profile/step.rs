//! Runs a training step to time it: as a whole, or dispatch by dispatch.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::Event;
use crate::compiler::program::{Built, Routine};
use crate::compiler::work::Work;
use crate::gpu::session::{Clock, Session};
use crate::train::feeder::accumulate;
use crate::{Error, Result};

/// A training step on a session.
pub(super) struct Step<'a> {
    pub session: &'a mut Session,
    pub built: &'a Built,
    pub routine: &'a Routine,
    /// Images per step.
    pub batch: usize,
    /// The range of ops of each submit: micro-batches, then the update if it is separate.
    pub runs: Vec<Range<usize>>,
}

impl<'a> Step<'a> {
    /// A step of `batch` images.
    ///
    /// # Errors
    /// [`Error::Model`] if the program does not train.
    pub fn new(session: &'a mut Session, built: &'a Built, batch: usize) -> Result<Self> {
        let missing = || Error::Model("the program has no routine to train".into());
        let routine = built.train.as_ref().ok_or_else(missing)?;
        let mut runs = vec![routine.ops.clone(); batch / routine.batch];
        runs.extend(built.update.clone());
        Ok(Self { session, built, routine, batch, runs })
    }

    /// Runs the step as training does, and waits for its results.
    pub fn plain(&mut self) -> Result<()> {
        for run in 0..self.runs.len() {
            accumulate(self.session, self.routine, run);
            self.session.run(self.runs[run].clone(), Some(self.routine.metrics))?;
        }
        while self.session.fetched(0)?.is_some() {}
        Ok(())
    }

    /// The span of each dispatch, in seconds since the step began.
    pub fn timed(&mut self, clock: Clock) -> Result<Vec<Range<f64>>> {
        let mut spans: Vec<Range<f64>> = Vec::new();
        for run in 0..self.runs.len() {
            accumulate(self.session, self.routine, run);
            let before = spans.last().map_or(0.0, |span| span.end);
            let run = self.session.run_timed(self.runs[run].clone(), clock)?;
            spans.extend(run.into_iter().map(|s| s.start + before..s.end + before));
        }
        Ok(spans)
    }
}

/// Times of the host in one step.
pub(super) struct HostTimes {
    pub encode: Duration,
    pub submit: Duration,
    wait: Duration,
    pub whole: Duration,
}

impl HostTimes {
    /// Runs the step, waits for its results, and takes the times.
    pub fn of(step: &mut Step) -> Result<Self> {
        let before = step.session.activity();
        let start = Instant::now();
        step.plain()?;
        let whole = start.elapsed();
        let after = step.session.activity();
        Ok(Self {
            encode: after.encoding - before.encoding,
            submit: after.submitting - before.submitting,
            wait: after.waiting - before.waiting,
            whole,
        })
    }

    /// The times as events, one after another from the start of the step.
    pub fn events(&self) -> Vec<Event> {
        let event =
            |name: &str, span| Event { name: name.to_owned(), span, op: 0, work: Work::default() };
        let mut events = vec![event("step", 0.0..self.whole.as_secs_f64())];
        let mut at = 0.0;
        for (name, time) in [("encode", self.encode), ("submit", self.submit), ("wait", self.wait)]
        {
            let end = at + time.as_secs_f64();
            events.push(event(name, at..end));
            at = end;
        }
        events
    }
}
