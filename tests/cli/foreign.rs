//! Tests of weights with other libraries' names, wrappers and file formats.

use safetensors::tensor::Dtype;
use sff::internals::app::config::Method;

use crate::cli::support::Sandbox;
use crate::cli::tensors::{Raw, cnn, load, random, raw, save};
use crate::cli::weights::IMPORT;

/// The same tensors with other names.
fn renamed(tensors: &Raw, rename: impl Fn(&str) -> String) -> Raw {
    tensors.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect()
}

#[test]
fn a_common_prefix_of_names_is_removed_with_a_note() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("w.safetensors");
    save(&path, &raw(&cnn()));
    sandbox.ok(IMPORT);
    let expected = std::fs::read(sandbox.path("m.safetensors")).unwrap();
    for prefix in ["module.", "_orig_mod.", "model.", "backbone.", "_orig_mod.module.", "net."] {
        let mut tensors = renamed(&raw(&cnn()), |name| format!("{prefix}{name}"));
        let counter = format!("{prefix}bn1.num_batches_tracked");
        tensors.insert(counter, (Dtype::I64, vec![], vec![0; 8]));
        save(&path, &tensors);
        let out = sandbox.ok(IMPORT);
        let note = format!("left out `{prefix}`, with which all names of tensors began\n");
        assert!(out.contains(&note), "{out}");
        assert!(std::fs::read(sandbox.path("m.safetensors")).unwrap() == expected, "{prefix}");
    }
    // A prefix of some names only is kept, and the weights do not fit.
    save(&path, &renamed(&raw(&cnn()), |name| name.replace("conv", "model.conv")));
    sandbox.refuses(IMPORT, &["conv1.weight is missing", "model.conv1.weight is not part of it"]);
}

/// Hugging Face's name of a tensor of ResNet18.
fn hugging_face(name: &str) -> String {
    let (layer, kind) = name.rsplit_once('.').unwrap();
    let part = |layer: &str| if layer.starts_with("bn") { "normalization" } else { "convolution" };
    let parts: Vec<&str> = layer.split('.').collect();
    match parts[..] {
        ["fc"] => format!("classifier.1.{kind}"),
        [first] => format!("resnet.embedder.embedder.{}.{kind}", part(first)),
        [stage, layer, ref rest @ ..] => {
            let number = |text: &str| text[text.len() - 1..].parse::<usize>().unwrap() - 1;
            let layer = format!("resnet.encoder.stages.{}.layers.{layer}", number(stage));
            match rest {
                ["downsample", "0"] => format!("{layer}.shortcut.convolution.{kind}"),
                ["downsample", "1"] => format!("{layer}.shortcut.normalization.{kind}"),
                [inner] => format!("{layer}.layer.{}.{}.{kind}", number(inner), part(inner)),
                _ => panic!("{name}"),
            }
        }
        _ => panic!("{name}"),
    }
}

#[test]
fn weights_with_hugging_faces_or_timms_names_import_alike() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("w.safetensors");
    let import = "import w.safetensors --arch resnet18 --image-size 32 --out m.safetensors";
    let tensors = random("resnet18", Method::Bp, 5);
    save(&path, &tensors);
    sandbox.ok(import);
    let expected = std::fs::read(sandbox.path("m.safetensors")).unwrap();
    for prefix in ["", "model.", "timm_model."] {
        let names = |name: &str| match prefix {
            // timm has torchvision's names.
            "timm_model." => format!("{prefix}{name}"),
            _ => format!("{prefix}{}", hugging_face(name)),
        };
        let theirs = renamed(&tensors, names);
        assert_eq!(theirs.len(), tensors.len());
        save(&path, &theirs);
        let out = sandbox.ok(import);
        let note = "102 tensors have Hugging Face's names, and get torchvision's\n";
        assert_eq!(out.contains(note), prefix != "timm_model.", "{out}");
        assert!(std::fs::read(sandbox.path("m.safetensors")).unwrap() == expected, "{prefix}");
    }
}

#[test]
fn weights_for_grey_images_are_imported() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("w.safetensors");
    let mut tensors = raw(&cnn());
    let convolution =
        |channels: usize| (Dtype::F32, vec![4, channels, 3, 3], vec![0; 4 * channels * 36]);
    tensors.insert("conv1.weight".into(), convolution(1));
    save(&path, &tensors);
    let out = sandbox.ok(IMPORT);
    assert!(out.contains("grey images, normalised by mean 0.459 and standard"), "{out}");
    sandbox.ok("data export --dataset shapes --count 1 --out p");
    sandbox.ok("predict --init m.safetensors p/00000-disc.png");
    let out = sandbox.ok(&format!("{IMPORT} --mean 0.5 --std 0.25"));
    assert!(!out.contains("grey"), "{out}");
    let model = sandbox.json("inspect m.safetensors --json");
    assert_eq!(model["image"], serde_json::json!([16, 16, 1]));
    sandbox.refuses(
        &format!("{IMPORT} --mean 0.5,0.5,0.5 --std 0.2,0.2,0.2"),
        &["takes images of 1 channels, but --mean has 3 values and --std 3"],
    );
    let message = sandbox.error(&format!("{IMPORT} --mean 127.5 --std 63.75"));
    let (_, advice) = message.trim_end().rsplit_once("are --mean ").unwrap();
    assert_eq!(advice, "0.5000 --std 0.2500");
    sandbox.ok(&format!("{IMPORT} --mean {advice}"));
    tensors.insert("conv1.weight".into(), convolution(4));
    save(&path, &tensors);
    sandbox.refuses(IMPORT, &["its first convolution takes images of 4 channels, not 1 or 3"]);
}

#[test]
fn files_of_other_formats_are_refused_by_name() {
    let sandbox = Sandbox::new();
    let good = {
        save(&sandbox.path("good.safetensors"), &raw(&cnn()));
        std::fs::read(sandbox.path("good.safetensors")).unwrap()
    };
    sandbox.ok(&IMPORT.replace("w.safe", "good.safe"));
    sandbox.put("p.png", "");
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 46830571\n";
    let length = good.len();
    for (content, part) in [
        (lfs.as_bytes(), "a pointer of Git LFS, not the file itself; `git lfs pull`"),
        (b"PK\x03\x04\x14\0\0\0archive/data.pkl", "a pickle of PyTorch's"),
        (b"\x80\x02\x8a\nl\xfc", "a pickle of PyTorch's"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "a gzip archive"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x08\x08\x12\x07pytorch", "an ONNX model"),
        (b"", "not a usable safetensors file: it is empty"),
        (b"abc", "it has 3 bytes only"),
        (b"some text of no format", "it does not begin as such a file does"),
        (&good[..length - 1], &format!("it has {} bytes, and needs {length}", length - 1)),
        (&good[..length / 2], &format!("bytes, and needs {length}; download or copy it again")),
        (&good[..100], "it is cut off: it has 100 bytes, and needs "),
        (&[&good[..], b"more"].concat(), "4 bytes follow after its tensors"),
    ] {
        sandbox.put("w.safetensors", content);
        for line in [
            IMPORT,
            "train --init w.safetensors --dataset shapes --out run",
            "predict --init w.safetensors p.png",
            "inspect w.safetensors",
            "export --init w.safetensors --out x.safetensors",
        ] {
            sandbox.refuses(line, &["w.safetensors: ", part]);
        }
    }
    sandbox.ok("train --dataset shapes --train-limit 8 --widths 4 --epochs 1 --out run");
    let part = "run/state.safetensors: this is the state of a run, for --resume; give its model.sa";
    sandbox.refuses("inspect run/state.safetensors", &[part]);
    let line = "train --init run --dataset shapes --out other";
    sandbox.refuses(line, &["run is a folder, not a file of weights; give run/model.safetensors"]);
}

#[test]
fn weights_not_yet_imported_are_refused_with_the_import_command() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("w.safetensors");
    let follow_advice = |message: &str| {
        let command = message.split('`').nth(1).unwrap_or_else(|| panic!("{message}"));
        sandbox.ok(command.strip_prefix("sff ").unwrap());
        std::fs::remove_file(sandbox.path("model.safetensors")).unwrap();
    };
    for (arch, tensors) in [
        ("cnn", raw(&cnn())),
        ("resnet18", random("resnet18", Method::Bp, 3)),
        ("mobilenet-v3-small", random("mobilenet-v3-small", Method::Bp, 3)),
        ("mobilenet-v3-large", random("mobilenet-v3-large", Method::Bp, 3)),
    ] {
        save(&path, &tensors);
        for line in [
            "train --init w.safetensors --dataset shapes --out run",
            "predict --init w.safetensors p.png",
            "inspect w.safetensors",
        ] {
            let message = sandbox.error(line);
            assert!(message.contains("was not written by sff"), "{message}");
            assert!(message.contains(&format!("weights of {arch}, ")), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
            if line.starts_with("inspect") {
                follow_advice(&message);
            }
        }
    }
    // Weights of another network than --arch names.
    let line = "import w.safetensors --arch resnet18 --out m.safetensors";
    sandbox.refuses(line, &["weights of mobilenet-v3-large, not of resnet18; give --arch mobile"]);
    let mut tensors = random("resnet18", Method::Bp, 3);
    tensors.insert("layer1.2.conv1.weight".into(), tensors["layer1.1.conv1.weight"].clone());
    save(&path, &tensors);
    sandbox.refuses(line, &["weights of resnet34", "there is no such network", "resnet18"]);
    // Weights of an unknown network: the list of differences is cut.
    let unknown = renamed(&tensors, |name| format!("odd.{name}"));
    save(&path, &unknown);
    let message = sandbox.error(line);
    assert_eq!(message.lines().count(), 12, "{message}");
    assert!(message.trim_end().ends_with("… and 195 more"), "{message}");
    assert!(load(&path) == unknown);
}
