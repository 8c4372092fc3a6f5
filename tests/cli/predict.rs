//! Tests of `sff predict` on the test images of a run.

use std::collections::BTreeSet;

use image::{DynamicImage, imageops::FilterType};
use serde_json::Value;

use crate::cli::support::{Ran, SMALL, Sandbox, keys, largest, numbers};

/// The mean goodness of each class over the blocks from `first` on.
fn mean(goodness: &[Vec<f64>], first: usize) -> Vec<f64> {
    let blocks = &goodness[first..];
    let sum = |class: usize| blocks.iter().map(|block| block[class]).sum::<f64>();
    (0..goodness[0].len()).map(|class| sum(class) / blocks.len() as f64).collect()
}

#[test]
fn predictions_of_all_test_images_give_the_accuracies_of_eval() {
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

    // The other votes: `late` takes blocks 2 and 3, `last` takes block 3.
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

    // The same picture in other formats.
    let original = image::open(sandbox.path(pictures[0])).unwrap();
    let save = |name: &str, picture: DynamicImage| picture.save(sandbox.path(name)).unwrap();
    save("rgba.png", DynamicImage::ImageRgba8(original.to_rgba8()));
    save("sixteen.png", DynamicImage::ImageLuma16(original.to_luma16()));
    save("big.jpg", original.resize_exact(1400, 1400, FilterType::Nearest));
    let line = format!("predict --run run --json {} rgba.png sixteen.png big.jpg", pictures[0]);
    let formats = sandbox.json(&line);
    assert_eq!(formats[0]["logits"], formats[1]["logits"]);
    assert_eq!(formats[0]["logits"], formats[2]["logits"]);
    let (small, big) = (numbers(&formats[0]["logits"]), numbers(&formats[3]["logits"]));
    for (small, big) in small.iter().zip(big) {
        assert!((small - big).abs() < 0.1, "{formats}");
    }
    // Without --json, one line per picture; 33 pictures take two batches.
    let line = format!("predict --run run {}", pictures[..33].join(" "));
    let text = sandbox.ok(&line);
    assert_eq!(text.lines().count(), 33);
    for ((line, file), prediction) in text.lines().zip(&pictures).zip(predictions) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..2], [*file, prediction["label"].as_str().unwrap()]);
        assert!(words[2].ends_with('%'), "{line}");
    }
}
