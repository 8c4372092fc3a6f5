//! Unpacking of archives that need not be trusted.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};

use crate::{Error, Result};

/// Largest size of an unpacked archive, in bytes.
const MAX_BYTES: u64 = 4 << 30;
/// Largest number of files and folders in an archive.
const MAX_ENTRIES: usize = 200_000;

/// Unpacks a gzipped tar archive into the folder `into`, which is created if it does not exist.
///
/// # Errors
/// [`Error::Corrupt`] if the archive is damaged, too large, or holds anything but files and
/// folders inside of `into`, each once; [`Error::Io`]. Files that were unpacked before the error stay.
pub fn unpack(archive: &Path, into: &Path) -> Result<()> {
    let file = File::open(archive).map_err(Error::io("read", archive))?;
    fs::create_dir_all(into).map_err(Error::io("create", into))?;
    // The limit includes headers, so that an endless archive of headers ends, too.
    let stream = MultiGzDecoder::new(BufReader::new(file)).take(2 * MAX_BYTES);
    let mut tar = Archive::new(stream);
    let damaged = |e: io::Error| match e.raw_os_error() {
        Some(_) => Error::io("read", archive)(e),
        None => Error::corrupt(archive, format!("not a sound archive: {e}")),
    };
    let mut remaining = MAX_BYTES;
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
                if size > remaining {
                    return refuse(&format!("makes the archive larger than {MAX_BYTES} bytes"));
                }
                remaining -= size;
                write(&mut entry, &path, size, damaged)?;
            }
            _ => return refuse("is neither a file nor a folder"),
        }
    }
    // Read to the end, where gzip has its checksum.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(damaged)?;
    Ok(())
}

/// The path without `.`; `None` if it leads outside of the folder.
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
    // A second entry with the same name must not replace the file.
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
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;
    use tar::{Builder, Header};

    /// An entry with any name, even one that `tar` refuses to write.
    fn entry(kind: EntryType, name: &[u8], link: &str, claimed: u64, content: &[u8]) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        header.set_size(claimed);
        header.set_mode(0o777);
        header.set_cksum();
        let mut out = header.as_bytes().to_vec();
        out.extend(content);
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }

    fn regular(name: &str, content: &[u8]) -> Vec<u8> {
        entry(EntryType::Regular, name.as_bytes(), "", content.len() as u64, content)
    }

    fn gz(tar: &[u8]) -> Vec<u8> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(tar).unwrap();
        gz.finish().unwrap()
    }

    /// Unpacks into a folder, and checks that nothing outside of it changes.
    fn unpacked(archive: &[u8]) -> (tempfile::TempDir, Result<()>) {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("a.tgz"), archive).unwrap();
        let result = unpack(&temp.path().join("a.tgz"), &temp.path().join("in/to"));
        let names = |path: &Path| -> Vec<String> {
            let entries = fs::read_dir(path).unwrap();
            let mut names: Vec<String> =
                entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(names(temp.path()), ["a.tgz", "in"]);
        assert_eq!(names(&temp.path().join("in")), ["to"]);
        (temp, result)
    }

    #[test]
    fn files_and_folders_are_unpacked() {
        let long = format!("{}/b.txt", "long".repeat(40));
        let mut builder = Builder::new(Vec::new());
        for name in ["./a.txt", "x/y/c.txt", &long] {
            let mut header = Header::new_gnu();
            header.set_size(5);
            builder.append_data(&mut header, name, &b"hello"[..]).unwrap();
        }
        let tar = [entry(EntryType::Directory, b"x/", "", 0, b""), builder.into_inner().unwrap()];
        let (temp, result) = unpacked(&gz(&tar.concat()));
        result.unwrap();
        for name in ["a.txt", "x/y/c.txt", &long] {
            assert_eq!(fs::read(temp.path().join("in/to").join(name)).unwrap(), b"hello");
        }
    }

    #[test]
    fn hostile_archives_are_refused() {
        let link = |kind, to| entry(kind, b"link", to, 0, b"");
        for (tar, expected) in [
            (regular("../evil", b"x"), "'../evil' would be unpacked outside"),
            (regular("a/../../evil", b"x"), "outside"),
            (regular("/tmp/sff-evil", b"x"), "'/tmp/sff-evil' would be unpacked outside"),
            (entry(EntryType::Directory, b"../evil", "", 0, b""), "outside"),
            (link(EntryType::Symlink, "/etc"), "'link' is neither a file nor a folder"),
            (link(EntryType::Link, "../a.tgz"), "neither"),
            (entry(EntryType::Char, b"null", "", 0, b""), "neither"),
            (entry(EntryType::Fifo, b"pipe", "", 0, b""), "neither"),
            ([link(EntryType::Symlink, ".."), regular("link/evil", b"x")].concat(), "neither"),
            ([regular("twice", b"x"), regular("twice", b"y")].concat(), "twice: "),
            (
                entry(EntryType::Regular, b"huge", "", 1 << 60, b"x"),
                "'huge' makes the archive larger",
            ),
            (entry(EntryType::Regular, b"short", "", 1 << 20, b"x"), "not a sound archive"),
            (vec![7; 2048], "not a sound archive"),
        ] {
            let (_, result) = unpacked(&gz(&tar));
            let message = result.unwrap_err().to_string();
            assert!(message.contains(expected), "{message}\nexpected: {expected}");
        }
        assert!(!Path::new("/tmp/sff-evil").exists());
    }

    #[test]
    fn damaged_archives_are_errors() {
        let tar = [regular("a", &[7; 5000]), vec![0; 1024]].concat();
        let good = gz(&tar);
        unpacked(&good).1.unwrap();
        let mut checksum = good.clone();
        let at = good.len() - 6;
        checksum[at] ^= 1;
        for bad in [&good[..good.len() / 2], &good[..good.len() - 1], &checksum, b"", b"<html>"] {
            let message = unpacked(bad).1.unwrap_err().to_string();
            assert!(message.contains("a.tgz: not a sound archive"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn any_name_stays_inside(name in prop::collection::vec(1u8..128, 1..60)) {
            // The check is in `unpacked`.
            let _ = unpacked(&gz(&entry(EntryType::Regular, &name, "", 1, b"x")));
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
            let _ = unpacked(&bytes);
            let _ = unpacked(&gz(&bytes));
        }
    }
}
