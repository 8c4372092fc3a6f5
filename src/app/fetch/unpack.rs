//! Unpacking archives that nobody has to trust.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};

use crate::{Error, Result};

/// The most bytes that an archive may unpack to.
const MAX_BYTES: u64 = 4 << 30;
/// The most files and folders that an archive may hold.
const MAX_ENTRIES: usize = 200_000;

/// Unpacks a gzipped tar archive into the folder `into`, which is made if it is not there.
///
/// # Errors
/// [`Error::Corrupt`] if the archive is damaged, too large, or holds anything but files and
/// folders inside of `into`, each once; [`Error::Io`]. What was unpacked before is left.
pub fn unpack(archive: &Path, into: &Path) -> Result<()> {
    let file = File::open(archive).map_err(Error::io("read", archive))?;
    fs::create_dir_all(into).map_err(Error::io("create", into))?;
    // Headers count, too, so that an endless one ends.
    let stream = MultiGzDecoder::new(BufReader::new(file)).take(2 * MAX_BYTES);
    let mut tar = Archive::new(stream);
    let damaged = |e: io::Error| match e.raw_os_error() {
        Some(_) => Error::io("read", archive)(e),
        None => Error::corrupt(archive, format!("not a sound archive: {e}")),
    };
    let mut room = MAX_BYTES;
    for (number, entry) in tar.entries().map_err(damaged)?.enumerate() {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let refuse = |problem: &str| {
            let shown: String = name.chars().take(200).collect();
            Err(Error::corrupt(archive, format!("'{}' {problem}", shown.escape_default())))
        };
        if number >= MAX_ENTRIES {
            return refuse(&format!("is one of more than {MAX_ENTRIES} files"));
        }
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let Some(inner) = entry.path().ok().and_then(|path| inside(&path)) else {
            return refuse("would be unpacked outside of the folder");
        };
        let path = into.join(&inner);
        match kind {
            EntryType::Directory => {
                fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
            }
            EntryType::Regular if inner.as_os_str().is_empty() => return refuse("has no name"),
            EntryType::Regular => {
                let size = entry.size();
                if size > room {
                    return refuse(&format!("makes the archive larger than {MAX_BYTES} bytes"));
                }
                room -= size;
                write(&mut entry, &path, size, damaged)?;
            }
            _ => return refuse("is neither a file nor a folder"),
        }
    }
    // To the end, where gzip's checksum is.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(damaged)?;
    Ok(())
}

/// The path without `.`, if it leads nowhere else than down.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut inner = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inner.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(inner)
}

/// Writes a new file of `size` bytes, and the folders that it needs.
fn write(
    entry: &mut impl Read,
    path: &Path,
    size: u64,
    damaged: impl Fn(io::Error) -> Error,
) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    // A name that comes twice must not replace a file.
    let mut file = File::create_new(path).map_err(Error::io("create", path))?;
    let mut block = vec![0; 1 << 16];
    let mut left = size;
    while left > 0 {
        let bytes = entry.read(&mut block).map_err(&damaged)?;
        if bytes == 0 {
            return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        io::Write::write_all(&mut file, &block[..bytes]).map_err(Error::io("write", path))?;
        left = left.saturating_sub(bytes as u64);
    }
    Ok(())
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
