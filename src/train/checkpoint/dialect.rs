//! Naming conventions of other programs for the same networks.

use std::collections::BTreeMap;

/// Prefixes that wrappers of a network add to all names.
const WRAPPERS: [&str; 11] = [
    "module.",
    "_orig_mod.",
    "model.",
    "backbone.",
    "state_dict.",
    "net.",
    "network.",
    "encoder.",
    "timm_model.",
    "ema_model.",
    "student.",
];

/// Names translated to torchvision's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// The new names, in the order of the old ones.
    pub names: Vec<String>,
    /// A note for each kind of change.
    pub notes: Vec<String>,
}

/// Translates the names of a state dict: removes a common prefix of a wrapper, and maps the names of
/// Hugging Face's ResNet to torchvision's.
pub fn translate(names: &[&str]) -> Translation {
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut notes = Vec::new();
    let mut wrapper = String::new();
    while let Some(found) = WRAPPERS.iter().find(|wrapper| all_start_with(&names, wrapper)) {
        wrapper.push_str(found);
        names.iter_mut().for_each(|name| *name = name.split_off(found.len()));
    }
    if !wrapper.is_empty() {
        notes.push(format!("left out `{wrapper}`, with which all names of tensors began"));
    }
    let renamed: Vec<Option<String>> = names.iter().map(|name| hugging_face(name)).collect();
    let count = renamed.iter().flatten().count();
    if count > 0 {
        notes.push(format!("{count} tensors have Hugging Face's names, and get torchvision's"));
    }
    let names = names.into_iter().zip(renamed).map(|(old, new)| new.unwrap_or(old)).collect();
    Translation { names, notes }
}

fn all_start_with(names: &[String], wrapper: &str) -> bool {
    let inside = |name: &String| name.strip_prefix(wrapper).is_some_and(|rest| !rest.is_empty());
    !names.is_empty() && names.iter().all(inside)
}

/// Torchvision's name for a tensor of `transformers`' ResNet with basic blocks.
fn hugging_face(name: &str) -> Option<String> {
    let name = name.strip_prefix("resnet.").unwrap_or(name);
    if let Some(what) = name.strip_prefix("classifier.1.") {
        // Not MobileNet, whose last linear layer is `classifier.3`.
        return Some(format!("fc.{what}"));
    }
    let part = |rest: &str, conv: &str, norm: &str| {
        let renamed = rest.strip_prefix("convolution.").map(|what| format!("{conv}.{what}"));
        renamed.or_else(|| Some(format!("{norm}.{}", rest.strip_prefix("normalization.")?)))
    };
    if let Some(rest) = name.strip_prefix("embedder.embedder.") {
        return part(rest, "conv1", "bn1");
    }
    let (stage, rest) = name.strip_prefix("encoder.stages.")?.split_once(".layers.")?;
    let (layer, rest) = rest.split_once('.')?;
    let stage = stage.parse::<usize>().ok()? + 1;
    let inner = match rest.strip_prefix("shortcut.") {
        Some(rest) => part(rest, "downsample.0", "downsample.1")?,
        None => {
            let (number, rest) = rest.strip_prefix("layer.")?.split_once('.')?;
            let number = number.parse::<usize>().ok()? + 1;
            part(rest, &format!("conv{number}"), &format!("bn{number}"))?
        }
    };
    Some(format!("layer{stage}.{layer}.{inner}"))
}

/// A recognised network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its common name.
    pub name: &'static str,
    /// The options that select it, if sff has it.
    pub options: Option<Vec<(&'static str, String)>>,
}

/// Recognises a network by torchvision's names and shapes of its tensors.
pub fn recognise(shapes: &BTreeMap<String, Vec<usize>>) -> Option<Known> {
    let has = |name: &str| shapes.contains_key(name);
    let ours =
        |name: &'static str| Some(Known { name, options: Some(vec![("arch", name.to_owned())]) });
    let other = |name| Some(Known { name, options: None });
    if has("layer1.0.conv1.weight") {
        return match (has("layer1.0.conv3.weight"), has("layer3.22.conv1.weight")) {
            (true, true) => other("resnet101 or deeper"),
            (true, false) => other("resnet50"),
            (false, _) if has("layer1.2.conv1.weight") => other("resnet34"),
            (false, _) => ours("resnet18"),
        };
    }
    if has("conv_stem.weight") {
        return other(
            "timm's MobileNet or EfficientNet, whose names and batch norms are not torchvision's",
        );
    }
    if has("features.1.block.0.0.weight") {
        return match has("features.13.block.0.0.weight") {
            true => ours("mobilenet-v3-large"),
            false => ours("mobilenet-v3-small"),
        };
    }
    if has("features.1.conv.0.0.weight") {
        return other("mobilenet-v2");
    }
    if has("features.0.weight") && has("classifier.6.weight") {
        return other("VGG or AlexNet");
    }
    if has("cls_token") || has("class_token") {
        return other("a vision transformer");
    }
    let widths = |kernel: &str| -> Vec<String> {
        let each = (1..).map_while(|n| shapes.get(&format!("{kernel}{n}.weight"))?.first());
        each.map(usize::to_string).collect()
    };
    let (convs, norms) = (widths("conv"), widths("bn"));
    let plain = !convs.is_empty() && convs == norms && (has("fc.weight") || has("aux.0.weight"));
    let options = vec![("arch", "cnn".to_owned()), ("widths", convs.join(","))];
    plain.then_some(Known { name: "cnn", options: Some(options) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(names: &[&str]) -> (Vec<String>, Vec<String>) {
        let Translation { names, notes } = translate(names);
        (names, notes)
    }

    #[test]
    fn common_prefixes_of_wrappers_are_removed() {
        let (names, notes) = translated(&["module._orig_mod.a.b", "module._orig_mod.module.c"]);
        assert_eq!(names, ["a.b", "module.c"]);
        assert_eq!(notes, ["left out `module._orig_mod.`, with which all names of tensors began"]);
        for names in [&["module.a", "b"][..], &["module.", "module.a"], &["modules.a"], &[]] {
            assert_eq!(translated(names).0, names);
            assert_eq!(translated(names).1.len(), 0);
        }
    }

    #[test]
    fn networks_are_recognised_by_their_tensors() {
        let known = |names: &[(&str, &[usize])]| {
            let shapes = names.iter().map(|(name, shape)| (name.to_string(), shape.to_vec()));
            recognise(&shapes.collect()).map(|known| (known.name, known.options))
        };
        let layer = ("layer1.0.conv1.weight", &[64, 64, 3, 3][..]);
        let arch = |name: &str| ("arch", name.to_owned());
        assert_eq!(known(&[layer]), Some(("resnet18", Some(vec![arch("resnet18")]))));
        let third = ("layer1.0.conv3.weight", &[256, 64, 1, 1][..]);
        assert_eq!(known(&[layer, third]), Some(("resnet50", None)));
        assert_eq!(known(&[("conv_stem.weight", &[16, 3, 3, 3])]).unwrap().1, None);
        let cnn: [(&str, &[usize]); 4] = [
            ("conv1.weight", &[8, 3, 3, 3]),
            ("bn1.weight", &[8]),
            ("conv2.weight", &[9, 8, 3, 3]),
            ("bn2.weight", &[9]),
        ];
        assert_eq!(known(&cnn), None);
        let head = ("fc.weight", &[2, 9][..]);
        let cnn = known(&[&cnn[..], &[head]].concat());
        assert_eq!(cnn, Some(("cnn", Some(vec![arch("cnn"), ("widths", "8,9".to_owned())]))));
        assert_eq!(known(&[("a", &[1])]), None);
    }
}
