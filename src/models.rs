//! The architectures that are built in.

use crate::block::{Block, Layer, Partition};
use crate::ops::BatchNorm;
use crate::shape::Window;

/// Names accepted for `--arch`.
pub const NAMES: &[&str] = &["cnn"];

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
