//! How long an invocation's loops are. Some drivers end them without a word.

use crate::compiler::ops::Op;
use crate::compiler::split::{self, convolution_steps, goodness_steps};
use crate::compiler::tensor::{Tensor, TensorId};
use crate::{Error, Result};

/// Checks that no invocation of an op takes more steps in its loops than `most`, where that depends on
/// what a user chooses: sums over a batch are cut so that they do not.
///
/// # Errors
/// [`Error::Limit`] names the op.
pub fn check(op: &Op, tensors: &[Tensor], most: usize) -> Result<()> {
    let (steps, advice) = longest(op, tensors);
    if steps <= most {
        return Ok(());
    }
    let access = op.access();
    let shapes = access.reads.iter().map(|id| tensors[id.0].shape.to_string());
    Err(Error::Limit {
        what: format!("{} of {}", op.name(), shapes.collect::<Vec<_>>().join(" and ")),
        needed: format!("{steps} steps of a loop"),
        available: format!("{most}, and would end it silently"),
        advice: advice.into(),
    })
}

/// About the most steps that an invocation takes where none share them, and what makes them fewer.
fn longest(op: &Op, tensors: &[Tensor]) -> (usize, &'static str) {
    const KERNEL: &str = "use a smaller --aux-kernel or fewer channels";
    const IMAGE: &str = "use smaller images";
    const CLASSES: &str = "use fewer classes";
    let shape = |id: TensorId| tensors[id.0].shape;
    match *op {
        Op::Conv2d { x: from, window, .. } | Op::Conv2dDgrad { dy: from, window, .. } => {
            (convolution_steps(shape(from).c4(), window.kernel), KERNEL)
        }
        Op::Goodness { x, scratch, window, .. } => {
            (goodness_steps(shape(x), window.kernel, shape(scratch).h), KERNEL)
        }
        Op::GoodnessGrad { x, maps, window, .. } => {
            let c4 = shape(x).c4().max(shape(maps).c4());
            (convolution_steps(c4, window.kernel), KERNEL)
        }
        Op::LayerNorm { x, .. } | Op::LayerNormGrad { dx: x, .. } => {
            let (x, chunks) = (shape(x), split::image_chunks(shape(x)));
            ((x.h * x.w).div_ceil(chunks) * (x.c4() + 1), IMAGE)
        }
        Op::AvgPool { x, y } | Op::AvgPoolGrad { dx: x, dy: y } => {
            let (x, y) = (shape(x), shape(y));
            (x.h.div_ceil(y.h) * (x.w.div_ceil(y.w) + 1), IMAGE)
        }
        Op::ExciteGrad { x, .. } => (shape(x).h * shape(x).w, IMAGE),
        Op::Input { x, .. } => (shape(x).h * shape(x).w / split::grey_parts(shape(x)), IMAGE),
        Op::CrossEntropy { scores, .. } => (3 * shape(scores).c, CLASSES),
        Op::Metrics { blocks, classes, .. } => (classes * (blocks + 1), CLASSES),
        _ => (0, ""),
    }
}

#[cfg(test)]
mod tests {
    use crate::base::shape::{Layout, Shape, Window};
    use crate::compiler::kernel::{Target, Tiles, lower};
    use crate::compiler::ops::Op;
    use crate::compiler::program::Program;
    use crate::compiler::tensor::Kind;

    #[test]
    fn loops_that_a_driver_would_end_are_refused() {
        let mut program = Program::default();
        let mut maps =
            |name, c| program.add(name, Shape::new(1, 8, 8, c), Layout::Nhwc, Kind::Activation);
        let (x, y) = (maps("x", 512), maps("y", 4));
        let w = program.add("w", Shape::weight(31, 512, 4), Layout::Hwio, Kind::Parameter);
        let op = Op::Conv2d { x, w, bias: None, y, window: Window::same(31, 1) };
        let with = |max_steps| {
            let target = Target { max_steps, ..Target::unlimited(Tiles::CPU) };
            lower(&op, program.tensors(), target).map(drop)
        };
        with(usize::MAX).unwrap();
        let message = with(65_000).unwrap_err().to_string();
        assert_eq!(
            message,
            "conv2d of 1×8×8×512 and 31×31×512×4 needs 124000 steps of a loop but the device allows \
             65000, and would end it silently; use a smaller --aux-kernel or fewer channels"
        );
    }
}
