//! Tests of MAT-files, made here as MATLAB makes them.

use super::*;
use flate2::{Compression, write::ZlibEncoder};
use proptest::prelude::*;
use std::io::Write;

/// An element: type, length, content, filled up to eight bytes.
fn part(kind: u32, content: &[u8]) -> Vec<u8> {
    let mut out = [kind.to_le_bytes(), (content.len() as u32).to_le_bytes()].concat();
    if (1..=4).contains(&content.len()) {
        out = (kind | (content.len() as u32) << 16).to_le_bytes().to_vec();
    }
    out.extend(content);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

/// An array element of a class, with values stored as `kind`.
pub fn array(name: &str, class: u32, dims: &[i32], kind: u32, values: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
    let flags = [class.to_le_bytes(), [0; 4]].concat();
    let parts = [part(6, &flags), part(5, &dims), part(1, name.as_bytes()), part(kind, values)];
    part(14, &parts.concat())
}

/// A compressed element, which is not filled up.
pub fn compressed(element: &[u8]) -> Vec<u8> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(element).unwrap();
    let packed = zlib.finish().unwrap();
    [&15u32.to_le_bytes(), &(packed.len() as u32).to_le_bytes(), &packed[..]].concat()
}

/// A file of elements.
pub fn file(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"MATLAB 5.0 MAT-file, made by a test".to_vec();
    out.resize(124, b' ');
    out.extend(b"\0\x01IM");
    out.extend(elements.concat());
    out
}

fn parsed(bytes: &[u8]) -> Result<Vec<Array>, Fault> {
    parse(bytes, bytes.len() as u64, &["X", "y"])
}

fn problem(bytes: &[u8]) -> String {
    match parsed(bytes).unwrap_err() {
        Fault::Content(problem) => problem,
        Fault::Read(at, error) => format!("read {at}: {error}"),
    }
}

#[test]
fn arrays_packed_and_not() {
    let y = array("y", 6, &[3, 1], 9, &[1.5f64, -2.0, 3e9].map(f64::to_le_bytes).concat());
    let x = array("X", 9, &[2, 3], 2, &[1, 2, 3, 4, 5, 6]);
    let other = array("other", 9, &[1, 1], 2, &[9]);
    for elements in [
        [x.clone(), other.clone(), y.clone()],
        [compressed(&x), compressed(&other), compressed(&y)],
    ] {
        let arrays = parsed(&file(&elements)).unwrap();
        assert_eq!(arrays.len(), 2);
        assert_eq!((&arrays[0].name[..], &arrays[0].dims[..]), ("X", &[2, 3][..]));
        assert_eq!(arrays[0].bytes(), Some(&[1, 2, 3, 4, 5, 6][..]));
        assert_eq!(arrays[1].bytes(), None);
        assert_eq!(arrays[1].values().collect::<Vec<_>>(), [1.5, -2.0, 3e9]);
    }
    assert_eq!(parsed(&file(&[])).unwrap(), []);
}

#[test]
fn every_number_type() {
    for (kind, bytes) in [
        (1, vec![200]),
        (2, vec![200]),
        (3, (-300i16).to_le_bytes().to_vec()),
        (4, 40_000u16.to_le_bytes().to_vec()),
        (5, (-70_000i32).to_le_bytes().to_vec()),
        (6, 4_000_000_000u32.to_le_bytes().to_vec()),
        (7, 0.25f32.to_le_bytes().to_vec()),
        (9, 0.1f64.to_le_bytes().to_vec()),
        (12, (-5i64).to_le_bytes().to_vec()),
        (13, 5u64.to_le_bytes().to_vec()),
    ] {
        let arrays = parsed(&file(&[array("y", 6, &[1, 1], kind, &bytes)])).unwrap();
        let expected = match kind {
            1 => -56.0,
            2 => 200.0,
            3 => -300.0,
            4 => 40_000.0,
            5 => -70_000.0,
            6 => 4e9,
            7 => 0.25,
            9 => 0.1,
            12 => -5.0,
            _ => 5.0,
        };
        assert_eq!(arrays[0].values().collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn says_what_is_wrong_and_where() {
    let good = file(&[compressed(&array("X", 9, &[2, 2], 2, &[1, 2, 3, 4]))]);
    let mut spoilt = good.clone();
    *spoilt.last_mut().unwrap() ^= 1;
    let mut version = good.clone();
    version[125] = 2;
    let huge = |dims: &[i32]| file(&[array("X", 9, dims, 2, &[1, 2, 3, 4])]);
    let packed = |dims: &[i32]| file(&[compressed(&array("X", 9, dims, 2, &[1, 2, 3, 4]))]);
    let mut promise = array("X", 9, &[2, 2], 2, &[1; 8]);
    promise[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    for (bytes, expected) in [
        (vec![], "at byte 124"),
        (good[..127].to_vec(), "at byte 124"),
        (version, "at byte 124: no MAT-file of version 5"),
        ([&b"MATLAB 7.3 MAT-file"[..], &[0; 512]].concat(), "version 7.3 (HDF5)"),
        (good[..131].to_vec(), "at byte 128: truncated inside"),
        (good[..good.len() - 1].to_vec(), "at byte 128: truncated"),
        (spoilt, "corrupt"),
        (huge(&[1 << 30, 1 << 30]), "array X is 1073741824 x 1073741824, which is more than"),
        (packed(&[1 << 30, 1 << 30, 1 << 30]), "which is more than"),
        (huge(&[-1, 2]), "array X is -1 x 2"),
        (huge(&[2, 3]), "array X is 2 x 3, but has 4 bytes"),
        (file(&[array("X", 9, &[2, 2], 16, &[1, 2, 3, 4])]), "type 16, not of numbers"),
        (file(std::slice::from_ref(&promise)), "at byte 128: truncated: 4294967295 bytes"),
        (file(&[compressed(&promise)]), "at byte 4: 4294967295 bytes cannot be in"),
        (file(&[compressed(&part(6, &[0; 16]))]), "element 6, no array"),
        (
            file(&[compressed(&[array("X", 9, &[1, 1], 2, &[1]), vec![0; 9]].concat())]),
            "more bytes",
        ),
        (file(&[part(14, &part(5, &[0; 8]))]), "type 5, expected flags"),
    ] {
        let problem = problem(&bytes);
        assert!(problem.contains(expected), "{problem}\nexpected: {expected}");
    }
}

proptest! {
    #[test]
    fn random_elements_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parsed(&file(std::slice::from_ref(&bytes)));
        let _ = parsed(&file(&[part(14, &bytes)]));
        let _ = parsed(&file(&[compressed(&part(14, &bytes))]));
    }

    #[test]
    fn a_changed_byte_never_panics(at in 124usize..220, value: u8) {
        let mut bytes = file(&[array("X", 9, &[3, 4], 2, &[7; 12]), array("y", 6, &[2], 2, &[1, 2])]);
        let at = at.min(bytes.len() - 1);
        bytes[at] = value;
        let _ = parsed(&bytes);
    }
}
