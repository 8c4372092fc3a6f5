//! Tests of `sff inspect`.

use std::fs;

use serde_json::Value;
use sff::internals::train::checkpoint::{self, Arrays};

use crate::cli::support::{SMALL, Sandbox};

#[test]
fn inspecting_a_model_shows_its_tensors_and_the_results_of_its_run() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{SMALL} --test-limit 50 --aux-scale learnable --out run"));
    let json = sandbox.json("inspect --run run --json");
    let path = sandbox.path("run/model.safetensors");
    let (arrays, info): (Arrays, Value) = checkpoint::load(&path).unwrap();
    assert_eq!((&json["classes"], &json["image"]), (&info["classes"], &info["image"]));
    assert_eq!(json["config"], info["config"]);
    // Every tensor is listed once.
    let blocks = json["blocks"].as_array().unwrap();
    let mut listed = 0;
    for tensor in blocks.iter().flat_map(|block| block["tensors"].as_array().unwrap()) {
        let array = &arrays[tensor["name"].as_str().unwrap()];
        assert_eq!(tensor["shape"], serde_json::json!(array.shape));
        listed += 1;
    }
    assert_eq!(listed, arrays.len());
    // Parameters of the first block: convolution, batch norm, head and scale; one input channel.
    let first = 4 * 9 + 2 * 4 + 10 * 4 * 25 + 1;
    let names: Vec<&str> = blocks.iter().map(|block| block["name"].as_str().unwrap()).collect();
    assert_eq!((names, &blocks[0]["parameters"]), (vec!["conv1", "conv2", "conv3"], &first.into()));
    assert_eq!(json["parameters"], first + 2 * (first + 3 * 4 * 9));
    assert_eq!(json["head_parameters"], 3 * 1001);
    let records = fs::read_to_string(sandbox.path("run/metrics.jsonl")).unwrap();
    let record: Value = serde_json::from_str(records.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&json["reached"]["test"], &json["reached"]["epochs"]),
        (&record["test"], &2.into())
    );

    let text = sandbox.ok("inspect run/model.safetensors");
    for part in [
        "images      28×28×1\n",
        "\n  aux.0.weight      10×4×5×5       1000  head\n",
        "\n  bn1.running_mean  4                 4  statistic\n",
        "after epoch 2, on 50 test images: vote all ",
        "\n  dataset = \"shapes\"\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    // Outside the folder of its run, a model has no results.
    fs::copy(&path, sandbox.path("alone.safetensors")).unwrap();
    let alone = sandbox.json("inspect alone.safetensors --json");
    assert_eq!((&alone["reached"], &alone["blocks"]), (&Value::Null, &json["blocks"]));
}

#[test]
fn invalid_models_and_records_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{SMALL} --test-limit 10 --out run"));
    let model = fs::read(sandbox.path("run/model.safetensors")).unwrap();
    sandbox.put("cut.safetensors", &model[..model.len() / 2]);
    sandbox.put("text.safetensors", "hello");
    sandbox.put("empty/config.toml", "");
    for (line, parts) in [
        ("inspect", ["required", "--run"]),
        ("inspect --run run run/model.safetensors", ["cannot be used with", "--run"]),
        ("inspect none.safetensors", ["cannot read", "none.safetensors"]),
        ("inspect --run empty", ["cannot read", "empty/model.safetensors"]),
        ("inspect cut.safetensors", ["cut.safetensors", "not a usable safetensors file"]),
        ("inspect text.safetensors", ["text.safetensors", "not a usable safetensors file"]),
    ] {
        sandbox.refuses(line, &parts);
    }
    // Weights of another network than the file's configuration.
    let path = sandbox.path("run/model.safetensors");
    let (arrays, mut info): (Arrays, Value) = checkpoint::load(&path).unwrap();
    info["config"]["widths"] = serde_json::json!([4, 4, 5]);
    checkpoint::save(&sandbox.path("other.safetensors"), &arrays, &info).unwrap();
    sandbox.refuses("inspect other.safetensors", &["another architecture", "conv3.weight"]);
    // Metrics that are damaged, or of another run.
    let records = fs::read_to_string(sandbox.path("run/metrics.jsonl")).unwrap();
    sandbox.put("run/metrics.jsonl", "{");
    sandbox.refuses("inspect --run run", &["metrics.jsonl"]);
    let mut record: Value = serde_json::from_str(records.lines().next_back().unwrap()).unwrap();
    record["test"]["blocks"] = serde_json::json!([0.5]);
    sandbox.put("run/metrics.jsonl", format!("{record}\n"));
    sandbox.refuses("inspect --run run", &["has 1 blocks, not 3"]);
}
