//! What works, works as documented.

use std::collections::BTreeSet;
use std::fs;

use image::{DynamicImage, GenericImageView, RgbImage, Rgba, RgbaImage, imageops::FilterType};
use serde_json::Value;
use sff::internals::data::{self, Dataset, Request};
use sff::internals::train::checkpoint;

use crate::cli::support::{RUN_FILES, Ran, SMALL, Sandbox, assert_same, digits};

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn last_record(sandbox: &Sandbox, folder: &str) -> Value {
    let text = fs::read_to_string(sandbox.path(folder).join("metrics.jsonl")).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// The mean of what the blocks from `first` on say of each class.
fn mean(goodness: &[Vec<f64>], first: usize) -> Vec<f64> {
    let voters = &goodness[first..];
    let sum = |class: usize| voters.iter().map(|block| block[class]).sum::<f64>();
    (0..goodness[0].len()).map(|class| sum(class) / voters.len() as f64).collect()
}

fn largest(values: &[f64]) -> usize {
    (0..values.len()).rev().max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap()
}

#[test]
fn a_run_leaves_its_files_plain_lines_and_a_table() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&format!("{SMALL} --out run"));
    assert!(!ran.err.contains(['\r', '\x1b']), "a pipe is no terminal:\n{}", ran.err);
    // On a slow machine, there is a line of progress now and then.
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

    // What training noted is what evaluation finds, to the last bit.
    let report = sandbox.json("eval --run run --json");
    assert_eq!(keys(&report), BTreeSet::from(["accuracy", "blocks", "images", "loss"]));
    assert_eq!(keys(&report["accuracy"]), BTreeSet::from(["all", "last", "late"]));
    let noted = last_record(&sandbox, "run");
    for key in keys(&report) {
        assert_eq!(report[key], noted["test"][key], "{key}");
    }
    assert_eq!(report["images"], 1000);
    let blocks = numbers(&report["blocks"]);
    assert!(blocks.len() == 3 && blocks.iter().all(|b| (0.0..=1.0).contains(b)), "{report}");
    // Other steps round other sums, but count the same.
    let other = sandbox.json("eval --run run --json --batch 77");
    assert_eq!((&other["accuracy"], &other["blocks"]), (&report["accuracy"], &report["blocks"]));
    let text = sandbox.ok("eval --run run");
    assert_eq!(table.lines().collect::<Vec<_>>()[..8], text.lines().collect::<Vec<_>>()[..]);

    // A recipe repeats a run, to the last byte.
    sandbox.ok("train --recipe run/config.toml --out again");
    assert_same(&sandbox.results("run"), &sandbox.results("again"));
    sandbox.ok("train --recipe run/config.toml --seed 1 --out other");
    for name in ["metrics.jsonl", "model.safetensors", "state.safetensors"] {
        assert!(sandbox.files("run")[name] != sandbox.files("other")[name], "{name}");
    }
}

/// Heads of every kind train, are saved, and are what evaluation and a resumed run find.
#[test]
fn heads_are_part_of_a_run() {
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

/// Where heads are left open, what was chosen is saved.
#[test]
fn chosen_heads_are_settled_in_the_run() {
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
fn plans_count_arithmetic() {
    let sandbox = Sandbox::new();
    let line = "plan --arch resnet18 --image 32 --batch 4";
    let json = sandbox.json(&format!("{line} --aux-kernel 1 --json"));
    assert_eq!(json["heads"], "1×1");
    let mflop = json["mflop_per_image"].as_f64().unwrap();
    assert!((2850.0..2851.0).contains(&mflop), "{mflop}");
    assert!(json["heads_share"].as_f64().unwrap() < 0.01);
    let heads = "--aux-kernel 3 --aux-separable --aux-pool 4 --aux-scale learnable";
    let text = sandbox.ok(&format!("{line} {heads}"));
    let said = "heads of separable 3×3 on at most 4×4 pixels, learnable scale\n";
    assert!(text.contains(" MFLOP per image, ") && text.contains(said), "{text}");
    let json = sandbox.json(&format!("{line} --method bp --json"));
    assert_eq!((&json["heads"], json["heads_share"].as_f64()), (&Value::Null, Some(0.0)));
}

#[test]
fn predictions_of_all_test_images_are_those_of_eval() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{SMALL} --lr 0.01 --out run"));
    let pictures = sandbox.ok("data export --dataset shapes --count 5000 --out p");
    let pictures: Vec<&str> = pictures.lines().collect();
    assert_eq!(pictures.len(), 1000);
    let mut command = sandbox.command("predict --run run --json");
    let predictions: Value = serde_json::from_str(&Ran::of(command.args(&pictures)).ok()).unwrap();
    let predictions = predictions.as_array().unwrap();
    assert_eq!(predictions.len(), 1000);
    let mut hits = [0; 3];
    for (prediction, file) in predictions.iter().zip(&pictures) {
        let expected = ["class", "file", "goodness", "label", "logits", "probability", "top"];
        assert_eq!(keys(prediction), BTreeSet::from(expected));
        assert_eq!(prediction["file"], *file);
        let goodness: Vec<Vec<f64>> =
            prediction["goodness"].as_array().unwrap().iter().map(numbers).collect();
        assert_eq!(goodness.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 10]);
        let logits = numbers(&prediction["logits"]);
        for (logit, mean) in logits.iter().zip(mean(&goodness, 0)) {
            assert!((logit - mean).abs() < 1e-5, "{prediction}");
        }
        let class = largest(&logits);
        assert_eq!(prediction["class"], class);
        let total: f64 = logits.iter().map(|v| v.exp()).sum();
        let probability = prediction["probability"].as_f64().unwrap();
        assert!((probability - logits[class].exp() / total).abs() < 1e-6, "{prediction}");
        // Files are named INDEX-CLASS.png.
        let stem = file.rsplit_once('.').unwrap().0;
        let truth = stem.split_once('-').unwrap().1;
        hits[0] += usize::from(prediction["label"] == truth);
        for (hit, first) in hits[1..].iter_mut().zip([1, 2]) {
            let truth = predictions[..10]
                .iter()
                .position(|p| p["file"].as_str().unwrap().ends_with(&format!("-{truth}.png")));
            *hit += usize::from(Some(largest(&mean(&goodness, first))) == truth);
        }
    }
    let accuracy = &sandbox.json("eval --run run --json")["accuracy"];
    let expected = ["all", "late", "last"].map(|vote| accuracy[vote].as_f64().unwrap());
    assert_eq!(hits.map(|hits| hits as f64 / 1000.0), expected);

    // The other votes: blocks 2 and 3, block 3.
    for (vote, first) in [("late", 1), ("last", 2)] {
        let line = format!("predict --run run --json --vote {vote} {}", pictures[7]);
        let prediction = &sandbox.json(&line)[0];
        assert_eq!(prediction["goodness"], predictions[7]["goodness"]);
        let goodness: Vec<Vec<f64>> =
            prediction["goodness"].as_array().unwrap().iter().map(numbers).collect();
        for (logit, mean) in numbers(&prediction["logits"]).iter().zip(mean(&goodness, first)) {
            assert!((logit - mean).abs() < 1e-5, "{vote}: {prediction}");
        }
    }

    // The same picture in other forms.
    let original = image::open(sandbox.path(pictures[0])).unwrap();
    let save = |name: &str, picture: DynamicImage| picture.save(sandbox.path(name)).unwrap();
    save("rgba.png", DynamicImage::ImageRgba8(original.to_rgba8()));
    save("sixteen.png", DynamicImage::ImageLuma16(original.to_luma16()));
    save("big.jpg", original.resize_exact(1400, 1400, FilterType::Nearest));
    let line = format!("predict --run run --json {} rgba.png sixteen.png big.jpg", pictures[0]);
    let forms = sandbox.json(&line);
    assert_eq!(forms[0]["logits"], forms[1]["logits"]);
    assert_eq!(forms[0]["logits"], forms[2]["logits"]);
    let (small, big) = (numbers(&forms[0]["logits"]), numbers(&forms[3]["logits"]));
    for (small, big) in small.iter().zip(big) {
        assert!((small - big).abs() < 0.1, "{forms}");
    }
    // Without --json: a line per picture; 33 pictures need a second step.
    let line = format!("predict --run run {}", pictures[..33].join(" "));
    let text = sandbox.ok(&line);
    assert_eq!(text.lines().count(), 33);
    for ((line, file), prediction) in text.lines().zip(&pictures).zip(predictions) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..2], [*file, prediction["label"].as_str().unwrap()]);
        assert!(words[2].ends_with('%'), "{line}");
    }
}

#[test]
fn backpropagation_works_from_end_to_end() {
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

/// Training goes on after an interruption, and evaluation sees what it saw in training.
#[test]
fn augmentation_from_end_to_end() {
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
    // Pictures are brought to the size of the input.
    RgbaImage::from_pixel(32, 32, Rgba([9, 200, 3, 255])).save(sandbox.path("a.png")).unwrap();
    assert_eq!(sandbox.json("predict --run run --json a.png").as_array().unwrap().len(), 1);
}

#[test]
fn a_sheet_shows_images_and_what_becomes_of_them() {
    let sandbox = Sandbox::new();
    let line = "data sheet --dataset shapes32 --train-limit 9 --count 3 --columns 2";
    let sheet = |options: &str| {
        let name = format!("{}.png", options.len());
        assert_eq!(sandbox.ok(&format!("{line} {options} --out {name}")).trim(), name);
        image::open(sandbox.path(&name)).unwrap().into_rgb8()
    };
    let tile = |sheet: &RgbImage, row: u32, column: u32| {
        sheet.view(column * 33, row * 33, 32, 32).to_image()
    };
    let plain = sheet("");
    assert_eq!(plain.dimensions(), (3 * 33 - 1, 3 * 33 - 1));
    let dataset = shapes32();
    for row in 0..3 {
        // Normalised and back, the pixels are what they were.
        assert_eq!(
            tile(&plain, row, 0).into_raw(),
            dataset.train.image(row as usize).unwrap().as_ref()
        );
        assert_eq!(tile(&plain, row, 1), tile(&plain, row, 0));
    }
    let changed = sheet("--jitter 0.5");
    for row in 0..3 {
        assert_eq!(tile(&changed, row, 0), tile(&plain, row, 0));
        assert_ne!(tile(&changed, row, 1), tile(&plain, row, 1));
        assert_ne!(tile(&changed, row, 1), tile(&changed, row, 2));
    }
    assert_eq!(sheet("--image-size 16 --mixup 0.5").dimensions(), (3 * 17 - 1, 3 * 17 - 1));
}

fn shapes32() -> Dataset {
    let name = "shapes32".into();
    data::load(&Request { name, train_limit: Some(9), ..Request::default() }).unwrap()
}

#[test]
fn partitions_have_their_blocks_and_begin_alike() {
    let sandbox = Sandbox::new();
    for (partition, blocks) in [("layer", 3), ("block", 2), ("whole", 1)] {
        let line = "train --dataset shapes --train-limit 32 --widths 4,4,4 --epochs 1";
        sandbox.ok(&format!("{line} --partition {partition} --out {partition}"));
        let record = last_record(&sandbox, partition);
        assert_eq!(record["test"]["blocks"].as_array().unwrap().len(), blocks);
        assert_eq!(record["train"]["images"], 32);
    }
    // Without --out, the folder is named after what is trained.
    sandbox.ok("train --dataset shapes --train-limit 32 --widths 4 --epochs 1");
    assert_eq!(sandbox.files("runs/shapes-cnn-sff-block").len(), RUN_FILES.len());
}

#[test]
fn blocks_are_joined_at_cuts() {
    let sandbox = Sandbox::new();
    let names = |options: &str| -> Vec<String> {
        let line = "plan --arch resnet18 --image 32 --batch 2 --json --cuts layer2.0,layer4.0";
        let plan = sandbox.json(&format!("{line} {options}"));
        let blocks = plan["blocks"].as_array().unwrap().iter();
        blocks.map(|block| block["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(""), ["stem", "layer2.0", "layer4.0"]);
    assert_eq!(names("--recompute block --window 1"), ["stem", "layer2.0", "layer4.0"]);
    assert_eq!(names("--freeze-until layer4.0"), ["layer4.0"]);
    sandbox.refuses("plan --cuts block9", &["there is no block `block9`", "block1, block2"]);

    let line = "train --dataset shapes --train-limit 32 --batch 16 --widths 4,4,4,4 --epochs 1";
    let cut = "--partition layer --cuts conv2,conv4";
    let ran = sandbox.run(&format!("{line} {cut} --window 1 --out run"));
    assert!(ran.err.contains("partition layer, cut at conv2, conv4 on "), "{}", ran.err);
    let table = ran.ok();
    let rows = table.lines().skip(1).take(4);
    let rows: Vec<&str> = rows.map(|row| row.split(' ').next().unwrap()).collect();
    assert_eq!(rows, ["conv1", "conv2", "conv4", "vote"]);
    let config = fs::read_to_string(sandbox.path("run/config.toml")).unwrap();
    assert!(config.contains("cuts = [\"conv2\", \"conv4\"]\n"), "{config}");
    let report = sandbox.json("eval --run run --json");
    assert_eq!(report["loss"], last_record(&sandbox, "run")["test"]["loss"]);
    sandbox.ok("train --recipe run/config.toml --recompute block --out again");
    let model = |folder: &str| {
        let read = checkpoint::load::<Value>(&sandbox.path(folder).join("model.safetensors"));
        read.unwrap().0
    };
    let run = model("run");
    assert!(run == model("again"));
    sandbox.ok(&format!("train --resume --out run {cut}"));
    sandbox.refuses("train --resume --out run --cuts conv2", &["another --cuts:"]);

    // Frozen blocks, and weights without their configuration, go by the same names.
    let tune = "--init run/model.safetensors --freeze-until conv4 --out tuned";
    sandbox.ok(&format!("{line} {cut} {tune}"));
    let tuned = model("tuned");
    let same = |name: &str| tuned[name] == run[name];
    assert_eq!(
        ["conv1", "conv3", "conv4"].map(|n| same(&format!("{n}.weight"))),
        [true, true, false]
    );
    sandbox.ok("export --run run --out weights.safetensors");
    let import = "import weights.safetensors --arch cnn --widths 4,4,4,4 --image-size 28 --mean 0.5 --std 0.3";
    sandbox.ok(&format!("{import} {cut} --out imported.safetensors"));
    sandbox
        .refuses(&format!("{import} --partition layer --out other.safetensors"), &["aux.3.weight"]);
}

#[test]
fn devices_are_listed() {
    let sandbox = Sandbox::new();
    let listed = sandbox.json("devices --json");
    let used: Vec<_> = listed.as_array().unwrap().iter().filter(|d| d["used"] == true).collect();
    assert_eq!(used.len(), 1);
    let name = used[0]["name"].as_str().unwrap();
    let text = sandbox.ok("devices");
    assert!(text.contains(name) && text.contains("this one would be used"), "{text}");
    let last = listed.as_array().unwrap().len() - 1;
    let listed = sandbox.json(&format!("devices --json --device {last}"));
    assert_eq!(listed[last]["used"], true);
}

#[test]
fn help_and_version_are_no_errors() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ok("--version"), concat!("sff ", env!("CARGO_PKG_VERSION"), "\n"));
    for line in ["--help", "help train", "train -h", "data export --help"] {
        let ran = sandbox.run(line);
        assert_eq!(ran.err, "");
        assert!(ran.ok().contains("Usage: sff"), "{line}");
    }
}

#[test]
fn odd_but_sound_wishes_are_met() {
    let sandbox = Sandbox::new();
    // Spaces and other letters in a path, a seed beyond 2^63, numbers without a short form.
    let folder = "läufe/mit leerzeichen";
    let mut command =
        sandbox.command("train --dataset shapes --train-limit 40 --widths 5 --epochs 1");
    let seed = u64::MAX.to_string();
    let options = ["--seed", &seed, "--lr", "0.0016777217", "--weight-decay", "1e-9"];
    Ran::of(command.args(options).args(["--out", folder])).ok();
    let before = sandbox.files(folder);
    let config = String::from_utf8(before["config.toml"].clone()).unwrap();
    assert!(config.contains(&format!("seed = {seed}\n")), "{config}");
    // All of them read back as they were: resuming with the same options is no contradiction.
    let mut command = sandbox.command("train --resume");
    Ran::of(command.args(options).args(["--out", folder])).ok();
    assert_same(&before, &sandbox.files(folder));
    Ran::of(sandbox.command("eval --run").arg(folder)).ok();

    // Test images that do not fill a step, and a data set in files.
    digits(&sandbox, "digits", 16, 21, 3);
    let line = "train --dataset mnist --data digits --batch 20 --widths 4 --epochs 2 --out files";
    sandbox.ok(line);
    let report = sandbox.json("eval --run files --json");
    assert_eq!(report["images"], 3);
    assert_eq!(report["loss"], last_record(&sandbox, "files")["test"]["loss"]);
    // Files may be elsewhere when a run goes on or is evaluated.
    sandbox.copy("digits", "moved");
    fs::remove_dir_all(sandbox.path("digits")).unwrap();
    assert!(sandbox.error("eval --run files").contains("digits"));
    assert_eq!(sandbox.json("eval --run files --json --data moved"), report);
    sandbox.ok("train --resume --out files --data moved");
}

#[test]
fn nobody_needs_to_listen() {
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
fn tests_may_be_few_and_far_between() {
    let sandbox = Sandbox::new();
    let line = "train --dataset shapes --widths 4 --batch 8 --train-limit 16 --epochs 5 --out r";
    let text = sandbox.ok(&format!("{line} --test-every 2 --test-limit 30"));
    assert!(text.contains("on 30 test images"), "{text}");
    let metrics = std::fs::read_to_string(sandbox.path("r/metrics.jsonl")).unwrap();
    let tested: Vec<bool> = metrics.lines().map(|line| line.contains("\"test\":")).collect();
    assert_eq!(tested, [false, true, false, true, true]);
    assert!(metrics.contains("\"images\":30"), "{metrics}");
}
