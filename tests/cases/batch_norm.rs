use sff::internals::base::shape::{Layout, Shape};
use sff::internals::compiler::ops;
use sff::internals::net::layers::{Activation, BatchNorm};
use sff::internals::net::options::Precision;

use super::activation::ACTIVATIONS;
use super::{Case, Purpose, all_maps, random};

/// Evaluation, training with a residual, and training without one, with its gradient.
fn case(precision: Precision, shape: Shape, act: Activation, offset: f32) -> Case {
    let norm = BatchNorm { eps: 1e-3, momentum: 0.1, act };
    let mut case = Case::of(precision);
    let values = random(1, shape.elements()).iter().map(|v| v + offset).collect();
    let x = case.given(shape, precision.maps(), values);
    let [gamma, beta] = [(); 2].map(|()| case.input(Shape::vector(shape.c)));
    let (residual, dy) = (case.maps(shape), case.maps(shape));
    let two_rows = Shape::new(1, 1, 2, shape.c);
    let values = random(9, 2 * shape.c).iter().map(|v| v.abs() + 0.1).collect();
    let running = case.given(two_rows, Layout::Nhwc, values);
    let [stats, again] = [(); 2].map(|()| case.output(two_rows));
    let [eval, sum, y, dx] = [(); 4].map(|()| case.output_maps(shape));
    let [dgamma, dbeta] = [(); 2].map(|()| case.output(Shape::vector(shape.c)));
    case.program.push(ops::BatchNormEval {
        x,
        residual: None,
        gamma,
        beta,
        running,
        y: eval,
        norm,
    });
    case.program.push(ops::BatchNorm {
        x,
        residual: Some(residual),
        gamma,
        beta,
        running,
        stats: again,
        y: sum,
        norm,
    });
    let residual = None;
    case.program.push(ops::BatchNorm { x, residual, gamma, beta, running, stats, y, norm });
    case.program.push(ops::BatchNormGrad { x, dy, gamma, beta, stats, dx, dgamma, dbeta, norm });
    case.objective(y, dy);
    [(x, dx), (gamma, dgamma), (beta, dbeta)].into_iter().for_each(|(x, dx)| case.gradient(x, dx));
    case.called(format!("{shape}, {act:?}"))
}

pub fn cases(purpose: Purpose, precision: Precision) -> Vec<Case> {
    let maps = |n, c| Shape::new(n, 3, 5, c);
    match purpose {
        Purpose::Gradient => [
            (maps(1, 3), Activation::None),
            (maps(3, 5), Activation::None),
            (maps(1, 6), Activation::Relu),
            (maps(3, 1), Activation::Relu),
            (maps(2, 3), Activation::HardSwish),
        ]
        .map(|(shape, act)| case(precision, shape, act, 0.0))
        .into(),
        Purpose::Kernel => {
            // With one pixel, the variance is 0 and the gradient consists of rounding errors.
            let shapes = all_maps().filter(|shape| shape.pixels() > 1);
            // A mean far from zero, where a variance from sums of squares would lose its precision.
            let each = |shape| ACTIVATIONS.map(|act| case(precision, shape, act, 30.0));
            shapes.flat_map(each).collect()
        }
        Purpose::Rate => vec![case(precision, Shape::new(64, 56, 56, 64), Activation::Relu, 0.0)],
    }
}
