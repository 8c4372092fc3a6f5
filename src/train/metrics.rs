//! Losses, accuracies, and the votes of the blocks.

use crate::base::choice::choice;
use crate::compiler::ops::scores::{late_half, metrics_words};

/// Sums of the results of [`crate::compiler::ops::Op::Metrics`] over steps, in f64 and in order, so
/// that they are reproducible.
#[derive(Clone, PartialEq, Debug)]
pub struct Tally {
    /// The loss of each block, the correct answers of each block, then those of the votes all, late
    /// and last.
    sums: Vec<f64>,
    images: u64,
    blocks: usize,
}

/// Means over images.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Scores {
    /// Accuracy of each vote, as a fraction.
    pub accuracy: Votes,
    /// Accuracy of each block on its own.
    pub blocks: Vec<f64>,
    /// Mean loss of the blocks.
    pub loss: f64,
    /// Loss of each block.
    pub losses: Vec<f64>,
    /// Number of images.
    pub images: u64,
}

/// One value for each kind of vote.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Votes {
    /// By the mean score of all blocks.
    pub all: f64,
    /// By the mean score of the later half of the blocks.
    pub late: f64,
    /// By the score of the last block.
    pub last: f64,
}

/// The results of an epoch: a line of `metrics.jsonl`.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: u32,
    /// Steps since the start of the run.
    pub steps: u64,
    /// Means over the epoch's training steps.
    pub train: Scores,
    /// Scores on the test images after it, if it was evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Scores>,
}

/// The timing of an epoch: a line of `timing.jsonl`.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Timing {
    /// From 1.
    pub epoch: u32,
    /// Wall-clock seconds of training in this epoch by this process.
    pub train_seconds: f64,
    /// Training images per second.
    pub images_per_second: f64,
    /// Seconds of these spent waiting for images.
    pub data_wait_seconds: f64,
    /// Wall-clock seconds of evaluation.
    pub test_seconds: f64,
    /// Device memory of the run, bytes.
    pub allocated_bytes: u64,
}

impl Tally {
    /// Empty.
    pub fn new(blocks: usize) -> Self {
        Self { sums: vec![0.0; metrics_words(blocks)], images: 0, blocks }
    }

    /// Adds one step's result.
    pub fn add(&mut self, step: &[f32], images: usize) {
        self.sums.iter_mut().zip(step).for_each(|(sum, v)| *sum += f64::from(*v));
        self.images += images as u64;
    }

    /// The means so far.
    pub fn scores(&self) -> Scores {
        let mean = |i: usize| self.sums[i] / self.images.max(1) as f64;
        let b = self.blocks;
        let losses: Vec<f64> = (0..b).map(mean).collect();
        Scores {
            accuracy: Votes { all: mean(2 * b), late: mean(2 * b + 1), last: mean(2 * b + 2) },
            blocks: (b..2 * b).map(mean).collect(),
            loss: losses.iter().sum::<f64>() / b.max(1) as f64,
            losses,
            images: self.images,
        }
    }

    /// Images counted.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// The exact state as words, for a file.
    pub fn to_bits(&self) -> Vec<u64> {
        self.sums.iter().map(|v| v.to_bits()).chain([self.images]).collect()
    }

    /// The inverse of [`Tally::to_bits`]; `None` if the number of blocks differs or a sum is not
    /// finite.
    pub fn from_bits(blocks: usize, bits: &[u64]) -> Option<Self> {
        let (images, sums) = bits.split_last()?;
        let sums: Vec<f64> = sums.iter().map(|v| f64::from_bits(*v)).collect();
        let usable = sums.len() == metrics_words(blocks) && sums.iter().all(|v| v.is_finite());
        usable.then_some(Self { sums, images: *images, blocks })
    }
}

impl Scores {
    /// The first block whose loss is NaN or infinite, and that loss.
    pub fn not_finite(&self) -> Option<(usize, f64)> {
        self.losses.iter().copied().enumerate().find(|(_, loss)| !loss.is_finite())
    }
}

/// The mean score of the blocks of a vote.
pub fn vote(scores: &[Vec<f32>], which: Vote) -> Vec<f32> {
    let first = match which {
        Vote::All => 0,
        Vote::Late => late_half(scores.len()),
        Vote::Last => scores.len() - 1,
    };
    let voters = &scores[first..];
    let mean = |k: usize| voters.iter().map(|s| f64::from(s[k])).sum::<f64>() / voters.len() as f64;
    (0..scores[0].len()).map(|k| mean(k) as f32).collect()
}

choice! {
    /// Which blocks decide, by the mean of their scores.
    pub enum Vote: default All {
        /// All of them.
        All = "all",
        /// The later half.
        Late = "late",
        /// The last one.
        Last = "last",
    }
}

impl Vote {
    /// Its accuracy.
    pub fn of(self, votes: &Votes) -> f64 {
        match self {
            Self::All => votes.all,
            Self::Late => votes.late,
            Self::Last => votes.last,
        }
    }
}
