//! Tests of `--precision`.

use serde_json::Value;

use crate::cli::support::{SMALL, Sandbox};

#[test]
fn a_float16_run_is_evaluated_in_float16_and_close_to_float32() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&format!("{SMALL} --precision f16 --out half"));
    if ran.err.contains("cannot compute with float16") {
        eprintln!("no float16 on this device: {}", ran.err);
        assert!(ran.err.contains("use --precision f32") && ran.code == Some(2), "{}", ran.err);
        return;
    }
    ran.ok();
    // By default, evaluation uses the run's precision and gives the recorded loss.
    let metrics = std::fs::read_to_string(sandbox.path("half/metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    let eval = |line: &str| -> Value { serde_json::from_str(&sandbox.ok(line)).unwrap() };
    let half = eval("eval --run half --json");
    assert_eq!(half["loss"], last["test"]["loss"]);
    let single = eval("eval --run half --precision f32 --json");
    let loss = |report: &Value| report["loss"].as_f64().unwrap();
    assert!(half != single && (loss(&half) / loss(&single) - 1.0).abs() < 0.01);
    sandbox.refuses(
        &format!("{SMALL} --precision f32 --out half --resume"),
        &["was started with another --precision"],
    );
}

#[test]
fn float16_halves_activations_and_workspace() {
    let sandbox = Sandbox::new();
    let bytes = |precision: &str| {
        let line = format!("plan --arch resnet18 --batch 128 --precision {precision} --json");
        let plan: Value = serde_json::from_str(&sandbox.ok(&line)).unwrap();
        assert_eq!(plan["precision"], precision);
        plan["activations_and_workspace"].as_f64().unwrap()
    };
    let share = bytes("f16") / bytes("f32");
    assert!((0.49..=0.55).contains(&share), "{share}");
}
