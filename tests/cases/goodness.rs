use sff::internals::base::shape::{Shape, Window};
use sff::internals::compiler::ops;
use sff::internals::net::options::Precision;

use super::{Case, Purpose, SELECTED, most_maps};

/// The goodness of a head with a `kernel` × `kernel` convolution, and its gradients.
pub fn goodness(precision: Precision, shape: Shape, classes: usize, kernel: usize) -> Case {
    let window = Window::same(kernel, 1);
    let rows = Shape::rows(shape.n, classes);
    let mut case = Case::of(precision);
    let x = case.maps(shape);
    let w = case.weight(kernel, shape.c, classes);
    let dscores = case.input(rows);
    let (scores, dx) = (case.output(rows), case.output_maps(shape));
    let dw = case.weight_output(kernel, shape.c, classes);
    let scale = 0.7;
    case.program.push(ops::Goodness { x, w, scores, window, scale });
    case.program.push(ops::GoodnessGrad { x, w, dscores, dx, dw, window, scale });
    case.objective(scores, dscores);
    case.gradient(x, dx);
    case.gradient(w, dw);
    case.called(format!("{shape}, {classes} classes, k {kernel}"))
}

/// Maps and classes for which the kernels use Gram matrices.
const BY_GRAM: [(Shape, usize); 4] = [
    (Shape::new(1, 7, 5, 3), 40),
    (Shape::new(3, 6, 9, 8), 70),
    (Shape::new(5, 4, 4, 4), 600),
    (Shape::new(5, 12, 11, 18), 130),
];

pub fn cases(purpose: Purpose, precision: Precision) -> Vec<Case> {
    let maps = Shape::new;
    match purpose {
        Purpose::Gradient => [
            (maps(1, 3, 5, 3), 2, 1),
            (maps(3, 5, 4, 2), 5, 3),
            (maps(3, 3, 3, 1), 3, 5),
            (maps(1, 5, 6, 5), 3, 5),
        ]
        .map(|(shape, classes, kernel)| goodness(precision, shape, classes, kernel))
        .into(),
        Purpose::Kernel => {
            let each = |(shape, classes): (Shape, usize)| {
                [1, 3, 5].map(|kernel| {
                    let every_tile = SELECTED.contains(&(shape, classes))
                        && (precision == Precision::F32
                            || (shape, classes) == SELECTED[1] && kernel == 3);
                    Case { every_tile, ..goodness(precision, shape, classes, kernel) }
                })
            };
            let by_gram = BY_GRAM.map(|(shape, classes)| {
                let case = goodness(precision, shape, classes, 1);
                Case { every_tile: precision == Precision::F32, ..case }
            });
            most_maps(precision).into_iter().flat_map(each).chain(by_gram).collect()
        }
        Purpose::Rate => vec![
            goodness(precision, maps(128, 16, 16, 128), 10, 3),
            goodness(precision, maps(128, 16, 16, 128), 1000, 1),
        ],
    }
}
