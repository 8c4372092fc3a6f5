//! Parity of the built-in networks with torchvision's: the same names and shapes and, with the same
//! weights, the same logits. `scripts/parity.py` wrote the expected values.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{difference, gpu};
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use sff::internals::app::config::Recipe;
use sff::internals::app::inference::Inference;
use sff::internals::app::torchvision::{self, About};
use sff::internals::base::random::hash;
use sff::internals::data::Images;
use sff::internals::net::models::Stem;
use sff::internals::train::checkpoint;
use sff::internals::train::metrics::Vote;

const IMAGES: usize = 2;

#[derive(Deserialize)]
struct Parity {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    arch: String,
    stem: Stem,
    /// Logits per image and class, by side of the images.
    logits: BTreeMap<String, Vec<Vec<f64>>>,
    /// Shapes of all tensors in torchvision's state dict.
    tensors: BTreeMap<String, Vec<usize>>,
}

/// The formula of `scripts/parity.py`.
fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let key = name.bytes().fold(0, |key, byte| hash([key, byte.into(), 0, 0]));
    let fan_in: usize = shape[1..].iter().product();
    let value = |at: u64| {
        let uniform = (hash([key, at, 0, 0]) >> 11) as f64 / (1u64 << 53) as f64;
        let signed = 2.0 * uniform - 1.0;
        if name.ends_with("running_var") || (name.ends_with("weight") && shape.len() == 1) {
            0.5 + uniform
        } else if shape.len() == 1 {
            0.2 * signed
        } else {
            signed * (4.5 / fan_in as f64).sqrt()
        }
    };
    (0..shape.iter().product::<usize>() as u64).map(|at| value(at) as f32).collect()
}

/// Two images; the second is darker.
fn images(side: usize) -> Images {
    let count = (side * side * 3) as u64;
    let pixel = |image: u64, at: u64| hash([image, at, side as u64, 7]) as u8 >> (2 * image);
    let pixels = (0..IMAGES as u64).flat_map(|image| (0..count).map(move |at| pixel(image, at)));
    Images::in_memory([side, side, 3], pixels.collect(), vec![0; IMAGES])
}

/// Writes a state dict as PyTorch does, with the counters of its batch norms.
fn write_state_dict(case: &Case, path: &Path) {
    let bytes = |(name, shape): (&String, &Vec<usize>)| -> Vec<u8> {
        match name.ends_with("num_batches_tracked") {
            true => 17i64.to_le_bytes().to_vec(),
            false => bytemuck::cast_slice(&values(name, shape)).to_vec(),
        }
    };
    let data: Vec<Vec<u8>> = case.tensors.iter().map(bytes).collect();
    let views = case.tensors.iter().zip(&data).map(|((name, shape), bytes)| {
        let dtype = match name.ends_with("num_batches_tracked") {
            true => Dtype::I64,
            false => Dtype::F32,
        };
        (name, TensorView::new(dtype, shape.clone(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn check(arch: &str) {
    let parity: Parity = serde_json::from_str(include_str!("parity.json")).unwrap();
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    let mut compared = 0;
    for case in parity.cases.iter().filter(|case| case.arch == arch) {
        let path = folder.path().join("weights.safetensors");
        write_state_dict(case, &path);
        let state = torchvision::read(&path).unwrap();
        let counters = case.tensors.keys().filter(|n| n.ends_with("num_batches_tracked")).count();
        assert_eq!(state.arrays.len() + counters, case.tensors.len());
        assert!(state.notes.len() == 1 && state.notes[0].contains(&counters.to_string()));
        for (side, logits) in &case.logits {
            let side = side.parse().unwrap();
            let recipe =
                Recipe { arch: Some(arch.to_owned()), stem: Some(case.stem), ..Recipe::default() };
            let about = About { recipe, side, classes: None, normalization: None };
            let info = torchvision::describe(&state.arrays, &about, &path).unwrap();
            let model = folder.path().join("model.safetensors");
            checkpoint::save(&model, &state.arrays, &info).unwrap();
            let images = images(side);
            let mut inference = Inference::new(&gpu, &model, &images, IMAGES).unwrap();
            let predictions = inference.predict(Vote::All).unwrap();
            let [one, other] = &logits[..] else { panic!("two images") };
            let as_f32: Vec<f32> = one.iter().map(|v| *v as f32).collect();
            assert!(difference(&as_f32, other) > 1e-2, "the logits do not depend on the image");
            for (prediction, expected) in predictions.iter().zip(logits) {
                let off = difference(&prediction.logits, expected);
                println!("{arch}, {:?} stem, {side} px: off by {off:.1e}", case.stem);
                assert!(off <= 1e-5, "{arch}, {:?} stem, {side} px: off by {off:.1e}", case.stem);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 3 * IMAGES, "two sizes with one stem, one with the other");
}

#[test]
fn resnet18_agrees_with_torchvision() {
    check("resnet18");
}

#[test]
fn mobilenet_v3_small_agrees_with_torchvision() {
    check("mobilenet-v3-small");
}

#[test]
fn mobilenet_v3_large_agrees_with_torchvision() {
    check("mobilenet-v3-large");
}
