//! Convolutions.

use crate::base::shape::{Layout, Shape, Weight, Window};
use crate::compiler::ops;
use crate::compiler::program::emit::{Emitter, Init};
use crate::compiler::program::tape::Saved;
use crate::compiler::tensor::TensorId;

struct Conv2d {
    x: TensorId,
    /// Names of the parameters.
    weight: String,
    bias: Option<String>,
    /// Shape of the output.
    y: Shape,
    window: Window,
}

impl Emitter {
    /// A convolution into an existing tensor.
    pub fn conv2d(
        &mut self,
        name: &str,
        x: TensorId,
        y: TensorId,
        window: Window,
        bias: bool,
    ) -> Box<dyn Saved> {
        let (from, to) = (self.shape(x), self.shape(y));
        let weight = format!("{name}.weight");
        // A layer with a bias is a linear one and starts as those usually do.
        let fan_in = (window.kernel * window.kernel * from.c) as f32;
        let linear = Init::Uniform(1.0 / fan_in.sqrt());
        let init = if bias { linear } else { Init::Normal((2.0 / fan_in).sqrt()) };
        let shape = Weight::new(window.kernel, from.c, to.c);
        let w = self.parameter(&weight, shape, Layout::Hwio, init);
        let bias = bias.then(|| format!("{name}.bias"));
        let vector = Shape::vector(to.c);
        let b = bias.as_ref().map(|b| self.parameter(b, vector, Layout::Nhwc, linear));
        self.program.push(ops::Conv2d { x, w, bias: b, y, window });
        Box::new(Conv2d { x, weight, bias, y: to, window })
    }
}

impl Saved for Conv2d {
    fn backward(&self, e: &mut Emitter, dy: TensorId, need_dx: bool) -> Option<TensorId> {
        let window = self.window;
        if e.weight_gradients {
            let x = e.recall(self.x);
            if let Some(bias) = &self.bias {
                let db = e.grad(bias);
                e.program.push(ops::BiasGrad { dy, db });
            }
            let dw = e.grad(&self.weight);
            e.program.push(ops::Conv2dWgrad { x, dy, dw, window });
        }
        need_dx.then(|| {
            let dx = e.like(self.x, "dx", e.shape(self.x));
            let w = e.parameters[&self.weight].value;
            e.program.push(ops::Conv2dDgrad { dy, w, dx, window });
            dx
        })
    }

    fn replay(&self, e: &mut Emitter, x: TensorId, need_y: bool) -> (TensorId, Box<dyn Saved>) {
        let Self { weight, bias, y: shape, window, .. } = self;
        let mut y = x;
        if need_y {
            y = e.like(x, "again", *shape);
            let w = e.parameters[weight].value;
            let bias = bias.as_ref().map(|b| e.parameters[b].value);
            e.program.push(ops::Conv2d { x, w, bias, y, window: *window });
        }
        let (weight, bias) = (weight.clone(), bias.clone());
        (y, Box::new(Self { x, weight, bias, y: *shape, window: *window }))
    }
}
