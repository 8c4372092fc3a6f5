//! Work of a dispatch: FLOPs, and a lower bound of the bytes that it moves.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::Result;
use crate::compiler::kernel::{Dispatch, Kernel};
use crate::compiler::ops::Node;
use crate::compiler::tensor::Tensor;
use crate::compiler::tensor::Tensors;
use crate::compiler::wgsl::{self, Reflection};

/// Work of a dispatch.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Work {
    /// Floating-point operations, see [`crate::compiler::ops::Operation::operations`].
    pub flops: f64,
    /// Bytes of its operands; those that it reads and writes count twice.
    pub bytes: f64,
}

/// The reflections of kernels, which tell the operands that they read and write.
#[derive(Default)]
pub struct Traffic(BTreeMap<Kernel, Reflection>);

impl Traffic {
    /// The reflection of a kernel.
    ///
    /// # Errors
    /// Those of [`Reflection::new`], if the kernel is not a valid shader.
    pub fn reflection(&mut self, kernel: &Kernel) -> Result<&Reflection> {
        let unknown = match self.0.entry(kernel.clone()) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(unknown) => unknown,
        };
        let shader = wgsl::compose(kernel.file, &kernel.definitions)?;
        Ok(unknown.insert(Reflection::new(&label(kernel), &shader, kernel.entry)?))
    }

    /// Bytes of a dispatch's operands; those that it reads and writes count twice. It moves at least as
    /// many, unless operands share bytes.
    ///
    /// # Errors
    /// Those of [`Traffic::reflection`].
    pub fn bytes(&mut self, dispatch: &Dispatch) -> Result<usize> {
        let bindings = &self.reflection(&dispatch.kernel)?.bindings;
        let times = |name: &str| {
            let binding = bindings.iter().find(|b| b.name == name);
            binding.map_or(0, |b| usize::from(b.reads) + usize::from(b.writes))
        };
        Ok(dispatch.operands.iter().map(|(name, o)| o.bytes * times(name)).sum())
    }
}

/// The work of each dispatch of an op. The op's FLOPs are divided among dispatches with products, in
/// proportion to their multiply-adds; without products among all, in proportion to their bytes.
///
/// # Errors
/// Those of [`Traffic::bytes`].
pub fn share(
    op: &Node,
    tensors: &[Tensor],
    dispatches: &[Dispatch],
    traffic: &mut Traffic,
) -> Result<Vec<Work>> {
    let flops = op.operations(Tensors(tensors)) as f64;
    let bytes = dispatches.iter().map(|d| Ok(traffic.bytes(d)? as f64));
    let bytes: Vec<f64> = bytes.collect::<Result<_>>()?;
    let products: Vec<f64> = dispatches.iter().map(products).collect();
    let weights = if products.iter().sum::<f64>() > 0.0 { &products } else { &bytes };
    let all = weights.iter().sum::<f64>().max(1.0);
    let each = weights.iter().zip(&bytes);
    Ok(each.map(|(weight, bytes)| Work { flops: flops * weight / all, bytes: *bytes }).collect())
}

/// Multiply-adds of a convolution or a matrix product on groups of four channels; 0 for other kernels.
fn products(dispatch: &Dispatch) -> f64 {
    let param = |name: &str| {
        let (_, offset, _) = dispatch.members.iter().find(|(n, ..)| *n == name)?;
        let word = dispatch.params.get(*offset..offset + 4)?;
        Some(f64::from(u32::from_le_bytes(word.try_into().ok()?)))
    };
    let product = |names: &[&str]| names.iter().map(|n| param(n)).product::<Option<f64>>();
    let convolution = product(&["pixels", "kernel", "kernel", "in_c4", "out_c4"]);
    convolution.or(product(&["images", "rows", "depth", "width"])).unwrap_or(0.0)
}

/// A kernel's name: file, entry point, definitions that are not 0.
pub fn label(kernel: &Kernel) -> String {
    let Kernel { file, entry, definitions } = kernel;
    let on = definitions.iter().filter(|(_, value)| **value != 0);
    on.fold(format!("{file}.{entry}"), |label, (name, value)| format!("{label} {name}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shape::{Layout, Shape, Weight, Window};
    use crate::compiler::kernel::{Target, Tiles};
    use crate::compiler::ops::{self, Activate, Add, Conv2d, Conv2dDgrad, Conv2dWgrad, Op};
    use crate::compiler::program::Program;
    use crate::compiler::tensor::Kind;
    use crate::net::layers::Activation;
    use crate::net::options::AdamW;

    fn works(op: impl Into<Op>, program: &Program) -> Vec<Work> {
        let mut program = program.clone();
        program.push(op);
        let op = &program.ops()[0];
        let dispatches = op.lower(program.tensors(), Target::unlimited(Tiles::GPU)).unwrap();
        share(op, program.tensors(), &dispatches, &mut Traffic::default()).unwrap()
    }

    #[test]
    fn bytes_and_flops_match_a_count_by_hand() {
        let mut p = Program::default();
        let mut maps = |n, h, w, c| p.add("", Shape::new(n, h, w, c), Layout::Nhwc, Kind::Io);
        // 3 channels take 4 lanes, 7 take 8.
        let (x, y, wide) = (maps(2, 5, 4, 3), maps(2, 5, 4, 3), maps(2, 5, 4, 7));
        let (words, step) = (maps(1, 1, 1, 40), maps(1, 1, 1, 4));
        let w = p.add("", Weight::new(3, 3, 7), Layout::Hwio, Kind::Io);
        let dw = p.add("", Weight::new(3, 3, 7), Layout::Hwio, Kind::Io);
        let adamw = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
        let window = Window::same(3, 1);
        let (map, weight) = (40 * 4 * 4, 9 * 4 * 8 * 4);
        let ops: [(Op, Vec<usize>, i32); 6] = [
            (Activate { x, y, act: Activation::Relu }.into(), vec![2 * map], 120),
            (Add { a: x, b: x, y }.into(), vec![3 * map], 120),
            (
                Conv2d { x, w, bias: None, y: wide, window }.into(),
                vec![3 * map + weight],
                80 * 27 * 7,
            ),
            (
                Conv2dDgrad { dy: wide, w, dx: x, window }.into(),
                vec![3 * map + weight],
                80 * 27 * 7,
            ),
            (
                // One partial sum, and the sum over that one.
                Conv2dWgrad { x, dy: wide, dw, window }.into(),
                vec![3 * map + weight, weight + weight],
                80 * 27 * 7,
            ),
            (
                // All but the gradient and the step are read and written.
                ops::AdamW {
                    params: words,
                    grads: words,
                    m: words,
                    v: words,
                    step,
                    adamw,
                    scale: 1.0,
                }
                .into(),
                vec![7 * 160 + 16],
                15 * 40,
            ),
        ];
        for (op, bytes, flops) in ops {
            let works = works(op.clone(), &p);
            let got: Vec<usize> = works.iter().map(|work| work.bytes as usize).collect();
            assert_eq!(got, bytes, "{op:?}");
            let sum: f64 = works.iter().map(|work| work.flops).sum();
            assert!((sum - f64::from(flops)).abs() < 1e-6, "{op:?}: {sum}");
        }
    }

    /// Kernels that sum partial results have no FLOPs.
    #[test]
    fn flops_belong_to_dispatches_with_products() {
        let mut p = Program::default();
        let (image, classes) = (Shape::new(3, 8, 8, 16), 10);
        let mut maps = |shape| p.add("", shape, Layout::Nhwc, Kind::Io);
        let (x, dx, dscores) = (maps(image), maps(image), maps(Shape::rows(3, classes)));
        let weight = Weight::new(3, 16, classes);
        let [w, dw] = [(); 2].map(|()| p.add("", weight, Layout::Hwio, Kind::Io));
        let (window, scale) = (Window::same(3, 1), 1.0);
        let op = ops::GoodnessGrad { x, w, dscores, dx, dw, window, scale };
        let one = f64::from(2 * 64 * 9 * 16 * 10);
        // Three products for each image, one image at a time; then the sum.
        let expected = [vec![one; 9], vec![0.0]].concat();
        let works = works(op, &p);
        assert_eq!(works.len(), expected.len());
        for (work, flops) in works.iter().zip(expected) {
            assert!((work.flops - flops).abs() < 1e-3, "{works:?}");
        }
    }
}
