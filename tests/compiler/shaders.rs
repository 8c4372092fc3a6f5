//! Every kernel that a program can need, without a device: it is valid WGSL, translates to every
//! backend's language, and agrees with its Rust side on parameters and operands.

use std::collections::{BTreeMap, BTreeSet};

use sff::internals::base::shape::{Layout, Shape, Window};
use sff::internals::compiler::kernel::{Dispatch, Kernel, Target};
use sff::internals::compiler::ops::{Node, Op};
use sff::internals::compiler::program::{Feed, Program, Setup, build};
use sff::internals::compiler::variants::{Class, Variant, Variants};
use sff::internals::compiler::wgsl::{Reflection, SOURCES, compose, translate};
use sff::internals::net::augment::Augment;
use sff::internals::net::layers::{
    Activation, BatchNorm, Block, Goodness, Head, Layer, Network, Scale,
};
use sff::internals::net::options::{Precision, TrainOptions};

/// Storage buffers that WebGPU guarantees to a shader stage.
const MAX_STORAGE_BINDINGS: usize = 8;

/// Convolutions with and without bias, every use of batch norm and activations, depthwise convolutions,
/// squeeze-and-excitation, pools, and residuals with and without a shortcut; names begin with `prefix`.
fn layers(prefix: &str, channels: usize) -> Vec<Layer> {
    let conv = |name: &str, window, bias| {
        let name = format!("{prefix}.{name}");
        Layer::Conv2d { name, out: channels, window, bias }
    };
    let depthwise = |name: &str, window| {
        let name = format!("{prefix}.{name}");
        Layer::DepthwiseConv2d { name, window }
    };
    let batch_norm = |name: &str, act| {
        let norm = BatchNorm { eps: 1e-5, momentum: 0.1, act };
        Layer::BatchNorm { name: format!("{prefix}.{name}"), norm }
    };
    let body = vec![conv("2", Window::same(3, 1), false), batch_norm("2n", Activation::None)];
    vec![
        conv("0", Window::same(1, 1), true),
        batch_norm("0n", Activation::Relu),
        conv("1", Window::same(3, 1), false),
        Layer::Activation(Activation::Relu),
        Layer::Residual { body, shortcut: vec![] },
        depthwise("5", Window::same(5, 1)),
        batch_norm("5n", Activation::HardSwish),
        Layer::SqueezeExcite { name: format!("{prefix}.se"), hidden: channels },
        depthwise("6", Window::same(3, 2)),
        batch_norm("6n", Activation::HardSigmoid),
        Layer::Activation(Activation::HardSwish),
        Layer::Dropout(0.3),
        Layer::MaxPool(Window { kernel: 2, stride: 2, pad: 0 }),
        Layer::Residual {
            body: vec![conv("3", Window::same(1, 1), true)],
            shortcut: vec![conv("4", Window::same(1, 1), false)],
        },
    ]
}

/// Its 1×1 convolution uses Gram matrices where there are many classes and few channels.
const SEPARABLE: Head = Head::Goodness(Goodness {
    kernel: 3,
    separable: true,
    pool: Some(15),
    scale: Scale::Learnable,
});

/// Programs that together have every op, with widths that clamp the register tiles in every
/// combination.
fn catalogue() -> Vec<Program> {
    const WIDTHS: [usize; 6] = [1, 4, 8, 12, 64, 100];
    const HEADS: [Head; 3] = [Head::goodness(3), Head::Linear, SEPARABLE];
    let mut programs = Vec::new();
    for precision in [Precision::F32, Precision::F16] {
        for (channels, classes) in WIDTHS.into_iter().flat_map(|w| WIDTHS.map(|k| (w, k.max(2)))) {
            programs.extend(HEADS.map(|head| program(channels, classes, head, precision)));
        }
    }
    programs
}

fn program(channels: usize, classes: usize, head: Head, precision: Precision) -> Program {
    let feed = Some(Feed { batch: 5, resident: 8, stored: [20, 18] });
    let image = Shape::new(1, 64, 64, channels.min(4));
    let setup = Setup {
        // One head with augmentation and mixing, the others without.
        augment: Augment {
            jitter: if head == Head::Linear { 0.5 } else { 0.0 },
            mixup: if head == Head::Linear { 1.0 } else { 0.0 },
            ..Augment::default()
        },
        train: feed,
        eval: feed,
        // One head with sums over micro-batches, the others without.
        micro_batches: if head == Head::Linear { 2 } else { 1 },
        precision,
        ..Setup::new(image, &TrainOptions::default())
    };
    let names: &[&str] = if head == Head::Linear { &["b0"] } else { &["b0", "b1"] };
    let block = |name: &&str| Block { name: (*name).to_owned(), layers: layers(name, channels) };
    let network = Network { blocks: names.iter().map(block).collect(), head, classes };
    build(&network, &setup).unwrap().program
}

/// A kernel, and its operands: shader variables and the layouts of their tensors.
type Use = (Kernel, Vec<(&'static str, Layout)>);

/// One dispatch for each use of a kernel.
fn dispatches(programs: &[Program]) -> BTreeMap<Use, Dispatch> {
    let mut found = BTreeMap::new();
    for program in programs {
        for op in program.ops() {
            let devices = [
                (Class::Discrete, Some(32), Some(16)),
                (Class::Discrete, Some(32), Some(8)),
                (Class::Cpu, None, None),
                (Class::Cpu, Some(8), None),
            ];
            let all = devices.map(|(class, s, side)| Variants::of(class, s, side).all).concat();
            for Variant { tiles, .. } in all {
                let target = Target::unlimited(tiles);
                for dispatch in op.lower(program.tensors(), target).unwrap() {
                    let layout = |id| program.tensor(id).layout;
                    let operands = dispatch.operands.iter();
                    let operands = operands.map(|(name, o)| (*name, layout(o.tensor))).collect();
                    found.insert((dispatch.kernel.clone(), operands), dispatch);
                }
            }
        }
    }
    found
}

fn label(kernel: &Kernel) -> String {
    format!("{}.{} {:?}", kernel.file, kernel.entry, kernel.definitions)
}

/// Paths and texts of the source called `name` and of all that it imports.
fn with_imports(name: &str) -> BTreeMap<&'static str, &'static str> {
    let mut next = vec![SOURCES.iter().find(|source| source.name() == name).unwrap()];
    let mut found = BTreeMap::new();
    while let Some(source) = next.pop() {
        if found.insert(source.path, source.text).is_none() {
            let imports = source.text.lines().filter_map(|line| line.strip_prefix("#import "));
            let find = |path: &str| SOURCES.iter().find(|source| source.path == path).unwrap();
            next.extend(imports.map(find));
        }
    }
    found
}

/// Every kernel that is dispatched: by programs, by sessions, and to measure devices.
fn kernels() -> impl Iterator<Item = Kernel> {
    let programs = dispatches(&catalogue()).into_keys().map(|(kernel, _)| kernel);
    let others = sff::internals::gpu::peak::kernels();
    programs.chain(others).chain(sff::internals::gpu::session::kernels())
}

#[test]
fn every_shader_is_used() {
    let files: BTreeSet<_> = kernels().map(|kernel| kernel.file).collect();
    let used: BTreeSet<_> = files.into_iter().flat_map(|f| with_imports(f).into_keys()).collect();
    assert_eq!(used, SOURCES.iter().map(|source| source.path).collect());
}

/// Definitions of dispatched kernels are listed in `shaders/permutations.txt`, and listed ones are used in
/// the kernel's source.
#[test]
fn permutations_are_listed() {
    let text = include_str!("../../shaders/permutations.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let listed: BTreeMap<&str, BTreeSet<&str>> = lines
        .map(|line| line.split_whitespace())
        .map(|mut words| (words.next().unwrap(), words.collect()))
        .collect();
    for Kernel { file, definitions, .. } in kernels() {
        for name in definitions.keys() {
            assert!(listed[file].contains(name), "{file}: {name} is not listed");
        }
    }
    for (file, definitions) in &listed {
        let sources: Vec<_> = with_imports(file).into_values().collect();
        for name in definitions {
            let used = sources.iter().any(|text| text.contains(name));
            assert!(used, "{file}: {name} is listed, but not used");
        }
    }
    let explained = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let explained: BTreeSet<_> =
        explained.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(explained, listed.into_values().flatten().collect());
}

#[test]
fn the_catalogue_has_every_op() {
    let programs = catalogue();
    let ops: Vec<&Node> = programs.iter().flat_map(Program::ops).collect();
    let kinds: BTreeSet<_> = ops.iter().map(|op| op.kind()).collect();
    assert_eq!(kinds, Op::KINDS.iter().copied().collect());
    let names: BTreeSet<_> = ops.iter().map(|op| op.name()).collect();
    assert_eq!(names.len(), kinds.len(), "two ops share a name: {names:?}");
}

#[test]
fn rust_and_wgsl_agree_on_parameters_and_operands() {
    let dispatches = dispatches(&catalogue());
    for ((kernel, operands), dispatch) in &dispatches {
        let label = label(kernel);
        let shader = compose(kernel.file, &kernel.definitions).unwrap();
        let reflection = Reflection::new(&label, &shader, kernel.entry).unwrap();
        let members: Vec<_> =
            dispatch.members.iter().map(|(n, at, size)| ((*n).to_owned(), *at, *size)).collect();
        let params: Vec<_> = reflection
            .params
            .iter()
            .map(|(name, at, size)| (name.clone(), *at as usize, *size as usize))
            .collect();
        assert_eq!(members, params, "{label}");
        assert_eq!(dispatch.params.len(), reflection.params_size as usize, "{label}");
        let (uniforms, storage): (Vec<_>, Vec<_>) =
            reflection.bindings.iter().partition(|b| b.uniform);
        assert_eq!(uniforms.len(), 1, "{label}");
        assert!(storage.len() <= MAX_STORAGE_BINDINGS, "{label}: {storage:?}");
        // Tensors and shader variables have the same formats.
        let variables: BTreeSet<_> = storage.iter().map(|b| (b.name.as_str(), b.half)).collect();
        let given = operands.iter().map(|(name, layout)| (*name, *layout == Layout::Half));
        assert_eq!(variables, given.collect(), "{label}");
        assert_eq!(operands.len(), storage.len(), "{label}: an operand is given twice");
    }
}

#[test]
fn every_kernel_translates_to_every_backend() {
    let mut kernels: BTreeSet<_> = dispatches(&catalogue()).into_keys().map(|(k, _)| k).collect();
    kernels.extend(sff::internals::gpu::peak::kernels());
    kernels.extend(sff::internals::gpu::session::kernels());
    for kernel in &kernels {
        let label = label(kernel);
        let shader = compose(kernel.file, &kernel.definitions).unwrap();
        let translated = translate(&label, &shader, kernel.entry).unwrap_or_else(|e| panic!("{e}"));
        assert!(translated.spirv.len() > 5, "{label}: SPIR-V is no more than a header");
        assert!(translated.msl.contains("kernel void"), "{label}: MSL has no kernel");
        let cooperative = kernel.definitions.get("COOPERATIVE") == Some(&1);
        assert_eq!(translated.hlsl.is_none(), cooperative, "{label}");
        assert!(translated.hlsl.is_none_or(|text| text.contains("numthreads")), "{label}");
    }
    println!("{} kernels", kernels.len());
}
