//! Networks as data: layers in blocks, each block trained by its own loss.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::shape::Window;

/// One layer. Names are prefixes of its parameters in files.
#[derive(Clone, PartialEq, Debug)]
pub enum Layer {
    /// Convolution to `out` channels: `{name}.weight`, and `{name}.bias` if it has one.
    Conv2d {
        /// Prefix of the parameters.
        name: String,
        /// Output channels.
        out: usize,
        /// Kernel, stride, padding.
        window: Window,
        /// Whether a bias is added.
        bias: bool,
    },
    /// Depthwise convolution, without bias: `{name}.weight`.
    DepthwiseConv2d {
        /// Prefix of the parameters.
        name: String,
        /// Kernel, stride, padding.
        window: Window,
    },
    /// Batch norm: `{name}.weight`, `.bias`, `.running_mean`, `.running_var`.
    BatchNorm {
        /// Prefix of the parameters.
        name: String,
        /// Constants, and the activation that follows.
        norm: BatchNorm,
    },
    /// An activation as an op of its own.
    Activation(Activation),
    /// Dropout with this rate p: in training, a value becomes 0 with probability p, and is scaled
    /// by 1 / (1 - p) otherwise.
    Dropout(f32),
    /// Max pooling: the largest value in each window.
    MaxPool(Window),
    /// Global average pooling: the mean of each channel's map.
    GlobalAvgPool,
    /// Squeeze-and-excitation (Hu et al., arXiv 1709.01507): scales each channel by a factor that
    /// is computed from the means of all channels by a 1×1 convolution `{name}.fc1` to `hidden`
    /// channels, ReLU, a 1×1 convolution `{name}.fc2` back, and hard-sigmoid. Both convolutions
    /// have a bias.
    SqueezeExcite {
        /// Prefix of the parameters.
        name: String,
        /// Channels between the two convolutions.
        hidden: usize,
    },
    /// Layer norm per image, without parameters, as it is applied between blocks.
    LayerNorm,
    /// Layers that are not trained and always in evaluation mode: nothing is kept for a backward
    /// pass, and no gradient enters them. See [`freeze`].
    Frozen(Vec<Layer>),
    /// A block of the architecture: the unit that [`crate::net::options::Recompute::Block`]
    /// recomputes.
    Group(Vec<Layer>),
    /// `body(x) + shortcut(x)`; an empty shortcut is the identity.
    Residual {
        /// The residual branch.
        body: Vec<Layer>,
        /// The shortcut: a projection, or nothing.
        shortcut: Vec<Layer>,
    },
}

impl Layer {
    /// Prefixes of the parameters of this layer and of the layers inside it.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Conv2d { name, .. }
            | Self::DepthwiseConv2d { name, .. }
            | Self::BatchNorm { name, .. } => vec![name.clone()],
            Self::SqueezeExcite { name, .. } => {
                vec![format!("{name}.fc1"), format!("{name}.fc2")]
            }
            Self::Activation(_)
            | Self::Dropout(_)
            | Self::MaxPool(_)
            | Self::GlobalAvgPool
            | Self::LayerNorm => vec![],
            Self::Group(layers) | Self::Frozen(layers) => {
                layers.iter().flat_map(Self::names).collect()
            }
            Self::Residual { body, shortcut } => {
                body.iter().chain(shortcut).flat_map(Self::names).collect()
            }
        }
    }
}

/// An elementwise activation function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// The identity.
    None,
    /// `max(x, 0)`.
    Relu,
    /// `x * relu6(x + 3) / 6` (Howard et al., arXiv 1905.02244).
    HardSwish,
    /// `relu6(x + 3) / 6`.
    HardSigmoid,
}

/// Constants of batch norm.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f32,
    /// Weight of the current batch in the running statistics.
    pub momentum: f32,
    /// The activation that follows, in the same op.
    pub act: Activation,
}

/// Layers that are trained together. Gradients flow inside a block and not between blocks.
#[derive(Clone, PartialEq, Debug)]
pub struct Block {
    /// Its name in reports.
    pub name: String,
    /// The layers, in order.
    pub layers: Vec<Layer>,
}

/// Joins blocks. A joined block begins at the first block and at each index in `starts`, and has
/// the name of the block that it begins with. There is no layer norm between the blocks inside it.
pub fn join(blocks: Vec<Block>, starts: &[usize]) -> Vec<Block> {
    let mut joined: Vec<Block> = Vec::new();
    for (index, block) in blocks.into_iter().enumerate() {
        match joined.last_mut() {
            Some(last) if !starts.contains(&index) => last.layers.extend(block.layers),
            _ => joined.push(block),
        }
    }
    joined
}

/// Freezes the first `count` blocks: they move into the block after them, each followed by its
/// layer norm. If there is only one block, its first `count` layers are frozen.
pub fn freeze(mut blocks: Vec<Block>, count: usize) -> Vec<Block> {
    if let [block] = &mut blocks[..] {
        let frozen = block.layers.drain(..count).collect();
        block.layers.insert(0, Layer::Frozen(frozen));
        return blocks;
    }
    let mut trained = blocks.split_off(count);
    let normed = |block: Block| block.layers.into_iter().chain([Layer::LayerNorm]);
    let frozen = blocks.into_iter().flat_map(normed).collect();
    trained[0].layers.insert(0, Layer::Frozen(frozen));
    trained
}

/// The head that turns a block's output into a score per class.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Head {
    /// Layer norm, then the mean square of an auxiliary convolution per class, times a scale: the
    /// goodness. Every block has one, `aux.{block}.weight`.
    Goodness(Goodness),
    /// Global average pooling and a linear layer, `fc`, as in most networks trained by
    /// backpropagation. Only for a network of one block.
    Linear,
    /// The classifier of MobileNetV3: global average pooling, a linear layer `classifier.0`,
    /// hard-swish, dropout, and a linear layer `classifier.3`. Only for a network of one block.
    Classifier {
        /// Width between the two layers.
        hidden: usize,
        /// Rate of the dropout.
        dropout: f32,
    },
}

impl Head {
    /// A goodness head with a dense convolution on maps at full size, and a scale of 1.
    pub const fn goodness(kernel: usize) -> Self {
        Self::Goodness(Goodness { kernel, separable: false, pool: None, scale: Scale::Fixed(1.0) })
    }
}

/// Options of goodness heads, which turn a block's normalised output into class maps.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Goodness {
    /// Side of the auxiliary convolution; odd.
    pub kernel: usize,
    /// Whether it is separable: a depthwise convolution, `aux.{block}.depthwise.weight`, and a 1×1
    /// convolution to the classes.
    pub separable: bool,
    /// Side in pixels to which larger maps are average-pooled first. The next block reads the maps
    /// at full size.
    pub pool: Option<usize>,
    /// Factor on the goodness before the softmax.
    pub scale: Scale,
}

impl fmt::Display for Goodness {
    /// For example `separable 5×5 on at most 8×8 pixels, learnable scale`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separable = if self.separable { "separable " } else { "" };
        write!(f, "{separable}{0}×{0}", self.kernel)?;
        if let Some(side) = self.pool {
            write!(f, " on at most {side}×{side} pixels")?;
        }
        match self.scale {
            Scale::Fixed(1.0) => Ok(()),
            Scale::Fixed(scale) => write!(f, ", scale {scale}"),
            Scale::Learnable => write!(f, ", learnable scale"),
        }
    }
}

/// Factor on the goodness.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scale {
    /// A positive constant.
    Fixed(f32),
    /// Trained: its logarithm is a parameter of the block, `aux.{block}.log_scale`, initially 0.
    Learnable,
}

/// Blocks, and the head that gives each its loss.
#[derive(Clone, PartialEq, Debug)]
pub struct Network {
    /// In order; each reads the normalised output of the previous one.
    pub blocks: Vec<Block>,
    /// The head of each block.
    pub head: Head,
    /// Number of classes.
    pub classes: usize,
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "learnable" => Ok(Self::Learnable),
            _ => text
                .parse()
                .map(Self::Fixed)
                .map_err(|_| format!("expected a number or `learnable`, not `{text}`")),
        }
    }
}

impl Serialize for Scale {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(scale) => serializer.serialize_f32(*scale),
            Self::Learnable => serializer.serialize_str("learnable"),
        }
    }
}

impl<'de> Deserialize<'de> for Scale {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a number or `learnable`")]
        enum Either {
            Number(f32),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(scale) => Ok(Self::Fixed(scale)),
            Either::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_a_number_or_learnable() {
        for (text, json, scale) in [
            ("learnable", "\"learnable\"", Scale::Learnable),
            ("0.1", "0.1", Scale::Fixed(0.1)),
            ("2", "2.0", Scale::Fixed(2.0)),
        ] {
            assert_eq!(text.parse(), Ok(scale));
            assert_eq!(serde_json::to_string(&scale).unwrap(), json);
            assert_eq!(serde_json::from_str::<Scale>(json).unwrap(), scale);
        }
        assert_eq!(serde_json::from_str::<Scale>("3").unwrap(), Scale::Fixed(3.0));
        assert!("much".parse::<Scale>().unwrap_err().contains("`learnable`"));
        assert!(serde_json::from_str::<Scale>("\"much\"").is_err());
    }

    #[test]
    fn a_joined_block_has_all_layers_and_the_name_of_the_first_block() {
        let unit = |name: &str| Block {
            name: name.to_owned(),
            layers: vec![Layer::Group(vec![Layer::GlobalAvgPool]), Layer::Dropout(0.5)],
        };
        let units: Vec<Block> = ["a", "b", "c", "d"].map(unit).into();
        let shape = |starts: &[usize]| -> Vec<(String, usize)> {
            let blocks = join(units.clone(), starts).into_iter();
            blocks.map(|block| (block.name, block.layers.len())).collect()
        };
        let named = |name: &str, layers| (name.to_owned(), layers);
        assert_eq!(shape(&[1, 3]), [named("a", 2), named("b", 4), named("d", 2)]);
        assert_eq!(shape(&[]), [named("a", 8)]);
        assert_eq!(join(units.clone(), &[0, 1, 2, 3]), units);
        assert_eq!(join(vec![], &[1]), vec![]);
        // Joined blocks can be frozen.
        let trained = freeze(join(units.clone(), &[1, 3]), 2);
        let frozen = [&units[0].layers, &[Layer::LayerNorm][..]].concat();
        let frozen = [frozen, units[1].layers.clone(), units[2].layers.clone()].concat();
        let frozen = Layer::Frozen([frozen, vec![Layer::LayerNorm]].concat());
        let layers = [vec![frozen], units[3].layers.clone()].concat();
        assert_eq!(trained, [Block { name: "d".into(), layers }]);
    }
}
