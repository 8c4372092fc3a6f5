//! Runs that are killed at any moment and resumed give the results of an uninterrupted run.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sff::internals::train::checkpoint::{self, Arrays};

use crate::cli::support::{RUN_FILES, SMALL, Sandbox, assert_same, digits};

/// A run with a checkpoint after every step.
const SAVING: &str = "train --resume --save-steps 1";

/// Starts a command and kills it once `now` returns true. Returns whether it was killed before it
/// ended.
pub fn kill_when(sandbox: &Sandbox, line: &str, mut now: impl FnMut() -> bool) -> bool {
    let mut command = sandbox.command(line);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while !now() {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{line}");
            return false;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{line}: never killed");
        // Short enough to catch a save, long enough to leave the processor to the run.
        sleep(Duration::from_micros(20));
    }
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// Runs a command that must fail at the first save of `name` in `folder`, because a folder is in
/// the way. It leaves the files that a kill at that moment leaves.
fn fail_at_save(sandbox: &Sandbox, line: &str, folder: &str, name: &str) {
    let obstacle = sandbox.path(folder).join(format!("{name}.partial"));
    fs::create_dir_all(&obstacle).unwrap();
    let message = sandbox.run(line).last_error();
    assert!(message.contains(&format!("cannot write {folder}/{name}: ")), "{message}");
    fs::remove_dir(obstacle).unwrap();
}

/// Waits for a condition, at most `limit`. Returns whether it holds.
pub fn wait_until(limit: Duration, condition: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !condition() && started.elapsed() < limit {
        sleep(Duration::from_millis(1));
    }
    condition()
}

/// A condition that holds after this number of milliseconds.
fn after(milliseconds: u64) -> impl FnMut() -> bool {
    let started = Instant::now();
    move || started.elapsed() >= Duration::from_millis(milliseconds)
}

#[test]
fn a_run_killed_repeatedly_gives_the_same_results() {
    let sandbox = Sandbox::new();
    let line = SMALL.replace("--epochs 2", "--epochs 4");
    let line = format!("{line} --flip --random-resized-crop --jitter 0.3 --cutout 6 --mixup 0.5");
    sandbox.ok(&format!("{line} --out whole"));
    let line = format!("{} --out killed", line.replacen("train", SAVING, 1));
    let (mut kills, mut delay) = (0, 3);
    while kill_when(&sandbox, &line, after(delay)) {
        kills += 1;
        // Growing delays, so that the run ends on slow machines too.
        delay = delay * 9 / 8 + 29;
    }
    assert!(kills >= 4, "the run was killed {kills} times only");
    assert_same(&sandbox.results("whole"), &sandbox.results("killed"));
}

#[test]
fn a_run_killed_during_a_save_gives_the_same_results() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{SMALL} --out whole"));
    let mut kills = 0;
    for name in ["config.toml", "state.safetensors", "metrics.jsonl", "model.safetensors"] {
        let line = format!("{} --out {name}", SMALL.replacen("train", SAVING, 1));
        let partial = sandbox.path(name).join(format!("{name}.partial"));
        // Each attempt waits for more saves than the one before.
        for saves in 1..=3 {
            // A partial file that appears is a save in progress. The last kill may have left one.
            let (mut exists, mut count) = (partial.exists(), 0);
            let saving = || {
                let before = std::mem::replace(&mut exists, partial.exists());
                count += usize::from(exists && !before);
                count >= saves
            };
            kills += usize::from(kill_when(&sandbox, &line, saving));
        }
        sandbox.ok(&line);
        assert_same(&sandbox.results("whole"), &sandbox.results(name));
    }
    assert!(kills > 0, "no kill was during a save");
}

#[test]
fn every_set_of_files_that_a_kill_can_leave_is_resumed() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{SMALL} --out whole"));
    let whole = sandbox.results("whole");
    let resume = |folder: &str| {
        sandbox.ok(&format!("train --resume --out {folder}"));
        assert_same(&whole, &sandbox.results(folder));
    };
    // Before the first checkpoint: a configuration and partial files.
    for name in ["state.safetensors", "metrics.jsonl", "model.safetensors", "config.toml"] {
        sandbox.put("first/config.toml", &whole["config.toml"]);
        sandbox.put(&format!("first/{name}.partial"), &whole[name][..whole[name].len() / 2]);
    }
    resume("first");
    // Between two files of the last checkpoint: old metrics, no model.
    sandbox.copy("whole", "last");
    fs::remove_file(sandbox.path("last/model.safetensors")).unwrap();
    let metrics = &whole["metrics.jsonl"];
    let one = metrics.iter().position(|b| *b == b'\n').unwrap() + 1;
    sandbox.put("last/metrics.jsonl", &metrics[..one]);
    sandbox.put("last/metrics.jsonl.partial", &metrics[..one + 9]);
    resume("last");
    // Before each file of the first epoch's checkpoint.
    for (name, epochs) in [("state.safetensors", 0), ("metrics.jsonl", 1), ("model.safetensors", 1)]
    {
        fail_at_save(&sandbox, &format!("{SMALL} --out {name}"), name, name);
        let state = sandbox.path(name).join("state.safetensors");
        if epochs > 0 {
            let (_, info): (Arrays, Value) = checkpoint::load(&state).unwrap();
            assert_eq!(info["epochs"].as_array().unwrap().len(), epochs);
        }
        assert_eq!(state.exists(), epochs > 0);
        resume(name);
    }
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let sandbox = Sandbox::new();
    let table = sandbox.ok(&format!("{SMALL} --out run"));
    let before = sandbox.files("run");
    let ran = sandbox.run("train --resume --out run");
    assert!(ran.err.contains("resumed after step 24 of 24"), "{}", ran.err);
    assert!(!ran.err.contains("epoch 1"), "{}", ran.err);
    assert_eq!(ran.ok(), table);
    assert_same(&before, &sandbox.files("run"));
    // Not without --resume, and not with other options.
    sandbox.refuses("train --out run", &["run already holds a run", "--resume"]);
    let line = "train --resume --out run --seed 7 --widths 4,4 --batch 8 --aux-kernel 3";
    sandbox.refuses(line, &["another --widths, --aux-kernel, --seed:"]);
    fs::remove_file(sandbox.path("run/config.toml")).unwrap();
    let without = sandbox.files("run");
    for line in ["train --dataset shapes --out run", "train --dataset shapes --resume --out run"] {
        sandbox.refuses(line, &["run holds files of a run, but no config.toml"]);
    }
    assert_same(&without, &sandbox.files("run"));
}

#[test]
fn resume_starts_a_run_in_an_empty_or_missing_folder() {
    let sandbox = Sandbox::new();
    let line = "train --dataset shapes --train-limit 32 --widths 4 --epochs 1 --resume";
    fs::create_dir(sandbox.path("empty")).unwrap();
    for folder in ["empty", "not/there"] {
        let ran = sandbox.run(&format!("{line} --out {folder}"));
        assert!(!ran.err.contains("resumed"), "{}", ran.err);
        ran.ok();
    }
    assert_same(&sandbox.results("empty"), &sandbox.results("not/there"));
}

#[test]
fn a_damaged_or_mismatched_state_is_refused_and_kept() {
    let sandbox = Sandbox::new();
    digits(&sandbox, "digits", 12, 45, 5);
    let line = "train --dataset mnist --data digits --batch 4 --widths 4 --epochs 2";
    fail_at_save(&sandbox, &format!("{line} --out run"), "run", "metrics.jsonl");
    let path = sandbox.path("run/state.safetensors");
    let (arrays, info): (Arrays, Value) = checkpoint::load(&path).unwrap();
    let original = sandbox.files("run");
    let resume = "train --resume --out run";
    let refused = |parts: &[&str]| {
        let before = sandbox.files("run");
        sandbox.refuses(resume, parts);
        assert_same(&before, &sandbox.files("run"));
    };
    let with = |pointer: &str, value: Value| {
        let mut info = info.clone();
        *info.pointer_mut(pointer).expect(pointer) = value;
        checkpoint::save(&path, &arrays, &info).unwrap();
    };
    let progress = "its progress is not of this run";
    for (pointer, value, problem) in [
        ("/progress/step", json!(11), progress),
        ("/progress/step", json!(u64::MAX), progress),
        ("/progress/step", json!(1), progress),
        ("/progress/step", json!(-1), "not a usable safetensors file"),
        ("/progress/epoch", json!(2), "its history does not match"),
        ("/progress/epoch", json!(u32::MAX), "its history does not match"),
        ("/progress/tally", json!([]), progress),
        ("/progress/tally/0", json!(f64::NAN.to_bits()), progress),
        ("/epochs", json!({}), "not a usable safetensors file"),
        ("/model/format", json!(99), "not of this version of sff"),
        (
            "/model/config/seed",
            json!(5),
            "another run than config.toml describes (different: seed)",
        ),
        ("/model/classes", json!(["a", "b"]), "the images are not those"),
    ] {
        with(pointer, value);
        refused(&["state.safetensors: ", problem]);
    }
    let mut other = arrays.clone();
    let weight = other.remove("conv1.weight").unwrap();
    checkpoint::save(&path, &other, &info).unwrap();
    refused(&["state.safetensors", "conv1.weight is missing"]);
    other.insert("conv9.weight".into(), weight);
    checkpoint::save(&path, &other, &info).unwrap();
    refused(&["conv1.weight is missing", "conv9.weight is not part of it"]);
    let bytes = &original["state.safetensors"];
    for bad in [&[][..], b"garbage", &bytes[..bytes.len() - 1], &bytes[..100], &[0xff; 64]] {
        fs::write(&path, bad).unwrap();
        refused(&["state.safetensors: not a usable safetensors file"]);
    }
    // Other images in the same folder.
    fs::write(&path, bytes).unwrap();
    digits(&sandbox, "digits", 12, 44, 5);
    refused(&["run was started with other images", "45 images, not 44, to train on"]);
    digits(&sandbox, "digits", 12, 45, 5);
    sandbox.ok(resume);
    sandbox.ok(&format!("{line} --out whole"));
    assert_same(&sandbox.results("whole"), &sandbox.results("run"));
}

#[test]
fn a_run_that_diverges_keeps_its_last_finite_checkpoint() {
    let sandbox = Sandbox::new();
    // Weight decay multiplies the weights by -8 in each step: they overflow in the third epoch.
    let line = "train --dataset shapes --train-limit 64 --batch 8 --widths 4 --epochs 5 \
                --lr 1 --schedule const --weight-decay 9 --out run";
    let message = sandbox.run(line).last_error_of(4);
    for part in
        ["block1", " at step ", "(epoch 3)", "--lr", "run keeps the checkpoint after epoch 2"]
    {
        assert!(message.contains(part), "{message}\nexpected: {part}");
    }
    let kept = sandbox.files("run");
    let metrics = String::from_utf8(kept["metrics.jsonl"].clone()).unwrap();
    assert_eq!(metrics.lines().count(), 2);
    // Evaluation works, so the model is finite: loading refuses NaN and infinity.
    sandbox.ok("eval --run run");
    // A resumed run stops at the same step.
    assert_eq!(sandbox.run("train --resume --out run").last_error_of(4), message);
    assert_same(&kept, &sandbox.files("run"));
    assert_eq!(kept.len(), RUN_FILES.len());

    // Without a checkpoint, only the configuration is left.
    let line = "train --dataset shapes --train-limit 64 --widths 4 --lr 1e30";
    let message = sandbox.run(&format!("{line} --out none")).last_error_of(4);
    // NaN or infinity, depending on the device.
    let found = ["NaN", "inf"].map(|v| message.contains(&format!("{v} at step 2 (epoch 1)")));
    assert!(found.contains(&true), "{message}");
    assert!(message.contains("no checkpoint was reached"), "{message}");
    assert_eq!(sandbox.files("none").keys().collect::<Vec<_>>(), ["config.toml"]);
    let message = sandbox.run(&format!("{line} --save-steps 1 --out some")).last_error_of(4);
    assert!(message.contains("some keeps the checkpoint of epoch 1, step 1"), "{message}");
    checkpoint::load::<Value>(&sandbox.path("some/state.safetensors")).unwrap();
    assert_eq!(sandbox.files("some").len(), 2);
    // The loss of the only step is finite, but the updated weights give NaN in the test.
    let line =
        "train --dataset shapes --train-limit 64 --batch 64 --widths 8,8 --lr 1e30 --out test";
    let message = sandbox.run(line).last_error_of(4);
    assert!(
        message.contains("the test loss of block1 became NaN at step 1 (epoch 1)"),
        "{message}"
    );
    assert_eq!(sandbox.files("test").keys().collect::<Vec<_>>(), ["config.toml"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_an_error_after_a_complete_run() {
    let sandbox = Sandbox::new();
    let line = "train --dataset shapes --train-limit 32 --widths 4 --epochs 1 --out run";
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = sandbox.command(line).stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(2));
    // Only the table is missing; the run is complete.
    assert_eq!(sandbox.files("run").len(), RUN_FILES.len());
}
