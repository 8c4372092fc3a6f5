//! Tests of bad input: it ends with exit code 2 and one helpful line, and changes no files.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sff::internals::train::checkpoint::{self, Array, Arrays};

use crate::cli::support::{Ran, Sandbox, assert_same, digits, idx};

/// A run of a second or less.
const TINY: &str = "train --dataset shapes --train-limit 40 --widths 4,4 --epochs 1";

#[test]
fn errors_of_the_command_line_point_to_help() {
    let sandbox = Sandbox::new();
    for (line, parts) in [
        ("", &["requires a subcommand", "train", "predict"][..]),
        ("data", &["requires a subcommand", "export"]),
        ("trian", &["unrecognized subcommand 'trian'", "'train'"]),
        ("train --epoch 3", &["unexpected argument '--epoch'", "'--epochs'"]),
        ("train --method fb", &["invalid value 'fb' for '--method", "sff, bp"]),
        ("train --partition half", &["layer, block, whole"]),
        ("train --widths 4,x", &["invalid value 'x' for '--widths"]),
        ("train --seed -1", &["'-1'"]),
        ("train --crop 128", &["--crop", "128"]),
        ("train --jitter strong", &["--jitter", "strong"]),
        ("train --cutout -1", &["'-1'"]),
        ("train --mixup", &["--mixup <ALPHA>"]),
        ("data sheet --count 101 --out a.png", &["101"]),
        ("train --lr fast", &["--lr", "fast"]),
        ("eval", &["--run <FOLDER>"]),
        ("predict --run x", &["<PICTURE>"]),
        ("train --device", &["--device"]),
        ("eval --run x --batch -1", &["-1"]),
    ] {
        sandbox.refuses(line, parts);
        sandbox.refuses(line, &["(see --help)"]);
    }
    assert_eq!(sandbox.files("").len(), 0);
}

#[test]
fn invalid_values_of_options_are_refused() {
    let sandbox = Sandbox::new();
    for (options, parts) in [
        ("--dataset fashion_mnist", &["`fashion_mnist`", "did you mean `fashion-mnist`?"][..]),
        ("--dataset ../shapes", &["there is no data set", "shapes32"]),
        ("--arch vgg", &["no architecture `vgg`; there are: cnn, "]),
        ("--arch resnet", &["did you mean `resnet18`?"]),
        ("--cuts blok2", &["no block `blok2` (did you mean `block1`?); there are: block1"]),
        ("--freeze-until conv2", &["no block `conv2`; there are: block1"]),
        ("--batch 41", &["a batch of 41 is larger than the 40 training images", "--batch"]),
        ("--batch 0", &["--batch", "at least 1"]),
        ("--epochs 0", &["--epochs", "at least 1"]),
        ("--save-steps 0", &["--save-steps must be at least 1"]),
        ("--train-limit 0", &["no images to train on"]),
        ("--test-limit 0", &["no images to test with"]),
        ("--test-every 0", &["--test-every must be at least 1"]),
        ("--lr 0", &["--lr must be a positive number, not 0"]),
        ("--lr -0.5", &["--lr must be a positive number, not -0.5"]),
        ("--lr NaN", &["--lr must be a positive number, not NaN"]),
        ("--lr 1e39", &["--lr must be a positive number, not inf"]),
        ("--weight-decay -1", &["--weight-decay must be 0 or more, not -1"]),
        ("--aux-kernel 4", &["--aux-kernel must be odd", "not 4"]),
        ("--aux-kernel 33", &["--aux-kernel must be odd, at most 31"]),
        ("--aux-kernel 1 --aux-separable", &["--aux-separable needs an --aux-kernel of 3"]),
        ("--aux-scale 0", &["--aux-scale must be above 0, not 0"]),
        ("--aux-scale -2", &["--aux-scale must be above 0, not -2"]),
        ("--aux-scale much", &["--aux-scale", "expected a number or `learnable`"]),
        ("--widths 4,0", &["--widths"]),
        ("--widths 65537", &["--widths", "65536"]),
        ("--method bp --partition layer", &["--method bp", "--partition"]),
        ("--random-resized-crop 1.5", &["--random-resized-crop takes a share", "not 1.5"]),
        ("--random-resized-crop --crop 2", &["--crop and --random-resized-crop exclude"]),
        ("--jitter 2", &["--jitter must be 0 to 1, not 2"]),
        ("--jitter NaN", &["--jitter must be 0 to 1, not NaN"]),
        ("--mixup 1000", &["--mixup must be 0 to 100, not 1000"]),
        ("--cutout 29", &["--cutout 29 is larger than the network's 28×28 input"]),
        ("--image-size 20 --cutout 21", &["larger than the network's 20×20 input"]),
        ("--image-size 0", &["--image-size must be 1 to 4096 pixels, not 0"]),
        ("--device nosuchgpu", &["no device matches `nosuchgpu`; there are: 0 ("]),
        ("--dataset mnist --data nowhere", &["--data nowhere: no such folder"]),
        (
            "--dataset cifar10",
            &["cifar10: no data_batch_1.bin", "in datasets,", "cifar-10-binary.tar.gz", "shapes"],
        ),
    ] {
        // The option under test replaces the one of TINY: repeated options are another error.
        let option = options.split(' ').next().unwrap();
        let tiny: Vec<&str> = TINY.split(' ').collect();
        let at = tiny.iter().position(|word| *word == option);
        let base = match at {
            Some(at) => [&tiny[..at], &tiny[at + 2..]].concat(),
            None => tiny,
        };
        sandbox.refuses(&format!("{} {options} --out run", base.join(" ")), parts);
    }
    assert_eq!(sandbox.files("").len(), 0, "no files are left");
    sandbox.refuses("devices --device nosuchgpu", &["no device matches"]);
    sandbox.refuses("data export --dataset shape --out p", &["did you mean `shapes`?"]);
}

#[test]
fn invalid_recipes_are_refused_with_their_line() {
    let sandbox = Sandbox::new();
    for (recipe, parts) in [
        ("epochs = 2\nlearning-rate = 3\n", &["line 2", "learning-rate"][..]),
        ("epoch = 2", &["line 1: unknown field `epoch` (did you mean `epochs`?)"]),
        ("method = 'sfff'", &["line 1: unknown variant `sfff` (did you mean `sff`?)"]),
        ("epochs = -1", &["line 1"]),
        ("lr = nan\ndataset = 'shapes'", &["--lr must be a positive number"]),
        ("crop = 200", &["--crop must be at most 127"]),
        ("crop = 1\nrandom-resized-crop = 0.5", &["exclude each other"]),
        ("jitter = true", &["line 1"]),
        ("epochs = [[[", &["line 1"]),
        ("seed = 18446744073709551616", &["line 1"]),
        ("\u{0}", &["line 1"]),
    ] {
        sandbox.put("r.toml", recipe);
        sandbox.refuses("train --recipe r.toml --out run", parts);
    }
    sandbox.put("r.toml", b"\xff");
    sandbox
        .refuses("train --recipe r.toml --out run", &["r.toml: at byte 0: this is no UTF-8 text"]);
    sandbox.refuses("train --recipe none.toml --out run", &["cannot read none.toml"]);
    assert!(!sandbox.path("run").exists());
}

#[test]
fn a_machine_without_a_gpu_is_an_error_with_advice() {
    let sandbox = Sandbox::new();
    for line in ["devices", "devices --json", &format!("{TINY} --out run")] {
        let mut command = sandbox.command(line);
        command.env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent");
        if cfg!(target_os = "linux") {
            let message = Ran::of(&mut command).error();
            assert!(message.contains("no GPU found: install a driver"), "{message}");
        }
    }
    assert!(!sandbox.path("run").exists());
}

#[test]
fn networks_too_large_for_the_device_are_refused_quickly() {
    let sandbox = Sandbox::new();
    let started = Instant::now();
    for options in [
        "--widths 65536,65536,65536 --aux-kernel 31",
        "--widths 65536,65536,65536,65536 --method bp",
        "--widths 65536 --batch 6000",
    ] {
        let line = format!("train --dataset shapes --epochs 1 {options} --out run");
        sandbox.refuses(&line, &["MiB but the device allows", "; use "]);
    }
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(!sandbox.path("run").exists());
    // The batch of an evaluation is limited to the size of the data set.
    sandbox.ok(&format!("{TINY} --out run"));
    let report = sandbox.json(&format!("eval --run run --json --batch {}", usize::MAX));
    assert_eq!(report["images"], 1000);
    sandbox.refuses("eval --run run --batch 0", &["--batch must be at least 1"]);
}

#[test]
fn damaged_data_files_are_refused_with_the_position() {
    let sandbox = Sandbox::new();
    let line = "train --dataset mnist --data d --batch 4 --widths 4,4 --epochs 1 --out run";
    let images = "d/train-images-idx3-ubyte";
    let labels = "d/train-labels-idx1-ubyte";
    let good = idx(&[8, 12, 12], &[7; 8 * 144]);
    let gz_head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let cases: [(&str, Vec<u8>, &[&str]); 11] = [
        (images, vec![], &["at byte 0", "header of 16 bytes"]),
        (images, good[..9].to_vec(), &["at byte 9", "header of 16 bytes"]),
        (images, good[..500].to_vec(), &["truncated", "8 x 12 x 12"]),
        (images, [&good[..], &[0]].concat(), &["at byte 1168", "more bytes follow"]),
        (images, idx(&[1 << 31, 1 << 31, 1 << 31], &[1]), &["truncated"]),
        (images, idx(&[0, 12, 12], &[]), &["nothing"]),
        (images, b"<html>not found</html>".to_vec(), &["magic number 0x3c68746d"]),
        (labels, idx(&[8], &[0, 1, 2, 3, 10, 5, 6, 7]), &["at byte 12: label 10"]),
        (labels, idx(&[7], &[0; 7]), &["7 labels, but 8 images"]),
        ("d/t10k-images-idx3-ubyte", idx(&[4, 9, 9], &[1; 4 * 81]), &["9 x 9", "12 x 12"]),
        (images, vec![], &["at byte 0"]),
    ];
    for (name, content, parts) in cases {
        digits(&sandbox, "d", 12, 8, 4);
        sandbox.put(name, content);
        sandbox.refuses(line, &[name]);
        sandbox.refuses(line, parts);
    }
    for content in [&b"plain"[..], &gz_head, &[&gz_head[..], &[0xff; 50]].concat()] {
        digits(&sandbox, "d", 12, 8, 4);
        fs::remove_file(sandbox.path(images)).unwrap();
        sandbox.put(&format!("{images}.gz"), content);
        sandbox.refuses(line, &["train-images-idx3-ubyte.gz: corrupt gzip after 0"]);
        fs::remove_file(sandbox.path(&format!("{images}.gz"))).unwrap();
    }
    fs::remove_file(sandbox.path(labels)).unwrap();
    sandbox.refuses(line, &["mnist: d has no ", "--to d`"]);
    // Images of 3 x 3, too small for two pools of 2 x 2.
    digits(&sandbox, "d", 3, 8, 4);
    sandbox.refuses(line, &["1×1"]);

    let record = |label: u8| [&[label][..], &[9; 3072]].concat();
    let line = line.replace("mnist", "cifar10").replace("--data d", "--data c");
    let batches: Vec<String> = (1..=5).map(|i| format!("c/data_batch_{i}.bin")).collect();
    for (content, part) in [
        (record(3)[..3000].to_vec(), "at byte 0: the last 3000 bytes"),
        (record(10), "at byte 0: label 10, expected 0 to 9"),
    ] {
        batches.iter().for_each(|name| drop(sandbox.put(name, record(1))));
        sandbox.put("c/test_batch.bin", record(2));
        sandbox.put(&batches[3], content);
        sandbox.refuses(&line, &["data_batch_4.bin", part]);
    }
    assert!(!sandbox.path("run").exists());
}

#[test]
fn unreadable_pictures_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{TINY} --out run"));
    sandbox.ok("data export --dataset shapes --count 1 --out p");
    let good = fs::read(sandbox.path("p/00000-disc.png")).unwrap();
    sandbox.put("text.png", "this is no picture");
    sandbox.put("empty.jpg", "");
    sandbox.put("half.png", &good[..good.len() / 2]);
    fs::create_dir(sandbox.path("folder")).unwrap();
    for (name, problem) in [
        ("text.png", "text.png: not a readable picture"),
        ("empty.jpg", "empty.jpg: not a readable picture"),
        ("half.png", "half.png: not a readable picture"),
        ("none.png", "cannot read none.png"),
        ("folder", "cannot read folder"),
    ] {
        sandbox.refuses(&format!("predict --run run {name}"), &[problem]);
    }
    sandbox.put("file", "");
    sandbox.refuses("data export --dataset shapes --out file/p", &["cannot create file/p"]);
}

#[test]
fn damaged_and_mismatched_models_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{TINY} --out run"));
    sandbox.ok("data export --dataset shapes --count 1 --out p");
    let path = sandbox.path("run/model.safetensors");
    let original = sandbox.files("run");
    let (arrays, info): (Arrays, Value) = checkpoint::load(&path).unwrap();
    let (eval, predict) = ("eval --run run", "predict --run run p/00000-disc.png");
    let both = |parts: &[&str]| {
        sandbox.refuses(eval, parts);
        sandbox.refuses(predict, parts);
    };
    let bytes = &original["model.safetensors"];
    for bad in [&[][..], b"garbage", &bytes[..bytes.len() - 1], &bytes[..100], &[0xff; 64]] {
        fs::write(&path, bad).unwrap();
        both(&["model.safetensors: not a usable safetensors file"]);
    }
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let text = std::str::from_utf8(&bytes[8..8 + header]).unwrap();
    let other = text.replace("__metadata__\":{\"sff\"", "__metadata__\":{\"abc\"");
    assert_ne!(text, other);
    fs::write(&path, [&bytes[..8], other.as_bytes(), &bytes[8 + header..]].concat()).unwrap();
    both(&["it was not written by sff"]);
    // Invalid metadata.
    for (pointer, value, parts) in [
        ("/format", json!(2), &["format 2"][..]),
        ("/image", json!([0, 28, 1]), &["0×28×1 images"]),
        ("/image", json!([28, 28, 2]), &["28×28×2 images"]),
        ("/image", json!("28"), &["not a usable safetensors file"]),
        ("/classes", json!(["one"]), &["1 classes"]),
        ("/config/dropout", json!(1), &["dropout"]),
    ] {
        let mut info = info.clone();
        match info.pointer_mut(pointer) {
            Some(entry) => *entry = value,
            None => drop(info["config"].as_object_mut().unwrap().insert("dropout".into(), value)),
        }
        checkpoint::save(&path, &arrays, &info).unwrap();
        both(&["model.safetensors: "]);
        both(parts);
    }
    let predict_refuses = |pointer: &str, value: Value, parts: &[&str]| {
        let mut info = info.clone();
        *info.pointer_mut(pointer).unwrap() = value;
        checkpoint::save(&path, &arrays, &info).unwrap();
        sandbox.refuses(predict, parts);
    };
    let shape = "conv2.weight has shape [4, 4, 3, 3], expected [5, 4, 3, 3]";
    predict_refuses("/config/widths", json!([4, 5]), &["another architecture", shape]);
    predict_refuses("/config/widths", json!([]), &["--widths"]);
    predict_refuses("/config/widths", json!([65536, 65536]), &["the device allows"]);
    predict_refuses("/config/arch", json!("vgg"), &["no architecture `vgg`"]);
    predict_refuses("/config/method", json!("bp"), &["--method bp"]);
    predict_refuses("/normalization/std", json!([0.0]), &["normalisation"]);
    predict_refuses("/normalization/mean", json!([0.1, 0.2]), &["normalisation"]);
    predict_refuses("/image", json!([1, 1, 1]), &["1×1"]);
    let damage = |name: &str, change: fn(&mut Array)| {
        let mut arrays = arrays.clone();
        change(arrays.get_mut(name).unwrap());
        checkpoint::save(&path, &arrays, &info).unwrap();
    };
    damage("bn1.running_var", |a| a.values[2] = f32::NAN);
    both(&["bn1.running_var holds NaN at position 2"]);
    damage("conv1.weight", |a| a.shape = vec![36]);
    both(&["conv1.weight has shape [36], expected [4, 1, 3, 3]"]);
    let mut more = arrays.clone();
    more.insert("fc.bias".into(), Array { shape: vec![1], values: vec![0.0] });
    checkpoint::save(&path, &more, &info).unwrap();
    both(&["fc.bias is not part of it"]);

    // A valid model of another run, which would be evaluated under the wrong configuration.
    sandbox.ok(&format!("{TINY} --method bp --out bp"));
    fs::copy(sandbox.path("bp/model.safetensors"), &path).unwrap();
    let parts = ["another run than config.toml describes (different: method, partition, lr)"];
    sandbox.refuses(eval, &parts);
    fs::copy(sandbox.path("bp/state.safetensors"), sandbox.path("run/state.safetensors")).unwrap();
    sandbox.refuses("train --resume --out run", &parts);
    fs::remove_file(&path).unwrap();
    both(&["cannot read run/model.safetensors"]);
    // Resuming restores the model from the state.
    sandbox.put("run/state.safetensors", &original["state.safetensors"]);
    sandbox.ok("train --resume --out run");
    assert_same(&original, &sandbox.files("run"));

    let config = String::from_utf8(original["config.toml"].clone()).unwrap();
    sandbox.put("run/config.toml", config.replace("4, 4", "4, 8"));
    sandbox.refuses(eval, &["another run", "widths"]);
    sandbox.put("run/config.toml", config.replace("[4", "4"));
    sandbox.refuses(eval, &["config.toml: line 3"]);
    sandbox.refuses("train --resume --out run", &["config.toml: line 3"]);
    sandbox.refuses("eval --run nowhere", &["there is no run in nowhere"]);
}

#[test]
fn run_folders_that_cannot_be_written_are_errors() {
    let sandbox = Sandbox::new();
    sandbox.put("file", "content");
    sandbox.refuses(&format!("{TINY} --out file"), &["cannot create file"]);
    sandbox.refuses(&format!("{TINY} --out file/run"), &["cannot create file/run"]);
    assert_eq!(sandbox.files("")["file"], b"content");
    if cfg!(target_os = "linux") {
        sandbox.refuses(&format!("{TINY} --out /proc/run"), &["cannot create /proc/run"]);
        // A folder in which no file can be created.
        sandbox.refuses(&format!("{TINY} --out /proc/self"), &["/proc/self/config.toml"]);
    }
    // If the state cannot be written, training stops and names the last checkpoint.
    fs::create_dir_all(sandbox.path("run/state.safetensors.partial")).unwrap();
    let message = sandbox.run(&format!("{TINY} --out run")).last_error();
    assert!(message.contains("cannot write run/state.safetensors"), "{message}");
    assert!(message.contains("no checkpoint was reached"), "{message}");
}

#[cfg(unix)]
#[test]
fn paths_that_are_not_utf_8_work_except_as_data() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new();
    let name = OsStr::from_bytes(b"odd-\xff");
    digits(&sandbox, "d", 12, 8, 4);
    fs::rename(sandbox.path("d"), sandbox.path("").join(name)).unwrap();
    let line = "train --dataset mnist --batch 4 --widths 4 --epochs 1";
    // TOML cannot store the folder's name: refused before training.
    let mut command = sandbox.command(&format!("{line} --out run"));
    let message = Ran::of(command.arg("--data").arg(name)).error();
    assert!(message.contains("UTF-8"), "{message}");
    assert!(!sandbox.path("run").exists());
    // Run folders and pictures may have any name.
    Ran::of(sandbox.command(TINY).arg("--out").arg(name)).ok();
    sandbox.ok("data export --dataset shapes --count 1 --out p");
    fs::rename(sandbox.path("p/00000-disc.png"), sandbox.path("p").join(name)).unwrap();
    let mut command = sandbox.command("predict --json --run");
    let picture = sandbox.path("p").join(name);
    let out = Ran::of(command.arg(name).arg(picture)).ok();
    let predictions: Value = serde_json::from_str(&out).unwrap();
    assert!(predictions[0]["file"].as_str().unwrap().ends_with("p/odd-\u{fffd}"));
}
