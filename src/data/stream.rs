//! Reading binary files in parts, with errors that give the byte offset.

use std::io::{self, Read};
use std::path::Path;

use crate::Error;

/// Why a stream could not be parsed.
#[derive(Debug)]
pub enum Fault {
    /// The content is wrong: the byte offset, what was found, what was expected.
    Content(String),
    /// Reading failed after this number of bytes.
    Read(usize, io::Error),
}

/// Reads at most `limit` bytes of `stream`. `start` is the offset of the first, for errors.
pub fn fill(stream: &mut impl Read, start: usize, limit: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    match stream.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Fault::Read(start + bytes.len(), error)),
    }
}

impl Fault {
    /// The error for the file at `path`; `packed` is its compression format, if any.
    pub fn of(self, path: &Path, packed: Option<&str>) -> Error {
        match (self, packed) {
            (Self::Content(problem), Some(_)) => {
                Error::corrupt(path, format!("unpacked, {problem}"))
            }
            (Self::Content(problem), None) => Error::corrupt(path, problem),
            // Without an OS error code, the error comes from the decompressor.
            (Self::Read(at, error), Some(packed)) if error.raw_os_error().is_none() => {
                Error::corrupt(path, format!("corrupt {packed} after {at} unpacked bytes: {error}"))
            }
            (Self::Read(_, error), _) => Error::io("read", path)(error),
        }
    }
}
