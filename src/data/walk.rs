//! Walking through folders of pictures.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use image::ImageFormat;
use walkdir::{DirEntry, WalkDir};

use crate::base::suggest::composed;
use crate::{Error, Result};

/// Files and folders of desktop environments, ignored silently.
const IGNORED: [&str; 4] = ["__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"];
/// Bytes needed to recognise the format of a picture.
const MAGIC: u64 = 32;

/// A folder and its contents at any depth.
#[derive(Clone, Debug)]
pub struct Folder {
    pub path: PathBuf,
    /// Its name, in composed Unicode: archives made on macOS have decomposed names.
    pub name: String,
    /// Its pictures at any depth, sorted by path.
    pub pictures: Vec<PathBuf>,
    /// The other files, and those that cannot be read.
    pub others: Others,
}

/// Files that are not pictures or cannot be read, such as dangling links, counted by extension, with
/// an example of each.
#[derive(Clone, Debug, Default)]
pub struct Others(BTreeMap<String, (usize, PathBuf)>);

impl Folder {
    /// Walks a folder.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Usage`] if its name is not UTF-8.
    pub fn read(path: &Path) -> Result<Self> {
        let Some(name) = path.file_name().unwrap_or_default().to_str().map(composed) else {
            let shown = path.display();
            let message = format!("{shown}: the name of a class must be UTF-8, rename the folder");
            return Err(Error::usage(message));
        };
        let (pictures, others) = files(path, usize::MAX)?;
        Ok(Self { path: path.to_owned(), name, pictures, others })
    }

    /// The names of its direct sub-folders that have pictures, sorted.
    pub fn inner(&self) -> Vec<String> {
        let below = self.pictures.iter().filter_map(|picture| {
            let mut parts = picture.strip_prefix(&self.path).ok()?.components();
            let first = parts.next()?.as_os_str().to_string_lossy().into_owned();
            parts.next().map(|_| composed(&first))
        });
        let mut names: Vec<String> = below.collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Others {
    fn add(&mut self, path: PathBuf) {
        let end = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        self.0.entry(end.to_lowercase()).or_insert((0, path)).0 += 1;
    }

    /// Adds those of another folder.
    pub fn extend(&mut self, other: Self) {
        for (end, (count, path)) in other.0 {
            self.0.entry(end).or_insert((0, path)).0 += count;
        }
    }

    /// The count and an example of each kind; `None` if there are none.
    pub fn summary(&self) -> Option<String> {
        let kinds = self.0.iter().map(|(end, (count, path))| {
            let end = if end.is_empty() { String::new() } else { format!(".{end}, ") };
            let etc = if *count > 1 { ", …" } else { "" };
            format!("{count} ({end}{}{etc})", path.display())
        });
        let kinds: Vec<String> = kinds.collect();
        (!kinds.is_empty()).then(|| kinds.join(", "))
    }
}

/// The direct sub-folders, sorted by name.
///
/// # Errors
/// [`Error::Io`].
pub fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in entries(path, 1) {
        // Unreadable entries are reported with the files.
        folders.extend(entry?.ok().filter(|entry| entry.file_type().is_dir()));
    }
    Ok(folders.into_iter().map(DirEntry::into_path).collect())
}

/// The pictures in a folder, and the other files, down to `depth`: 1 is the folder itself.
///
/// # Errors
/// [`Error::Io`].
pub fn files(path: &Path, depth: usize) -> Result<(Vec<PathBuf>, Others)> {
    let (mut pictures, mut others) = (Vec::new(), Others::default());
    for entry in entries(path, depth) {
        match entry? {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) if is_picture(entry.path()) => pictures.push(entry.into_path()),
            Ok(entry) => others.add(entry.into_path()),
            Err(path) => others.add(path),
        }
    }
    Ok((pictures, others))
}

/// Depths where the pictures of a class layout are, for hints.
pub const OF_CLASSES: RangeInclusive<usize> = 2..=3;

/// Whether a folder has a picture at any depth.
pub fn any_picture(path: &Path) -> bool {
    has_picture(path, 1..=usize::MAX)
}

/// Whether a folder has a picture at one of these depths: 1 is the folder itself.
pub fn has_picture(path: &Path, depths: RangeInclusive<usize>) -> bool {
    let mut found = entries(path, *depths.end()).flatten().flatten();
    let is_file = |entry: &DirEntry| !entry.file_type().is_dir();
    found
        .any(|entry| depths.contains(&entry.depth()) && is_file(&entry) && is_picture(entry.path()))
}

/// The entries of a folder down to `depth`, sorted by name, without hidden and [`IGNORED`] ones. Links
/// are followed. An unreadable entry gives its path, an unreadable `path` the error.
fn entries(path: &Path, depth: usize) -> impl Iterator<Item = Result<Result<DirEntry, PathBuf>>> {
    let seen = |entry: &DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(name.starts_with('.') || IGNORED.contains(&&*name))
    };
    let walk = WalkDir::new(path).min_depth(1).max_depth(depth).follow_links(true);
    let root = path.to_owned();
    walk.sort_by_file_name().into_iter().filter_entry(seen).map(move |entry| {
        let error = match entry {
            Ok(entry) => return Ok(Ok(entry)),
            Err(error) => error,
        };
        let at = error.path().unwrap_or(&root).to_owned();
        match error.depth() {
            0 => {
                let links = || std::io::Error::other("a link leads back to a folder above it");
                Err(Error::io("read", &at)(error.into_io_error().unwrap_or_else(links)))
            }
            _ => Ok(Err(at)),
        }
    })
}

/// Whether [`super::picture`] reads a file: by its extension or, if that is unknown, by its first
/// bytes.
fn is_picture(path: &Path) -> bool {
    if let Ok(format) = ImageFormat::from_path(path) {
        return format.reading_enabled();
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAGIC).read_to_end(&mut head));
    // Text files may start like a PNM.
    let format = read.ok().and_then(|_| image::guess_format(&head).ok());
    format.is_some_and(|format| format != ImageFormat::Pnm && format.reading_enabled())
}
