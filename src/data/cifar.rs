//! CIFAR-10 and CIFAR-100 in their official versions: binary, or for Python.
//!
//! The binary format is described at <https://www.cs.toronto.edu/~kriz/cifar.html>: files of records,
//! each one byte of label (CIFAR-100: two, coarse and fine) and 3,072 of pixels: 32 x 32 of red,
//! then green, then blue, row by row. The files for Python are pickles of the same pixels and labels.

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
    /// Bytes of labels before the pixels, and which of them counts.
    labels: (usize, usize),
    /// The folder that the data set is in.
    folder: &'static str,
    /// Those that its archives unpack to.
    unpacked: [&'static str; 2],
    /// Files of images to train on, the last one to test with.
    files: &'static [&'static str],
    /// The file with the names of the classes, one a line.
    names: &'static str,
    /// For Python, where names and labels are: the file of the names, and the keys of both.
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

/// The names of CIFAR-10's classes where `batches.meta.txt` is not there.
const NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Parses a file of records into images of 32 x 32 x 3, HWC.
///
/// # Errors
///
/// A sentence naming the byte where the content is wrong and what was expected.
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

/// Appends an image of three planes (CHW) as pixels (HWC).
fn interleave(planes: &[u8], pixels: &mut Vec<u8>) {
    let (red, rest) = planes.split_at(PLANE);
    let (green, blue) = rest.split_at(PLANE);
    for ((&r, &g), &b) in red.iter().zip(green).zip(blue) {
        pixels.extend([r, g, b]);
    }
}

/// Parses a pickle of the version for Python into images of 32 x 32 x 3, HWC.
///
/// # Errors
/// A sentence that says what is wrong.
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

/// Parses a file of names: one class a line, and nothing else but empty lines.
///
/// # Errors
///
/// A sentence saying how many names there are.
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

/// The class names in the file at `path`, or the usual ones of CIFAR-10 if it is not there.
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
    // The official files have at most 1,143 bytes; whatever is much larger is something else.
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORD: usize = 1 + 3 * PLANE;
    const FILES: &[&str] = CIFAR10.files;

    /// A record whose pixel at (0, 1) is red `r`, green `g`, blue `b`, and all others 0.
    fn record(label: u8, [r, g, b]: [u8; 3]) -> Vec<u8> {
        let mut record = vec![0; RECORD];
        record[0] = label;
        for (plane, value) in [r, g, b].into_iter().enumerate() {
            record[1 + plane * PLANE + 1] = value;
        }
        record
    }

    /// A folder with all six files, one record each; its label is the file's position.
    fn folder() -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        let inner = temp.path().join("cifar-10-batches-bin");
        fs::create_dir(&inner).unwrap();
        for (file, label) in FILES.iter().zip(0..) {
            fs::write(inner.join(file), record(label, [label, 20, 30])).unwrap();
        }
        temp
    }

    fn load_from(folder: &Path) -> Result<Dataset> {
        let nowhere = Path::new("/nowhere");
        load("cifar10", &CIFAR10, &Places::within(Some(folder), nowhere, nowhere)?)
    }

    #[test]
    fn planes_become_pixels() {
        let images =
            parse(&[record(3, [1, 2, 3]), record(9, [4, 5, 6])].concat(), &CIFAR10).unwrap();
        assert_eq!(images.labels, [3, 9]);
        assert_eq!(images.image(0).unwrap()[..6], [0, 0, 0, 1, 2, 3]);
        assert_eq!(images.image(1).unwrap()[..6], [0, 0, 0, 4, 5, 6]);
        assert_eq!(images.image(1).unwrap()[6..], [0; 3 * PLANE - 6]);
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let good = record(0, [0; 3]);
        for (bytes, expected) in [
            (vec![], "at byte 0: the last 0 bytes are no record"),
            (good[1..].to_vec(), "at byte 0: the last 3072 bytes"),
            ([&good[..], &[0]].concat(), "at byte 3073: the last 1 bytes"),
            ([good.clone(), record(10, [0; 3])].concat(), "at byte 3073: label 10"),
        ] {
            let problem = parse(&bytes, &CIFAR10).unwrap_err();
            assert!(problem.contains(expected), "{problem}\nexpected: {expected}");
        }
    }

    #[test]
    fn five_batches_and_a_test() {
        let temp = folder();
        let data = load_from(temp.path()).unwrap();
        assert_eq!((data.train.labels.clone(), data.test.labels), (vec![0, 1, 2, 3, 4], vec![5]));
        assert_eq!(data.train.image(4).unwrap()[..6], [0, 0, 0, 4, 20, 30]);
        assert_eq!(data.classes, NAMES);
        // A spoilt batch is named.
        let third = temp.path().join("cifar-10-batches-bin/data_batch_3.bin");
        fs::write(&third, record(77, [0; 3])).unwrap();
        let message = load_from(temp.path()).unwrap_err().to_string();
        assert!(message.contains("data_batch_3.bin: at byte 0: label 77"), "{message}");
        fs::remove_file(third).unwrap();
        let error = load_from(temp.path()).unwrap_err();
        assert!(
            matches!(&error, Error::MissingData(m) if m.to_string().contains("data_batch_3.bin"))
        );
    }

    #[test]
    fn class_names_of_the_folder() {
        let temp = folder();
        let meta = temp.path().join("cifar-10-batches-bin/batches.meta.txt");
        fs::write(&meta, "a\r\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
        assert_eq!(load_from(temp.path()).unwrap().classes.concat(), "abcdefghij");
        for bad in [&b"a\nb\n"[..], b"\xff\xfe", &[b'\n'; 1 << 16]] {
            fs::write(&meta, bad).unwrap();
            let message = load_from(temp.path()).unwrap_err().to_string();
            assert!(message.contains("batches.meta.txt: "), "{message}");
        }
    }

    #[test]
    fn two_labels_a_record() {
        let temp = tempfile::tempdir().unwrap();
        let inner = temp.path().join("cifar-100-binary");
        fs::create_dir(&inner).unwrap();
        let two = |coarse: u8, fine: u8| [&[coarse], &record(fine, [1, 2, 3])[..]].concat();
        let put = |file: &str, content: &[u8]| fs::write(inner.join(file), content).unwrap();
        put("train.bin", &[two(19, 99), two(0, 7)].concat());
        put("test.bin", &two(3, 50));
        let names = |count: usize| (0..count).map(|i| format!("class {i}\n")).collect::<String>();
        put("fine_label_names.txt", names(100).as_bytes());
        put("coarse_label_names.txt", names(20).as_bytes());
        let load = |set| {
            let nowhere = Path::new("/nowhere");
            load("it", set, &Places::within(Some(temp.path()), nowhere, nowhere)?)
        };
        let fine = load(&CIFAR100).unwrap();
        assert_eq!((&fine.train.labels[..], &fine.test.labels[..]), (&[99, 7][..], &[50][..]));
        assert_eq!((fine.classes.len(), &fine.classes[99][..]), (100, "class 99"));
        assert_eq!(fine.train.image(1).unwrap()[..6], [0, 0, 0, 1, 2, 3]);
        let coarse = load(&COARSE).unwrap();
        assert_eq!((&coarse.train.labels[..], &coarse.test.labels[..]), (&[19, 0][..], &[3][..]));
        assert_eq!((coarse.classes.len(), coarse.train.pixels), (20, fine.train.pixels));

        let message = |set| load(set).unwrap_err().to_string();
        put("test.bin", &two(20, 99));
        assert!(message(&COARSE).contains("test.bin: at byte 0: label 20, expected 0 to 19"));
        put("train.bin", &[two(1, 2), two(1, 100)].concat());
        assert!(
            message(&CIFAR100).contains("train.bin: at byte 3075: label 100, expected 0 to 99")
        );
        put("train.bin", &two(1, 2)[..3073]);
        assert!(message(&CIFAR100).contains("the last 3073 bytes are no record"));
        put("train.bin", &two(1, 2));
        put("test.bin", &two(1, 2));
        put("fine_label_names.txt", names(99).as_bytes());
        assert!(message(&CIFAR100).contains("99 class names, expected 100"));
        fs::remove_file(inner.join("fine_label_names.txt")).unwrap();
        assert!(message(&CIFAR100).contains("cannot read"));
    }

    #[test]
    fn the_version_for_python() {
        use super::super::pickle::tests::{batch, names};
        let row = |label: u8| record(0, [label, 20, 30])[1..].to_vec();
        let numbers = |count: usize| (0..count).map(|i| format!("class {i}")).collect::<Vec<_>>();
        let load = |set, folder: &Path| {
            let nowhere = Path::new("/nowhere");
            load("it", set, &Places::within(Some(folder), nowhere, nowhere)?)
        };
        // Where it unpacks to, and renamed as someone may who reads what is missing.
        for (inner, end) in [("cifar-10-batches-py", ""), ("cifar-10-batches-bin", ".bin")] {
            let temp = tempfile::tempdir().unwrap();
            let folder = temp.path().join(inner);
            fs::create_dir(&folder).unwrap();
            for (file, label) in FILES.iter().zip(0..) {
                let bytes = batch(&[row(label)], &[("labels", vec![label])]);
                fs::write(folder.join(file.replace(".bin", end)), bytes).unwrap();
            }
            fs::write(folder.join("batches.meta"), names("label_names", &numbers(10))).unwrap();
            let data = load(&CIFAR10, temp.path()).unwrap();
            assert_eq!(
                (&data.train.labels[..], &data.test.labels[..]),
                (&[0, 1, 2, 3, 4][..], &[5][..])
            );
            assert_eq!(data.train.image(4).unwrap()[..6], [0, 0, 0, 4, 20, 30]);
            assert_eq!(data.classes, numbers(10));
            for (bytes, part) in [
                (batch(&[row(1)], &[("labels", vec![10])]), "label 10, expected 0 to 9"),
                (batch(&[row(1)], &[("labels", vec![1, 2])]), "1 images, but 2 labels"),
                (batch(&[row(1)], &[("fine_labels", vec![1])]), "has no list `labels`"),
                (names("label_names", &numbers(10)), "has no array `data`"),
                (b"\x80\x02cos\nsystem\n".to_vec(), "at byte 13: this is no pickle"),
                (b"MATLAB 5.0 MAT-file".to_vec(), "version for MATLAB; `data fetch cifar10`"),
            ] {
                let path = folder.join(FILES[2].replace(".bin", end));
                fs::write(&path, bytes).unwrap();
                let message = load(&CIFAR10, temp.path()).unwrap_err().to_string();
                assert!(message.contains("data_batch_3") && message.contains(part), "{message}");
            }
        }
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("cifar-100-python");
        fs::create_dir(&folder).unwrap();
        for (file, fine) in [("train", 99), ("test", 7)] {
            let labels = [("fine_labels", vec![fine]), ("coarse_labels", vec![fine / 5])];
            fs::write(folder.join(file), batch(&[row(1)], &labels)).unwrap();
        }
        fs::write(folder.join("meta"), names("coarse_label_names", &numbers(20))).unwrap();
        let coarse = load(&COARSE, temp.path()).unwrap();
        assert_eq!((&coarse.train.labels[..], coarse.classes), (&[19][..], numbers(20)));
        let message = load(&CIFAR100, temp.path()).unwrap_err().to_string();
        assert!(message.contains("meta: this pickle has no list `fine_label_names`"), "{message}");
        fs::write(folder.join("meta"), names("fine_label_names", &numbers(100))).unwrap();
        assert_eq!(load(&CIFAR100, temp.path()).unwrap().test.labels, [7]);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3 * RECORD)) {
            let _ = parse(&bytes, &CIFAR10);
            let _ = parse(&bytes, &CIFAR100);
            let _ = parse_names(&String::from_utf8_lossy(&bytes), 10);
        }

        #[test]
        fn every_pixel_finds_its_place(
            label in 0u8..10, pixels in prop::collection::vec(any::<u8>(), 3 * PLANE),
        ) {
            let images = parse(&[&[label][..], &pixels].concat(), &CIFAR10).unwrap();
            prop_assert_eq!(&images.labels, &[u32::from(label)]);
            for (i, &value) in pixels.iter().enumerate() {
                prop_assert_eq!(images.image(0).unwrap()[i % PLANE * 3 + i / PLANE], value);
            }
        }
    }
}
