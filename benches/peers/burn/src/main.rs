//! The cases of `../cases.json` in Burn on wgpu; prints a line of JSON per case.
//!
//! `cargo run --release [-- RUNS [STEPS]]`

use std::time::Instant;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::module::{conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Distribution, Int, Tensor, activation::relu};
use serde_json::{Value, json};

const NAME: &str = "burn";

/// Seconds of the best run after the first, and of the first, which compiles and tunes.
fn time(device: &Device, runs: usize, mut work: impl FnMut()) -> (f64, f64) {
    let mut seconds = Vec::new();
    for _ in 0..=runs {
        device.sync().expect("the device works");
        let start = Instant::now();
        work();
        device.sync().expect("the device works");
        seconds.push(start.elapsed().as_secs_f64());
    }
    let best = seconds[1..].iter().copied().fold(f64::INFINITY, f64::min);
    (best, seconds[0])
}

fn report(case: &str, what: &str, (best, first): (f64, f64)) {
    let line = json!({"peer": NAME, "case": case, "what": what, "seconds": best, "first": first});
    println!("{line}");
}

fn convolution(device: &Device, case: &Value, batch: usize, runs: usize) {
    let number = |key: &str| case[key].as_u64().expect("a number") as usize;
    let [side, cin, cout, k, groups] = ["side", "in", "out", "kernel", "groups"].map(number);
    let name = case["name"].as_str().expect("a name");
    let normal = Distribution::Normal(0.0, 1.0);
    let (x, w) = ([batch, cin, side, side], [cout, cin / groups, k, k]);
    let options = || ConvOptions::new([1; 2], [k / 2; 2], [1; 2], groups);
    let (a, b) = (Tensor::<4>::random(x, normal, device), Tensor::<4>::random(w, normal, device));
    let forward = || drop(conv2d(a.clone(), b.clone(), None, options()));
    report(name, "forward", time(device, runs, forward));

    let autodiff = device.clone().autodiff();
    let a = Tensor::<4>::random(x, normal, &autodiff).require_grad();
    let b = Tensor::<4>::random(w, normal, &autodiff).require_grad();
    let dy = Tensor::<4>::random([batch, cout, side, side], normal, &autodiff);
    let both = || {
        let y = conv2d(a.clone(), b.clone(), None, options());
        let gradients = (y * dy.clone()).sum().backward();
        drop((a.grad(&gradients), b.grad(&gradients)));
    };
    report(name, "forward and backward", time(device, runs, both));
}

#[derive(Module, Debug)]
struct Cnn {
    convs: Vec<Conv2d>,
    norms: Vec<BatchNorm>,
    head: Linear,
}

impl Cnn {
    fn new(widths: &[usize], classes: usize, device: &Device) -> Self {
        let ins = std::iter::once(1).chain(widths.iter().copied());
        let conv = |(cin, cout): (usize, &usize)| {
            let config = Conv2dConfig::new([cin, *cout], [3, 3]).with_bias(false);
            config.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device)
        };
        Self {
            convs: ins.zip(widths).map(conv).collect(),
            norms: widths.iter().map(|c| BatchNormConfig::new(*c).init(device)).collect(),
            head: LinearConfig::new(widths[widths.len() - 1], classes).init(device),
        }
    }

    fn forward(&self, mut x: Tensor<4>) -> Tensor<2> {
        for (index, (conv, norm)) in self.convs.iter().zip(&self.norms).enumerate() {
            x = relu(norm.forward(conv.forward(x)));
            if index < 2 {
                x = max_pool2d(x, MaxPoolOptions::new([2; 2]));
            }
        }
        let [n, c, h, w] = x.dims();
        self.head.forward(x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c]))
    }
}

fn cnn(device: &Device, case: &Value, steps: usize) {
    let number = |key: &str| case[key].as_u64().expect("a number") as usize;
    let [side, batch, classes] = ["side", "batch", "classes"].map(number);
    let widths = case["widths"].as_array().expect("a list");
    let widths: Vec<_> = widths.iter().map(|w| w.as_u64().expect("a number") as usize).collect();
    let device = device.clone().autodiff();
    let mut model = Some(Cnn::new(&widths, classes, &device));
    let mut optimizer = AdamWConfig::new().with_weight_decay(1e-2).init();
    let loss = CrossEntropyLossConfig::new().init(&device);
    let x = Tensor::<4>::random([batch, 1, side, side], Distribution::Normal(0.0, 1.0), &device);
    let labels: Vec<i32> = (0..batch).map(|i| (i % classes) as i32).collect();
    let y = Tensor::<1, Int>::from_ints(labels.as_slice(), &device);
    let step = || {
        let now = model.take().expect("there is a model");
        let gradients = loss.forward(now.forward(x.clone()), y.clone()).backward();
        let gradients = GradientsParams::from_grads(gradients, &now);
        model = Some(optimizer.step(3e-3, now, gradients));
    };
    report("cnn", "training step", time(&device, steps, step));
}

fn main() {
    let mut counts = std::env::args().skip(1).map(|a| a.parse().expect("a number of runs"));
    let (runs, steps) = (counts.next().unwrap_or(5), counts.next().unwrap_or(10));
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../cases.json");
    let cases = std::fs::read_to_string(cases).expect("cases.json");
    let cases: Value = serde_json::from_str(&cases).expect("JSON");
    let device = Device::wgpu(Default::default());
    let batch = cases["convolution_batch"].as_u64().expect("a number") as usize;
    for case in cases["convolutions"].as_array().expect("a list") {
        convolution(&device, case, batch, runs);
    }
    cnn(&device, &cases["cnn"], steps);
}
