//! Tests of `--partition` and `--cuts`, which group layers into blocks.

use std::fs;

use serde_json::Value;
use sff::internals::train::checkpoint;

use crate::cli::support::{RUN_FILES, Sandbox, last_record};

#[test]
fn partitions_set_the_number_of_blocks() {
    let sandbox = Sandbox::new();
    for (partition, blocks) in [("layer", 3), ("block", 2), ("whole", 1)] {
        let line = "train --dataset shapes --train-limit 32 --widths 4,4,4 --epochs 1";
        sandbox.ok(&format!("{line} --partition {partition} --out {partition}"));
        let record = last_record(&sandbox, partition);
        assert_eq!(record["test"]["blocks"].as_array().unwrap().len(), blocks);
        assert_eq!(record["train"]["images"], 32);
    }
    // Without --out, data set, network, method and partition name the folder.
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

    // --freeze-until and imported weights use the same names of blocks.
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
