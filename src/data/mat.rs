//! Numeric arrays from MATLAB's MAT-files, level 5.
//!
//! The format is described in MathWorks' *MAT-File Format*. After a header of 128 bytes come
//! elements: a type and a length, both u32, then the content, usually another element compressed
//! by zlib. An array is an element made of elements: flags, dimensions, name, values, each padded to
//! a multiple of eight bytes. Values are stored in the smallest type that holds them, in
//! column-major order.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::ZlibDecoder;

use super::stream::{Fault, fill};
use crate::{Error, Result};

const HEADER: u64 = 128;
const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// The types that values may be stored in: type number, bytes, and how to read one.
type Number = (u32, usize, fn(&[u8]) -> f64);
const NUMBERS: [Number; 10] = [
    (1, 1, |b| f64::from(b[0] as i8)),
    (2, 1, |b| f64::from(b[0])),
    (3, 2, |b| f64::from(i16::from_le_bytes([b[0], b[1]]))),
    (4, 2, |b| f64::from(u16::from_le_bytes([b[0], b[1]]))),
    (5, 4, |b| f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
    (6, 4, |b| f64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
    (7, 4, |b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
    (9, 8, |b| f64::from_le_bytes(eight(b))),
    (12, 8, |b| i64::from_le_bytes(eight(b)) as f64),
    (13, 8, |b| u64::from_le_bytes(eight(b)) as f64),
];

fn eight(bytes: &[u8]) -> [u8; 8] {
    std::array::from_fn(|i| bytes[i])
}

/// An array of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// Its name.
    pub name: String,
    /// Length of each dimension, fastest first.
    pub dims: Vec<usize>,
    /// The type that its values are stored in.
    kind: u32,
    data: Vec<u8>,
}

impl Array {
    /// The values, if they are stored as unsigned bytes.
    pub fn bytes(&self) -> Option<&[u8]> {
        (self.kind == UINT8).then_some(&self.data[..])
    }

    /// The values, converted from any type.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        let number = NUMBERS.iter().find(|(kind, ..)| *kind == self.kind).unwrap_or(&NUMBERS[1]);
        self.data.chunks_exact(number.1).map(number.2)
    }
}

/// Reads the arrays of a file that have one of these names; others are skipped.
///
/// # Errors
/// [`Error::Io`], or [`Error::Corrupt`] with the byte offset of the problem.
pub fn read(path: &Path, names: &[&str]) -> Result<Vec<Array>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    parse(BufReader::new(file), size, names).map_err(|fault| fault.of(path, Some("zlib data")))
}

/// Parses a stream of `size` bytes, see [`read`].
fn parse(mut stream: impl Read, size: u64, names: &[&str]) -> Result<Vec<Array>, Fault> {
    let head = fill(&mut stream, 0, HEADER)?;
    if head.starts_with(b"MATLAB 7.3") {
        let problem = "at byte 0: a file of version 7.3 (HDF5), expected version 5; in MATLAB, \
                       save with -v7";
        return Err(Fault::Content(problem.into()));
    }
    if head.len() < HEADER as usize || head[124..] != *b"\0\x01IM" {
        let problem = "at byte 124: no MAT-file of version 5 in little-endian order";
        return Err(Fault::Content(problem.into()));
    }
    let (mut at, mut arrays) = (HEADER, Vec::new());
    while at < size {
        let (kind, bytes) = (word(&mut stream, at)?, word(&mut stream, at + 4)?);
        let end = at + 8 + u64::from(bytes);
        if end > size {
            return Err(wrong(at, format!("truncated: {bytes} bytes promised to byte {end}")));
        }
        let mut part = (&mut stream).take(bytes.into());
        let array = match kind {
            COMPRESSED => {
                // The largest compression ratio of deflate.
                let limit = u64::from(bytes).saturating_mul(1032);
                let mut inner = ZlibDecoder::new(&mut part);
                let found = match (word(&mut inner, 0)?, u64::from(word(&mut inner, 4)?)) {
                    (MATRIX, promised) if promised <= limit => {
                        matrix(&mut inner, 8, 8 + promised, names)?
                    }
                    (MATRIX, promised) => {
                        return Err(wrong(4, format!("{promised} bytes cannot be in {bytes}")));
                    }
                    (other, _) => return Err(wrong(0, format!("element {other}, no array"))),
                };
                // Reads to the end, so that zlib's checksum is verified.
                if let Some((array, end)) = &found {
                    rest(&mut inner, *end, &array.name)?;
                }
                found.map(|(array, _)| array)
            }
            MATRIX => matrix(&mut part, at + 8, end, names)?.map(|(array, _)| array),
            _ => None,
        };
        arrays.extend(array);
        std::io::copy(&mut part, &mut std::io::sink()).map_err(|e| Fault::Read(at as usize, e))?;
        at = end;
    }
    Ok(arrays)
}

fn wrong(at: u64, problem: impl std::fmt::Display) -> Fault {
    Fault::Content(format!("at byte {at}: {problem}"))
}

fn word(stream: &mut impl Read, at: u64) -> Result<u32, Fault> {
    let bytes = fill(stream, at as usize, 4)?;
    let bytes = bytes.try_into().map_err(|_| wrong(at, "truncated inside an element's head"))?;
    Ok(u32::from_le_bytes(bytes))
}

/// Only padding to eight bytes may follow the values of an array.
fn rest(stream: &mut impl Read, at: u64, name: &str) -> Result<(), Fault> {
    let more = fill(stream, at as usize, 9)?;
    if more.len() > 8 { Err(wrong(at, format!("more bytes follow array {name}"))) } else { Ok(()) }
}

/// Type and content of an element of at most `limit` bytes, and the offset of the next one.
fn element(stream: &mut impl Read, at: u64, limit: u64) -> Result<(u32, Vec<u8>, u64), Fault> {
    let first = word(stream, at)?;
    // Small elements: up to four bytes in the head, after type and length of 16 bits each.
    let (kind, bytes, head) = match first >> 16 {
        0 => (first, u64::from(word(stream, at + 4)?), 8),
        small => (first & 0xffff, u64::from(small), 4),
    };
    if bytes > limit || (head == 4 && bytes > 4) {
        return Err(wrong(at, format!("an element of {bytes} bytes in an array of {limit}")));
    }
    let content = fill(stream, (at + head) as usize, bytes)?;
    if (content.len() as u64) < bytes {
        let found = content.len();
        return Err(wrong(at, format!("truncated: {found} of an element's {bytes} bytes")));
    }
    let end = (head + bytes).next_multiple_of(8);
    fill(stream, at as usize, end - head - bytes)?;
    Ok((kind, content, at + end))
}

/// The array in bytes `at` to `end` if it has one of `names`, and where its values end.
fn matrix(
    stream: &mut impl Read,
    at: u64,
    end: u64,
    names: &[&str],
) -> Result<Option<(Array, u64)>, Fault> {
    let limit = end - at;
    let mut next = at;
    let mut part = |expected: &[u32], what: &str, most: u64| {
        let (kind, content, after) = element(stream, next, most)?;
        if !expected.is_empty() && !expected.contains(&kind) {
            return Err(wrong(next, format!("type {kind}, expected {what} of type {expected:?}")));
        }
        let at = std::mem::replace(&mut next, after);
        Ok((kind, content, at))
    };
    // These are small. The bound keeps a corrupt length from reading the values in their place.
    let small = limit.min(1024);
    part(&[UINT32], "flags", small)?;
    let (_, dims, dims_at) = part(&[INT32], "dimensions", small)?;
    let (_, name, _) = part(&[INT8, UINT8], "a name", small)?;
    let name = String::from_utf8_lossy(&name).into_owned();
    if !names.contains(&name.as_str()) {
        return Ok(None);
    }
    let dims: Vec<i32> = dims.as_chunks().0.iter().map(|d| i32::from_le_bytes(*d)).collect();
    let shape = dims.iter().map(i32::to_string).collect::<Vec<_>>().join(" x ");
    let count = dims.iter().try_fold(1u64, |product, dim| {
        u64::try_from(*dim).ok().and_then(|dim| product.checked_mul(dim))
    });
    let Some(count) = count.filter(|count| *count <= limit && !dims.is_empty()) else {
        let problem = format!("array {name} is {shape}, which is more than its {limit} bytes");
        return Err(wrong(dims_at, problem));
    };
    let (kind, data, data_at) = part(&[], "values", limit)?;
    let Some((_, size, _)) = NUMBERS.iter().find(|(number, ..)| *number == kind) else {
        return Err(wrong(data_at, format!("values of {name} have type {kind}, not of numbers")));
    };
    if data.len() as u64 != count * *size as u64 {
        let problem = format!("array {name} is {shape}, but has {} bytes of values", data.len());
        return Err(wrong(data_at, problem));
    }
    let dims = dims.into_iter().map(|dim| dim as usize).collect();
    Ok(Some((Array { name, dims, kind, data }, next)))
}

#[cfg(test)]
pub(super) mod tests {
    //! Tests on MAT-files that are written here as MATLAB does.

    use super::*;
    use flate2::{Compression, write::ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    /// An element: type, length, content, padded to eight bytes.
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

    /// A compressed element, which is not padded.
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
    fn plain_and_compressed_arrays_are_read() {
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
    fn values_of_every_type_are_converted() {
        let cases: [(u32, &[u8], f64); 10] = [
            (1, &(-56i8).to_le_bytes(), -56.0),
            (2, &[200], 200.0),
            (3, &(-300i16).to_le_bytes(), -300.0),
            (4, &40_000u16.to_le_bytes(), 40_000.0),
            (5, &(-70_000i32).to_le_bytes(), -70_000.0),
            (6, &4_000_000_000u32.to_le_bytes(), 4e9),
            (7, &0.25f32.to_le_bytes(), 0.25),
            (9, &0.1f64.to_le_bytes(), 0.1),
            (12, &(-5i64).to_le_bytes(), -5.0),
            (13, &5u64.to_le_bytes(), 5.0),
        ];
        for (kind, bytes, expected) in cases {
            let arrays = parsed(&file(&[array("y", 6, &[1, 1], kind, bytes)])).unwrap();
            assert_eq!(arrays[0].values().collect::<Vec<_>>(), [expected], "type {kind}");
        }
    }

    #[test]
    fn corrupt_files_are_refused_with_the_problem_and_its_offset() {
        let good = file(&[compressed(&array("X", 9, &[2, 2], 2, &[1, 2, 3, 4]))]);
        let mut checksum = good.clone();
        *checksum.last_mut().unwrap() ^= 1;
        let mut version = good.clone();
        version[125] = 2;
        let huge = |dims: &[i32]| file(&[array("X", 9, dims, 2, &[1, 2, 3, 4])]);
        let packed = |dims: &[i32]| file(&[compressed(&array("X", 9, dims, 2, &[1, 2, 3, 4]))]);
        let mut promise = array("X", 9, &[2, 2], 2, &[1; 8]);
        promise[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        for (bytes, expected) in [
            (good[..127].to_vec(), "at byte 124"),
            (version, "at byte 124: no MAT-file of version 5"),
            ([&b"MATLAB 7.3 MAT-file"[..], &[0; 512]].concat(), "version 7.3 (HDF5)"),
            (good[..131].to_vec(), "at byte 128: truncated inside"),
            (good[..good.len() - 1].to_vec(), "at byte 128: truncated"),
            (checksum, "corrupt"),
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
        fn random_elements_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parsed(&file(std::slice::from_ref(&bytes)));
            let _ = parsed(&file(&[part(14, &bytes)]));
            let _ = parsed(&file(&[compressed(&part(14, &bytes))]));
        }
    }
}
