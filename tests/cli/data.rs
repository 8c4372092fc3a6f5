//! Tests of `sff data`, photo folders and `--classes`.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::cli::interrupted::kill_when;
use crate::cli::support::{Sandbox, assert_same, digits};
use crate::data::server::{Reply, Server};

/// Writes `count` photos of each of two classes, which differ in brightness.
pub fn photos(sandbox: &Sandbox, folder: &str, count: usize) {
    for (class, light) in [("day", 200), ("night", 40)] {
        for i in 0..count {
            let shade = |x: u32, y: u32| (light + (x * 7 + y * 3 + i as u32 * 11) % 40) as u8;
            let picture = RgbImage::from_fn(24, 20, |x, y| Rgb([shade(x, y), shade(y, x), 90]));
            let path = sandbox.path(&format!("{folder}/{class}/{i:02}.png"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            picture.save(path).unwrap();
        }
    }
}

/// A run on these photos: 2 epochs with a checkpoint every 2 steps.
pub const PHOTOS: &str = "train --dataset folder --data photos --image-size 16 --widths 4,4 --batch 8 \
                      --epochs 2 --save-steps 2";

#[test]
fn data_sets_are_listed_with_their_folders() {
    let sandbox = Sandbox::new();
    digits(&sandbox, "datasets/mnist", 12, 4, 4);
    let rows = sandbox.json("data list --json");
    let row = |name: &str| {
        let rows = rows.as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}")).clone()
    };
    assert_eq!(row("mnist")["found"], "datasets/mnist");
    assert_eq!(row("cifar100")["found"], Value::Null);
    assert_eq!(
        (&row("cifar100-coarse")["classes"], &row("svhn")["train"]),
        (&20.into(), &73_257.into())
    );
    let text = sandbox.ok("data list");
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("mnist").ends_with("12 MB  datasets/mnist"), "{text}");
    assert!(line("cifar10 ").ends_with("170 MB  not found"), "{text}");
    assert!(text.contains("MIT licence") && text.contains("non-commercial"), "{text}");
    sandbox.refuses("data list --data none", &["--data none: no such folder"]);
}

#[test]
fn errors_of_fetch_and_verify_name_the_cause() {
    let sandbox = Sandbox::new();
    for (line, parts) in [
        ("data fetch cifar", &["`cifar`", "did you mean `cifar10`?"][..]),
        ("data fetch shapes", &["shapes has no files to fetch"]),
        ("data fetch folder", &["folder has no files to fetch: your own photos"]),
        ("data fetch svhn --from ftp://x", &["--from", "not ftp://"]),
        ("data fetch svhn --timeout 0", &["--timeout"]),
        ("data fetch", &["<NAME>"]),
        ("data verify svhn", &["svhn: no train_32x32.mat", "`sff data fetch svhn`"]),
        ("data verify shapes", &["no files"]),
    ] {
        sandbox.refuses(line, parts);
    }
    assert_eq!(sandbox.files("").len(), 0);
    // A folder with other content in a file of the right name.
    for name in ["train_32x32.mat", "test_32x32.mat"] {
        sandbox.put(&format!("from/{name}"), "<html>");
    }
    let ran = sandbox.run("data fetch svhn --from from");
    assert!(ran.err.starts_with("fetching train_32x32.mat (182 MB)\n"), "{}", ran.err);
    let message = ran.last_error();
    assert!(message.contains("from/train_32x32.mat: its MD5 is"), "{message}");
    assert!(!sandbox.path("datasets/svhn").exists());
    let server = Server::new(vec![], vec![Reply::Status("404 Not Found")]);
    let message = sandbox.error(&format!("data fetch mnist --from {}", server.address));
    let url = format!("cannot fetch {}train-images", server.address);
    assert!(message.contains(&url) && message.contains("404"), "{message}");
    assert!(!sandbox.path("datasets/mnist").exists());
}

#[test]
fn a_data_set_is_fetched_from_a_folder_and_verified() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/mnist");
    if !shared.is_dir() {
        crate::common::skipped(format!("{} is not there", shared.display()));
        return;
    }
    let sandbox = Sandbox::new();
    let from = shared.display();
    let text = sandbox.ok(&format!("data fetch mnist --from {from}"));
    assert_eq!(text, "mnist is in datasets/mnist\n");
    let verified = sandbox.ok("data verify mnist");
    let expected = "mnist in datasets/mnist: 60000 images to train on, 10000 to test with; \
                    4 checksums are right\n";
    assert_eq!(verified, expected);
    let found = sandbox.json("data verify mnist --json");
    assert_eq!((&found["train"], &found["checksums_right"]), (&60_000.into(), &4.into()));
    let ran = sandbox.run(&format!("data fetch mnist --from {from} --to other --quiet --json"));
    assert_eq!(ran.err, "");
    let fetched: Value = serde_json::from_str(&ran.ok()).unwrap();
    assert_eq!((&fetched["name"], &fetched["folder"]), (&"mnist".into(), &"other/mnist".into()));
    // A truncated file has a wrong checksum.
    let labels = sandbox.path("datasets/mnist/t10k-labels-idx1-ubyte.gz");
    let good = fs::read(&labels).unwrap();
    fs::write(&labels, &good[..100]).unwrap();
    sandbox.refuses("data verify mnist", &["t10k-labels-idx1-ubyte.gz: its MD5 is"]);
    sandbox.refuses("data fetch mnist", &["t10k-labels"]);
    // The same data, compressed differently, has no known checksum.
    let unpacked = {
        let mut out = Vec::new();
        MultiGzDecoder::new(&good[..]).read_to_end(&mut out).unwrap();
        out
    };
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(&unpacked).unwrap();
    fs::write(&labels, gz.finish().unwrap()).unwrap();
    fs::remove_file(sandbox.path("datasets/mnist/checksums.md5")).unwrap();
    let verified = sandbox.ok("data verify mnist");
    assert!(verified.ends_with("3 checksums are right, 1 files are compressed in another way\n"));
    // Outside the default folders, the output names the --data option.
    let text = sandbox.ok(&format!("data fetch mnist --to other --from {from}"));
    assert_eq!(text, "mnist is in other/mnist; find it there with --data other\n");
    assert!(sandbox.ok("data verify mnist --data other").contains("4 checksums"));
}

#[test]
fn verify_checks_the_number_of_images() {
    let sandbox = Sandbox::new();
    digits(&sandbox, "d", 12, 4, 4);
    sandbox.refuses("data verify mnist --data d", &["d: 4 + 4 images, but mnist has 60000"]);
}

#[test]
fn runs_on_photos_can_be_evaluated_streamed_and_resumed() {
    let sandbox = Sandbox::new();
    photos(&sandbox, "photos", 25);
    let ran = sandbox.run(&format!("{PHOTOS} --out run"));
    assert!(ran.err.contains("data wait "), "{}", ran.err);
    ran.ok();
    let timing = fs::read_to_string(sandbox.path("run/timing.jsonl")).unwrap();
    for line in timing.lines() {
        let timing: Value = serde_json::from_str(line).unwrap();
        assert!(timing["data_wait_seconds"].as_f64().unwrap() >= 0.0);
    }
    let report = sandbox.json("eval --run run --json");
    assert_eq!(report["images"], 10);
    // Predictions preprocess photos as the evaluation did.
    let mut correct = 0;
    for class in ["day", "night"] {
        let test = sandbox.path(&format!("photos/{class}"));
        let all: Vec<String> = (0..25).map(|i| format!("{}/{i:02}.png", test.display())).collect();
        let line = format!("predict --run run --json {}", all.join(" "));
        let predictions = sandbox.json(&line);
        correct += predictions.as_array().unwrap().iter().filter(|p| p["label"] == class).count();
    }
    assert!(correct >= 45, "{correct} of 50");
    let pictures = sandbox.ok("data export --dataset folder --data photos --count 3 --out p");
    assert_eq!(pictures.lines().next(), Some("p/00000-day.png"));

    // Decoding photos in each step, within little device memory, gives the same results, also when
    // resumed.
    let streamed = format!("{PHOTOS} --photo-cache 0 --memory 100KiB");
    sandbox.ok(&format!("{PHOTOS} --memory 100KiB --out whole"));
    let ran = sandbox.run(&format!("{streamed} --out streamed"));
    assert!(ran.err.contains("images are copied step by step"), "{}", ran.err);
    ran.ok();
    for name in ["metrics.jsonl", "model.safetensors", "state.safetensors"] {
        assert!(sandbox.files("whole")[name] == sandbox.files("streamed")[name], "{name}");
    }
    fs::create_dir_all(sandbox.path("stopped/metrics.jsonl.partial")).unwrap();
    sandbox.run(&format!("{streamed} --out stopped")).last_error();
    fs::remove_dir(sandbox.path("stopped/metrics.jsonl.partial")).unwrap();
    sandbox.ok("train --resume --out stopped");
    assert_same(&sandbox.results("streamed"), &sandbox.results("stopped"));
    // Killed within an epoch, after the first checkpoint.
    let state = sandbox.path("killed/state.safetensors");
    if kill_when(&sandbox, &format!("{streamed} --out killed"), || state.exists()) {
        sandbox.ok("train --resume --out killed");
        assert_same(&sandbox.results("streamed"), &sandbox.results("killed"));
    }
    // --photo-cache and --strict may change when a run is resumed.
    fs::remove_file(sandbox.path("stopped/model.safetensors")).unwrap();
    sandbox.ok("train --resume --photo-cache 1GiB --strict --out stopped");
}

#[test]
fn corrupt_photos_are_left_out_with_a_warning_and_refused_with_strict() {
    let sandbox = Sandbox::new();
    photos(&sandbox, "photos", 20);
    sandbox.put("photos/day/03.png", "no picture");
    let ran = sandbox.run(&format!("{PHOTOS} --out run"));
    assert!(ran.err.contains("warning: left out photos/day/03.png: not a readable"), "{}", ran.err);
    assert!(ran.err.contains("warning: 1 of 40 pictures left out"), "{}", ran.err);
    ran.ok();
    let strict = format!("{PHOTOS} --strict --out strict");
    sandbox.refuses(&strict, &["photos/day/03.png: not a readable picture"]);
    assert!(!sandbox.path("strict").exists());
    for (options, part) in [
        ("--dataset shapes --val-fraction 0.5", "--val-fraction is for photos"),
        ("--dataset folder", "--dataset folder needs --data FOLDER"),
        ("--dataset folder --data photos/day", "has 20 pictures, but no folders for classes"),
        ("--dataset folder --data photos --val-fraction 2", "--val-fraction must be"),
        ("--dataset folder --data photos --image-size 4", "--image-size must be from 8"),
    ] {
        sandbox.refuses(&format!("train {options} --out none"), &[part]);
    }
    assert!(!sandbox.path("none").exists());
}

#[test]
fn a_run_can_use_some_classes_only() {
    let sandbox = Sandbox::new();
    let line = "train --dataset shapes --train-limit 40 --batch 8 --widths 4 --epochs 1";
    sandbox.ok(&format!("{line} --classes 5-7,disc --out run"));
    let report = sandbox.json("eval --run run --json");
    assert_eq!(report["images"], 400);
    let config = fs::read_to_string(sandbox.path("run/config.toml")).unwrap();
    assert!(config.contains(r#"classes = ["5-7", "disc"]"#), "{config}");
    sandbox.ok("data export --dataset shapes --count 8 --out p");
    let prediction = &sandbox.json("predict --run run --json p/00000-disc.png")[0];
    assert!(["plus", "cross", "rows", "disc"].iter().any(|name| prediction["label"] == *name));
    sandbox.refuses("train --resume --out run --classes 0-3", &["started with another --classes"]);
    for (classes, part) in [
        ("3", "two classes or more"),
        ("0,9,10", "numbered from 0 to 9"),
        ("disk,ring", "`disk` (did you mean `disc`?)"),
        ("0-3,2", "twice"),
    ] {
        sandbox.refuses(&format!("{line} --classes {classes} --out none"), &[part]);
    }
}

#[test]
fn exported_images_depend_on_the_seed() {
    let sandbox = Sandbox::new();
    for (folder, seed) in [("a", 0), ("b", 1), ("c", 1)] {
        let line = "data export --dataset shapes --count 2 --out";
        sandbox.ok(&format!("{line} {folder} --seed {seed}"));
    }
    assert_same(&sandbox.files("b"), &sandbox.files("c"));
    assert!(sandbox.files("a")["00000-disc.png"] != sandbox.files("b")["00000-disc.png"]);
}
