//! Dropout in training: the same bits after an interruption and in every mode of recomputation. No
//! dropout in evaluation.

use std::path::Path;

use crate::common::gpu;
use sff::internals::base::shape::Shape;
use sff::internals::compiler::budget::Demand;
use sff::internals::data::shapes::{self, Split};
use sff::internals::data::{self, Dataset};
use sff::internals::net::layers::{Head, Network};
use sff::internals::net::options::{Partition, Recompute, TrainOptions};
use sff::internals::train::checkpoint::Arrays;
use sff::internals::train::trainer::{Reached, Trainer};

fn options() -> TrainOptions {
    TrainOptions { epochs: 2, batch: 8, lr: 1e-2, seed: 5, ..TrainOptions::default() }
}

fn network(dropout: f32) -> Network {
    let head = Head::Classifier { hidden: 24, dropout };
    Network {
        blocks: sff::internals::net::models::cnn(&[4, 8], Partition::Whole),
        head,
        classes: 10,
    }
}

fn dataset() -> Dataset {
    let request = data::Request {
        name: "shapes".into(),
        train_limit: Some(32),
        seed: 1,
        ..data::Request::default()
    };
    let all = data::load(&request).unwrap();
    let test = shapes::images(28, 1, 20, 1, Split::Test);
    Dataset { test, ..all }
}

fn trained(network: &Network, options: TrainOptions, data: &Dataset) -> Arrays {
    let mut trainer = Trainer::new(&gpu(), network, data, options).unwrap();
    while !trainer.finished() {
        trainer.train_epoch(|_| {}).unwrap();
    }
    trainer.arrays(true).unwrap()
}

#[test]
fn an_interruption_does_not_change_the_bits() {
    let (network, data) = (network(0.4), dataset());
    let whole = trained(&network, options(), &data);
    let mut trainer = Trainer::new(&gpu(), &network, &data, options()).unwrap();
    assert_eq!(trainer.steps(3, |_| {}).unwrap(), Reached::Pause);
    let (arrays, progress) = (trainer.arrays(true).unwrap(), trainer.progress());
    let mut trainer = Trainer::new(&gpu(), &network, &data, options()).unwrap();
    trainer.restore(&arrays, &progress, Path::new("state")).unwrap();
    while !trainer.finished() {
        trainer.train_epoch(|_| {}).unwrap();
    }
    assert!(trainer.arrays(true).unwrap() == whole);
    // Dropout has an effect in training, and none in evaluation.
    assert!(trained(&self::network(0.0), options(), &data) != whole);
    assert!(trainer.evaluate().unwrap() == trainer.evaluate().unwrap());
}

#[test]
fn recomputation_repeats_the_mask_and_micro_batches_have_keys() {
    let (network, data) = (network(0.4), dataset());
    let whole = trained(&network, options(), &data);
    for recompute in [Recompute::None, Recompute::Block] {
        let again =
            trained(&network, TrainOptions { recompute: Some(recompute), ..options() }, &data);
        assert!(again == whole, "{recompute:?}");
    }
    // Training in micro-batches has a key, evaluation has none.
    let image = Demand::new(&network, Shape::new(1, 28, 28, 1), &options(), gpu().limits());
    let parts = image.build(4, 2, false).unwrap();
    assert!(parts.train.unwrap().dropout_key.is_some());
    assert!(parts.eval.unwrap().dropout_key.is_none());
}
