//! Small cases computed by hand.

use crate::base::shape::{Layout, Shape, Weight, Window};
use crate::compiler::ops::scores::result_words;
use crate::compiler::ops::{
    self, Activate, ActivateGrad, AvgPool, AvgPoolGrad, Conv2d, Depthwise, Excite, ExciteGrad,
    LayerNorm, LayerNormGrad, MaxPool, MaxPoolGrad, Operation, SqueezeExciteGrad,
};
use crate::compiler::reference::Reference;
use crate::compiler::tensor::{Kind, Tensor, TensorId};
use crate::net::layers::{Activation, BatchNorm};
use crate::net::options::AdamW;

/// The tensors of a test.
#[derive(Default)]
pub struct Table(pub Vec<Tensor>);

impl Table {
    pub fn add(&mut self, layout: Layout, shape: Shape) -> TensorId {
        let name = format!("t{}", self.0.len());
        self.0.push(Tensor {
            name,
            shape,
            layout,
            kind: Kind::Io,
            block: None,
            keep: false,
            fused: false,
            parent: None,
        });
        TensorId(self.0.len() - 1)
    }

    pub fn maps(&mut self, n: usize, h: usize, w: usize, c: usize) -> TensorId {
        self.add(Layout::Nhwc, Shape::new(n, h, w, c))
    }

    pub fn vector(&mut self, c: usize) -> TensorId {
        self.maps(1, 1, 1, c)
    }

    pub fn weight(&mut self, k: usize, cin: usize, cout: usize) -> TensorId {
        self.add(Layout::Hwio, Weight::new(k, cin, cout).into())
    }

    pub fn words(&mut self, count: usize) -> TensorId {
        self.add(Layout::Words, Shape::vector(count))
    }

    fn member(&mut self, root: TensorId, offset: usize, shape: Shape) -> TensorId {
        let id = self.add(Layout::Nhwc, shape);
        self.0[id.0].parent = Some((root, offset));
        id
    }

    /// Runs one op on the given inputs.
    pub fn run(&self, op: &dyn Operation, inputs: &[(TensorId, &[f64])]) -> Reference<'_> {
        let mut reference = Reference::new(&self.0);
        for (id, values) in inputs {
            reference.set(*id, values.to_vec());
        }
        op.reference(&mut reference);
        reference
    }
}

#[track_caller]
pub fn assert_close(actual: &[f64], expected: &[f64]) {
    let close = |(a, e): (&f64, &f64)| (a - e).abs() <= 1e-12;
    let same = actual.len() == expected.len() && actual.iter().zip(expected).all(close);
    assert!(same, "{actual:?} is not {expected:?}");
}

fn counting(count: usize) -> Vec<f64> {
    (1..=count).map(|v| v as f64).collect()
}

#[test]
fn convolution_with_stride_padding_and_bias() {
    let mut t = Table::default();
    let (x, w, b, y) = (t.maps(1, 3, 3, 1), t.weight(3, 1, 1), t.vector(1), t.maps(1, 2, 2, 1));
    let op = Conv2d { x, w, bias: Some(b), y, window: Window::same(3, 2) };
    let nine = counting(9);
    let r = t.run(&op, &[(x, &nine), (w, &nine), (b, &[0.5])]);
    assert_eq!(r.get(y), [94.5, 106.5, 106.5, 94.5]);
}

#[test]
fn large_windows_stay_within_their_image() {
    let mut t = Table::default();
    let (x, w, y) = (t.maps(2, 1, 3, 1), t.weight(5, 1, 1), t.maps(2, 1, 3, 1));
    let op = Conv2d { x, w, bias: None, y, window: Window::same(5, 1) };
    let r = t.run(&op, &[(x, &[1.0, 10.0, 100.0, 0.0, 0.0, 1.0]), (w, &counting(25))]);
    assert_eq!(r.get(y), [1653.0, 1542.0, 1431.0, 15.0, 14.0, 13.0]);
}

#[test]
fn weights_are_input_by_output_channels() {
    let mut t = Table::default();
    let (x, w, y) = (t.maps(1, 1, 1, 2), t.weight(1, 2, 3), t.maps(1, 1, 1, 3));
    let op = Conv2d { x, w, bias: None, y, window: Window::same(1, 1) };
    let r = t.run(&op, &[(x, &[1.0, 2.0]), (w, &counting(6))]);
    assert_eq!(r.get(y), [9.0, 12.0, 15.0]);
}

#[test]
fn averages_overlap_where_sizes_do_not_divide() {
    let mut t = Table::default();
    let (x, y, dx) = (t.maps(1, 1, 5, 1), t.maps(1, 1, 3, 1), t.maps(1, 1, 5, 1));
    // Columns 0-1, 1-3 and 3-4, as PyTorch's adaptive average pool has them.
    let mut r = t.run(&AvgPool { x, y }, &[(x, &[1.0, 3.0, 6.0, 9.0, 11.0])]);
    assert_close(r.get(y), &[2.0, 6.0, 10.0]);
    AvgPoolGrad { dy: y, dx }.reference(&mut r);
    assert_close(r.get(dx), &[1.0, 3.0, 2.0, 7.0, 5.0]);
}

#[test]
fn max_pool_takes_the_first_of_equals_and_a_byte_per_channel() {
    let mut t = Table::default();
    let (x, y, dx) = (t.maps(1, 2, 2, 5), t.maps(1, 1, 1, 5), t.maps(1, 2, 2, 5));
    let argmax = t.words(2);
    let window = Window { kernel: 2, stride: 2, pad: 0 };
    #[rustfmt::skip]
    let values = [
        1.0, 0.0, 0.0, 0.0, -5.0,
        1.0, 2.0, 1.0, 0.0, -2.0,
        1.0, 2.0, 3.0, 0.0, -1.0,
        1.0, 1.0, 3.0, 1.0, -1.0,
    ];
    let mut r = t.run(&MaxPool { x, y, argmax, window }, &[(x, &values)]);
    assert_eq!(r.get(y), [1.0, 2.0, 3.0, 1.0, -1.0]);
    assert_eq!(r.get(argmax), [f64::from(0x0302_0100), 2.0]);

    MaxPoolGrad { dy: y, argmax, dx, window }.reference(&mut r);
    #[rustfmt::skip]
    let routed = [
        1.0, 0.0, 0.0, 0.0, 0.0,
        0.0, 2.0, 0.0, 0.0, 0.0,
        0.0, 0.0, 3.0, 0.0, -1.0,
        0.0, 0.0, 0.0, 1.0, 0.0,
    ];
    assert_eq!(r.get(dx), routed);
}

#[test]
fn max_pool_ignores_padding() {
    let mut t = Table::default();
    let (x, y, argmax) = (t.maps(2, 2, 2, 1), t.maps(2, 1, 1, 1), t.words(2));
    let op = MaxPool { x, y, argmax, window: Window::same(3, 2) };
    let r = t.run(&op, &[(x, &[-4.0, -3.0, -2.0, -1.0, -7.0, -7.0, -7.0, -7.0])]);
    assert_eq!(r.get(y), [-1.0, -7.0]);
    assert_eq!(r.get(argmax), [8.0, 4.0]);
}

#[test]
fn batch_norm_keeps_biased_and_runs_on_unbiased_variances() {
    let mut t = Table::default();
    let [x, y, other] = [(); 3].map(|()| t.maps(2, 1, 1, 2));
    let [gamma, beta, _scratch] = [(); 3].map(|()| t.vector(2));
    let [running, stats] = [(); 2].map(|()| t.maps(1, 1, 2, 2));
    let norm = BatchNorm { eps: 0.0, momentum: 0.25, act: Activation::Relu };
    let residual = None;
    let op = ops::BatchNorm { x, residual, gamma, beta, running, stats, y, norm };
    let inputs: [(TensorId, &[f64]); 4] = [
        (x, &[1.0, 0.0, 3.0, 4.0]),
        (gamma, &[2.0, -1.0]),
        (beta, &[0.5, 0.0]),
        (running, &[10.0, 0.0, 4.0, 0.0]),
    ];
    let mut r = t.run(&op, &inputs);
    assert_close(r.get(stats), &[2.0, 2.0, 1.0, 4.0]);
    assert_close(r.get(running), &[8.0, 0.5, 3.5, 2.0]);
    assert_close(r.get(y), &[0.0, 1.0, 2.5, 0.0]);

    r.set(running, vec![1.0, 4.0, 4.0, 16.0]);
    let norm = BatchNorm { act: Activation::None, ..norm };
    ops::BatchNormEval { x, residual, gamma, beta, running, y, norm }.reference(&mut r);
    assert_close(r.get(y), &[0.5, 1.0, 2.5, 0.0]);

    // The activation sees the sum.
    r.set(other, vec![1.0, -2.0, -4.0, 0.5]);
    let norm = BatchNorm { act: Activation::Relu, ..norm };
    ops::BatchNormEval { x, residual: Some(other), gamma, beta, running, y, norm }
        .reference(&mut r);
    assert_close(r.get(y), &[1.5, 0.0, 0.0, 0.5]);
}

#[test]
fn batch_norm_of_one_value_keeps_the_biased_variance() {
    let mut t = Table::default();
    let [x, gamma, beta, _scratch, y] = [(); 5].map(|()| t.vector(1));
    let [running, stats] = [(); 2].map(|()| t.maps(1, 1, 2, 1));
    let norm = BatchNorm { eps: 1e-5, momentum: 0.25, act: Activation::None };
    let op = ops::BatchNorm { x, residual: None, gamma, beta, running, stats, y, norm };
    let one: &[f64] = &[1.0];
    let r = t.run(&op, &[(x, &[5.0]), (gamma, one), (beta, one), (running, &[1.0, 4.0])]);
    assert_close(r.get(running), &[2.0, 3.0]);
    assert_close(r.get(y), &[1.0]);
}

#[test]
fn layer_norm_is_per_image() {
    let mut t = Table::default();
    let (x, y, stats, _scratch) =
        (t.maps(2, 1, 2, 1), t.maps(2, 1, 2, 1), t.maps(2, 1, 1, 2), t.vector(1));
    let op = LayerNorm { x, y, stats };
    let r = t.run(&op, &[(x, &[1.0, 3.0, 2.0, 2.0])]);
    let scale = 1.0 / 1.00001f64.sqrt();
    assert_close(r.get(y), &[-scale, scale, 0.0, 0.0]);
    assert_close(r.get(stats), &[2.0, scale, 2.0, 1.0 / 1e-5f64.sqrt()]);
}

#[test]
fn goodness_and_its_loss() {
    let mut t = Table::default();
    let (x, w, scores, _scratch) =
        (t.maps(1, 1, 2, 1), t.weight(1, 1, 2), t.maps(1, 1, 1, 2), t.vector(1));
    let op = ops::Goodness { x, w, scores, window: Window::same(1, 1), scale: 0.5 };
    let mut r = t.run(&op, &[(x, &[1.0, 3.0]), (w, &[1.0, 2.0])]);
    assert_close(r.get(scores), &[2.5, 10.0]);

    let (labels, loss, dscores) = (t.words(1), t.maps(1, 1, 1, 1), t.maps(1, 1, 1, 2));
    let cross_entropy = |partners, scale| {
        let dscores = Some(dscores);
        ops::CrossEntropy { scores, labels, partners, loss, dscores, scale }
    };
    let op = cross_entropy(None, 1.0);
    // Scores far beyond what `exp` can take.
    r = t.run(&op, &[(scores, &[1000.0, 1000.0 + 3f64.ln()]), (labels, &[0.0])]);
    assert_close(r.get(loss), &[4f64.ln()]);
    assert_close(r.get(dscores), &[-0.75, 0.75]);

    // A quarter of the label is the other class.
    let partners = t.words(2);
    let op = cross_entropy(Some(partners), 4.0);
    let quarter = f64::from(0.25f32.to_bits());
    let inputs: [(TensorId, &[f64]); 3] =
        [(scores, &[0.0, 3f64.ln()]), (labels, &[0.0]), (partners, &[1.0, quarter])];
    r = t.run(&op, &inputs);
    assert_close(r.get(loss), &[4f64.ln() - 0.25 * 3f64.ln()]);
    assert_close(r.get(dscores), &[-2.0, 2.0]);
}

#[test]
fn first_step_of_adamw_goes_by_the_sign() {
    let mut t = Table::default();
    let [params, grads, m, v] = [(); 4].map(|()| t.vector(2));
    let step = t.vector(4);
    let adamw = AdamW { beta1: 0.5, beta2: 0.75, eps: 0.0, weight_decay: 0.5 };
    let scale = 8.0;
    let op = ops::AdamW { params, grads, m, v, step, adamw, scale };
    let zeros: &[f64] = &[0.0; 2];
    let inputs: [(TensorId, &[f64]); 5] = [
        (params, &[1.0, -2.0]),
        (grads, &[4.0, -2.0]),
        (m, zeros),
        (v, zeros),
        (step, &[0.1, 0.5, 0.25, 1.0]),
    ];
    let r = t.run(&op, &inputs);
    assert_close(r.get(params), &[0.85, -1.8]);
    assert_close(r.get(m), &[0.25, -0.125]);
    assert_close(r.get(v), &[0.0625, 0.015625]);
}

#[test]
fn adamw_pairs_members_by_offset() {
    let mut t = Table::default();
    let roots = [(); 4].map(|()| t.vector(8));
    let step = t.vector(4);
    let [small, large] = [Shape::vector(1), Shape::vector(3)];
    // The gradients stand in the other order in the table.
    let [p, m, v] =
        [0, 2, 3].map(|i| [t.member(roots[i], 0, small), t.member(roots[i], 16, large)]);
    let g1 = t.member(roots[1], 16, large);
    let g0 = t.member(roots[1], 0, small);
    let [params, grads, m_root, v_root] = roots;
    let adamw = AdamW { beta1: 0.5, beta2: 0.5, eps: 0.0, weight_decay: 0.0 };
    let op = ops::AdamW { params, grads, m: m_root, v: v_root, step, adamw, scale: 1.0 };
    let zeros = [0.0; 3];
    let mut inputs: Vec<(TensorId, &[f64])> =
        [p, m, v].iter().flat_map(|[a, b]| [(*a, &zeros[..1]), (*b, &zeros[..])]).collect();
    inputs.extend([(g0, &[7.0][..]), (g1, &[-1.0, 2.0, -3.0]), (step, &[1.0, 0.5, 0.5, 1.0])]);
    let r = t.run(&op, &inputs);
    assert_close(r.get(p[0]), &[-1.0]);
    assert_close(r.get(p[1]), &[1.0, -1.0, 1.0]);
}

#[test]
fn metrics_count_votes_of_valid_images() {
    const BLOCKS: usize = 4;
    // By image, then block: by how much class 0 leads class 1. All labels are 0.
    let leads: [[f64; BLOCKS]; 4] = [
        [5.0, -1.0, -1.0, -1.0], // right by the votes of all
        [-5.0, -5.0, 3.0, -1.0], // ... of the later half
        [-9.0, -1.0, -2.0, 1.0], // ... of the last block
        [0.0; BLOCKS],           // ... because the first of equals wins
    ];
    let expected = [
        [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        [1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0],
        [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        [2.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0],
    ];
    let mut t = Table::default();
    let [scores, losses] = [(); 2].map(|()| t.vector(99));
    let (labels, step, _scratch) = (t.words(4), t.vector(4), t.vector(1));
    let out = t.vector(result_words(BLOCKS));
    let op = ops::Metrics { scores, losses, labels, step, out, blocks: BLOCKS, classes: 2 };
    let mut inputs = vec![(labels, vec![0.0; 4])];
    for block in (0..BLOCKS).rev() {
        let id = t.member(scores, 32 * block, Shape::rows(4, 2));
        inputs.push((id, leads.iter().flat_map(|lead| [1.0 + lead[block], 1.0]).collect()));
        let id = t.member(losses, 64 * block, Shape::rows(4, 1));
        inputs.push((id, vec![10f64.powi(block as i32); 4]));
    }
    for (valid, expected) in (1..).zip(expected) {
        let valid = f64::from(valid);
        let step: (TensorId, &[f64]) = (step, &[0.0, 0.0, 0.0, valid]);
        let inputs: Vec<_> = inputs.iter().map(|(id, v)| (*id, &v[..])).chain([step]).collect();
        let r = t.run(&op, &inputs);
        assert_close(&r.get(out)[..BLOCKS], &[1.0, 10.0, 100.0, 1000.0].map(|v| v * valid));
        assert_close(&r.get(out)[BLOCKS..2 * BLOCKS + 3], &expected);
        assert_eq!(r.get(out)[2 * BLOCKS + 3..], [0.0; BLOCKS]);
    }
}

#[test]
fn metrics_of_a_single_block_need_no_slab() {
    let mut t = Table::default();
    let (scores, losses) = (t.maps(2, 1, 1, 3), t.maps(2, 1, 1, 1));
    let (labels, step, _scratch, out) = (t.words(2), t.vector(4), t.vector(1), t.vector(6));
    let op = ops::Metrics { scores, losses, labels, step, out, blocks: 1, classes: 3 };
    let inputs: [(TensorId, &[f64]); 4] = [
        (scores, &[0.0, 1.0, 2.0, 3.0, 1.0, 2.0]),
        (losses, &[0.5, 0.25]),
        (labels, &[2.0, 2.0]),
        (step, &[0.0, 0.0, 0.0, 2.0]),
    ];
    assert_close(t.run(&op, &inputs).get(out), &[0.75, 1.0, 1.0, 1.0, 1.0, 0.0]);
}

#[test]
fn layer_norm_sees_through_a_relu() {
    let mut t = Table::default();
    let [x, h, y, dy, dn, dx, again] = [(); 7].map(|()| t.maps(2, 1, 3, 2));
    let (stats, _scratch) = (t.maps(2, 1, 1, 2), t.vector(1));
    let act = Activation::Relu;
    let values = [-1.0, 2.0, 0.5, -3.0, 0.0, 1.0, -1.0, -2.0, 4.0, 1e-9, -0.5, 3.0];
    let mut r = t.run(&Activate { x, y: h, act }, &[(x, &values), (dy, &counting(12))]);
    LayerNorm { x: h, y, stats }.reference(&mut r);
    LayerNormGrad { y, dy, stats, dx: dn, relu: false }.reference(&mut r);
    ActivateGrad { x: h, dy: dn, dx: again, act }.reference(&mut r);
    LayerNormGrad { y, dy, stats, dx, relu: true }.reference(&mut r);
    assert_eq!(r.get(dx), r.get(again));
    assert_eq!(r.get(dx).iter().filter(|v| **v == 0.0).count(), 6);
}

#[test]
#[should_panic(expected = "t0 is read before it is set")]
fn unset_tensors_are_named() {
    let mut t = Table::default();
    let (x, y) = (t.vector(1), t.vector(1));
    t.run(&Activate { x, y, act: Activation::Relu }, &[]);
}

#[test]
fn depthwise_convolution_keeps_channels_apart() {
    let mut t = Table::default();
    let (x, w, y) = (t.maps(1, 1, 3, 2), t.maps(3, 3, 1, 2), t.maps(1, 1, 2, 2));
    let op = Depthwise { x, w, y, window: Window::same(3, 2) };
    let r = t.run(&op, &[(x, &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]), (w, &counting(18))]);
    // The middle row of the window is 7, 9, 11 for the first channel and 8, 10, 12 for the other.
    assert_eq!(r.get(y), [31.0, 340.0, 41.0, 460.0]);
}

#[test]
fn activations_are_flat_outside_of_their_kinks() {
    let mut t = Table::default();
    let [x, y, dx] = [(); 3].map(|()| t.vector(6));
    let (points, ones) = ([-4.0, -3.0, -1.5, 0.0, 3.0, 4.0], [1.0; 6]);
    for (act, values, slopes) in [
        (Activation::None, points, ones),
        (Activation::Relu, [0.0, 0.0, 0.0, 0.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]),
        (Activation::HardSwish, [0.0, 0.0, -0.375, 0.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.5, 1.0, 1.0]),
        (
            Activation::HardSigmoid,
            [0.0, 0.0, 0.25, 0.5, 1.0, 1.0],
            [0.0, 0.0, 1.0 / 6.0, 1.0 / 6.0, 0.0, 0.0],
        ),
    ] {
        let mut r = t.run(&Activate { x, y, act }, &[(x, &points), (dx, &ones)]);
        ActivateGrad { x, dy: dx, dx, act }.reference(&mut r);
        assert_close(r.get(y), &values);
        assert_close(r.get(dx), &slopes);
    }
}

#[test]
fn excitation_is_per_image_and_channel() {
    let mut t = Table::default();
    let [x, y, dx] = [(); 3].map(|()| t.maps(2, 1, 2, 1));
    let [s, ds, dmean] = [(); 3].map(|()| t.maps(2, 1, 1, 1));
    let inputs: [(_, &[f64]); 3] =
        [(x, &[1.0, 2.0, 3.0, 4.0]), (s, &[0.0, 30.0]), (dmean, &[8.0, -2.0])];
    let mut r = t.run(&Excite { x, s, y }, &inputs);
    assert_eq!(r.get(y), [0.5, 1.0, 3.0, 4.0]);
    ExciteGrad { x, s, dy: x, ds }.reference(&mut r);
    assert_close(r.get(ds), &[5.0 / 6.0, 0.0]);
    SqueezeExciteGrad { s, dy: x, dmean, dx }.reference(&mut r);
    assert_eq!(r.get(dx), [4.5, 5.0, 2.0, 3.0]);
}
