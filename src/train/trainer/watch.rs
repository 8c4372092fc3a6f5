//! Sums the results of training steps, which arrive a few steps late, and detects NaN and infinity.

use super::{StepReport, Trainer};
use crate::compiler::ops::scores::{metrics_words, result_words};
use crate::train::metrics::Tally;
use crate::{Error, Result};

/// The state of an epoch's results.
pub struct Watch {
    /// Sums over the steps so far.
    pub tally: Tally,
    /// The block whose weights are NaN or infinite, once detected.
    pub bad_weights: Option<usize>,
    /// Names of the blocks.
    blocks: Vec<String>,
    /// Steps before this epoch.
    before: u64,
    /// Steps of an epoch.
    steps: usize,
    /// Images per step.
    batch: usize,
    /// Steps of this epoch whose results have arrived.
    seen: usize,
    /// Whether a step has several micro-batches.
    summing: bool,
}

impl Watch {
    /// For the remaining steps of the trainer's epoch.
    pub fn new(trainer: &Trainer) -> Self {
        let steps = trainer.steps_per_epoch();
        Self {
            tally: trainer.tally.clone(),
            bad_weights: None,
            blocks: trainer.built.blocks.clone(),
            before: u64::from(trainer.epoch) * steps as u64,
            steps,
            batch: trainer.options.batch,
            seen: trainer.step,
            summing: trainer.built.update.is_some(),
        }
    }

    /// Adds the results of a batch of images.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn look(
        &mut self,
        results: &[f32],
        images: usize,
        report: &mut impl FnMut(&StepReport),
    ) -> Result<()> {
        self.check(results)?;
        self.tally.add(results, images);
        if self.tally.images() < ((self.seen + 1) * self.batch) as u64 {
            return Ok(()); // More micro-batches of this step follow.
        }
        self.seen += 1;
        report(&StepReport { step: self.seen, steps: self.steps, scores: self.tally.scores() });
        Ok(())
    }

    fn check(&mut self, results: &[f32]) -> Result<()> {
        let step = self.before + self.seen as u64 + 1;
        let blocks = self.blocks.len();
        let losses = &results[..blocks];
        let weights = &results[metrics_words(blocks)..result_words(blocks)];
        self.bad_weights = weights.iter().position(|bad| *bad != 0.0);
        // With accumulation, the check ran before the update: the bad update was the previous step's.
        if self.summing && self.bad_weights.is_some() {
            return self.not_finite(String::new(), f32::NAN, (step - 1).max(1));
        }
        if let Some(block) = losses.iter().position(|loss| !loss.is_finite()) {
            self.bad_weights = None;
            let what = format!("the loss of {}", self.blocks[block]);
            return self.not_finite(what, losses[block], step);
        }
        if self.bad_weights.is_some() {
            return self.not_finite(String::new(), f32::NAN, step);
        }
        Ok(())
    }

    fn not_finite(&self, what: String, value: f32, step: u64) -> Result<()> {
        let epoch = ((step - 1) / self.steps as u64) as u32 + 1;
        Err(Error::NotFinite { what, value, step, epoch })
    }
}
