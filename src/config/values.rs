//! Values of options that are more than a number.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::block::Scale;

/// Images per step: so many, or as many as fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub enum Batch {
    /// The largest that fits; settled by [`crate::run::configure`], which knows the device.
    Auto,
    /// So many.
    Images(usize),
}

/// Bytes, written as `512MiB`, `1.5GB` or a plain number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Size(pub usize);

/// A model file to begin from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "RawStart")]
pub struct Start {
    /// Where it is, or was.
    pub path: PathBuf,
    /// Checksum of its bytes, once it was read: a run does not begin from another file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// As files write it: a path alone will do.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a path, or a table of path and checksum")]
enum RawStart {
    Path(PathBuf),
    Checked { path: PathBuf, checksum: Option<String> },
}

impl From<RawStart> for Start {
    fn from(raw: RawStart) -> Self {
        match raw {
            RawStart::Path(path) => Self { path, checksum: None },
            RawStart::Checked { path, checksum } => Self { path, checksum },
        }
    }
}

impl From<PathBuf> for Start {
    fn from(path: PathBuf) -> Self {
        Self { path, checksum: None }
    }
}

impl FromStr for Start {
    type Err = std::convert::Infallible;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        Ok(PathBuf::from(path).into())
    }
}

/// Units of sizes, in any case of letters. A size is shown in the first one that it is a multiple
/// of.
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

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text
                .parse()
                .map(Self::Images)
                .map_err(|_| format!("expected a number of images or `auto`, not `{text}`")),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a size such as 512MiB or 2GiB, not `{text}`");
        let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = (text[..end].trim(), &text[end..]);
        let named = |(name, _): &(&str, usize)| name.eq_ignore_ascii_case(unit);
        let (_, unit) = UNITS.into_iter().find(named).ok_or_else(wrong)?;
        // Whole numbers must not lose a byte on the way.
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
    /// To the byte, so that it reads back as itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: usize| self.0 > 0 && self.0.is_multiple_of(unit);
        let (name, unit) = UNITS.into_iter().find(|(_, unit)| fits(*unit)).unwrap_or(("", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "learnable" => Ok(Self::Learnable),
            _ => text
                .parse()
                .map(Self::Fixed)
                .map_err(|_| format!("expected a number or `learnable`, not `{text}`")),
        }
    }
}

impl Serialize for Scale {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(scale) => serializer.serialize_f32(*scale),
            Self::Learnable => serializer.serialize_str("learnable"),
        }
    }
}

impl<'de> Deserialize<'de> for Scale {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a number or `learnable`")]
        enum Either {
            Number(f32),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(scale) => Ok(Self::Fixed(scale)),
            Either::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// Either, as files write them.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number that is not negative, or a text")]
enum Raw {
    Number(usize),
    Text(String),
}

impl TryFrom<Raw> for Batch {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        match raw {
            Raw::Number(images) => Ok(Self::Images(images)),
            Raw::Text(text) => text.parse(),
        }
    }
}

impl From<Batch> for Raw {
    fn from(batch: Batch) -> Self {
        match batch {
            Batch::Auto => Self::Text("auto".into()),
            Batch::Images(images) => Self::Number(images),
        }
    }
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
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("512MiB", 512 << 20),
            ("512 mib", 512 << 20),
            ("1.5GiB", 3 << 29),
            ("2GB", 2_000_000_000),
            ("10kb", 10_000),
            ("0.25KiB", 256),
            ("4096", 4096),
            ("7B", 7),
            ("9007199254740993", 9_007_199_254_740_993),
        ] {
            assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
        }
        let bad = ["", "MiB", "-1MiB", "1 2MiB", "5Mi", "1e400", "NaN", "inf", "99999999TiB", "ä"];
        for text in bad {
            let message = text.parse::<Size>().unwrap_err();
            assert!(message.contains("512MiB") && message.contains(text), "{message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn sizes_read_back_to_the_byte(bytes in 0..usize::MAX, shift in 0u32..64) {
            let size = Size(bytes >> shift << (shift / 2));
            proptest::prop_assert_eq!(size.to_string().parse(), Ok(size));
            let json = serde_json::to_string(&size).unwrap();
            proptest::prop_assert_eq!(serde_json::from_str::<Size>(&json).unwrap(), size);
        }
    }

    #[test]
    fn scales_are_numbers_or_learnable() {
        for (text, json, scale) in [
            ("learnable", "\"learnable\"", Scale::Learnable),
            ("0.1", "0.1", Scale::Fixed(0.1)),
            ("2", "2.0", Scale::Fixed(2.0)),
        ] {
            assert_eq!(text.parse(), Ok(scale));
            assert_eq!(serde_json::to_string(&scale).unwrap(), json);
            assert_eq!(serde_json::from_str::<Scale>(json).unwrap(), scale);
        }
        assert_eq!(serde_json::from_str::<Scale>("3").unwrap(), Scale::Fixed(3.0));
        assert!("much".parse::<Scale>().unwrap_err().contains("`learnable`"));
        assert!(serde_json::from_str::<Scale>("\"much\"").is_err());
    }

    #[test]
    fn batches_are_numbers_or_auto() {
        assert_eq!("auto".parse(), Ok(Batch::Auto));
        assert_eq!("12".parse(), Ok(Batch::Images(12)));
        for text in ["automatic", "-1", "1.5", ""] {
            assert!(text.parse::<Batch>().unwrap_err().contains("`auto`"), "{text}");
        }
        for (json, batch) in [("\"auto\"", Batch::Auto), ("12", Batch::Images(12))] {
            assert_eq!(serde_json::from_str::<Batch>(json).unwrap(), batch);
            assert_eq!(serde_json::to_string(&batch).unwrap(), json);
        }
        for json in ["-1", "\"many\"", "[]"] {
            assert!(serde_json::from_str::<Batch>(json).is_err(), "{json}");
        }
    }
}
