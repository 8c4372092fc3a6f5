use sff::internals::base::shape::Shape;
use sff::internals::compiler::ops;
use sff::internals::net::layers::Activation;
use sff::internals::net::options::Precision;

use super::{Case, Purpose, all_maps};

fn case(precision: Precision, shape: Shape) -> Case {
    let mut case = Case::of(precision);
    let (x, dy) = (case.maps(shape), case.maps(shape));
    let [y, dx] = [(); 2].map(|()| case.output_maps(shape));
    let stats = case.output(Shape::rows(shape.n, 2));
    case.program.push(ops::LayerNorm { x, y, stats });
    case.program.push(ops::LayerNormGrad { y, dy, stats, dx, relu: false });
    case.objective(y, dy);
    case.gradient(x, dx);
    case.called(shape.to_string())
}

/// After a ReLU, whose gradient is part of the layer norm's.
fn after_relu(precision: Precision, shape: Shape) -> Case {
    let mut case = Case::of(precision);
    let (x, dy) = (case.maps(shape), case.maps(shape));
    let [positive, y, dx] = [(); 3].map(|()| case.output_maps(shape));
    let stats = case.output(Shape::rows(shape.n, 2));
    case.program.push(ops::Activate { x, y: positive, act: Activation::Relu });
    case.program.push(ops::LayerNorm { x: positive, y, stats });
    case.program.push(ops::LayerNormGrad { y, dy, stats, dx, relu: true });
    case.called(format!("{shape} after a ReLU"))
}

pub fn cases(purpose: Purpose, precision: Precision) -> Vec<Case> {
    match purpose {
        Purpose::Gradient => [1, 3].map(|n| case(precision, Shape::new(n, 3, 2, 5))).into(),
        Purpose::Kernel => all_maps()
            .filter(|shape| shape.elements() > shape.n)
            .flat_map(|shape| [case(precision, shape), after_relu(precision, shape)])
            .collect(),
        Purpose::Rate => vec![case(precision, Shape::new(64, 56, 56, 64))],
    }
}
