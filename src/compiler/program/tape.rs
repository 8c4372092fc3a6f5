//! What forward keeps for backward.

use crate::base::shape::{Shape, Window};
use crate::compiler::tensor::TensorId;
use crate::net::layers::{Activation, BatchNorm};

/// What a layer keeps from forward for backward.
pub enum Saved {
    Conv2d { x: TensorId, w: String, bias: Option<String>, y: Shape, window: Window },
    Depthwise { x: TensorId, w: String, y: Shape, window: Window },
    BatchNorm { x: TensorId, name: String, stats: TensorId, norm: BatchNorm },
    Activation { x: TensorId, act: Activation },
    Dropout { layer: u32, rate: f32 },
    MaxPool { x: Shape, argmax: TensorId, window: Window },
    AvgPool { x: TensorId },
    LayerNorm(Norm),
    SqueezeExcite { x: TensorId, s: TensorId, gate: Vec<Saved> },
    Residual { body: Vec<Saved>, shortcut: Vec<Saved> },
    Group { x: TensorId, tape: Vec<Saved> },
}

/// A layer norm, such as that at the end of a block.
#[derive(Clone, Copy)]
pub struct Norm {
    /// Its output.
    pub y: TensorId,
    /// Mean and reciprocal deviation of each image.
    pub stats: TensorId,
    /// Whether its input comes from a ReLU: where that was 0 shows in `y`, so the input need not
    /// be kept.
    pub relu: bool,
}

/// How the output of a batch norm is had from its input.
#[derive(Clone, Copy)]
pub struct Normalized {
    pub x: TensorId,
    pub gamma: TensorId,
    pub beta: TensorId,
    pub stats: TensorId,
    pub norm: BatchNorm,
}

/// Takes a ReLU off the end of a tape, if there is one.
pub fn pop_relu(tape: &mut Vec<Saved>) -> bool {
    match tape.last_mut() {
        Some(Saved::Group { tape, .. }) => pop_relu(tape),
        Some(Saved::Activation { act: Activation::Relu, .. }) => tape.pop().is_some(),
        _ => false,
    }
}
