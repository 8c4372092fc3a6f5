//! Reading binary files piece by piece, with faults that say where.

use std::io::{self, Read};
use std::path::Path;

use crate::Error;

/// Why a stream could not be parsed.
#[derive(Debug)]
pub enum Fault {
    /// The content is not as it should be: at which byte, what is there, what was expected.
    Content(String),
    /// Reading failed after so many bytes.
    Read(usize, io::Error),
}

/// Reads to the end of `stream` or to `limit`, and says at which byte it failed if it did.
pub fn fill(stream: &mut impl Read, start: usize, limit: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    match stream.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Fault::Read(start + bytes.len(), error)),
    }
}

impl Fault {
    /// The error for the file at `path`; `packed` names the compression it was read through.
    pub fn of(self, path: &Path, packed: Option<&str>) -> Error {
        match (self, packed) {
            (Self::Content(problem), Some(_)) => {
                Error::corrupt(path, format!("unpacked, {problem}"))
            }
            (Self::Content(problem), None) => Error::corrupt(path, problem),
            // What the system did not report comes from the decoder.
            (Self::Read(at, error), Some(packed)) if error.raw_os_error().is_none() => {
                Error::corrupt(path, format!("corrupt {packed} after {at} unpacked bytes: {error}"))
            }
            (Self::Read(_, error), _) => Error::io("read", path)(error),
        }
    }
}
