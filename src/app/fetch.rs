//! Fetching data sets: downloads that resume, checksums, and folders that appear complete.
//!
//! Everything is prepared in `NAME.partial` beside the final folder, and renamed at the end. After an error
//! the next attempt uses the files there.

mod http;
pub mod unpack;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::files::{md5, publish, write_whole};
use crate::data::catalog::{Download, Source};
use crate::data::verify;
use crate::{Error, Result};

/// Where files are fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Their publisher.
    Official,
    /// A mirror: the address of a folder with the same files, ending with `/`.
    Url(String),
    /// A folder with the files.
    Folder(PathBuf),
}

/// How to fetch.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Where from.
    pub origin: Origin,
    /// How long to wait for a connection.
    pub connect: Duration,
    /// How long to wait for an answer, and for each further part of it.
    pub stall: Duration,
    /// How many attempts in a row may fail without progress.
    pub attempts: u32,
    /// How long to wait after the first failure; the time doubles after each further one.
    pub pause: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            origin: Origin::Official,
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            attempts: 5,
            pause: Duration::from_secs(1),
        }
    }
}

/// Receives the progress of a download.
pub trait Progress {
    /// A file of `bytes` bytes is about to be fetched; `done` of them are kept from before.
    fn file(&mut self, name: &str, done: u64, bytes: u64);
    /// The number of bytes that are there now.
    fn at(&mut self, bytes: u64);
    /// Another message.
    fn note(&mut self, text: &str);
}

impl std::str::FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("http" | "https", rest)) if !rest.is_empty() => {
                Ok(Self::Url(format!("{}/", text.trim_end_matches('/'))))
            }
            Some((scheme, _)) => {
                Err(format!("expected a folder, or an address with https://, not {scheme}://"))
            }
            None => Ok(Self::Folder(text.into())),
        }
    }
}

/// Fetches the files of `source` into their own folder in `to`, and returns its path. A folder that
/// exists is only checked.
///
/// # Errors
/// [`Error::Fetch`] if a download fails or has another checksum than the published file,
/// [`Error::Corrupt`] for a damaged archive, [`Error::Io`]. The folder is then not created; a later call
/// continues with the files in `NAME.partial`.
pub fn fetch(
    source: &Source,
    to: &Path,
    options: &FetchOptions,
    progress: &mut dyn Progress,
) -> Result<PathBuf> {
    let target = to.join(source.folder);
    if target.exists() {
        verify::files(source, &target)?;
        progress.note(&format!("{} exists already", target.display()));
        return Ok(target);
    }
    let partial = to.join(format!("{}.partial", source.folder));
    fs::create_dir_all(&partial).map_err(Error::io("create", &partial))?;
    for download in source.downloads {
        fetch_file(source, download, &partial, options, progress)?;
    }
    if !source.archives {
        manifest(&partial)?;
        publish(&partial, &target)?;
        return Ok(target);
    }
    let unpacked = partial.join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).map_err(Error::io("remove", &unpacked))?;
    }
    for download in source.downloads {
        progress.note(&format!("unpacking {}", download.file));
        unpack::unpack(&partial.join(download.file), &unpacked)?;
    }
    manifest(&unpacked)?;
    publish(&unpacked, &target)?;
    // The data set is complete. A `.partial` folder that cannot be removed does no harm.
    let _ = fs::remove_dir_all(&partial);
    Ok(target)
}

/// Fetches one file into `folder`, where it appears only when it is complete.
fn fetch_file(
    source: &Source,
    download: &Download,
    folder: &Path,
    options: &FetchOptions,
    progress: &mut dyn Progress,
) -> Result<()> {
    let path = folder.join(download.file);
    if path.exists() {
        if md5(&path)? == download.md5 {
            return Ok(());
        }
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    }
    let part = folder.join(format!("{}.part", download.file));
    match &options.origin {
        Origin::Folder(from) => copy(&from.join(download.file), &part, download, progress)?,
        Origin::Url(base) => http::download(base, download, &part, options, progress)?,
        Origin::Official => http::download(source.base, download, &part, options, progress)?,
    }
    File::open(&part).and_then(|file| file.sync_all()).map_err(Error::io("write", &part))?;
    publish(&part, &path)
}

/// Copies a file and checks it.
fn copy(from: &Path, part: &Path, download: &Download, progress: &mut dyn Progress) -> Result<()> {
    let file = File::open(from).map_err(Error::io("read", from))?;
    progress.file(download.file, 0, download.bytes);
    let out = File::create(part).map_err(Error::io("create", part))?;
    append(file, out, 0, limit(download), progress).map_err(|failure| match failure {
        Failure::Read(e) => Error::io("read", from)(e),
        Failure::Write(e) => Error::io("write", part)(e),
        Failure::TooMuch => Error::corrupt(from, too_much(download)),
    })?;
    let sum = md5(part)?;
    if sum == download.md5 {
        return Ok(());
    }
    fs::remove_file(part).map_err(Error::io("remove", part))?;
    let expected = download.md5;
    Err(Error::corrupt(from, format!("its MD5 is {sum}, that of the published file {expected}")))
}

/// The most bytes to accept: a longer file is certainly another one.
fn limit(download: &Download) -> u64 {
    2 * download.bytes + (1 << 20)
}

fn too_much(download: &Download) -> String {
    let (limit, bytes) = (limit(download), download.bytes);
    format!("more than {limit} bytes, but the published file has {bytes}")
}

enum Failure {
    Read(std::io::Error),
    Write(std::io::Error),
    TooMuch,
}

/// Copies a stream to the end of a file that has `done` bytes.
fn append(
    mut from: impl Read,
    mut to: File,
    mut done: u64,
    limit: u64,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let mut block = vec![0; 1 << 16];
    loop {
        let bytes = from.read(&mut block).map_err(Failure::Read)?;
        if bytes == 0 {
            return Ok(());
        }
        to.write_all(&block[..bytes]).map_err(Failure::Write)?;
        done += bytes as u64;
        if done > limit {
            return Err(Failure::TooMuch);
        }
        progress.at(done);
    }
}

/// Writes a manifest with the MD5 of all files in `folder`, in the format of `md5sum`.
fn manifest(folder: &Path) -> Result<()> {
    let mut lines = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        let path = folder.join(&inner);
        for entry in fs::read_dir(&path).map_err(Error::io("read", &path))? {
            let entry = entry.map_err(Error::io("read", &path))?;
            let name = inner.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(name);
            } else if name != Path::new(verify::MANIFEST) {
                lines.push((name.to_string_lossy().replace('\\', "/"), md5(&entry.path())?));
            }
        }
    }
    lines.sort_unstable();
    write_whole(&folder.join(verify::MANIFEST), |file| {
        lines.iter().try_for_each(|(name, sum)| writeln!(file, "{sum}  {name}"))
    })
}
