//! Tests of memory budgets: micro-batches, automatic batch sizes, recomputation, plans.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use sff::internals::train::checkpoint;

use crate::cli::support::{Ran, Sandbox, assert_same};

const NETWORK: &str = "--widths 8,8,8 --batch 32";
const RUN: &str = "train --dataset shapes --train-limit 640 --epochs 2";

fn records(sandbox: &Sandbox, folder: &str) -> Vec<Value> {
    let metrics = String::from_utf8(sandbox.files(folder)["metrics.jsonl"].clone()).unwrap();
    metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Planned and allocated MiB, from the lines at the start of a run.
fn planned_and_allocated(ran: &Ran) -> (f64, f64) {
    let after = |text: &str| {
        let rest = ran.err.split(text).nth(1).unwrap_or_else(|| panic!("{}", ran.err));
        rest.trim_start().split(' ').next().unwrap().parse().unwrap()
    };
    (after("memory planned "), after(" allocated "))
}

/// Peak bytes of a plan, and images of its micro-batch.
fn plan(sandbox: &Sandbox, options: &str) -> (u64, u64) {
    let json = sandbox.json(&format!("plan --image 28 --channels 1 {NETWORK} --json {options}"));
    (json["peak_bytes"].as_u64().unwrap(), json["micro_batch"].as_u64().unwrap())
}

#[test]
fn micro_batches_fit_a_quarter_of_the_memory_and_survive_a_kill() {
    let sandbox = Sandbox::new();
    let whole = sandbox.run(&format!("{RUN} {NETWORK} --out whole"));
    let (planned, allocated) = planned_and_allocated(&whole);
    assert_eq!(planned, allocated);
    assert!(!whole.err.contains("micro-batches"), "{}", whole.err);
    whole.ok();
    let (peak, micro) = plan(&sandbox, "");
    assert_eq!(micro, 32);
    let budget = peak / 4;
    let (peak, micro) = plan(&sandbox, &format!("--memory {budget}"));
    assert!(peak <= budget && micro < 32 && 32 % micro == 0, "{peak} {budget} {micro}");

    let run = format!("{RUN} {NETWORK} --memory {budget}");
    let part = sandbox.run(&format!("{run} --out part"));
    let (planned, allocated) = planned_and_allocated(&part);
    assert_eq!(planned, allocated);
    assert!(planned * f64::from(1 << 20) <= budget as f64 + 0.05 * f64::from(1 << 20), "{planned}");
    let note = format!(
        "micro-batches of {micro} images, {} to a step; batch norm sees each alone",
        32 / micro
    );
    assert!(part.err.contains(&note), "{}", part.err);
    part.ok();
    for (whole, part) in records(&sandbox, "whole").iter().zip(records(&sandbox, "part")) {
        assert_eq!(whole["steps"], part["steps"]);
        assert_eq!(whole["train"]["images"], part["train"]["images"]);
        let loss = |record: &Value| record["train"]["loss"].as_f64().unwrap();
        let (whole, part) = (loss(whole), loss(&part));
        assert!((part / whole - 1.0).abs() < 0.1, "{part} is far from {whole}");
    }
    // Evaluation gives the recorded test results to the last bit.
    let report = sandbox.json("eval --run part --json");
    assert_eq!(report["loss"], records(&sandbox, "part")[1]["test"]["loss"]);

    // A run killed in the second epoch is resumed with the same results.
    let line = run.replacen("train", "train --resume --save-steps 1", 1) + " --out killed";
    let mut command = sandbox.command(&line);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !sandbox.path("killed/metrics.jsonl").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it was killed");
        sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    let ran = sandbox.run(&line);
    assert!(ran.err.contains("resumed after step "), "{}", ran.err);
    ran.ok();
    assert_same(&sandbox.results("part"), &sandbox.results("killed"));
    let other = format!("train --resume --out part --memory {}", 2 * budget);
    sandbox.refuses(&other, &["another --memory"]);
}

#[test]
fn the_smallest_budget_that_an_error_names_is_enough() {
    let sandbox = Sandbox::new();
    let run = "train --dataset shapes --train-limit 16 --epochs 1 --widths 4,4 --batch 8";
    let message = sandbox.error(&format!("{run} --memory 1KiB --out run"));
    assert!(message.contains("--memory 1KiB is too little"), "{message}");
    let least = message.split("use --memory ").nth(1).unwrap();
    let least: usize = least.split(' ').next().unwrap().parse().unwrap();
    let less = format!("{run} --memory {} --out run", least - 1);
    sandbox.refuses(&less, &[&format!("use --memory {least} ")]);
    assert!(!sandbox.path("run").exists());
    let ran = sandbox.run(&format!("{run} --memory {least} --out run"));
    assert!(ran.err.contains("micro-batches of 1 images, 8 to a step"), "{}", ran.err);
    ran.ok();
    let config = String::from_utf8(sandbox.files("run")["config.toml"].clone()).unwrap();
    assert!(config.contains("\nmemory = \""), "{config}");
    // The configuration is a recipe for the same run.
    sandbox.ok("train --recipe run/config.toml --out again");
    assert_same(&sandbox.results("run"), &sandbox.results("again"));
    let message = sandbox.error("plan --memory 10kB");
    assert!(message.contains("use --memory "), "{message}");
    for size in ["", "much", "-5MiB", "5MiBs"] {
        sandbox.refuses(&format!("plan --memory={size}"), &["--memory"]);
    }
}

#[test]
fn batch_auto_chooses_a_batch_that_fits() {
    let sandbox = Sandbox::new();
    let run = "train --dataset shapes --train-limit 96 --epochs 1 --widths 4,4 --batch auto";
    let config =
        |folder: &str| String::from_utf8(sandbox.files(folder)["config.toml"].clone()).unwrap();
    sandbox.ok(&format!("{run} --out run"));
    assert!(config("run").contains("\nbatch = 64\n"), "{}", config("run"));
    // A resumed run keeps the chosen batch.
    sandbox.ok(&format!("{run} --resume --out run"));
    sandbox.put("r.toml", "batch = \"auto\"\nmemory = \"1MiB\"\n");
    let run = run.replace("--batch auto", "--recipe r.toml");
    let ran = sandbox.run(&format!("{run} --out less"));
    assert!(ran.err.contains("within 1MiB of device memory: whole batches fit"), "{}", ran.err);
    ran.ok();
    let batch =
        config("less").split("\nbatch = ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let batch: usize = batch.parse().unwrap();
    assert!(batch.is_power_of_two() && (2..64).contains(&batch), "{batch}");
}

#[test]
fn recomputation_does_not_change_results() {
    let sandbox = Sandbox::new();
    let line = "train --dataset shapes --train-limit 64 --batch 16 --widths 4,4,4 --epochs 1";
    let [none, cheap, block] = ["none", "cheap", "block"].map(|mode| {
        let ran = sandbox.run(&format!("{line} --recompute {mode} --out {mode}"));
        let planned = planned_and_allocated(&ran).0;
        ran.ok();
        let config = String::from_utf8(sandbox.files(mode)["config.toml"].clone()).unwrap();
        assert!(config.contains(&format!("\nrecompute = \"{mode}\"")), "{config}");
        let model = sandbox.path(mode).join("model.safetensors");
        let (arrays, _) = checkpoint::load::<Value>(&model).unwrap();
        (arrays, sandbox.files(mode)["metrics.jsonl"].clone(), planned)
    });
    assert!(none.0 == cheap.0 && none.1 == cheap.1, "cheap differs");
    assert!(none.0 == block.0 && none.1 == block.1, "block differs");
    assert!(cheap.2 <= none.2, "{} {}", cheap.2, none.2);
}

#[test]
fn plans_respect_limits() {
    let sandbox = Sandbox::new();
    let line = "plan --image 64 --batch 256 --widths 32,32 --method bp --recompute none";
    let text = sandbox.ok(line);
    assert!(text.contains("limits               none\n"), "{text}");
    let text = sandbox.ok(&format!("{line} --limits webgpu"));
    let part = "webgpu: buffers up to 256 MiB, bindings up to 128 MiB; ";
    assert!(text.contains(part) && text.contains(" buffers used"), "{text}");
    assert!(sandbox.ok("plan --limits device").contains("device: buffers up to "));
    let text = sandbox.ok(&format!("{line} --memory 100MiB"));
    assert!(text.contains(" to a step, within 100MiB"), "{text}");
    sandbox.refuses("plan --batch 0", &["--batch must be at least 1"]);
    let line = line.replace("--batch 256", "--batch 1024");
    sandbox.refuses(&format!("{line} --limits webgpu"), &["the device allows", "smaller --batch"]);
    sandbox.ok(&format!("{line} --limits webgpu --memory 200MiB --json"));
}

#[test]
fn plans_report_flops_and_heads() {
    let sandbox = Sandbox::new();
    let line = "plan --arch resnet18 --image 32 --batch 4";
    let json = sandbox.json(&format!("{line} --aux-kernel 1 --json"));
    assert_eq!(json["heads"], "1×1");
    let mflop = json["mflop_per_image"].as_f64().unwrap();
    assert!((2850.0..2851.0).contains(&mflop), "{mflop}");
    assert!(json["heads_share"].as_f64().unwrap() < 0.01);
    let heads = "--aux-kernel 3 --aux-separable --aux-pool 4 --aux-scale learnable";
    let text = sandbox.ok(&format!("{line} {heads}"));
    let part = "heads of separable 3×3 on at most 4×4 pixels, learnable scale\n";
    assert!(text.contains(" MFLOP per image, ") && text.contains(part), "{text}");
    let json = sandbox.json(&format!("{line} --method bp --json"));
    assert_eq!((&json["heads"], json["heads_share"].as_f64()), (&Value::Null, Some(0.0)));
}
