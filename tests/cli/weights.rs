//! Tests of `sff import` and `sff export`, and of predictions with imported weights.

use std::collections::BTreeSet;

use half::{bf16, f16};
use image::{Rgb, RgbImage, imageops};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use sff::internals::app::config::Method;
use sff::internals::train::checkpoint::Arrays;

use crate::cli::support::{Sandbox, numbers};
use crate::cli::tensors::{Raw, cnn, load, random, raw, save};

pub const IMPORT: &str =
    "import w.safetensors --arch cnn --widths 4,5 --image-size 16 --out m.safetensors";

#[test]
fn missing_extra_and_wrongly_shaped_tensors_are_listed() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("w.safetensors");
    let mut tensors = raw(&cnn());
    for name in ["conv1.weight", "bn2.running_var", "fc.bias"] {
        tensors.remove(name);
    }
    for name in ["conv3.weight", "bn1.scale"] {
        tensors.insert(name.into(), tensors["bn1.bias"].clone());
    }
    tensors.get_mut("bn2.bias").unwrap().1 = vec![1, 5];
    tensors.get_mut("conv2.weight").unwrap().1 = vec![5, 3, 3, 4];
    save(&path, &tensors);
    let message = sandbox.error(IMPORT);
    let lines: Vec<&str> = message.lines().map(str::trim).collect();
    let summary = "w.safetensors: these weights are of another architecture (3 missing, 2 of another shape, 2 too many):";
    assert_eq!(lines[0], summary);
    let expected = [
        "conv1.weight is missing",
        "fc.bias is missing",
        "bn2.running_var is missing",
        "bn2.bias has shape [1, 5], expected [5]",
        "conv2.weight has shape [5, 3, 3, 4], expected [5, 4, 3, 3]",
        "bn1.scale is not part of it",
        "conv3.weight is not part of it",
    ];
    assert_eq!(lines[1..], expected);
    // A backbone without a head, and weights of another architecture.
    let headless = raw(&cnn()).into_iter().filter(|(name, _)| !name.starts_with("fc")).collect();
    save(&path, &headless);
    sandbox.refuses(IMPORT, &["(2 missing, 0 of", "fc.bias is missing", "fc.weight is missing"]);
    let line = "import w.safetensors --arch resnet18 --out m.safetensors";
    save(&path, &raw(&cnn()));
    sandbox.refuses(line, &["weights of cnn, not of resnet18; give --arch cnn --widths 4,5"]);
    assert_eq!(sandbox.files("").len(), 1, "no other file was written");
}

#[test]
fn other_number_formats_are_converted_to_float32() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("w.safetensors");
    let arrays = cnn();
    let mut tensors = raw(&arrays);
    let mut change = |name: &str, dtype, bytes: &dyn Fn(f32) -> Vec<u8>| {
        let tensor = tensors.get_mut(name).unwrap();
        *tensor =
            (dtype, tensor.1.clone(), arrays[name].values.iter().flat_map(|v| bytes(*v)).collect());
    };
    change("bn1.weight", Dtype::F64, &|v| f64::from(v).to_le_bytes().to_vec());
    change("bn1.bias", Dtype::F16, &|v| f16::from_f32(v).to_le_bytes().to_vec());
    change("bn2.bias", Dtype::F16, &|v| f16::from_f32(v).to_le_bytes().to_vec());
    change("bn2.weight", Dtype::BF16, &|v| bf16::from_f32(v).to_le_bytes().to_vec());
    for name in ["bn1.num_batches_tracked", "bn2.num_batches_tracked"] {
        tensors.insert(name.into(), (Dtype::I64, vec![], vec![3, 0, 0, 0, 0, 0, 0, 0]));
    }
    save(&path, &tensors);
    let out = sandbox.ok(IMPORT);
    let lines: Vec<&str> = out.lines().collect();
    let expected = [
        "converted 1 BF16 tensors to F32",
        "converted 2 F16 tensors to F32",
        "converted 1 F64 tensors to F32",
        "left out 2 tensors num_batches_tracked, which are not used",
        "saved 12 tensors, cnn for 3 classes, to m.safetensors",
    ];
    assert_eq!(lines, expected);
    let imported = load(&sandbox.path("m.safetensors"));
    for (name, (dtype, shape, bytes)) in &imported {
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
        let exact = &arrays[name].values;
        let rounded = |f: fn(f32) -> f32| exact.iter().map(|v| f(*v)).collect::<Vec<_>>();
        let expected = match name.as_str() {
            "bn1.bias" | "bn2.bias" => rounded(|v| f16::from_f32(v).to_f32()),
            "bn2.weight" => rounded(|v| bf16::from_f32(v).to_f32()),
            _ => exact.clone(),
        };
        assert_eq!((*dtype, shape, values), (Dtype::F32, &arrays[name].shape, expected), "{name}");
    }
}

#[test]
fn unusable_tensors_files_and_options_are_refused() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("w.safetensors");
    let mut tensors = raw(&cnn());
    let mut replace = |name: &str, dtype, bytes: &dyn Fn(usize) -> Vec<u8>| {
        let tensor = tensors.get_mut(name).unwrap();
        let count = tensor.1.iter().product();
        *tensor = (dtype, tensor.1.clone(), (0..count).flat_map(bytes).collect());
    };
    let with_bad_value = |position: usize, bad: f32| {
        move |at: usize| if at == position { bad } else { 0.5f32 }.to_le_bytes().to_vec()
    };
    replace("bn1.weight", Dtype::F32, &with_bad_value(2, f32::NAN));
    replace("fc.weight", Dtype::F32, &with_bad_value(14, f32::NEG_INFINITY));
    replace("fc.bias", Dtype::I32, &|_| vec![0; 4]);
    // Too large for float32.
    replace("bn2.weight", Dtype::F64, &|_| 1e300f64.to_le_bytes().to_vec());
    save(&path, &tensors);
    let message = sandbox.error(IMPORT);
    let lines: Vec<&str> = message.lines().map(str::trim).collect();
    assert_eq!(lines[0], "w.safetensors: 4 of its tensors cannot be used:");
    let listed: BTreeSet<&str> = lines[1..].iter().copied().collect();
    let expected = [
        "bn1.weight holds NaN at position 2",
        "bn2.weight holds inf at position 0",
        "fc.bias is I32, expected F32, F16, BF16 or F64",
        "fc.weight holds -inf at position 14",
    ];
    assert_eq!(listed.into_iter().collect::<Vec<_>>(), expected);

    save(&path, &raw(&cnn()));
    let good = std::fs::read(&path).unwrap();
    let with_header = |length: u64, header: &str| {
        [&length.to_le_bytes()[..], header.as_bytes(), &[0; 64]].concat()
    };
    let tensor = |dtype: &str, shape: &str, from: u64, to: u64| {
        let header = format!(
            "{{\"a\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{from},{to}]}}}}"
        );
        with_header(header.len() as u64, &header)
    };
    for bad in [
        vec![],
        good[..7].to_vec(),
        good[..good.len() - 1].to_vec(),
        [&good[..], b"more"].concat(),
        with_header(u64::MAX, "{}"),
        with_header(1 << 40, "{}"),
        with_header(9, "{}"),
        with_header(2, "[]"),
        with_header(7, "{\"a\":1}"),
        tensor("F32", "[1]", 0, u64::MAX),
        tensor("F32", "[16]", 64, 0),
        tensor("F32", "[4294967296,4294967296,4294967296]", 0, 64),
        tensor("F32", "[17]", 0, 64),
        tensor("F99", "[16]", 0, 64),
        tensor("F32", "[-16]", 0, 64),
    ] {
        std::fs::write(&path, &bad).unwrap();
        sandbox.refuses(IMPORT, &["w.safetensors: not a usable safetensors file: "]);
    }
    for pickle in
        [&b"PK\x03\x04\x14\0\0\0archive/data.pkl"[..], b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."]
    {
        std::fs::write(&path, pickle).unwrap();
        sandbox.refuses(IMPORT, &["pickle", "torch.load(", "safetensors.torch.save_file("]);
    }
    std::fs::remove_file(&path).unwrap();
    sandbox.refuses(IMPORT, &["cannot read w.safetensors"]);

    // Valid weights with options that contradict them.
    save(&path, &raw(&cnn()));
    sandbox.put("two.txt", "a\nb\n");
    for (option, parts) in [
        ("--classes-file two.txt", &["w.safetensors has 3 classes, but 2 names are given"][..]),
        (
            "--mean 0.5,0.5 --std 0.5,0.5",
            &["images of 3 channels, but --mean has 2 values and --std 2"],
        ),
        ("--mean 0,0,0 --std 1,0,1", &["is no normalisation"]),
        ("--mean 0,0,0", &["--std"]),
        ("--method sff", &["aux.0.weight is missing", "fc.bias is not part of it"]),
        ("--freeze-until block7", &["there is no block `block7`", "block1, head"]),
    ] {
        sandbox.refuses(&format!("{IMPORT} {option}"), parts);
    }
    let sizes = |side: &str| IMPORT.replace("--image-size 16", &format!("--image-size {side}"));
    sandbox.refuses(&sizes("0"), &["0×0×3 images"]);
    sandbox.refuses(&sizes("1"), &["does not fit"]);
    sandbox.refuses(&IMPORT.replace("m.safe", "w.safe"), &["is the input file"]);
    assert_eq!(sandbox.files("").len(), 2);
}

#[test]
fn export_inverts_import_and_keeps_predictions() {
    let sandbox = Sandbox::new();
    let weights = raw(&cnn());
    save(&sandbox.path("w.safetensors"), &weights);
    sandbox.ok(IMPORT);
    sandbox.ok("export --init m.safetensors --out out.safetensors");
    assert!(load(&sandbox.path("out.safetensors")) == weights);
    let bytes = std::fs::read(sandbox.path("out.safetensors")).unwrap();
    // The format that PyTorch programs expect.
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");

    // An exported run can be imported and predicts the same, with several partitions and heads.
    sandbox.ok("data export --dataset shapes32 --count 1 --out p");
    for (options, import) in [
        ("--partition layer --aux-kernel 3", "--partition layer"),
        ("--method bp", ""),
        ("--partition whole", "--partition whole"),
        (
            "--partition whole --aux-kernel 3 --aux-separable --aux-pool 4 --aux-scale learnable",
            "--partition whole --aux-pool 4",
        ),
    ] {
        let train = "train --dataset shapes32 --train-limit 32 --widths 4,4 --epochs 1";
        let folder = format!("run{}", options.len());
        sandbox.ok(&format!("{train} {options} --out {folder}"));
        let out = sandbox.ok(&format!("export --run {folder} --out w.safetensors"));
        assert_eq!(out, "saved to w.safetensors\n");
        let model = sandbox.path(&folder).join("model.safetensors");
        let (_, info): (Arrays, Value) = sff::internals::train::checkpoint::load(&model).unwrap();
        assert!(load(&model) == load(&sandbox.path("w.safetensors")));
        let list = |key: &str| info["normalization"][key].to_string().replace(['[', ']'], "");
        let names: Vec<&str> =
            info["classes"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        sandbox.put("names.txt", names.join("\n"));
        sandbox.ok(&format!(
            "import w.safetensors --arch cnn --widths 4,4 --image-size 32 {import} --mean {} --std {} --classes-file names.txt --out again.safetensors",
            list("mean"),
            list("std"),
        ));
        let predict =
            |model: &str| sandbox.json(&format!("predict {model} --json p/00000-disc.png"));
        assert_eq!(predict(&format!("--run {folder}")), predict("--init again.safetensors"));
    }
}

fn mobilenet(method: Method, classes: usize) -> Raw {
    random("mobilenet-v3-small", method, classes)
}

#[test]
fn export_lists_differences_from_torchvisions_network() {
    let sandbox = Sandbox::new();
    let weights = mobilenet(Method::Sff, 4);
    save(&sandbox.path("w.safetensors"), &weights);
    sandbox.ok("import w.safetensors --arch mobilenet-v3-small --out m.safetensors");
    let out = sandbox.ok("export --init m.safetensors --out out.safetensors");
    assert!(load(&sandbox.path("out.safetensors")) == weights);
    let lines: Vec<&str> = out.lines().collect();
    let lacks = "torchvision's network has, and this file does not: classifier.0.bias, classifier.0.weight, classifier.3.bias, classifier.3.weight";
    assert_eq!(lines[..2], ["saved to out.safetensors", lacks]);
    let has =
        "this file has, and torchvision's network does not: aux.0.weight, aux.1.weight, aux.10";
    assert!(lines.len() == 3 && lines[2].starts_with(has), "{out}");
}

#[test]
fn an_imported_model_predicts_with_given_names_size_and_resize() {
    let sandbox = Sandbox::new();
    save(&sandbox.path("w.safetensors"), &mobilenet(Method::Bp, 7));
    let names = "ant\nbee\ncat\ndog\nelk\nfox\ngnu\n";
    sandbox.put("names.txt", names);
    let import = "import w.safetensors --arch mobilenet-v3-small --out m.safetensors";
    let out = sandbox.ok(import);
    assert_eq!(out, "saved 210 tensors, mobilenet-v3-small for 7 classes, to m.safetensors\n");
    let colour = |x: u32, y: u32| Rgb([(x * 5) as u8, (y * 6) as u8, (x * y % 256) as u8]);
    let picture = RgbImage::from_fn(40, 40, colour);
    picture.save(sandbox.path("forty.png")).unwrap();
    let middle = imageops::crop_imm(&picture, 4, 4, 32, 32).to_image();
    middle.save(sandbox.path("middle.png")).unwrap();

    let predict = "predict --init m.safetensors --image-size 32 --json";
    let line = format!("{predict} --classes-file names.txt middle.png");
    let prediction = &sandbox.json(&line)[0];
    let logits = numbers(&prediction["logits"]);
    assert_eq!(logits.len(), 7);
    let total: f64 = logits.iter().map(|v| v.exp()).sum();
    let mut order: Vec<usize> = (0..7).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let top = prediction["top"].as_array().unwrap();
    assert_eq!(top.len(), 5);
    for (guess, class) in top.iter().zip(&order) {
        assert_eq!(guess["class"], json!(class));
        assert_eq!(guess["label"], names.lines().nth(*class).unwrap());
        let probability = guess["probability"].as_f64().unwrap();
        assert!((probability - logits[*class].exp() / total).abs() < 1e-6, "{prediction}");
    }
    for key in ["class", "label", "probability"] {
        assert_eq!(prediction[key], top[0][key]);
    }
    // Without names, labels are class numbers. Names and image size can be set by the import.
    let plain = &sandbox.json(&format!("{predict} middle.png"))[0];
    assert_eq!(
        (&plain["logits"], &plain["label"]),
        (&prediction["logits"], &json!(order[0].to_string()))
    );
    sandbox
        .ok(&import
            .replace("m.safetensors", "n.safetensors --image-size 32 --classes-file names.txt"));
    let imported = &sandbox.json("predict --init n.safetensors --json middle.png")[0];
    assert_eq!(imported["logits"], prediction["logits"]);
    assert_eq!(imported["label"], prediction["label"]);
    let stem = import.replace("m.safetensors", "c.safetensors --image-size 32 --stem cifar");
    sandbox.ok(&stem);
    let other = &sandbox.json("predict --init c.safetensors --json middle.png")[0];
    assert_ne!(other["logits"], prediction["logits"]);
    let same = &sandbox.json("predict --init c.safetensors --image-size 32 --json middle.png")[0];
    assert_eq!(same["logits"], other["logits"], "the model keeps its stem");

    // Resizing to its own size changes nothing, and the centre is cropped.
    let cropped = &sandbox.json(&format!("{predict} --resize 40 forty.png"))[0];
    assert_eq!(cropped["logits"], prediction["logits"]);
    let scaled = &sandbox.json(&format!("{predict} forty.png"))[0];
    assert_ne!(scaled["logits"], prediction["logits"]);
    let text = sandbox.ok("predict --init n.safetensors --top 3 middle.png");
    let labels: Vec<&str> = text.split_whitespace().skip(1).step_by(2).collect();
    let expected: Vec<&str> =
        order[..3].iter().map(|class| names.lines().nth(*class).unwrap()).collect();
    assert_eq!(labels, expected, "{text}");

    sandbox.put("two.txt", "a\nb\n");
    for (options, parts) in [
        ("--classes-file two.txt middle.png", &["m.safetensors has 7 classes, but 2 names"][..]),
        ("--resize 31 middle.png", &["--resize must be at least the image size of 32×32, not 31"]),
        ("--run x middle.png", &["cannot be used with"]),
        ("--top 6 middle.png", &["--top"]),
    ] {
        sandbox.refuses(&format!("{predict} {options}"), parts);
    }
    let line = "predict --init m.safetensors middle.png --image-size";
    sandbox.refuses(&format!("{line} 0"), &["--image-size must be from 1 to 4096, not 0"]);
    sandbox.refuses(&format!("{line} 5000"), &["--image-size must be from 1 to 4096"]);
    sandbox.refuses("predict --init w.safetensors middle.png", &["not written by sff"]);
    sandbox.refuses("predict middle.png", &["--run <FOLDER>", "--init <MODEL>"]);
}
