use sff::internals::base::shape::{Shape, Window};
use sff::internals::compiler::ops;
use sff::internals::net::options::Precision;

use super::{Case, Purpose, SELECTED, most_maps};

const WINDOWS: [Window; 5] = [
    Window::same(1, 1),
    Window::same(3, 1),
    Window::same(5, 1),
    Window::same(3, 2),
    Window { kernel: 1, stride: 2, pad: 0 },
];

/// A convolution, and its gradients.
fn case(precision: Precision, shape: Shape, cout: usize, window: Window) -> Case {
    let y_shape = window.output(shape).expect("the window fits").with_c(cout);
    let mut case = Case::of(precision);
    let x = case.maps(shape);
    let w = case.weight(window.kernel, shape.c, cout);
    let bias = case.input(Shape::vector(cout));
    let dy = case.maps(y_shape);
    let [plain, y] = [(); 2].map(|()| case.output_maps(y_shape));
    let (dx, db) = (case.output_maps(shape), case.output(Shape::vector(cout)));
    let dw = case.weight_output(window.kernel, shape.c, cout);
    case.program.push(ops::Conv2d { x, w, bias: None, y: plain, window });
    case.program.push(ops::Conv2d { x, w, bias: Some(bias), y, window });
    case.program.push(ops::Conv2dDgrad { dy, w, dx, window });
    case.program.push(ops::Conv2dWgrad { x, dy, dw, window });
    case.program.push(ops::BiasGrad { dy, db });
    case.objective(y, dy);
    [(x, dx), (w, dw), (bias, db)].into_iter().for_each(|(x, dx)| case.gradient(x, dx));
    let Window { kernel, stride, .. } = window;
    case.called(format!("{shape} to {cout}, k {kernel}, stride {stride}"))
}

pub fn cases(purpose: Purpose, precision: Precision) -> Vec<Case> {
    let maps = Shape::new;
    match purpose {
        Purpose::Gradient => [
            (maps(1, 5, 4, 3), 2, 1, 1),
            (maps(3, 3, 5, 1), 5, 1, 2),
            (maps(3, 5, 7, 2), 3, 3, 1),
            (maps(1, 6, 5, 5), 6, 3, 2),
            (maps(1, 7, 3, 3), 1, 5, 1),
            (maps(3, 4, 7, 2), 5, 5, 2),
        ]
        .map(|(shape, out, kernel, stride)| {
            case(precision, shape, out, Window::same(kernel, stride))
        })
        .into(),
        Purpose::Kernel => {
            let each = |(shape, out): (Shape, usize)| {
                let selected = SELECTED.contains(&(shape, out));
                WINDOWS.map(|window| {
                    let every_tile = selected
                        && (precision == Precision::F32
                            || (shape, out) == SELECTED[1] && window.kernel == 3);
                    Case { every_tile, ..case(precision, shape, out, window) }
                })
            };
            most_maps(precision).into_iter().flat_map(each).collect()
        }
        Purpose::Rate => [
            (maps(64, 32, 32, 64), 64, 3, 1),
            (maps(64, 32, 32, 64), 128, 3, 2),
            (maps(64, 32, 32, 64), 128, 1, 1),
            (maps(256, 32, 32, 3), 32, 3, 1),
        ]
        .map(|(shape, out, kernel, stride)| {
            case(precision, shape, out, Window::same(kernel, stride))
        })
        .into(),
    }
}
