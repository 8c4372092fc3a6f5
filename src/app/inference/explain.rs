//! Explanations of predictions: which parts of an image its goodness comes from.

use std::ops::Range;
use std::path::Path;

use super::{Inference, Prediction, decide, no_routine};
use crate::app::records::ModelInfo;
use crate::base::shape::Shape;
use crate::compiler::program::class_maps;
use crate::compiler::tensor::TensorId;
use crate::data::Images;
use crate::gpu::device::Gpu;
use crate::train::checkpoint::Arrays;
use crate::train::feeder::{Runner, StepValues};
use crate::train::metrics::Vote;
use crate::{Error, Result};

/// A model on a device that also shows its class maps, one image at a time.
pub struct Explainer<'a> {
    inference: Inference<'a>,
    maps: Vec<TensorId>,
    /// The ops that compute the class maps.
    ops: Range<usize>,
}

/// A prediction with its class maps.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// The prediction.
    pub prediction: Prediction,
    /// The class maps of each block.
    pub maps: Vec<ClassMaps>,
}

/// The squares of a block's class maps; their mean over pixels, times the head's scale, is the
/// goodness.
#[derive(Clone, PartialEq, Debug)]
pub struct ClassMaps {
    /// One image: rows, columns, classes.
    pub shape: Shape,
    /// In the order row, column, class.
    pub values: Vec<f32>,
}

impl ClassMaps {
    /// The value for a class at a place, from 0 to 1 in each direction, interpolated linearly between
    /// the centres of pixels.
    pub fn at(&self, class: usize, y: f64, x: f64) -> f64 {
        let Shape { h, w, c, .. } = self.shape;
        let side = |place: f64, size: usize| {
            let at = (place * size as f64 - 0.5).clamp(0.0, size as f64 - 1.0);
            (at as usize, (at as usize + 1).min(size - 1), at.fract())
        };
        let ((top, bottom, down), (left, right, across)) = (side(y, h), side(x, w));
        let value = |y: usize, x: usize| f64::from(self.values[(y * w + x) * c + class]);
        let row = |y: usize| value(y, left) * (1.0 - across) + value(y, right) * across;
        row(top) * (1.0 - down) + row(bottom) * down
    }

    /// The largest value for a class.
    pub fn largest(&self, class: usize) -> f32 {
        self.values.iter().skip(class).step_by(self.shape.c).fold(0.0, |a: f32, b| a.max(*b))
    }
}

impl<'a> Explainer<'a> {
    /// Prepares a model that is in memory.
    ///
    /// # Errors
    /// As [`Inference::of_model`], and [`Error::Usage`] if the model has no goodness heads.
    pub fn new(
        gpu: &Gpu,
        model: &Path,
        (arrays, info): (&Arrays, &ModelInfo),
        images: &'a Images,
    ) -> Result<Self> {
        let mut found = (Vec::new(), 0..0);
        let inference = Inference::with(gpu, model, (arrays, info), images, 1, |built| {
            let routine = built.eval.as_ref().ok_or_else(no_routine)?;
            found = class_maps(&mut built.program, routine.ops.clone());
            if found.0.len() == built.blocks.len() {
                return Ok(());
            }
            Err(Error::usage(format!(
                "{} was trained by backpropagation: it has no goodness of classes to explain; --explain needs a model of `--method sff`",
                model.display()
            )))
        })?;
        let (maps, ops) = found;
        Ok(Self { inference, maps, ops })
    }

    /// Names of the blocks.
    pub fn blocks(&self) -> &[String] {
        &self.inference.built.blocks
    }

    /// An explanation of each image; `info` is the model's.
    ///
    /// # Errors
    /// As [`Inference::predict`].
    pub fn explain(&mut self, info: &ModelInfo, which: Vote) -> Result<Vec<Explanation>> {
        let Inference { session, routine, feeder, .. } = &mut self.inference;
        let mut explanations = Vec::new();
        for sample in feeder.plain() {
            feeder.bring(session, &[sample], StepValues::default())?;
            let mut runner = Runner::new(routine);
            runner.run(session, 1, |_, _| Ok(()))?;
            runner.finish(session, |_, _| Ok(()))?;
            // Scores first: the maps may use the same bytes of the arena.
            let goodness: Vec<Vec<f32>> =
                routine.scores.iter().map(|id| session.read(*id)).collect::<Result<_>>()?;
            session.run(self.ops.clone(), None)?;
            let mut maps = Vec::new();
            for id in &self.maps {
                let values = session.read(*id)?.into_iter().map(|v| v * v).collect();
                maps.push(ClassMaps { shape: session.program().tensor(*id).shape, values });
            }
            let prediction = decide(goodness, which, &info.classes)?;
            explanations.push(Explanation { prediction, maps });
        }
        Ok(explanations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_between_the_centres_of_their_pixels() {
        let values = vec![0.0, 9.0, 4.0, 0.0, 8.0, 0.0, 12.0, 0.0];
        let maps = ClassMaps { shape: Shape::new(1, 2, 2, 2), values };
        for (y, x, expected) in [
            (0.0, 0.0, 0.0),
            (0.25, 0.75, 4.0),
            (0.5, 0.5, 6.0),
            (1.0, 1.0, 12.0),
            (0.75, 0.5, 10.0),
        ] {
            assert!((maps.at(0, y, x) - expected).abs() < 1e-12, "{y} {x}");
        }
        assert_eq!((maps.largest(0), maps.largest(1)), (12.0, 9.0));
    }
}
