//! Training: epochs, learning-rate schedule, evaluation. Knows the session and the data.

use std::f64::consts::PI;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::faults::{Fault, FaultKind};
use crate::base::interrupt::Interrupt;
use crate::base::random::{Rng, Stream, hash};
use crate::base::shape::Shape;
use crate::compiler::budget::Demand;
use crate::compiler::ops::scores::{metrics_words, result_words};
use crate::compiler::ops::{Conv2d, Op};
use crate::compiler::plan::Limits;
use crate::compiler::program::{Built, Init, Routine};
use crate::data::{Dataset, Images, Normalization};
use crate::gpu::device::Gpu;
use crate::gpu::numerics::Numerics;
use crate::gpu::session::{self, Session};
use crate::net::augment::Sample;
use crate::net::layers::Network;
use crate::net::options::{ADAMW, Schedule, TrainOptions};
use crate::train::checkpoint::{self, Arrays, Taken};
use crate::train::detail::Detail;
use crate::train::feeder::{self, Feeder, Runner, StepValues, stored_shape};
use crate::train::metrics::{Scores, Tally};
use crate::{Error, Result};

/// Where training stands: all that a resumed run needs besides the tensors.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are finished.
    pub epoch: u32,
    /// Steps done in the epoch under way.
    pub step: usize,
    /// What those steps gave, see [`Tally::to_bits`].
    pub tally: Vec<u64>,
}

/// What is known after a step; a few steps late.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// The step within the epoch, from 1.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Means over the epoch so far.
    pub scores: Scores,
}

/// What [`Trainer::steps`] did.
#[derive(Clone, PartialEq, Debug)]
pub enum Reached {
    /// The number of steps asked for; the epoch goes on.
    Pause,
    /// The end of an epoch, with the means over its steps.
    EpochEnd(Scores),
}

/// What the network sees of the images: one, in the network's size. Those to test with may be
/// stored smaller than those to train on, which leave room for crops.
pub fn image(options: &TrainOptions, dataset: &Dataset) -> Shape {
    let images = &dataset.test;
    let [h, w] = options.input.map_or([images.height, images.width], |side| [side; 2]);
    Shape::new(1, h, w, images.channels)
}

/// What training a network on the images of `dataset` asks of memory.
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

    /// The same with another normalisation than that of the training images.
    ///
    /// # Errors
    /// As [`Trainer::new`], and [`Error::Model`] if it is none of such images.
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

    /// Ends [`Trainer::steps`] after a step, and [`Trainer::evaluate`] with an error, once this is
    /// asked.
    pub fn heed(&mut self, interrupt: Interrupt) {
        self.interrupt = interrupt;
    }

    /// What holds each op against the reference, if anything does.
    pub fn numerics(&self) -> Option<&Numerics> {
        self.numerics.as_ref()
    }

    /// The data set.
    pub fn dataset(&self) -> &Dataset {
        self.dataset
    }

    /// How long training has waited for images so far.
    pub fn data_wait(&self) -> Duration {
        self.train_feeder.waited()
    }

    /// The session that computes.
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

    /// Most bytes to take of the device.
    pub fn budget(&self) -> Option<usize> {
        self.options.memory
    }

    /// Images that are on the device at a time, and how often that makes a step.
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

    /// What the network sees: `(1, height, width, channels)`.
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

    /// Steps since the beginning.
    pub fn total_steps(&self) -> u64 {
        u64::from(self.epoch) * self.steps_per_epoch() as u64 + self.step as u64
    }

    /// The learning rate of step `step`, counted from 0 over all epochs.
    pub fn learning_rate(&self, step: u64) -> f32 {
        learning_rate(&self.options, self.steps_per_epoch(), step)
    }

    /// Trains up to `limit` steps, at most to the end of the epoch. Nothing is left under way.
    ///
    /// # Errors
    /// [`Error::NotFinite`] names the first block, tensor and step where a loss (and with it a
    /// goodness), a weight or its moment is not a number; [`Error::Numerics`].
    pub fn steps(&mut self, limit: usize, report: impl FnMut(&StepReport)) -> Result<Reached> {
        let steps = self.steps_per_epoch();
        let mut bad_weights = None;
        let last = steps.min(self.step.saturating_add(limit));
        let reached = self.run_steps(last, &mut bad_weights, report);
        self.step = match (reached, bad_weights) {
            (Err(Error::NotFinite { step, epoch, .. }), Some(block)) => {
                let (what, value) = self.culprit(block)?;
                return Err(Error::NotFinite { what, value, step, epoch });
            }
            (reached, _) => reached?,
        };
        if self.step < steps {
            return Ok(Reached::Pause);
        }
        let scores = self.tally.scores();
        self.start_epoch(self.epoch + 1);
        Ok(Reached::EpochEnd(scores))
    }

    /// Runs the steps before step `last` of the epoch, and returns the next one. Sets
    /// `bad_weights` to the block whose weights are no numbers.
    fn run_steps(
        &mut self,
        last: usize,
        bad_weights: &mut Option<usize>,
        mut report: impl FnMut(&StepReport),
    ) -> Result<usize> {
        let steps = self.steps_per_epoch();
        let before = u64::from(self.epoch) * steps as u64;
        let Self {
            session, built, routine, tally, options, train_feeder, interrupt, numerics, ..
        } = self;
        let (epoch, mut reported) = (self.epoch, self.step);
        let mut runner = Runner::new(routine);
        let mut done = |results: &[f32], images: usize| {
            let step = before + reported as u64 + 1;
            let not_finite = |what, value, step: u64| {
                let epoch = ((step - 1) / steps as u64) as u32 + 1;
                Err(Error::NotFinite { what, value, step, epoch })
            };
            let blocks = built.blocks.len();
            let losses = &results[..blocks];
            let weights = &results[metrics_words(blocks)..result_words(blocks)];
            *bad_weights = weights.iter().position(|bad| *bad != 0.0);
            // A sum over micro-batches updates weights after they were looked at.
            if built.update.is_some() && bad_weights.is_some() {
                return not_finite(String::new(), f32::NAN, (step - 1).max(1));
            }
            if let Some(block) = losses.iter().position(|loss| !loss.is_finite()) {
                *bad_weights = None;
                let what = format!("the loss of {}", built.blocks[block]);
                return not_finite(what, losses[block], step);
            }
            if bad_weights.is_some() {
                return not_finite(String::new(), f32::NAN, step);
            }
            tally.add(results, images);
            if tally.images() < ((reported + 1) * options.batch) as u64 {
                return Ok(()); // More micro-batches of this step are to come.
            }
            reported += 1;
            report(&StepReport { step: reported, steps, scores: tally.scores() });
            Ok(())
        };
        let mut next = self.step;
        while next < last && !interrupt.requested() {
            let step = next;
            let batch = &self.order[step * options.batch..(step + 1) * options.batch];
            // The last image's partner is the first.
            let samples: Vec<Sample> = batch
                .iter()
                .chain(&batch[..1])
                .map(|index| {
                    let key = u64::from(*index);
                    let mut rng = Rng::new(options.seed, Stream::Augment, epoch.into(), key);
                    options.augment.draw(*index, train_feeder.sizes(), &mut rng)
                })
                .collect();
            let t = before + step as u64;
            if let Some(fault) = options.fault.filter(|fault| fault.step == t + 1) {
                session.inject(fault.kind);
            }
            let correction = |beta: f32| (1.0 - f64::from(beta).powf((t + 1) as f64)) as f32;
            let values = StepValues {
                lr: learning_rate(options, steps, t),
                correction1: correction(ADAMW.beta1),
                correction2: correction(ADAMW.beta2),
            };
            for first in (0..options.batch).step_by(routine.batch) {
                let samples = &samples[first..][..train_feeder.reads()];
                train_feeder.bring(session, samples, values)?;
                if let Some(keep) = routine.keep {
                    let keeping = if first == 0 { 0.0f32 } else { 1.0 };
                    session.write_bytes(keep, bytemuck::bytes_of(&keeping));
                }
                if let Some(key) = routine.dropout_key {
                    let bits = hash([
                        options.seed,
                        Stream::Dropout as u64,
                        t,
                        (first / routine.batch) as u64,
                    ]);
                    session.write_bytes(key, &bits.to_le_bytes());
                }
                match numerics {
                    None => runner.run(session, routine.batch, &mut done)?,
                    Some(numerics) => {
                        let deviation = numerics.run(session, routine.ops.clone())?;
                        deviation.map_or(Ok(()), |found| Err(found.at(t + 1, epoch + 1)))?;
                        done(&session.read(routine.metrics)?, routine.batch)?;
                    }
                }
            }
            match (&built.update, &mut *numerics) {
                (None, _) => {}
                (Some(update), None) => session.run(update.clone(), None)?,
                (Some(update), Some(numerics)) => {
                    let deviation = numerics.run(session, update.clone())?;
                    deviation.map_or(Ok(()), |found| Err(found.at(t + 1, epoch + 1)))?;
                }
            }
            next += 1;
        }
        runner.finish(session, &mut done)?;
        Ok(next)
    }

    /// The first tensor of a block's weights and moments that is not finite, and a value of it.
    fn culprit(&mut self, block: usize) -> Result<(String, f32)> {
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
    /// [`Error::NotFinite`] names the first block whose loss is not a number,
    /// [`Error::Interrupted`], [`Error::Gpu`].
    pub fn evaluate(&mut self) -> Result<Scores> {
        self.look(None)
    }

    /// The same scores, and more of what is to be seen.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`].
    pub fn evaluate_in_detail(&mut self) -> Result<(Scores, Detail)> {
        let mut detail = Detail::new(self.built.blocks.len(), self.dataset.classes.len());
        Ok((self.look(Some(&mut detail))?, detail))
    }

    fn look(&mut self, detail: Option<&mut Detail>) -> Result<Scores> {
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

    /// The error for a value that the last step made useless.
    fn not_finite(&self, what: String, value: f32) -> Error {
        let epoch = self.epoch + u32::from(self.step > 0);
        Error::NotFinite { what, value, step: self.total_steps(), epoch }
    }

    /// Weights and running statistics; with `moments`, all that training goes on from.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a weight is not a number, [`Error::Gpu`].
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

    /// Begins from another model's weights, see [`checkpoint::take_over`].
    ///
    /// # Errors
    /// Those of [`checkpoint::take_over`].
    pub fn take_over(&mut self, arrays: &Arrays, heads: bool, path: &Path) -> Result<Taken> {
        checkpoint::take_over(&mut self.session, &self.built, arrays, heads, path)
    }

    /// Where training stands.
    pub fn progress(&self) -> Progress {
        Progress { epoch: self.epoch, step: self.step, tally: self.tally.to_bits() }
    }

    /// Goes on from what [`Trainer::arrays`] (with moments) and [`Trainer::progress`] gave.
    ///
    /// # Errors
    /// [`Error::Corrupt`], naming `path`, if they are not of this network.
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

    fn start_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.step = 0;
        self.tally = Tally::new(self.built.blocks.len());
        self.order = shuffled(&self.options, &self.dataset.train, epoch);
        self.expect();
    }

    /// Has the images of the steps to come in this epoch read ahead.
    fn expect(&self) {
        let batch = self.options.batch;
        let rest = self.step * batch..self.steps_per_epoch() * batch;
        let order = if self.finished() { &[] } else { &self.order[rest] };
        self.train_feeder.expect(order.to_vec());
    }
}

fn learning_rate(options: &TrainOptions, steps_per_epoch: usize, step: u64) -> f32 {
    let TrainOptions { lr, schedule, epochs, .. } = *options;
    match schedule {
        Schedule::Const => lr,
        Schedule::Cosine => {
            let all = u64::from(epochs) * steps_per_epoch as u64;
            let done = step as f64 / all.max(1) as f64;
            (f64::from(lr) * 0.5 * (1.0 + (PI * done).cos())) as f32
        }
    }
}

/// The order in which an epoch sees the images.
fn shuffled(options: &TrainOptions, images: &Images, epoch: u32) -> Vec<u32> {
    Rng::new(options.seed, Stream::Shuffle, epoch.into(), 0).permutation(images.len() as u32)
}

/// Sets initial weights. Each parameter draws from a stream of its own, chosen by its name, so
/// that a layer begins alike in every partition.
pub(crate) fn initialise(session: &Session, built: &Built, seed: u64) {
    for (name, parameter) in &built.parameters {
        let key = name.bytes().fold(0, |key, byte| hash([key, byte.into(), 0, 0]));
        let mut rng = Rng::new(seed, Stream::Init, 0, key);
        let mut draw = || match parameter.init {
            Init::Constant(value) => value,
            Init::Normal(deviation) => (rng.normal() * f64::from(deviation)) as f32,
            Init::Uniform(bound) => ((2.0 * rng.uniform() - 1.0) * f64::from(bound)) as f32,
        };
        let elements = built.program.tensor(parameter.value).shape.elements();
        let values: Vec<f32> = (0..elements).map(|_| draw()).collect();
        session.write(parameter.value, &values);
    }
    for id in built.running.values() {
        let channels = built.program.tensor(*id).shape.c;
        let values: Vec<f32> = [0.0, 1.0].into_iter().flat_map(|v| vec![v; channels]).collect();
        session.write(*id, &values);
    }
}
