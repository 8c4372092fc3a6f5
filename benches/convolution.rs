//! Times the convolution kernels: `cargo bench --bench convolution [-- FILTER]`.
//!
//! Prints GFLOP/s (two operations per multiply-add, padding lanes not counted), the best of
//! several runs. With `--json` a line of JSON per kernel. `SFF_TEST_DEVICE` chooses the device,
//! `SFF_TILES=cpu|gpu|sharing` the register tiles.

use std::time::Instant;

use sff::gpu::Gpu;
use sff::kernel::Tiles;
use sff::ops::Op;
use sff::program::Program;
use sff::session::{Options, Session};
use sff::shape::{Layout, Shape, Window};
use sff::split;
use sff::tensor::{Kind, TensorId};

/// Maps, output channels, window.
const CASES: [(Shape, usize, Window); 6] = [
    (Shape::new(8, 32, 32, 64), 64, Window::same(3, 1)),
    (Shape::new(64, 7, 7, 64), 64, Window::same(3, 1)),
    (Shape::new(64, 14, 14, 16), 32, Window::same(3, 1)),
    (Shape::new(64, 28, 28, 1), 16, Window::same(3, 1)),
    (Shape::new(64, 14, 14, 16), 10, Window::same(5, 1)),
    (Shape::new(64, 7, 7, 64), 10, Window::same(5, 1)),
];

/// Maps and window of depthwise convolutions, as MobileNetV3 has them.
const DEPTHWISE: [(Shape, Window); 6] = [
    (Shape::new(16, 112, 112, 16), Window::same(3, 1)),
    (Shape::new(16, 112, 112, 64), Window::same(3, 2)),
    (Shape::new(16, 28, 28, 120), Window::same(5, 1)),
    (Shape::new(16, 28, 28, 96), Window::same(5, 2)),
    (Shape::new(64, 14, 14, 480), Window::same(3, 1)),
    (Shape::new(64, 7, 7, 960), Window::same(5, 1)),
];
const RUNS: usize = 5;

fn main() {
    if std::env::args().any(|a| a == "--help") {
        println!("usage: [--json] [FILTER]: prints GFLOP/s of the convolution kernels");
        return;
    }
    let json = std::env::args().any(|a| a == "--json");
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let selector = std::env::var("SFF_TEST_DEVICE").ok();
    let gpu = Gpu::open(selector.as_deref()).unwrap_or_else(|e| panic!("{e}"));
    let tiles = match std::env::var("SFF_TILES").as_deref() {
        Ok("cpu") => Some(Tiles::CPU),
        Ok("gpu") => Some(Tiles::GPU),
        Ok("sharing") => gpu.adapter.subgroup.and_then(Tiles::sharing),
        _ => None,
    };
    if !json {
        println!("{} ({})", gpu.adapter.name, gpu.adapter.driver);
    }
    let dense = CASES.into_iter().map(|(x, cout, window)| (x, cout, window, x.c));
    let depthwise = DEPTHWISE.into_iter().map(|(x, window)| (x, x.c, window, 1));
    for (x, cout, window, depth) in dense.chain(depthwise) {
        let y = window.output(x).expect("the cases fit").with_c(cout);
        let ops = if depth == 1 && cout == x.c { depthwise_ops } else { ops };
        for (name, op) in ops(x, y, window) {
            let Window { kernel, stride, .. } = window;
            let label = format!("{name:15} {x} to {cout:3}, k {kernel}, stride {stride}");
            if filter.iter().all(|f| label.contains(f.as_str())) {
                let flops = 2 * y.elements() * depth * kernel * kernel;
                let passes = if name == "goodness_grad" { 3 } else { 1 };
                let (program, probe) = op;
                let seconds = time(&gpu, program, probe, tiles);
                let rate = 1e-9 * (passes * flops) as f64 / seconds;
                if json {
                    let line = serde_json::json!({"kernel": name, "x": x.to_string(), "out": cout,
                        "k": kernel, "stride": stride, "ms": 1e3 * seconds, "gflops": rate});
                    println!("{line}");
                } else {
                    println!("{label}: {:8.2} ms, {rate:7.2} GFLOP/s", 1e3 * seconds);
                }
            }
        }
    }
}

type Timed = (Program, TensorId);

/// The ops that a convolution of this shape gives rise to, each in a program of its own.
fn ops(x: Shape, y: Shape, window: Window) -> Vec<(&'static str, Timed)> {
    let weight = Shape::weight(window.kernel, x.c, y.c);
    let stored = Layout::Hwio.stored(weight).elements();
    let make = |op: &dyn Fn(&mut Program, [TensorId; 5]) -> Op| {
        let mut p = Program::default();
        let tensors = [
            p.add("x", x, Layout::Nhwc, Kind::Io),
            p.add("y", y, Layout::Nhwc, Kind::Io),
            p.add("w", weight, Layout::Hwio, Kind::Io),
            p.add("dw", weight, Layout::Hwio, Kind::Io),
            p.add("scores", Shape::rows(x.n, y.c), Layout::Nhwc, Kind::Io),
        ];
        let op = op(&mut p, tensors);
        p.push(op);
        (p, tensors[4])
    };
    let scratch = |p: &mut Program, shape| p.add("scratch", shape, Layout::Nhwc, Kind::Workspace);
    vec![
        ("conv2d", make(&|_, [x, y, w, ..]| Op::Conv2d { x, w, bias: None, y, window })),
        ("conv2d_dgrad", make(&|_, [x, y, w, ..]| Op::Conv2dDgrad { dy: y, w, dx: x, window })),
        (
            "conv2d_wgrad",
            make(&|p, [xi, yi, _, dw, _]| {
                let scratch = scratch(p, Shape::rows(split::wgrad(y, weight).count(y.n), stored));
                Op::Conv2dWgrad { x: xi, dy: yi, dw, scratch, window }
            }),
        ),
        (
            "goodness",
            make(&|p, [xi, _, w, _, scores]| {
                let scratch = scratch(p, Shape::new(x.n, split::goodness_parts(x), 1, y.c));
                Op::Goodness { x: xi, w, scores, scratch, window, scale: 1.0 }
            }),
        ),
        (
            "goodness_grad",
            make(&|p, [xi, _, w, dw, dscores]| {
                let slice = split::goodness_slice(Layout::Nhwc, x, y.c);
                let maps_shape = x.with_n(slice).with_c(y.c);
                let maps = p.add("maps", maps_shape, Layout::Nhwc, Kind::Workspace);
                let rows = split::wgrad(maps_shape, weight).count(slice);
                let scratch = scratch(p, Shape::rows(rows, stored));
                let dx = p.add("dx", x, Layout::Nhwc, Kind::Activation);
                Op::GoodnessGrad { x: xi, w, dscores, dx, dw, maps, scratch, window, scale: 1.0 }
            }),
        ),
    ]
}

/// The same for a depthwise convolution.
fn depthwise_ops(x: Shape, y: Shape, window: Window) -> Vec<(&'static str, Timed)> {
    let weight = Shape::weight(window.kernel, 1, x.c);
    let make = |op: &dyn Fn([TensorId; 5]) -> Op| {
        let mut p = Program::default();
        let parts = split::depthwise_wgrad(y).count(y.n);
        let rows = Shape::rows(parts, Layout::Nhwc.stored(weight).elements());
        let [x, y, w, dw] = [("x", x), ("y", y), ("w", weight), ("dw", weight)]
            .map(|(name, shape)| p.add(name, shape, Layout::Nhwc, Kind::Io));
        let scratch = p.add("scratch", rows, Layout::Nhwc, Kind::Workspace);
        p.push(op([x, y, w, dw, scratch]));
        (p, w)
    };
    vec![
        ("depthwise", make(&|[x, y, w, ..]| Op::Depthwise { x, w, y, window })),
        ("depthwise_dgrad", make(&|[x, y, w, ..]| Op::DepthwiseDgrad { dy: y, w, dx: x, window })),
        (
            "depthwise_wgrad",
            make(&|[x, y, _, dw, scratch]| Op::DepthwiseWgrad { x, dy: y, dw, scratch, window }),
        ),
    ]
}

/// Seconds per run of the program: the best of several.
fn time(gpu: &Gpu, program: Program, probe: TensorId, tiles: Option<Tiles>) -> f64 {
    let mut session =
        Session::new(gpu, program, Options { tiles, checked: false, ..Options::default() })
            .unwrap_or_else(|e| panic!("{e}"));
    let mut best = f64::INFINITY;
    for run in 0..=RUNS {
        let start = Instant::now();
        session
            .run(0..1, None)
            .and_then(|()| session.read_bytes(probe))
            .unwrap_or_else(|e| panic!("{e}"));
        if run > 0 {
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    best
}
