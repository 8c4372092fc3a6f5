//! Initial weights, the order of the images, and the learning rate, from the options and the seed.

use std::f64::consts::PI;

use crate::base::random::{Rng, Stream, hash};
use crate::compiler::program::{Built, Init};
use crate::data::Images;
use crate::gpu::session::Session;
use crate::net::options::{Schedule, TrainOptions};

/// The learning rate of step `step`, counted from 0 over all epochs.
pub fn learning_rate(options: &TrainOptions, steps_per_epoch: usize, step: u64) -> f32 {
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

/// The order of the images in an epoch.
pub fn shuffled(options: &TrainOptions, images: &Images, epoch: u32) -> Vec<u32> {
    Rng::new(options.seed, Stream::Shuffle, epoch.into(), 0).permutation(images.len() as u32)
}

/// Sets the initial weights. Each parameter has its own random sequence, keyed by its name, so that
/// a layer starts from the same weights in every partition.
pub fn initialise(session: &Session, built: &Built, seed: u64) {
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
