use sff::internals::base::shape::{Layout, Shape, Window};
use sff::internals::compiler::ops;
use sff::internals::compiler::ops::pool::argmax_shape;
use sff::internals::compiler::tensor::Kind;
use sff::internals::net::options::Precision;

use super::{Case, Purpose, all_maps, random};

fn max(precision: Precision, shape: Shape, window: Window, values: Vec<f32>) -> Option<Case> {
    let pooled = window.output(shape)?;
    let mut case = Case::of(precision);
    let (x, dy) = (case.given(shape, precision.maps(), values), case.maps(pooled));
    let (y, dx) = (case.output_maps(pooled), case.output_maps(shape));
    let words = argmax_shape(pooled);
    let argmax = case.temporary("argmax", words, Layout::Words, Kind::Activation);
    case.program.push(ops::MaxPool { x, y, argmax, window });
    case.program.push(ops::MaxPoolGrad { dy, argmax, dx, window });
    case.objective(y, dy);
    case.gradient(x, dx);
    Some(case.called(format!("max of {shape}, {window:?}")))
}

fn avg(precision: Precision, shape: Shape, to: Shape) -> Case {
    let mut case = Case::of(precision);
    let (x, dy) = (case.maps(shape), case.input(to));
    let (y, dx) = (case.output(to), case.output_maps(shape));
    case.program.push(ops::AvgPool { x, y });
    case.program.push(ops::AvgPoolGrad { dy, dx });
    case.objective(y, dy);
    case.gradient(x, dx);
    case.called(format!("means of {shape} to {to}"))
}

pub fn cases(purpose: Purpose, precision: Precision) -> Vec<Case> {
    let mut cases = Vec::new();
    match purpose {
        Purpose::Gradient => {
            let maps = Shape::new;
            for (shape, kernel, stride, pad) in [
                (maps(1, 6, 4, 3), 2, 2, 0),
                (maps(3, 5, 7, 5), 2, 2, 0),
                (maps(1, 5, 4, 6), 3, 2, 1),
                (maps(3, 3, 5, 1), 3, 1, 1),
                (maps(1, 7, 5, 2), 5, 2, 2),
            ] {
                let window = Window { kernel, stride, pad };
                // All values differ.
                let values = (0..shape.elements()).map(|i| (i * 7919 % 1009) as f32 * 0.01);
                cases.extend(max(precision, shape, window, values.collect()));
            }
            for (n, (h, w)) in [(1, (1, 1)), (3, (1, 1)), (2, (2, 3)), (1, (3, 4))] {
                cases.push(avg(precision, maps(n, 3, 5, 6), maps(n, h, w, 6)));
            }
        }
        Purpose::Kernel => {
            for shape in all_maps() {
                for (kernel, stride, pad) in [(2, 2, 0), (3, 2, 1), (3, 1, 0)] {
                    let window = Window { kernel, stride, pad };
                    // Integers, so that there are ties.
                    let values = random(1, shape.elements()).into_iter().map(|v| (v * 3.0).round());
                    cases.extend(max(precision, shape, window, values.collect()));
                }
                for (h, w) in [(1, 1), (2, 3), (3, 2), (4, 4)] {
                    let to = Shape::new(shape.n, h.min(shape.h), w.min(shape.w), shape.c);
                    cases.push(avg(precision, shape, to));
                }
            }
        }
        Purpose::Rate => {
            let shape = Shape::new(64, 56, 56, 64);
            let values = random(1, shape.elements());
            cases.extend(max(precision, shape, Window::same(3, 2), values));
            cases.push(avg(precision, shape, Shape::rows(64, 64)));
        }
    }
    cases
}
