//! Tests of `sff profile` and `sff bench peak`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cli::support::Sandbox;

const SMALL: &str = "profile --widths 4,4,8,8 --image 8 --batch 4 --classes 3 --steps 2";

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} in {value}"))
}

fn lines<'a>(profile: &'a Value, key: &str) -> &'a [Value] {
    profile[key].as_array().unwrap()
}

fn names(profile: &Value, key: &str) -> Vec<String> {
    lines(profile, key).iter().map(|line| line["name"].as_str().unwrap().to_owned()).collect()
}

fn sum(profile: &Value, table: &str, key: &str) -> f64 {
    lines(profile, table).iter().map(|line| number(line, key)).sum()
}

/// Asserts that any two events of a track are disjoint or nested.
fn assert_nested(events: &[&Value]) {
    let span = |e: &Value| (number(e, "ts"), number(e, "ts") + number(e, "dur"));
    let slack = 1e-6;
    for (i, a) in events.iter().enumerate() {
        for b in &events[i + 1..] {
            let ((a0, a1), (b0, b1)) = (span(a), span(b));
            let disjoint = a1 <= b0 + slack || b1 <= a0 + slack;
            let nested =
                (a0 <= b0 + slack && b1 <= a1 + slack) || (b0 <= a0 + slack && a1 <= b1 + slack);
            assert!(disjoint || nested, "{a} and {b}");
        }
    }
}

#[test]
fn the_tables_of_a_profile_add_up_to_the_same_totals() {
    let sandbox = Sandbox::new();
    let profile = sandbox.json(&format!("{SMALL} --json --trace trace.json --html page.html"));
    assert!(profile["clock"].as_str().unwrap().contains("timestamps"), "{profile}");
    let device = number(&profile, "device_ms");
    assert!(device > 0.0);
    for table in ["by_kernel", "by_op", "by_block", "ops"] {
        let shares = sum(&profile, table, "share");
        assert!((shares - 1.0).abs() < 1e-9, "{table}: {shares}");
        assert!((sum(&profile, table, "ms") / device - 1.0).abs() < 1e-9, "{table}");
        for amount in ["mflop", "mb", "calls"] {
            let [total, here] = ["ops", table].map(|table| sum(&profile, table, amount));
            assert!(total > 0.0 && (here / total - 1.0).abs() < 1e-9, "{table} {amount}");
        }
    }
    // Every op of the step is listed once, in order, and there are as many as the network needs.
    let ops: Vec<u64> =
        lines(&profile, "ops").iter().map(|op| op["index"].as_u64().unwrap()).collect();
    assert_eq!(ops, (0..ops.len() as u64).collect::<Vec<_>>());
    let of = |wanted: &str| names(&profile, "ops").iter().filter(|name| *name == wanted).count();
    for (op, count) in [("input", 1), ("conv2d", 4), ("goodness", 2), ("adamw", 2), ("metrics", 1)]
    {
        assert_eq!(of(op), count, "{op}");
    }
    assert_eq!(names(&profile, "by_block"), ["block1", "block2", "input, metrics"]);
    let host = &profile["host"];
    let busy = number(host, "encode_ms") + number(host, "submit_ms");
    assert!(busy > 0.0 && (number(host, "share") * device / busy - 1.0).abs() < 1e-9, "{host}");
    assert_eq!(host["objects"], 0);

    let trace = String::from_utf8(sandbox.files(".")["trace.json"].clone()).unwrap();
    let trace: Value = serde_json::from_str(&trace).unwrap();
    let events = lines(&trace, "traceEvents");
    let complete: Vec<&Value> = events.iter().filter(|e| e["ph"] == "X").collect();
    let tracks: BTreeSet<(u64, u64)> =
        complete.iter().map(|e| (e["pid"].as_u64().unwrap(), e["tid"].as_u64().unwrap())).collect();
    assert_eq!(tracks.len(), 4, "the host and three blocks: {tracks:?}");
    for track in tracks {
        let on = |e: &&&Value| e["pid"] == track.0 && e["tid"] == track.1;
        assert_nested(&complete.iter().filter(on).copied().collect::<Vec<_>>());
    }
    let count = |kind: &str| complete.iter().filter(|e| e["cat"] == kind).count();
    assert_eq!(count("op"), ops.len());
    assert_eq!(count("dispatch") as f64, sum(&profile, "ops", "calls"));
    assert_eq!(count("host"), 4);

    let page = String::from_utf8(sandbox.files(".")["page.html"].clone()).unwrap();
    let kernels = names(&profile, "by_kernel");
    assert!(kernels.len() > 10, "{kernels:?}");
    for name in kernels.iter().chain(&names(&profile, "by_op")) {
        assert!(page.contains(name.as_str()), "{name} is not on the page");
    }
    assert!(page.contains("<svg") && !page.contains("NaN") && !page.contains("inf"), "{page}");
}

#[test]
fn every_clock_times_the_same_ops() {
    let sandbox = Sandbox::new();
    let calls = |options: &str| {
        let profile = sandbox.json(&format!("{SMALL} --json {options}"));
        let clock = profile["clock"].as_str().unwrap().to_owned();
        (clock, sum(&profile, "ops", "calls"), lines(&profile, "ops").len())
    };
    let (timestamps, count, ops) = calls("--clock timestamps");
    assert!(timestamps.contains("around"), "{timestamps}");
    for (clock, part) in [("passes", "a pass for"), ("wall", "wall clock")] {
        let (clock, other_count, other_ops) = calls(&format!("--clock {clock}"));
        assert!(clock.contains(part), "{clock}");
        assert_eq!((other_count, other_ops), (count, ops), "{clock}");
    }
    // With micro-batches of one image, every op but the update runs four times.
    let network = "--widths 4,8 --image 8 --batch 4 --classes 3";
    let message = sandbox.error(&format!("plan {network} --memory 1"));
    let least = message.split("use --memory ").nth(1).unwrap().split(' ').next().unwrap();
    let profile = sandbox.json(&format!("profile {network} --steps 1 --json --memory {least}"));
    let of = |name: &str| {
        let line = lines(&profile, "by_op").iter().find(|line| line["name"] == name).unwrap();
        number(line, "calls")
    };
    assert_eq!((of("input"), of("adamw")), (4.0, 1.0));
    let text = sandbox.ok(SMALL);
    for part in ["timed by", "host", "of roofline", "conv2d.main", "block2", "peak, measured"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn peak_rates_are_positive_and_invalid_options_refused() {
    let sandbox = Sandbox::new();
    let peak = sandbox.json("bench peak --seconds 0.1 --json");
    for rate in ["f32_gflops", "copy_gbs", "triad_gbs"] {
        assert!(number(&peak, rate) > 0.0, "{peak}");
    }
    let text = sandbox.ok("bench peak --seconds 0");
    assert!(text.contains("float32") && text.contains("GB/s"), "{text}");
    sandbox.refuses("bench peak --seconds=-1", &["--seconds"]);
    sandbox.refuses(&format!("{SMALL} --batch 0"), &["--batch"]);
    sandbox.refuses(&format!("{} --steps 0", SMALL.replace(" --steps 2", "")), &["--steps"]);
}
