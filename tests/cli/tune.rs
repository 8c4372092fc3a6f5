//! Kernels that are chosen by the clock.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::cli::support::{Ran, Sandbox, swiftshader};

const SMALL: &str =
    "train --dataset shapes --train-limit 64 --batch 8 --widths 4,4,8,8 --epochs 2 --quiet";

const PROFILE: &str =
    "profile --widths 4,4 --image 8 --batch 2 --classes 3 --steps 1 --json --tune";

/// The files that are remembered in a folder.
fn files_in(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

/// Those that commands in the sandbox remember.
fn remembered(sandbox: &Sandbox) -> Vec<PathBuf> {
    files_in(sandbox.path(".cache"))
}

#[test]
fn choices_are_remembered_and_give_the_same_bits_again() {
    if swiftshader("has one set of tiles: there is nothing to choose") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.run(&format!("{SMALL} --out none")).ok();
    assert!(remembered(&sandbox).is_empty(), "software is not timed unless asked for");

    sandbox.run(&format!("{SMALL} --out first --tune full")).ok();
    let [file] = &remembered(&sandbox)[..] else { panic!("one file for the device") };
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
    assert_eq!(fs::read_to_string(file).unwrap(), text, "nothing was left to be timed");

    // A run goes on as it began, whatever is remembered by then.
    let short = format!("{SMALL} --out fourth --inject-fault lost@11 --save-steps 5");
    assert_eq!(sandbox.run(&short).code, Some(3));
    fs::write(file, r#"{"device": "", "driver": "", "choices": {}}"#).unwrap();
    sandbox.run("train --out fourth --resume --quiet").ok();
    assert_eq!(metrics("first"), metrics("fourth"));

    // What is remembered may be damaged, or of names that nobody knows.
    let odd: String = text.lines().map(|l| l.replace("8x16", "9x17") + "\n").collect();
    for content in ["", "[1, 2]", &odd] {
        fs::write(file, content).unwrap();
        fs::remove_dir_all(sandbox.path("fifth")).unwrap_or_default();
        sandbox.run(&format!("{SMALL} --out fifth")).ok();
    }
}

#[test]
fn a_profile_can_be_of_what_suits_devices_of_a_kind() {
    let sandbox = Sandbox::new();
    let device = |tune: &str| sandbox.run(&format!("{PROFILE} {tune}")).ok();
    for tune in ["off", "auto", "full"] {
        let profile: Value = serde_json::from_str(&device(tune)).unwrap();
        assert!(profile["device_ms"].as_f64().unwrap() > 0.0, "{tune}");
    }
    let wrong = sandbox.run(&format!("{PROFILE} fast"));
    assert_eq!(wrong.code, Some(2));
}

/// Without `SFF_CACHE_DIR` it is where programs keep such things on Linux.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "cache folders lie elsewhere")]
fn what_is_remembered_lies_in_the_users_cache_folder() {
    if swiftshader("has one set of tiles: there is nothing to choose") {
        return;
    }
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&format!("{PROFILE} full"));
    command.env_remove("SFF_CACHE_DIR").env("XDG_CACHE_HOME", sandbox.path("cache"));
    let ran = Ran::of(&mut command);
    assert!(ran.err.starts_with("timed "), "{}", ran.err);
    ran.ok();
    assert_eq!(files_in(sandbox.path("cache/sff")).len(), 1);
}

/// Nor can it be made a folder where there is a file.
#[test]
fn a_folder_that_cannot_be_written_is_a_warning() {
    if swiftshader("has one set of tiles: there is nothing to choose") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.put(".cache", "");
    let ran = sandbox.run(&format!("{PROFILE} full"));
    assert!(ran.err.contains("warning: tuning: cannot create "), "{}", ran.err);
    ran.ok();
}

/// What is remembered makes no difference to what is refused.
#[test]
fn what_cannot_be_trained_is_said_before_anything_is_timed() {
    let sandbox = Sandbox::new();
    let too_large = "train --dataset shapes --train-limit 64 --widths 65536,65536,65536 --aux-kernel 31 --out a";
    let nothing = "train --dataset shapes --batch 0 --out b";
    let messages = |tune: &str| {
        [too_large, nothing].map(|line| sandbox.error(&format!("{line} --tune {tune}")))
    };
    let usual = messages("off");
    assert!(usual[0].contains("; use ") && usual[0].contains(" needs "), "{}", usual[0]);
    assert!(usual[1].contains("--batch and --epochs must be at least 1"), "{}", usual[1]);
    sandbox.ok(&format!("{PROFILE} full"));
    assert_eq!(messages("auto"), usual);
    assert_eq!(messages("full"), usual);
}
