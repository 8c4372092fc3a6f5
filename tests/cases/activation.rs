use sff::internals::base::shape::Shape;
use sff::internals::compiler::ops;
use sff::internals::net::layers::Activation;
use sff::internals::net::options::Precision;

use super::{Case, Purpose, all_maps, random};

pub const ACTIVATIONS: [Activation; 4] =
    [Activation::None, Activation::Relu, Activation::HardSwish, Activation::HardSigmoid];

fn case(precision: Precision, shape: Shape, act: Activation, values: Vec<f32>) -> Case {
    let mut case = Case::of(precision);
    let (x, dy) = (case.given(shape, precision.maps(), values), case.maps(shape));
    let [y, dx] = [(); 2].map(|()| case.output_maps(shape));
    case.program.push(ops::Activate { x, y, act });
    case.program.push(ops::ActivateGrad { x, dy, dx, act });
    case.objective(y, dy);
    case.gradient(x, dx);
    case.called(format!("{shape}, {act:?}"))
}

fn add(precision: Precision, shape: Shape) -> Case {
    let mut case = Case::of(precision);
    let (a, b, dy) = (case.maps(shape), case.maps(shape), case.maps(shape));
    let y = case.output_maps(shape);
    case.program.push(ops::Add { a, b, y });
    case.objective(y, dy);
    // Both inputs have the gradient of the sum.
    case.gradient(a, dy);
    case.gradient(b, dy);
    case.called(shape.to_string())
}

pub fn cases(purpose: Purpose, precision: Precision) -> Vec<Case> {
    let each = |shape: Shape, values: &dyn Fn(usize) -> Vec<f32>| {
        ACTIVATIONS.map(|act| case(precision, shape, act, values(shape.elements())))
    };
    match purpose {
        Purpose::Gradient => {
            // On both sides of every kink, but never at one.
            let values = |count| (0..count).map(|i| (i * 37 % 135) as f32 * 0.1 - 6.55).collect();
            let mut cases: Vec<_> = each(Shape::new(3, 3, 5, 3), &values).into();
            cases.push(add(precision, Shape::new(1, 3, 2, 3)));
            cases
        }
        Purpose::Kernel => {
            // Beyond the kinks on both sides.
            let values = |count| random(3, count).iter().map(|v| v * 6.0).collect();
            let of = |shape| each(shape, &values).into_iter().chain([add(precision, shape)]);
            all_maps().flat_map(of).collect()
        }
        Purpose::Rate => {
            let shape = Shape::new(64, 56, 56, 64);
            let values = random(1, shape.elements());
            vec![case(precision, shape, Activation::HardSwish, values)]
        }
    }
}
