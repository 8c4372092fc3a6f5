//! Tests of `sff predict --explain`.

use std::fs;
use std::path::Path;

use sff::internals::app::folder;
use sff::internals::app::inference::Explainer;
use sff::internals::app::records::ModelInfo;
use sff::internals::data::{Images, picture};
use sff::internals::gpu::device::Gpu;
use sff::internals::train::checkpoint::Arrays;
use sff::internals::train::metrics::Vote;

use crate::cli::support::{SMALL, Sandbox};

/// Trains a network with these head options, and asserts that the mean of each squared class map,
/// times the scale, is the goodness.
fn assert_maps_give_goodness(heads: &str) {
    let sandbox = Sandbox::new();
    let line = "train --dataset shapes --train-limit 32 --test-limit 10 --batch 8 --epochs 1";
    sandbox.ok(&format!("{line} --lr 0.02 --partition layer {heads} --out run"));
    let model = folder::model_path(&sandbox.path("run"));
    let (arrays, info): (Arrays, ModelInfo) = folder::read_model(&model).unwrap();
    let pixels: Vec<u8> = (0..3 * 28 * 28u32).map(|i| (i * i % 253) as u8).collect();
    let images = Images::in_memory([28, 28, 1], pixels, vec![0; 3]);
    let gpu = Gpu::open(std::env::var("SFF_TEST_DEVICE").ok().as_deref()).unwrap();
    let mut explainer = Explainer::new(&gpu, &model, (&arrays, &info), &images).unwrap();
    let explanations = explainer.explain(&info, Vote::All).unwrap();
    assert_eq!(explanations.len(), 3);
    for explanation in &explanations {
        for (block, maps) in explanation.maps.iter().enumerate() {
            let scale = arrays.get(&format!("aux.{block}.log_scale"));
            let scale = scale.map_or(1.0, |log| f64::from(log.values[0]).exp());
            for (class, goodness) in explanation.prediction.goodness[block].iter().enumerate() {
                let of = maps.values.iter().skip(class).step_by(maps.shape.c);
                let mean =
                    of.map(|v| f64::from(*v)).sum::<f64>() / (maps.shape.h * maps.shape.w) as f64;
                let expected = f64::from(*goodness);
                let close = (scale * mean - expected).abs() <= 1e-4 * expected.max(1.0);
                assert!(close, "{heads}, block {block}: {} is not {expected}", scale * mean);
            }
        }
    }
    assert_ne!(explanations[0].maps, explanations[2].maps);
}

#[test]
fn the_mean_of_a_class_map_is_the_goodness_for_every_head() {
    assert_maps_give_goodness("--widths 4,4 --aux-kernel 5");
    assert_maps_give_goodness(
        "--widths 4,4 --aux-kernel 3 --aux-separable --aux-pool 5 --aux-scale learnable",
    );
    // With few channels and many classes, goodness is computed from Gram matrices.
    assert_maps_give_goodness("--widths 2,2 --aux-kernel 1");
}

#[test]
fn an_explanation_shows_the_picture_and_the_class_maps_of_each_block() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{SMALL} --out run"));
    let pictures = sandbox.ok("data export --dataset shapes --count 3 --out p");
    let pictures: Vec<&str> = pictures.lines().collect();
    let text = sandbox.ok(&format!("predict --run run --explain why.png {}", pictures[0]));
    let rows: Vec<&str> = text.lines().collect();
    assert!(rows[1].starts_with("  goodness") && rows[1].ends_with("conv3      vote"), "{text}");
    assert_eq!((rows.len(), rows[4]), (5, "  drawn in why.png"), "{text}");
    let drawn = image::open(sandbox.path("why.png")).unwrap().into_rgb8();
    // Columns: the picture and three blocks. Rows: two classes. Scale 5, gaps of 4 pixels.
    let side = 28 * 5;
    assert_eq!(drawn.dimensions(), (4 * side + 3 * 4, 2 * side + 4));
    let original = picture::read(&sandbox.path(pictures[0]), 28, 28, 1).unwrap();
    for (at, value) in original.iter().enumerate() {
        let (x, y) = (at as u32 % 28 * 5 + 2, at as u32 / 28 * 5 + 2);
        assert_eq!(drawn.get_pixel(x, y).0, [*value; 3]);
    }
    // Large values of a map are yellow: much red and little blue.
    for column in 1..4 {
        let start = column * (side + 4);
        let yellow = |x, y| {
            let [r, _, b] = drawn.get_pixel(start + x, y).0;
            i32::from(r) - i32::from(b)
        };
        let all = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
        assert!(all.map(|(x, y)| yellow(x, y)).max().unwrap() > 100, "block {column}");
    }
    // For several pictures, --explain names a folder. Predictions do not change.
    let json = sandbox
        .json(&format!("predict --run run --json --top 3 --explain why {}", pictures.join(" ")));
    let plain = sandbox.json(&format!("predict --run run --json {}", pictures.join(" ")));
    for (explained, plain) in json.as_array().unwrap().iter().zip(plain.as_array().unwrap()) {
        assert_eq!(explained["class"], plain["class"]);
        assert!(plain.get("explained").is_none());
        let file = explained["explained"].as_str().unwrap();
        assert_eq!(
            Path::new(file).file_name(),
            Path::new(plain["file"].as_str().unwrap()).file_name()
        );
        assert_eq!(image::open(sandbox.path(file)).unwrap().height(), 3 * side + 2 * 4);
    }
}

#[test]
fn models_and_targets_without_an_explanation_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{SMALL} --out run"));
    let few = "--dataset shapes --train-limit 16 --batch 8 --widths 4 --epochs 1";
    sandbox.ok(&format!("train {few} --method bp --out bp"));
    sandbox.ok("data export --dataset shapes --count 2 --out p");
    let pictures = "p/00000-disc.png p/00001-ring.png";
    sandbox.copy("p", "q");
    let before = (sandbox.files("p"), fs::read_dir(sandbox.path(".")).unwrap().count());
    for (line, parts) in [
        (
            "--run bp --explain x.png p/00000-disc.png".to_owned(),
            ["backpropagation", "--method sff"],
        ),
        (format!("--run run --explain x.png {pictures}"), ["2 pictures", "give a folder"]),
        (
            "--run run --explain p p/00000-disc.png".to_owned(),
            ["p/00000-disc.png", "choose another"],
        ),
        (
            "--run run --explain p/00000-disc.png p/00000-disc.png".to_owned(),
            ["is one of the pictures", "choose"],
        ),
        (
            "--run run --explain x p/00000-disc.png q/00000-disc.png".to_owned(),
            ["several", "one by one"],
        ),
        (
            "--run run --explain none/x.png p/00000-disc.png".to_owned(),
            ["cannot write", "none/x.png"],
        ),
        (
            "--run run --explain run/config.toml p/00000-disc.png".to_owned(),
            ["cannot create", "config.toml"],
        ),
    ] {
        sandbox.refuses(&format!("predict {line}"), &parts);
    }
    let after = (sandbox.files("p"), fs::read_dir(sandbox.path(".")).unwrap().count());
    assert_eq!(before, after, "nothing was written");
}
