use sff::internals::base::shape::Shape;
use sff::internals::compiler::ops;
use sff::internals::net::options::Precision;

use super::{Case, Purpose, all_maps};

/// The choice depends on the position in the batch, also if the batch is cut into slices.
fn case(precision: Precision, shape: Shape, layer: u32, rate: f32) -> Case {
    let mut case = Case::of(precision);
    let key = case.words(vec![0x9abc_def0, 77]);
    let (x, dy) = (case.maps(shape), case.maps(shape));
    let [y, dx] = [(); 2].map(|()| case.output_maps(shape));
    case.program.push(ops::Dropout { x, key, y, layer, rate });
    case.program.push(ops::Dropout { x: dy, key, y: dx, layer, rate });
    case.objective(y, dy);
    case.gradient(x, dx);
    case.called(format!("{shape}, layer {layer}, rate {rate}"))
}

pub fn cases(purpose: Purpose, precision: Precision) -> Vec<Case> {
    let each = |shape| {
        [(0, 0.2), (3, 0.5), (0, 0.0)].map(|(layer, rate)| case(precision, shape, layer, rate))
    };
    match purpose {
        Purpose::Gradient => each(Shape::new(2, 3, 2, 5)).into(),
        Purpose::Kernel => all_maps().flat_map(each).collect(),
        Purpose::Rate => vec![case(precision, Shape::new(64, 56, 56, 64), 0, 0.2)],
    }
}
