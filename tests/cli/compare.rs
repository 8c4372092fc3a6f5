//! Tests of `sff compare`.

use std::fs;
use std::path::Path;

use crate::cli::support::Sandbox;

const EXPERIMENT: &str = r#"
title = "Few shapes"
seeds = [0, 1]
[options]
dataset = "shapes"
widths = [4, 4]
batch = 8
epochs = 1
test-limit = 40
[pretrain]
classes = ["0-1"]
train-limit = 16
[[columns]]
name = "16 images"
train-limit = 16
[[columns]]
name = "24"
train-limit = 24
[[ways]]
name = "BP"
method = "bp"
from-scratch = true
[[ways]]
name = "SFF, block"
vote = "late"
"#;

#[test]
fn an_experiment_is_resumed_where_it_stopped() {
    let sandbox = Sandbox::new();
    sandbox.put("few.toml", EXPERIMENT);
    let first = sandbox.ok("compare --recipe few.toml");
    assert!(first.contains("8/8 24, SFF, block, seed 1: "), "{first}");
    let read = |name: &str| fs::read_to_string(sandbox.path("runs/few").join(name)).unwrap();
    let (table, csv) = (read("results.md"), read("results.csv"));
    assert!(table.starts_with("# Few shapes\n\n| | 16 images | 24 |\n"), "{table}");
    assert_eq!((table.matches(" ± ").count(), csv.lines().count()), (4, 9), "{table}{csv}");
    assert!(read("results.svg").contains("16 images"));
    let page = read("results.html");
    for part in ["<title>Few shapes</title>", "8 of 8 runs", "<th scope=\"col\">16 images</th>"] {
        assert!(page.contains(part), "{part}");
    }
    let links: Vec<&str> =
        page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(links.len() == 8 && links.contains(&"16-images/sff-block-seed-1/report.html"));
    assert!(links.iter().all(|link| sandbox.path("runs/few").join(link).exists()), "{links:?}");
    // A deleted run and an unfinished one are repeated, the others are kept.
    let model = sandbox.path("runs/few/24/bp-seed-0/model.safetensors");
    let kept = fs::metadata(&model).unwrap().modified().unwrap();
    fs::remove_dir_all(sandbox.path("runs/few/24/sff-block-seed-1")).unwrap();
    fs::remove_file(sandbox.path("runs/few/16-images/bp-seed-1/model.safetensors")).unwrap();
    let again = sandbox.ok("compare --recipe few.toml");
    assert_eq!((&first, &csv), (&again, &read("results.csv")));
    assert_eq!(kept, fs::metadata(&model).unwrap().modified().unwrap());
    // With other options, the folder holds another experiment.
    sandbox.put("few.toml", EXPERIMENT.replace("epochs = 1", "epochs = 2"));
    sandbox.refuses("compare --recipe few.toml", &["runs/few", "another --epochs"]);
}

#[test]
fn every_recipe_of_the_repository_is_valid() {
    let sandbox = Sandbox::new();
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let mut count = 0;
    for entry in fs::read_dir(&recipes).unwrap() {
        let path = entry.unwrap().path();
        let runs = sandbox.ok(&format!("compare --list --recipe {}", path.display()));
        assert!(runs.lines().count() >= 3, "{runs}");
        count += 1;
    }
    assert_eq!(count, 9);
    let quick = "--quick --out quick";
    sandbox.ok(&format!(
        "compare --recipe {} {quick} --list",
        recipes.join("fashion-scarce.toml").display()
    ));
}

#[test]
fn errors_in_an_experiment_are_named() {
    let sandbox = Sandbox::new();
    for (from, to, expected) in [
        ("dataset = \"shapes\"", "dataset = \"shape\"", "did you mean `shapes`"),
        ("epochs = 1", "epoch = 1", "epoch"),
        ("seeds", "seds", "seds"),
    ] {
        sandbox.put("few.toml", EXPERIMENT.replace(from, to));
        sandbox.refuses("compare --recipe few.toml --out e", &[expected]);
    }
    sandbox.refuses("compare --recipe none.toml", &["none.toml"]);
}
