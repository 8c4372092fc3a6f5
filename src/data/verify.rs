//! Checks that a data set is complete and is the published one.

use std::path::{Component, Path, PathBuf};

use super::catalog::{self, Source};
use super::{Request, load, locate, source, unknown};
use crate::base::files::{md5, read_text};
use crate::{Error, Result};

/// The file with the MD5 of each file of a fetched data set.
pub const MANIFEST: &str = "checksums.md5";

/// The result of [`verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Where the data set is.
    pub folder: PathBuf,
    /// The result of comparing checksums.
    pub sums: Sums,
    /// Images to train on.
    pub train: usize,
    /// Images to test with.
    pub test: usize,
}

/// Numbers of files by the result of comparing checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Files whose checksum is right.
    pub right: usize,
    /// Gzipped files that were compressed again: their MD5 differs, but gzip's own checksum covers
    /// the content.
    pub repacked: usize,
}

/// Checks the files of a data set: known checksums, that all files can be read, and the number of
/// images.
///
/// # Errors
/// [`Error::Corrupt`] for the first wrong file, and those of [`load`].
pub fn verify(name: &str, given: Option<&Path>) -> Result<Verified> {
    let entry = catalog::entry(name).ok_or_else(|| unknown(name))?;
    let folder = locate(name, given)?;
    let sums = files(source(name)?, &folder)?;
    let request = Request {
        name: name.into(),
        folder: given.map(Path::to_owned),
        strict: true,
        ..Request::default()
    };
    let data = load(&request)?;
    let (train, test) = (data.train.len(), data.test.len());
    if (train, test) != (entry.train, entry.test) {
        let expected = format!("{} + {}", entry.train, entry.test);
        let problem = format!("{train} + {test} images, but {name} has {expected}");
        return Err(Error::corrupt(&folder, problem));
    }
    Ok(Verified { folder, sums, train, test })
}

/// Compares the checksums of the files in `folder` with the list written when they were fetched or,
/// without one, with the known ones.
pub fn files(source: &Source, folder: &Path) -> Result<Sums> {
    // An archive unpacks into a sub-folder of the folder with the list.
    for root in [Some(folder), folder.parent()].into_iter().flatten() {
        let list = root.join(MANIFEST);
        if list.is_file() {
            return Ok(Sums { right: listed(&list, root)?, repacked: 0 });
        }
    }
    let mut sums = Sums::default();
    let downloads = source.downloads.iter().map(|download| (download.file, download.md5));
    for (name, expected) in downloads.chain(source.unpacked.iter().copied()) {
        let path = folder.join(name);
        if !path.is_file() {
            continue;
        }
        match compare(&path, expected) {
            Ok(()) => sums.right += 1,
            Err(Error::Corrupt { .. }) if name.ends_with(".gz") => sums.repacked += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(sums)
}

fn listed(list: &Path, root: &Path) -> Result<usize> {
    let text = read_text(list)?;
    for (line, number) in text.lines().zip(1..) {
        let parts = line.split_once("  ").map(|(sum, name)| (sum, Path::new(name)));
        let down = |path: &Path| path.components().all(|c| matches!(c, Component::Normal(_)));
        let Some((sum, name)) = parts.filter(|(_, name)| down(name)) else {
            let problem = format!("line {number}: expected an MD5, two spaces and a file's name");
            return Err(Error::corrupt(list, problem));
        };
        compare(&root.join(name), sum)?;
    }
    Ok(text.lines().count())
}

fn compare(path: &Path, expected: &str) -> Result<()> {
    let sum = md5(path)?;
    if sum == expected {
        return Ok(());
    }
    let problem = format!("its MD5 is {sum}, expected {expected}");
    Err(Error::corrupt(path, format!("{problem}; remove the data set and fetch it again")))
}
