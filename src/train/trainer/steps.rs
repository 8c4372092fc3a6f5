//! Training steps.

use std::ops::Range;

use super::schedule::learning_rate;
use super::watch::Watch;
use super::{Reached, StepReport, Trainer};
use crate::base::random::{Rng, Stream, hash};
use crate::net::augment::Sample;
use crate::net::options::ADAMW;
use crate::train::feeder::{Runner, StepValues, accumulate};
use crate::train::metrics::Tally;
use crate::{Error, Result};

/// A callback for the results of a batch and its number of images.
type Done<'a> = dyn FnMut(&[f32], usize) -> Result<()> + 'a;

impl Trainer<'_> {
    /// Trains up to `limit` steps, at most to the end of the epoch, and waits for their results.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the first block, tensor and step where a loss (and with it a
    /// goodness), a weight or its moment is NaN or infinite; [`Error::Numerics`].
    pub fn steps(&mut self, limit: usize, report: impl FnMut(&StepReport)) -> Result<Reached> {
        let mut watch = Watch::new(self);
        let last = self.steps_per_epoch().min(self.step.saturating_add(limit));
        match self.steps_before(last, &mut watch, report) {
            Ok(step) => (self.step, self.tally) = (step, watch.tally),
            Err(error) => return Err(self.explain(error, watch.bad_weights)),
        }
        if self.step < self.steps_per_epoch() {
            return Ok(Reached::Pause);
        }
        let scores = self.tally.scores();
        self.start_epoch(self.epoch + 1);
        Ok(Reached::EpochEnd(scores))
    }

    /// Runs the steps before step `last` of the epoch; returns the next step.
    fn steps_before(
        &mut self,
        last: usize,
        watch: &mut Watch,
        mut report: impl FnMut(&StepReport),
    ) -> Result<usize> {
        let mut runner = Runner::new(&self.routine);
        let mut done = |results: &[f32], images| watch.look(results, images, &mut report);
        let mut next = self.step;
        while next < last && !self.interrupt.requested() {
            self.training_step(next, &mut runner, &mut done)?;
            next += 1;
        }
        runner.finish(&mut self.session, &mut done)?;
        Ok(next)
    }

    /// One step on the device. Its program runs block by block: forward, goodness and loss, backward,
    /// update; a block's activations are freed before the next block. With micro-batches, the program
    /// accumulates gradients, and the update follows the last one.
    fn training_step(&mut self, step: usize, runner: &mut Runner, done: &mut Done) -> Result<()> {
        let samples = self.draw(step);
        let t = u64::from(self.epoch) * self.steps_per_epoch() as u64 + step as u64;
        let values = self.step_values(t);
        self.inject_fault(t);
        for (number, first) in (0..self.options.batch).step_by(self.routine.batch).enumerate() {
            let samples = &samples[first..][..self.train_feeder.reads()];
            self.train_feeder.bring(&self.session, samples, values)?;
            self.write_micro_batch(number, t);
            self.run_batch(t, runner, done)?;
        }
        match self.built.update.clone() {
            Some(update) if self.numerics.is_some() => self.run_compared(update, t),
            Some(update) => self.session.run(update, None),
            None => Ok(()),
        }
    }

    /// Forward, losses and gradients of the uploaded batch. With `--debug-numerics`, each op is
    /// compared with the reference.
    fn run_batch(&mut self, t: u64, runner: &mut Runner, done: &mut Done) -> Result<()> {
        let images = self.routine.batch;
        if self.numerics.is_none() {
            return runner.run(&mut self.session, images, done);
        }
        self.run_compared(self.routine.ops.clone(), t)?;
        done(&self.session.read(self.routine.metrics)?, images)
    }

    fn run_compared(&mut self, ops: Range<usize>, t: u64) -> Result<()> {
        let Some(numerics) = &mut self.numerics else { return Ok(()) };
        match numerics.run(&mut self.session, ops)? {
            Some(deviation) => Err(deviation.at(t + 1, self.epoch + 1)),
            None => Ok(()),
        }
    }

    /// The images of a step with their augmentations.
    fn draw(&self, step: usize) -> Vec<Sample> {
        let batch = &self.order[step * self.options.batch..][..self.options.batch];
        let sample = |index: &u32| {
            let (epoch, key) = (self.epoch.into(), u64::from(*index));
            let mut rng = Rng::new(self.options.seed, Stream::Augment, epoch, key);
            self.options.augment.draw(*index, self.train_feeder.sizes(), &mut rng)
        };
        // With mixing, the partner of the last image is the first.
        batch.iter().chain(&batch[..1]).map(sample).collect()
    }

    fn step_values(&self, t: u64) -> StepValues {
        let correction = |beta: f32| (1.0 - f64::from(beta).powf((t + 1) as f64)) as f32;
        StepValues {
            lr: learning_rate(&self.options, self.steps_per_epoch(), t),
            correction1: correction(ADAMW.beta1),
            correction2: correction(ADAMW.beta2),
        }
    }

    fn inject_fault(&mut self, t: u64) {
        if let Some(fault) = self.options.fault.filter(|fault| fault.step == t + 1) {
            self.session.inject(fault.kind);
        }
    }

    /// Writes what differs between the micro-batches of a step: whether gradients are accumulated, and
    /// the key of the dropout masks.
    fn write_micro_batch(&self, number: usize, t: u64) {
        accumulate(&self.session, &self.routine, number);
        if let Some(key) = self.routine.dropout_key {
            let bits = hash([self.options.seed, Stream::Dropout as u64, t, number as u64]);
            self.session.write_bytes(key, &bits.to_le_bytes());
        }
    }

    /// Adds the name of the tensor to an error about the weights of a block.
    fn explain(&mut self, error: Error, bad_weights: Option<usize>) -> Error {
        match (error, bad_weights) {
            (Error::NotFinite { step, epoch, .. }, Some(block)) => {
                match self.first_not_finite(block) {
                    Ok((what, value)) => Error::NotFinite { what, value, step, epoch },
                    Err(error) => error,
                }
            }
            (error, _) => error,
        }
    }

    /// The first tensor of a block's weights and moments that is not finite, and a value of it.
    fn first_not_finite(&mut self, block: usize) -> Result<(String, f32)> {
        let name = &self.built.blocks[block];
        for (parameter, p) in self.built.parameters.iter().filter(|(_, p)| p.block == block) {
            for (suffix, id) in [("", p.value), (".m", p.m), (".v", p.v)] {
                let values = self.session.read(id)?;
                if let Some(value) = values.into_iter().find(|v| !v.is_finite()) {
                    return Ok((format!("a value of {parameter}{suffix} ({name})"), value));
                }
            }
        }
        Ok((format!("a weight of {name}"), f32::NAN))
    }

    /// Starts an epoch at step 0 with an empty tally.
    pub(super) fn start_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.step = 0;
        self.tally = Tally::new(self.built.blocks.len());
        self.order = super::schedule::shuffled(&self.options, &self.dataset.train, epoch);
        self.expect();
    }
}
