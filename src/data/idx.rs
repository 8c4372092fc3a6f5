//! MNIST and Fashion-MNIST: idx files, plain or gzipped.
//!
//! The format is described at the end of <http://yann.lecun.com/exdb/mnist/>: two zero bytes, the
//! element type (8: unsigned byte), the number of dimensions, each dimension as a big-endian u32,
//! then the elements in row-major order.

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

/// Parses an idx stream of unsigned bytes with `rank` dimensions, to its end.
///
/// `limit` is an upper bound of the bytes in `stream`. A header that declares more is refused before
/// anything is allocated, and no more is read than the header declares.
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
    let available = limit.saturating_sub(header as u64);
    let promised = match promised {
        Some(0) => return content(format!("at byte 4: the header says {shape}, which is nothing")),
        Some(bytes) if bytes <= available => bytes,
        _ => {
            let problem =
                format!("the header promises {shape} bytes, but at most {available} follow");
            return content(format!("at byte 4: truncated: {problem}"));
        }
    };
    // Reading one byte more detects trailing data, and makes gzip verify its checksum.
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

/// The largest compression ratio of deflate (zlib's `Technical Details`: 1032:1).
const DEFLATE_RATIO: u64 = 1032;

/// Reads an idx file; one whose name ends in `.gz` is decompressed.
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

/// The four files: training images and labels, test images and labels.
const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// Alternative paths of a file: gzipped, with a dot before `idx` as some programs unpack it, and in a
/// folder of the same name.
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
mod tests {
    //! Tests of the idx reader.

    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::fs;
    use std::io::Write;

    /// An idx file with these dimensions and elements.
    fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, 8, dims.len() as u8];
        file.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
        file.extend(data);
        file
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Four valid files with images of 2 x 2 pixels, in the order of `FILES`.
    fn good() -> [Vec<u8>; 4] {
        [
            idx(&[3, 2, 2], &(0..12).collect::<Vec<_>>()),
            idx(&[3], &[9, 0, 4]),
            idx(&[1, 2, 2], &[250, 251, 252, 253]),
            idx(&[1], &[7]),
        ]
    }

    fn load_from(files: &[(String, Vec<u8>)]) -> Result<Dataset> {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let nowhere = Path::new("/nowhere");
        let places = Places::within(Some(folder.path()), nowhere, nowhere).unwrap();
        load("fashion-mnist", &FASHION, &places)
    }

    /// Loads the files as they are, and gzipped; both must come to the same.
    fn load_both(files: &[Vec<u8>; 4]) -> [Result<Dataset>; 2] {
        let plain = FILES.iter().zip(files).map(|(name, f)| (name.to_string(), f.clone()));
        let packed = FILES.iter().zip(files).map(|(name, f)| (format!("{name}.gz"), gz(f)));
        [load_from(&plain.collect::<Vec<_>>()), load_from(&packed.collect::<Vec<_>>())]
    }

    #[test]
    fn files_are_found_as_others_unpack_them() {
        let as_is = |name: &str| name.to_owned();
        let dotted = |name: &str| name.replace("-idx", ".idx");
        let ways: [&dyn Fn(&str) -> String; 6] = [
            &dotted,
            &|name| format!("{}.gz", dotted(name)),
            &|name| format!("{name}/{name}"),
            &|name| format!("{0}/{0}", dotted(name)),
            &|name| format!("{name}/{}", dotted(name)),
            &|name| format!("FashionMNIST/raw/{}", as_is(name)),
        ];
        for way in ways {
            let folder = tempfile::tempdir().unwrap();
            for (name, bytes) in FILES.iter().zip(good()) {
                let path = folder.path().join(way(name));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let packed = path.extension().is_some_and(|end| end == "gz");
                fs::write(&path, if packed { gz(&bytes) } else { bytes }).unwrap();
            }
            let nowhere = Path::new("/nowhere");
            let places = Places::within(Some(folder.path()), nowhere, nowhere).unwrap();
            let data = load("fashion-mnist", &FASHION, &places);
            assert_eq!(data.unwrap().train.labels, [9, 0, 4], "{}", way(FILES[0]));
        }
    }

    #[test]
    fn reads_plain_and_gzipped() {
        for data in load_both(&good()) {
            let Dataset { classes, train, test, .. } = data.unwrap();
            assert_eq!((train.height, train.width, train.channels), (2, 2, 1));
            assert_eq!(
                (train.labels.as_slice(), test.labels.as_slice()),
                (&[9, 0, 4][..], &[7][..])
            );
            assert_eq!(*train.image(1).unwrap(), [4, 5, 6, 7]);
            assert_eq!(*test.all().unwrap(), [250, 251, 252, 253]);
            assert_eq!((classes.len(), classes[9].as_str()), (10, "Ankle boot"));
        }
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        // (which file, what becomes of it, what the message must say)
        type Spoil = fn(&mut Vec<u8>);
        let cases: [(usize, Spoil, &str); 11] = [
            (0, |f| f[2] = 9, "at byte 0: magic number 0x00000903, expected 0x00000803"),
            (0, |f| f.truncate(2), "at byte 2: the file ends inside its header of 16 bytes"),
            (0, |f| f.truncate(15), "at byte 15: the file ends inside"),
            (0, |f| f.clear(), "at byte 0: the file ends inside"),
            (0, |f| f.push(0), "at byte 28: more bytes follow, the header says 3 x 2 x 2"),
            (1, |f| f[3] = 3, "at byte 0: magic number 0x00000803, expected 0x00000801"),
            (1, |f| f[9] = 10, "at byte 9: label 10, expected 0 to 9"),
            (1, |f| *f = idx(&[2], &[0, 1]), "at byte 4: 2 labels, but 3 images in"),
            (2, |f| *f = idx(&[0, 2, 2], &[]), "at byte 4: the header says 0 x 2 x 2"),
            (2, |f| *f = idx(&[1, 4, 1], &[0; 4]), "at byte 8: images are 4 x 1"),
            (
                0,
                |f| *f = idx(&[u32::MAX; 3], &[0; 9]),
                "4294967295 x 4294967295 x 4294967295 bytes",
            ),
        ];
        for (which, spoil, expected) in cases {
            let mut files = good();
            spoil(&mut files[which]);
            for loaded in load_both(&files) {
                let error = loaded.unwrap_err();
                let Error::Corrupt { path, problem } = &error else { panic!("{error}") };
                assert!(problem.to_string().contains(expected), "{error}\nexpected: {expected}");
                assert!(path.to_str().unwrap().contains(FILES[which]), "{error}");
            }
        }
    }

    #[test]
    fn a_truncated_file_is_refused_with_the_byte_where_it_ends() {
        let mut files = good();
        files[0].pop();
        let [plain, packed] = load_both(&files).map(|loaded| loaded.unwrap_err().to_string());
        assert!(plain.contains("at byte 4: truncated") && plain.contains("at most 11"), "{plain}");
        assert!(packed.contains("unpacked, at byte 27: truncated: 3 x 2 x 2 = 12"), "{packed}");
    }

    #[test]
    fn corrupt_gzip_is_refused() {
        let whole = gz(&good()[0]);
        let mut cases = vec![vec![], b"not gzip at all".to_vec(), [&whole[..], b"junk"].concat()];
        cases.extend((1..whole.len()).map(|end| whole[..end].to_vec()));
        let mut flipped = whole.clone();
        flipped[whole.len() - 8] ^= 1; // the first byte of the checksum
        cases.push(flipped);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train-images-idx3-ubyte.gz");
        for bytes in cases {
            fs::write(&path, &bytes).unwrap();
            let error = read(&path, 3).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        }
    }

    #[test]
    fn a_zip_bomb_is_not_decompressed() {
        // 64 MiB of zeros in 64 KiB, behind a header that promises four bytes.
        let bomb = gz(&idx(&[1, 2, 2], &vec![0; 1 << 26]));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t10k-images-idx3-ubyte.gz");
        fs::write(&path, bomb).unwrap();
        let message = read(&path, 3).unwrap_err().to_string();
        assert!(message.contains("at byte 20: more bytes follow"), "{message}");
        // The header declares more than a deflate stream of this size can hold.
        let claim = gz(&idx(&[1 << 20, 1 << 10, 1 << 10], &[0; 100]));
        fs::write(&path, claim).unwrap();
        let message = read(&path, 3).unwrap_err().to_string();
        assert!(message.contains("at byte 4: truncated"), "{message}");
    }

    #[test]
    fn a_missing_file_is_not_a_corrupt_one() {
        assert!(matches!(read(Path::new("/no/such.gz"), 1), Err(Error::Io { .. })));
    }

    proptest! {
        #[test]
        fn arrays_round_trip(dims in prop::collection::vec(1u32..5, 0..4), seed: u8) {
            let count = dims.iter().product::<u32>() as usize;
            let data: Vec<u8> = (0..count).map(|i| seed.wrapping_add(i as u8)).collect();
            let file = idx(&dims, &data);
            let array = parse(file.as_slice(), dims.len() as u8, file.len() as u64).unwrap();
            prop_assert_eq!(array.data, data);
            prop_assert!(array.dims.iter().zip(&dims).all(|(&a, &b)| a == b as usize));
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, rank: u8, limit: u64, dims: [u8; 3]) {
            let _ = parse(bytes.as_slice(), rank, limit);
            let _ = parse(MultiGzDecoder::new(bytes.as_slice()), rank, limit);
            // A valid header reaches more of the parser.
            let file = idx(&dims.map(u32::from), &bytes);
            let _ = parse(file.as_slice(), 3, limit);
            if let Ok(array) = parse(file.as_slice(), 3, file.len() as u64) {
                prop_assert_eq!(array.data, bytes);
            }
        }
    }
}
