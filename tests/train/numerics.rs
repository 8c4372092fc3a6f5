//! NaN, infinities and wrong results are reported with the op and the step in which they first occur.

use crate::common::{Pair, gpu};
use sff::Error;
use sff::internals::base::shape::{Layout, Shape, Weight, Window};
use sff::internals::compiler::ops::{Add, Conv2d};
use sff::internals::compiler::program::Program;
use sff::internals::compiler::tensor::{Kind, TensorId};
use sff::internals::data::{Dataset, shapes};
use sff::internals::gpu::session::{Session, SessionOptions};
use sff::internals::net::layers::{Head, Network};
use sff::internals::net::models;
use sff::internals::net::options::{Partition, TrainOptions};
use sff::internals::train::trainer::Trainer;

const STEPS: usize = 4;

fn dataset() -> Dataset {
    shapes::dataset("shapes", 28, 1, 16 * STEPS, 0)
}

fn network(dataset: &Dataset) -> Network {
    let head = Head::goodness(3);
    Network { blocks: models::cnn(&[4, 4], Partition::Layer), head, classes: dataset.classes.len() }
}

/// Trains three steps, writes `value` to the tensor of the parameter that `choose` selects, and
/// continues. Returns what is reported, and in which step.
fn found(
    options: TrainOptions,
    dataset: &Dataset,
    name: &str,
    choose: fn(&sff::internals::compiler::program::Parameter) -> TensorId,
    value: f32,
) -> (String, u64) {
    let options = TrainOptions { epochs: 3, batch: 16, ..options };
    let mut trainer = Trainer::new(&gpu(), &network(dataset), dataset, options).unwrap();
    trainer.steps(3, |_| {}).unwrap();
    let parameter = trainer.built().parameters[name].clone();
    let id = choose(&parameter);
    let elements = trainer.built().program.tensor(id).shape.elements();
    let mut values = vec![0.1; elements];
    values[elements - 1] = value;
    trainer.session().write(id, &values);
    let mut steps = || {
        loop {
            trainer.steps(usize::MAX, |_| {})?;
        }
    };
    let error: Result<(), Error> = steps();
    match error {
        Err(Error::NotFinite { what, step, epoch, .. }) => {
            assert_eq!(u64::from(epoch), step.div_ceil(STEPS as u64));
            (what, step)
        }
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn weights_and_moments_are_checked_every_step() {
    let dataset = dataset();
    let plain = TrainOptions::default();
    // An overflow of the squared gradient: the weight does not change any more, and the loss stays
    // finite.
    let v = |p: &sff::internals::compiler::program::Parameter| p.v;
    let conv = found(plain, &dataset, "conv2.weight", v, f32::INFINITY);
    assert_eq!(conv, ("a value of conv2.weight.v (conv2)".into(), 4));
    let aux = found(plain, &dataset, "aux.0.weight", v, f32::NAN);
    assert_eq!(aux, ("a value of aux.0.weight (conv1)".into(), 4));
    // With micro-batches, weights are checked before the update.
    let quarter = TrainOptions { memory: Some(smallest(&dataset)), ..plain };
    let conv = found(quarter, &dataset, "conv2.weight", v, f32::INFINITY);
    assert_eq!(conv, ("a value of conv2.weight.v (conv2)".into(), 3));
}

/// The smallest budget that training takes, in bytes.
fn smallest(dataset: &Dataset) -> usize {
    let options = TrainOptions { memory: Some(1), batch: 16, ..TrainOptions::default() };
    let message = Trainer::new(&gpu(), &network(dataset), dataset, options).err().unwrap();
    let message = message.to_string();
    message.split("at least ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn an_infinite_goodness_is_reported_as_a_loss() {
    let dataset = dataset();
    // The squares of maps of 1e30 overflow.
    let value = |p: &sff::internals::compiler::program::Parameter| p.value;
    for large in [1e30, f32::INFINITY] {
        let found = found(TrainOptions::default(), &dataset, "aux.1.weight", value, large);
        assert_eq!(found, ("the loss of conv2".into(), 4));
    }
}

#[test]
fn the_first_op_that_differs_is_named_with_its_tensors() {
    let mut program = Program::default();
    let mut maps =
        |name: &str, c| program.add(name, Shape::new(2, 5, 4, c), Layout::Nhwc, Kind::Io);
    let (x, y, z) = (maps("x", 3), maps("y", 6), maps("z", 6));
    let w = program.add("w", Weight::new(3, 3, 6), Layout::Hwio, Kind::Io);
    program.push(Conv2d { x, w, bias: None, y, window: Window::same(3, 1) });
    program.push(Add { a: y, b: y, y: z });
    let options = SessionOptions { checked: true, ..SessionOptions::default() };
    let gpu = gpu();
    let session = || Session::new(&gpu, program.clone(), options).unwrap();
    let values = |id: TensorId| crate::common::random(1, program.tensor(id).shape.elements());

    let mut pair = Pair::new(session());
    pair.set(x, &values(x));
    pair.set(w, &values(w));
    assert!(pair.numerics.op(&mut pair.session, 0).unwrap().is_none());
    // Changes a value on the device only, by a thousandth of the largest.
    let mut changed = pair.session.read(y).unwrap();
    let largest = changed.iter().fold(0f32, |m, v| m.max(v.abs()));
    changed[17] += largest * 1e-3;
    pair.session.write(y, &changed);
    let found = pair.numerics.op(&mut pair.session, 1).unwrap().unwrap();
    assert_eq!((found.op, found.tensor), (1, z));
    for part in
        ["add (op 1) writes z 2×5×4×6 from y 2×5×4×6", " in value 17, not ", "off by 1.0e-3"]
    {
        assert!(found.problem.contains(part), "{found}");
    }
    // NaN is reported even if the reference has it too, and without a reference.
    for compare in [true, false] {
        let mut pair = Pair::new(session());
        pair.numerics.compare = compare;
        pair.set(x, &values(x));
        let mut weight = values(w);
        weight[5] = f32::NAN;
        pair.set(w, &weight);
        let found = pair.numerics.run(&mut pair.session, 0..2).unwrap().unwrap();
        assert_eq!((found.op, found.tensor), (0, y));
        assert!(found.problem.contains("NaN in value "), "{found}");
    }
}
