//! Types of options that are not plain numbers or texts.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::{Deserialize, Serialize};

use crate::base::choice::Choice;

/// The parser of a [`Choice`] on the command line; help lists its variants.
pub fn one_of<T: Choice>() -> impl TypedValueParser<Value = T> {
    let value = |(_, name, meaning): &(T, &'static str, &'static str)| {
        PossibleValue::new(*name).help(meaning.trim().trim_end_matches('.'))
    };
    PossibleValuesParser::new(T::ALL.iter().map(value))
        .map(|text| T::named(&text).expect("the parser takes no other names"))
}

/// Images per step: a number, or as many as fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub enum Batch {
    /// The largest that fits; [`crate::app::run::configure`] replaces it, because it knows the device.
    Auto,
    /// This number of images.
    Images(usize),
}

/// A model file to begin from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "RawStart")]
pub struct Start {
    /// Its path; the file may be gone once the run has begun.
    pub path: PathBuf,
    /// MD5 of its bytes, once it was read: a run does not begin from another file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// A [`Start`] in a file: a path, or a table with a checksum.
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

/// A [`Batch`] in a file.
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

#[cfg(test)]
mod tests {
    use super::*;

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
