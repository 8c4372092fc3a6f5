//! Tests of data folders: which are searched, which files are used, and what is reported.

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::cli::data::{PHOTOS, photos};
use crate::cli::support::{SMALL, Sandbox, digits, idx};

/// Writes a picture of one colour.
fn put_picture(sandbox: &Sandbox, name: &str, light: u8) {
    let path = sandbox.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(20, 16, Rgb([light, light / 2, 90])).save(path).unwrap();
}

/// A run of one epoch on photos; the folder follows.
const SHORT: &str = "train --dataset folder --image-size 16 --widths 4 --epochs 1 --data";

/// Runs a command that must succeed, and returns its standard error.
fn stderr(sandbox: &Sandbox, line: &str) -> String {
    let ran = sandbox.run(line);
    let err = ran.err.clone();
    ran.ok();
    err
}

#[test]
fn with_data_only_that_folder_is_searched() {
    let sandbox = Sandbox::new();
    digits(&sandbox, "datasets/mnist", 12, 20, 10);
    fs::create_dir(sandbox.path("mine")).unwrap();
    let train = "train --dataset mnist --widths 4 --batch 8 --epochs 1";
    let err = stderr(&sandbox, &format!("{train} --out run"));
    assert!(err.contains("mnist is read from datasets/mnist\n"), "{err}");
    for line in [
        &format!("{train} --data mine --out other"),
        "eval --run run --data mine",
        "data verify mnist --data mine",
        "data export --dataset mnist --data mine --out p",
        "data sheet --dataset mnist --data mine --out s.png",
    ] {
        sandbox.refuses(line, &["mnist: no train-images-idx3-ubyte", "in mine, mine/raw"]);
        sandbox.refuses(line, &["with --data mine no other folder", "fetch mnist --to mine`"]);
    }
    assert!(!sandbox.path("other").exists());
    let rows = sandbox.json("data list --json --data mine");
    let found = |row: &&Value| row["found"] != Value::Null;
    assert_eq!(rows.as_array().unwrap().iter().find(found), None);
    for line in ["eval --run run", "data export --dataset mnist --out p"] {
        assert!(stderr(&sandbox, line).contains("mnist is read from datasets/mnist\n"), "{line}");
    }
    sandbox.put(
        "compare.toml",
        "title = \"A|B\"\nseeds = [0]\n[options]\ndataset = \"mnist\"\nwidths = [4]\nbatch = 8\n\
         epochs = 1\n[[ways]]\nname = \"a | b\"\n[[ways]]\nname = \"c\"\n",
    );
    sandbox.refuses("compare --recipe compare.toml --data mine", &["in mine, mine/raw"]);
    let err = stderr(&sandbox, "compare --recipe compare.toml");
    assert_eq!(err.matches("mnist is read from datasets/mnist\n").count(), 1, "{err}");
    // Bars in a cell of the Markdown table are escaped.
    let table = fs::read_to_string(sandbox.path("runs/compare/results.md")).unwrap();
    assert!(table.contains("\n| a \\| b | "), "{table}");

    // A folder that does not hold the data set that --dataset names.
    photos(&sandbox, "photos", 3);
    sandbox.refuses(
        "train --dataset mnist --data photos",
        &["for the pictures in it add --dataset folder"],
    );
    sandbox.refuses(
        "train --dataset shapes --data photos",
        &["shapes is drawn by the program", "leave --data out, or add --dataset folder"],
    );
    let file = sandbox.put("file", "");
    sandbox.refuses(&format!("{train} --data {}", file.display()), &["file: not a folder"]);
}

#[test]
fn the_training_test_and_unused_folders_are_reported() {
    let sandbox = Sandbox::new();
    for (half, count) in [("train", 8), ("valid", 3), ("test", 5)] {
        photos(&sandbox, &format!("p/{half}"), count);
    }
    let err = stderr(&sandbox, &format!("{SHORT} p --out run"));
    assert!(
        err.contains("\n16 pictures of p/train to train on, 6 of p/valid to test with\n"),
        "{err}"
    );
    // The advice about the unused folder works.
    let advice = "warning: p/test is not used; `sff eval --run RUN --data p/test` measures on it\n";
    assert!(err.contains(advice), "{err}");
    assert_eq!(sandbox.json("eval --run run --json")["images"], 6);
    assert_eq!(sandbox.json("eval --run run --json --data p/test")["images"], 10);
    sandbox.refuses(&format!("{SHORT} p --strict --out no"), &["p/test is not used", "--strict"]);
    // A class with test pictures, but without training pictures.
    put_picture(&sandbox, "p/valid/dusk/1.png", 90);
    let message = sandbox.error(&format!("{SHORT} p --out no"));
    assert!(message.contains("p/valid/dusk is of a class without training"), "{message}");
    let (_, advice) = message.trim_end().rsplit_once("such as ").unwrap();
    let err = stderr(&sandbox, &format!("{SHORT} p {advice} --out some"));
    assert!(
        err.contains("warning: p/valid/dusk is not used: its class has no training images"),
        "{err}"
    );
    assert!(err.contains("6 of p/valid to test with"), "{err}");
}

#[test]
fn pictures_of_every_format_and_in_subfolders_are_used() {
    let sandbox = Sandbox::new();
    for (name, light) in [("cat", 200), ("dog", 40)] {
        for i in 0..4 {
            for end in ["jpg", "bmp", "tif", "gif"] {
                put_picture(&sandbox, &format!("p/{name}/{i}.{end}"), light + i);
            }
            put_picture(&sandbox, &format!("p/{name}/more/{i}.png"), light + i);
        }
    }
    sandbox.put("p/cat/list.txt", "");
    sandbox.put("p/cat/1.heic", "");
    sandbox.put("p/cat/2.heic", "");
    let err = stderr(&sandbox, &format!("{SHORT} p --out run"));
    assert!(err.contains("\n32 pictures of p to train on, 8 set apart to test with\n"), "{err}");
    let left_out = "warning: files that are not readable pictures are not used: 2 (.heic, p/cat/1.heic, …), \
                    1 (.txt, p/cat/list.txt)\n";
    assert!(err.contains(left_out), "{err}");
}

#[test]
fn truncated_jpegs_are_left_out() {
    let sandbox = Sandbox::new();
    for (class, light) in [("cat", 200), ("dog", 40)] {
        fs::create_dir_all(sandbox.path("p").join(class)).unwrap();
        for i in 0..5 {
            let shade = |x: u32, y: u32| Rgb([light + i, (x * y % 90) as u8, (x % 50) as u8]);
            let path = sandbox.path(&format!("p/{class}/{i}.jpg"));
            RgbImage::from_fn(200, 160, shade).save(path).unwrap();
        }
    }
    sandbox.ok(&format!("{SHORT} p --out whole"));
    let path = sandbox.path("p/cat/3.jpg");
    let bytes = fs::read(&path).unwrap();
    for part in [bytes.len() / 10, bytes.len() * 9 / 10, bytes.len() - 2] {
        fs::write(&path, &bytes[..part]).unwrap();
        let problem = "p/cat/3.jpg: not a readable picture: it is cut off before its end";
        let _ = fs::remove_dir_all(sandbox.path("run"));
        let err = stderr(&sandbox, &format!("{SHORT} p --out run"));
        assert!(err.contains(&format!("warning: left out {problem}\n")), "{err}");
        assert!(err.contains("warning: 1 of 10 pictures left out"), "{err}");
        sandbox.refuses(&format!("{SHORT} p --strict --out no"), &[problem]);
        sandbox.refuses("predict --run whole p/cat/3.jpg", &[problem]);
    }
}

#[test]
fn classes_with_numbers_as_names_can_be_chosen() {
    let sandbox = Sandbox::new();
    for class in 0..12 {
        for i in 0..2 {
            put_picture(&sandbox, &format!("p/{class}/{i}.png"), 20 * class + i);
        }
    }
    for (classes, names) in [("2-3", ["2", "3"]), ("3,10", ["3", "10"])] {
        let _ = fs::remove_dir_all(sandbox.path("run"));
        sandbox.ok(&format!("{SHORT} p --classes {classes} --out run"));
        let model = sandbox.json("inspect --run run --json");
        assert_eq!(model["classes"], serde_json::json!(names));
    }
    sandbox.refuses(&format!("{SHORT} p --classes 11-12 --out no"), &["two readings"]);
}

#[test]
fn resuming_with_other_images_is_refused() {
    let sandbox = Sandbox::new();
    photos(&sandbox, "p/train", 8);
    photos(&sandbox, "p/val", 4);
    let line = PHOTOS.replace("--data photos", "--data p");
    sandbox.ok(&format!("{line} --out whole"));
    sandbox.run(&format!("{line} --inject-fault lost@3 --out run")).last_error_of(3);
    let resume = "train --resume --out run";
    let swap = |one: &str, other: &str| {
        let [one, other, third] = [one, other, "third"].map(|name| sandbox.path(name));
        fs::rename(&one, &third).unwrap();
        fs::rename(&other, &one).unwrap();
        fs::rename(&third, &other).unwrap();
    };
    let parts = |difference: &'static str| {
        ["run was started with other images: ", difference, "p/train", "--data"]
    };
    swap("p/train/day", "p/train/night");
    sandbox.refuses(resume, &parts("another content in images to train on"));
    swap("p/train/day", "p/train/night");
    swap("p/val/day", "p/val/night");
    sandbox.refuses(resume, &parts("another content in images to test with"));
    swap("p/val/day", "p/val/night");
    fs::rename(sandbox.path("p/val/day/00.png"), sandbox.path("gone.png")).unwrap();
    sandbox.refuses(resume, &parts("there were 8 images, not 7, to test with"));
    fs::rename(sandbox.path("gone.png"), sandbox.path("p/val/night/99.png")).unwrap();
    sandbox.refuses(resume, &parts("other files to test with"));
    fs::rename(sandbox.path("p/val/night/99.png"), sandbox.path("p/val/day/00.png")).unwrap();
    // The same images in another folder.
    fs::rename(sandbox.path("p"), sandbox.path("q")).unwrap();
    sandbox.ok(&format!("{resume} --data q"));
    let [whole, run] = ["whole", "run"].map(|name| sandbox.files(name));
    assert!(whole["model.safetensors"] == run["model.safetensors"]);

    // A data set in files with other labels.
    digits(&sandbox, "datasets/mnist", 12, 32, 10);
    let line = "train --dataset mnist --widths 4 --batch 8 --epochs 2 --save-steps 2";
    sandbox.run(&format!("{line} --inject-fault lost@6 --out run2")).last_error_of(3);
    let labels = sandbox.path("datasets/mnist/t10k-labels-idx1-ubyte");
    let good = fs::read(&labels).unwrap();
    fs::write(&labels, idx(&[10], &[9, 8, 7, 6, 5, 4, 3, 2, 1, 0])).unwrap();
    sandbox.refuses(
        "train --resume --out run2",
        &["other labels of the images to test with", "datasets/mnist"],
    );
    fs::write(&labels, good).unwrap();
    sandbox.ok("train --resume --out run2");
}

#[test]
fn the_default_batch_depends_on_the_number_of_images() {
    let sandbox = Sandbox::new();
    photos(&sandbox, "p", 12);
    let batch = |run: &str| {
        let config = fs::read_to_string(sandbox.path(run).join("config.toml")).unwrap();
        let line = config.lines().find(|line| line.starts_with("batch")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    // 20 training images.
    sandbox.ok(&format!("{SHORT} p --out photos"));
    let shapes = "train --dataset shapes --widths 4 --epochs 1 --test-limit 10";
    sandbox.ok(&format!("{shapes} --train-limit 5 --out few"));
    sandbox.ok(&format!("{shapes} --train-limit 1 --out one"));
    sandbox.ok(&format!("{shapes} --train-limit 1000 --out more"));
    sandbox.ok(&format!("{shapes} --train-limit 1001 --out many"));
    let all = ["photos", "few", "one", "more", "many"].map(batch);
    assert_eq!(all, [16, 4, 1, 32, 64]);
    sandbox.ok(&format!("{shapes} --train-limit 5 --out few --resume"));
    // A given batch size is not adjusted.
    sandbox.refuses(&format!("{SHORT} p --batch 64 --out no"), &["larger than the 20 training"]);
}

#[test]
fn eval_uses_the_test_part_of_known_images_and_all_new_ones() {
    let sandbox = Sandbox::new();
    photos(&sandbox, "p", 10);
    sandbox.ok(&format!("{SHORT} p --test-limit 4 --out run"));
    let images =
        |line: &str| sandbox.json(&format!("eval --run run --json {line}"))["images"].clone();
    assert_eq!(images(""), 4);
    // The folder of the run, and a copy of it: only the images set apart for testing.
    assert_eq!(images("--data p"), 4);
    sandbox.copy("p/day", "moved/day");
    sandbox.copy("p/night", "moved/night");
    assert_eq!(images("--data moved"), 4);
    photos(&sandbox, "new", 7);
    let err = stderr(&sandbox, "eval --run run --data new");
    assert!(err.contains("all 14 pictures of new to test with"), "{err}");
    photos(&sandbox, "halves/train", 7);
    photos(&sandbox, "halves/Val", 3);
    assert_eq!(images("--data halves"), 6);
    // A missing class, and a class spelt differently.
    fs::remove_dir_all(sandbox.path("new/night")).unwrap();
    let err = stderr(&sandbox, "eval --run run --data new");
    assert!(err.contains("warning: new has no pictures of 'night': not tested"), "{err}");
    assert_eq!(images("--data new"), 7);
    fs::rename(sandbox.path("new/day"), sandbox.path("new/Day")).unwrap();
    sandbox
        .refuses("eval --run run --data new", &["new/Day is of no class", "did you mean `day`?"]);
}

#[test]
fn predict_reports_unreadable_pictures_and_predicts_the_others() {
    let sandbox = Sandbox::new();
    photos(&sandbox, "p", 4);
    sandbox.ok(&format!("{SHORT} p --out run"));
    sandbox.put("bad.png", "no picture");
    let line = "predict --run run p/day/00.png bad.png none.png p/night/01.png";
    let ran = sandbox.run(line);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("p/day/00.png "), "{}", ran.out);
    assert!(ran.err.contains("error: bad.png: not a readable picture"), "{}", ran.err);
    assert!(ran.err.contains("error: cannot read none.png"), "{}", ran.err);
    let ran = sandbox.run(&format!("{line} --json --explain why"));
    assert_eq!(ran.code, Some(2));
    let all: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    let files: Vec<&str> = all.iter().map(|one| one["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["p/day/00.png", "p/night/01.png", "bad.png", "none.png"]);
    assert!(all[0]["label"].is_string() && all[2]["error"].as_str().unwrap().contains("bad.png"));
    assert!(sandbox.path("why/00.png").is_file() && sandbox.path("why/01.png").is_file());
    sandbox.refuses("predict --run run bad.png", &["bad.png: not a readable picture"]);
}

#[test]
fn class_names_and_recipes_may_have_any_line_ends_and_byte_order_marks() {
    let sandbox = Sandbox::new();
    photos(&sandbox, "p", 4);
    sandbox.ok(&format!("{SHORT} p --out run"));
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let predict = |content: &[u8]| {
        sandbox.put("names.txt", content);
        sandbox.run("predict --run run --top 2 --classes-file names.txt p/day/00.png")
    };
    for content in [
        &b"sun\nmoon\n"[..],
        b"sun\r\nmoon\r\n\r\n",
        b"\xef\xbb\xbfsun\nmoon",
        b"sun\nmoon\n\n \n",
        &wide("\u{feff}sun\r\nmoon\r\n"),
    ] {
        let out = predict(content).ok();
        assert!(out.contains("  sun  ") && out.contains("  moon  "), "{out}");
    }
    for (content, part) in [
        (&b"sun\n\nmoon\n"[..], "names.txt: line 2 is blank"),
        (b"", "names.txt: it is empty"),
        (b"sun\n\xff\n", "names.txt: at byte 4: this is no UTF-8 text"),
        (b"sun\nmoon\nmars", "2 classes, but 3 names"),
    ] {
        let message = predict(content).error();
        assert!(message.contains(part), "{message}");
    }
    // Recipes are read alike.
    sandbox.put("r.toml", "\u{feff}dataset = \"shapes\"\r\ntrain-limit = 8\r\nwidths = [4]\r\n");
    sandbox.ok("train --recipe r.toml --epochs 1 --test-limit 10 --out recipe");
}

#[test]
fn a_missing_run_is_refused_with_a_did_you_mean() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{SMALL} --out runs/first"));
    for line in [
        "train --resume --out runs/fist",
        "train --resume --out runs/fist --data elsewhere --quiet",
        "eval --run runs/fist",
        "predict --run runs/fist a.png",
        "inspect --run runs/fist",
        "export --run runs/fist --out a.safetensors",
    ] {
        let hint = "there is no run in runs/fist (did you mean runs/first?)";
        sandbox.refuses(line, &[hint]);
    }
    assert!(!sandbox.path("runs/fist").exists());
    sandbox.refuses("train --resume", &["there is no run in runs/fashion-mnist-cnn-sff-block"]);
    // With a data set, --resume starts a run that does not exist yet.
    sandbox.ok(&format!("{SMALL} --resume --out runs/second"));
    assert!(Path::new(&sandbox.path("runs/second/model.safetensors")).is_file());
}
