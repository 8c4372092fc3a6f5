//! The architectures that are built in.

use crate::block::{Block, Layer, Partition};
use crate::ops::BatchNorm;
use crate::shape::Window;

/// Names accepted for `--arch`.
pub const NAMES: &[&str] = &["cnn", "resnet18"];

/// Widths of the plain CNN unless others are given.
pub const CNN_WIDTHS: [usize; 4] = [16, 32, 64, 64];

/// Convolutions of the plain CNN that are followed by a pooling layer.
const CNN_POOLED: usize = 2;

/// Convolutions that the plain CNN's blocks have.
const CNN_BLOCK: usize = 2;

/// Batch norm as most networks use it.
const BATCH_NORM: BatchNorm = BatchNorm { eps: 1e-5, momentum: 0.1, relu: true };

/// A plain CNN: for each width a 3×3 convolution, batch norm and ReLU; 2×2 max pooling after the
/// first two. Parameters are `conv{i}.weight` and `bn{i}.*`, i from 1, in every partition.
pub fn cnn(widths: &[usize], partition: Partition) -> Vec<Block> {
    let unit = |index: usize, out: usize| {
        let number = index + 1;
        let window = Window::same(3, 1);
        let mut layers = vec![
            Layer::Conv2d { name: format!("conv{number}"), out, window, bias: false },
            Layer::BatchNorm { name: format!("bn{number}"), norm: BATCH_NORM },
        ];
        if index < CNN_POOLED {
            layers.push(Layer::MaxPool(Window { kernel: 2, stride: 2, pad: 0 }));
        }
        layers
    };
    let units: Vec<_> = widths.iter().enumerate().map(|(i, out)| unit(i, *out)).collect();
    let size = match partition {
        Partition::Layer => 1,
        Partition::Block => CNN_BLOCK,
        Partition::Whole => units.len().max(1),
    };
    let name = |index: usize| match partition {
        Partition::Layer => format!("conv{}", index + 1),
        Partition::Block => format!("block{}", index + 1),
        Partition::Whole => "whole".to_owned(),
    };
    // Whatever the partition, the architecture's blocks are what may be computed again as one.
    let groups = |units: &[Vec<Layer>]| -> Vec<Layer> {
        units.chunks(CNN_BLOCK).map(|units| Layer::Group(units.concat())).collect()
    };
    units
        .chunks(size)
        .enumerate()
        .map(|(index, units)| Block { name: name(index), layers: groups(units) })
        .collect()
}

/// How ResNet begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stem {
    /// A 3×3 convolution: for images of about 32 pixels.
    Cifar,
    /// A 7×7 convolution of stride 2 and a 3×3 max pooling of stride 2: for images of about 224.
    Imagenet,
}

impl Stem {
    /// The one that suits images with sides of so many pixels.
    pub fn suiting(side: usize) -> Self {
        if side <= 64 { Self::Cifar } else { Self::Imagenet }
    }
}

/// A convolution without bias, and batch norm.
fn conv_norm(
    conv: String,
    norm: String,
    out: usize,
    window: Window,
    constants: BatchNorm,
) -> [Layer; 2] {
    let bias = false;
    [
        Layer::Conv2d { name: conv, out, window, bias },
        Layer::BatchNorm { name: norm, norm: constants },
    ]
}

/// ResNet18 without its classifier (He et al., arXiv 1512.03385), with torchvision's names.
/// `Partition::Layer` makes each convolution a block of its own and drops the shortcuts.
pub fn resnet18(stem: Stem, partition: Partition) -> Vec<Block> {
    let linear = BatchNorm { relu: false, ..BATCH_NORM };
    let (window, pool) = match stem {
        Stem::Cifar => (Window::same(3, 1), None),
        Stem::Imagenet => (Window::same(7, 2), Some(Layer::MaxPool(Window::same(3, 2)))),
    };
    let mut first = conv_norm("conv1".into(), "bn1".into(), 64, window, BATCH_NORM).to_vec();
    first.extend(pool);
    let mut units = vec![Block { name: "stem".into(), layers: first }];
    let mut channels = 64;
    for (stage, out) in [64, 128, 256, 512].into_iter().enumerate() {
        for index in 0..2 {
            let name = format!("layer{}.{index}", stage + 1);
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let conv = |number: usize, stride, norm| {
                let (conv, bn) = (format!("{name}.conv{number}"), format!("{name}.bn{number}"));
                conv_norm(conv, bn, out, Window::same(3, stride), norm).to_vec()
            };
            if partition == Partition::Layer {
                for (number, stride) in [(1, stride), (2, 1)] {
                    let layers = conv(number, stride, BATCH_NORM);
                    units.push(Block { name: format!("{name}.conv{number}"), layers });
                }
            } else {
                let projected = stride != 1 || channels != out;
                let projection = || {
                    let (conv, bn) =
                        (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
                    conv_norm(conv, bn, out, Window::same(1, stride), linear).to_vec()
                };
                let shortcut = if projected { projection() } else { Vec::new() };
                let body = [conv(1, stride, BATCH_NORM), conv(2, 1, linear)].concat();
                let layers = vec![Layer::Residual { body, shortcut }, Layer::Relu];
                units.push(Block { name, layers });
            }
            channels = out;
        }
    }
    let group = |block: &Block| Layer::Group(block.layers.clone());
    match partition {
        Partition::Whole => {
            vec![Block { name: "whole".into(), layers: units.iter().map(group).collect() }]
        }
        _ => units
            .into_iter()
            .map(|block| Block { layers: vec![group(&block)], name: block.name })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Head, Network};
    use crate::ops::Normalize;
    use crate::program::{Built, Feed, Recompute, Setup, build};
    use crate::shape::Shape;

    #[test]
    fn every_partition_has_the_same_layers() {
        let layers = |partition| {
            let blocks = cnn(&CNN_WIDTHS, partition);
            let groups = blocks.iter().flat_map(|b| &b.layers);
            let inner = groups.flat_map(|group| match group {
                Layer::Group(layers) => layers.clone(),
                other => vec![other.clone()],
            });
            (blocks.len(), inner.collect::<Vec<_>>())
        };
        let (layer, block, whole) =
            (layers(Partition::Layer), layers(Partition::Block), layers(Partition::Whole));
        assert_eq!((layer.0, block.0, whole.0), (4, 2, 1));
        assert_eq!(layer.1, block.1);
        assert_eq!(layer.1, whole.1);
    }

    /// Values that are trained, without heads, and the shape of what comes out.
    fn backbone(stem: Stem, partition: Partition, side: usize) -> (usize, Shape, Built) {
        let head = Head::Goodness { kernel: 1, scale: 1.0 };
        let network = Network { blocks: resnet18(stem, partition), head, classes: 10 };
        let setup = Setup {
            image: Shape::new(1, side, side, 3),
            normalize: Normalize { mean: [0.0; 4], std: [1.0; 4] },
            train: Some(Feed { batch: 2, resident: 2 }),
            eval: None,
            micro_batches: 1,
            adamw: crate::train::ADAMW,
            recompute: Recompute::default(),
        };
        let built = build(&network, &setup).unwrap();
        let tensor = |id| built.program.tensor(id);
        let backbone = built.parameters.iter().filter(|(name, _)| !name.starts_with("aux."));
        let trained = backbone.map(|(_, p)| tensor(p.value).shape.elements()).sum();
        let (_, last) = *built.train.as_ref().unwrap().maps.last().unwrap();
        (trained, tensor(last).shape, built)
    }

    #[test]
    fn resnet18_is_the_one_that_everybody_means() {
        let (trained, shape, built) = backbone(Stem::Imagenet, Partition::Block, 224);
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
        let (trained, shape, _) = backbone(Stem::Cifar, Partition::Whole, 32);
        assert_eq!((trained, shape), (11_168_832, Shape::new(2, 4, 4, 512)));
        let (trained, shape, built) = backbone(Stem::Cifar, Partition::Layer, 32);
        // Without the three projections.
        assert_eq!(
            trained,
            11_168_832 - (64 * 128 + 128 * 256 + 256 * 512) - 2 * (128 + 256 + 512)
        );
        assert_eq!((built.blocks.len(), shape), (17, Shape::new(2, 4, 4, 512)));
    }
}
