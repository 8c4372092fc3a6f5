//! Rates of the kernels: `cargo bench --bench rates [-- FILTER] [--json] [--against FILE]`.
//!
//! Times each op of the cases in `tests/cases` on random maps larger than most caches; the best of
//! several runs counts. FLOPs and bytes are the minimum for the op (see
//! `sff::internals::compiler::work`). The table also relates rates to the device's peak, measured just
//! before. `--json` prints JSON, and `--against` compares with such a file. `SFF_TEST_DEVICE` chooses
//! the device, `SFF_VARIANT=NAME` the tiles (`src/compiler/variants.rs` has the names).

#[path = "../tests/cases/mod.rs"]
mod cases;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cases::{Case, FAMILIES, Purpose};
use serde_json::{Value, json};
use sff::internals::compiler::ops::Node;
use sff::internals::compiler::work::{Traffic, share};
use sff::internals::gpu::device::Gpu;
use sff::internals::gpu::peak::Peak;
use sff::internals::gpu::session::{Session, SessionOptions};
use sff::internals::net::options::Precision;

/// Least time to spend on an op.
const MIN_TIME: Duration = Duration::from_millis(300);
/// Least number of runs of an op, after the first.
const RUNS: usize = 3;

/// The name of a line.
fn label(op: &Node, case: &Case) -> String {
    format!("{} {}", op.name(), case.label)
}

/// Times the ops of a case; returns a line of figures for each.
fn run(gpu: &Gpu, peak: Peak, case: &Case) -> sff::Result<Vec<(String, Value)>> {
    let tiles = std::env::var("SFF_VARIANT").ok().map(|name| {
        let variants = gpu.variants();
        let known: Vec<_> = variants.all.iter().map(|v| v.name).collect();
        let found = variants.named(&name);
        found.unwrap_or_else(|| panic!("SFF_VARIANT must be one of {known:?} on this device")).tiles
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
            if run > RUNS && start.elapsed() > MIN_TIME {
                break;
            }
            let spans = session.run_timed(index..index + 1, clock)?;
            let time: f64 = spans.iter().map(|span| span.end - span.start).sum();
            // The first run is a warm-up.
            seconds = if run == 0 { seconds } else { seconds.min(time) };
        }
        let dispatches = session.dispatches(index..index + 1);
        let work = share(op, case.program.tensors(), dispatches, &mut Traffic::default())?;
        let flops: f64 = work.iter().map(|work| work.flops).sum();
        let bytes: f64 = work.iter().map(|work| work.bytes).sum();
        let figures = json!({
            "ms": 1e3 * seconds,
            "gflops": 1e-9 * flops / seconds,
            "gbs": 1e-9 * bytes / seconds,
            "of_peak": 1e-9 * flops / seconds / peak.f32_gflops,
            "of_roofline": peak.seconds(flops, bytes) / seconds,
        });
        lines.push((label(op, case), figures));
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
    let families = FAMILIES.iter().flat_map(|(_, cases)| cases(Purpose::Rate, Precision::F32));
    for case in families {
        // A filter selects whole cases, because their ops share maps.
        let matches = |op: &Node| filter.iter().all(|f| label(op, &case).contains(f.as_str()));
        if !case.program.ops().iter().any(matches) {
            continue;
        }
        for (label, figures) in run(&gpu, peak, &case).unwrap_or_else(|e| fail(e)) {
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
