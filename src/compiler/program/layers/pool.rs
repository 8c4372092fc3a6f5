//! Max pools and average pools.

use super::Forward;
use crate::Result;
use crate::base::shape::{Shape, Window};
use crate::compiler::ops;
use crate::compiler::program::emit::Emitter;
use crate::compiler::program::tape::Saved;
use crate::compiler::tensor::TensorId;

struct MaxPool {
    /// Shape of the input.
    x: Shape,
    argmax: TensorId,
    window: Window,
}

/// Backward needs nothing but the shape of the input.
struct AvgPool {
    x: TensorId,
}

impl Emitter {
    pub(super) fn max_pool(&mut self, x: TensorId, window: Window) -> Result<Forward> {
        let pooled = self.windowed(x, window)?;
        let y = self.like(x, "pool", pooled);
        let argmax = self.argmax(pooled);
        self.program.push(ops::MaxPool { x, y, argmax, window });
        Ok((y, Some(Box::new(MaxPool { x: self.shape(x), argmax, window }))))
    }

    /// The mean of each map.
    pub(super) fn global_avg_pool(&mut self, x: TensorId) -> Forward {
        (self.mean(x), Some(Box::new(AvgPool { x })))
    }

    /// The mean of each map.
    pub(super) fn mean(&mut self, x: TensorId) -> TensorId {
        let shape = self.shape(x);
        self.avg_pool(x, Shape::rows(shape.n, shape.c)).0
    }

    /// Average pooling of maps to the shape `to`, always in float32.
    pub fn avg_pool(&mut self, x: TensorId, to: Shape) -> (TensorId, Box<dyn Saved>) {
        let y = self.exact("mean", to);
        self.program.push(ops::AvgPool { x, y });
        (y, Box::new(AvgPool { x }))
    }
}

impl Saved for MaxPool {
    fn backward(&self, e: &mut Emitter, dy: TensorId, need_dx: bool) -> Option<TensorId> {
        let &Self { x, argmax, window } = self;
        need_dx.then(|| {
            let dx = e.like(dy, "dx", x);
            e.program.push(ops::MaxPoolGrad { dy, argmax, dx, window });
            dx
        })
    }

    /// Always computes the output, for the positions of the maxima.
    fn replay(&self, e: &mut Emitter, x: TensorId, _need_y: bool) -> (TensorId, Box<dyn Saved>) {
        let &Self { x: shape, window, .. } = self;
        let pooled = window.output(shape).unwrap_or(shape);
        let y = e.like(x, "again", pooled);
        let argmax = e.argmax(pooled);
        e.program.push(ops::MaxPool { x, y, argmax, window });
        (y, Box::new(Self { x: shape, argmax, window }))
    }
}

impl Saved for AvgPool {
    fn backward(&self, e: &mut Emitter, dy: TensorId, need_dx: bool) -> Option<TensorId> {
        need_dx.then(|| {
            let dx = e.like(self.x, "dx", e.shape(self.x));
            e.program.push(ops::AvgPoolGrad { dy, dx });
            dx
        })
    }

    fn replay(&self, e: &mut Emitter, x: TensorId, need_y: bool) -> (TensorId, Box<dyn Saved>) {
        let y = if need_y { e.mean(x) } else { x };
        (y, Box::new(Self { x }))
    }
}
