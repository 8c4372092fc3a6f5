//! Details of an evaluation besides its scores: the confusion matrix, histograms of goodness, and the
//! worst mistakes.

use std::cmp::Ordering;

/// Number of mistakes that are kept.
const MISTAKES: usize = 16;

/// Collected image by image, in order.
#[derive(Clone, PartialEq, Debug)]
pub struct Detail {
    /// Number of classes.
    pub classes: usize,
    /// The confusion matrix of the vote of all blocks: images of class `t` classified as `p`, at `t *
    /// classes + p`.
    pub confusion: Vec<u64>,
    /// Scores of each block.
    pub blocks: Vec<Spread>,
    /// The mistakes with the largest margin, the worst first.
    pub worst: Vec<Mistake>,
}

/// Distributions of the scores of a block.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Spread {
    /// Scores of the true class.
    pub own: Histogram,
    /// Scores of all other classes.
    pub others: Histogram,
}

/// An image that the vote of all blocks misclassifies.
#[derive(Clone, PartialEq, Debug)]
pub struct Mistake {
    /// Its index in the test images.
    pub image: usize,
    /// The true class and its score.
    pub own: (usize, f64),
    /// The predicted class and its score.
    pub guess: (usize, f64),
}

impl Mistake {
    /// The score of the predicted class minus that of the true class.
    pub fn margin(&self) -> f64 {
        self.guess.1 - self.own.1
    }
}

impl Detail {
    /// Empty.
    pub fn new(blocks: usize, classes: usize) -> Self {
        let spread = vec![Spread::default(); blocks];
        Self { classes, confusion: vec![0; classes * classes], blocks: spread, worst: Vec::new() }
    }

    /// Adds an image: its index, its class, and the scores of each block for each class.
    pub fn add(&mut self, image: usize, label: usize, scores: &[&[f32]]) {
        for (spread, scores) in self.blocks.iter_mut().zip(scores) {
            for (class, score) in scores.iter().enumerate() {
                let of = if class == label { &mut spread.own } else { &mut spread.others };
                of.add(*score);
            }
        }
        let mean = |k: usize| {
            scores.iter().map(|s| f64::from(s[k])).sum::<f64>() / scores.len().max(1) as f64
        };
        let means: Vec<f64> = (0..self.classes).map(mean).collect();
        // The first of equal scores, as the metrics kernel counts votes.
        let largest = |best: usize, k: usize| if means[k] > means[best] { k } else { best };
        let guess = (1..self.classes).fold(0, largest);
        self.confusion[label * self.classes + guess] += 1;
        if guess != label {
            let (own, guess) = ((label, means[label]), (guess, means[guess]));
            self.keep(Mistake { image, own, guess });
        }
    }

    fn keep(&mut self, mistake: Mistake) {
        let smaller = |kept: &Mistake| kept.margin().total_cmp(&mistake.margin()) != Ordering::Less;
        let place = self.worst.partition_point(smaller);
        if place < MISTAKES {
            self.worst.insert(place, mistake);
            self.worst.truncate(MISTAKES);
        }
    }

    /// Number of test images of a class, and of those classified correctly.
    pub fn recognised(&self, class: usize) -> (u64, u64) {
        let row = &self.confusion[class * self.classes..][..self.classes];
        (row.iter().sum(), row[class])
    }
}

/// Bins on either side of 0.
const HALF: usize = 512;

/// A histogram of bounded size. The bin width doubles when a value lies outside; counts stay exact.
#[derive(Clone, PartialEq, Debug)]
pub struct Histogram {
    /// Width of a bin; a power of two.
    width: f64,
    /// Bin `i` starts at `(i - HALF) * width`.
    counts: Vec<u64>,
    sum: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { width: 1.0 / 1024.0, counts: vec![0; 2 * HALF], sum: 0.0 }
    }
}

impl Histogram {
    /// Counts a value. NaN and infinity are ignored.
    pub fn add(&mut self, value: f32) {
        if !value.is_finite() {
            return;
        }
        let value = f64::from(value);
        let bin = loop {
            let bin = (value / self.width).floor() + HALF as f64;
            if (0.0..2.0 * HALF as f64).contains(&bin) {
                break bin as usize;
            }
            self.widen();
        };
        self.counts[bin] += 1;
        self.sum += value;
    }

    /// Doubles the bin width.
    fn widen(&mut self) {
        let mut counts = vec![0; 2 * HALF];
        for (bin, count) in self.counts.iter().enumerate() {
            counts[bin / 2 + HALF / 2] += count;
        }
        (self.width, self.counts) = (2.0 * self.width, counts);
    }

    /// Values counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their mean; `None` if there are none.
    pub fn mean(&self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| self.sum / total as f64)
    }

    /// The bin edges of the range without the fraction `tail` of the values on either side.
    pub fn range(&self, tail: f64) -> Option<(f64, f64)> {
        let total = self.total();
        let spare = (tail * total as f64) as u64;
        let mut below = 0;
        let edge = |count: &u64| {
            below += count;
            below > spare
        };
        let first = self.counts.iter().position(edge)?;
        let mut above = 0;
        let edge = |count: &u64| {
            above += count;
            above > spare
        };
        let last = self.counts.iter().rposition(edge)?;
        let at = |bin: usize| (bin as f64 - HALF as f64) * self.width;
        Some((at(first), at(last + 1)))
    }

    /// The fraction of the values in each of `bins` equal parts of a range. Values outside count in
    /// the first or last part.
    pub fn shares(&self, (low, high): (f64, f64), bins: usize) -> Vec<f64> {
        let mut shares = vec![0.0; bins];
        let total = self.total().max(1) as f64;
        for (bin, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            // A bin is distributed evenly over the parts that it overlaps.
            let left = (bin as f64 - HALF as f64) * self.width;
            let scale = bins as f64 / (high - low);
            let (from, to) = ((left - low) * scale, (left + self.width - low) * scale);
            let part = |at: f64| (at.floor().max(0.0) as usize).min(bins - 1);
            let last = part(to.ceil() - 1.0);
            for (at, share) in shares.iter_mut().enumerate().take(last + 1).skip(part(from)) {
                let start = if at == 0 { f64::NEG_INFINITY } else { at as f64 };
                let end = if at == bins - 1 { f64::INFINITY } else { at as f64 + 1.0 };
                *share += *count as f64 * (to.min(end) - from.max(start)) / (to - from) / total;
            }
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_and_confusion_follow_the_mean_score() {
        let mut detail = Detail::new(2, 3);
        detail.add(0, 1, &[&[0.0, 2.0, 0.0], &[0.0, 0.0, 1.0]]);
        detail.add(1, 0, &[&[1.0, 1.0, 0.0], &[1.0, 1.0, 0.0]]);
        for image in 2..40 {
            let wrong = image as f32;
            detail.add(image, 2, &[&[0.0, wrong, 1.0], &[0.0, wrong, 1.0]]);
        }
        assert_eq!(detail.confusion, [1, 0, 0, 0, 1, 0, 0, 38, 0]);
        assert_eq!((detail.recognised(0), detail.recognised(2)), ((1, 1), (38, 0)));
        let images: Vec<_> = detail.worst.iter().map(|mistake| mistake.image).collect();
        assert_eq!(images, (24..40).rev().collect::<Vec<_>>());
        let worst = &detail.worst[0];
        assert_eq!((worst.own, worst.guess, worst.margin()), ((2, 1.0), (1, 39.0), 38.0));
        let first = &detail.blocks[0];
        assert_eq!((first.own.total(), first.others.total()), (40, 80));
    }

    #[test]
    fn histograms_widen_and_count_exactly() {
        let mut h = Histogram::default();
        for value in [0.25, 0.25, -0.75, f32::NAN, f32::INFINITY] {
            h.add(value);
        }
        assert_eq!((h.total(), h.mean()), (3, Some(-0.25 / 3.0)));
        assert_eq!(h.shares((-1.0, 1.0), 4), [1.0 / 3.0, 0.0, 2.0 / 3.0, 0.0]);
        h.add(5000.0);
        h.add(-5000.0);
        let shares = h.shares((-8192.0, 8192.0), 2);
        assert!(h.total() == 5 && (shares[1] - 0.6).abs() < 1e-9, "{shares:?}");
        // Values outside the range count at its ends.
        let shares = h.shares((-16.0, 16.0), 2);
        assert!((shares[0] - 0.4).abs() < 1e-9 && (shares[1] - 0.6).abs() < 1e-9, "{shares:?}");
        let (low, high) = h.range(0.0).unwrap();
        assert!(low <= -5000.0 && high > 5000.0 && h.range(0.25).unwrap().1 < 100.0);
        assert_eq!(Histogram::default().range(0.0), None);
    }
}
