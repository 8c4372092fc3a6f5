//! Depthwise convolutions.

use crate::base::shape::{Layout, Shape, Weight, Window};
use crate::compiler::ops;
use crate::compiler::program::emit::{Emitter, Init};
use crate::compiler::program::tape::Saved;
use crate::compiler::tensor::TensorId;

struct Depthwise {
    x: TensorId,
    /// Name of the parameter.
    weight: String,
    /// Shape of the output.
    y: Shape,
    window: Window,
}

impl Emitter {
    /// A depthwise convolution into an existing tensor.
    pub fn depthwise(
        &mut self,
        name: &str,
        x: TensorId,
        y: TensorId,
        window: Window,
    ) -> Box<dyn Saved> {
        let (k, to) = (window.kernel, self.shape(y));
        let weight = format!("{name}.weight");
        let init = Init::Normal((2.0 / (k * k) as f32).sqrt());
        let w = self.parameter(&weight, Weight::new(k, 1, to.c), Layout::Nhwc, init);
        if let Some(parameter) = self.parameters.get_mut(&weight) {
            parameter.file_shape = vec![to.c, 1, k, k];
        }
        self.program.push(ops::Depthwise { x, w, y, window });
        Box::new(Depthwise { x, weight, y: to, window })
    }
}

impl Saved for Depthwise {
    fn backward(&self, e: &mut Emitter, dy: TensorId, need_dx: bool) -> Option<TensorId> {
        let window = self.window;
        if e.weight_gradients {
            let x = e.recall(self.x);
            let dw = e.grad(&self.weight);
            e.program.push(ops::DepthwiseWgrad { x, dy, dw, window });
        }
        need_dx.then(|| {
            let dx = e.like(self.x, "dx", e.shape(self.x));
            let w = e.parameters[&self.weight].value;
            e.program.push(ops::DepthwiseDgrad { dy, w, dx, window });
            dx
        })
    }

    fn replay(&self, e: &mut Emitter, x: TensorId, need_y: bool) -> (TensorId, Box<dyn Saved>) {
        let &Self { ref weight, y: shape, window, .. } = self;
        let mut y = x;
        if need_y {
            y = e.like(x, "again", shape);
            let w = e.parameters[weight].value;
            e.program.push(ops::Depthwise { x, w, y, window });
        }
        (y, Box::new(Self { x, weight: weight.clone(), y: shape, window }))
    }
}
