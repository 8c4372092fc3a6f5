use sff::internals::base::shape::{Layout, Shape};
use sff::internals::compiler::ops;
use sff::internals::compiler::ops::scores::result_words;
use sff::internals::compiler::tensor::Kind;
use sff::internals::net::options::Precision;

use super::{Case, Purpose, random};

/// Scores times a trained factor, and its gradients.
fn scaled(images: usize, classes: usize) -> Case {
    let mut case = Case::default();
    let shape = Shape::rows(images, classes);
    let (x, dy, log_scale) = (case.input(shape), case.input(shape), case.input(Shape::vector(1)));
    let [y, dx] = [(); 2].map(|()| case.output(shape));
    let dlog_scale = case.output(Shape::vector(1));
    case.program.push(ops::ScaleScores { x, log_scale, y });
    case.program.push(ops::ScaleScoresGrad { y, dy, log_scale, dx, dlog_scale });
    case.objective(y, dy);
    case.gradient(x, dx);
    case.gradient(log_scale, dlog_scale);
    case.called(format!("{images} images, {classes} classes, scaled"))
}

/// Cross-entropy and its gradient, with mixed labels or not.
fn loss(images: usize, classes: usize, mixed: bool) -> Case {
    let mut case = Case::default();
    let (labels, others) = labels(&mut case, images, classes);
    let scores = case.input(Shape::rows(images, classes));
    let (loss, dscores) =
        (case.output(Shape::rows(images, 1)), case.output(Shape::rows(images, classes)));
    let (partners, given) = (mixed.then_some(others), Some(dscores));
    case.program.push(ops::CrossEntropy {
        scores,
        labels,
        partners,
        loss,
        dscores: given,
        scale: 1.0,
    });
    case.mean_objective(loss);
    case.gradient(scores, dscores);
    case.called(format!("{images} images, {classes} classes"))
}

/// Labels and partners. Some images are mixed with one of their own class.
fn labels(
    case: &mut Case,
    images: usize,
    classes: usize,
) -> (sff::internals::compiler::tensor::TensorId, sff::internals::compiler::tensor::TensorId) {
    let labels = case.words((0..images).map(|i| (i * 7 % classes) as u32).collect());
    let share = |i: usize| [(i * 5 % classes) as u32, (i as f32 % 6.0 / 10.0).to_bits()];
    let partners = case.words((0..images).flat_map(share).collect());
    (labels, partners)
}

/// The losses of several blocks, and the metrics of their scores.
fn metrics(images: usize, classes: usize, blocks: usize) -> Case {
    let mut case = Case::default();
    let (labels, partners) = labels(&mut case, images, classes);
    let valid = (images as f32 * 0.8).ceil();
    let step = case.words([0.0, 1.0, 1.0, valid].map(f32::to_bits).to_vec());
    let all_scores = case.program.add_slab("scores", Kind::Io);
    let all_losses = case.program.add_slab("losses", Kind::Activation);
    let rows = Shape::rows(images, classes);
    for block in 0..blocks {
        let name = format!("scores{block}");
        let scores = case.program.add_member(all_scores, &name, rows, Layout::Nhwc);
        // Some scores are large: exp overflows unless the largest is subtracted first.
        let values = random(block as u64 + 5, rows.elements());
        let factor = if block == 0 { 300.0 } else { 3.0 };
        case.inputs.insert(scores, values.iter().map(|v| v * factor).collect());
        let (name, shape) = (format!("loss{block}"), Shape::rows(images, 1));
        let loss = case.program.add_member(all_losses, &name, shape, Layout::Nhwc);
        let dscores = (block != 1).then(|| case.output(rows));
        // Some blocks have mixed labels and some do not.
        let partners = (block != 2).then_some(partners);
        let scale = if block == 0 { 1.0 } else { 1024.0 };
        case.program.push(ops::CrossEntropy { scores, labels, partners, loss, dscores, scale });
    }
    let out = Shape::vector(result_words(blocks));
    let out = case.temporary("out", out, Layout::Words, Kind::Io);
    case.program.push(ops::Metrics {
        scores: all_scores,
        losses: all_losses,
        labels,
        step,
        out,
        blocks,
        classes,
    });
    case.called(format!("{images} images, {classes} classes, {blocks} blocks"))
}

pub fn cases(purpose: Purpose, precision: Precision) -> Vec<Case> {
    match (purpose, precision) {
        // Scores are never stored in float16.
        (_, Precision::F16) => Vec::new(),
        (Purpose::Gradient, _) => {
            vec![scaled(3, 5), loss(1, 3, false), loss(3, 5, false), loss(3, 5, true)]
        }
        (Purpose::Kernel, _) => {
            let factors = [(1, 2), (70, 5), (3, 130)].map(|(n, k)| scaled(n, k));
            let sizes = [(1, 2, 1), (5, 3, 2), (70, 10, 3), (33, 101, 5)];
            let metrics = sizes.map(|(images, classes, blocks)| metrics(images, classes, blocks));
            factors.into_iter().chain(metrics).collect()
        }
        (Purpose::Rate, _) => vec![metrics(512, 1000, 9)],
    }
}
