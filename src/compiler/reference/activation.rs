//! Activations, as PyTorch defines them and their gradients.

use crate::net::layers::Activation;

fn hard_sigmoid(x: f64) -> f64 {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

pub fn value(act: Activation, x: f64) -> f64 {
    match act {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::HardSwish => x * hard_sigmoid(x),
        Activation::HardSigmoid => hard_sigmoid(x),
    }
}

/// The derivative at `x`.
pub fn slope(act: Activation, x: f64) -> f64 {
    let inside = |slope: f64| if x > -3.0 && x < 3.0 { slope } else { 0.0 };
    match act {
        Activation::None => 1.0,
        Activation::Relu => f64::from(x > 0.0),
        Activation::HardSwish if x >= 3.0 => 1.0,
        Activation::HardSwish => inside(x / 3.0 + 0.5),
        Activation::HardSigmoid => inside(1.0 / 6.0),
    }
}
