//! Weight files for the tests of `sff import` and `sff export`.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sff::internals::app::config::{Config, Method, Recipe};
use sff::internals::base::random::hash;
use sff::internals::base::shape::Shape;
use sff::internals::compiler::budget::Demand;
use sff::internals::compiler::plan::Limits;
use sff::internals::net::options::TrainOptions;
use sff::internals::train::checkpoint::{Array, Arrays};

/// The tensors of a safetensors file by name: number format, shape, bytes.
pub type Raw = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Writes a safetensors file.
pub fn save(path: &Path, tensors: &Raw) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Reads a safetensors file.
pub fn load(path: &Path) -> Raw {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (&str, TensorView)| {
        (name.to_owned(), (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    file.iter().map(tensor).collect()
}

/// Arrays as float32 tensors.
pub fn raw(arrays: &Arrays) -> Raw {
    let bytes = |array: &Array| bytemuck::cast_slice(&array.values).to_vec();
    let tensor = |(name, array): (&String, &Array)| {
        (name.clone(), (Dtype::F32, array.shape.clone(), bytes(array)))
    };
    arrays.iter().map(tensor).collect()
}

/// Weights of the backpropagation network `cnn` with widths 4 and 5 for 3 classes.
pub fn cnn() -> Arrays {
    let mut arrays = Arrays::new();
    let mut add = |name: &str, shape: &[usize]| {
        let value = |at| (hash([at, shape[0] as u64, 0, 0]) % 1000) as f32 / 1000.0;
        let values = (0..shape.iter().product::<usize>() as u64).map(value).collect();
        arrays.insert(name.to_owned(), Array { shape: shape.to_vec(), values });
    };
    for (number, cin, cout) in [(1, 3, 4), (2, 4, 5)] {
        add(&format!("conv{number}.weight"), &[cout, cin, 3, 3]);
        for part in ["weight", "bias", "running_mean", "running_var"] {
            add(&format!("bn{number}.{part}"), &[cout]);
        }
    }
    add("fc.weight", &[3, 5]);
    add("fc.bias", &[3]);
    arrays
}

/// Random weights of a network with its default options.
pub fn random(arch: &str, method: Method, classes: usize) -> Raw {
    let config = Config::resolve(Recipe {
        arch: Some(arch.into()),
        method: Some(method),
        ..Recipe::default()
    });
    let network = config.unwrap().network(classes, 32);
    let demand =
        Demand::new(&network, Shape::new(1, 32, 32, 3), &TrainOptions::default(), Limits::NONE);
    let built = demand.build(1, 1, false).unwrap();
    let mut out = Raw::new();
    let mut add = |name: String, shape: Vec<usize>, low: f32, high: f32| {
        let key = name.bytes().fold(0, |key, byte| hash([key, byte.into(), 0, 0]));
        let value = |at| low + (high - low) * (hash([key, at, 0, 0]) % 1001) as f32 / 1000.0;
        let values: Vec<f32> = (0..shape.iter().product::<usize>() as u64).map(value).collect();
        out.insert(name, (Dtype::F32, shape, bytemuck::cast_slice(&values).to_vec()));
    };
    for (name, parameter) in &built.parameters {
        let shape = parameter.file_shape.clone();
        let bound = (6.0 / shape[1..].iter().product::<usize>() as f32).sqrt();
        match shape.len() {
            1 if name.ends_with("weight") => add(name.clone(), shape, 0.5, 1.5),
            1 => add(name.clone(), shape, -0.2, 0.2),
            _ => add(name.clone(), shape, -bound, bound),
        }
    }
    for (name, id) in &built.running {
        let channels = built.program.tensor(*id).shape.c;
        add(format!("{name}.running_mean"), vec![channels], -0.2, 0.2);
        add(format!("{name}.running_var"), vec![channels], 0.5, 1.5);
    }
    out
}
