//! Tests of `sff kernels`: the dispatches of a step with any device's tiles.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::cli::support::Sandbox;

const RESNET: &str = "kernels --arch resnet18 --batch 128";

#[test]
fn the_flops_of_dispatches_add_up_to_those_of_the_plan() {
    let sandbox = Sandbox::new();
    for tiles in ["gpu", "integrated", "cpu"] {
        let listed = sandbox.json(&format!("{RESNET} --tiles {tiles} --json"));
        let listed = listed.as_array().unwrap();
        let names: BTreeSet<&str> =
            listed[0].as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["block", "bytes", "flops", "kernel", "op", "tiles", "workgroups"];
        assert_eq!(names, expected.into());
        let of = |dispatch: &Value| dispatch["flops"].as_f64().unwrap();
        let convolutions =
            listed.iter().filter(|d| d["op"].as_str().unwrap().starts_with("conv2d"));
        let heads = listed.iter().filter(|d| d["op"].as_str().unwrap().starts_with("goodness"));
        let mflop = 1e-6 / 128.0 * convolutions.chain(heads).map(of).sum::<f64>();
        let plan = sandbox.json("plan --arch resnet18 --batch 128 --json");
        let planned = plan["mflop_per_image"].as_f64().unwrap();
        assert!((mflop / planned - 1.0).abs() < 1e-6, "{tiles}: {mflop}, not {planned}");
        assert!(listed.iter().all(|d| d["workgroups"].as_u64().unwrap() > 0));
        assert!(listed.iter().any(|d| d["block"] == "layer4.1"));
    }
}

#[test]
fn kernels_are_printed_and_dumped_in_every_shading_language() {
    let sandbox = Sandbox::new();
    let shown = sandbox.ok("kernels --tiles gpu --show adamw");
    assert!(shown.contains("// adamw.main") && shown.contains("fn main("), "{shown}");
    sandbox.refuses("kernels --tiles gpu --show adamv", &["did you mean `adamw`?"]);
    sandbox.refuses("kernels --tiles tpu", &["tpu"]);
    sandbox.ok("kernels --tiles cpu --batch 8 --dump dumped");
    let folder = sandbox.path("dumped");
    let index = fs::read_to_string(folder.join("index.json")).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    let kernels = index["kernels"].as_array().unwrap();
    for kernel in kernels {
        let file = |kind: &str| fs::read(folder.join(kernel["files"][kind].as_str().unwrap()));
        assert_eq!(file("spv").unwrap()[..4], 0x0723_0203u32.to_le_bytes());
        assert!(String::from_utf8(file("metal").unwrap()).unwrap().contains("metal"));
        assert!(String::from_utf8(file("hlsl").unwrap()).unwrap().contains("numthreads"));
        assert!(String::from_utf8(file("wgsl").unwrap()).unwrap().contains("@compute"));
    }
    let dispatches = index["dispatches"].as_array().unwrap();
    let adamw = dispatches.iter().find(|d| d["kernel"] == "adamw.main").unwrap();
    assert!((adamw["parameters"]["beta1"].as_f64().unwrap() - 0.9).abs() < 1e-6, "{adamw}");
    assert!(adamw["parameters"]["len"].as_u64().unwrap() > 0, "{adamw}");
    assert!(dispatches.iter().all(|d| d["index"].as_u64().unwrap() < kernels.len() as u64));
}
