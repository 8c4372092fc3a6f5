//! `sff inspect`.

use std::fs;

use serde_json::Value;
use sff::internals::train::checkpoint::{self, Arrays};

use crate::cli::support::{SMALL, Sandbox};

#[test]
fn a_model_shows_its_tensors_and_what_its_run_reached() {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("{SMALL} --test-limit 50 --aux-scale learnable --out run"));
    let json = sandbox.json("inspect --run run --json");
    let path = sandbox.path("run/model.safetensors");
    let (arrays, info): (Arrays, Value) = checkpoint::load(&path).unwrap();
    assert_eq!((&json["classes"], &json["image"]), (&info["classes"], &info["image"]));
    assert_eq!(json["config"], info["config"]);
    // Every tensor, once.
    let blocks = json["blocks"].as_array().unwrap();
    let mut seen = 0;
    for tensor in blocks.iter().flat_map(|block| block["tensors"].as_array().unwrap()) {
        let array = &arrays[tensor["name"].as_str().unwrap()];
        assert_eq!(tensor["shape"], serde_json::json!(array.shape));
        seen += 1;
    }
    assert_eq!(seen, arrays.len());
    // Convolution, batch norm, head and its scale of the first block; one input channel.
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
    // Elsewhere, nothing is known of the run.
    fs::copy(&path, sandbox.path("alone.safetensors")).unwrap();
    let alone = sandbox.json("inspect alone.safetensors --json");
    assert_eq!((&alone["reached"], &alone["blocks"]), (&Value::Null, &json["blocks"]));
}

#[test]
fn what_is_no_model_is_refused() {
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
    // Weights that are not those of the network that the file speaks of.
    let path = sandbox.path("run/model.safetensors");
    let (arrays, mut info): (Arrays, Value) = checkpoint::load(&path).unwrap();
    info["config"]["widths"] = serde_json::json!([4, 4, 5]);
    checkpoint::save(&sandbox.path("other.safetensors"), &arrays, &info).unwrap();
    sandbox.refuses("inspect other.safetensors", &["another architecture", "conv3.weight"]);
    // Notes of a run that are damaged, or of another one.
    let records = fs::read_to_string(sandbox.path("run/metrics.jsonl")).unwrap();
    sandbox.put("run/metrics.jsonl", "{");
    sandbox.refuses("inspect --run run", &["metrics.jsonl"]);
    let mut record: Value = serde_json::from_str(records.lines().next_back().unwrap()).unwrap();
    record["test"]["blocks"] = serde_json::json!([0.5]);
    sandbox.put("run/metrics.jsonl", format!("{record}\n"));
    sandbox.refuses("inspect --run run", &["knows 1 blocks, not 3"]);
}
