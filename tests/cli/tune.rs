//! Tests of `--tune`: kernels chosen by timing.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::cli::support::{Ran, Sandbox, swiftshader};

const SMALL: &str =
    "train --dataset shapes --train-limit 64 --batch 8 --widths 4,4,8,8 --epochs 2 --quiet";

const PROFILE: &str =
    "profile --widths 4,4 --image 8 --batch 2 --classes 3 --steps 1 --json --tune";

/// The JSON files in a folder.
fn json_files(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

/// The cached choices of commands in the sandbox.
fn cached(sandbox: &Sandbox) -> Vec<PathBuf> {
    json_files(sandbox.path(".cache"))
}

#[test]
fn choices_are_cached_and_repeat_a_run_exactly() {
    if swiftshader("has one set of tiles, so there is nothing to choose") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.run(&format!("{SMALL} --out none")).ok();
    assert!(cached(&sandbox).is_empty(), "software devices are timed only with --tune");

    sandbox.run(&format!("{SMALL} --out first --tune full")).ok();
    let [file] = &cached(&sandbox)[..] else { panic!("expected one file for the device") };
    let text = fs::read_to_string(file).unwrap();
    let choices = serde_json::from_str::<Value>(&text).unwrap()["choices"].clone();
    let names = choices.as_object().unwrap();
    for op in ["conv2d", "conv2d_dgrad", "conv2d_wgrad", "goodness", "goodness_grad"] {
        assert!(names.keys().any(|key| key.starts_with(&format!("{op} "))), "{op} in {text}");
    }

    let metrics = |run: &str| fs::read_to_string(sandbox.path(run).join("metrics.jsonl")).unwrap();
    sandbox.run(&format!("{SMALL} --out second")).ok();
    assert_eq!(metrics("first"), metrics("second"));
    sandbox.run(&format!("{SMALL} --out third --tune full")).ok();
    assert_eq!(metrics("first"), metrics("third"));
    assert_eq!(fs::read_to_string(file).unwrap(), text, "all choices come from the cache");

    // A resumed run keeps its choices, even if the cache has changed.
    let short = format!("{SMALL} --out fourth --inject-fault lost@11 --save-steps 5");
    assert_eq!(sandbox.run(&short).code, Some(3));
    fs::write(file, r#"{"device": "", "driver": "", "choices": {}}"#).unwrap();
    sandbox.run("train --out fourth --resume --quiet").ok();
    assert_eq!(metrics("first"), metrics("fourth"));

    // A damaged cache, or one with unknown tiles, is ignored.
    let unknown: String = text.lines().map(|l| l.replace("8x16", "9x17") + "\n").collect();
    for content in ["", "[1, 2]", &unknown] {
        fs::write(file, content).unwrap();
        fs::remove_dir_all(sandbox.path("fifth")).unwrap_or_default();
        sandbox.run(&format!("{SMALL} --out fifth")).ok();
    }
}

#[test]
fn a_profile_takes_every_mode_of_tuning() {
    let sandbox = Sandbox::new();
    let profile = |tune: &str| sandbox.run(&format!("{PROFILE} {tune}")).ok();
    for tune in ["off", "auto", "full"] {
        let profile: Value = serde_json::from_str(&profile(tune)).unwrap();
        assert!(profile["device_ms"].as_f64().unwrap() > 0.0, "{tune}");
    }
    let unknown = sandbox.run(&format!("{PROFILE} fast"));
    assert_eq!(unknown.code, Some(2));
}

/// Without `SFF_CACHE_DIR`, on Linux.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "cache folders are elsewhere")]
fn choices_are_cached_in_the_users_cache_folder() {
    if swiftshader("has one set of tiles, so there is nothing to choose") {
        return;
    }
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&format!("{PROFILE} full"));
    command.env_remove("SFF_CACHE_DIR").env("XDG_CACHE_HOME", sandbox.path("cache"));
    let ran = Ran::of(&mut command);
    assert!(ran.err.starts_with("timed "), "{}", ran.err);
    ran.ok();
    assert_eq!(json_files(sandbox.path("cache/sff")).len(), 1);
}

#[test]
fn a_cache_folder_that_cannot_be_created_is_a_warning() {
    if swiftshader("has one set of tiles, so there is nothing to choose") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.put(".cache", "");
    let ran = sandbox.run(&format!("{PROFILE} full"));
    assert!(ran.err.contains("warning: tuning: cannot create "), "{}", ran.err);
    ran.ok();
}

#[test]
fn networks_that_cannot_be_trained_are_refused_alike_with_and_without_tuning() {
    let sandbox = Sandbox::new();
    let too_large = "train --dataset shapes --train-limit 64 --widths 65536,65536,65536 --aux-kernel 31 --out a";
    let empty_batch = "train --dataset shapes --batch 0 --out b";
    let messages = |tune: &str| {
        [too_large, empty_batch].map(|line| sandbox.error(&format!("{line} --tune {tune}")))
    };
    let untuned = messages("off");
    assert!(untuned[0].contains("; use ") && untuned[0].contains(" needs "), "{}", untuned[0]);
    assert!(untuned[1].contains("--batch and --epochs must be at least 1"), "{}", untuned[1]);
    sandbox.ok(&format!("{PROFILE} full"));
    assert_eq!(messages("auto"), untuned);
    assert_eq!(messages("full"), untuned);
}
