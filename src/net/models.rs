//! The built-in architectures.

mod mobilenet;
mod resnet;

pub use mobilenet::{Size, mobilenet_v3};
pub use resnet::resnet18;

use crate::base::choice::choice;
use crate::base::shape::Window;
use crate::net::layers::{Activation, BatchNorm, Block, Head, Layer};
use crate::net::options::Partition;

choice! {
    /// An architecture.
    pub enum Arch {
        /// A plain CNN, see [`cnn`].
        Cnn = "cnn",
        /// See [`resnet18`].
        Resnet18 = "resnet18",
        /// See [`mobilenet_v3`].
        MobilenetV3Small = "mobilenet-v3-small",
        /// See [`mobilenet_v3`].
        MobilenetV3Large = "mobilenet-v3-large",
    }
}

/// Default widths of the plain CNN.
pub const CNN_WIDTHS: [usize; 4] = [16, 32, 64, 64];

/// The first convolutions of the plain CNN, as many as are followed by max pooling.
const CNN_POOLED: usize = 2;

/// Convolutions in a block of the plain CNN.
const CNN_BLOCK: usize = 2;

/// PyTorch's default constants of batch norm, followed by ReLU.
const BATCH_NORM: BatchNorm = BatchNorm { eps: 1e-5, momentum: 0.1, act: Activation::Relu };

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
    // In every partition, groups are the architecture's blocks: the units of recomputation.
    let groups = |units: &[Vec<Layer>]| -> Vec<Layer> {
        units.chunks(CNN_BLOCK).map(|units| Layer::Group(units.concat())).collect()
    };
    units
        .chunks(size)
        .enumerate()
        .map(|(index, units)| Block { name: name(index), layers: groups(units) })
        .collect()
}

choice! {
    /// The first layers of a network.
    pub enum Stem {
        /// A 3×3 convolution of stride 1: for images of about 32 pixels.
        Cifar = "cifar",
        /// As published, with a stride of 2 at least: for images of about 224 pixels.
        Imagenet = "imagenet",
    }
}

impl Stem {
    /// The default stem for square images with this side, in pixels.
    pub fn for_side(side: usize) -> Self {
        if side <= 64 { Self::Cifar } else { Self::Imagenet }
    }
}

impl Arch {
    /// The blocks of the backbone. Only the plain CNN uses `widths`, and it ignores `stem`.
    pub fn blocks(self, widths: &[usize], stem: Stem, partition: Partition) -> Vec<Block> {
        match self {
            Self::Cnn => cnn(widths, partition),
            Self::Resnet18 => resnet18(stem, partition),
            Self::MobilenetV3Small => mobilenet_v3(Size::Small, stem, partition),
            Self::MobilenetV3Large => mobilenet_v3(Size::Large, stem, partition),
        }
    }

    /// The head of the architecture when it is trained by backpropagation.
    pub fn classifier(self) -> Head {
        let hidden = match self {
            Self::Cnn | Self::Resnet18 => return Head::Linear,
            Self::MobilenetV3Small => 1024,
            Self::MobilenetV3Large => 1280,
        };
        Head::Classifier { hidden, dropout: 0.2 }
    }
}

/// A convolution without bias, then batch norm.
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

/// Joins the architecture's units as `partition` says. In every partition each unit is a group, the
/// unit of recomputation.
fn partitioned(units: Vec<Block>, partition: Partition) -> Vec<Block> {
    let group = |block: Block| Block { layers: vec![Layer::Group(block.layers)], ..block };
    let units = units.into_iter().map(group);
    match partition {
        Partition::Layer | Partition::Block => units.collect(),
        Partition::Whole => {
            let layers = units.flat_map(|block| block.layers).collect();
            vec![Block { name: "whole".into(), layers }]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_of_the_cnn_has_the_same_layers() {
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
}
