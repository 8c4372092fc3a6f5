//! Parity with golden vectors: one training step of tiny networks, computed in float64 by an
//! independent PyTorch implementation, against the f64 reference interpreter and the device.
//!
//! The folder is `SFF_GOLDEN`, or `tests/golden`. Every `*_f64.safetensors` file in it is run. A file
//! whose network is not supported is skipped, and named in the output with the reason.

mod case;
mod machine;
mod repr;
mod run;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::common::gpu;
use case::Case;
use machine::Interpreter;
use run::Run;
use sff::internals::base::shape::Shape;
use sff::internals::compiler::program::{Built, Feed, Setup, build};
use sff::internals::compiler::reference::Reference;
use sff::internals::gpu::session::{Session, SessionOptions};
use sff::internals::net::augment::Augment;
use sff::internals::net::layers::Network;
use sff::internals::net::options::{Normalize, Precision, Recompute};

/// Largest differences allowed, relative to the largest magnitude of the golden tensor.
struct Bounds {
    /// Activations, scores and losses in training.
    forward: f64,
    /// Gradients.
    gradient: f64,
    /// Running statistics, and results of evaluation.
    running: f64,
    /// Weights after a step, and moments after one with the golden gradients.
    weight: f64,
}

/// The reference computes in f64, but the constants of the program are float32. In training only batch
/// norm's eps matters: its relative error is 3e-8, or 3e-13 of a variance of 1. The relative error of
/// its momentum, 1.5e-8, limits running statistics and evaluation. The learning rate's is 9e-9, and a
/// weight that starts at zero has the same.
const REFERENCE: Bounds = Bounds { forward: 3e-12, gradient: 1e-11, running: 1e-8, weight: 2e-8 };

/// An eps of 1e-3 has an error of 5e-11, which matters for the small variances of narrow layers.
const COARSE_EPS: Bounds = Bounds { forward: 1e-9, gradient: 1e-7, ..REFERENCE };

/// Rounding to float32 at every op: at most 1e-6 forward and 2e-6 in the gradients with Mesa's
/// llvmpipe. Divisions, roots and exponentials may be rounded more coarsely elsewhere.
const DEVICE: Bounds = Bounds { forward: 1e-5, gradient: 2e-5, running: 1e-5, weight: 1e-6 };

/// The cases that are supported; prints the names of the others.
fn cases() -> Vec<(Case, Network)> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let folder = std::env::var_os("SFF_GOLDEN").map_or_else(|| default.into(), PathBuf::from);
    let mut cases = Vec::new();
    for path in case::files(&folder) {
        let case = Case::read(&path);
        match case.network() {
            Ok(network) => cases.push((case, network)),
            Err(reason) => println!("golden {}: skipped, not supported: {reason}", case.name),
        }
    }
    assert!(!cases.is_empty(), "no golden case in {} can run", folder.display());
    cases
}

fn compile(case: &Case, network: &Network) -> Built {
    let [n, h, w, c] = case.images();
    let feed = Some(Feed { batch: n, resident: n, stored: [h, w] });
    let setup = Setup {
        image: Shape::new(1, h, w, c),
        // Images are written as floats, behind the op that normalises them.
        normalize: Normalize { mean: [0.0; 4], std: [1.0; 4] },
        augment: Augment::default(),
        train: feed,
        eval: feed,
        micro_batches: 1,
        adamw: case.adamw(),
        recompute: Recompute::default(),
        precision: Precision::F32,
        window: 0,
    };
    build(network, &setup).unwrap_or_else(|e| panic!("{}: {e}", case.name))
}

#[test]
fn golden_vectors_match_in_the_reference() {
    for (case, network) in cases() {
        let built = compile(&case, &network);
        let mut machine = Interpreter {
            ops: built.program.ops(),
            reference: Reference::new(built.program.tensors()),
        };
        let label = format!("golden {} in the reference", case.name);
        let worst = BTreeMap::new();
        let bounds = if case.eps() > 1e-5 { &COARSE_EPS } else { &REFERENCE };
        Run { label, case: &case, built: &built, machine: &mut machine, bounds, worst }.run();
    }
}

#[test]
fn golden_vectors_match_on_the_device() {
    let gpu = gpu();
    for (case, network) in cases() {
        for (class, gpu) in crate::common::as_every_class(&gpu) {
            let built = compile(&case, &network);
            let options = SessionOptions { checked: true, ..SessionOptions::default() };
            let mut machine = Session::new(&gpu, built.program.clone(), options)
                .unwrap_or_else(|e| panic!("{}: {e}", case.name));
            let label = format!("golden {} on the device as {class}", case.name);
            let worst = BTreeMap::new();
            Run {
                label,
                case: &case,
                built: &built,
                machine: &mut machine,
                bounds: &DEVICE,
                worst,
            }
            .run();
        }
    }
}
