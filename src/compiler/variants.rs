//! Kernel variants: named sets of tiles, and the choice of one for each op.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::base::files::hex;
use crate::compiler::kernel::{Dispatch, Matrices, Target, Tiles};
use crate::compiler::ops::{Node, Product};
use crate::compiler::tensor::{Tensor, Tensors};

/// A set of tiles and its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Variant {
    /// Its name in [`Choices`].
    pub name: &'static str,
    /// The tiles.
    pub tiles: Tiles,
}

/// Classes of devices, which decide the default tiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// A GPU with its own memory: many registers, fast workgroup memory.
    Discrete,
    /// A GPU in a CPU package, or one of Apple's: fewer registers.
    Integrated,
    /// Vulkan on a CPU.
    Cpu,
    /// A driver that takes minutes and gigabytes to compile large tiles.
    SlowCompiler,
}

impl Class {
    /// Most FLOPs per submit: about half a second of a slow device of its class at a tenth of its peak.
    /// A display's watchdog resets a GPU that does not respond for two seconds; a CPU has none.
    pub fn max_flops(self) -> u64 {
        match self {
            Self::Discrete => 100_000_000_000,
            Self::Integrated => 10_000_000_000,
            Self::Cpu | Self::SlowCompiler => u64::MAX,
        }
    }
}

/// The variants that a device can use.
#[derive(Clone, Debug)]
pub struct Variants {
    class: Class,
    /// All variants.
    pub all: Vec<Variant>,
}

const REGISTERS: Variant = Variant { name: "registers 8x8", tiles: Tiles::GPU };
const NARROW: Variant = Variant { name: "registers 8x4", tiles: Tiles::NARROW };
const TILES_64X64: Variant = Variant { name: "workgroup 64x64", tiles: Tiles::WORKGROUP_64X64 };
const TILES_64X32: Variant = Variant { name: "workgroup 64x32", tiles: Tiles::WORKGROUP_64X32 };
const TILES_32X32: Variant = Variant { name: "workgroup 32x32", tiles: Tiles::WORKGROUP_32X32 };

impl Variants {
    /// The variants of a device. `subgroup` is its subgroup size, if fixed; `side` that of its cooperative
    /// matrices of float16 with float32 accumulators, if any.
    pub fn of(class: Class, subgroup: Option<u32>, side: Option<u32>) -> Self {
        let named = |name, tiles| Variant { name, tiles };
        let all = match class {
            Class::SlowCompiler => vec![named("small", Tiles::SMALL)],
            Class::Cpu => {
                let tiles = subgroup.and_then(Tiles::sharing).unwrap_or(Tiles::CPU);
                vec![named("rows 8x16", tiles.rows()), named("8x16", tiles)]
            }
            Class::Discrete | Class::Integrated => {
                let wide = Tiles { pixels: 4, columns: 4, rows: 1, wgrad_columns: 4, ..Tiles::GPU };
                let matrices = side.zip(subgroup.filter(|s| matches!(s, 8 | 16 | 32 | 64)));
                let cooperative = matrices.map(|(side, subgroup)| {
                    let matrices = Matrices { side, subgroup, emulated: false };
                    named("cooperative", Tiles::cooperative(matrices))
                });
                let all = [
                    REGISTERS,
                    NARROW,
                    named("registers 4x16", wide),
                    named("rows 8x8", Tiles::GPU.rows()),
                    TILES_64X64,
                    named("workgroup 128x64", Tiles::WORKGROUP_128X64),
                    TILES_64X32,
                    TILES_32X32,
                ];
                all.into_iter().chain(cooperative).collect()
            }
        };
        Self { class, all }
    }

    /// The variant of an op without tuning. The code that GPU drivers generate suggests that tiles in
    /// workgroup memory pay where the channels fill them, and always for weight gradients.
    pub fn usual(&self, op: &Node, tensors: &[Tensor]) -> Variant {
        let (medium, large, narrow) = match self.class {
            Class::Cpu | Class::SlowCompiler => return self.all[0],
            Class::Discrete => (TILES_32X32, TILES_64X64, REGISTERS),
            Class::Integrated => (TILES_64X32, TILES_64X32, NARROW),
        };
        let by_channels = |channels, narrow| match channels {
            48.. => large,
            24.. => medium,
            _ => narrow,
        };
        match op.product(Tensors(tensors)) {
            Some(Product::Maps(channels)) => by_channels(channels, narrow),
            Some(Product::Weight(channels)) => by_channels(channels, medium),
            Some(Product::Gram) => large,
            None => narrow,
        }
    }

    /// The variant called `name`.
    pub fn named(&self, name: &str) -> Option<Variant> {
        self.all.iter().find(|v| v.name == name).copied()
    }

    /// Variants that lower an op to different kernels, the usual one first.
    ///
    /// # Errors
    /// Those of [`Node::lower`].
    pub fn distinct(&self, op: &Node, tensors: &[Tensor]) -> Result<Vec<Variant>> {
        let mut found: Vec<(Vec<_>, Variant)> = Vec::new();
        for variant in [self.usual(op, tensors)].iter().chain(&self.all) {
            let dispatches = op.lower(tensors, Target::unlimited(variant.tiles))?;
            let kernels: Vec<_> = dispatches.into_iter().map(|d| (d.kernel, d.threads)).collect();
            if found.iter().all(|(other, _)| *other != kernels) {
                found.push((kernels, *variant));
            }
        }
        Ok(found.into_iter().map(|(_, variant)| variant).collect())
    }
}

/// Tuned variants: the name of a variant for the [`key`] of an op.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Choices(BTreeMap<String, String>);

impl Choices {
    /// The tiles for an op: of the chosen variant if the device has it, else of the usual one.
    ///
    /// # Errors
    /// Those of [`key`].
    pub fn tiles(&self, op: &Node, tensors: &[Tensor], variants: &Variants) -> Result<Tiles> {
        let chosen = if self.0.is_empty() { None } else { self.0.get(&key(op, tensors)?) };
        let variant = chosen.and_then(|name| variants.named(name));
        Ok(variant.unwrap_or_else(|| variants.usual(op, tensors)).tiles)
    }

    /// Whether a variant is chosen for this [`key`].
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Chooses the variant called `name`.
    pub fn set(&mut self, key: String, name: &str) {
        self.0.insert(key, name.to_owned());
    }

    /// Removes the choice for this [`key`].
    pub fn forget(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Number of choices.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no choices.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the choices of another set for keys that this one lacks.
    pub fn fill(&mut self, others: Self) {
        for (key, name) in others.0 {
            self.0.entry(key).or_insert(name);
        }
    }

    /// The choices for `ops` only.
    ///
    /// # Errors
    /// Those of [`key`].
    pub fn of(&self, ops: &[Node], tensors: &[Tensor]) -> Result<Self> {
        let mut some = BTreeMap::new();
        for op in ops {
            let key = key(op, tensors)?;
            if let Some(name) = self.0.get(&key) {
                some.insert(key, name.clone());
            }
        }
        Ok(Self(some))
    }
}

/// Everything that the speed of an op depends on: its name, the shapes of its tensors, and a digest of
/// the rest, such as strides and number formats.
///
/// # Errors
/// Those of [`Node::lower`].
pub fn key(op: &Node, tensors: &[Tensor]) -> Result<String> {
    let mut digest = Md5::new();
    for Dispatch { kernel, operands, params, .. } in
        op.lower(tensors, Target::unlimited(Tiles::GPU))?
    {
        digest.update(format!("{kernel:?}"));
        operands.iter().for_each(|(_, operand)| digest.update(operand.bytes.to_le_bytes()));
        digest.update(params);
    }
    let access = op.access();
    let shapes = access.reads.iter().chain(&access.writes);
    let shapes: Vec<_> = shapes.map(|id| tensors[id.0].shape.to_string()).collect();
    Ok(format!("{} {} {}", op.name(), shapes.join(" "), hex(&digest.finalize()[..4])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::shape::{Layout, Shape, Weight, Window};
    use crate::compiler::ops::{Conv2d, Conv2dWgrad};
    use crate::compiler::program::Program;
    use crate::compiler::tensor::Kind;

    /// A convolution of `images` images from 8 to `out` channels, and its weight gradient.
    fn convolution(images: usize, window: Window, out: usize) -> Program {
        let mut program = Program::default();
        let x = Shape::new(images, 8, 8, 8);
        let y = window.output(x).unwrap().with_c(out);
        let mut maps = |name, shape| program.add(name, shape, Layout::Nhwc, Kind::Activation);
        let (x, y) = (maps("x", x), maps("y", y));
        let weight = Weight::new(window.kernel, 8, out);
        let [w, dw] =
            ["w", "dw"].map(|name| program.add(name, weight, Layout::Hwio, Kind::Parameter));
        program.push(Conv2d { x, w, bias: None, y, window });
        program.push(Conv2dWgrad { x, dy: y, dw, window });
        program
    }

    fn key_of(program: &Program) -> String {
        key(&program.ops()[0], program.tensors()).unwrap()
    }

    #[test]
    fn keys_differ_by_batch_stride_and_kernel() {
        let same = key_of(&convolution(2, Window::same(3, 1), 16));
        assert_eq!(same, key_of(&convolution(2, Window::same(3, 1), 16)));
        assert!(same.starts_with("conv2d 2×8×8×8 3×3×8×16 2×8×8×16 "), "{same}");
        let others = [(3, Window::same(3, 1)), (2, Window::same(3, 2)), (2, Window::same(5, 1))];
        for (images, window) in others {
            let other = key_of(&convolution(images, window, 16));
            assert_ne!(same, other, "{images}, {window:?}");
        }
    }

    #[test]
    fn ops_use_the_chosen_tiles_or_else_the_usual_ones() {
        let program = convolution(2, Window::same(3, 1), 16);
        let (op, tensors) = (&program.ops()[0], program.tensors());
        let variants = Variants::of(Class::Discrete, None, None);
        let tiles = |choices: &Choices| choices.tiles(op, tensors, &variants).unwrap();
        let mut choices = Choices::default();
        assert_eq!(tiles(&choices), Tiles::GPU);
        choices.set(key(op, tensors).unwrap(), variants.all[3].name);
        assert_eq!(tiles(&choices), variants.all[3].tiles);
        let first = Choices::of(&choices, &program.ops()[..1], tensors).unwrap();
        assert_eq!((first, choices.len()), (choices.clone(), 1));
        choices.set(key(op, tensors).unwrap(), "unknown");
        assert_eq!(tiles(&choices), Tiles::GPU);
    }

    #[test]
    fn the_usual_variant_depends_on_device_class_and_channels() {
        let usual = |class, out| {
            let program = convolution(2, Window::same(3, 1), out);
            let variants = Variants::of(class, Some(32), Some(16));
            let name = |op: &Node| variants.usual(op, program.tensors()).name;
            [name(&program.ops()[0]), name(&program.ops()[1])]
        };
        let both = |name| [name, name];
        assert_eq!(usual(Class::Discrete, 64), both("workgroup 64x64"));
        assert_eq!(usual(Class::Discrete, 47), both("workgroup 32x32"));
        assert_eq!(usual(Class::Discrete, 16), ["registers 8x8", "workgroup 32x32"]);
        assert_eq!(usual(Class::Integrated, 64), both("workgroup 64x32"));
        assert_eq!(usual(Class::Integrated, 16), ["registers 8x4", "workgroup 64x32"]);
        assert_eq!(usual(Class::Cpu, 64), both("rows 8x16"));
        assert_eq!(usual(Class::SlowCompiler, 64), both("small"));
    }

    #[test]
    fn variants_with_the_same_kernels_are_listed_once() {
        let names = |class, window, out| -> Vec<_> {
            let program = convolution(2, window, out);
            let variants = Variants::of(class, Some(8), None);
            let found = variants.distinct(&program.ops()[0], program.tensors()).unwrap();
            found.iter().map(|variant| variant.name).collect()
        };
        assert_eq!(names(Class::Cpu, Window::same(3, 1), 16), ["rows 8x16", "8x16"]);
        // With stride 2 or a 1×1 window, pixels of a row share no loads.
        assert_eq!(names(Class::Cpu, Window::same(3, 2), 16), ["rows 8x16"]);
        assert_eq!(names(Class::Cpu, Window::same(1, 1), 16), ["rows 8x16"]);
        // The usual one comes first; "rows 8x8" has the kernels of "registers 8x8".
        let names = names(Class::Discrete, Window::same(1, 1), 64);
        assert_eq!(names[0], "workgroup 64x64");
        assert_eq!(names.len(), 7, "{names:?}");
    }

    /// Kernels index values with 32 bits.
    #[test]
    fn tensors_with_too_many_values_are_refused_by_name() {
        let mut program = Program::default();
        let weight = Weight::new(31, 65_536, 65_536);
        let mut maps =
            |name| program.add(name, Shape::new(1, 4, 4, 65_536), Layout::Nhwc, Kind::Activation);
        let (x, y) = (maps("x"), maps("y"));
        let w = program.add("w", weight, Layout::Hwio, Kind::Parameter);
        program.push(Conv2d { x, w, bias: None, y, window: Window::same(31, 1) });
        let op = &program.ops()[0];
        for error in [
            key(op, program.tensors()).unwrap_err(),
            op.lower(program.tensors(), Target::unlimited(Tiles::GPU)).unwrap_err(),
        ] {
            let message = error.to_string();
            assert!(message.starts_with("w (31×31×65536×65536) needs "), "{message}");
            assert!(message.ends_with("; use fewer channels"), "{message}");
        }
    }

    #[test]
    fn loops_longer_than_the_driver_allows_are_refused() {
        let mut program = Program::default();
        let mut maps =
            |name, c| program.add(name, Shape::new(1, 8, 8, c), Layout::Nhwc, Kind::Activation);
        let (x, y) = (maps("x", 512), maps("y", 4));
        let w = program.add("w", Weight::new(31, 512, 4), Layout::Hwio, Kind::Parameter);
        program.push(Conv2d { x, w, bias: None, y, window: Window::same(31, 1) });
        let with = |max_steps| {
            let target = Target { max_steps, ..Target::unlimited(Tiles::CPU) };
            program.ops()[0].lower(program.tensors(), target).map(drop)
        };
        with(usize::MAX).unwrap();
        let message = with(65_000).unwrap_err().to_string();
        assert_eq!(
            message,
            "conv2d of 1×8×8×512 and 31×31×512×4 needs 124000 steps of a loop but the device allows \
             65000, and would end it silently; use a smaller aux-kernel or fewer channels"
        );
    }
}
