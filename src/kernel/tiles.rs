//! Ways to compute the same op: sets of tiles, and which of them an op is computed with.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::{Dispatch, Target, lower};
use crate::files::hex;
use crate::ops::Op;
use crate::tensor::Tensor;

/// Sizes of the tiles that kernels compute; results differ by rounding only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tiles {
    /// Pixels per invocation of a convolution.
    pub pixels: u32,
    /// Groups of four output channels per invocation of a convolution, at most.
    pub columns: u32,
    /// Groups of four weight rows per invocation of a weight gradient, at most.
    pub rows: u32,
    /// Groups of four output channels per invocation of a weight gradient, at most.
    pub wgrad_columns: u32,
    /// Rows of pixels that an invocation of a depthwise convolution goes down, at most.
    pub depthwise_rows: u32,
    /// Pixels side by side in each of these rows, at most.
    pub depthwise_columns: u32,
    /// Invocations that load for each other what several need; 1 if each loads for itself. The size
    /// of every subgroup, and a divisor of a workgroup's 64.
    pub share: u32,
    /// Invocations that share a sum of many terms, for a result that has few others beside it; 1 if
    /// none do. A divisor of a workgroup's 64.
    pub join: u32,
    /// Whether the pixels of an invocation lie side by side where the stride is 1, so that positions
    /// of the window share loads.
    pub rows_of_pixels: bool,
    /// Rows of eight invocations that together keep what a convolution multiplies in workgroup
    /// memory; 0 if each invocation loads from the maps.
    pub tall: u32,
    /// The matrices that multiply what is stored in float16, if any.
    pub matrices: Option<Matrices>,
}

/// Matrices that the invocations of a subgroup hold and multiply together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Matrices {
    /// Rows and columns of each: 8 or 16.
    pub side: u32,
    /// Invocations of a subgroup: 8, 16, 32 or 64.
    pub subgroup: u32,
    /// Whether plain arithmetic stands in for them: for tests of all that is around them, on devices
    /// that have none.
    pub emulated: bool,
}

/// Invocations side by side in a tile of workgroup memory: the rows that [`Tiles::tall`] counts.
pub const WIDE: u32 = 8;

impl Tiles {
    /// For GPUs: small enough to stay in registers.
    pub const GPU: Self = Self {
        pixels: 8,
        columns: 2,
        rows: 2,
        wgrad_columns: 2,
        depthwise_rows: 8,
        depthwise_columns: 4,
        share: 1,
        join: 16,
        rows_of_pixels: false,
        tall: 0,
        matrices: None,
    };
    /// For drivers that take minutes and gigabytes to compile larger ones.
    pub const SMALL: Self = Self {
        pixels: 2,
        columns: 1,
        rows: 1,
        wgrad_columns: 1,
        depthwise_columns: 1,
        join: 1,
        ..Self::GPU
    };
    /// For Vulkan on a CPU, where loads are slow and registers are memory anyway. Larger tiles take
    /// the driver seconds to compile, and spill.
    pub const CPU: Self = Self {
        pixels: 8,
        columns: 4,
        rows: 4,
        wgrad_columns: 4,
        depthwise_rows: 8,
        depthwise_columns: 4,
        share: 1,
        join: 1,
        rows_of_pixels: false,
        tall: 0,
        matrices: None,
    };
}

impl Tiles {
    /// With tiles in workgroup memory, at most 12 KiB: 64 × 64 results by 64 invocations, 128 × 64
    /// by 128, 32 × 32 by 64. For GPUs with fast workgroup memory.
    pub const WORKGROUP: [Self; 3] = [
        Self { tall: 8, ..Self::GPU },
        Self { tall: 16, ..Self::GPU },
        Self { tall: 8, pixels: 4, columns: 1, rows: 1, wgrad_columns: 1, ..Self::GPU },
    ];

    /// With such matrices where maps are float16, and workgroup memory elsewhere.
    pub const fn cooperative(matrices: Matrices) -> Self {
        Self { matrices: Some(matrices), ..Self::WORKGROUP[0] }
    }

    /// The same with pixels side by side.
    pub const fn rows(self) -> Self {
        Self { rows_of_pixels: true, ..self }
    }

    /// For Vulkan on a CPU with subgroups of so many invocations, if that divides a workgroup. A
    /// load is a loop over them there, also where all load the same, so weights are loaded once
    /// and handed round.
    pub fn sharing(subgroup: u32) -> Option<Self> {
        let shared = Self { wgrad_columns: 8, share: subgroup, ..Self::CPU };
        matches!(subgroup, 4 | 8 | 16 | 32 | 64).then_some(shared)
    }
}

/// A set of tiles and its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Variant {
    /// As [`Choices`] store it.
    pub name: &'static str,
    /// What it is.
    pub tiles: Tiles,
}

impl Variant {
    /// The only one of a driver that takes minutes to compile others.
    pub const SMALL: Self = Self { name: "small", tiles: Tiles::SMALL };

    /// Those that a device can use, the one it uses without being timed first. `large`: it is a CPU
    /// that runs large tiles well; `subgroup`: the size of its subgroups, if all are alike; `side`: of
    /// the matrices that it multiplies float16 with, to float32.
    pub fn all(large: bool, subgroup: Option<u32>, side: Option<u32>) -> Vec<Self> {
        let named = |name, tiles| Self { name, tiles };
        if large {
            let tiles = subgroup.and_then(Tiles::sharing).unwrap_or(Tiles::CPU);
            return vec![named("rows 8x16", tiles.rows()), named("8x16", tiles)];
        }
        let names = ["workgroup 64x64", "workgroup 128x64", "workgroup 32x32"];
        let workgroup = names.into_iter().zip(Tiles::WORKGROUP).map(|(name, t)| named(name, t));
        let wide = Tiles { pixels: 4, columns: 4, rows: 1, wgrad_columns: 4, ..Tiles::GPU };
        let registers = [
            named("registers 8x8", Tiles::GPU),
            named("registers 4x16", wide),
            named("rows 8x8", Tiles::GPU.rows()),
        ];
        let matrices = side.zip(subgroup.filter(|s| matches!(s, 8 | 16 | 32 | 64)));
        let cooperative = matrices.map(|(side, subgroup)| {
            let matrices = Matrices { side, subgroup, emulated: false };
            named("cooperative", Tiles::cooperative(matrices))
        });
        registers.into_iter().chain(workgroup).chain(cooperative).collect()
    }
}

/// Which variant computes which op, by what [`key`] says of it and the variant's name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Choices(BTreeMap<String, String>);

impl Choices {
    /// The tiles for an op: those chosen if the device has them, else the first.
    pub fn tiles(&self, op: &Op, tensors: &[Tensor], variants: &[Variant]) -> Tiles {
        let chosen = if self.0.is_empty() { None } else { self.0.get(&key(op, tensors)) };
        let variant = chosen.and_then(|name| variants.iter().find(|v| v.name == name));
        variant.unwrap_or(&variants[0]).tiles
    }

    /// Whether something is chosen for what [`key`] describes.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Chooses.
    pub fn set(&mut self, key: String, variant: &Variant) {
        self.0.insert(key, variant.name.to_owned());
    }

    /// How many ops something is chosen for.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over what another set chooses and this one does not.
    pub fn fill(&mut self, others: Self) {
        for (key, name) in others.0 {
            self.0.entry(key).or_insert(name);
        }
    }

    /// The choices for some ops.
    pub fn of(&self, ops: &[Op], tensors: &[Tensor]) -> Self {
        let keys = ops.iter().map(|op| key(op, tensors));
        Self(
            keys.filter_map(|key| self.0.get_key_value(&key))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        )
    }
}

/// What the speed of an op depends on: its name, the shapes it works on, and a digest of the rest,
/// such as strides and what maps are made of.
pub fn key(op: &Op, tensors: &[Tensor]) -> String {
    let mut digest = Md5::new();
    for Dispatch { kernel, operands, params, .. } in reference(op, tensors) {
        digest.update(format!("{kernel:?}"));
        operands.iter().for_each(|(_, operand)| digest.update(operand.bytes.to_le_bytes()));
        digest.update(params);
    }
    let access = op.access();
    let shapes = access.reads.iter().chain(&access.writes);
    let shapes: Vec<_> = shapes.map(|id| tensors[id.0].shape.to_string()).collect();
    format!("{} {} {}", op.name(), shapes.join(" "), hex(&digest.finalize()[..4]))
}

/// Its dispatches with some tiles, the same everywhere.
fn reference(op: &Op, tensors: &[Tensor]) -> Vec<Dispatch> {
    lower(op, tensors, Target { tiles: Tiles::GPU, max_binding: usize::MAX })
}

/// The variants that compute an op differently, of each such the first.
pub fn distinct(op: &Op, tensors: &[Tensor], variants: &[Variant]) -> Vec<Variant> {
    let kernels = |variant: &Variant| -> Vec<_> {
        let target = Target { tiles: variant.tiles, max_binding: usize::MAX };
        lower(op, tensors, target).into_iter().map(|d| (d.kernel, d.threads)).collect()
    };
    let mut found: Vec<(Vec<_>, Variant)> = Vec::new();
    for variant in variants {
        let kernels = kernels(variant);
        if found.iter().all(|(other, _)| *other != kernels) {
            found.push((kernels, *variant));
        }
    }
    found.into_iter().map(|(_, variant)| variant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Program;
    use crate::shape::{Layout, Shape, Window};
    use crate::tensor::Kind;

    /// A convolution of some images, 8 to 16 channels.
    fn convolution(images: usize, window: Window) -> Program {
        let mut program = Program::default();
        let x = Shape::new(images, 8, 8, 8);
        let y = window.output(x).unwrap().with_c(16);
        let mut maps = |name, shape| program.add(name, shape, Layout::Nhwc, Kind::Activation);
        let (x, y) = (maps("x", x), maps("y", y));
        let weight = Shape::weight(window.kernel, 8, 16);
        let w = program.add("w", weight, Layout::Hwio, Kind::Parameter);
        program.push(Op::Conv2d { x, w, bias: None, y, window });
        program
    }

    fn key_of(program: &Program) -> String {
        key(&program.ops()[0], program.tensors())
    }

    #[test]
    fn a_key_tells_what_matters_for_speed() {
        let same = key_of(&convolution(2, Window::same(3, 1)));
        assert_eq!(same, key_of(&convolution(2, Window::same(3, 1))));
        assert!(same.starts_with("conv2d 2×8×8×8 3×3×8×16 2×8×8×16 "), "{same}");
        let others = [(3, Window::same(3, 1)), (2, Window::same(3, 2)), (2, Window::same(5, 1))];
        for (images, window) in others {
            assert_ne!(same, key_of(&convolution(images, window)), "{images}, {window:?}");
        }
    }

    #[test]
    fn an_op_has_the_tiles_that_were_chosen_or_the_usual_ones() {
        let program = convolution(2, Window::same(3, 1));
        let (op, tensors) = (&program.ops()[0], program.tensors());
        let variants = Variant::all(false, None, None);
        let tiles = |choices: &Choices| choices.tiles(op, tensors, &variants);
        let mut choices = Choices::default();
        assert_eq!(tiles(&choices), variants[0].tiles);
        choices.set(key(op, tensors), &variants[3]);
        assert_eq!(tiles(&choices), variants[3].tiles);
        assert_eq!(choices.of(program.ops(), tensors), choices);
        choices.set(key(op, tensors), &Variant { name: "unknown", ..variants[3] });
        assert_eq!(tiles(&choices), variants[0].tiles);
    }

    #[test]
    fn only_variants_that_differ_are_worth_timing() {
        let variants = Variant::all(true, Some(8), None);
        let names = |window| -> Vec<_> {
            let program = convolution(2, window);
            let found = distinct(&program.ops()[0], program.tensors(), &variants);
            found.iter().map(|variant| variant.name).collect()
        };
        assert_eq!(names(Window::same(3, 1)), ["rows 8x16", "8x16"]);
        // Nothing can be shared along a row.
        assert_eq!(names(Window::same(3, 2)), ["rows 8x16"]);
        assert_eq!(names(Window::same(1, 1)), ["rows 8x16"]);
    }
}
