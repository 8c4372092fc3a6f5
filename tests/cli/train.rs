//! Tests of `sff train` and `sff eval`.

use std::fs;

use image::{Rgba, RgbaImage};
use serde_json::Value;
use std::collections::BTreeSet;

use crate::cli::support::{
    RUN_FILES, Ran, SMALL, Sandbox, assert_same, digits, keys, last_record, numbers,
};

#[test]
fn a_run_writes_its_files_prints_a_table_and_can_be_repeated() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&format!("{SMALL} --out run"));
    assert!(!ran.err.contains(['\r', '\x1b']), "terminal codes in a pipe:\n{}", ran.err);
    // Slow machines also print lines of progress.
    let lines: Vec<&str> = ran.err.lines().filter(|line| !line.contains("  step ")).collect();
    assert!(lines[0].starts_with("cnn on shapes by sff, partition layer on "), "{}", lines[0]);
    assert!(lines[1].contains("12 steps per epoch of 8 images"), "{}", lines[1]);
    assert!(lines[2].starts_with("epoch 1/2  loss "), "{}", lines[2]);
    assert!(lines[3].starts_with("epoch 2/2  loss "), "{}", lines[3]);
    let table = ran.ok();
    let rows: Vec<&str> = table.lines().map(|row| row.split("  ").next().unwrap().trim()).collect();
    let expected = [
        "",
        "conv1",
        "conv2",
        "conv3",
        "vote all",
        "vote late",
        "vote last",
        "on 1000 test images",
    ];
    assert_eq!(rows[..8], expected, "{table}");
    assert_eq!(rows[8..], ["saved to run"]);
    assert_eq!(sandbox.files("run").keys().collect::<Vec<_>>(), RUN_FILES);
    let timing = fs::read_to_string(sandbox.path("run/timing.jsonl")).unwrap();
    assert_eq!(timing.lines().count(), 2);
    for line in timing.lines() {
        let timing: Value = serde_json::from_str(line).unwrap();
        assert!(timing["images_per_second"].as_f64().unwrap() > 0.0);
    }

    // Evaluation gives the recorded test results to the last bit.
    let report = sandbox.json("eval --run run --json");
    assert_eq!(keys(&report), BTreeSet::from(["accuracy", "blocks", "images", "loss"]));
    assert_eq!(keys(&report["accuracy"]), BTreeSet::from(["all", "last", "late"]));
    let recorded = last_record(&sandbox, "run");
    for key in keys(&report) {
        assert_eq!(report[key], recorded["test"][key], "{key}");
    }
    assert_eq!(report["images"], 1000);
    let blocks = numbers(&report["blocks"]);
    assert!(blocks.len() == 3 && blocks.iter().all(|b| (0.0..=1.0).contains(b)), "{report}");
    // Another batch size rounds losses differently, but gives the same accuracies.
    let other = sandbox.json("eval --run run --json --batch 77");
    assert_eq!((&other["accuracy"], &other["blocks"]), (&report["accuracy"], &report["blocks"]));
    let text = sandbox.ok("eval --run run");
    assert_eq!(table.lines().collect::<Vec<_>>()[..8], text.lines().collect::<Vec<_>>()[..]);

    // A recipe repeats a run to the last byte.
    sandbox.ok("train --recipe run/config.toml --out again");
    assert_same(&sandbox.results("run"), &sandbox.results("again"));
    sandbox.ok("train --recipe run/config.toml --seed 1 --out other");
    for name in ["metrics.jsonl", "model.safetensors", "state.safetensors"] {
        assert!(sandbox.files("run")[name] != sandbox.files("other")[name], "{name}");
    }
}

/// Heads with every option are trained, saved, evaluated and kept by a resumed run.
#[test]
fn head_options_are_part_of_a_run() {
    let sandbox = Sandbox::new();
    let heads = "--aux-kernel 3 --aux-separable --aux-pool 5 --aux-scale learnable";
    sandbox.ok(&format!("{SMALL} {heads} --out run"));
    let model = fs::read(sandbox.path("run/model.safetensors")).unwrap();
    let arrays = safetensors::SafeTensors::deserialize(&model).unwrap();
    for (name, shape) in [
        ("aux.0.depthwise.weight", &[4, 1, 3, 3][..]),
        ("aux.1.weight", &[10, 4, 1, 1]),
        ("aux.2.log_scale", &[1]),
    ] {
        assert_eq!(arrays.tensor(name).unwrap().shape(), shape, "{name}");
    }
    let trained = arrays.tensor("aux.2.log_scale").unwrap().data().to_vec();
    assert_ne!(f32::from_le_bytes(trained.try_into().unwrap()), 0.0);
    let report = sandbox.json("eval --run run --json");
    assert_eq!(report["accuracy"], last_record(&sandbox, "run")["test"]["accuracy"]);
    sandbox.ok("train --recipe run/config.toml --out again");
    assert_same(&sandbox.results("run"), &sandbox.results("again"));
    sandbox.ok(&format!("train --resume --out run {heads}"));
    sandbox.refuses("train --resume --out run --aux-pool 0", &["another --aux-pool:"]);
}

#[test]
fn default_head_options_are_saved_in_the_configuration() {
    let sandbox = Sandbox::new();
    let line = "--arch mobilenet-v3-small --dataset shapes --train-limit 8 --batch 8 --epochs 1";
    sandbox.ok(&format!("train {line} --out run"));
    let config = fs::read_to_string(sandbox.path("run/config.toml")).unwrap();
    for line in ["aux-kernel = ", "aux-separable = ", "aux-pool = ", "aux-scale = 1.0\n"] {
        assert!(config.contains(line), "{config}");
    }
    sandbox.ok("eval --run run");
}

#[test]
fn a_run_by_backpropagation_can_be_evaluated_and_predicts() {
    let sandbox = Sandbox::new();
    let line = "train --dataset shapes32 --train-limit 64 --widths 8,8 --epochs 1 --method bp";
    sandbox.ok(&format!("{line} --flip --crop 2 --out run"));
    let report = sandbox.json("eval --run run --json");
    let all = report["accuracy"]["all"].as_f64().unwrap();
    assert_eq!(numbers(&report["blocks"]), [all]);
    assert_eq!(report["loss"], last_record(&sandbox, "run")["test"]["loss"]);
    RgbaImage::from_pixel(5, 9, Rgba([1, 2, 3, 128])).save(sandbox.path("tiny.png")).unwrap();
    let prediction = &sandbox.json("predict --run run --json tiny.png")[0];
    assert_eq!(prediction["goodness"].as_array().unwrap().len(), 1);
    assert_eq!(prediction["goodness"][0], prediction["logits"]);
}

#[test]
fn augmentation_options_are_saved_and_repeatable() {
    let sandbox = Sandbox::new();
    let line = "train --dataset shapes32 --train-limit 64 --widths 8,8 --epochs 2 --batch 16";
    let augment =
        "--flip --random-resized-crop --jitter 0.3 --cutout 5 --mixup 0.4 --image-size 24";
    sandbox.ok(&format!("{line} {augment} --out run"));
    let config = String::from_utf8(sandbox.files("run")["config.toml"].clone()).unwrap();
    for line in ["flip = true", "crop = 0", "random-resized-crop = 0.35", "image-size = 24"] {
        assert!(config.lines().any(|l| l == line), "{line}: {config}");
    }
    let report = sandbox.json("eval --run run --json");
    assert_eq!(report["loss"], last_record(&sandbox, "run")["test"]["loss"]);
    sandbox.ok("train --recipe run/config.toml --out again");
    let (run, again) = (sandbox.files("run"), sandbox.files("again"));
    assert_eq!(run["metrics.jsonl"], again["metrics.jsonl"]);
    assert_eq!(run["model.safetensors"], again["model.safetensors"]);
    // A recipe's option can be turned off again.
    sandbox.ok("train --recipe run/config.toml --random-resized-crop 0 --crop 1 --out other");
    assert_ne!(sandbox.files("other")["metrics.jsonl"], run["metrics.jsonl"]);
    // Pictures are resized to the network's input.
    RgbaImage::from_pixel(32, 32, Rgba([9, 200, 3, 255])).save(sandbox.path("a.png")).unwrap();
    assert_eq!(sandbox.json("predict --run run --json a.png").as_array().unwrap().len(), 1);
}

#[test]
fn unusual_values_and_a_data_set_in_files_work_through_train_resume_and_eval() {
    let sandbox = Sandbox::new();
    // Spaces and non-ASCII letters in a path, a seed above 2^63, a learning rate of many digits.
    let folder = "läufe/mit leerzeichen";
    let mut command =
        sandbox.command("train --dataset shapes --train-limit 40 --widths 5 --epochs 1");
    let seed = u64::MAX.to_string();
    let options = ["--seed", &seed, "--lr", "0.0016777217", "--weight-decay", "1e-9"];
    Ran::of(command.args(options).args(["--out", folder])).ok();
    let before = sandbox.files(folder);
    let config = String::from_utf8(before["config.toml"].clone()).unwrap();
    assert!(config.contains(&format!("seed = {seed}\n")), "{config}");
    // All values are read back exactly: the same options may be given again when resuming.
    let mut command = sandbox.command("train --resume");
    Ran::of(command.args(options).args(["--out", folder])).ok();
    assert_same(&before, &sandbox.files(folder));
    Ran::of(sandbox.command("eval --run").arg(folder)).ok();

    // A data set in files, with fewer test images than a batch.
    digits(&sandbox, "digits", 16, 21, 3);
    let line = "train --dataset mnist --data digits --batch 20 --widths 4 --epochs 2 --out files";
    sandbox.ok(line);
    let report = sandbox.json("eval --run files --json");
    assert_eq!(report["images"], 3);
    assert_eq!(report["loss"], last_record(&sandbox, "files")["test"]["loss"]);
    // The files may be moved before a run is resumed or evaluated.
    sandbox.copy("digits", "moved");
    fs::remove_dir_all(sandbox.path("digits")).unwrap();
    assert!(sandbox.error("eval --run files").contains("digits"));
    assert_eq!(sandbox.json("eval --run files --json --data moved"), report);
    sandbox.ok("train --resume --out files --data moved");
}

#[test]
fn a_closed_output_does_not_stop_a_run() {
    let sandbox = Sandbox::new();
    let line = "train --dataset shapes --train-limit 32 --widths 4 --epochs 1";
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = sandbox.command(&format!("{line} --out quiet"));
    let closed = || writer.try_clone().unwrap();
    let status = command.stderr(closed()).stdout(closed()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(sandbox.files("quiet").keys().collect::<Vec<_>>(), RUN_FILES);
}

#[test]
fn a_run_is_tested_every_few_epochs_and_after_the_last_on_limited_images() {
    let sandbox = Sandbox::new();
    let line = "train --dataset shapes --widths 4 --batch 8 --train-limit 16 --epochs 5 --out r";
    let text = sandbox.ok(&format!("{line} --test-every 2 --test-limit 30"));
    assert!(text.contains("on 30 test images"), "{text}");
    let metrics = std::fs::read_to_string(sandbox.path("r/metrics.jsonl")).unwrap();
    let tested: Vec<bool> = metrics.lines().map(|line| line.contains("\"test\":")).collect();
    assert_eq!(tested, [false, true, false, true, true]);
    assert!(metrics.contains("\"images\":30"), "{metrics}");
}
