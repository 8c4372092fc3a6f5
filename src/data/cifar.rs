//! CIFAR-10 in its official binary version.
//!
//! The format is described at <https://www.cs.toronto.edu/~kriz/cifar.html>: files of records,
//! each one byte of label and 3,072 of pixels: 32 x 32 of red, then green, then blue, row by row.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::place::Places;
use super::{Dataset, Images};
use crate::{Error, Result};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const RECORD: usize = 1 + 3 * PLANE;
const CLASSES: usize = 10;

/// The names of the classes where `batches.meta.txt` does not say otherwise.
const NAMES: [&str; CLASSES] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

const ADVICE: &str = "unpack cifar-10-binary.tar.gz from \
                      https://www.cs.toronto.edu/~kriz/cifar.html under datasets/; \
                      or take `--dataset shapes`, which needs no files";

/// Parses a file of records into images of 32 x 32 x 3, HWC.
///
/// # Errors
///
/// A sentence naming the byte where the content is wrong and what was expected.
pub fn parse(bytes: &[u8]) -> Result<Images, String> {
    let (records, rest) = bytes.as_chunks::<RECORD>();
    if !rest.is_empty() || records.is_empty() {
        let at = records.len() * RECORD;
        let expected = format!("expected a whole number of records of {RECORD} bytes");
        return Err(format!(
            "at byte {at}: the last {} bytes are no record, {expected}",
            rest.len()
        ));
    }
    let mut pixels = Vec::with_capacity(records.len() * 3 * PLANE);
    let mut labels = Vec::with_capacity(records.len());
    for (i, [label, planes @ ..]) in records.iter().enumerate() {
        if usize::from(*label) >= CLASSES {
            return Err(format!("at byte {}: label {label}, expected 0 to 9", i * RECORD));
        }
        labels.push(u32::from(*label));
        let (red, rest) = planes.split_at(PLANE);
        let (green, blue) = rest.split_at(PLANE);
        for ((&r, &g), &b) in red.iter().zip(green).zip(blue) {
            pixels.extend([r, g, b]);
        }
    }
    Ok(Images { height: SIDE, width: SIDE, channels: 3, pixels, labels })
}

/// Parses `batches.meta.txt`: one class a line, and nothing else but empty lines.
///
/// # Errors
///
/// A sentence saying how many names there are.
pub fn parse_names(text: &str) -> Result<Vec<String>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<String> = lines.map(String::from).collect();
    if names.len() == CLASSES {
        return Ok(names);
    }
    Err(format!("{} class names, expected {CLASSES}, one a line", names.len()))
}

/// Loads the data set `name` from the first of `places` that has it.
pub(super) fn load(name: &str, places: &Places) -> Result<Dataset> {
    let paths = places.find(name, Some("cifar-10-batches-bin"), FILES, false, ADVICE)?;
    let [first, others @ .., test] = &paths;
    let mut train = read(first)?;
    for path in others {
        let Images { pixels, labels, .. } = read(path)?;
        train.pixels.extend(pixels);
        train.labels.extend(labels);
    }
    let classes = class_names(&first.with_file_name("batches.meta.txt"))?;
    Ok(Dataset { name: name.into(), classes, train, test: read(test)? })
}

fn read(path: &Path) -> Result<Images> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    parse(&bytes).map_err(|problem| Error::corrupt(path, problem))
}

/// The class names in the file at `path`, or the usual ones if it is not there.
fn class_names(path: &Path) -> Result<Vec<String>> {
    if !path.exists() {
        return Ok(NAMES.map(String::from).into());
    }
    // The official file has 61 bytes; whatever is much larger is something else.
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io("read", path))?;
    file.take(4096).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let text = String::from_utf8(bytes)
        .map_err(|e| format!("at byte {}: not UTF-8", e.utf8_error().valid_up_to()));
    text.and_then(|text| parse_names(&text)).map_err(|problem| Error::corrupt(path, problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        for (file, label) in FILES.into_iter().zip(0..) {
            fs::write(inner.join(file), record(label, [label, 20, 30])).unwrap();
        }
        temp
    }

    fn load_from(folder: &Path) -> Result<Dataset> {
        let nowhere = Path::new("/nowhere");
        load("cifar10", &Places::within(Some(folder), nowhere, nowhere)?)
    }

    #[test]
    fn planes_become_pixels() {
        let images = parse(&[record(3, [1, 2, 3]), record(9, [4, 5, 6])].concat()).unwrap();
        assert_eq!(images.labels, [3, 9]);
        assert_eq!(images.image(0)[..6], [0, 0, 0, 1, 2, 3]);
        assert_eq!(images.image(1)[..6], [0, 0, 0, 4, 5, 6]);
        assert_eq!(images.image(1)[6..], [0; 3 * PLANE - 6]);
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
            let problem = parse(&bytes).unwrap_err();
            assert!(problem.contains(expected), "{problem}\nexpected: {expected}");
        }
    }

    #[test]
    fn five_batches_and_a_test() {
        let temp = folder();
        let data = load_from(temp.path()).unwrap();
        assert_eq!((data.train.labels, data.test.labels), (vec![0, 1, 2, 3, 4], vec![5]));
        assert_eq!(data.train.pixels[4 * 3 * PLANE..][..6], [0, 0, 0, 4, 20, 30]);
        assert_eq!(data.classes, NAMES);
        // A spoilt batch is named.
        let third = temp.path().join("cifar-10-batches-bin/data_batch_3.bin");
        fs::write(&third, record(77, [0; 3])).unwrap();
        let message = load_from(temp.path()).unwrap_err().to_string();
        assert!(message.contains("data_batch_3.bin: at byte 0: label 77"), "{message}");
        fs::remove_file(third).unwrap();
        let error = load_from(temp.path()).unwrap_err();
        assert!(matches!(&error, Error::MissingData(m) if m.contains("data_batch_3.bin")));
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

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3 * RECORD)) {
            let _ = parse(&bytes);
            let _ = parse_names(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn every_pixel_finds_its_place(
            label in 0u8..10, pixels in prop::collection::vec(any::<u8>(), 3 * PLANE),
        ) {
            let images = parse(&[&[label][..], &pixels].concat()).unwrap();
            prop_assert_eq!(&images.labels, &[u32::from(label)]);
            for (i, &value) in pixels.iter().enumerate() {
                prop_assert_eq!(images.pixels[i % PLANE * 3 + i / PLANE], value);
            }
        }
    }
}
