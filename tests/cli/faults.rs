//! Faults during a run: one line names the cause and how to resume, and the resumed run gives the
//! results of a run without the fault.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use sff::internals::base::random::{Rng, Stream};
use sff::internals::train::checkpoint;

use crate::cli::interrupted::{kill_when, wait_until};
use crate::cli::support::{SMALL, Sandbox, assert_same};
use crate::common::skipped;

/// Runs a command that must fail with this exit code and a line that contains all `parts`.
fn fails(sandbox: &Sandbox, line: &str, code: i32, parts: &[&str]) -> String {
    let message = sandbox.run(line).last_error_of(code);
    for part in parts {
        assert!(message.contains(part), "{line}\n{message}\nexpected: {part}");
    }
    message
}

/// The checkpoint's finished epochs, and its steps of the next one.
fn progress(sandbox: &Sandbox, folder: &str) -> (u64, u64) {
    let path = sandbox.path(folder).join("state.safetensors");
    let (_, info) = checkpoint::load::<Value>(&path).unwrap();
    let progress = &info["progress"];
    (progress["epoch"].as_u64().unwrap(), progress["step"].as_u64().unwrap())
}

#[test]
fn after_a_device_fault_a_run_is_resumed_from_its_last_checkpoint() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{SMALL} --out whole"));
    let whole = sandbox.results("whole");
    for (fault, parts) in [
        ("lost", ["the device was lost", "once `sff devices` shows it again"]),
        ("stall", ["the device did not finish its work within 0 s", "its driver hangs"]),
        ("memory", ["the device has no memory left for staging buffers", "smaller --batch"]),
    ] {
        let line = format!("{SMALL} --save-steps 5 --inject-fault {fault}@8 --out {fault}");
        let message = fails(&sandbox, &line, 3, &parts);
        let kept = format!("{fault} keeps the checkpoint of epoch 1, step 5; ");
        assert!(message.contains(&kept) && message.contains("--resume"), "{message}");
        assert_eq!(progress(&sandbox, fault), (0, 5));
        sandbox.ok(&format!("train --resume --out {fault}"));
        assert_same(&whole, &sandbox.results(fault));
    }
    // Before the first checkpoint, and before the run folder exists.
    let line = format!("{SMALL} --inject-fault lost@1 --out early");
    fails(&sandbox, &line, 3, &["the device was lost", "no checkpoint was reached; ", "--resume"]);
    sandbox.ok("train --resume --out early");
    assert_same(&whole, &sandbox.results("early"));
    let line = format!("{SMALL} --inject-fault memory@0 --out never");
    fails(&sandbox, &line, 3, &["no memory left", "no checkpoint was reached; close other"]);
    assert!(!sandbox.path("never").exists());
}

#[test]
fn with_on_oom_shrink_a_run_continues_within_less_memory() {
    let sandbox = Sandbox::new();
    let line = format!("{SMALL} --save-steps 5 --on-oom shrink");
    let shrunk = |folder: &str| {
        let path = sandbox.path(folder).join("state.safetensors");
        checkpoint::load::<Value>(&path).unwrap().1["shrunk"].as_u64().unwrap()
    };
    let ran = sandbox.run(&format!("{line} --inject-fault memory@8 --out late"));
    for part in ["the device has no memory left for staging buffers", "resumed after step 5 of 24"]
    {
        assert!(ran.err.contains(part), "{}", ran.err);
    }
    let within = |err: &str| err.lines().find(|l| l.starts_with("within ")).unwrap().to_owned();
    assert!(within(&ran.err).contains(" of device memory: "), "{}", ran.err);
    ran.ok();
    assert_eq!(progress(&sandbox, "late"), (2, 0));
    sandbox.ok("eval --run late");

    // Out of memory at the start. A resumed run keeps the smaller budget.
    let line = format!("{line} --inject-fault memory@0");
    sandbox.ok(&format!("{line} --out whole"));
    let obstacle = sandbox.path("part/model.safetensors.partial");
    fs::create_dir_all(&obstacle).unwrap();
    sandbox.run(&format!("{line} --out part")).last_error_of(2);
    fs::remove_dir(obstacle).unwrap();
    assert_eq!(shrunk("part"), shrunk("whole"));
    let ran = sandbox.run("train --resume --out part");
    assert!(within(&ran.err).contains(&shrunk("whole").to_string()), "{}", ran.err);
    ran.ok();
    assert_same(&sandbox.results("whole"), &sandbox.results("part"));
    // The configuration keeps the requested options.
    let config = String::from_utf8(sandbox.files("part")["config.toml"].clone()).unwrap();
    assert!(!config.contains("memory"), "{config}");
}

/// A long run of 4 steps per epoch, with a checkpoint after every step.
const LONG: &str = "train --dataset shapes --train-limit 64 --test-limit 16 --batch 16 --widths 4 \
                    --epochs 1000 --save-steps 1";

/// Sends signals, given by name, to a process.
#[cfg(unix)]
fn signal(process: &std::process::Child, signals: &[&str]) {
    for name in signals {
        let id = process.id().to_string();
        let sent = std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success());
    }
}

#[cfg(unix)]
#[test]
fn the_first_signal_ends_a_run_after_its_step_and_the_second_at_once() {
    let sandbox = Sandbox::new();
    let start = |line: &str, folder: &str| {
        let mut command = sandbox.command(&format!("{line} --out {folder}"));
        let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let state = sandbox.path(folder).join("state.safetensors");
        assert!(wait_until(Duration::from_secs(120), || state.exists()), "{line}");
        run
    };
    let ended = |run: std::process::Child| {
        let output = run.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let run = start(LONG, name);
        // The folder is locked while the run uses it.
        let other = sandbox.run(&format!("train --resume --out {name}"));
        assert!(other.error().contains(&format!("{name} is in use by another process")));
        signal(&run, &[name]);
        let (status, err) = ended(run);
        let (epoch, step) = progress(&sandbox, name);
        let at = match step {
            0 => format!("after epoch {epoch}"),
            step => format!("of epoch {}, step {step}", epoch + 1),
        };
        let line = format!(
            "error: interrupted by SIG{name}; {name} keeps the checkpoint {at}; go on with --resume"
        );
        assert_eq!((status, err.lines().last().unwrap()), (Some(code), &*line));
        assert_as_uninterrupted(&sandbox, name);
    }
    // Two signals are delivered at once to a stopped process, which ends without a message.
    let run = start(LONG, "twice");
    signal(&run, &["STOP", "INT", "TERM", "CONT"]);
    let (status, err) = ended(run);
    assert!(matches!(status, Some(130 | 143)) && !err.contains("error: "), "{err}");
    assert_as_uninterrupted(&sandbox, "twice");

    // Interrupted during a test. The epoch before it is not trained again.
    let line = SMALL.replace("--epochs 2", "--epochs 1");
    sandbox.ok(&format!("{line} --out whole"));
    let run = start(&format!("{line} --save-steps 11"), "test");
    signal(&run, &["INT"]);
    ended(run);
    sandbox.ok("train --resume --out test");
    assert_same(&sandbox.results("whole"), &sandbox.results("test"));
}

/// Asserts that the checkpoint of a [`LONG`] run equals that of an uninterrupted one.
fn assert_as_uninterrupted(sandbox: &Sandbox, folder: &str) {
    let (epoch, step) = progress(sandbox, folder);
    let next = 4 * epoch + step + 1;
    let whole = format!("{folder}-whole");
    sandbox.run(&format!("{LONG} --inject-fault lost@{next} --out {whole}")).last_error_of(3);
    let state = |folder: &str| {
        let path = sandbox.path(folder).join("state.safetensors");
        let (arrays, mut info) = checkpoint::load::<Value>(&path).unwrap();
        // The last epoch's test may have been interrupted.
        if let Some(last) = info["epochs"].as_array_mut().unwrap().last_mut() {
            last["test"].take();
        }
        (arrays, info)
    };
    assert!(state(folder) == state(&whole), "{folder}: epoch {epoch}, step {step}");
}

#[test]
fn kills_at_random_times_leave_a_valid_checkpoint() {
    let sandbox = Sandbox::new();
    let line = format!("{LONG} --resume --out run");
    let folder = sandbox.path("run");
    let (state, partial) =
        (folder.join("state.safetensors"), folder.join("state.safetensors.partial"));
    let written = || fs::metadata(&state).and_then(|m| m.modified()).ok();
    let mut rng = Rng::new(3, Stream::Shuffle, 0, 0);
    let (mut reached, mut saving) = ((0, 0), 0);
    for kill in 0..25 {
        let before = written();
        // One in five after a random time, the others a random time after a save, half of them
        // during the next save.
        let wait = Duration::from_micros(rng.below(60_000));
        let mut saved: Option<std::time::Instant> = None;
        let started = std::time::Instant::now();
        let now = || match saved {
            _ if kill % 5 == 0 => started.elapsed() >= wait * 10,
            None => {
                if written() != before {
                    saved = Some(std::time::Instant::now());
                }
                false
            }
            Some(since) if kill % 2 == 0 => since.elapsed() >= wait,
            Some(since) => since.elapsed() >= wait && partial.exists(),
        };
        assert!(kill_when(&sandbox, &line, now), "the run ended before it was killed");
        saving += usize::from(partial.exists());
        if before.is_some() || state.exists() {
            let current = progress(&sandbox, "run");
            assert!(current >= reached, "{current:?} after {reached:?}");
            reached = current;
        }
    }
    assert!(saving > 0, "no kill was during a save");
    assert!(reached > (0, 0));
    assert_as_uninterrupted(&sandbox, "run");
}

#[cfg(unix)]
#[test]
fn a_disk_full_during_a_save_keeps_the_last_checkpoint() {
    if crate::cli::support::swiftshader("itself needs files larger than this test allows") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{SMALL} --out whole"));
    let line = format!("{SMALL} --save-steps 5 --inject-fault lost@8 --out run");
    sandbox.run(&line).last_error_of(3);
    let before = sandbox.files("run");
    // Files are limited to 1 KiB. The signal is ignored, so that a longer write is an error.
    let train = sandbox.command("train --resume --save-steps 5 --out run");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 2; exec \"$0\" \"$@\""]);
    shell.arg(train.get_program()).args(train.get_args()).current_dir(sandbox.path(""));
    let message = crate::cli::support::Ran::of(&mut shell).last_error_of(2);
    for part in [
        "cannot write run/state.safetensors: File too large",
        "run keeps the checkpoint of epoch 1, step 5; once that is fixed, go on with --resume",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let after = sandbox.files("run");
    assert!(after["state.safetensors"] == before["state.safetensors"]);
    assert!(after.keys().all(|name| !name.ends_with(".partial")));
    sandbox.ok("train --resume --out run");
    assert_same(&sandbox.results("whole"), &sandbox.results("run"));
}

#[cfg(unix)]
#[test]
fn a_folder_without_write_permission_is_an_error() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    let sandbox = Sandbox::new();
    let line = format!("{SMALL} --save-steps 5 --inject-fault lost@8 --out run");
    sandbox.run(&line).last_error_of(3);
    let before = sandbox.files("run");
    let permit = |name: &str, mode| {
        fs::set_permissions(sandbox.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    permit("run", 0o555);
    permit("", 0o555);
    let root = fs::metadata(sandbox.path("")).unwrap().uid() == 0;
    for (line, part) in [
        (format!("{SMALL} --out new"), "cannot create new: Permission denied"),
        ("train --resume --out run".into(), "cannot write run/metrics.jsonl: Permission denied"),
    ] {
        let mut command = sandbox.command(&line);
        if root {
            // Permissions do not apply to root.
            command.uid(65534).gid(65534);
        }
        match command.output() {
            Ok(_) => {
                let message = crate::cli::support::Ran::of(&mut command).last_error_of(2);
                assert!(message.contains(part), "{message}");
            }
            Err(e) => skipped(format!("the program cannot be run by another user ({e})")),
        }
    }
    assert_same(&before, &sandbox.files("run"));
    permit("", 0o755);
    permit("run", 0o755);
}

#[test]
fn modification_times_do_not_affect_resuming() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{SMALL} --out whole"));
    let day = Duration::from_secs(24 * 3600);
    for (folder, date) in
        [("past", SystemTime::UNIX_EPOCH + day), ("future", SystemTime::now() + 10_000 * day)]
    {
        let line = format!("{SMALL} --save-steps 5 --inject-fault lost@18 --out {folder}");
        sandbox.run(&line).last_error_of(3);
        for name in sandbox.files(folder).keys() {
            let file = fs::File::options().write(true).open(sandbox.path(folder).join(name));
            file.unwrap().set_modified(date).unwrap();
        }
        sandbox.ok(&format!("train --resume --out {folder}"));
        assert_same(&sandbox.results("whole"), &sandbox.results(folder));
    }
}

#[test]
fn debug_numerics_does_not_change_a_run_and_finds_the_op_that_overflows() {
    let sandbox = Sandbox::new();
    let line = SMALL.replace("--train-limit 96", "--train-limit 16");
    sandbox.ok(&format!("{line} --out plain"));
    let ran = sandbox.run(&format!("{line} --debug-numerics --out compared"));
    assert!(ran.err.contains("every op of every step is compared"), "{}", ran.err);
    ran.ok();
    assert_same(&sandbox.results("plain"), &sandbox.results("compared"));
    // Infinity is reported with the op that writes it first.
    let line = "train --dataset shapes --train-limit 64 --widths 4 --lr 1e30";
    let line = format!("{line} --debug-numerics --out bad");
    fails(
        &sandbox,
        &line,
        4,
        &["step 2 (epoch 1): ", " writes bn1.running ", " of block 1 ", "inf "],
    );
}
