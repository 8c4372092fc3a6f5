//! ResNet.

use super::{BATCH_NORM, Stem, conv_norm, partitioned};
use crate::block::{Block, Layer, Partition};
use crate::ops::{Activation, BatchNorm};
use crate::shape::Window;

/// ResNet18 without its classifier (He et al., arXiv 1512.03385), with torchvision's names.
/// `Partition::Layer` makes each convolution a block of its own and drops the shortcuts.
pub fn resnet18(stem: Stem, partition: Partition) -> Vec<Block> {
    let linear = BatchNorm { act: Activation::None, ..BATCH_NORM };
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
                let layers =
                    vec![Layer::Residual { body, shortcut }, Layer::Activation(Activation::Relu)];
                units.push(Block { name, layers });
            }
            channels = out;
        }
    }
    partitioned(units, partition)
}

#[cfg(test)]
mod tests {
    use super::super::tests::backbone;
    use super::*;
    use crate::shape::Shape;

    #[test]
    fn resnet18_is_the_one_that_everybody_means() {
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
        assert_eq!(
            trained,
            11_168_832 - (64 * 128 + 128 * 256 + 256 * 512) - 2 * (128 + 256 + 512)
        );
        assert_eq!((built.blocks.len(), shape), (17, Shape::new(2, 4, 4, 512)));
    }
}
