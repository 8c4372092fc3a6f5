//! HTML pages of runs, experiments and profiles: their files, and their rendering in a browser.

mod browser;

use std::collections::BTreeSet;
use std::fs;

use crate::cli::support::{SMALL, Sandbox};
use browser::Browser;
use image::RgbImage;
use serde_json::Value;

/// Class names that would be tags, entities or attributes without escaping.
const CLASSES: [&str; 3] = ["<b>&\"bold\"", "a class with quite a long name", "naïve &amp; 日本"];

/// Trains on photos with these class names, and returns the page.
fn run_page(sandbox: &Sandbox) -> String {
    for (class, name) in CLASSES.iter().enumerate() {
        for i in 0..12u32 {
            let shade =
                |x: u32, y: u32| ((x * 31 * (class as u32 + 1) + y * 17 + i * 7) % 256) as u8;
            let photo = RgbImage::from_fn(12, 12, |x, y| image::Rgb([shade(x, y), shade(y, x), 9]));
            let path = sandbox.put(&format!("photos/{name}/{i}.png"), "");
            photo.save(path).unwrap();
        }
    }
    let options = "--val-fraction 0.5 --batch 6 --widths 4,4,4 --partition layer --epochs 2";
    sandbox
        .ok(&format!("train --dataset folder --data photos --image-size 12 {options} --out run"));
    fs::read_to_string(sandbox.path("run/report.html")).unwrap()
}

/// The section of times, which differs from page to page.
const TIMES: &str = "Where the time of a step goes";

/// A page without [`TIMES`].
fn without_times(page: &str) -> String {
    let (before, rest) = page.split_once(TIMES).expect("a step was timed");
    let (_, after) = rest.split_once("</section>").unwrap();
    before.to_owned() + after
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

/// Asserts that a page fits its width and has no broken, empty, clipped or external parts.
fn assert_layout(found: &Value) {
    let width = found["width"].as_u64().unwrap();
    assert!(found["scroll"].as_u64().unwrap() <= width, "wider than {width}: {}", found["wide"]);
    for problem in ["wide", "clipped", "tiny", "empty", "broken", "foreign"] {
        assert_eq!(found[problem], serde_json::json!([]), "{problem} at {width}");
    }
    assert_eq!(found["unnamed"], 0);
    let headings: BTreeSet<&str> = strings(&found["headings"]).into_iter().collect();
    assert_eq!(headings.len(), found["headings"].as_array().unwrap().len(), "{headings:?}");
}

/// The mean brightness of a picture, 0 to 255, and its number of colours.
fn brightness_and_colours(picture: &RgbImage) -> (f64, usize) {
    let bright = picture.pixels().map(|p| p.0.iter().map(|v| f64::from(*v)).sum::<f64>() / 3.0);
    let colours: BTreeSet<[u8; 3]> = picture.pixels().map(|pixel| pixel.0).collect();
    (bright.sum::<f64>() / f64::from(picture.width() * picture.height()), colours.len())
}

#[test]
fn the_page_of_a_run_renders_and_shows_its_results() {
    let sandbox = Sandbox::new();
    let page = run_page(&sandbox);
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
    assert!(
        !page.contains("<b>&\"bold") && !page.contains("http://") && !page.contains("https://")
    );
    let Some(browser) = Browser::find() else { return };
    let record = fs::read_to_string(sandbox.path("run/metrics.jsonl")).unwrap();
    let record: Value = serde_json::from_str(record.lines().last().unwrap()).unwrap();
    let test = &record["test"];
    for found in browser.measure(&page, &[1100, 390]) {
        assert_layout(&found);
        let expected = [
            "cnn on folder, SFF by layer",
            "Curves",
            "Classes",
            "Goodness",
            "Worst mistakes",
            "First layer",
            "Memory",
            TIMES,
            "Configuration",
            "Device and versions",
        ];
        assert_eq!(strings(&found["headings"]), expected);
        assert_eq!(found["sources"], serde_json::json!([]), "nothing is fetched");
        // Six charts, a histogram for each block, two plans.
        assert_eq!(found["figures"], 6 + 3 + 2);
        // Classes are in the order of their names.
        let mut names = CLASSES;
        names.sort_unstable();
        let rows: Vec<String> = (0..).zip(names).map(|(i, name)| format!("{i} {name}")).collect();
        assert_eq!(strings(&found["rows"]), rows);
        // The confusion matrix counts every image once, and the correct ones on its diagonal.
        let count = |cells: &Value| -> f64 {
            strings(cells).iter().map(|cell| cell.parse::<f64>().unwrap_or(0.0)).sum()
        };
        let images = test["images"].as_f64().unwrap();
        assert_eq!(count(&found["cells"]), images);
        let correct = test["accuracy"]["all"].as_f64().unwrap() * images;
        assert!((count(&found["hits"]) - correct).abs() < 1e-6, "{found}");
        let mistakes = (images - correct).round().min(16.0) as u64;
        assert_eq!(found["pictures"], mistakes + 1, "mistakes and filters");
        let text = found["text"].as_str().unwrap();
        let shown = format!("{:.2}%", 100.0 * test["accuracy"]["all"].as_f64().unwrap());
        for part in [&shown, "2 of 2 epochs", "this run:", "backpropagation:", "image-size = 12"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        // Three blocks, the rest of the step, and ten kernels. The blocks and the rest add up.
        let (_, times) = text.split_once(TIMES).unwrap();
        let rows = times.lines().filter(|line| line.contains('%'));
        let rows: Vec<Vec<&str>> = rows.map(|row| row.split('\t').collect()).collect();
        let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
        assert_eq!(names[..4], ["conv1", "conv2", "conv3", "input, metrics"], "{text}");
        assert_eq!(names.len(), 4 + 10, "{names:?}");
        let shares = rows[..4].iter().map(|row| row[3].trim_end_matches('%').parse::<f64>());
        let all: f64 = shares.map(Result::unwrap).sum();
        assert!((all - 100.0).abs() < 0.3 && times.contains("A step of 6 images"), "{times}");
    }
    let [light, dark, phone] = [(1100, false), (1100, true), (390, false)]
        .map(|(width, dark)| brightness_and_colours(&browser.screenshot(&page, width, dark)));
    assert!(light.0 > 200.0 && phone.0 > 200.0, "{light:?} {phone:?}");
    assert!(dark.0 < 70.0, "{dark:?}");
    for (_, colours) in [light, dark, phone] {
        assert!(colours > 100, "the page is blank: {colours} colours");
    }
}

#[test]
fn the_page_of_an_experiment_renders_and_links_to_its_runs() {
    let sandbox = Sandbox::new();
    let experiment = r#"
        title = "A <title> & more"
        seeds = [0, 1]
        [options]
        dataset = "shapes"
        widths = [4]
        batch = 8
        epochs = 2
        train-limit = 16
        test-limit = 40
        [[ways]]
        name = "SFF, <block>"
        [[ways]]
        name = "BP"
        method = "bp"
    "#;
    sandbox.put("few.toml", experiment);
    sandbox.ok("compare --recipe few.toml --out e");
    let page = fs::read_to_string(sandbox.path("e/results.html")).unwrap();
    let Some(browser) = Browser::find() else { return };
    for found in browser.measure(&page, &[1100, 390]) {
        assert_layout(&found);
        assert_eq!(strings(&found["headings"]), ["A <title> & more", "Results", "Curves", "Runs"]);
        assert_eq!(found["figures"], 2);
        let links = strings(&found["sources"]);
        assert_eq!(links.len(), 4);
        for link in links {
            assert!(sandbox.path("e").join(link).exists(), "{link}");
        }
        let text = found["text"].as_str().unwrap();
        assert!(text.contains("SFF, <block>") && text.contains(" ± "), "{text}");
    }
    let [light, dark] =
        [false, true].map(|dark| brightness_and_colours(&browser.screenshot(&page, 1100, dark)));
    assert!(light.0 > 200.0 && dark.0 < 70.0 && light.1 > 30, "{light:?} {dark:?}");
    // A run by backpropagation has scores instead of goodness, and one plan.
    let page = fs::read_to_string(sandbox.path("e/accuracy/bp-seed-0/report.html")).unwrap();
    let found = browser.measure(&page, &[390]);
    assert_layout(&found[0]);
    assert!(strings(&found[0]["headings"]).contains(&"Scores"));
    assert_eq!(found[0]["figures"], 4 + 1 + 1);
}

#[test]
fn the_page_of_a_profile_renders_with_all_tables() {
    let sandbox = Sandbox::new();
    sandbox.ok("profile --widths 4,4,8,8 --image 8 --batch 4 --classes 3 --steps 2 --html p.html");
    let page = fs::read_to_string(sandbox.path("p.html")).unwrap();
    let Some(browser) = Browser::find() else { return };
    for found in browser.measure(&page, &[1100, 390]) {
        assert_layout(&found);
        let expected = [
            "cnn, 8×8, batch 4, Sff by Block",
            "Roofline",
            "One step, block by block",
            "By block",
            "By op",
            "By kernel",
        ];
        assert_eq!(strings(&found["headings"]), expected);
        assert_eq!((&found["figures"], &found["sources"]), (&2.into(), &serde_json::json!([])));
        let text = found["text"].as_str().unwrap();
        for part in ["peak, measured", "goodness and loss", "of roofline", "1. ", "conv2d.main"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}

#[test]
fn a_resumed_run_rewrites_a_missing_page_and_warns_if_it_cannot() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{SMALL} --test-every 2 --test-limit 40 --out run"));
    let path = sandbox.path("run/report.html");
    let page = fs::read_to_string(&path).unwrap();
    assert!(page.contains("2 of 2 epochs") && page.contains("after epoch 2"), "{page}");
    // Invalid lines of timing.jsonl are ignored, and a missing page is written again.
    let timing = fs::read_to_string(sandbox.path("run/timing.jsonl")).unwrap();
    sandbox.put("run/timing.jsonl", format!("{timing}no JSON\n"));
    fs::remove_file(&path).unwrap();
    sandbox.ok("train --resume --out run");
    assert_eq!(without_times(&fs::read_to_string(&path).unwrap()), without_times(&page));
    // If the page cannot be written, the run still succeeds, with a warning.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    for line in ["train --resume --out run", &format!("{SMALL} --resume --out new")] {
        fs::create_dir_all(sandbox.path("new/report.html")).unwrap();
        let ran = sandbox.run(line);
        assert!(ran.err.contains("warning: cannot write "), "{}", ran.err);
        assert!(ran.err.contains("report.html"), "{}", ran.err);
        ran.ok();
    }
    assert!(sandbox.path("new/model.safetensors").is_file());
}
