use sff::internals::base::shape::{Layout, Shape};
use sff::internals::compiler::ops;
use sff::internals::net::options::Precision;

use super::{Case, Purpose, all_maps, random};

fn case(precision: Precision, shape: Shape, dmean: f32) -> Case {
    let means = Shape::rows(shape.n, shape.c);
    let mut case = Case::of(precision);
    let (x, dy) = (case.maps(shape), case.maps(shape));
    // Beyond the kinks on both sides.
    let s = random(4, means.elements()).iter().map(|v| v * 6.0).collect();
    let s = case.given(means, Layout::Nhwc, s);
    let values = random(5, means.elements()).iter().map(|v| v * dmean).collect();
    let dmean = case.given(means, Layout::Nhwc, values);
    let [y, dx] = [(); 2].map(|()| case.output_maps(shape));
    let ds = case.output(means);
    case.program.push(ops::Excite { x, s, y });
    case.program.push(ops::ExciteGrad { x, s, dy, ds });
    case.program.push(ops::SqueezeExciteGrad { s, dy, dmean, dx });
    case.objective(y, dy);
    case.gradient(x, dx);
    case.gradient(s, ds);
    case.called(shape.to_string())
}

pub fn cases(purpose: Purpose, precision: Precision) -> Vec<Case> {
    match purpose {
        // Without `dmean`, because `s` is an input here instead of a function of the means.
        Purpose::Gradient => [1, 3].map(|n| case(precision, Shape::new(n, 3, 2, 5), 0.0)).into(),
        Purpose::Kernel => all_maps().map(|shape| case(precision, shape, 1.0)).collect(),
        Purpose::Rate => vec![case(precision, Shape::new(64, 28, 28, 120), 1.0)],
    }
}
