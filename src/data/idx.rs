//! MNIST and Fashion-MNIST: idx files, plain or gzipped.
//!
//! The format is described at the foot of <http://yann.lecun.com/exdb/mnist/>: two bytes 0, the
//! type of the elements (8: unsigned byte), the number of dimensions, each dimension as a
//! big-endian u32, then the elements, last dimension fastest.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::place::Places;
use super::stream::{Fault, fill};
use super::{Dataset, Found, Images};
use crate::base::hint::{Hint, Part};
use crate::{Error, Result};

/// The elements of an idx file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// Length of each dimension, slowest first.
    pub dims: Vec<usize>,
    /// As many bytes as the product of `dims`.
    pub data: Vec<u8>,
}

/// Parses an idx stream of unsigned bytes with `rank` dimensions, to its very end.
///
/// `limit` is the most bytes that `stream` can hold: a header that promises more is refused
/// before anything is read, and never is more read than it promises.
pub fn parse(mut stream: impl Read, rank: u8, limit: u64) -> Result<Array, Fault> {
    let header = 4 + 4 * usize::from(rank);
    let head = fill(&mut stream, 0, header as u64)?;
    let content = |problem: String| Err(Fault::Content(problem));
    let Some((magic, sizes)) = head.split_first_chunk().filter(|_| head.len() == header) else {
        let problem = format!("the file ends inside its header of {header} bytes");
        return content(format!("at byte {}: {problem}", head.len()));
    };
    let (magic, expected) = (u32::from_be_bytes(*magic), 0x800 | u32::from(rank));
    if magic != expected {
        let problem = format!("magic number {magic:#010x}, expected {expected:#010x}");
        return content(format!("at byte 0: {problem} (unsigned bytes, {rank} dimensions)"));
    }
    let dims: Vec<u32> = sizes.as_chunks().0.iter().map(|size| u32::from_be_bytes(*size)).collect();
    let shape = dims.iter().map(u32::to_string).collect::<Vec<_>>().join(" x ");
    let promised = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim.into()));
    let room = limit.saturating_sub(header as u64);
    let promised = match promised {
        Some(0) => return content(format!("at byte 4: the header says {shape}, which is nothing")),
        Some(bytes) if bytes <= room => bytes,
        _ => {
            let problem = format!("the header promises {shape} bytes, but at most {room} follow");
            return content(format!("at byte 4: truncated: {problem}"));
        }
    };
    // One byte more than promised shows whether anything trails, and has gzip check its sum.
    let mut data = fill(&mut stream, header, promised + 1)?;
    let (end, found) = (header as u64 + promised, data.len() as u64);
    if found < promised {
        let problem = format!("truncated: {shape} = {promised} bytes were promised");
        return content(format!("at byte {}: {problem}", header as u64 + found));
    }
    if found > promised {
        return content(format!("at byte {end}: more bytes follow, the header says {shape}"));
    }
    data.shrink_to_fit();
    Ok(Array { dims: dims.into_iter().map(|dim| dim as usize).collect(), data })
}

/// Deflate cannot pack more than this many bytes into one (zlib's `Technical Details`: 1032:1).
const DEFLATE_RATIO: u64 = 1032;

/// Reads an idx file; one whose name ends in `.gz` is unpacked on the way.
pub fn read(path: &Path, rank: u8) -> Result<Array> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    let gz = path.extension().is_some_and(|extension| extension == "gz");
    let parsed = if gz {
        let stream = MultiGzDecoder::new(BufReader::new(file));
        parse(stream, rank, size.saturating_mul(DEFLATE_RATIO))
    } else {
        parse(file, rank, size)
    };
    parsed.map_err(|fault| fault.of(path, gz.then_some("gzip")))
}

/// A data set in idx files.
pub struct Set {
    classes: [&'static str; 10],
    /// Where torchvision puts its files.
    folders: &'static [&'static str],
    advice: &'static [Part],
}

/// Fashion-MNIST, <https://github.com/zalandoresearch/fashion-mnist>.
pub const FASHION: Set = Set {
    classes: [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
    folders: &["raw", "FashionMNIST/raw"],
    advice: &[
        Part::Hint(Hint::command("data fetch fashion-mnist")),
        Part::text(
            " gets it, on Debian or Ubuntu also `apt-get install dataset-fashion-mnist`; or take ",
        ),
        Part::Hint(Hint::Set("dataset", Cow::Borrowed("shapes"))),
        Part::text(", which needs no files"),
    ],
};

/// MNIST's handwritten digits, <http://yann.lecun.com/exdb/mnist/>.
pub const DIGITS: Set = Set {
    classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    folders: &["raw", "MNIST/raw"],
    advice: &[
        Part::Hint(Hint::command("data fetch mnist")),
        Part::text(" gets it; or take "),
        Part::Hint(Hint::Set("dataset", Cow::Borrowed("shapes"))),
        Part::text(", which needs no files"),
    ],
};

/// The names of the four files: images and labels to train on, images and labels to test with.
const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// Other paths that a file comes under: gzipped, with a dot as some programs unpack it, and each in a
/// folder of its own name.
fn spellings(file: &str) -> Vec<String> {
    let names = [file.to_owned(), file.replace("-idx", ".idx")];
    let ends = ["", ".gz"];
    let direct = names.iter().flat_map(|name| ends.map(|end| format!("{name}{end}")));
    let inner = names.iter().flat_map(|folder| {
        names.iter().flat_map(move |name| ends.map(|end| format!("{folder}/{name}{end}")))
    });
    direct.chain(inner).collect()
}

/// Its files, from the first of `places` that has them, in the order of [`FILES`].
pub(super) fn find(name: &str, set: &Set, places: &Places) -> Result<Vec<PathBuf>> {
    places.find(name, set.folders, &FILES, spellings, set.advice)
}

/// Loads the data set `name` from the first of `places` that has it.
pub(super) fn load(name: &str, set: &Set, places: &Places) -> Result<Dataset> {
    let paths = find(name, set, places)?;
    let train = pair(&paths[0], &paths[1], set.classes.len())?;
    let test = pair(&paths[2], &paths[3], set.classes.len())?;
    if (train.height, train.width) != (test.height, test.width) {
        let sizes = [&test, &train].map(|images| format!("{} x {}", images.height, images.width));
        let problem = format!("at byte 8: images are {}, those to train on {}", sizes[0], sizes[1]);
        return Err(Error::corrupt(&paths[2], problem));
    }
    let classes = set.classes.map(String::from).into();
    let found = Found::in_files(name, &paths);
    Ok(Dataset { name: name.into(), classes, train, test, skipped: Vec::new(), found })
}

/// Reads the images in one file with their labels in another.
fn pair(images_path: &Path, labels_path: &Path, classes: usize) -> Result<Images> {
    let images = read(images_path, 3)?;
    let labels = read(labels_path, 1)?.data;
    let &[count, height, width] = images.dims.as_slice() else {
        return Err(Error::corrupt(images_path, "expected 3 dimensions"));
    };
    if labels.len() != count {
        let problem = format!("at byte 4: {} labels, but {count} images in", labels.len());
        return Err(Error::corrupt(labels_path, format!("{problem} {}", images_path.display())));
    }
    let out_of_range = |&(_, &label): &(usize, &u8)| usize::from(label) >= classes;
    if let Some((at, label)) = labels.iter().enumerate().find(out_of_range) {
        let problem = format!("label {label}, expected 0 to {}", classes - 1);
        return Err(Error::corrupt(labels_path, format!("at byte {}: {problem}", 8 + at)));
    }
    let labels = labels.into_iter().map(u32::from).collect();
    Ok(Images::in_memory([height, width, 1], images.data, labels))
}

#[cfg(test)]
#[path = "idx_tests.rs"]
mod tests;
