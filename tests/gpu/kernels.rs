//! Every op on the device against the f64 reference, with every set of tiles.

use crate::cases::{self, Case, Cases, Purpose, families};
use crate::common::{gpu, matrix_tiles, other_tiles, precisions, random, skipped, usual_tiles};
use sff::internals::base::shape::{Layout, Shape, Weight, Window};
use sff::internals::compiler::kernel::Tiles;
use sff::internals::compiler::ops;
use sff::internals::compiler::program::Program;
use sff::internals::compiler::tensor::Kind;
use sff::internals::gpu::device::Gpu;
use sff::internals::gpu::session::{Session, SessionOptions};
use sff::internals::net::layers::{Activation, BatchNorm};
use sff::internals::net::options::Precision;

/// Tests all cases of a family of ops with the usual tiles, and selected ones with all other tiles; in
/// float16, which changes loads and stores only, with the defaults of discrete GPUs.
fn family(cases: Cases) {
    let gpu = gpu();
    let others = other_tiles(&gpu);
    let defaults = [Tiles::WORKGROUP_64X64, Tiles::WORKGROUP_32X32];
    let half: Vec<_> = others.iter().copied().filter(|t| defaults.contains(t)).collect();
    for precision in precisions(&gpu) {
        let others = if *precision == Precision::F16 { &half } else { &others };
        for case in cases(Purpose::Kernel, *precision) {
            case.check(&gpu);
            if case.every_tile {
                case.check_with(&gpu, others);
            }
        }
    }
}

/// A test for each family.
macro_rules! kernels {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            family(cases::$name::cases);
        })*
    };
}
families!(kernels);

#[test]
fn convolutions_with_cooperative_matrices() {
    let gpu = gpu();
    if !precisions(&gpu).contains(&Precision::F16) {
        return skipped(format!("{} has no float16", gpu.adapter.name));
    }
    for (shape, cout, window) in [
        (Shape::new(3, 5, 7, 20), 68, Window::same(3, 1)),
        (Shape::new(1, 9, 6, 7), 12, Window::same(3, 2)),
    ] {
        let mut case = Case::of(Precision::F16);
        let y_shape = window.output(shape).unwrap().with_c(cout);
        let x = case.maps(shape);
        // Exact in float16, because these kernels round weights.
        let weight = Shape::from(Weight::new(window.kernel, shape.c, cout));
        let values = random(7, weight.elements()).into_iter().map(|v| (v * 64.0).round() / 64.0);
        let w = case.given(weight, Layout::Hwio, values.collect());
        let b = case.input(Shape::vector(cout));
        let dy = case.maps(y_shape);
        let (y, dx) = (case.output_maps(y_shape), case.output_maps(shape));
        case.program.push(ops::Conv2d { x, w, bias: Some(b), y, window });
        case.program.push(ops::Conv2dDgrad { dy, w, dx, window });
        case.called(format!("{shape} to {cout}")).check_with(&gpu, &matrix_tiles(&gpu));
    }
}

/// A display's watchdog would reset the device otherwise.
#[test]
fn long_work_is_split_into_submits_with_bit_identical_results() {
    let shape = Shape::new(80, 32, 32, 64);
    let mut case = Case::default();
    let x = case.maps(shape);
    let w = case.weight(3, 64, 64);
    let (y, z) = (case.output_maps(shape), case.output_maps(shape));
    let window = Window::same(3, 1);
    case.program.push(ops::Conv2d { x, w, bias: None, y, window });
    case.program.push(ops::Conv2d { x: y, w, bias: None, y: z, window });
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

/// Mesa's software driver silently ends loops after 65,535 iterations.
#[test]
fn long_sums_have_all_of_their_terms() {
    let gpu = gpu();
    cases::goodness(Precision::F32, Shape::new(1, 144, 144, 64), 2, 5).check(&gpu);

    let shape = Shape::new(1, 360, 360, 64);
    let mut case = Case::default();
    let (x, dy) = (case.maps(shape), case.maps(shape));
    let [y, dx] = [(); 2].map(|()| case.output_maps(shape));
    let stats = case.output(Shape::rows(shape.n, 2));
    case.program.push(ops::LayerNorm { x, y, stats });
    case.program.push(ops::LayerNormGrad { y, dy, stats, dx, relu: false });
    case.called("layer norm".into()).check(&gpu);

    // A weight gradient over too many pixels for the reference: with inputs of ones, it counts pixels.
    let (shape, weight, window) =
        (Shape::new(66, 32, 32, 172), Weight::new(3, 172, 172), Window::same(3, 1));
    let mut case = Case::default();
    let ones = vec![1.0; shape.elements()];
    let [x, dy] = [(); 2].map(|()| case.given(shape, Layout::Nhwc, ones.clone()));
    let dw = case.temporary("dw", weight.into(), Layout::Hwio, Kind::ParamGradient);
    case.program.push(ops::Conv2dWgrad { x, dy, dw, window });
    let mut session = Session::new(&gpu, case.program, SessionOptions::default()).unwrap();
    [x, dy].iter().for_each(|id| session.write(*id, &ones));
    session.run(0..1, None).unwrap();
    let values = session.read(dw).unwrap();
    // The outer rows and columns of the window lose a row or column of pixels at an edge.
    let pixels = [31.0, 32.0, 31.0];
    let expected = |tap: usize| 66.0 * pixels[tap / 3] * pixels[tap % 3];
    for (tap, values) in values.chunks(172 * 172).enumerate() {
        assert!(values.iter().all(|v| *v == expected(tap)), "position {tap}: {}", values[0]);
    }
}

/// Loops over channels and the window cannot be cut.
#[test]
fn loops_longer_than_the_device_allows_are_refused() {
    let gpu = gpu();
    let case = |kernel| cases::goodness(Precision::F32, Shape::new(1, 16, 16, 256), 2, kernel);
    let session = Session::new(&gpu, case(31).program, SessionOptions::default());
    if gpu.adapter.max_steps() == usize::MAX {
        return case(31).check(&gpu);
    }
    let message = session.err().unwrap().to_string();
    assert!(message.contains(" steps of a loop but the device allows 65000, "), "{message}");
    case(15).check(&gpu);
}

/// A NaN must reach the loss, where it is detected.
#[test]
fn activations_and_batch_norm_propagate_nan() {
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
        let outputs = cases::ACTIVATIONS.map(|act| {
            let y = case.output_maps(shape);
            case.program.push(ops::Activate { x, y, act });
            y
        });
        let eval = case.output_maps(shape);
        let residual = None;
        case.program.push(ops::BatchNormEval { x, residual, gamma, beta, running, y: eval, norm });
        let mut session =
            Session::new(&gpu, case.program.clone(), SessionOptions::default()).unwrap();
        case.inputs.iter().for_each(|(id, values)| session.write(*id, values));
        for (op, y) in outputs.into_iter().chain([eval]).enumerate() {
            session.run(op..op + 1, None).unwrap();
            let nan: Vec<_> = session.read(y).unwrap().iter().map(|v| v.is_nan()).collect();
            assert_eq!(nan.iter().filter(|n| **n).count(), 1);
            assert!(nan[5], "{precision:?}, op {op}");
        }
    }
}

/// Large gradients are clamped to the range of float16, so that training continues.
#[test]
fn values_too_large_for_float16_stay_finite() {
    let gpu = gpu();
    if !precisions(&gpu).contains(&Precision::F16) {
        return skipped(format!("{} has no float16", gpu.adapter.name));
    }
    let mut case = Case::of(Precision::F16);
    let shape = Shape::new(1, 2, 1, 4);
    let values = vec![65_504.0, -65_504.0, 40_000.0, -40_000.0, 1.0, 65_504.0, 30_000.0, 0.0];
    let [a, b] = [(); 2].map(|()| case.given(shape, Layout::Half, values.clone()));
    let y = case.output_maps(shape);
    case.program.push(ops::Add { a, b, y });
    let doubled = case.output_maps(shape);
    let key = case.words(vec![0, 0]);
    case.program.push(ops::Dropout { x: a, key, y: doubled, layer: 0, rate: 0.5 });
    case.called("too large".into()).check(&gpu);
}

/// A slab with NaN or infinity in one member or in none, and NaN between members in any case.
#[test]
fn the_check_for_finite_values_covers_members_only() {
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
                program.push(ops::Finite { x: slab, out, at: 5 });
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
