//! Data sets: read from files, or drawn by the program itself.
//!
//! [`load`] is the entry point. It never downloads: a data set that is not found is an
//! [`Error::MissingData`] that says where it was searched and how to get it. `sff data fetch`
//! downloads.

mod ahead;
pub mod catalog;
pub mod cifar;
mod folder;
mod identity;
pub mod idx;
mod imagenette;
mod images;
mod layout;
pub mod mat;
mod pickle;
pub mod picture;
mod place;
pub mod select;
pub mod shapes;
mod stream;
pub mod svhn;
pub mod verify;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::hint::{Hint, Message, message};
use crate::base::random::{Rng, Stream};
use crate::base::suggest;
use crate::{Error, Result};
pub use identity::Identity;
pub use images::{Images, Normalization, Photos, Pixels, Reader};
use place::Places;
use select::Classes;

/// The data sets that [`load`] knows; [`catalog`] describes them.
pub const NAMES: &[&str] = &[
    "fashion-mnist",
    "mnist",
    "cifar10",
    "cifar100",
    "cifar100-coarse",
    "svhn",
    "imagenette-160",
    "imagenette-320",
    "folder",
    "shapes",
    "shapes32",
];

/// Photos sampled to measure a data set's [`Normalization`].
const SAMPLED: usize = 2000;

/// A data set: images to train on, and others to test with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// One of [`NAMES`].
    pub name: String,
    /// The name of each class, in the order of the labels.
    pub classes: Vec<String>,
    /// Images to train on.
    pub train: Images,
    /// Images to test with, of the same size.
    pub test: Images,
    /// For each photo that was left out, the file and what is wrong with it.
    pub skipped: Vec<String>,
    /// Where it was read from.
    pub found: Found,
}

/// Where a data set was read from, and what is notable there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The folder and, for photos, which part of it is for training and which for testing. Empty for
    /// generated data sets. A text to print.
    pub source: String,
    /// Files that are not used, and other surprises, a line each.
    pub notes: Vec<Message>,
    /// The photo files; `None` for other data sets.
    pub files: Option<Files>,
    /// Whether all photos are test images because there is no folder for testing.
    pub whole: bool,
}

impl Found {
    /// For the data set `name`, read from these files.
    fn in_files(name: &str, paths: &[PathBuf]) -> Self {
        let source = format!("{name} is read from {}", folder_of(paths).display());
        Self { source, ..Self::default() }
    }
}

/// The files of a data set of photos, one for each image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The folder that all of them are in.
    pub root: PathBuf,
    /// Those of the images to train on.
    pub train: Arc<[PathBuf]>,
    /// Those of the images to test with.
    pub test: Arc<[PathBuf]>,
}

impl Dataset {
    /// The normalisation of its images, measured on the training images, or on a fixed sample of
    /// 2,000 of them if they are photos.
    ///
    /// # Errors
    /// Those of reading photos.
    pub fn normalization(&self) -> Result<Normalization> {
        let count = self.train.len();
        if count <= SAMPLED || !catalog::entry(&self.name).is_some_and(catalog::Entry::photos) {
            return Normalization::of(&self.train);
        }
        let mut some = Rng::new(0, Stream::Split, 1, 0).permutation(count as u32);
        some.truncate(SAMPLED);
        Normalization::of_some(&self.train, some)
    }
}

/// Which data set to load, and how much of it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// One of [`NAMES`].
    pub name: String,
    /// The folder given with `--data`, the only one that is searched. Generated data sets take none.
    pub folder: Option<PathBuf>,
    /// Keep only this number of training images: the first ones or, for photos, the same share of
    /// each class. A limit above their number keeps all.
    pub train_limit: Option<usize>,
    /// The same for test images.
    pub test_limit: Option<usize>,
    /// Seed of generated data sets, and of the test split of photos.
    pub seed: u64,
    /// The classes to use, see [`Classes::new`]; all by default.
    pub classes: Option<Vec<String>>,
    /// Side of the square images that photos are resized to, in pixels.
    pub image_size: Option<usize>,
    /// The fraction of a folder's photos in the test split.
    pub val_fraction: Option<f32>,
    /// Bytes of decoded photos to keep in memory. If all of them take more, they are decoded on
    /// demand.
    pub photo_cache: usize,
    /// Whether a corrupt photo is an error. Otherwise it is left out.
    pub strict: bool,
    /// Whether only test images are needed; there may be no training images then.
    pub test_only: bool,
    /// The classes of a model to evaluate on these photos. All of them are test images, unless there
    /// is a folder for testing. Ignored for other data sets.
    pub measured: Option<Vec<String>>,
}

/// Loads or generates a data set.
///
/// # Errors
///
/// [`Error::Usage`] for an unknown name or class, a limit of 0, an option that does not apply to the
/// data set, or a folder that does not exist or has no usable layout; [`Error::MissingData`] when
/// the files are not found; [`Error::Corrupt`] or [`Error::Io`] when they cannot be read.
pub fn load(request: &Request) -> Result<Dataset> {
    let name = request.name.as_str();
    let entry = catalog::entry(name).ok_or_else(|| unknown(name))?;
    for (limit, purpose) in [(request.train_limit, "train on"), (request.test_limit, "test with")] {
        if limit == Some(0) {
            return Err(Error::usage(format!("a limit of 0 leaves no images to {purpose}")));
        }
    }
    let given = request.folder.as_deref();
    if entry.photos() {
        return photos(request, given);
    }
    if request.val_fraction.is_some() {
        let why = format!(" is for photos: {name} has no use for it");
        return Err(Error::usage(message![Hint::Option("val-fraction"), why]));
    }
    if let (Some(folder), None) = (given, &entry.source) {
        let photos = if walk::has_picture(folder, walk::OF_CLASSES) {
            message![", or add ", Hint::set("dataset", "folder"), " for photos"]
        } else {
            Message::default()
        };
        return Err(Error::usage(message![
            Hint::set("data", folder.display()),
            format!(": {name} is drawn by the program and read from no folder; leave "),
            Hint::Option("data"),
            " out",
            photos,
        ]));
    }
    let limit = if request.test_only { 1 } else { request.train_limit.unwrap_or(usize::MAX) };
    // With a choice of classes, it is not known how many images to generate.
    let drawn = if request.classes.is_some() { usize::MAX } else { limit };
    let places = || Places::new(given);
    let mut data = match name {
        "fashion-mnist" => idx::load(name, &idx::FASHION, &places()?)?,
        "mnist" => idx::load(name, &idx::DIGITS, &places()?)?,
        "cifar10" => cifar::load(name, &cifar::CIFAR10, &places()?)?,
        "cifar100" => cifar::load(name, &cifar::CIFAR100, &places()?)?,
        "cifar100-coarse" => cifar::load(name, &cifar::COARSE, &places()?)?,
        "svhn" => svhn::load(name, &places()?)?,
        "shapes" => shapes::dataset(name, 28, 1, drawn, request.seed),
        "shapes32" => shapes::dataset(name, 32, 3, drawn, request.seed),
        _ => return Err(unknown(name)),
    };
    if request.classes.is_some() {
        let chosen = Classes::new(&data.classes, request.classes.as_deref())?;
        data.train = data.train.relabelled(|label| chosen.number(label));
        data.test = data.test.relabelled(|label| chosen.number(label));
        data.classes = chosen.into_names();
    }
    data.train = data.train.truncated(limit);
    data.test = data.test.truncated(request.test_limit.unwrap_or(usize::MAX));
    for (images, purpose) in [(&data.train, "train on"), (&data.test, "test with")] {
        if images.is_empty() {
            return Err(Error::usage(format!(
                "{name} has no images of these classes to {purpose}"
            )));
        }
    }
    Ok(data)
}

/// Where the files of a data set come from.
///
/// # Errors
/// [`Error::Usage`] for a name without files.
pub fn source(name: &str) -> Result<&'static catalog::Source> {
    let entry = catalog::entry(name).ok_or_else(|| unknown(name))?;
    let none = || Error::usage(format!("{name} has no files to fetch: {}", entry.about));
    entry.source.as_ref().ok_or_else(none)
}

/// The folder that [`load`] would read the files of a data set from.
///
/// # Errors
/// [`Error::Usage`] for a name without files, [`Error::MissingData`] if they are not found.
pub fn locate(name: &str, given: Option<&Path>) -> Result<PathBuf> {
    source(name)?;
    let places = Places::new(given)?;
    let paths = match name {
        "fashion-mnist" => idx::find(name, &idx::FASHION, &places)?,
        "mnist" => idx::find(name, &idx::DIGITS, &places)?,
        "cifar10" => cifar::find(&cifar::CIFAR10, &places)?,
        "cifar100" | "cifar100-coarse" => cifar::find(&cifar::CIFAR100, &places)?,
        "svhn" => svhn::find(&places)?,
        _ => imagenette::find(name, &places)?,
    };
    Ok(folder_of(&paths).to_owned())
}

/// The folder of the files of a data set.
fn folder_of(paths: &[PathBuf]) -> &Path {
    paths.first().and_then(|path| path.parent()).unwrap_or(Path::new(""))
}

/// Loads a data set of photos.
fn photos(request: &Request, given: Option<&Path>) -> Result<Dataset> {
    if request.name != "folder" {
        return imagenette::load(request, &Places::new(given)?);
    }
    let Some(root) = given else {
        return Err(Error::usage(message![
            Hint::set("dataset", "folder"),
            " needs ",
            Hint::set("data", "FOLDER"),
            ", with a sub-folder for each class",
        ]));
    };
    // Refuses a folder that does not exist.
    Places::new(given)?;
    folder::load(root, request, 128, str::to_owned)
}

/// The error for a name that is not in [`NAMES`], with a did-you-mean.
pub(crate) fn unknown(name: &str) -> Error {
    Error::usage(suggest::unknown("data set", name, NAMES))
}

#[cfg(test)]
mod tests;
