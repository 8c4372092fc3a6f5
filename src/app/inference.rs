//! Using a trained model: evaluation, prediction, and explanations of predictions.

mod explain;

pub use explain::{ClassMaps, Explainer, Explanation};

use std::path::Path;

use serde::Serialize;

use crate::app::config::Config;
use crate::app::folder;
use crate::app::records::ModelInfo;
use crate::base::interrupt::Interrupt;
use crate::base::shape::Shape;
use crate::compiler::budget::max_resident_bytes;
use crate::compiler::program::{self, Built, Feed, Routine, Setup};
use crate::data::Images;
use crate::gpu::device::Gpu;
use crate::gpu::session::{Session, SessionOptions};
use crate::net::options::TrainOptions;
use crate::train::checkpoint::{self, Arrays};
use crate::train::feeder::{self, Feeder, Runner, StepValues};
use crate::train::metrics::{Scores, Vote, vote};
use crate::{Error, Result};

/// A model on a device, ready for a set of images.
pub struct Inference<'a> {
    session: Session,
    built: Built,
    routine: Routine,
    feeder: Feeder<'a>,
    /// Names of the classes.
    classes: Vec<String>,
}

/// Largest number of classes that a prediction lists with probabilities.
pub const TOP: usize = 5;

/// A class and its probability.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Guess {
    /// Index of the class.
    pub class: usize,
    /// Its name.
    pub label: String,
    /// Its softmax over the scores of the vote.
    pub probability: f64,
}

/// The prediction for one image.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Prediction {
    /// Index of the class.
    pub class: usize,
    /// Its name.
    pub label: String,
    /// Its softmax over the scores of the vote.
    pub probability: f64,
    /// The most likely classes, at most [`TOP`].
    pub top: Vec<Guess>,
    /// Goodness of each class, for each block; the logits for a network trained by
    /// backpropagation.
    pub goodness: Vec<Vec<f32>>,
    /// The scores of the vote.
    pub logits: Vec<f32>,
}

impl<'a> Inference<'a> {
    /// Reads a model and prepares it for `images`, `batch` at a time. Images larger than the model's are
    /// cropped to the middle.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file is no model or of another architecture than it says,
    /// [`Error::Usage`] if the images have another number of channels than the model's.
    pub fn new(gpu: &Gpu, model: &Path, images: &'a Images, batch: usize) -> Result<Self> {
        let (arrays, info) = folder::read_model(model)?;
        Self::of_model(gpu, model, (&arrays, &info), images, batch)
    }

    /// The same for a model that is in memory. Its image size may differ from that of training, because
    /// convolutions take any size.
    ///
    /// # Errors
    /// As [`Inference::new`].
    pub fn of_model(
        gpu: &Gpu,
        model: &Path,
        (arrays, info): (&Arrays, &ModelInfo),
        images: &'a Images,
        batch: usize,
    ) -> Result<Self> {
        Self::with(gpu, model, (arrays, info), images, batch, |_| Ok(()))
    }

    /// The same, after `change` has added to the program.
    fn with(
        gpu: &Gpu,
        model: &Path,
        (arrays, info): (&Arrays, &ModelInfo),
        images: &'a Images,
        batch: usize,
        change: impl FnOnce(&mut Built) -> Result<()>,
    ) -> Result<Self> {
        let [_, _, c] = info.image;
        if images.channels != c {
            return Err(Error::usage(format!(
                "{} takes images of {c} channels, but these have {}",
                model.display(),
                images.channels
            )));
        }
        if images.is_empty() {
            return Err(Error::usage("there are no images"));
        }
        let config = Config::resolve(info.config.clone())?;
        let room = max_resident_bytes(gpu.limits(), config.memory.map(|size| size.0));
        let batch = batch.clamp(1, images.len());
        let feed = Feed::new(feeder::stored_shape(images), batch, 0, room);
        let mut built = program(info, feed)?;
        change(&mut built)?;
        let routine = built.eval.clone().ok_or_else(no_routine)?;
        let mut session = Session::new(gpu, built.program.clone(), SessionOptions::default())?;
        checkpoint::write_device(&mut session, &built, false, arrays, model)?;
        let feeder = Feeder::new(&session, &routine, images)?;
        Ok(Self { session, built, routine, feeder, classes: info.classes.clone() })
    }

    /// Accuracy and loss over all images.
    ///
    /// # Errors
    /// [`Error::Gpu`], or [`Error::Model`] if a loss is NaN or infinite.
    pub fn evaluate(&mut self) -> Result<Scores> {
        let Self { session, built, routine, feeder, .. } = self;
        let never = Interrupt::default();
        let scores = feeder::evaluate(session, built, routine, feeder, &never, None)?;
        match scores.not_finite() {
            Some((block, loss)) => Err(Error::Model(format!(
                "the loss of {} is {loss}: these weights are not usable",
                built.blocks[block]
            ))),
            None => Ok(scores),
        }
    }

    /// A prediction for each image.
    ///
    /// # Errors
    /// [`Error::Gpu`], or [`Error::Model`] if a score is NaN or infinite.
    pub fn predict(&mut self, which: Vote) -> Result<Vec<Prediction>> {
        let (mut predictions, classes) = (Vec::new(), self.classes.len());
        for samples in self.feeder.plain().chunks(self.routine.batch) {
            self.feeder.bring(&self.session, samples, StepValues::default())?;
            let mut runner = Runner::new(&self.routine);
            runner.run(&mut self.session, samples.len(), |_, _| Ok(()))?;
            runner.finish(&mut self.session, |_, _| Ok(()))?;
            let scores = self.routine.scores.clone();
            let blocks: Vec<Vec<f32>> =
                scores.into_iter().map(|id| self.session.read(id)).collect::<Result<_>>()?;
            for image in 0..samples.len() {
                let rows = image * classes..(image + 1) * classes;
                let goodness = blocks.iter().map(|b| b[rows.clone()].to_vec()).collect();
                predictions.push(decide(goodness, which, &self.classes)?);
            }
        }
        Ok(predictions)
    }
}

/// The program that evaluates a model on images that `feed` describes.
///
/// # Errors
/// Those of [`program::build`], and [`Error::Usage`] or [`Error::Model`] for a configuration or
/// normalisation that is not valid.
pub fn program(info: &ModelInfo, feed: Feed) -> Result<Built> {
    let [h, w, c] = info.image;
    let config = Config::resolve(info.config.clone())?;
    let options = TrainOptions { precision: config.precision, ..TrainOptions::default() };
    let setup = Setup {
        normalize: feeder::normalize(&info.normalization, c)?,
        eval: Some(feed),
        ..Setup::new(Shape::new(1, h, w, c), &options)
    };
    program::build(&config.network(info.classes.len(), h), &setup)
}

fn no_routine() -> Error {
    Error::Model("the program has no routine to evaluate".into())
}

fn decide(goodness: Vec<Vec<f32>>, which: Vote, classes: &[String]) -> Result<Prediction> {
    let logits = vote(&goodness, which);
    if let Some(value) = logits.iter().find(|v| !v.is_finite()) {
        return Err(Error::Model(format!("a score is {value}: these weights are not usable")));
    }
    // The sort is stable: of equal scores, the lower class comes first.
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let largest = f64::from(logits[order[0]]);
    let share = |class: usize| (f64::from(logits[class]) - largest).exp();
    let total: f64 = (0..logits.len()).map(share).sum();
    let guess = |class: usize| Guess {
        class,
        label: classes.get(class).cloned().unwrap_or_default(),
        probability: share(class) / total,
    };
    let Guess { class, label, probability } = guess(order[0]);
    let top = order.into_iter().take(TOP).map(guess).collect();
    Ok(Prediction { class, label, probability, top, goodness, logits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_score_wins_and_ties_go_to_the_first_class() {
        let classes: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let goodness = vec![vec![9.0, 0.0, 0.0], vec![0.0, 1.0, 1.0]];
        let all = decide(goodness.clone(), Vote::All, &classes).unwrap();
        assert_eq!((all.class, all.logits), (0, vec![4.5, 0.5, 0.5]));
        let last = decide(goodness, Vote::Last, &classes).unwrap();
        assert_eq!((last.class, last.label.as_str()), (1, "b"));
        let e = 1f64.exp();
        assert!((last.probability - e / (2.0 * e + 1.0)).abs() < 1e-12);
        let top: Vec<_> = last.top.iter().map(|guess| guess.label.as_str()).collect();
        assert_eq!(top, ["b", "c", "a"]);
        let sum: f64 = last.top.iter().map(|guess| guess.probability).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert!(decide(vec![vec![0.0, f32::NAN, 1.0]], Vote::All, &classes).is_err());
    }
}
