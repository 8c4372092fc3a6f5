//! Tuning, on a device that is taken for a GPU.

use std::time::Duration;

use crate::common::gpu;
use sff::Error;
use sff::internals::base::interrupt::Interrupt;
use sff::internals::base::shape::Shape;
use sff::internals::compiler::budget::Demand;
use sff::internals::compiler::kernel::Tiles;
use sff::internals::compiler::program::Program;
use sff::internals::compiler::variants::{Choices, Class, Variant, Variants, key};
use sff::internals::gpu::device::Gpu;
use sff::internals::gpu::tune::{Cache, Effort, Tune, Tuning, time, tune};
use sff::internals::net::layers::{Head, Network};
use sff::internals::net::models;
use sff::internals::net::options::{Partition, TrainOptions};

const CLASSES: usize = 10;

/// The device under test as if it were a GPU with memory of its own; none if its driver takes minutes
/// to compile what such GPUs use.
fn discrete() -> Option<Gpu> {
    let mut gpu: Gpu = gpu().clone();
    if gpu.adapter.class() == Class::SlowCompiler {
        eprintln!("skipped: {} compiles a GPU's tiles too slowly", gpu.adapter.name);
        return None;
    }
    gpu.adapter.kind = "discrete";
    Some(gpu)
}

/// A step of a small network with convolutions of several widths.
fn program(gpu: &Gpu) -> Program {
    let blocks = models::cnn(&[16, 32, 64], Partition::Layer);
    let network = Network { blocks, head: Head::goodness(3), classes: CLASSES };
    let training = TrainOptions { batch: 4, ..TrainOptions::default() };
    let demand = Demand::new(&network, Shape::new(1, 8, 8, 3), &training, gpu.limits());
    demand.build(4, 1, false).unwrap().program
}

fn quick() -> Effort {
    Effort { variant: Duration::ZERO, ..Effort::full() }
}

#[test]
fn all_variants_agree_and_the_fastest_is_chosen() {
    let Some(gpu) = discrete() else { return };
    let program = program(&gpu);
    let mut choices = Choices::default();
    let tuning = time(&gpu, &program, &gpu.variants(), &quick(), &mut choices).unwrap();
    assert!(tuning.refused.is_empty(), "{:?}", tuning.refused);
    assert!(tuning.left.is_empty() && tuning.ops.len() > 8, "{tuning:?}");
    assert_eq!(choices.len(), tuning.ops.len());
    for timed in &tuning.ops {
        let best = timed.variants.iter().map(|(_, ms)| *ms).fold(f64::INFINITY, f64::min);
        // The usual one is left for a gain only.
        let stays = timed.ms() == timed.usual_ms() && timed.usual_ms() * 0.97 <= best;
        assert!(timed.ms() == best || stays, "{timed:?}");
    }
    // Nothing is left to be timed.
    let again = time(&gpu, &program, &gpu.variants(), &quick(), &mut choices).unwrap();
    assert!(again.ops.is_empty());
}

/// It would win by being fast.
#[test]
fn a_variant_that_computes_something_else_is_refused_by_name() {
    let Some(gpu) = discrete() else { return };
    let program = program(&gpu);
    let mut variants = Variants::of(Class::Discrete, None, None);
    // So few pixels that no invocation brings any in.
    let broken = Tiles { pixels: 2, ..Tiles::WORKGROUP_64X64 };
    variants.all.retain(|v| v.name == "registers 8x8");
    variants.all.push(Variant { name: "broken", tiles: broken });
    let mut choices = Choices::default();
    let mut tuning = time(&gpu, &program, &variants, &quick(), &mut choices).unwrap();
    let refused: Vec<_> = tuning.refused.iter().map(|refusal| refusal.op.as_str()).collect();
    for (op, tensors) in program.ops().iter().map(|op| (op, program.tensors())) {
        let convolution = matches!(op.name(), "conv2d" | "conv2d_dgrad" | "goodness_grad");
        let key = key(op, tensors).unwrap();
        assert_eq!(refused.contains(&key.as_str()), convolution, "{key}");
    }
    let chosen = serde_json::to_string(&choices).unwrap();
    for refusal in &tuning.refused {
        assert_eq!(refusal.variant, "broken");
        assert!(refusal.difference > 1e-2, "{refusal}");
        assert!(!chosen.contains(&format!("\"{}\":\"broken\"", refusal.op)), "{chosen}");
    }
    tuning.device = "Testing 3000".into();
    let warning = tuning.warnings().next().unwrap();
    assert!(warning.starts_with("on Testing 3000 ("), "{warning}");
    assert!(warning.contains("`broken` differs from `"), "{warning}");
}

#[test]
fn a_gpu_is_tuned_unasked_once_and_within_its_time() {
    let Some(gpu) = discrete() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("new"));
    let program = program(&gpu);
    let run = |gpu: &Gpu, how| {
        tune(gpu, how, &cache, &Interrupt::default(), || Ok(program.clone())).unwrap()
    };
    assert!(run(&gpu, Tune::Off).1.is_none());
    let (tuned, tuning) = run(&gpu, Tune::Auto);
    let tuning = tuning.expect("it is the first time");
    assert_eq!(tuned.choices().len(), tuning.ops.len() + tuning.left.len());
    assert!(tuning.ended.is_none() && tuning.unsaved.is_none(), "{tuning:?}");
    let line = tuning.to_string();
    assert!(line.starts_with("timed ") && line.lines().count() == 1, "{line}");

    // The second time it is remembered, also what there was no time for.
    let (again, nothing) = run(&gpu, Tune::Auto);
    assert!(nothing.is_none());
    assert_eq!(again.choices(), tuned.choices());

    // What there is no time for stays as usual, until it is asked for.
    let none = Effort { total: Some(Duration::ZERO), ..quick() };
    let mut choices = Choices::default();
    let tuning = time(&gpu, &program, &gpu.variants(), &none, &mut choices).unwrap();
    assert!(tuning.ops.is_empty() && tuning.left.len() > 8);
    let variants = gpu.variants();
    for op in program.ops() {
        let usual = variants.usual(op, program.tensors()).tiles;
        assert_eq!(choices.tiles(op, program.tensors(), &variants).unwrap(), usual);
    }
}

#[test]
fn what_was_left_is_timed_when_it_is_asked_for() {
    let Some(gpu) = discrete() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().to_owned());
    let program = program(&gpu);
    let run = |how| tune(&gpu, how, &cache, &Interrupt::default(), || Ok(program.clone())).unwrap();
    let first = run(Tune::Auto).1.unwrap();
    // As if the first use had had no time.
    let mut files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(|path| path.extension().is_some()).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<_> = json["choices"].as_object().unwrap().keys().cloned().collect();
    json["left"] = keys.clone().into();
    std::fs::write(&file, json.to_string()).unwrap();
    assert!(run(Tune::Auto).1.is_none());
    let full = run(Tune::Full).1.expect("there is something left");
    assert_eq!(full.ops.len(), first.ops.len() + first.left.len());
    assert!(run(Tune::Full).1.is_none());
}

/// It does not undo what was found out before, and what it found out before it was asked is kept.
#[test]
fn tuning_that_ends_early_keeps_what_is_known() {
    let Some(gpu) = discrete() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().to_owned());
    let program = program(&gpu);
    let interrupt = Interrupt::default();
    let run = |how| tune(&gpu, how, &cache, &interrupt, || Ok(program.clone()));
    let (known, _) = run(Tune::Full).unwrap();
    let none = Effort { total: Some(Duration::ZERO), ..quick() };
    let mut choices = Choices::default();
    let tuning = time(&gpu, &program, &gpu.variants(), &none, &mut choices).unwrap();
    cache.remember(&gpu, &choices, &tuning).unwrap();
    let (again, tuning) = run(Tune::Full).unwrap();
    assert!(tuning.is_none(), "nothing is left: {tuning:?}");
    assert_eq!(again.choices(), known.choices());

    let cache = Cache::at(folder.path().join("new"));
    let run = |how| tune(&gpu, how, &cache, &interrupt, || Ok(program.clone()));
    interrupt.request(2);
    assert!(matches!(run(Tune::Auto), Err(Error::Interrupted(2))));
    let (usual, _) =
        tune(&gpu, Tune::Auto, &cache, &Interrupt::default(), || Ok(program.clone())).unwrap();
    assert_eq!(usual.choices().len(), known.choices().len());
}

/// Many processes may tune at the same time.
#[test]
fn choices_of_several_at_once_are_all_kept() {
    let Some(gpu) = discrete() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().to_owned());
    let program = program(&gpu);
    let none = Effort { total: Some(Duration::ZERO), ..quick() };
    let mut all = Choices::default();
    let tuning = time(&gpu, &program, &gpu.variants(), &none, &mut all).unwrap();
    let remember = |key: &String| {
        let mut one = Choices::default();
        one.set(key.clone(), "registers 8x8");
        cache.remember(&gpu, &one, &Tuning::default()).unwrap();
    };
    std::thread::scope(|scope| {
        tuning.left.iter().for_each(|key| drop(scope.spawn(move || remember(key))));
    });
    let (kept, tuning) =
        tune(&gpu, Tune::Auto, &cache, &Interrupt::default(), || Ok(program.clone())).unwrap();
    assert!(tuning.is_none() && kept.choices().len() == all.len(), "{tuning:?}");
}

#[test]
fn software_is_not_tuned_unasked() {
    let gpu: Gpu = gpu().clone();
    if !matches!(gpu.adapter.class(), Class::Cpu | Class::SlowCompiler) {
        return eprintln!("skipped: {} is no software", gpu.adapter.name);
    }
    let never = || -> sff::Result<Program> { panic!("no program is needed") };
    let (same, tuning) =
        tune(&gpu, Tune::Auto, &Cache::none(), &Interrupt::default(), never).unwrap();
    assert!(tuning.is_none() && same.choices().is_empty());
}
