//! MobileNetV3.

use super::{Stem, conv_norm, partitioned};
use crate::base::shape::Window;
use crate::net::layers::Activation::{self, HardSwish, Relu};
use crate::net::layers::{BatchNorm, Block, Layer};
use crate::net::options::Partition;

/// The two published networks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// 11 inverted residuals, 576 output channels.
    Small,
    /// 15 inverted residuals, 960 output channels.
    Large,
}

/// Output channels of the first convolution.
const STEM_CHANNELS: usize = 16;

/// Ratio of output to input channels of the last convolution.
const LAST_EXPANSION: usize = 6;

/// An inverted residual: kernel, expanded channels, output channels, squeeze-and-excitation,
/// activation, stride.
type Row = (usize, usize, usize, bool, Activation, usize);

#[rustfmt::skip]
const SMALL: &[Row] = &[
    (3, 16, 16, true, Relu, 2),
    (3, 72, 24, false, Relu, 2),
    (3, 88, 24, false, Relu, 1),
    (5, 96, 40, true, HardSwish, 2),
    (5, 240, 40, true, HardSwish, 1),
    (5, 240, 40, true, HardSwish, 1),
    (5, 120, 48, true, HardSwish, 1),
    (5, 144, 48, true, HardSwish, 1),
    (5, 288, 96, true, HardSwish, 2),
    (5, 576, 96, true, HardSwish, 1),
    (5, 576, 96, true, HardSwish, 1),
];

#[rustfmt::skip]
const LARGE: &[Row] = &[
    (3, 16, 16, false, Relu, 1),
    (3, 64, 24, false, Relu, 2),
    (3, 72, 24, false, Relu, 1),
    (5, 72, 40, true, Relu, 2),
    (5, 120, 40, true, Relu, 1),
    (5, 120, 40, true, Relu, 1),
    (3, 240, 80, false, HardSwish, 2),
    (3, 200, 80, false, HardSwish, 1),
    (3, 184, 80, false, HardSwish, 1),
    (3, 184, 80, false, HardSwish, 1),
    (3, 480, 112, true, HardSwish, 1),
    (3, 672, 112, true, HardSwish, 1),
    (5, 672, 160, true, HardSwish, 2),
    (5, 960, 160, true, HardSwish, 1),
    (5, 960, 160, true, HardSwish, 1),
];

const fn norm(act: Activation) -> BatchNorm {
    BatchNorm { eps: 1e-3, momentum: 0.01, act }
}

/// Hidden channels of squeeze-and-excitation: a quarter, rounded to a multiple of 8, but not down
/// by more than a tenth.
fn squeezed(channels: usize) -> usize {
    let wanted = channels / 4;
    let rounded = ((wanted + 4) / 8 * 8).max(8);
    if 10 * rounded < 9 * wanted { rounded + 8 } else { rounded }
}

/// A dense convolution, batch norm and activation, with torchvision's names.
fn dense(name: &str, out: usize, window: Window, act: Activation) -> Vec<Layer> {
    conv_norm(format!("{name}.0"), format!("{name}.1"), out, window, norm(act)).to_vec()
}

/// MobileNetV3 without its classifier (Howard et al., arXiv 1905.02244), with torchvision's names.
/// `Partition::Layer` makes each convolution a block of its own, with squeeze-and-excitation in the
/// block of the depthwise one, and drops the shortcuts.
pub fn mobilenet_v3(size: Size, stem: Stem, partition: Partition) -> Vec<Block> {
    let rows = match size {
        Size::Small => SMALL,
        Size::Large => LARGE,
    };
    let stride = match stem {
        Stem::Cifar => 1,
        Stem::Imagenet => 2,
    };
    let point = Window::same(1, 1);
    let first = dense("features.0", STEM_CHANNELS, Window::same(3, stride), HardSwish);
    let mut units = vec![Block { name: "stem".into(), layers: first }];
    let mut channels = STEM_CHANNELS;
    for (index, &(kernel, expanded, out, excited, act, stride)) in rows.iter().enumerate() {
        let name = format!("features.{}", index + 1);
        let mut steps = Vec::new();
        let part = |step: usize| format!("{name}.block.{step}");
        if expanded != channels {
            steps.push(dense(&part(0), expanded, point, act));
        }
        let mut number = steps.len();
        let (conv, bn) = (format!("{}.0", part(number)), format!("{}.1", part(number)));
        let mut depthwise = vec![
            Layer::DepthwiseConv2d { name: conv, window: Window::same(kernel, stride) },
            Layer::BatchNorm { name: bn, norm: norm(act) },
        ];
        if excited {
            number += 1;
            let hidden = squeezed(expanded);
            depthwise.push(Layer::SqueezeExcite { name: part(number), hidden });
        }
        steps.push(depthwise);
        steps.push(dense(&part(number + 1), out, point, Activation::None));
        if partition == Partition::Layer {
            let block = |(step, layers)| Block { name: format!("{name}.{step}"), layers };
            units.extend(steps.into_iter().enumerate().map(block));
        } else {
            let body = steps.concat();
            let layers = if stride == 1 && channels == out {
                vec![Layer::Residual { body, shortcut: vec![] }]
            } else {
                body
            };
            units.push(Block { name, layers });
        }
        channels = out;
    }
    let name = format!("features.{}", rows.len() + 1);
    let layers = dense(&name, LAST_EXPANSION * channels, point, HardSwish);
    units.push(Block { name, layers });
    partitioned(units, partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squeezed_channels_agree_with_torchvision() {
        let squeezed = [16, 72, 96, 120, 144, 240, 480, 960].map(squeezed);
        assert_eq!(squeezed, [8, 24, 24, 32, 40, 64, 120, 240]);
    }
}
