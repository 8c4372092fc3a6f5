//! Fingerprints of data sets: a resumed run must see the same images.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::{Dataset, Images};
use crate::base::files::hex;
use crate::{Error, Result};

/// Bytes at the end of a photo's file that are hashed, besides its size. Hashing whole photos takes
/// too long, and an edit that changes neither is rare.
const TAIL: u64 = 4096;

/// The identity of a data set: of its training images and of its test images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    train: Part,
    test: Part,
}

/// The identity of some images; checksums are MD5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    images: usize,
    /// For photos, the checksum of their paths relative to the folder of the data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paths: Option<String>,
    labels: String,
    /// The checksum of all pixels; for photos, of the size and the last bytes of each file.
    contents: String,
}

impl Identity {
    /// The identity of a data set. It does not depend on where its folder is, nor on whether photos
    /// are kept in memory.
    ///
    /// # Errors
    /// [`Error::Io`] if a photo cannot be read.
    pub fn of(dataset: &Dataset) -> Result<Self> {
        let Dataset { train, test, found, .. } = dataset;
        let files = found.files.as_ref();
        let root = files.map_or(Path::new(""), |files| &files.root);
        Ok(Self {
            train: Part::of(train, files.map(|files| &*files.train), root)?,
            test: Part::of(test, files.map(|files| &*files.test), root)?,
        })
    }

    /// Number of training and test images together.
    pub fn images(&self) -> usize {
        self.train.images + self.test.images
    }

    /// The first difference from `other`; `None` if they are equal.
    pub fn difference(&self, other: &Self) -> Option<String> {
        [(&self.train, &other.train, "train on"), (&self.test, &other.test, "test with")]
            .into_iter()
            .find_map(|(own, other, purpose)| Some(own.difference(other)? + purpose))
    }
}

impl Part {
    fn of(images: &Images, files: Option<&[PathBuf]>, root: &Path) -> Result<Self> {
        let mut labels = Md5::new();
        images.labels.iter().for_each(|label| labels.update(label.to_le_bytes()));
        let (mut paths, mut contents) = (Md5::new(), Md5::new());
        match files {
            None => contents.update(images.all()?),
            Some(files) => {
                for path in files {
                    // By components, so that the separator of the system does not matter.
                    for part in path.strip_prefix(root).unwrap_or(path).components() {
                        paths.update(part.as_os_str().as_encoded_bytes());
                        paths.update([0]);
                    }
                    paths.update([1]);
                    hash_tail(path, &mut contents).map_err(Error::io("read", path))?;
                }
            }
        }
        Ok(Self {
            images: images.len(),
            paths: files.map(|_| hex(&paths.finalize())),
            labels: hex(&labels.finalize()),
            contents: hex(&contents.finalize()),
        })
    }

    /// The first difference, as the start of a sentence that ends with the purpose.
    fn difference(&self, other: &Self) -> Option<String> {
        if self.images != other.images {
            return Some(format!("there were {} images, not {}, to ", self.images, other.images));
        }
        let what = if self.paths != other.paths {
            "there are other files to "
        } else if self.labels != other.labels {
            "there are other labels of the images to "
        } else if self.contents != other.contents {
            "there is another content in images to "
        } else {
            return None;
        };
        Some(what.to_owned())
    }
}

/// Hashes the size and the last bytes of a file.
fn hash_tail(path: &Path, to: &mut Md5) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    to.update(size.to_le_bytes());
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    to.update(tail);
    Ok(())
}
