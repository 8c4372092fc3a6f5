//! Atomic writes, checksums and text files.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use md5::{Digest, Md5};

use crate::{Error, Result};

/// Writes `path` atomically: under another name, synced, then renamed. A reader, or a power
/// failure, finds the old content or the new one.
///
/// # Errors
/// [`Error::Io`]; the old file is then untouched.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Always the same name: a killed run leaves at most one such file.
    name.push(".partial");
    let partial = path.with_file_name(name);
    let attempt = || -> io::Result<()> {
        let mut file = io::BufWriter::new(File::create(&partial)?);
        write(&mut file)?;
        file.into_inner()?.sync_all()?;
        fs::rename(&partial, path)?;
        sync_folder(path)
    };
    attempt().map_err(|source| {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
        Error::io("write", path)(source)
    })
}

/// Syncs the folder, so that a rename survives a power failure. Windows needs no such call.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) => {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder)?.sync_all()
        }
        _ => Ok(()),
    }
}

/// The MD5 of a file's content, in hexadecimal. It detects damage, not forgery.
///
/// # Errors
/// [`Error::Io`].
pub fn md5(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut hash = Md5::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block).map_err(Error::io("read", path))? {
            0 => break,
            bytes => hash.update(&block[..bytes]),
        }
    }
    Ok(hex(&hash.finalize()))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Renames a finished file or folder to its place, and syncs that.
///
/// # Errors
/// [`Error::Io`].
pub fn publish(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).and_then(|()| sync_folder(to)).map_err(Error::io("create", to))
}

/// Reads a text file in UTF-8 or, with a byte order mark, in UTF-16. The mark is removed.
///
/// # Errors
/// [`Error::Io`], or [`Error::Corrupt`] with the byte where the encoding is invalid.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let wide = |unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].as_chunks().0.iter().map(|pair| unit(*pair)).collect();
        String::from_utf16(&units).ok().filter(|_| bytes.len().is_multiple_of(2))
    };
    let no_text = |at: usize| Error::corrupt(path, format!("at byte {at}: this is no UTF-8 text"));
    match bytes[..] {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes).ok_or_else(|| no_text(0)),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes).ok_or_else(|| no_text(0)),
        [0xef, 0xbb, 0xbf, ..] => {
            let text = str::from_utf8(&bytes[3..]);
            text.map(str::to_owned).map_err(|e| no_text(3 + e.valid_up_to()))
        }
        _ => String::from_utf8(bytes).map_err(|e| no_text(e.utf8_error().valid_up_to())),
    }
}

/// Reads a list, one item a line. Blank lines at the end are ignored.
///
/// # Errors
/// As [`read_text`], and [`Error::Corrupt`] for a blank line between others, or no item at all.
pub fn read_lines(path: &Path) -> Result<Vec<String>> {
    let text = read_text(path)?;
    let lines: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    match lines.iter().position(String::is_empty) {
        Some(at) => Err(Error::corrupt(path, format!("line {} is blank", at + 1))),
        None if lines.is_empty() => {
            Err(Error::corrupt(path, "it is empty, expected a name a line"))
        }
        None => Ok(lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_agrees_with_the_examples_of_the_rfc() {
        // RFC 1321, A.5.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for (text, sum) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(md5(&path).unwrap(), sum);
        }
        assert!(md5(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_whole(&path, |f| f.write_all(b"old")).unwrap();
        let fail = |f: &mut dyn Write| {
            f.write_all(b"half of the n")?;
            Err(io::Error::other("disk full"))
        };
        let message = write_whole(&path, fail).unwrap_err().to_string();
        assert!(message.contains("a.txt") && message.contains("disk full"), "{message}");
        assert_eq!(read_text(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
