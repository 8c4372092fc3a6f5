//! Rates of the kernels: `cargo bench --bench rates [-- FILTER] [--json] [--against FILE]`.
//!
//! Each op is first checked against the reference on a few small images, then timed on random maps
//! larger than most caches; the best of several runs counts. Rates are of what the op has to do
//! (see `sff::app::profile`), next to the peak that was measured just before. With `--json` the figures
//! as JSON, which `--against` compares with. `SFF_TEST_DEVICE` chooses the device,
//! `SFF_VARIANT=NAME` the tiles (`src/kernel/variants.rs` has the names).

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::Case;
use serde_json::{Value, json};
use sff::app::profile::{Traffic, share};
use sff::base::shape::{Layout, Shape, Window};
use sff::compiler::ops::Op;
use sff::compiler::split;
use sff::compiler::tensor::Kind;
use sff::gpu::device::Gpu;
use sff::gpu::peak::Peak;
use sff::gpu::session::{Session, SessionOptions};
use sff::net::layers::{Activation, BatchNorm};
use sff::net::options::AdamW;

/// How long an op is timed, and how often at least.
const EFFORT: Duration = Duration::from_millis(300);
const RUNS: usize = 3;

/// Adds ops on maps of a shape.
type Add = Box<dyn Fn(&mut Case, Shape)>;

/// Ops on maps of a shape, and what they are called.
struct Entry {
    label: String,
    shape: Shape,
    add: Add,
}

fn entry(shape: Shape, what: &str, add: impl Fn(&mut Case, Shape) + 'static) -> Entry {
    Entry { label: format!("{shape}{what}"), shape, add: Box::new(add) }
}

fn entries() -> Vec<Entry> {
    let maps = Shape::new;
    let mut entries = Vec::new();
    for (shape, out, kernel, stride) in [
        (maps(64, 32, 32, 64), 64, 3, 1),
        (maps(64, 32, 32, 64), 128, 3, 2),
        (maps(64, 32, 32, 64), 128, 1, 1),
        (maps(256, 32, 32, 3), 32, 3, 1),
    ] {
        let what = format!(" to {out}, k {kernel}, stride {stride}");
        let window = Window { kernel, stride, pad: kernel / 2 };
        entries.push(entry(shape, &what, move |case, x| convolution(case, x, out, window)));
    }
    for (shape, kernel, stride) in [(maps(64, 56, 56, 64), 3, 1), (maps(64, 56, 56, 64), 5, 2)] {
        let what = format!(", k {kernel}, stride {stride}");
        let window = Window::same(kernel, stride);
        entries.push(entry(shape, &what, move |case, x| depthwise(case, x, window)));
    }
    let wide = maps(64, 56, 56, 64);
    entries.push(entry(wide, "", batch_norm));
    entries.push(entry(wide, "", layer_norm));
    entries.push(entry(wide, "", activation));
    let heads = maps(128, 16, 16, 128);
    entries.push(entry(heads, ", 10 classes, k 3", |case, x| goodness(case, x, 10, 3)));
    entries.push(entry(heads, ", 1000 classes, k 1", |case, x| gram(case, x, 1000)));
    entries.push(entry(Shape::vector(1 << 22), "", adamw));
    entries
}

fn temporary(case: &mut Case, shape: Shape) -> sff::compiler::tensor::TensorId {
    case.temporary("scratch", shape, Layout::Nhwc, Kind::Workspace)
}

fn stored(weight: Shape) -> usize {
    Layout::Hwio.stored(weight).elements()
}

fn convolution(case: &mut Case, shape: Shape, out: usize, window: Window) {
    let y_shape = window.output(shape).expect("the window fits").with_c(out);
    let weight = Shape::weight(window.kernel, shape.c, out);
    let (x, dy) = (case.input(shape), case.input(y_shape));
    let w = case.weight(window.kernel, shape.c, out);
    let (y, dx) = (case.output(y_shape), case.output(shape));
    let dw = case.temporary("dw", weight, Layout::Hwio, Kind::ParamGradient);
    let parts = split::wgrad(y_shape, weight).count(y_shape.n);
    let scratch = temporary(case, Shape::rows(parts, stored(weight)));
    case.program.push(Op::Conv2d { x, w, bias: None, y, window });
    case.program.push(Op::Conv2dDgrad { dy, w, dx, window });
    case.program.push(Op::Conv2dWgrad { x, dy, dw, scratch, window });
}

fn depthwise(case: &mut Case, shape: Shape, window: Window) {
    let y_shape = window.output(shape).expect("the window fits");
    let weight = Shape::weight(window.kernel, 1, shape.c);
    let (x, dy, w) = (case.input(shape), case.input(y_shape), case.input(weight));
    let [y, dx, dw] = [y_shape, shape, weight].map(|shape| case.output(shape));
    let parts = split::depthwise_wgrad(y_shape).count(y_shape.n);
    let scratch = temporary(case, Shape::rows(parts, Layout::Nhwc.stored(weight).elements()));
    case.program.push(Op::Depthwise { x, w, y, window });
    case.program.push(Op::DepthwiseDgrad { dy, w, dx, window });
    case.program.push(Op::DepthwiseWgrad { x, dy, dw, scratch, window });
}

fn batch_norm(case: &mut Case, shape: Shape) {
    let (vector, two_rows) = (Shape::vector(shape.c), Shape::new(1, 1, 2, shape.c));
    let (x, dy) = (case.input(shape), case.input(shape));
    let [gamma, beta] = [(); 2].map(|()| case.input(vector));
    let running = case.input(two_rows);
    let stats = case.output(two_rows);
    let [y, dx] = [(); 2].map(|()| case.output(shape));
    let [dgamma, dbeta] = [(); 2].map(|()| case.output(vector));
    let parts = split::reduction(shape).count(shape.n);
    let scratch = temporary(case, Shape::rows(2 * parts, shape.c));
    let norm = BatchNorm { eps: 1e-5, momentum: 0.1, act: Activation::Relu };
    let residual = None;
    case.program.push(Op::BatchNorm { x, residual, gamma, beta, running, stats, y, scratch, norm });
    case.program.push(Op::BatchNormGrad {
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
    });
}

fn layer_norm(case: &mut Case, shape: Shape) {
    let (x, dy) = (case.input(shape), case.input(shape));
    let [y, dx] = [(); 2].map(|()| case.output(shape));
    let stats = case.output(Shape::rows(shape.n, 2));
    let scratch = temporary(case, Shape::rows(shape.n * split::image_chunks(shape), 4));
    case.program.push(Op::LayerNorm { x, y, stats, scratch });
    case.program.push(Op::LayerNormGrad { y, dy, stats, dx, scratch, relu: false });
}

fn activation(case: &mut Case, shape: Shape) {
    let (x, dy) = (case.input(shape), case.input(shape));
    let [y, dx] = [(); 2].map(|()| case.output(shape));
    let act = Activation::HardSwish;
    case.program.push(Op::Activate { x, y, act });
    case.program.push(Op::ActivateGrad { x, dy, dx, act });
}

fn goodness(case: &mut Case, shape: Shape, classes: usize, kernel: usize) {
    let (weight, window, scale) =
        (Shape::weight(kernel, shape.c, classes), Window::same(kernel, 1), 1.0);
    let rows = Shape::rows(shape.n, classes);
    let (x, w, dscores) =
        (case.input(shape), case.weight(kernel, shape.c, classes), case.input(rows));
    let (scores, dx) = (case.output(rows), case.output(shape));
    let dw = case.temporary("dw", weight, Layout::Hwio, Kind::ParamGradient);
    let parts = Shape::new(shape.n, split::goodness_parts(shape, kernel), 1, classes);
    let partial = temporary(case, parts);
    let slice = split::goodness_slice(Layout::Nhwc, shape, classes);
    let some = shape.with_n(slice).with_c(classes);
    let maps = temporary(case, some);
    let sums = Shape::rows(split::wgrad(some, weight).count(slice), stored(weight));
    let scratch = temporary(case, sums);
    case.program.push(Op::Goodness { x, w, scores, scratch: partial, window, scale });
    case.program.push(Op::GoodnessGrad { x, w, dscores, dx, dw, maps, scratch, window, scale });
}

fn gram(case: &mut Case, shape: Shape, classes: usize) {
    let (weight, scale) = (Shape::weight(1, shape.c, classes), 1.0);
    let rows = Shape::rows(shape.n, classes);
    let (x, w, dscores) = (case.input(shape), case.weight(1, shape.c, classes), case.input(rows));
    let (scores, dx) = (case.output(rows), case.output(shape));
    let dw = case.temporary("dw", weight, Layout::Hwio, Kind::ParamGradient);
    let slice = split::gram_slice(Layout::Nhwc, shape);
    let matrices = split::gram(shape.with_n(slice));
    let gram = temporary(case, matrices);
    let partial =
        temporary(case, Shape::new(slice, split::goodness_parts(matrices, 1), 1, classes));
    let sums = Shape::rows(split::gram_parts(slice, weight), stored(weight));
    let scratch = temporary(case, sums);
    case.program.push(Op::GramGoodness { x, w, scores, gram, scratch: partial, scale });
    case.program.push(Op::GramGoodnessGrad { x, w, dscores, dx, dw, gram, scratch, scale });
}

fn adamw(case: &mut Case, shape: Shape) {
    let [params, grads, m] = [(); 3].map(|()| case.input(shape));
    // The second moment is no square of a number if it is negative.
    let squares = common::random(9, shape.elements()).iter().map(|v| v * v).collect();
    let v = case.given(shape, Layout::Nhwc, squares);
    let step = case.words([1e-3, 0.1, 1e-3, 1.0f32].map(f32::to_bits).to_vec());
    let adamw = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
    case.program.push(Op::AdamW { params, grads, m, v, step, adamw, scale: 1.0 });
}

/// Few and small images, or a short vector, of the same kind.
fn small(shape: Shape) -> Shape {
    if shape.pixels() == 1 {
        return Shape::vector(shape.c.min(1000));
    }
    Shape::new(shape.n.min(3), shape.h.min(7), shape.w.min(7), shape.c)
}

/// Checks an entry, times its ops, and gives a line of figures for each.
fn run(gpu: &Gpu, peak: Peak, entry: &Entry) -> sff::Result<Vec<(String, Value)>> {
    let mut case = Case::default();
    (entry.add)(&mut case, small(entry.shape));
    case.check(gpu, &entry.label);
    let mut case = Case::default();
    (entry.add)(&mut case, entry.shape);
    let tiles = std::env::var("SFF_VARIANT").ok().map(|name| {
        let variants = gpu.variants();
        let known: Vec<_> = variants.all.iter().map(|v| v.name).collect();
        let found = variants.named(&name);
        found.unwrap_or_else(|| panic!("SFF_VARIANT is one of {known:?} on this device")).tiles
    });
    let options = SessionOptions { tiles, ..SessionOptions::default() };
    let mut session = Session::new(gpu, case.program.clone(), options)?;
    case.inputs.iter().for_each(|(id, values)| session.write(*id, values));
    case.words.iter().for_each(|(id, words)| {
        session.write_bytes(*id, &words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>());
    });
    let (clock, mut lines) = (session.clock(), Vec::new());
    for (index, op) in case.program.ops().iter().enumerate() {
        let start = Instant::now();
        let mut seconds = f64::INFINITY;
        for run in 0.. {
            if run > RUNS && start.elapsed() > EFFORT {
                break;
            }
            let spans = session.run_timed(index..index + 1, clock)?;
            let time: f64 = spans.iter().map(|span| span.end - span.start).sum();
            // The first run warms up.
            seconds = if run == 0 { seconds } else { seconds.min(time) };
        }
        let dispatches = session.dispatches(index..index + 1);
        let work = share(op, case.program.tensors(), dispatches, &mut Traffic::default())?;
        let flops: f64 = work.iter().map(|work| work.flops).sum();
        let bytes: f64 = work.iter().map(|work| work.bytes).sum();
        let label = format!("{} {}", op.name(), entry.label);
        let figures = json!({
            "ms": 1e3 * seconds,
            "gflops": 1e-9 * flops / seconds,
            "gbs": 1e-9 * bytes / seconds,
            "of_peak": 1e-9 * flops / seconds / peak.f32_gflops,
            "of_roofline": peak.seconds(flops, bytes) / seconds,
        });
        lines.push((label, figures));
    }
    Ok(lines)
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let (mut as_json, mut against, mut filter) = (false, None, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => as_json = true,
            "--against" => against = Some(arguments.next().expect("--against needs a file")),
            "--help" => return println!("usage: [FILTER] [--json] [--against FILE]"),
            option if option.starts_with("--") => panic!("there is no option {option}: see --help"),
            _ => filter.push(argument),
        }
    }
    let before: Value = against.map_or(Value::Null, |path| {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
    });
    let fail = |e: sff::Error| -> ! { panic!("{e}") };
    let selector = std::env::var("SFF_TEST_DEVICE").ok();
    let gpu = Gpu::open(selector.as_deref()).unwrap_or_else(|e| fail(e));
    let peak = Peak::measure(&gpu, Duration::from_millis(300)).unwrap_or_else(|e| fail(e));
    if !as_json {
        println!("{} ({})\n{peak}\n", gpu.adapter.name, gpu.adapter.driver);
        print!("{:62}{:>10}{:>9}{:>8}{:>8}{:>10}", "", "ms", "GFLOP/s", "GB/s", "peak", "roofline");
        println!("{}", if before.is_null() { "" } else { "   before/now" });
    }
    let mut all = BTreeMap::new();
    for entry in entries() {
        // A filter chooses whole entries: their ops share their maps.
        let mut case = Case::default();
        (entry.add)(&mut case, small(entry.shape));
        let labels = case.program.ops().iter().map(|op| format!("{} {}", op.name(), entry.label));
        let matches = |label: String| filter.iter().all(|f| label.contains(f.as_str()));
        if !labels.into_iter().any(matches) {
            continue;
        }
        for (label, figures) in run(&gpu, peak, &entry).unwrap_or_else(|e| fail(e)) {
            let figure = |name: &str| figures[name].as_f64().unwrap_or(f64::NAN);
            let old = before["kernels"][&label]["ms"].as_f64();
            let ratio = old.map(|old| old / figure("ms"));
            if !as_json {
                println!(
                    "{label:62}{:10.2}{:9.2}{:8.2}{:7.1}%{:9.1}%{}",
                    figure("ms"),
                    figure("gflops"),
                    figure("gbs"),
                    100.0 * figure("of_peak"),
                    100.0 * figure("of_roofline"),
                    ratio.map_or(String::new(), |ratio| format!("{ratio:13.2}"))
                );
            }
            all.insert(label, figures);
        }
    }
    if as_json {
        let result = json!({"device": gpu.adapter.name, "driver": gpu.adapter.driver, "peak": peak, "kernels": all});
        println!("{result:#}");
    }
}
