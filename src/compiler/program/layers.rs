//! The ops of each kind of layer, one file each: those of forward, what forward keeps for backward, and
//! the ops of backward and of recomputation.

mod activation;
mod batch_norm;
mod conv2d;
mod depthwise;
mod dropout;
mod layer_norm;
mod nested;
mod pool;
mod squeeze_excite;

pub use layer_norm::Norm;

use super::emit::Emitter;
use super::tape::Saved;
use crate::base::shape::{Shape, Window};
use crate::compiler::tensor::TensorId;
use crate::net::layers::Layer;
use crate::net::options::Recompute;
use crate::{Error, Result};

/// A layer's output, and what backward needs; nothing for a layer without backward.
type Forward = (TensorId, Option<Box<dyn Saved>>);

impl Emitter {
    /// Runs a layer forward.
    pub(super) fn layer(&mut self, layer: &Layer, x: TensorId) -> Result<Forward> {
        match layer {
            Layer::Conv2d { name, out, window, bias } => {
                let y = self.like(x, name, self.windowed(x, *window)?.with_c(*out));
                Ok((y, Some(self.conv2d(name, x, y, *window, *bias))))
            }
            Layer::DepthwiseConv2d { name, window } => {
                let y = self.like(x, name, self.windowed(x, *window)?);
                Ok((y, Some(self.depthwise(name, x, y, *window))))
            }
            Layer::BatchNorm { name, norm } => Ok(self.batch_norm(name, x, *norm)),
            Layer::Activation(act) => Ok(self.activation(x, *act)),
            Layer::Dropout(rate) => Ok(self.dropout(x, *rate)),
            Layer::MaxPool(window) => self.max_pool(x, *window),
            Layer::GlobalAvgPool => Ok(self.global_avg_pool(x)),
            Layer::SqueezeExcite { name, hidden } => self.squeeze_excite(name, *hidden, x),
            Layer::LayerNorm => {
                let norm = self.layer_norm(x, &mut Vec::new());
                Ok((norm.y, Some(Box::new(norm))))
            }
            Layer::Frozen(layers) => self.frozen(layers, x),
            Layer::Group(layers) => self.group(layers, x),
            Layer::Residual { body, shortcut } => self.residual(body, shortcut, x),
        }
    }

    /// The shape of maps after a window over `x`.
    fn windowed(&self, x: TensorId, window: Window) -> Result<Shape> {
        let shape = self.shape(x);
        window.output(shape).ok_or_else(|| {
            Error::Model(format!(
                "a {0}×{0} window does not fit maps of {1}×{2}; use larger images or a shallower network",
                window.kernel, shape.h, shape.w
            ))
        })
    }

    /// A value for backward to read: that of forward, or recomputed.
    fn recall(&mut self, y: TensorId) -> TensorId {
        if self.recompute != Recompute::Cheap {
            return y;
        }
        if let Some(from) = self.normalized.get(&y).copied() {
            return self.normalize_again(from);
        }
        match self.excited.get(&y).copied() {
            Some((x, s)) => {
                let x = self.recall(x);
                self.excite(x, s)
            }
            None => y,
        }
    }
}
