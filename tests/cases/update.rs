use sff::internals::base::shape::{Layout, Shape, Weight};
use sff::internals::compiler::ops;
use sff::internals::compiler::tensor::{Kind, TensorId};
use sff::internals::net::options::{AdamW, Precision};

use super::{Case, Purpose, random};

const ADAMW: AdamW = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };

/// A slab with a member of each shape.
fn slab(case: &mut Case, name: &str, shapes: &[(Shape, Layout)], seed: u64) -> TensorId {
    let root = case.program.add_slab(name, Kind::Optimizer);
    for (i, (shape, layout)) in shapes.iter().enumerate() {
        let id = case.program.add_member(root, &format!("{name}{i}"), *shape, *layout);
        let values = random(seed + i as u64, shape.elements());
        // A second moment is a sum of squares.
        let values = values.into_iter().map(|v| if name == "v" { v.abs() } else { v });
        case.inputs.insert(id, values.collect());
    }
    root
}

fn case(shapes: &[(Shape, Layout)]) -> Case {
    let mut case = Case::default();
    let [params, grads, m, v] = ["value", "grad", "m", "v"].map(|name| {
        let seed = 10 * case.program.tensors().len() as u64;
        slab(&mut case, name, shapes, seed)
    });
    let step = case.words([3e-3, 0.271, 0.002997, 8.0].map(f32::to_bits).to_vec());
    for scale in [1.0, 64.0] {
        case.program.push(ops::AdamW { params, grads, m, v, step, adamw: ADAMW, scale });
    }
    for kept in [0.0f32, 1.0] {
        let keep = case.words(vec![kept.to_bits()]);
        case.program.push(ops::Accumulate { x: grads, total: m, keep, factor: 0.25 });
    }
    let out = case.temporary("out", Shape::vector(7), Layout::Words, Kind::Activation);
    case.words.insert(out, vec![0; 7]);
    case.program.keep(out);
    case.program.push(ops::Finite { x: params, out, at: 5 });
    case.called(format!("{} tensors", shapes.len()))
}

pub fn cases(purpose: Purpose, precision: Precision) -> Vec<Case> {
    match (purpose, precision) {
        // Parameters are never stored in float16, and an update is no function to differentiate.
        (_, Precision::F16) | (Purpose::Gradient, _) => Vec::new(),
        (Purpose::Kernel, _) => vec![case(&[
            (Shape::vector(7), Layout::Nhwc),
            (Weight::new(3, 2, 5).into(), Layout::Hwio),
            (Weight::new(1, 64, 64).into(), Layout::Hwio),
        ])],
        (Purpose::Rate, _) => vec![case(&[(Shape::vector(1 << 22), Layout::Nhwc)])],
    }
}
