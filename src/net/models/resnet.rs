//! ResNet.

use super::{BATCH_NORM, Stem, conv_norm, partitioned};
use crate::base::shape::Window;
use crate::net::layers::{Activation, BatchNorm, Block, Layer};
use crate::net::options::Partition;

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
