//! Fetching data sets from local servers with faults.

pub mod server;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::{Compression, write::GzEncoder};
use sff::Error;
use sff::internals::app::fetch::{FetchOptions, Origin, Progress, fetch};
use sff::internals::data::catalog::{Download, Source};

use server::{Reply, Server};

/// Pseudo-random bytes.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn md5(content: &[u8]) -> &'static str {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), content).unwrap();
    sff::internals::base::files::md5(file.path()).unwrap().leak()
}

/// A data set named `set` with these files.
fn source(files: &[(&'static str, Vec<u8>)], archives: bool) -> Source {
    let download = |(file, content): &(&'static str, Vec<u8>)| Download {
        file,
        bytes: content.len() as u64,
        md5: md5(content),
    };
    let downloads: Vec<Download> = files.iter().map(download).collect();
    Source {
        folder: "set",
        base: "https://127.0.0.1:1/",
        downloads: downloads.leak(),
        archives,
        unpacked: &[],
    }
}

#[derive(Default)]
struct Log(Vec<String>);

impl Progress for Log {
    fn file(&mut self, name: &str, done: u64, bytes: u64) {
        self.0.push(format!("{name} {done} of {bytes}"));
    }
    fn at(&mut self, _: u64) {}
    fn note(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
}

fn options(from: &str) -> FetchOptions {
    FetchOptions {
        origin: from.parse().unwrap(),
        connect: Duration::from_secs(2),
        stall: Duration::from_millis(300),
        attempts: 3,
        pause: Duration::from_millis(1),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const FILE: &str = "a.bin";

/// Fetches a file of 300,000 bytes from a server with these replies. Returns the result and the
/// requests.
fn fetch_from(folder: &Path, replies: Vec<Reply>) -> (sff::Result<()>, Vec<String>) {
    let files = vec![(FILE, noise(300_000))];
    let source = source(&files, false);
    let content = files[0].1.clone();
    let server = Server::new(files, replies);
    let result = fetch(&source, folder, &options(&server.address), &mut Log::default());
    let result = result.map(|set| {
        assert_eq!(set, folder.join("set"));
        assert_eq!(names(folder), ["set"], "no other file is left");
        assert_eq!(names(&set), [FILE, "checksums.md5"]);
        assert!(fs::read(set.join(FILE)).unwrap() == content);
    });
    if result.is_err() {
        assert!(!folder.join("set").exists(), "an incomplete data set");
    }
    (result, server.requests())
}

#[test]
fn a_file_is_fetched_once_and_verified_afterwards() {
    let temp = tempfile::tempdir().unwrap();
    let (result, requests) = fetch_from(temp.path(), vec![Reply::Complete]);
    result.unwrap();
    assert_eq!(requests, [FILE]);
    // A second fetch requests nothing, but checks every file.
    let (result, requests) = fetch_from(temp.path(), vec![Reply::Complete]);
    result.unwrap();
    assert!(requests.is_empty());
    fs::write(temp.path().join("set").join(FILE), "corrupt").unwrap();
    let files = vec![(FILE, noise(300_000))];
    let result =
        fetch(&source(&files, false), temp.path(), &options("http://x"), &mut Log::default());
    let message = result.unwrap_err().to_string();
    assert!(message.contains("a.bin: its MD5 is ") && message.contains("fetch it again"));
}

#[test]
fn failed_requests_are_retried_and_partial_downloads_resumed() {
    for (replies, expected) in [
        (vec![Reply::Truncated(100_000), Reply::Complete], vec!["a.bin", "a.bin from 100000-"]),
        (vec![Reply::Stalled(70_000), Reply::Complete], vec!["a.bin", "a.bin from 70000-"]),
        (vec![Reply::Truncated(9), Reply::WithoutRanges], vec!["a.bin", "a.bin from 9-"]),
        (
            vec![Reply::Truncated(5), Reply::WrongPart, Reply::Complete],
            vec!["a.bin", "a.bin from 5-", "a.bin"],
        ),
        (vec![Reply::Silent, Reply::Complete], vec!["a.bin", "a.bin"]),
        (vec![Reply::Truncated(0), Reply::Status("503 Busy"), Reply::Complete], vec!["a.bin"; 3]),
        (vec![Reply::Status("429 Slowly"), Reply::Complete], vec!["a.bin"; 2]),
        // Only attempts without progress count: here more requests fail than attempts are allowed.
        (
            vec![Reply::Truncated(1000); 5],
            vec!["a.bin", "a.bin from 1000-", "a.bin from 2000-", "a.bin from 3000-"],
        ),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let many = replies.len() == 5;
        let replies = [replies.clone(), if many { vec![Reply::Complete] } else { vec![] }].concat();
        let (result, requests) = fetch_from(temp.path(), replies.clone());
        result.unwrap_or_else(|e| panic!("{replies:?}: {e}"));
        assert_eq!(requests[..expected.len()], expected, "{replies:?}");
        assert_eq!(requests.len(), expected.len() + if many { 2 } else { 0 });
    }
}

#[test]
fn a_failed_fetch_names_the_cause_and_a_later_one_completes() {
    for (replies, expected, requests) in [
        (vec![Reply::Status("404 Not Found")], "the server says 404 Not Found; the file may", 1),
        (vec![Reply::Status("403 No")], "the server says 403", 1),
        (vec![Reply::Status("301 Moved")], "cannot fetch http://", 3),
        (vec![Reply::Status("204 Nothing")], "the server says 204", 1),
        (vec![Reply::Status("500 Oh")], "the server says 500", 3),
        (vec![Reply::Corrupt], "that of the published file", 1),
        (vec![Reply::Truncated(0)], "(attempt 3)", 3),
        (
            vec![Reply::Truncated(1000), Reply::Silent],
            "1000 bytes are kept, the same command continues from there",
            3,
        ),
        (vec![Reply::Silent], "no answer in time", 3),
        (vec![Reply::Stalled(0)], "no more data in time", 3),
        (vec![Reply::Endless], "but the published file has 300000", 1),
        (vec![Reply::Redirect("ftp://x/".into())], "cannot fetch", 3),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let (result, requested) = fetch_from(temp.path(), replies.clone());
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Fetch { .. }), "{replies:?}: {error:?}");
        let message = error.to_string();
        assert!(message.starts_with("cannot fetch http://127.0.0.1:"), "{message}");
        assert!(message.contains(expected) && !message.contains('\n'), "{replies:?}: {message}");
        assert!(requested.len() <= requests, "{replies:?}: {requested:?}");
        fetch_from(temp.path(), vec![Reply::Complete])
            .0
            .unwrap_or_else(|e| panic!("{replies:?}: {e}"));
    }
}

#[test]
fn leftovers_of_an_earlier_attempt_are_reused_only_if_correct() {
    let content = noise(300_000);
    for (left, requests) in [
        // Complete, but not yet renamed; other bytes; too long; empty.
        (content.clone(), vec![]),
        (vec![7; 1000], vec!["a.bin from 1000-", "a.bin"]),
        (vec![7; 400_000], vec!["a.bin from 400000-", "a.bin"]),
        (vec![], vec!["a.bin"]),
    ] {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("set.partial")).unwrap();
        fs::write(temp.path().join("set.partial/a.bin.part"), left).unwrap();
        let (result, requested) = fetch_from(temp.path(), vec![Reply::Complete]);
        result.unwrap();
        assert_eq!(requested, requests);
    }
    // A complete file is not fetched again, a corrupt one is.
    for (left, requests) in [(content, 0), (vec![7; 300_000], 1)] {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("set.partial")).unwrap();
        fs::write(temp.path().join("set.partial/a.bin"), left).unwrap();
        let (result, requested) = fetch_from(temp.path(), vec![Reply::Complete]);
        result.unwrap();
        assert_eq!(requested.len(), requests);
    }
}

#[test]
fn redirects_are_followed_and_redirect_loops_refused() {
    let temp = tempfile::tempdir().unwrap();
    let files = vec![(FILE, noise(1000))];
    let set = source(&files, false);
    let end = Server::new(files.clone(), vec![Reply::Complete]);
    let start = Server::new(files.clone(), vec![Reply::Redirect(end.address.clone())]);
    fetch(&set, temp.path(), &options(&start.address), &mut Log::default()).unwrap();
    assert_eq!((start.requests().len(), end.requests().len()), (1, 1));

    let temp = tempfile::tempdir().unwrap();
    let looping = Server::new(files, vec![Reply::Redirect(String::new())]);
    let result = fetch(&set, temp.path(), &options(&looping.address), &mut Log::default());
    let message = result.unwrap_err().to_string();
    assert!(message.contains("too many redirects"), "{message}");
}

#[test]
fn an_unreachable_server_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let set = source(&[(FILE, noise(10))], false);
    // A port that was free a moment ago.
    let address = Server::new(vec![], vec![]).address.clone();
    for from in [&address[..], "https://127.0.0.1:1", "http://no-such-host.invalid"] {
        let started = Instant::now();
        let result = fetch(&set, temp.path(), &options(from), &mut Log::default());
        let message = result.unwrap_err().to_string();
        assert!(message.starts_with("cannot fetch http"), "{message}");
        assert!(message.contains("(attempt 3)"), "{message}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }
    for bad in ["ftp://x/y", "http://", "file:///etc"] {
        assert!(bad.parse::<Origin>().is_err(), "{bad}");
    }
}

/// A gzipped tar archive of these files.
fn tgz(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

#[test]
fn archives_are_unpacked_completely_or_not_at_all() {
    let temp = tempfile::tempdir().unwrap();
    let good = tgz(&[("inner/a/1.bin", b"one"), ("inner/2.bin", b"two")]);
    let files = vec![("set.tgz", good.clone())];
    let server = Server::new(files.clone(), vec![Reply::Truncated(50), Reply::Complete]);
    let set = source(&files, true);
    let folder = fetch(&set, temp.path(), &options(&server.address), &mut Log::default());
    let folder = folder.unwrap();
    assert_eq!(names(temp.path()), ["set"]);
    assert_eq!(names(&folder), ["checksums.md5", "inner"]);
    assert_eq!(fs::read(folder.join("inner/a/1.bin")).unwrap(), b"one");
    let list = fs::read_to_string(folder.join("checksums.md5")).unwrap();
    let expected = format!("{}  inner/2.bin\n{}  inner/a/1.bin\n", md5(b"two"), md5(b"one"));
    assert_eq!(list, expected);
    // A changed file is reported by name.
    fs::write(folder.join("inner/2.bin"), "tow").unwrap();
    let again = || fetch(&set, temp.path(), &options("http://x"), &mut Log::default());
    let message = again().unwrap_err().to_string();
    assert!(message.contains("inner/2.bin: its MD5 is"), "{message}");
    for bad in ["x", "x  ../set/inner/2.bin", "x  /etc/passwd"] {
        fs::write(folder.join("checksums.md5"), bad).unwrap();
        let message = again().unwrap_err().to_string();
        assert!(message.contains("checksums.md5: line 1: expected"), "{message}");
    }

    // A truncated archive is refused although its checksum is right.
    let temp = tempfile::tempdir().unwrap();
    let files = vec![("set.tgz", good[..good.len() / 2].to_vec())];
    let server = Server::new(files.clone(), vec![Reply::Complete]);
    let set = source(&files, true);
    for _ in 0..2 {
        let result = fetch(&set, temp.path(), &options(&server.address), &mut Log::default());
        let message = result.unwrap_err().to_string();
        assert!(message.contains("set.tgz: not a sound archive"), "{message}");
        assert_eq!(names(temp.path()), ["set.partial"]);
    }
    assert_eq!(server.requests().len(), 1, "the archive is fetched once");
}

#[test]
fn a_folder_can_be_the_source_of_a_fetch() {
    let temp = tempfile::tempdir().unwrap();
    let set = source(&[(FILE, noise(1000)), ("b.bin", noise(10))], false);
    let from = temp.path().join("from");
    fs::create_dir(&from).unwrap();
    let fetch_it = || {
        let options = options(from.to_str().unwrap());
        fetch(&set, &temp.path().join("to"), &options, &mut Log::default())
    };
    let message = fetch_it().unwrap_err().to_string();
    assert!(message.contains("cannot read") && message.contains("from/a.bin"), "{message}");
    fs::write(from.join(FILE), noise(1000)).unwrap();
    for (content, expected) in
        [(noise(9), "b.bin: its MD5 is"), (vec![1; 2 << 20], "the published file has 10")]
    {
        fs::write(from.join("b.bin"), content).unwrap();
        let message = fetch_it().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!temp.path().join("to/set").exists());
    }
    fs::write(from.join("b.bin"), noise(10)).unwrap();
    assert_eq!(names(&fetch_it().unwrap()), [FILE, "b.bin", "checksums.md5"]);
    assert_eq!(names(&temp.path().join("to")), ["set"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_target_that_cannot_be_written_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), "").unwrap();
    let set = source(&[(FILE, noise(10))], false);
    let to = temp.path().join("file/to");
    let message =
        fetch(&set, &to, &options("http://x"), &mut Log::default()).unwrap_err().to_string();
    assert!(message.contains("cannot create") && message.contains("file/to"), "{message}");
    // A full disk: every write fails.
    let (result, _) = {
        fs::create_dir(temp.path().join("set.partial")).unwrap();
        let part = temp.path().join("set.partial/a.bin.part");
        std::os::unix::fs::symlink("/dev/full", part).unwrap();
        fetch_from(temp.path(), vec![Reply::Complete])
    };
    let message = result.unwrap_err().to_string();
    assert!(message.contains("cannot write") && message.contains("a.bin.part"), "{message}");
}
