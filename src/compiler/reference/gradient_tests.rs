//! Every gradient op against central differences of its forward op.

use super::Reference;
use super::tests::Table;
use crate::base::shape::Window;
use crate::compiler::ops::Op;
use crate::compiler::tensor::TensorId;
use crate::net::layers::{Activation, BatchNorm};

/// Xorshift (Marsaglia 2003): the tests need spread, not quality.
struct Random(u64);

impl Random {
    /// Uniform in -1..1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn fill(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// A forward op, the ops that give its gradients, and the pairs to compare.
struct Check {
    forward: Op,
    y: TensorId,
    /// Gets the objective's gradient with respect to `y`; without it the objective is `y`'s mean.
    dy: Option<TensorId>,
    backward: Vec<Op>,
    /// Inputs, and their gradients that the backward ops write.
    gradients: Vec<(TensorId, TensorId)>,
    /// Inputs that are not random, also some of those that have gradients.
    fixed: Vec<(TensorId, Vec<f64>)>,
}

impl Check {
    fn run(&self, table: &Table) {
        const STEP: f64 = 1e-5;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let elements = |id: TensorId| table.0[id.0].shape.elements();
        let mut start = Reference::new(&table.0);
        for (x, _) in &self.gradients {
            start.set(*x, random.fill(elements(*x)));
        }
        for (id, values) in &self.fixed {
            start.set(*id, values.clone());
        }
        let cotangent = match self.dy {
            Some(_) => random.fill(elements(self.y)),
            None => vec![1.0 / elements(self.y) as f64; elements(self.y)],
        };
        let objective = |x: TensorId, at: usize, delta: f64| -> f64 {
            let mut values = start.get(x).to_vec();
            values[at] += delta;
            let mut moved = start.clone();
            moved.set(x, values);
            moved.run(&self.forward);
            moved.get(self.y).iter().zip(&cotangent).map(|(y, c)| y * c).sum()
        };
        let mut exact = start.clone();
        exact.run(&self.forward);
        if let Some(dy) = self.dy {
            exact.set(dy, cotangent.clone());
        }
        self.backward.iter().for_each(|op| exact.run(op));
        for (x, dx) in &self.gradients {
            let dx = exact.get(*dx);
            let largest = dx.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            assert!(largest > 1e-3, "{}: nothing to compare", self.forward.name());
            for (at, dx) in dx.iter().enumerate() {
                let difference = objective(*x, at, STEP) - objective(*x, at, -STEP);
                let expected = difference / (2.0 * STEP);
                assert!(
                    (dx - expected).abs() <= 1e-6 * largest,
                    "{:?}: gradient of {x:?}[{at}] is {dx}, not {expected}",
                    self.backward,
                );
            }
        }
    }
}

#[test]
fn convolution() {
    for (n, (h, w), (cin, cout), kernel, stride) in [
        (1, (5, 4), (3, 2), 1, 1),
        (3, (3, 5), (1, 5), 1, 2),
        (3, (5, 7), (2, 3), 3, 1),
        (1, (6, 5), (5, 6), 3, 2),
        (1, (7, 3), (3, 1), 5, 1),
        (3, (4, 7), (2, 5), 5, 2),
    ] {
        let window = Window::same(kernel, stride);
        let mut t = Table::default();
        let [x, dx] = [(); 2].map(|()| t.maps(n, h, w, cin));
        let [weight, dw] = [(); 2].map(|()| t.weight(kernel, cin, cout));
        let [bias, db] = [(); 2].map(|()| t.vector(cout));
        let (oh, ow) = (h.div_ceil(stride), w.div_ceil(stride));
        let [y, dy] = [(); 2].map(|()| t.maps(n, oh, ow, cout));
        let scratch = t.vector(1);
        let check = Check {
            forward: Op::Conv2d { x, w: weight, bias: Some(bias), y, window },
            y,
            dy: Some(dy),
            backward: vec![
                Op::Conv2dDgrad { dy, w: weight, dx, window },
                Op::Conv2dWgrad { x, dy, dw, scratch, window },
                Op::BiasGrad { dy, db, scratch },
            ],
            gradients: vec![(x, dx), (weight, dw), (bias, db)],
            fixed: vec![],
        };
        check.run(&t);
    }
}

#[test]
fn depthwise_convolution() {
    for (n, (h, w), c, kernel, stride) in [
        (1, (5, 4), 3, 1, 1),
        (3, (3, 5), 2, 3, 1),
        (1, (6, 5), 5, 3, 2),
        (2, (7, 3), 1, 5, 1),
        (3, (4, 7), 2, 5, 2),
        (1, (9, 8), 2, 7, 3),
    ] {
        let window = Window::same(kernel, stride);
        let mut t = Table::default();
        let [x, dx] = [(); 2].map(|()| t.maps(n, h, w, c));
        let [weight, dw] = [(); 2].map(|()| t.maps(kernel, kernel, 1, c));
        let out = window.output(t.0[x.0].shape).unwrap();
        let [y, dy] = [(); 2].map(|()| t.maps(n, out.h, out.w, c));
        let scratch = t.vector(1);
        let check = Check {
            forward: Op::Depthwise { x, w: weight, y, window },
            y,
            dy: Some(dy),
            backward: vec![
                Op::DepthwiseDgrad { dy, w: weight, dx, window },
                Op::DepthwiseWgrad { x, dy, dw, scratch, window },
            ],
            gradients: vec![(x, dx), (weight, dw)],
            fixed: vec![],
        };
        check.run(&t);
    }
}

#[test]
fn squeeze_and_excitation() {
    for n in [1, 3] {
        let mut t = Table::default();
        let [x, dx, y, dy] = [(); 4].map(|()| t.maps(n, 3, 2, 5));
        let [s, ds, dmean] = [(); 3].map(|()| t.maps(n, 1, 1, 5));
        let check = Check {
            forward: Op::Excite { x, s, y },
            y,
            dy: Some(dy),
            backward: vec![
                Op::ExciteGrad { x, s, dy, ds },
                Op::SqueezeExciteGrad { s, dy, dmean, dx },
            ],
            gradients: vec![(x, dx), (s, ds)],
            // Here `s` does not come from the means.
            fixed: vec![(dmean, vec![0.0; 5 * n])],
        };
        check.run(&t);
    }
}

#[test]
fn batch_norm() {
    for (n, c, act) in [
        (1, 3, Activation::None),
        (3, 5, Activation::None),
        (1, 6, Activation::Relu),
        (3, 1, Activation::Relu),
        (2, 3, Activation::HardSwish),
    ] {
        let mut t = Table::default();
        let [x, dx, y, dy] = [(); 4].map(|()| t.maps(n, 3, 5, c));
        let [gamma, dgamma, beta, dbeta, scratch] = [(); 5].map(|()| t.vector(c));
        let [running, stats] = [(); 2].map(|()| t.maps(1, 1, 2, c));
        let norm = BatchNorm { eps: 1e-3, momentum: 0.1, act };
        let residual = None;
        let check = Check {
            forward: Op::BatchNorm { x, residual, gamma, beta, running, stats, y, scratch, norm },
            y,
            dy: Some(dy),
            backward: vec![Op::BatchNormGrad {
                x,
                dy,
                gamma,
                beta,
                stats,
                dx,
                dgamma,
                dbeta,
                scratch,
                norm,
            }],
            gradients: vec![(x, dx), (gamma, dgamma), (beta, dbeta)],
            fixed: vec![(running, vec![1.0; 2 * c])],
        };
        check.run(&t);
    }
}

#[test]
fn activations() {
    for act in [Activation::None, Activation::Relu, Activation::HardSwish, Activation::HardSigmoid]
    {
        let mut t = Table::default();
        let [x, dx, y, dy] = [(); 4].map(|()| t.maps(3, 3, 5, 3));
        // On both sides of every kink, and on none.
        let values = (0..3 * 3 * 5 * 3).map(|i| f64::from(i * 37 % 135) * 0.1 - 6.55);
        let check = Check {
            forward: Op::Activate { x, y, act },
            y,
            dy: Some(dy),
            backward: vec![Op::ActivateGrad { x, dy, dx, act }],
            gradients: vec![(x, dx)],
            fixed: vec![(x, values.collect())],
        };
        check.run(&t);
    }
}

#[test]
fn add_passes_its_gradient_to_both() {
    let mut t = Table::default();
    let [a, b, y, dy] = [(); 4].map(|()| t.maps(1, 3, 2, 3));
    let check = Check {
        forward: Op::Add { a, b, y },
        y,
        dy: Some(dy),
        backward: vec![],
        gradients: vec![(a, dy), (b, dy)],
        fixed: vec![],
    };
    check.run(&t);
}

#[test]
fn max_pool() {
    for (n, (h, w), c, kernel, stride, pad) in [
        (1, (6, 4), 3, 2, 2, 0),
        (3, (5, 7), 5, 2, 2, 0),
        (1, (5, 4), 6, 3, 2, 1),
        (3, (3, 5), 1, 3, 1, 1),
        (1, (7, 5), 2, 5, 2, 2),
    ] {
        let window = Window { kernel, stride, pad };
        let mut t = Table::default();
        let [x, dx] = [(); 2].map(|()| t.maps(n, h, w, c));
        let out = window.output(t.0[x.0].shape).unwrap();
        let [y, dy] = [(); 2].map(|()| t.maps(n, out.h, out.w, c));
        let argmax = t.words(out.pixels() * out.c4());
        let check = Check {
            forward: Op::MaxPool { x, y, argmax, window },
            y,
            dy: Some(dy),
            backward: vec![Op::MaxPoolGrad { dy, argmax, dx, window }],
            gradients: vec![(x, dx)],
            fixed: vec![],
        };
        check.run(&t);
    }
}

#[test]
fn avg_pool() {
    for (n, (h, w)) in [(1, (1, 1)), (3, (1, 1)), (2, (2, 3)), (1, (3, 4))] {
        let mut t = Table::default();
        let [x, dx] = [(); 2].map(|()| t.maps(n, 3, 5, 6));
        let [y, dy] = [(); 2].map(|()| t.maps(n, h, w, 6));
        let check = Check {
            forward: Op::AvgPool { x, y },
            y,
            dy: Some(dy),
            backward: vec![Op::AvgPoolGrad { dy, dx }],
            gradients: vec![(x, dx)],
            fixed: vec![],
        };
        check.run(&t);
    }
}

#[test]
fn layer_norm() {
    for n in [1, 3] {
        let mut t = Table::default();
        let [x, dx, y, dy] = [(); 4].map(|()| t.maps(n, 3, 2, 5));
        let (stats, scratch) = (t.maps(n, 1, 1, 2), t.vector(1));
        let check = Check {
            forward: Op::LayerNorm { x, y, stats, scratch },
            y,
            dy: Some(dy),
            backward: vec![Op::LayerNormGrad { y, dy, stats, dx, scratch, relu: false }],
            gradients: vec![(x, dx)],
            fixed: vec![],
        };
        check.run(&t);
    }
}

#[test]
fn goodness() {
    for (n, (h, w), (cin, classes), kernel, stride) in [
        (1, (3, 5), (3, 2), 1, 1),
        (3, (5, 4), (2, 5), 3, 1),
        (3, (3, 3), (1, 3), 5, 1),
        (1, (5, 6), (5, 3), 5, 2),
    ] {
        let window = Window::same(kernel, stride);
        let mut t = Table::default();
        let [x, dx] = [(); 2].map(|()| t.maps(n, h, w, cin));
        let [weight, dw] = [(); 2].map(|()| t.weight(kernel, cin, classes));
        let [scores, dscores] = [(); 2].map(|()| t.maps(n, 1, 1, classes));
        let (maps, scratch, scale) = (t.vector(1), t.vector(1), 1.5);
        let check = Check {
            forward: Op::Goodness { x, w: weight, scores, scratch, window, scale },
            y: scores,
            dy: Some(dscores),
            backward: vec![Op::GoodnessGrad {
                x,
                w: weight,
                dscores,
                dx,
                dw,
                maps,
                scratch,
                window,
                scale,
            }],
            gradients: vec![(x, dx), (weight, dw)],
            fixed: vec![],
        };
        check.run(&t);
    }
}

#[test]
fn scale_scores() {
    let mut t = Table::default();
    let [x, dx, y, dy] = [(); 4].map(|()| t.maps(3, 1, 1, 5));
    let [log_scale, dlog_scale, scratch] = [(); 3].map(|()| t.vector(1));
    let check = Check {
        forward: Op::ScaleScores { x, log_scale, y },
        y,
        dy: Some(dy),
        backward: vec![Op::ScaleScoresGrad { y, dy, log_scale, dx, dlog_scale, scratch }],
        gradients: vec![(x, dx), (log_scale, dlog_scale)],
        fixed: vec![],
    };
    check.run(&t);
}

#[test]
fn cross_entropy() {
    let mixed = |label: f64, share: f32| [label, f64::from(share.to_bits())];
    // The last image is mixed with one of its own class.
    let others = [mixed(1.0, 0.3), mixed(0.0, 0.0), mixed(2.0, 0.5)].concat();
    for (labels_of, classes, others_of) in [
        (vec![2.0], 3, None),
        (vec![4.0, 0.0, 2.0], 5, None),
        (vec![4.0, 0.0, 2.0], 5, Some(others)),
    ] {
        let n = labels_of.len();
        let mut t = Table::default();
        let [scores, dscores] = [(); 2].map(|()| t.maps(n, 1, 1, classes));
        let (labels, loss) = (t.words(n), t.maps(n, 1, 1, 1));
        let partners = others_of.as_ref().map(|words| t.words(words.len()));
        let (given, scale) = (Some(dscores), 1.0);
        let op = Op::CrossEntropy { scores, labels, partners, loss, dscores: given, scale };
        let fixed = [(labels, labels_of)].into_iter().chain(partners.zip(others_of)).collect();
        let check = Check {
            forward: op,
            y: loss,
            dy: None,
            backward: vec![],
            gradients: vec![(scores, dscores)],
            fixed,
        };
        check.run(&t);
    }
}
