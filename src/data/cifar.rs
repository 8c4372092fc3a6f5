//! CIFAR-10 and CIFAR-100 in two official formats: binary, and Python pickles.
//!
//! The binary format is described at <https://www.cs.toronto.edu/~kriz/cifar.html>: files of records,
//! each with a label byte (CIFAR-100: two, coarse and fine) and 3,072 bytes of pixels: the red, green
//! and blue planes of 32 x 32, row-major. The pickles hold the same pixels and labels.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::pickle::{self, Value, is_pickle};
use super::place::Places;
use super::{Dataset, Found, Images};
use crate::base::hint::{Hint, Message, Part, message};
use crate::{Error, Result};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// A data set in this format.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    /// Number of classes.
    classes: usize,
    /// Label bytes before the pixels, and the index of the one to use.
    labels: (usize, usize),
    /// The folder of the data set.
    folder: &'static str,
    /// The folders that its archives unpack to.
    unpacked: [&'static str; 2],
    /// Files of training images; the last one holds the test images.
    files: &'static [&'static str],
    /// The file with the names of the classes, one a line.
    names: &'static str,
    /// In the Python version: the file of class names, and the keys of names and labels.
    keys: [&'static str; 3],
    advice: &'static [Part],
}

/// CIFAR-10.
pub const CIFAR10: Set = Set {
    classes: 10,
    labels: (1, 0),
    folder: "cifar10",
    unpacked: ["cifar-10-batches-bin", "cifar-10-batches-py"],
    files: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
        "test_batch.bin",
    ],
    names: "batches.meta.txt",
    keys: ["batches.meta", "label_names", "labels"],
    advice: &[
        Part::Hint(Hint::command("data fetch cifar10")),
        Part::text(
            " gets it, or unpack cifar-10-binary.tar.gz from \
             https://www.cs.toronto.edu/~kriz/cifar.html under datasets/; or take ",
        ),
        Part::Hint(Hint::Set("dataset", Cow::Borrowed("shapes"))),
        Part::text(", which needs no files"),
    ],
};

/// CIFAR-100 with its 100 classes.
pub const CIFAR100: Set = Set {
    classes: 100,
    labels: (2, 1),
    folder: "cifar100",
    unpacked: ["cifar-100-binary", "cifar-100-python"],
    files: &["train.bin", "test.bin"],
    names: "fine_label_names.txt",
    keys: ["meta", "fine_label_names", "fine_labels"],
    advice: &[
        Part::Hint(Hint::command("data fetch cifar100")),
        Part::text(
            " gets it, or unpack cifar-100-binary.tar.gz from \
             https://www.cs.toronto.edu/~kriz/cifar.html under datasets/",
        ),
    ],
};

/// CIFAR-100 with its 20 groups of classes.
pub const COARSE: Set = Set {
    classes: 20,
    labels: (2, 0),
    names: "coarse_label_names.txt",
    keys: ["meta", "coarse_label_names", "coarse_labels"],
    ..CIFAR100
};

/// The names of CIFAR-10's classes if `batches.meta.txt` is missing.
const NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Parses a file of records into images of 32 x 32 x 3, HWC.
///
/// # Errors
///
/// A message with the byte offset and what was expected there.
pub fn parse(bytes: &[u8], set: &Set) -> Result<Images, String> {
    let (before, which) = set.labels;
    let record = before + 3 * PLANE;
    let rest = bytes.len() % record;
    if rest != 0 || bytes.is_empty() {
        let at = bytes.len() - rest;
        let expected = format!("expected a whole number of records of {record} bytes");
        return Err(format!("at byte {at}: the last {rest} bytes are no record, {expected}"));
    }
    let count = bytes.len() / record;
    let mut pixels = Vec::with_capacity(count * 3 * PLANE);
    let mut labels = Vec::with_capacity(count);
    for (i, record_bytes) in bytes.chunks_exact(record).enumerate() {
        let (label, planes) = (record_bytes[which], &record_bytes[before..]);
        if usize::from(label) >= set.classes {
            let (at, last) = (i * record + which, set.classes - 1);
            return Err(format!("at byte {at}: label {label}, expected 0 to {last}"));
        }
        labels.push(u32::from(label));
        interleave(planes, &mut pixels);
    }
    Ok(Images::in_memory([SIDE, SIDE, 3], pixels, labels))
}

/// Appends an image, from CHW planes to HWC pixels.
fn interleave(planes: &[u8], pixels: &mut Vec<u8>) {
    let (red, rest) = planes.split_at(PLANE);
    let (green, blue) = rest.split_at(PLANE);
    for ((&r, &g), &b) in red.iter().zip(green).zip(blue) {
        pixels.extend([r, g, b]);
    }
}

/// Parses a pickle of the Python version into images of 32 x 32 x 3, HWC.
///
/// # Errors
/// A message that says what is wrong.
pub fn parse_python(bytes: &[u8], set: &Set) -> Result<Images, Message> {
    let other = |e| message![format!("{e} as the official files for Python are; "), set.advice];
    let batch = pickle::parse(bytes).map_err(other)?;
    let [_, _, key] = set.keys;
    let lacks = |what: &str| format!("this pickle has no {what}: it is no batch of {}", set.folder);
    let data = match batch.get("data") {
        Some(Value::Array { shape, bytes }) if shape.last() == Some(&(3 * PLANE as i64)) => bytes,
        _ => return Err(lacks("array `data` with rows of 3072 bytes").into()),
    };
    let Some(Value::List(labels)) = batch.get(key) else {
        return Err(lacks(&format!("list `{key}`")).into());
    };
    let (images, count) = (data.len() / (3 * PLANE), labels.len());
    if images != count || count == 0 {
        return Err(format!("{images} images, but {count} labels in `{key}`").into());
    }
    let mut pixels = Vec::with_capacity(data.len());
    data.chunks_exact(3 * PLANE).for_each(|planes| interleave(planes, &mut pixels));
    let label = |value: &Value| {
        let Value::Int(label) = value else {
            return Err(lacks(&format!("numbers of classes in `{key}`")));
        };
        let known = u32::try_from(*label).ok().filter(|label| (*label as usize) < set.classes);
        known.ok_or_else(|| format!("label {label}, expected 0 to {}", set.classes - 1))
    };
    let labels = labels.iter().map(label).collect::<Result<_, _>>()?;
    Ok(Images::in_memory([SIDE, SIDE, 3], pixels, labels))
}

/// Parses a file of class names, one a line; empty lines are ignored.
///
/// # Errors
///
/// A message with the number of names found.
pub fn parse_names(text: &str, classes: usize) -> Result<Vec<String>, String> {
    let lines =
        text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<String> = lines.map(String::from).collect();
    if names.len() == classes {
        return Ok(names);
    }
    Err(format!("{} class names, expected {classes}, one a line", names.len()))
}

/// Its files of images, from the first of `places` that has them.
pub(super) fn find(set: &Set, places: &Places) -> Result<Vec<PathBuf>> {
    let python = |file: &str| vec![file.trim_end_matches(".bin").to_owned()];
    places.find(set.folder, &set.unpacked, set.files, python, set.advice)
}

/// Loads the data set `name` from the first of `places` that has it.
pub(super) fn load(name: &str, set: &Set, places: &Places) -> Result<Dataset> {
    let paths = find(set, places)?;
    let Some((test, train_paths)) = paths.split_last() else {
        return Err(Error::MissingData(set.advice.into()));
    };
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for path in train_paths {
        let images = read(path, set)?;
        pixels.extend_from_slice(&images.all()?);
        labels.extend(images.labels);
    }
    let train = Images::in_memory([SIDE, SIDE, 3], pixels, labels);
    let classes = class_names(&test.with_file_name(set.names), set)?;
    let (test, found) = (read(test, set)?, Found::in_files(name, &paths));
    Ok(Dataset { name: name.into(), classes, train, test, skipped: Vec::new(), found })
}

fn read(path: &Path, set: &Set) -> Result<Images> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let images = if is_pickle(&bytes) {
        parse_python(&bytes, set)
    } else if bytes.starts_with(b"MATLAB") {
        Err(message!["this is of the version for MATLAB; ", set.advice])
    } else {
        parse(&bytes, set).map_err(Message::from)
    };
    images.map_err(|problem| Error::corrupt(path, problem))
}

/// The class names in the file at `path`, or the standard ones of CIFAR-10 if it is missing.
fn class_names(path: &Path, set: &Set) -> Result<Vec<String>> {
    let [python, key, _] = set.keys;
    let python = path.with_file_name(python);
    if !path.exists() && python.exists() {
        let bytes = fs::read(&python).map_err(Error::io("read", &python))?;
        return python_names(&bytes, key, set.classes).map_err(|e| Error::corrupt(&python, e));
    }
    if set.classes == NAMES.len() && !path.exists() {
        return Ok(NAMES.map(String::from).into());
    }
    // The official files have at most 1,143 bytes; read no more than 16 KiB of another file.
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io("read", path))?;
    file.take(1 << 14).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let text = String::from_utf8(bytes)
        .map_err(|e| format!("at byte {}: not UTF-8", e.utf8_error().valid_up_to()));
    text.and_then(|text| parse_names(&text, set.classes))
        .map_err(|problem| Error::corrupt(path, problem))
}

/// The class names in a pickle.
fn python_names(bytes: &[u8], key: &str, classes: usize) -> Result<Vec<String>, String> {
    let meta = pickle::parse(bytes)?;
    let Some(Value::List(names)) = meta.get(key) else {
        return Err(format!("this pickle has no list `{key}`"));
    };
    let name = |value: &Value| match value {
        Value::Bytes(name) => Some(String::from_utf8_lossy(name).into_owned()),
        _ => None,
    };
    let names: Vec<String> = names.iter().filter_map(name).collect();
    match names.len() == classes {
        true => Ok(names),
        false => Err(format!("{} class names, expected {classes}", names.len())),
    }
}

#[cfg(test)]
mod tests;
