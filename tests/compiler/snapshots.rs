//! Snapshots of a small network's program, plan and kernels. After an intended change, run with
//! `INSTA_UPDATE=always` to update them, and review the diff.

use sff::internals::base::shape::Shape;
use sff::internals::compiler::kernel::Target;
use sff::internals::compiler::plan::{Limits, Plan};
use sff::internals::compiler::program::{Built, Feed, Setup, build};
use sff::internals::compiler::variants::{Class, Variants};
use sff::internals::compiler::wgsl::compose;
use sff::internals::net::layers::{Head, Network};
use sff::internals::net::models::{Stem, resnet18};
use sff::internals::net::options::{Partition, TrainOptions};

/// The first two blocks of a ResNet: a convolution, and a residual block.
fn built() -> Built {
    let mut blocks = resnet18(Stem::Cifar, Partition::Block);
    blocks.truncate(2);
    let network = Network { blocks, head: Head::goodness(3), classes: 10 };
    let feed = Some(Feed { batch: 2, resident: 2, stored: [8, 8] });
    let image = Shape::new(1, 8, 8, 3);
    let setup = Setup { train: feed, eval: feed, ..Setup::new(image, &TrainOptions::default()) };
    build(&network, &setup).unwrap()
}

#[test]
fn program() {
    insta::assert_snapshot!(built().program);
}

#[test]
fn plan() {
    let built = built();
    let plan = Plan::new(&built.program, Limits::NONE).unwrap();
    insta::assert_snapshot!(plan.table(&built.program));
}

/// The kernel of the residual block's first convolution, in every variant for a discrete GPU and a CPU.
#[test]
fn kernels() {
    let built = built();
    let reads = |name: &str| {
        let id = built.program.find(name).unwrap();
        built.program.ops().iter().find(|op| op.access().reads.contains(&id)).unwrap()
    };
    let op = reads("layer1.0.conv1.weight");
    let mut composed = String::new();
    for (class, subgroup) in [(Class::Discrete, Some(32)), (Class::Cpu, Some(8))] {
        let variants = Variants::of(class, subgroup, None);
        for variant in variants.distinct(op, built.program.tensors()).unwrap() {
            let target = Target::unlimited(variant.tiles);
            for dispatch in op.lower(built.program.tensors(), target).unwrap() {
                let kernel = dispatch.kernel;
                let wgsl = compose(kernel.file, &kernel.definitions).unwrap().wgsl;
                composed += &format!("== {} {:?}\n{wgsl}", variant.name, kernel.definitions);
            }
        }
    }
    insta::assert_snapshot!(composed);
}
