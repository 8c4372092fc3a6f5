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

/// What desktops leave in folders; nobody wants to hear of it.
const LITTER: [&str; 4] = ["__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"];
/// Bytes that tell the format of a picture.
const MAGIC: u64 = 32;

/// A folder, and what is in it and in the folders below it.
#[derive(Clone, Debug)]
pub struct Folder {
    pub path: PathBuf,
    /// Its own name, in composed Unicode: archives made on macOS have it decomposed.
    pub name: String,
    /// Its pictures, those of the folders below too, in the order of their paths.
    pub pictures: Vec<PathBuf>,
    /// What is no picture, or cannot be read.
    pub others: Others,
}

/// Files that are no pictures and what cannot be read, such as links that lead nowhere, by the end of
/// their name.
#[derive(Clone, Debug, Default)]
pub struct Others(BTreeMap<String, (usize, PathBuf)>);

impl Folder {
    /// Looks through a folder.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Usage`] if its name is not UTF-8.
    pub fn read(path: &Path) -> Result<Self> {
        let Some(name) = path.file_name().unwrap_or_default().to_str().map(composed) else {
            let shown = path.display();
            let message = format!("{shown}: the name of a class must be UTF-8, rename the folder");
            return Err(Error::Usage(message));
        };
        let (pictures, others) = files(path, usize::MAX)?;
        Ok(Self { path: path.to_owned(), name, pictures, others })
    }

    /// The names of the folders directly in it that have pictures, in order.
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

    /// How many there are, and an example of each kind; `None` if there are none.
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

/// The folders directly in one, sorted by name.
///
/// # Errors
/// [`Error::Io`].
pub fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in entries(path, 1) {
        // What cannot be read is told of with the files.
        folders.extend(entry?.ok().filter(|entry| entry.file_type().is_dir()));
    }
    Ok(folders.into_iter().map(DirEntry::into_path).collect())
}

/// The files in a folder that are pictures, and those that are not, down to `depth`: 1 is the folder
/// itself.
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

/// Depths at which a folder for `--dataset folder` has its pictures, as far as a hint looks.
pub const OF_CLASSES: RangeInclusive<usize> = 2..=3;

/// Whether a folder has a picture, however deep.
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

/// What is in a folder, down to `depth`, sorted by name; nothing hidden, and no litter. Links are
/// followed. Of what cannot be read the path is given, and of the folder itself the error.
fn entries(path: &Path, depth: usize) -> impl Iterator<Item = Result<Result<DirEntry, PathBuf>>> {
    let seen = |entry: &DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(name.starts_with('.') || LITTER.contains(&&*name))
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

/// Whether a file is a picture that [`super::picture`] reads: by the end of its name or, if that
/// is of no known format, by its first bytes.
fn is_picture(path: &Path) -> bool {
    if let Ok(format) = ImageFormat::from_path(path) {
        return format.reading_enabled();
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAGIC).read_to_end(&mut head));
    // Any text may begin like a PNM.
    let format = read.ok().and_then(|_| image::guess_format(&head).ok());
    format.is_some_and(|format| format != ImageFormat::Pnm && format.reading_enabled())
}
