//! Every op on the device against the f64 reference: odd sizes, strides, batch 1, channel counts
//! that are not multiples of four, many channels, and both sets of register tiles.

use crate::common::{Case, gpu, matrix_tiles, other_tiles, precisions, random, usual_tiles};
use sff::base::shape::{Layout, Shape, Window};
use sff::compiler::kernel::Tiles;
use sff::compiler::ops::{Op, metrics_words, result_words};
use sff::compiler::program::Program;
use sff::compiler::split;
use sff::compiler::tensor::{Kind, TensorId};
use sff::gpu::device::Gpu;
use sff::gpu::session::{Session, SessionOptions};
use sff::net::layers::{Activation, BatchNorm};
use sff::net::options::{AdamW, Precision};

/// Maps of different size and number of channels, and a number of output channels.
const MAPS: [(Shape, usize); 8] = [
    (Shape::new(1, 1, 1, 1), 1),
    (Shape::new(1, 7, 5, 3), 6),
    (Shape::new(3, 6, 9, 8), 70),
    (Shape::new(2, 11, 3, 5), 33),
    (Shape::new(5, 4, 4, 130), 18),
    (Shape::new(70, 3, 3, 4), 10),
    (Shape::new(5, 4, 4, 4), 600),
    // Weight gradients in so many parts that invocations share their sum.
    (Shape::new(2, 33, 34, 3), 6),
];

/// Sums over pixels, and over channels, that invocations share.
const LONG: Shape = Shape::new(2, 23, 25, 130);

/// Those that float16 and tiles which no session chooses by itself are tested with: one image of odd
/// size; rows and output channels that take several tiles; many input channels, and pixels of several
/// images in a tile.
static TELLING: [(Shape, usize); 3] = [MAPS[1], MAPS[2], MAPS[4]];

const ACTIVATIONS: [Activation; 4] =
    [Activation::None, Activation::Relu, Activation::HardSwish, Activation::HardSigmoid];

const WINDOWS: [Window; 5] = [
    Window::same(1, 1),
    Window::same(3, 1),
    Window::same(5, 1),
    Window::same(3, 2),
    Window { kernel: 1, stride: 2, pad: 0 },
];

/// All maps in every precision that the device has.
fn all_maps(gpu: &Gpu) -> impl Iterator<Item = (Precision, Shape)> {
    let shapes = MAPS.map(|(shape, _)| shape).into_iter().chain([LONG]);
    precisions(gpu).iter().flat_map(move |p| shapes.clone().map(|shape| (*p, shape)))
}

/// The same and numbers of channels, with few of them in float16, for kernels that take long to compile.
fn most_maps(gpu: &Gpu) -> impl Iterator<Item = (Precision, Shape, usize)> {
    let each = |p: &Precision| match p {
        Precision::F32 => MAPS.to_vec(),
        Precision::F16 => TELLING.to_vec(),
    };
    let each = move |p| each(p).into_iter().map(|(shape, channels)| (*p, shape, channels));
    precisions(gpu).iter().flat_map(each)
}

/// Sets of tiles, and maps and sizes of windows to test them with.
struct Besides {
    precision: Precision,
    maps: &'static [(Shape, usize)],
    kernels: &'static [usize],
    tiles: Vec<Tiles>,
}

/// Every set of tiles besides the usual ones; in float16, where all load and store alike, those that
/// discrete GPUs have by default, with the maps that take several tiles.
fn tiles_besides(gpu: &Gpu) -> Vec<Besides> {
    let others = other_tiles(gpu);
    let defaults = [Tiles::WORKGROUP_64X64, Tiles::WORKGROUP_32X32];
    let half = others.iter().copied().filter(|tiles| defaults.contains(tiles)).collect();
    let mut all = vec![
        Besides { precision: Precision::F32, maps: &TELLING, kernels: &[1, 3, 5], tiles: others },
        Besides { precision: Precision::F16, maps: &TELLING[1..2], kernels: &[3], tiles: half },
    ];
    all.retain(|besides| precisions(gpu).contains(&besides.precision));
    all
}

fn scratch(case: &mut Case, shape: Shape) -> sff::compiler::tensor::TensorId {
    case.temporary("scratch", shape, Layout::Nhwc, Kind::Workspace)
}

fn stored(weight: Shape) -> usize {
    Layout::Hwio.stored(weight).elements()
}

/// A convolution and its gradients, and what they are called.
fn convolution(
    precision: Precision,
    (shape, cout): (Shape, usize),
    window: Window,
) -> (Case, String) {
    let y_shape = window.output(shape).expect("the window fits").with_c(cout);
    let weight = Shape::weight(window.kernel, shape.c, cout);
    let mut case = Case::of(precision);
    let x = case.maps(shape);
    let w = case.weight(window.kernel, shape.c, cout);
    let b = case.input(Shape::vector(cout));
    let dy = case.maps(y_shape);
    let (y, biased) = (case.output_maps(y_shape), case.output_maps(y_shape));
    let (dx, db) = (case.output_maps(shape), case.output(Shape::vector(cout)));
    let dw = case.temporary("dw", weight, Layout::Hwio, Kind::ParamGradient);
    let parts = split::wgrad(y_shape, weight).count(y_shape.n);
    let partial = scratch(&mut case, Shape::rows(parts, stored(weight)));
    let parts = split::reduction(y_shape).count(y_shape.n);
    let sums = scratch(&mut case, Shape::rows(parts, cout));
    case.program.push(Op::Conv2d { x, w, bias: None, y, window });
    case.program.push(Op::Conv2d { x, w, bias: Some(b), y: biased, window });
    case.program.push(Op::Conv2dDgrad { dy, w, dx, window });
    case.program.push(Op::Conv2dWgrad { x, dy, dw, scratch: partial, window });
    case.program.push(Op::BiasGrad { dy, db, scratch: sums });
    (case, format!("{precision:?}, {shape} to {cout}, {window:?}"))
}

#[test]
fn convolution_forward_and_both_gradients() {
    let gpu = gpu();
    for (precision, shape, cout) in most_maps(&gpu) {
        for window in WINDOWS {
            let (case, label) = convolution(precision, (shape, cout), window);
            case.check(&gpu, &label);
        }
    }
}

#[test]
fn convolutions_with_every_other_set_of_tiles() {
    let gpu = gpu();
    for Besides { precision, maps, kernels, tiles } in tiles_besides(&gpu) {
        for window in WINDOWS.into_iter().filter(|window| kernels.contains(&window.kernel)) {
            for maps in maps {
                let (case, label) = convolution(precision, *maps, window);
                case.check_with(&gpu, &label, &tiles);
            }
        }
    }
}

#[test]
fn convolutions_as_products_of_matrices() {
    let gpu = gpu();
    if !precisions(&gpu).contains(&Precision::F16) {
        return;
    }
    for (shape, cout, window) in [
        (Shape::new(3, 5, 7, 20), 68, Window::same(3, 1)),
        (Shape::new(1, 9, 6, 7), 12, Window::same(3, 2)),
    ] {
        let mut case = Case::of(Precision::F16);
        let y_shape = window.output(shape).unwrap().with_c(cout);
        let x = case.maps(shape);
        // Such that float16 holds them: these kernels round weights.
        let weight = Shape::weight(window.kernel, shape.c, cout);
        let values = random(7, weight.elements()).into_iter().map(|v| (v * 64.0).round() / 64.0);
        let w = case.given(weight, Layout::Hwio, values.collect());
        let b = case.input(Shape::vector(cout));
        let dy = case.maps(y_shape);
        let (y, dx) = (case.output_maps(y_shape), case.output_maps(shape));
        case.program.push(Op::Conv2d { x, w, bias: Some(b), y, window });
        case.program.push(Op::Conv2dDgrad { dy, w, dx, window });
        case.check_with(&gpu, &format!("{shape} to {cout}"), &matrix_tiles(&gpu));
    }
}

#[test]
fn depthwise_forward_and_both_gradients() {
    let gpu = gpu();
    let sevens = Window { kernel: 7, stride: 3, pad: 2 };
    for (precision, shape, _) in most_maps(&gpu) {
        for window in WINDOWS.into_iter().chain([Window::same(5, 2), sevens]) {
            let Some(y_shape) = window.output(shape) else { continue };
            let weight = Shape::weight(window.kernel, 1, shape.c);
            let mut case = Case::of(precision);
            let x = case.maps(shape);
            let w = case.input(weight);
            let dy = case.maps(y_shape);
            let [y, dx] = [y_shape, shape].map(|shape| case.output_maps(shape));
            let dw = case.output(weight);
            let parts = split::depthwise_wgrad(y_shape).count(y_shape.n);
            let values = Layout::Nhwc.stored(weight).elements();
            let partial = scratch(&mut case, Shape::rows(parts, values));
            case.program.push(Op::Depthwise { x, w, y, window });
            case.program.push(Op::DepthwiseDgrad { dy, w, dx, window });
            case.program.push(Op::DepthwiseWgrad { x, dy, dw, scratch: partial, window });
            case.check(&gpu, &format!("{precision:?}, {shape}, {window:?}"));
        }
    }
}

/// A goodness and its gradients, and what they are called.
fn goodness(
    precision: Precision,
    (shape, classes): (Shape, usize),
    kernel: usize,
) -> (Case, String) {
    let window = Window::same(kernel, 1);
    let weight = Shape::weight(kernel, shape.c, classes);
    let mut case = Case::of(precision);
    let x = case.maps(shape);
    let w = case.weight(kernel, shape.c, classes);
    let dscores = case.input(Shape::rows(shape.n, classes));
    let scores = case.output(Shape::rows(shape.n, classes));
    let dx = case.output_maps(shape);
    let dw = case.temporary("dw", weight, Layout::Hwio, Kind::ParamGradient);
    let parts = Shape::new(shape.n, split::goodness_parts(shape, kernel), 1, classes);
    let partial = scratch(&mut case, parts);
    let slice = split::goodness_slice(precision.maps(), shape, classes);
    let maps_shape = shape.with_n(slice).with_c(classes);
    let maps = case.temporary("class_maps", maps_shape, precision.maps(), Kind::Workspace);
    let rows = split::wgrad(maps_shape, weight).count(slice);
    let sums = scratch(&mut case, Shape::rows(rows, stored(weight)));
    let scale = 0.7;
    case.program.push(Op::Goodness { x, w, scores, scratch: partial, window, scale });
    let scratch = sums;
    case.program.push(Op::GoodnessGrad { x, w, dscores, dx, dw, maps, scratch, window, scale });
    if kernel == 1 {
        gram_ops(&mut case, (x, w, dscores), classes);
    }
    (case, format!("{precision:?}, {shape}, {classes} classes, k {kernel}"))
}

#[test]
fn goodness_and_its_gradients() {
    let gpu = gpu();
    for (precision, shape, classes) in most_maps(&gpu) {
        for kernel in [1, 3, 5] {
            let (case, label) = goodness(precision, (shape, classes), kernel);
            case.check(&gpu, &label);
        }
    }
}

#[test]
fn goodness_with_every_other_set_of_tiles() {
    let gpu = gpu();
    for Besides { precision, maps, kernels, tiles } in tiles_besides(&gpu) {
        for kernel in kernels {
            for maps in maps {
                let (case, label) = goodness(precision, *maps, *kernel);
                case.check_with(&gpu, &label, &tiles);
            }
        }
    }
}

/// The goodness of a 1×1 convolution and its gradients, from Gram matrices.
fn gram_ops(case: &mut Case, (x, w, dscores): (TensorId, TensorId, TensorId), classes: usize) {
    let [shape, weight] = [x, w].map(|id| case.program.tensor(id).shape);
    let scores = case.output(Shape::rows(shape.n, classes));
    let dx = case.output_maps(shape);
    let dw = case.temporary("dw", weight, Layout::Hwio, Kind::ParamGradient);
    let slice = split::gram_slice(case.precision.maps(), shape);
    let gram = scratch(case, split::gram(shape.with_n(slice)));
    let parts = split::goodness_parts(case.program.tensor(gram).shape, 1);
    let partial = scratch(case, Shape::new(slice, parts, 1, classes));
    let sums = Shape::rows(split::gram_parts(slice, weight), stored(weight));
    let sums = scratch(case, sums);
    let scale = 0.7;
    case.program.push(Op::GramGoodness { x, w, scores, gram, scratch: partial, scale });
    case.program.push(Op::GramGoodnessGrad { x, w, dscores, dx, dw, gram, scratch: sums, scale });
}

/// A display's watchdog would take the device away.
#[test]
fn long_work_comes_in_several_submits_with_the_same_bits() {
    let shape = Shape::new(80, 32, 32, 64);
    let mut case = Case::default();
    let x = case.maps(shape);
    let w = case.weight(3, 64, 64);
    let (y, z) = (case.output_maps(shape), case.output_maps(shape));
    let window = Window::same(3, 1);
    case.program.push(Op::Conv2d { x, w, bias: None, y, window });
    case.program.push(Op::Conv2d { x: y, w, bias: None, y: z, window });
    let run = |kind| {
        let mut gpu: Gpu = gpu().clone();
        let tiles = Some(usual_tiles(&gpu)[0]);
        gpu.adapter.kind = kind;
        let options = SessionOptions { tiles, ..SessionOptions::default() };
        let mut session = Session::new(&gpu, case.program.clone(), options).unwrap();
        case.inputs.iter().for_each(|(id, values)| session.write(*id, values));
        session.run(0..2, None).unwrap();
        (session.activity().submits, session.read_bytes(z).unwrap())
    };
    let (once, twice) = (run("discrete"), run("integrated"));
    assert_eq!((once.0, twice.0), (1, 2));
    assert!(once.1 == twice.1);
}

/// Mesa's software driver ends loops after 65,535 steps, without a word.
#[test]
fn sums_of_very_many_terms() {
    let gpu = gpu();
    let (case, label) = goodness(Precision::F32, (Shape::new(1, 144, 144, 64), 2), 5);
    case.check(&gpu, &label);

    let shape = Shape::new(1, 360, 360, 64);
    let mut case = Case::default();
    let (x, dy) = (case.maps(shape), case.maps(shape));
    let [y, dx] = [(); 2].map(|()| case.output_maps(shape));
    let stats = case.output(Shape::rows(shape.n, 2));
    let partial = scratch(&mut case, Shape::new(shape.n, split::image_chunks(shape), 1, 4));
    case.program.push(Op::LayerNorm { x, y, stats, scratch: partial });
    case.program.push(Op::LayerNormGrad { y, dy, stats, dx, scratch: partial, relu: false });
    case.check(&gpu, "layer norm");

    // The gradient of a weight for so many pixels that the reference takes minutes: of ones, it counts.
    let (shape, weight, window) =
        (Shape::new(66, 32, 32, 172), Shape::weight(3, 172, 172), Window::same(3, 1));
    let mut case = Case::default();
    let ones = vec![1.0; shape.elements()];
    let [x, dy] = [(); 2].map(|()| case.given(shape, Layout::Nhwc, ones.clone()));
    let dw = case.temporary("dw", weight, Layout::Hwio, Kind::ParamGradient);
    let parts = split::wgrad(shape, weight).count(shape.n);
    let partial = scratch(&mut case, Shape::rows(parts, stored(weight)));
    case.program.push(Op::Conv2dWgrad { x, dy, dw, scratch: partial, window });
    let mut session = Session::new(&gpu, case.program, SessionOptions::default()).unwrap();
    [x, dy].iter().for_each(|id| session.write(*id, &ones));
    session.run(0..1, None).unwrap();
    let values = session.read(dw).unwrap();
    // Of three positions, the outer ones see nothing beyond an edge.
    let seen = [31.0, 32.0, 31.0];
    let expected = |tap: usize| 66.0 * seen[tap / 3] * seen[tap % 3];
    for (tap, values) in values.chunks(172 * 172).enumerate() {
        assert!(values.iter().all(|v| *v == expected(tap)), "position {tap}: {}", values[0]);
    }
}

/// What cannot be cut is refused there.
#[test]
fn loops_that_the_device_would_end_are_refused() {
    let gpu = gpu();
    let (case, label) = goodness(Precision::F32, (Shape::new(1, 16, 16, 256), 2), 31);
    let session = Session::new(&gpu, case.program.clone(), SessionOptions::default());
    if gpu.adapter.max_steps() == usize::MAX {
        return case.check(&gpu, &label);
    }
    let message = session.err().unwrap().to_string();
    assert!(message.contains(" steps of a loop but the device allows 65000, "), "{message}");
    let (case, label) = goodness(Precision::F32, (Shape::new(1, 16, 16, 256), 2), 15);
    case.check(&gpu, &label);
}

#[test]
fn gram_matrices_pay_where_there_are_few_channels() {
    let x = |side, c| Shape::new(64, side, side, c);
    assert!(split::gram_pays(x(112, 16), 1000) && split::gram_pays(x(14, 40), 1000));
    assert!(!split::gram_pays(x(7, 576), 1000) && !split::gram_pays(x(112, 16), 10));
    // Their memory is bounded as that of class maps is.
    for (side, c) in [(112, 16), (14, 40), (7, 96), (32, 512)] {
        let (x, slice) = (x(side, c), split::gram_slice(Layout::Nhwc, x(side, c)));
        let bytes = Layout::Nhwc.bytes(split::gram(x.with_n(slice)));
        assert!(slice <= 16 && bytes <= (Layout::Nhwc.bytes(x) / 8).max(4 << 20), "{side} px, {c}");
    }
}

#[test]
fn scores_times_a_trained_factor() {
    let gpu = gpu();
    for (images, classes) in [(1, 2), (70, 5), (3, 130)] {
        let mut case = Case::default();
        let shape = Shape::rows(images, classes);
        let (x, dy, log_scale) =
            (case.input(shape), case.input(shape), case.input(Shape::vector(1)));
        let [y, dx] = [(); 2].map(|()| case.output(shape));
        let dlog_scale = case.output(Shape::vector(1));
        let partial = scratch(&mut case, Shape::rows(images, 1));
        case.program.push(Op::ScaleScores { x, log_scale, y });
        case.program.push(Op::ScaleScoresGrad {
            y,
            dy,
            log_scale,
            dx,
            dlog_scale,
            scratch: partial,
        });
        case.check(&gpu, &format!("{images} images, {classes} classes"));
    }
}

#[test]
fn averages_over_parts_of_maps() {
    let gpu = gpu();
    for (precision, shape) in all_maps(&gpu) {
        for (h, w) in [(1, 1), (2, 3), (3, 2), (4, 4)] {
            let to = Shape::new(shape.n, h.min(shape.h), w.min(shape.w), shape.c);
            let mut case = Case::of(precision);
            let (x, dy) = (case.maps(shape), case.input(to));
            let (y, dx) = (case.output(to), case.output_maps(shape));
            case.program.push(Op::AvgPool { x, y });
            case.program.push(Op::AvgPoolGrad { dy, dx });
            case.check(&gpu, &format!("{precision:?}, {shape} to {to}"));
        }
    }
}

#[test]
fn class_maps_never_exist_for_the_whole_batch() {
    for batch in [64, 65, 100, 128] {
        for (side, classes) in [(7, 2), (7, 10), (32, 100), (32, 1000), (112, 1000)] {
            let x = Shape::new(batch, side, side, 24);
            let slice = split::goodness_slice(Layout::Nhwc, x, classes);
            assert!(slice <= batch.div_ceil(4).next_multiple_of(16), "{batch}: {slice}");
            let bytes = |n, c| Layout::Nhwc.bytes(x.with_n(n).with_c(c));
            assert_eq!(bytes(slice, 24) % sff::base::shape::ALIGNMENT, 0);
            let few = (bytes(batch, 24) / 8).max(4 << 20);
            assert!(slice == 1 || bytes(slice, classes) <= few, "{batch}, {side} px, {classes}");
        }
    }
}

#[test]
fn batch_norm_in_training_and_evaluation() {
    let gpu = gpu();
    for (precision, shape) in all_maps(&gpu) {
        for act in ACTIVATIONS {
            let norm = BatchNorm { eps: 1e-3, momentum: 0.1, act };
            let mut case = Case::of(precision);
            // A mean far from zero: sums of squares alone would lose the variance.
            let values = random(1, shape.elements()).iter().map(|v| v + 30.0).collect();
            let x = case.given(shape, precision.maps(), values);
            let gamma = case.input(Shape::vector(shape.c));
            let beta = case.input(Shape::vector(shape.c));
            let dy = case.maps(shape);
            let two_rows = Shape::new(1, 1, 2, shape.c);
            let running_values = random(9, 2 * shape.c).iter().map(|v| v.abs() + 0.1).collect();
            let running = case.given(two_rows, Layout::Nhwc, running_values);
            let stats = case.output(two_rows);
            let [y, eval, dx] = [(); 3].map(|()| case.output_maps(shape));
            let (dgamma, dbeta) =
                (case.output(Shape::vector(shape.c)), case.output(Shape::vector(shape.c)));
            let parts = split::reduction(shape).count(shape.n);
            let partial = scratch(&mut case, Shape::rows(parts, 2 * shape.c4() * 4));
            let residual = None;
            case.program.push(Op::BatchNormEval {
                x,
                residual,
                gamma,
                beta,
                running,
                y: eval,
                norm,
            });
            let residual = Some(dy);
            case.program.push(Op::BatchNorm {
                x,
                residual,
                gamma,
                beta,
                running,
                stats,
                y,
                scratch: partial,
                norm,
            });
            case.program.push(Op::BatchNormGrad {
                x,
                dy,
                gamma,
                beta,
                stats,
                dx,
                dgamma,
                dbeta,
                scratch: partial,
                norm,
            });
            // One pixel has no variance, and its gradient is rounding alone.
            if shape.pixels() > 1 {
                case.check(&gpu, &format!("{precision:?}, {shape}, {act:?}"));
            }
        }
    }
}

#[test]
fn layer_norm_and_its_gradient() {
    let gpu = gpu();
    for (precision, shape) in all_maps(&gpu) {
        if shape.elements() / shape.n == 1 {
            continue;
        }
        let mut case = Case::of(precision);
        let x = case.maps(shape);
        let dy = case.maps(shape);
        let (y, dx) = (case.output_maps(shape), case.output_maps(shape));
        let stats = case.output(Shape::rows(shape.n, 2));
        let partial = scratch(&mut case, Shape::new(shape.n, split::image_chunks(shape), 1, 4));
        case.program.push(Op::LayerNorm { x, y, stats, scratch: partial });
        let scratch = partial;
        case.program.push(Op::LayerNormGrad { y, dy, stats, dx, scratch, relu: false });
        let (positive, dx) = (case.output_maps(shape), case.output_maps(shape));
        let (y, stats) = (case.output_maps(shape), case.output(Shape::rows(shape.n, 2)));
        case.program.push(Op::Activate { x, y: positive, act: Activation::Relu });
        case.program.push(Op::LayerNorm { x: positive, y, stats, scratch });
        case.program.push(Op::LayerNormGrad { y, dy, stats, dx, scratch, relu: true });
        case.check(&gpu, &format!("{precision:?}, {shape}"));
    }
}

#[test]
fn pooling_and_elementwise() {
    let gpu = gpu();
    for (precision, shape) in all_maps(&gpu) {
        for window in [
            Window { kernel: 2, stride: 2, pad: 0 },
            Window { kernel: 3, stride: 2, pad: 1 },
            Window { kernel: 3, stride: 1, pad: 0 },
        ] {
            let Some(pooled) = window.output(shape) else { continue };
            let mut case = Case::of(precision);
            // Whole numbers make ties.
            let values = random(1, shape.elements()).iter().map(|v| (v * 3.0).round()).collect();
            let x = case.given(shape, precision.maps(), values);
            let dy = case.maps(pooled);
            let (y, dx) = (case.output_maps(pooled), case.output_maps(shape));
            let words = pooled.with_c(pooled.c4());
            let argmax = case.temporary("argmax", words, Layout::Words, Kind::Activation);
            case.program.push(Op::MaxPool { x, y, argmax, window });
            case.program.push(Op::MaxPoolGrad { dy, argmax, dx, window });
            case.check(&gpu, &format!("{precision:?}, {shape}, {window:?}"));
        }
        let mut case = Case::of(precision);
        let (a, b) = (case.maps(shape), case.maps(shape));
        let means = Shape::rows(shape.n, shape.c);
        let dmean = case.input(means);
        // Past the kinks on both sides.
        let wide = random(3, shape.elements()).iter().map(|v| v * 6.0).collect();
        let wide = case.given(shape, precision.maps(), wide);
        let s = random(4, means.elements()).iter().map(|v| v * 6.0).collect();
        let s = case.given(means, Layout::Nhwc, s);
        let [sum, spread, excited, dx] = [(); 4].map(|()| case.output_maps(shape));
        let [mean, ds] = [(); 2].map(|()| case.output(means));
        for act in ACTIVATIONS {
            let [y, dx] = [(); 2].map(|()| case.output_maps(shape));
            case.program.push(Op::Activate { x: wide, y, act });
            case.program.push(Op::ActivateGrad { x: wide, dy: b, dx, act });
        }
        case.program.push(Op::Add { a, b, y: sum });
        case.program.push(Op::AvgPool { x: a, y: mean });
        case.program.push(Op::AvgPoolGrad { dy: dmean, dx: spread });
        case.program.push(Op::Excite { x: a, s, y: excited });
        case.program.push(Op::ExciteGrad { x: a, s, dy: b, ds });
        case.program.push(Op::SqueezeExciteGrad { s, dy: b, dmean, dx });
        case.check(&gpu, &format!("{precision:?}, {shape}"));
    }
}

/// What is dropped is a matter of the position in the batch, whatever part of it a kernel sees.
#[test]
fn dropout_and_its_gradient() {
    let gpu = gpu();
    for (precision, shape) in all_maps(&gpu) {
        for (layer, rate) in [(0, 0.2), (3, 0.5), (0, 0.0)] {
            let mut case = Case::of(precision);
            let key = case.words(vec![0x9abc_def0, 77]);
            let (x, dy) = (case.maps(shape), case.maps(shape));
            let (y, dx) = (case.output_maps(shape), case.output_maps(shape));
            case.program.push(Op::Dropout { x, key, y, layer, rate });
            case.program.push(Op::Dropout { x: dy, key, y: dx, layer, rate });
            case.check(&gpu, &format!("{precision:?}, {shape}, {layer}, {rate}"));
        }
    }
}

/// A NaN must reach the loss, where it is noticed.
#[test]
fn what_is_not_a_number_is_not_hidden() {
    let gpu = gpu();
    for precision in precisions(&gpu) {
        let shape = Shape::new(2, 2, 2, 4);
        let mut case = Case::of(*precision);
        let mut values = random(1, shape.elements());
        values[5] = f32::NAN;
        let x = case.given(shape, precision.maps(), values);
        let [gamma, beta] = [(); 2].map(|()| case.input(Shape::vector(4)));
        let two_rows = Shape::new(1, 1, 2, 4);
        let running = case.given(two_rows, Layout::Nhwc, vec![1.0; 8]);
        let norm = BatchNorm { eps: 1e-5, momentum: 0.1, act: Activation::Relu };
        let outputs = ACTIVATIONS.map(|act| {
            let y = case.output_maps(shape);
            case.program.push(Op::Activate { x, y, act });
            y
        });
        let eval = case.output_maps(shape);
        let residual = None;
        case.program.push(Op::BatchNormEval { x, residual, gamma, beta, running, y: eval, norm });
        let mut session =
            Session::new(&gpu, case.program.clone(), SessionOptions::default()).unwrap();
        case.inputs.iter().for_each(|(id, values)| session.write(*id, values));
        for (op, y) in outputs.into_iter().chain([eval]).enumerate() {
            session.run(op..op + 1, None).unwrap();
            let not_numbers: Vec<_> = session.read(y).unwrap().iter().map(|v| v.is_nan()).collect();
            assert_eq!(not_numbers.iter().filter(|n| **n).count(), 1);
            assert!(not_numbers[5], "{precision:?}, op {op}");
        }
    }
}

/// Gradients that are too large for float16 are cut, and training goes on.
#[test]
fn what_is_too_large_for_float16_stays_finite() {
    let gpu = gpu();
    if !precisions(&gpu).contains(&Precision::F16) {
        return;
    }
    let mut case = Case::of(Precision::F16);
    let shape = Shape::new(1, 2, 1, 4);
    let values = vec![65_504.0, -65_504.0, 40_000.0, -40_000.0, 1.0, 65_504.0, 30_000.0, 0.0];
    let [a, b] = [(); 2].map(|()| case.given(shape, Layout::Half, values.clone()));
    let y = case.output_maps(shape);
    case.program.push(Op::Add { a, b, y });
    let doubled = case.output_maps(shape);
    let key = case.words(vec![0, 0]);
    case.program.push(Op::Dropout { x: a, key, y: doubled, layer: 0, rate: 0.5 });
    case.check(&gpu, "too large");
}

#[test]
fn cross_entropy_and_metrics() {
    let gpu = gpu();
    for (images, classes, blocks) in [(1, 2, 1), (5, 3, 2), (70, 10, 3), (33, 101, 5)] {
        let mut case = Case::default();
        let labels = case.words((0..images).map(|i| (i * 7 % classes) as u32).collect());
        let share = |i: usize| [(i * 5 % classes) as u32, (i as f32 % 6.0 / 10.0).to_bits()];
        let partners = case.words((0..images).flat_map(share).collect());
        let valid = (images as f32 * 0.8).ceil();
        let step = case.words([0.0, 1.0, 1.0, valid].map(f32::to_bits).to_vec());
        let all_scores = case.program.add_slab("scores", Kind::Io);
        let all_losses = case.program.add_slab("losses", Kind::Activation);
        let rows = Shape::rows(images, classes);
        for block in 0..blocks {
            let name = format!("scores{block}");
            let scores = case.program.add_member(all_scores, &name, rows, Layout::Nhwc);
            // Some scores are large: exp overflows unless the largest is taken out first.
            let values = random(block as u64 + 5, rows.elements());
            let factor = if block == 0 { 300.0 } else { 3.0 };
            case.inputs.insert(scores, values.iter().map(|v| v * factor).collect());
            let shape = Shape::rows(images, 1);
            let loss =
                case.program.add_member(all_losses, &format!("loss{block}"), shape, Layout::Nhwc);
            let dscores = (block != 1).then(|| case.output(rows));
            // All blocks see the same labels; here some are mixed and some are not.
            let partners = (block != 2).then_some(partners);
            let scale = if block == 0 { 1.0 } else { 1024.0 };
            case.program.push(Op::CrossEntropy { scores, labels, partners, loss, dscores, scale });
        }
        let words = Shape::vector(images * metrics_words(blocks));
        let per_image = case.temporary("rows", words, Layout::Words, Kind::Workspace);
        let out = Shape::vector(result_words(blocks));
        let out = case.temporary("out", out, Layout::Words, Kind::Io);
        case.program.push(Op::Metrics {
            scores: all_scores,
            losses: all_losses,
            labels,
            step,
            scratch: per_image,
            out,
            blocks,
            classes,
        });
        case.check(&gpu, &format!("{images} images, {classes} classes, {blocks} blocks"));
    }
}

#[test]
fn adamw_updates_a_slab() {
    let gpu = gpu();
    let mut case = Case::default();
    let adamw = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
    let shapes = [
        (Shape::vector(7), Layout::Nhwc),
        (Shape::weight(3, 2, 5), Layout::Hwio),
        (Shape::weight(1, 64, 64), Layout::Hwio),
    ];
    let mut slabs = Vec::new();
    for (slab, name) in ["value", "grad", "m", "v"].iter().enumerate() {
        let root = case.program.add_slab(name, Kind::Optimizer);
        for (i, (shape, layout)) in shapes.into_iter().enumerate() {
            let id = case.program.add_member(root, &format!("{name}{i}"), shape, layout);
            let mut values = random((slab * 10 + i) as u64, shape.elements());
            if *name == "v" {
                values.iter_mut().for_each(|v| *v = v.abs());
            }
            case.inputs.insert(id, values);
        }
        slabs.push(root);
    }
    let step = case.words([3e-3, 0.271, 0.002997, 8.0].map(f32::to_bits).to_vec());
    let [params, grads, m, v] = slabs[..] else { unreachable!() };
    for scale in [1.0, 64.0] {
        case.program.push(Op::AdamW { params, grads, m, v, step, adamw, scale });
    }
    for kept in [0.0f32, 1.0] {
        let keep = case.words(vec![kept.to_bits()]);
        case.program.push(Op::Accumulate { x: grads, total: m, keep, factor: 0.25 });
    }
    case.check(&gpu, "adamw");
}

/// Members of a slab, with what is not finite in one of them, between them, or nowhere.
#[test]
fn numbers_that_are_not_finite_are_found_in_members_only() {
    let gpu = gpu();
    for members in [1, 24, 25, 60] {
        for bad in [None, Some(0), Some(members / 2), Some(members - 1)] {
            for value in [f32::NAN, f32::NEG_INFINITY] {
                let mut program = Program::default();
                let slab = program.add_slab("slab", Kind::Parameter);
                let shape = |i: usize| Shape::vector(1 + i * 5 % 130);
                let ids: Vec<_> = (0..members)
                    .map(|i| program.add_member(slab, &format!("m{i}"), shape(i), Layout::Nhwc))
                    .collect();
                let out = program.add("out", Shape::vector(7), Layout::Words, Kind::Io);
                program.push(Op::Finite { x: slab, out, at: 5 });
                let options =
                    SessionOptions { checked: true, guard: 64, ..SessionOptions::default() };
                let mut session = Session::new(&gpu, program, options).unwrap();
                session.write_bytes(slab, &vec![0xff; session.program().tensor(slab).bytes()]);
                for (i, id) in ids.iter().enumerate() {
                    let mut values = vec![f32::MAX; shape(i).c];
                    if bad == Some(i) {
                        values[shape(i).c - 1] = value;
                    }
                    session.write(*id, &values);
                }
                session.write_bytes(out, &[0; 28]);
                session.run(0..1, None).unwrap();
                let mut expected = [0.0; 7];
                expected[5] = f32::from(u8::from(bad.is_some()));
                let label = format!("{members} members, {value} in {bad:?}");
                assert_eq!(session.read(out).unwrap(), expected, "{label}");
            }
        }
    }
}
