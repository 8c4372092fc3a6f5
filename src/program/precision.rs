//! How exactly maps are kept.

use crate::shape::Layout;

/// What maps and their gradients are stored in. Everything else is float32 in both cases: weights
/// and their gradients and moments, statistics and means of maps, scores, losses, sums; so is all
/// arithmetic, with values converted as they are loaded and stored.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// float32.
    #[default]
    F32,
    /// float16: half the memory. For devices that can compute with it.
    F16,
}

impl Precision {
    /// The layout of maps.
    pub const fn maps(self) -> Layout {
        match self {
            Self::F32 => Layout::Nhwc,
            Self::F16 => Layout::Half,
        }
    }

    /// The factor on the gradients of a batch, until they reach the optimiser: a power of two, so
    /// that it costs no accuracy. Gradients of the mean loss of many images with many pixels would
    /// vanish in float16, whose least value is 6e-8. With this factor they are those of the loss
    /// of one image, whatever the batch, times `IMAGE_SCALE`.
    pub fn gradient_scale(self, batch: usize) -> f32 {
        match self {
            Self::F32 => 1.0,
            Self::F16 => IMAGE_SCALE * batch.next_power_of_two() as f32,
        }
    }
}

/// Between gradients that would become zero and those that would reach 65,504, the largest
/// float16.
const IMAGE_SCALE: f32 = 256.0;
