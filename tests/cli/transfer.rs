//! Tests of `--init` and `--freeze-until`: runs from a model, and frozen blocks.

use std::fs;

use serde_json::Value;
use sff::internals::train::checkpoint::{self, Arrays};

use crate::cli::support::{Sandbox, assert_same, digits};

/// A run of one block per layer on drawn images; --widths follows.
const BASE: &str =
    "train --dataset shapes --train-limit 64 --batch 16 --partition layer --epochs 1";
/// A run with a learning rate too small to change any weight.
const STILL: &str = "train --dataset shapes --train-limit 32 --batch 16 --epochs 1 --lr 1e-30";

fn arrays(sandbox: &Sandbox, folder: &str) -> Arrays {
    let model = sandbox.path(folder).join("model.safetensors");
    let (arrays, _): (Arrays, Value) = checkpoint::load(&model).unwrap();
    arrays
}

/// Names of the tensors of `a` that differ in `b` or are missing there.
fn differing<'a>(a: &'a Arrays, b: &Arrays) -> Vec<&'a str> {
    a.iter().filter(|(name, array)| b.get(*name) != Some(*array)).map(|(n, _)| n.as_str()).collect()
}

fn is_statistic(name: &&str) -> bool {
    name.contains("running_")
}

/// Trains a model of these widths as `m.safetensors`, and returns its arrays.
fn base(sandbox: &Sandbox, widths: &str) -> Arrays {
    sandbox.ok(&format!("{BASE} --widths {widths} --out base"));
    fs::copy(sandbox.path("base/model.safetensors"), sandbox.path("m.safetensors")).unwrap();
    arrays(sandbox, "base")
}

#[test]
fn a_run_starts_from_the_weights_of_a_model() {
    let sandbox = Sandbox::new();
    let base = base(&sandbox, "4,6,8");
    digits(&sandbox, "digits", 28, 32, 20);

    // With the same classes and blocks, heads are kept; only running statistics change.
    let ran = sandbox.run(&format!("{STILL} --init m.safetensors --partition layer --out same"));
    assert!(ran.err.contains("18 tensors are taken from m.safetensors"), "{}", ran.err);
    ran.ok();
    let same = arrays(&sandbox, "same");
    assert!(differing(&same, &base).iter().all(is_statistic));
    assert_eq!(same.len(), base.len());

    // With other classes (of the same number), blocks, head or method, heads are new.
    for (name, line) in [
        ("classes", "--partition layer --dataset mnist --data digits"),
        ("blocks", "--partition block"),
        ("kernel", "--partition layer --aux-kernel 3"),
        ("method", "--method bp"),
    ] {
        let line = format!(
            "{} --init m.safetensors {line} --out {name}",
            STILL.replace(
                "--dataset shapes ",
                if name == "classes" { "" } else { "--dataset shapes " }
            )
        );
        let ran = sandbox.run(&line);
        assert!(ran.err.contains("15 tensors are taken from m.safetensors"), "{}", ran.err);
        assert!(!ran.err.contains("it does not have"), "{}", ran.err);
        ran.ok();
        let other = arrays(&sandbox, name);
        let (heads, backbone): (Vec<&str>, Vec<&str>) = differing(&other, &base)
            .into_iter()
            .partition(|n| n.starts_with("aux.") || n.starts_with("fc."));
        assert!(!heads.is_empty() && backbone.iter().all(is_statistic), "{name}: {backbone:?}");
        let all = other.keys().filter(|n| n.starts_with("aux.") || n.starts_with("fc.")).count();
        assert_eq!(heads.len(), all, "{name}: some heads are not new");
    }

    // The configuration names the file and its checksum.
    let config = fs::read_to_string(sandbox.path("same/config.toml")).unwrap();
    assert!(config.contains("[init]\npath = \"m.safetensors\"\nchecksum = \""), "{config}");
    sandbox.ok("train --recipe same/config.toml --out again");
    assert_same(&sandbox.results("same"), &sandbox.results("again"));
    // A started run no longer needs the file; a new run does.
    fs::remove_file(sandbox.path("m.safetensors")).unwrap();
    sandbox.ok("train --resume --out same");
    sandbox.ok("train --resume --out same --init m.safetensors");
    sandbox.refuses(
        "train --resume --out same --init n.safetensors",
        &["was started with another --init"],
    );
    sandbox.refuses("train --recipe same/config.toml --out new", &["cannot read m.safetensors"]);
    sandbox.copy("classes", "m");
    fs::rename(sandbox.path("m/model.safetensors"), sandbox.path("m.safetensors")).unwrap();
    sandbox.refuses(
        "train --recipe same/config.toml --out new",
        &["m.safetensors is not the file that this recipe began from", "--init"],
    );
    assert!(!sandbox.path("new").exists());
}

#[test]
fn models_that_do_not_fit_are_refused() {
    let sandbox = Sandbox::new();
    base(&sandbox, "4,6,8");
    for (options, parts) in [
        (
            "--widths 4,6,9",
            &[
                "training cannot begin from these weights",
                "conv3.weight has shape [8, 6, 3, 3], expected [9, 6, 3, 3]",
                "bn3.running_var has shape [8]",
            ][..],
        ),
        ("--arch resnet18", &["m.safetensors is a cnn, not a resnet18"]),
        ("--dataset shapes32", &["m.safetensors takes images of 1 channels, but shapes32 has 3"]),
        // Frozen layers must be there.
        (
            "--widths 4,6,8,8,8 --partition layer --freeze-until conv5",
            &["conv4.weight is missing, and would not be trained", "bn4.running_mean is missing"],
        ),
        ("--freeze-until conv7", &["there is no block `conv7`", "block1, block2"]),
        ("--freeze-until head", &["there is no block `head`"]),
        ("--freeze-until block1", &["nothing before block1"]),
        ("--init nothing.safetensors", &["cannot read nothing.safetensors"]),
    ] {
        let init = if options.contains("--init") { "" } else { "--init m.safetensors" };
        let data = if options.contains("--dataset") { "" } else { "--dataset shapes" };
        let line = format!("train --train-limit 32 --epochs 1 {data} {init} {options} --out new");
        sandbox.refuses(&line, parts);
    }
    let line = "train --dataset shapes --freeze-until block2 --out new";
    sandbox.refuses(line, &["--freeze-until block2 would keep random weights", "--init"]);
    // Layers that the model lacks are new if they are trained.
    let ran = sandbox.run(&format!("{STILL} --init m.safetensors --widths 4,6,8,8 --out more"));
    assert!(
        ran.err.contains("not in it, randomly initialised: bn4.bias")
            && ran.err.contains("conv4.weight"),
        "{}",
        ran.err
    );
    ran.ok();
    let ran = sandbox.run(&format!("{STILL} --init m.safetensors --widths 4,6 --out fewer"));
    assert!(ran.err.contains("in it, but not used: bn3.bias"), "{}", ran.err);
    ran.ok();
    assert!(!sandbox.path("new").exists());
}

/// Planned memory of a run that must succeed, MiB.
fn planned(sandbox: &Sandbox, line: &str) -> f64 {
    let ran = sandbox.run(line);
    let rest = ran.err.split("memory planned ").nth(1).unwrap_or_else(|| panic!("{}", ran.err));
    let mib = rest.split(' ').next().unwrap().parse().unwrap();
    ran.ok();
    mib
}

#[test]
fn frozen_blocks_keep_their_weights_and_save_memory() {
    let sandbox = Sandbox::new();
    // Wide enough for a difference in MiB.
    let base = base(&sandbox, "32,32,32,32");
    digits(&sandbox, "digits", 28, 64, 20);
    let tune = "train --dataset mnist --data digits --batch 32 --epochs 1 --init m.safetensors";
    for (options, until, frozen) in [
        ("--partition layer", "conv3", 2),
        ("--partition block", "block2", 2),
        ("--partition whole", "block2", 2),
        ("--method bp", "block2", 2),
        ("--method bp", "head", 4),
    ] {
        let all = planned(&sandbox, &format!("{tune} {options} --out all"));
        fs::remove_dir_all(sandbox.path("all")).unwrap();
        let some =
            planned(&sandbox, &format!("{tune} {options} --freeze-until {until} --out some"));
        assert!(some < all, "{options}: {some} {all}");
        let tuned = arrays(&sandbox, "some");
        let differing = differing(&tuned, &base);
        let number = |name: &str| -> Option<u32> {
            name.strip_prefix("conv").or(name.strip_prefix("bn"))?.get(..1)?.parse().ok()
        };
        for name in tuned.keys() {
            let is_frozen = number(name).is_some_and(|number| number <= frozen);
            assert_eq!(differing.contains(&name.as_str()), !is_frozen, "{options} {until}: {name}");
        }
        // Evaluation of the saved model gives the recorded results.
        let report = sandbox.json("eval --run some --json");
        let blocks = report["blocks"].as_array().unwrap().len();
        assert_eq!(blocks, if options == "--partition layer" { 2 } else { 1 });
        let heads = tuned.keys().filter(|name| name.starts_with("aux.")).count();
        assert_eq!(heads, if options == "--method bp" { 0 } else { blocks });
        let (_, info): (Arrays, Value) =
            checkpoint::load(&sandbox.path("some/state.safetensors")).unwrap();
        let lines = fs::read_to_string(sandbox.path("some/metrics.jsonl")).unwrap();
        let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        assert_eq!(report["accuracy"], last["test"]["accuracy"]);
        assert_eq!(info["model"]["config"]["freeze-until"], until);
        // Frozen weights have no moments.
        let (state, _): (Arrays, Value) =
            checkpoint::load(&sandbox.path("some/state.safetensors")).unwrap();
        assert!(!state.contains_key("conv1.weight.m"));
        fs::remove_dir_all(sandbox.path("some")).unwrap();
    }
}

#[test]
fn a_run_with_frozen_blocks_is_resumed_without_its_model() {
    let sandbox = Sandbox::new();
    base(&sandbox, "4,6,8");
    let tune = "train --dataset shapes --seed 3 --train-limit 64 --batch 16 --epochs 2 --partition layer --init m.safetensors --freeze-until conv2";
    sandbox.ok(&format!("{tune} --out whole"));
    // A folder in the way of the first record stops the run after an epoch.
    let obstacle = sandbox.path("cut/metrics.jsonl.partial");
    fs::create_dir_all(&obstacle).unwrap();
    let message = sandbox.run(&format!("{tune} --out cut")).last_error();
    assert!(message.contains("keeps the checkpoint after epoch 1"), "{message}");
    fs::remove_dir(obstacle).unwrap();
    fs::remove_file(sandbox.path("m.safetensors")).unwrap();
    sandbox.ok("train --resume --out cut");
    assert_same(&sandbox.results("whole"), &sandbox.results("cut"));
}

/// The normalisation cannot reveal other images here: it is the model's.
#[test]
fn resuming_a_run_from_a_model_with_other_images_is_refused() {
    let sandbox = Sandbox::new();
    base(&sandbox, "4,6,8");
    digits(&sandbox, "digits", 28, 32, 20);
    sandbox.ok(
        "train --dataset mnist --data digits --epochs 1 --batch 16 --init m.safetensors --out run",
    );
    let before = sandbox.files("run");
    digits(&sandbox, "digits", 28, 48, 20);
    let parts = ["run was started with other images", "32 images, not 48, to train on"];
    sandbox.refuses("train --resume --out run", &parts);
    assert_same(&before, &sandbox.files("run"));
}

#[test]
fn plans_with_frozen_blocks_need_less_memory() {
    let sandbox = Sandbox::new();
    let peak = |options: &str| {
        let plan =
            sandbox.json(&format!("plan --arch resnet18 --image 64 --batch 8 --json {options}"));
        plan["peak_bytes"].as_u64().unwrap()
    };
    for method in ["", "--method bp"] {
        let [all, half, most] = ["", "--freeze-until layer2.0", "--freeze-until layer4.1"]
            .map(|freeze| peak(&format!("{method} {freeze}")));
        assert!(most < half && half < all, "{method}: {most} {half} {all}");
    }
    assert!(peak("--stem imagenet") < peak("--stem cifar"));
    sandbox.refuses("plan --freeze-until layer9", &["there is no block `layer9`"]);
}
