//! Sizes in bytes, written with units.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes, written as `512MiB`, `1.5GB` or a plain number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Size(pub usize);

/// Units of sizes, in upper or lower case. A size is shown in the first one that divides it.
const UNITS: [(&str, usize); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a size such as 512MiB or 2GiB, not `{text}`");
        let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = (text[..end].trim(), &text[end..]);
        let named = |(name, _): &(&str, usize)| name.eq_ignore_ascii_case(unit);
        let (_, unit) = UNITS.into_iter().find(named).ok_or_else(wrong)?;
        // A whole number is exact: f64 would round large ones.
        let bytes = match number.parse::<usize>() {
            Ok(whole) => whole.checked_mul(unit),
            Err(_) => {
                let bytes = number.parse::<f64>().map_err(|_| wrong())? * unit as f64;
                (0.0..9e15).contains(&bytes).then_some(bytes as usize)
            }
        };
        bytes.map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    /// Exact, so that it parses to the same size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: usize| self.0 > 0 && self.0.is_multiple_of(unit);
        let (name, unit) = UNITS.into_iter().find(|(_, unit)| fits(*unit)).unwrap_or(("", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

/// A size in a file: a number of bytes, or text with a unit.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number that is not negative, or a text")]
enum Raw {
    Number(usize),
    Text(String),
}

impl TryFrom<Raw> for Size {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        match raw {
            Raw::Number(bytes) => Ok(Self(bytes)),
            Raw::Text(text) => text.parse(),
        }
    }
}

impl From<Size> for Raw {
    fn from(size: Size) -> Self {
        Self::Text(size.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_with_their_units() {
        for (text, bytes) in [
            ("512MiB", 512 << 20),
            ("512 mib", 512 << 20),
            ("1.5GiB", 3 << 29),
            ("2GB", 2_000_000_000),
            ("7B", 7),
            ("9007199254740993", 9_007_199_254_740_993),
        ] {
            assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
        }
        let bad = ["", "MiB", "-1MiB", "1 2MiB", "5Mi", "1e400", "NaN", "99999999TiB", "ä"];
        for text in bad {
            let message = text.parse::<Size>().unwrap_err();
            assert!(message.contains("512MiB") && message.contains(text), "{message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn text_and_json_round_trip(bytes in 0..usize::MAX, shift in 0u32..64) {
            let size = Size(bytes >> shift << (shift / 2));
            proptest::prop_assert_eq!(size.to_string().parse(), Ok(size));
            let json = serde_json::to_string(&size).unwrap();
            proptest::prop_assert_eq!(serde_json::from_str::<Size>(&json).unwrap(), size);
        }
    }
}
