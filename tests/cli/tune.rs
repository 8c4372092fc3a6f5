//! Kernels that are chosen by the clock.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Ran, Sandbox, swiftshader};

const SMALL: &str =
    "train --dataset shapes --train-limit 64 --batch 8 --widths 4,4,8,8 --epochs 2 --quiet";

/// Runs a command that keeps what it finds out in the sandbox.
fn run(sandbox: &Sandbox, line: &str) -> Ran {
    let mut command = sandbox.command(line);
    // Where programs keep such things on Linux, macOS and Windows.
    for variable in ["XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"] {
        command.env(variable, sandbox.path("cache"));
    }
    Ran::of(&mut command)
}

/// The files that are remembered.
fn remembered(sandbox: &Sandbox) -> Vec<PathBuf> {
    let folder = fs::read_dir(sandbox.path("cache/sff")).into_iter().flatten();
    folder.map(|entry| entry.unwrap().path()).collect()
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "cache folders lie elsewhere")]
fn choices_are_remembered_and_give_the_same_bits_again() {
    if swiftshader("has one set of tiles: there is nothing to choose") {
        return;
    }
    let sandbox = Sandbox::new();
    run(&sandbox, &format!("{SMALL} --out none")).ok();
    assert!(remembered(&sandbox).is_empty(), "nothing is timed unless asked for");

    run(&sandbox, &format!("{SMALL} --out first --tune full")).ok();
    let [file] = &remembered(&sandbox)[..] else { panic!("one file for the device") };
    let text = fs::read_to_string(file).unwrap();
    let choices = serde_json::from_str::<Value>(&text).unwrap()["choices"].clone();
    let names = choices.as_object().unwrap();
    for op in ["conv2d", "conv2d_dgrad", "conv2d_wgrad", "goodness", "goodness_grad"] {
        assert!(names.keys().any(|key| key.starts_with(&format!("{op} "))), "{op} in {text}");
    }

    let metrics = |run: &str| fs::read_to_string(sandbox.path(run).join("metrics.jsonl")).unwrap();
    run(&sandbox, &format!("{SMALL} --out second")).ok();
    assert_eq!(metrics("first"), metrics("second"));
    run(&sandbox, &format!("{SMALL} --out third --tune full")).ok();
    assert_eq!(metrics("first"), metrics("third"));
    assert_eq!(fs::read_to_string(file).unwrap(), text, "nothing was left to be timed");

    // A run goes on as it began, whatever is remembered by then.
    let short = format!("{SMALL} --out fourth --drill lost@11 --save-steps 5");
    assert_eq!(run(&sandbox, &short).code, Some(3));
    fs::write(file, r#"{"device": "", "driver": "", "choices": {}}"#).unwrap();
    run(&sandbox, "train --out fourth --resume --quiet").ok();
    assert_eq!(metrics("first"), metrics("fourth"));

    // What is remembered may be damaged, or of names that nobody knows.
    let odd: String = text.lines().map(|l| l.replace("8x16", "9x17") + "\n").collect();
    for content in ["", "[1, 2]", &odd] {
        fs::write(file, content).unwrap();
        fs::remove_dir_all(sandbox.path("fifth")).unwrap_or_default();
        run(&sandbox, &format!("{SMALL} --out fifth")).ok();
    }
}

#[test]
fn a_profile_can_be_of_what_suits_devices_of_a_kind() {
    let line = "profile --widths 4,4 --image 8 --batch 2 --classes 3 --steps 1 --json --tune";
    let sandbox = Sandbox::new();
    let device = |tune: &str| run(&sandbox, &format!("{line} {tune}")).ok();
    for tune in ["off", "cached", "full"] {
        let profile: Value = serde_json::from_str(&device(tune)).unwrap();
        assert!(profile["device_ms"].as_f64().unwrap() > 0.0, "{tune}");
    }
    let wrong = run(&sandbox, &format!("{line} fast"));
    assert_eq!(wrong.code, Some(2));
}
