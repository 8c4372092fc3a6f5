//! Tuning, on a device that is treated as a discrete GPU.

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

/// The device under test, treated as a discrete GPU; `None` if its driver takes minutes to compile
/// tiles for these.
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
        // The default is replaced only for a gain of 3%.
        let stays = timed.ms() == timed.usual_ms() && timed.usual_ms() * 0.97 <= best;
        assert!(timed.ms() == best || stays, "{timed:?}");
    }
    // All ops are timed already.
    let again = time(&gpu, &program, &gpu.variants(), &quick(), &mut choices).unwrap();
    assert!(again.ops.is_empty());
}

/// The broken variant is the fastest.
#[test]
fn a_variant_with_wrong_results_is_refused_by_name() {
    let Some(gpu) = discrete() else { return };
    let program = program(&gpu);
    let mut variants = Variants::of(Class::Discrete, None, None);
    // With this few pixels no invocation loads any.
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
fn a_gpu_is_tuned_automatically_once_and_within_the_time_limit() {
    let Some(gpu) = discrete() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("new"));
    let program = program(&gpu);
    let run = |gpu: &Gpu, how| {
        tune(gpu, how, &cache, &Interrupt::default(), || Ok(program.clone())).unwrap()
    };
    assert!(run(&gpu, Tune::Off).1.is_none());
    let (tuned, tuning) = run(&gpu, Tune::Auto);
    let tuning = tuning.expect("the first run tunes");
    assert_eq!(tuned.choices().len(), tuning.ops.len() + tuning.left.len());
    assert!(tuning.ended.is_none() && tuning.unsaved.is_none(), "{tuning:?}");
    let line = tuning.to_string();
    assert!(line.starts_with("timed ") && line.lines().count() == 1, "{line}");

    // The second run reads the cache, which includes the ops that there was no time for.
    let (again, nothing) = run(&gpu, Tune::Auto);
    assert!(nothing.is_none());
    assert_eq!(again.choices(), tuned.choices());

    // Without time for an op, its default stays.
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
fn a_full_tuning_times_the_ops_left_by_an_automatic_one() {
    let Some(gpu) = discrete() else { return };
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().to_owned());
    let program = program(&gpu);
    let run = |how| tune(&gpu, how, &cache, &Interrupt::default(), || Ok(program.clone())).unwrap();
    let first = run(Tune::Auto).1.unwrap();
    // As if the automatic tuning had run out of time at once.
    let mut files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(|path| path.extension().is_some()).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<_> = json["choices"].as_object().unwrap().keys().cloned().collect();
    json["left"] = keys.clone().into();
    std::fs::write(&file, json.to_string()).unwrap();
    assert!(run(Tune::Auto).1.is_none());
    let full = run(Tune::Full).1.expect("ops are left");
    assert_eq!(full.ops.len(), first.ops.len() + first.left.len());
    assert!(run(Tune::Full).1.is_none());
}

/// It keeps earlier results.
#[test]
fn tuning_that_ends_early_keeps_known_choices() {
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

/// Several processes may tune at the same time.
#[test]
fn choices_saved_concurrently_are_all_kept() {
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
fn a_software_device_is_not_tuned_automatically() {
    let gpu: Gpu = gpu().clone();
    if !matches!(gpu.adapter.class(), Class::Cpu | Class::SlowCompiler) {
        return eprintln!("skipped: {} is not a software device", gpu.adapter.name);
    }
    let never = || -> sff::Result<Program> { panic!("no program is needed") };
    let (same, tuning) =
        tune(&gpu, Tune::Auto, &Cache::none(), &Interrupt::default(), never).unwrap();
    assert!(tuning.is_none() && same.choices().is_empty());
}
