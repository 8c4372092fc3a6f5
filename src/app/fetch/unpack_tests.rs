//! Tests of unpacking: sound archives, and such as mean harm.

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

/// Unpacks into a folder; everything else around it must stay as it is.
fn through(archive: &[u8]) -> (tempfile::TempDir, Result<()>) {
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
fn files_and_folders() {
    let long = format!("{}/b.txt", "long".repeat(40));
    let mut builder = Builder::new(Vec::new());
    for name in ["./a.txt", "x/y/c.txt", &long] {
        let mut header = Header::new_gnu();
        header.set_size(5);
        builder.append_data(&mut header, name, &b"hello"[..]).unwrap();
    }
    let tar = [entry(EntryType::Directory, b"x/", "", 0, b""), builder.into_inner().unwrap()];
    let (temp, result) = through(&gz(&tar.concat()));
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
        (entry(EntryType::Regular, b"huge", "", 1 << 60, b"x"), "'huge' makes the archive larger"),
        (entry(EntryType::Regular, b"short", "", 1 << 20, b"x"), "not a sound archive"),
        (vec![7; 2048], "not a sound archive"),
    ] {
        let (_, result) = through(&gz(&tar));
        let message = result.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}\nexpected: {expected}");
    }
    assert!(!Path::new("/tmp/sff-evil").exists());
}

#[test]
fn damaged_archives_are_errors() {
    let tar = [regular("a", &[7; 5000]), vec![0; 1024]].concat();
    let good = gz(&tar);
    through(&good).1.unwrap();
    let mut checksum = good.clone();
    let at = good.len() - 6;
    checksum[at] ^= 1;
    for bad in [&good[..good.len() / 2], &good[..good.len() - 1], &checksum, b"", b"<html>"] {
        let message = through(bad).1.unwrap_err().to_string();
        assert!(message.contains("a.tgz: not a sound archive"), "{message}");
    }
}

proptest! {
    #[test]
    fn any_name_stays_inside(name in prop::collection::vec(1u8..128, 1..60)) {
        // The check is in `through`.
        let _ = through(&gz(&entry(EntryType::Regular, &name, "", 1, b"x")));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        let _ = through(&bytes);
        let _ = through(&gz(&bytes));
    }
}
