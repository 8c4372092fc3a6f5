//! Trains a network of three blocks of our own, through the library:
//! `cargo run --release --example custom`.
//!
//! The images are drawn by the program, so no files are needed.

use sff::{
    Activation, BatchNorm, Block, Gpu, Head, Layer, Network, Request, TrainOptions, Trainer, Window,
};

fn conv(name: &str, out: usize, stride: usize) -> Layer {
    Layer::Conv2d { name: name.into(), out, window: Window::same(3, stride), bias: false }
}

fn norm(name: &str) -> Layer {
    let norm = BatchNorm { eps: 1e-5, momentum: 0.1, act: Activation::Relu };
    Layer::BatchNorm { name: name.into(), norm }
}

fn main() -> sff::Result<()> {
    // A stem, a residual block whose gradients stay inside it, and a strided end.
    let residual =
        Layer::Residual { body: vec![conv("body", 16, 1), norm("body_bn")], shortcut: vec![] };
    let network = Network {
        blocks: vec![
            Block { name: "stem".into(), layers: vec![conv("stem", 16, 2), norm("stem_bn")] },
            Block {
                name: "residual".into(),
                layers: vec![residual, Layer::Activation(Activation::Relu)],
            },
            Block { name: "end".into(), layers: vec![conv("end", 32, 2), norm("end_bn")] },
        ],
        head: Head::goodness(3),
        classes: 10,
    };

    let gpu = Gpu::open(None)?;
    let dataset = sff::load(&Request {
        name: "shapes".into(),
        train_limit: Some(2000),
        seed: 0,
        ..Request::default()
    })?;
    let options = TrainOptions { epochs: 4, batch: 32, ..TrainOptions::default() };
    let mut trainer = Trainer::new(&gpu, &network, &dataset, options)?;
    println!("{}", trainer.plan());

    while !trainer.finished() {
        let train = trainer.train_epoch(|_| {})?;
        let test = trainer.evaluate()?;
        println!(
            "epoch {}: loss {:.3}, test accuracy of each block {:.3?}, of all {:.3}",
            trainer.epoch(),
            train.loss,
            test.blocks,
            test.accuracy.all
        );
    }
    Ok(())
}
