//! The built-in networks have the published numbers of parameters, and torchvision's names and shapes.

use sff::internals::base::shape::Shape;
use sff::internals::compiler::program::{Built, Feed, Setup, build};
use sff::internals::net::layers::{Block, Head, Network};
use sff::internals::net::models::{Size, Stem, mobilenet_v3, resnet18};
use sff::internals::net::options::{Partition, TrainOptions};

/// Number of trained values without heads, shape of the output, and the built program.
fn backbone(blocks: Vec<Block>, side: usize) -> (usize, Shape, Built) {
    let head = Head::goodness(1);
    let network = Network { blocks, head, classes: 10 };
    let feed = Feed { batch: 2, resident: 2, stored: [side; 2] };
    let image = Shape::new(1, side, side, 3);
    let setup = Setup { train: Some(feed), ..Setup::new(image, &TrainOptions::default()) };
    let built = build(&network, &setup).unwrap();
    let tensor = |id| built.program.tensor(id);
    let backbone = built.parameters.iter().filter(|(name, _)| !name.starts_with("aux."));
    let trained = backbone.map(|(_, p)| tensor(p.value).shape.elements()).sum();
    let (_, last) = *built.train.as_ref().unwrap().maps.last().unwrap();
    (trained, tensor(last).shape, built)
}

#[test]
fn resnet18_has_the_published_parameters_and_shapes() {
    let (trained, shape, built) = backbone(resnet18(Stem::Imagenet, Partition::Block), 224);
    assert_eq!((trained, shape), (11_176_512, Shape::new(2, 7, 7, 512)));
    assert_eq!(built.blocks.len(), 9);
    for (name, shape) in [
        ("conv1.weight", vec![64, 3, 7, 7]),
        ("layer1.1.conv2.weight", vec![64, 64, 3, 3]),
        ("layer2.0.downsample.0.weight", vec![128, 64, 1, 1]),
        ("layer4.0.downsample.1.bias", vec![512]),
    ] {
        assert_eq!(built.parameters[name].file_shape, shape, "{name}");
    }
    let (trained, shape, _) = backbone(resnet18(Stem::Cifar, Partition::Whole), 32);
    assert_eq!((trained, shape), (11_168_832, Shape::new(2, 4, 4, 512)));
    let (trained, shape, built) = backbone(resnet18(Stem::Cifar, Partition::Layer), 32);
    // Without the three projections.
    assert_eq!(trained, 11_168_832 - (64 * 128 + 128 * 256 + 256 * 512) - 2 * (128 + 256 + 512));
    assert_eq!((built.blocks.len(), shape), (17, Shape::new(2, 4, 4, 512)));
}

#[test]
fn mobilenet_v3_has_the_published_parameters_and_shapes() {
    for (size, trained, channels, residuals) in
        [(Size::Small, 927_008, 576, 11), (Size::Large, 2_971_952, 960, 15)]
    {
        let build = |stem, partition, side| backbone(mobilenet_v3(size, stem, partition), side);
        let (blocks, shape, built) = build(Stem::Imagenet, Partition::Block, 224);
        assert_eq!((blocks, shape), (trained, Shape::new(2, 7, 7, channels)));
        assert_eq!(built.blocks.len(), residuals + 2);
        let (whole, shape, joined) = build(Stem::Cifar, Partition::Whole, 32);
        assert_eq!((whole, shape), (trained, Shape::new(2, 2, 2, channels)));
        let backbone = |name: &&String| !name.starts_with("aux.");
        let names = built.parameters.keys().filter(backbone);
        assert!(names.eq(joined.parameters.keys().filter(backbone)));
        // The partition into layers drops shortcuts only, which have no parameters.
        assert_eq!(build(Stem::Imagenet, Partition::Layer, 224).0, trained);
    }
}

#[test]
fn parameters_have_torchvisions_names_and_shapes() {
    let (.., small) = backbone(mobilenet_v3(Size::Small, Stem::Imagenet, Partition::Block), 224);
    let (.., large) = backbone(mobilenet_v3(Size::Large, Stem::Imagenet, Partition::Block), 224);
    for (built, name, shape) in [
        (&small, "features.0.0.weight", vec![16, 3, 3, 3]),
        // The first inverted residual does not expand.
        (&small, "features.1.block.0.0.weight", vec![16, 1, 3, 3]),
        (&small, "features.1.block.1.fc1.weight", vec![8, 16, 1, 1]),
        (&small, "features.1.block.1.fc2.bias", vec![16]),
        (&small, "features.1.block.2.0.weight", vec![16, 16, 1, 1]),
        (&small, "features.4.block.1.0.weight", vec![96, 1, 5, 5]),
        (&small, "features.4.block.2.fc1.weight", vec![24, 96, 1, 1]),
        (&small, "features.12.0.weight", vec![576, 96, 1, 1]),
        (&large, "features.1.block.1.1.weight", vec![16]),
        (&large, "features.2.block.2.0.weight", vec![24, 64, 1, 1]),
        (&large, "features.16.1.bias", vec![960]),
    ] {
        assert_eq!(built.parameters[name].file_shape, shape, "{name}");
    }
    let block = |name: &str| {
        mobilenet_v3(Size::Small, Stem::Imagenet, Partition::Block)
            .into_iter()
            .find(|block| block.name == name)
            .map(|block| block.layers)
    };
    let residual = |name: &str| format!("{:?}", block(name)).contains("Residual");
    assert_eq!(["features.2", "features.3"].map(residual), [false, true]);
}
