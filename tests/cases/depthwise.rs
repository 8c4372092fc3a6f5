use sff::internals::base::shape::{Shape, Weight, Window};
use sff::internals::compiler::ops;
use sff::internals::net::options::Precision;

use super::{Case, Purpose, most_maps};

fn case(precision: Precision, shape: Shape, window: Window) -> Option<Case> {
    let y_shape = window.output(shape)?;
    let weight = Weight::new(window.kernel, 1, shape.c).into();
    let mut case = Case::of(precision);
    let (x, w, dy) = (case.maps(shape), case.input(weight), case.maps(y_shape));
    let [y, dx] = [y_shape, shape].map(|shape| case.output_maps(shape));
    let dw = case.output(weight);
    case.program.push(ops::Depthwise { x, w, y, window });
    case.program.push(ops::DepthwiseDgrad { dy, w, dx, window });
    case.program.push(ops::DepthwiseWgrad { x, dy, dw, window });
    case.objective(y, dy);
    case.gradient(x, dx);
    case.gradient(w, dw);
    let Window { kernel, stride, .. } = window;
    Some(case.called(format!("{shape}, k {kernel}, stride {stride}")))
}

pub fn cases(purpose: Purpose, precision: Precision) -> Vec<Case> {
    let maps = Shape::new;
    let same = |(shape, kernel, stride)| case(precision, shape, Window::same(kernel, stride));
    match purpose {
        Purpose::Gradient => [
            (maps(1, 5, 4, 3), 1, 1),
            (maps(3, 3, 5, 2), 3, 1),
            (maps(1, 6, 5, 5), 3, 2),
            (maps(2, 7, 3, 1), 5, 1),
            (maps(3, 4, 7, 2), 5, 2),
            (maps(1, 9, 8, 2), 7, 3),
        ]
        .into_iter()
        .filter_map(same)
        .collect(),
        Purpose::Kernel => {
            let sevens = Window { kernel: 7, stride: 3, pad: 2 };
            let windows = [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)].map(|(k, s)| Window::same(k, s));
            let each = |(shape, _): (Shape, usize)| {
                let windows = windows.into_iter().chain([sevens]);
                windows.filter_map(move |window| case(precision, shape, window))
            };
            most_maps(precision).into_iter().flat_map(each).collect()
        }
        Purpose::Rate => [(maps(64, 56, 56, 64), 3, 1), (maps(64, 56, 56, 64), 5, 2)]
            .into_iter()
            .filter_map(same)
            .collect(),
    }
}
