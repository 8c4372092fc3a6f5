//! A network in training: steps, epochs, evaluation, state.

mod schedule;
mod steps;
mod watch;

pub(crate) use schedule::initialise;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::faults::{Fault, FaultKind};
use crate::base::interrupt::Interrupt;
use crate::base::shape::Shape;
use crate::compiler::budget::Demand;
use crate::compiler::ops::{Conv2d, Op};
use crate::compiler::plan::Limits;
use crate::compiler::program::{Built, Routine};
use crate::data::{Dataset, Normalization};
use crate::gpu::device::Gpu;
use crate::gpu::numerics::Numerics;
use crate::gpu::session::{self, Session};
use crate::net::layers::Network;
use crate::net::options::TrainOptions;
use crate::train::checkpoint::{self, Arrays, Taken};
use crate::train::detail::Detail;
use crate::train::feeder::{self, Feeder, stored_shape};
use crate::train::metrics::{Scores, Tally};
use crate::{Error, Result};

/// The progress of training: all that a resumed run needs besides the tensors.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are finished.
    pub epoch: u32,
    /// Steps done in the current epoch.
    pub step: usize,
    /// The results of those steps, see [`Tally::to_bits`].
    pub tally: Vec<u64>,
}

/// The results after a step; they arrive a few steps late.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// The step within the epoch, from 1.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Means over the epoch so far.
    pub scores: Scores,
}

/// Why [`Trainer::steps`] returned.
#[derive(Clone, PartialEq, Debug)]
pub enum Reached {
    /// The number of steps was reached, or an interrupt requested; the epoch is not finished.
    Pause,
    /// The epoch ended; the means over its steps.
    EpochEnd(Scores),
}

/// The shape of one input image of the network. Without an explicit size it is that of the test
/// images: training images may be larger, for random crops.
pub fn image(options: &TrainOptions, dataset: &Dataset) -> Shape {
    let images = &dataset.test;
    let [h, w] = options.input.map_or([images.height, images.width], |side| [side; 2]);
    Shape::new(1, h, w, images.channels)
}

/// The memory demand of training a network on `dataset`.
pub fn demand<'a>(
    network: &'a Network,
    options: &TrainOptions,
    limits: Limits,
    dataset: &Dataset,
) -> Demand<'a> {
    let (train, test) = (stored_shape(&dataset.train), stored_shape(&dataset.test));
    Demand {
        train,
        test: Some(test),
        ..Demand::new(network, image(options, dataset), options, limits)
    }
}

/// A network in training.
pub struct Trainer<'a> {
    session: Session,
    built: Built,
    routine: Routine,
    eval: Routine,
    dataset: &'a Dataset,
    train_feeder: Feeder<'a>,
    test_feeder: Feeder<'a>,
    normalization: Normalization,
    options: TrainOptions,
    interrupt: Interrupt,
    numerics: Option<Numerics>,
    epoch: u32,
    step: usize,
    tally: Tally,
    order: Vec<u32>,
}

impl<'a> Trainer<'a> {
    /// Builds and plans the program, compiles it, and sets the initial weights.
    ///
    /// # Errors
    /// [`Error::Usage`] for options that cannot work with these images, and those of
    /// [`Demand::program`] and [`Session::new`].
    pub fn new(
        gpu: &Gpu,
        network: &Network,
        dataset: &'a Dataset,
        options: TrainOptions,
    ) -> Result<Self> {
        let normalization = dataset.normalization()?;
        Self::with_normalization(gpu, network, dataset, options, normalization)
    }

    /// The same with a given normalisation instead of that of the training images.
    ///
    /// # Errors
    /// As [`Trainer::new`], and [`Error::Model`] if its channels differ from the images'.
    pub fn with_normalization(
        gpu: &Gpu,
        network: &Network,
        dataset: &'a Dataset,
        options: TrainOptions,
        normalization: Normalization,
    ) -> Result<Self> {
        let image = image(&options, dataset);
        options.check(dataset.train.len(), image)?;
        let mut demand = demand(network, &options, gpu.limits(), dataset);
        demand.setup.normalize = feeder::normalize(&normalization, image.c)?;
        let built = demand.program(options.batch)?;
        let missing = || Error::Model("the program has no routine to train".into());
        let routine = built.train.clone().ok_or_else(missing)?;
        let eval = built.eval.clone().ok_or_else(missing)?;
        if options.fault == Some(Fault { kind: FaultKind::Memory, step: 0 }) {
            return Err(Error::OutOfMemory("an injected fault".into()));
        }
        let session = Session::new(gpu, built.program.clone(), session::SessionOptions::default())?;
        let numerics =
            options.debug.then(|| Numerics::of_training(&built.program, routine.ops.clone()));
        initialise(&session, &built, options.seed);
        let train_feeder = Feeder::new(&session, &routine, &dataset.train)?;
        let test_feeder = Feeder::new(&session, &eval, &dataset.test)?;
        let mut trainer = Self {
            train_feeder,
            test_feeder,
            tally: Tally::new(built.blocks.len()),
            order: Vec::new(),
            session,
            built,
            routine,
            eval,
            dataset,
            normalization,
            options,
            interrupt: Interrupt::default(),
            numerics,
            epoch: 0,
            step: 0,
        };
        trainer.start_epoch(0);
        Ok(trainer)
    }

    /// Sets the interrupt that ends [`Trainer::steps`] after a step, and [`Trainer::evaluate`] with an
    /// error.
    pub fn set_interrupt(&mut self, interrupt: Interrupt) {
        self.interrupt = interrupt;
    }

    /// The comparison with the reference, if it is enabled.
    pub fn numerics(&self) -> Option<&Numerics> {
        self.numerics.as_ref()
    }

    /// The memory plan of a step, as a table.
    pub fn plan(&self) -> impl std::fmt::Display + '_ {
        self.session.plan().table(&self.built.program)
    }

    /// The data set.
    pub fn dataset(&self) -> &Dataset {
        self.dataset
    }

    /// Total time spent waiting for training images.
    pub fn data_wait(&self) -> Duration {
        self.train_feeder.waited()
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The session and its program, to run ops of it.
    pub fn parts(&mut self) -> (&mut Session, &Built) {
        (&mut self.session, &self.built)
    }

    /// The program and its parts.
    pub fn built(&self) -> &Built {
        &self.built
    }

    /// The budget of device memory, bytes.
    pub fn budget(&self) -> Option<usize> {
        self.options.memory
    }

    /// Images per micro-batch, and micro-batches per step.
    pub fn micro_batches(&self) -> (usize, usize) {
        (self.routine.batch, self.options.batch / self.routine.batch)
    }

    /// Images per step.
    pub fn batch(&self) -> usize {
        self.options.batch
    }

    /// Whether the training images stay on the device.
    pub fn resident(&self) -> bool {
        self.train_feeder.resident()
    }

    /// The shape of an input image: `(1, height, width, channels)`.
    pub fn image(&self) -> Shape {
        image(&self.options, self.dataset)
    }

    /// How pixels are normalised.
    pub fn normalization(&self) -> &Normalization {
        &self.normalization
    }

    /// Epochs that are finished.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether all epochs are done.
    pub fn finished(&self) -> bool {
        self.epoch >= self.options.epochs
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.dataset.train.len() / self.options.batch
    }

    /// Steps since the start of the run.
    pub fn total_steps(&self) -> u64 {
        u64::from(self.epoch) * self.steps_per_epoch() as u64 + self.step as u64
    }

    /// The learning rate of step `step`, counted from 0 over all epochs.
    pub fn learning_rate(&self, step: u64) -> f32 {
        schedule::learning_rate(&self.options, self.steps_per_epoch(), step)
    }

    /// Trains to the end of the epoch.
    ///
    /// # Errors
    /// As [`Trainer::steps`].
    pub fn train_epoch(&mut self, mut report: impl FnMut(&StepReport)) -> Result<Scores> {
        loop {
            if let Reached::EpochEnd(scores) = self.steps(usize::MAX, &mut report)? {
                return Ok(scores);
            }
        }
    }

    /// Scores on the test images.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for the first block whose loss is NaN or infinite, [`Error::Interrupted`],
    /// [`Error::Gpu`].
    pub fn evaluate(&mut self) -> Result<Scores> {
        self.test(None)
    }

    /// The same scores with details.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`].
    pub fn evaluate_in_detail(&mut self) -> Result<(Scores, Detail)> {
        let mut detail = Detail::new(self.built.blocks.len(), self.dataset.classes.len());
        Ok((self.test(Some(&mut detail))?, detail))
    }

    fn test(&mut self, detail: Option<&mut Detail>) -> Result<Scores> {
        let Self { session, built, eval, test_feeder, interrupt, .. } = self;
        let scores = feeder::evaluate(session, built, eval, test_feeder, interrupt, detail)?;
        match scores.not_finite() {
            Some((block, loss)) => {
                let what = format!("the test loss of {}", self.built.blocks[block]);
                Err(self.not_finite(what, loss as f32))
            }
            None => Ok(scores),
        }
    }

    /// The error for a value that became NaN or infinite in the last step.
    fn not_finite(&self, what: String, value: f32) -> Error {
        let epoch = self.epoch + u32::from(self.step > 0);
        Error::NotFinite { what, value, step: self.total_steps(), epoch }
    }

    /// Weights and running statistics; with `moments`, the complete state of training.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a weight is NaN or infinite, [`Error::Gpu`].
    pub fn arrays(&mut self, moments: bool) -> Result<Arrays> {
        let arrays = checkpoint::read_device(&mut self.session, &self.built, moments)?;
        for (name, array) in &arrays {
            if let Some(value) = array.values.iter().find(|v| !v.is_finite()) {
                return Err(self.not_finite(format!("a value of {name}"), *value));
            }
        }
        Ok(arrays)
    }

    /// The weight of the convolution that reads the images, in the order row, column, input,
    /// output; `None` if the network begins otherwise.
    ///
    /// # Errors
    /// [`Error::Gpu`].
    pub fn first_filters(&mut self) -> Result<Option<(Shape, Vec<f32>)>> {
        let program = &self.built.program;
        let first = program.ops().iter().find_map(|node| match &node.op {
            Op::Conv2d(Conv2d { x, w, .. }) if *x == self.routine.x => Some(*w),
            _ => None,
        });
        let Some(w) = first else { return Ok(None) };
        Ok(Some((program.tensor(w).shape, self.session.read(w)?)))
    }

    /// Initialises from another model's weights, see [`checkpoint::take_over`].
    ///
    /// # Errors
    /// Those of [`checkpoint::take_over`].
    pub fn take_over(&mut self, arrays: &Arrays, heads: bool, path: &Path) -> Result<Taken> {
        checkpoint::take_over(&mut self.session, &self.built, arrays, heads, path)
    }

    /// The progress of training.
    pub fn progress(&self) -> Progress {
        Progress { epoch: self.epoch, step: self.step, tally: self.tally.to_bits() }
    }

    /// Restores the results of [`Trainer::arrays`] (with moments) and [`Trainer::progress`].
    ///
    /// # Errors
    /// [`Error::Corrupt`] with `path` if they do not belong to this run, and those of
    /// [`checkpoint::write_device`].
    pub fn restore(&mut self, arrays: &Arrays, progress: &Progress, path: &Path) -> Result<()> {
        let tally = Tally::from_bits(self.built.blocks.len(), &progress.tally);
        let Progress { epoch, step, .. } = *progress;
        let fits = step < self.steps_per_epoch()
            && (epoch < self.options.epochs || (epoch, step) == (self.options.epochs, 0));
        let counts = |tally: &Tally| tally.images() == (step * self.options.batch) as u64;
        let tally = tally.filter(|tally| fits && counts(tally));
        let tally = tally.ok_or_else(|| Error::corrupt(path, "its progress is not of this run"))?;
        checkpoint::write_device(&mut self.session, &self.built, true, arrays, path)?;
        self.start_epoch(epoch);
        self.step = step;
        self.expect();
        self.tally = tally;
        Ok(())
    }

    /// Announces the images of the remaining steps of the epoch, to be read ahead.
    fn expect(&self) {
        let batch = self.options.batch;
        let rest = self.step * batch..self.steps_per_epoch() * batch;
        let order = if self.finished() { &[] } else { &self.order[rest] };
        self.train_feeder.expect(order.to_vec());
    }
}
