//! Data sets: read from files, or drawn by the program itself.
//!
//! [`load`] is the one door. It never fetches files: a data set that is not there is an
//! [`Error::MissingData`] that says where it was looked for and how to get it. `sff data fetch`
//! does when it is asked to.

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

/// Photos that are measured for a data set's [`Normalization`].
const MEASURED: usize = 2000;

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
    /// What was wrong with each photo that was left out; names the file.
    pub skipped: Vec<String>,
    /// Where it was found.
    pub found: Found,
}

/// What was found where a data set was looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Which folder it was read from and, of photos, which part of that is to train on and which to
    /// test with; empty for a data set that the program draws. For people.
    pub source: String,
    /// What is there and not used, or not as one would expect: a line each.
    pub notes: Vec<Message>,
    /// The files of photos.
    pub files: Option<Files>,
    /// Whether all photos are to test with because none of them were set apart for that.
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
    /// How its images are normalised: measured on all images to train on, or on at most 2,000
    /// photos, always the same ones.
    ///
    /// # Errors
    /// Those of reading photos again.
    pub fn normalization(&self) -> Result<Normalization> {
        let count = self.train.len();
        if count <= MEASURED || !catalog::entry(&self.name).is_some_and(catalog::Entry::photos) {
            return Normalization::of(&self.train);
        }
        let mut some = Rng::new(0, Stream::Split, 1, 0).permutation(count as u32);
        some.truncate(MEASURED);
        Normalization::of_some(&self.train, some)
    }
}

/// Which data set to load, and how much of it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// One of [`NAMES`].
    pub name: String,
    /// The folder given with `--data`, the only one that is searched; drawn data sets have none.
    pub folder: Option<PathBuf>,
    /// Keep only the first so many training images (of photos, as many of each class as its size
    /// suggests); more than there are means all.
    pub train_limit: Option<usize>,
    /// Keep only the first so many test images (of photos as above).
    pub test_limit: Option<usize>,
    /// Seed of the drawn data sets, and of which photos are set apart to test with.
    pub seed: u64,
    /// The classes to use, see [`Classes::new`]; all by default.
    pub classes: Option<Vec<String>>,
    /// Side of the images that photos become.
    pub image_size: Option<usize>,
    /// The share of a folder's photos that is set apart to test with.
    pub val_fraction: Option<f32>,
    /// Bytes of decoded photos to keep in memory; if there are more, they are decoded whenever
    /// they are needed.
    pub photo_cache: usize,
    /// Whether a corrupt photo is an error; otherwise it is left out.
    pub strict: bool,
    /// Whether the training images are of no use; there may then be none.
    pub test_only: bool,
    /// The classes of a model that is to be measured on these photos: all of them are to test with,
    /// unless a part of them is in a folder for that. Other data sets have no use for it.
    pub measured: Option<Vec<String>>,
}

/// Loads or draws a data set.
///
/// # Errors
///
/// [`Error::Usage`] for an unknown name or a limit of 0, [`Error::Options`] for an unknown class or an
/// option that the data set has no use for, either for a folder that is not there or whose photos
/// make no data set, [`Error::MissingData`] when the files are in none of the places searched, and
/// [`Error::Corrupt`] or [`Error::Io`] when they cannot be read.
pub fn load(request: &Request) -> Result<Dataset> {
    let name = request.name.as_str();
    let entry = catalog::entry(name).ok_or_else(|| unknown(name))?;
    for (limit, purpose) in [(request.train_limit, "train on"), (request.test_limit, "test with")] {
        if limit == Some(0) {
            return Err(Error::Usage(format!("a limit of 0 leaves no images to {purpose}")));
        }
    }
    let given = request.folder.as_deref();
    if entry.photos() {
        return photos(request, given);
    }
    if request.val_fraction.is_some() {
        let why = format!(" is for photos: {name} has no use for it");
        return Err(Error::Options(message![Hint::Option("val-fraction"), why]));
    }
    if let (Some(folder), None) = (given, &entry.source) {
        let photos = if walk::has_picture(folder, walk::OF_CLASSES) {
            message![", or add ", Hint::set("dataset", "folder"), " for photos"]
        } else {
            Message::default()
        };
        return Err(Error::Options(message![
            Hint::set("data", folder.display()),
            format!(": {name} is drawn by the program and read from no folder; leave "),
            Hint::Option("data"),
            " out",
            photos,
        ]));
    }
    let limit = if request.test_only { 1 } else { request.train_limit.unwrap_or(usize::MAX) };
    // Of some classes, it is not known how many images must be drawn.
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
            return Err(Error::Usage(format!(
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
    let none = || Error::Usage(format!("{name} has no files to fetch: {}", entry.about));
    entry.source.as_ref().ok_or_else(none)
}

/// The folder that [`load`] would read the files of a data set from.
///
/// # Errors
/// [`Error::Usage`] for a name without files, [`Error::MissingData`] if they are nowhere.
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
        return Err(Error::Options(message![
            Hint::set("dataset", "folder"),
            " needs ",
            Hint::set("data", "FOLDER"),
            ", with a sub-folder for each class",
        ]));
    };
    // A folder that is not there is no empty one.
    Places::new(given)?;
    folder::load(root, request, 128, str::to_owned)
}

/// The error for a name that is not in [`NAMES`], with the likeliest one that was meant.
pub(crate) fn unknown(name: &str) -> Error {
    Error::Usage(suggest::unknown("data set", name, NAMES))
}

#[cfg(test)]
mod tests;
