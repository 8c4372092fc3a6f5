//! Names: how they compare, and what to say of one that there is not.

use unicode_normalization::UnicodeNormalization;

/// Letters of a name that are compared; what is longer is no typing error.
const COMPARED: usize = 64;

/// A name in composed Unicode (NFC), so that it compares: macOS decomposes the names of files.
pub fn composed(name: &str) -> String {
    name.nfc().collect()
}

/// The name that is most like `typed`, if any is like it: at most half of its letters are wrong.
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed: String = typed.to_lowercase().chars().take(COMPARED).collect();
    names
        .into_iter()
        .map(|known| (strsim::osa_distance(&typed, &known.to_lowercase()), known))
        .filter(|(edits, known)| *edits <= known.chars().count() / 2)
        .min()
        .map(|(_, known)| known)
}

/// A question after the nearest name in parentheses, or nothing.
pub fn hint<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(typed, names).map_or(String::new(), |known| format!(" (did you mean `{known}`?)"))
}

/// A line for a name that is none of `names`; `what` is what they are names of.
pub fn unknown(what: &str, typed: &str, names: &[&str]) -> String {
    let hint = hint(typed, names.iter().copied());
    format!("there is no {what} `{typed}`{hint}; there are: {}", names.join(", "))
}

/// What serde says, in one line; of an unknown field or value the nearest one that it lists,
/// instead of its list.
pub fn said_by_serde(message: &str) -> String {
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
    fn the_nearest_name_is_asked_for() {
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
    fn serde_lists_what_it_expected() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code)]
        struct Two {
            epochs: u32,
            batch: Option<u32>,
        }
        let said = |text: &str| said_by_serde(toml::from_str::<Two>(text).unwrap_err().message());
        assert_eq!(said("epoch = 1"), "unknown field `epoch` (did you mean `epochs`?)");
        assert!(said("x = 1").contains("expected `epochs` or `batch`"), "{}", said("x = 1"));
        assert_eq!(
            said("epochs = -1"),
            toml::from_str::<Two>("epochs = -1").unwrap_err().message()
        );
    }
}
