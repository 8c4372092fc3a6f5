//! Did-you-mean: comparing names, and messages for unknown ones.

use unicode_normalization::UnicodeNormalization;

/// Characters of a name that are compared. A longer name is no typing error.
const COMPARED: usize = 64;

/// A name in composed Unicode (NFC), for comparison: macOS decomposes the names of files.
pub fn composed(name: &str) -> String {
    name.nfc().collect()
}

/// The name closest to `typed` by edit distance, if at most half of its characters differ.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed: String = typed.to_lowercase().chars().take(COMPARED).collect();
    names
        .into_iter()
        .map(|known| (strsim::osa_distance(&typed, &known.to_lowercase()), known))
        .filter(|(edits, known)| *edits <= known.chars().count() / 2)
        .min()
        .map(|(_, known)| known)
}

/// ` (did you mean `NAME`?)` with the nearest name, or an empty string.
pub fn hint<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, names).map_or(String::new(), |known| format!(" (did you mean `{known}`?)"))
}

/// The message for a name that is not in `names`; `what` says what they are names of.
pub fn unknown(what: &str, typed: &str, names: &[&str]) -> String {
    let hint = hint(typed, names.iter().copied());
    format!("there is no {what} `{typed}`{hint}; there are: {}", names.join(", "))
}

/// A serde error message on one line. For an unknown field or value, the list of the known ones is
/// replaced by the nearest one, if there is one.
pub fn serde_message(message: &str) -> String {
    let line = message.lines().collect::<Vec<_>>().join(" ");
    let quoted: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
    match quoted[..] {
        [wrong, ref known @ ..] if line.starts_with("unknown ") => {
            match nearest(wrong, known.iter().copied()) {
                Some(_) => {
                    let end = line.find(", expected").unwrap_or(line.len());
                    format!("{}{}", &line[..end], hint(wrong, known.iter().copied()))
                }
                None => line,
            }
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let names = ["layer1.0", "layer1.1", "layer2.0", "head"];
        for (typed, near) in [
            ("layer2", Some("layer2.0")),
            ("Laeyr1.1", Some("layer1.1")),
            ("haed", Some("head")),
            ("conv9", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, names), near, "{typed}");
        }
        assert_eq!(nearest(&"m".repeat(1 << 20), names), None);
        assert_eq!(
            unknown("block", "hed", &names),
            "there is no block `hed` (did you mean `head`?); there are: layer1.0, layer1.1, layer2.0, head"
        );
        assert_eq!(unknown("block", "x", &["head"]), "there is no block `x`; there are: head");
    }

    #[test]
    fn unknown_fields_get_a_suggestion() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code)]
        struct Two {
            epochs: u32,
            batch: Option<u32>,
        }
        let message =
            |text: &str| serde_message(toml::from_str::<Two>(text).unwrap_err().message());
        assert_eq!(message("epoch = 1"), "unknown field `epoch` (did you mean `epochs`?)");
        assert!(message("x = 1").contains("expected `epochs` or `batch`"), "{}", message("x = 1"));
        assert_eq!(
            message("epochs = -1"),
            toml::from_str::<Two>("epochs = -1").unwrap_err().message()
        );
    }
}
