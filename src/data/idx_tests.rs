//! Tests of the idx reader: every way in which a file can be wrong.

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

/// A good set of four files of 2 x 2 pixels, in an order that `FILES` gives.
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
        assert_eq!((train.labels.as_slice(), test.labels.as_slice()), (&[9, 0, 4][..], &[7][..]));
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
        (0, |f| *f = idx(&[u32::MAX; 3], &[0; 9]), "4294967295 x 4294967295 x 4294967295 bytes"),
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
fn says_where_a_file_is_cut() {
    let mut files = good();
    files[0].pop();
    let [plain, packed] = load_both(&files).map(|loaded| loaded.unwrap_err().to_string());
    assert!(plain.contains("at byte 4: truncated") && plain.contains("at most 11"), "{plain}");
    assert!(packed.contains("unpacked, at byte 27: truncated: 3 x 2 x 2 = 12"), "{packed}");
}

#[test]
fn refuses_corrupt_gzip() {
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
fn a_bomb_is_not_unpacked() {
    // 64 MiB of zeros in 64 KiB, behind a header that promises four bytes.
    let bomb = gz(&idx(&[1, 2, 2], &vec![0; 1 << 26]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t10k-images-idx3-ubyte.gz");
    fs::write(&path, bomb).unwrap();
    let message = read(&path, 3).unwrap_err().to_string();
    assert!(message.contains("at byte 20: more bytes follow"), "{message}");
    // No deflate stream of this size can hold what this header promises.
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
        // Behind a good header, more of the parser is reached.
        let file = idx(&dims.map(u32::from), &bytes);
        let _ = parse(file.as_slice(), 3, limit);
        if let Ok(array) = parse(file.as_slice(), 3, file.len() as u64) {
            prop_assert_eq!(array.data, bytes);
        }
    }
}
