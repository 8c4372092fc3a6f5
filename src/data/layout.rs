//! Classes and splits, from the names of photo folders.

mod parts;

use std::path::{Path, PathBuf};

use super::walk::{self, Folder};
use crate::base::hint::{Hint, Message, message};
use crate::base::random::{Rng, Stream};
use crate::base::suggest;
use crate::{Error, Result};
use parts::{Parts, TEST, TRAIN};

/// Default share of each class that becomes the test split.
pub(super) const VAL_FRACTION: f32 = 0.2;

/// Classes that a message lists; more are only counted.
const LISTED: usize = 10;

/// The photos of one class, sorted by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    pub folder: PathBuf,
    pub name: String,
    pub photos: Vec<PathBuf>,
}

/// Classes to train on, and the same ones, in the same order, to test with.
#[derive(Clone, Debug)]
pub struct Layout {
    pub train: Vec<Class>,
    pub test: Vec<Class>,
    /// The folder of the training images.
    pub train_folder: PathBuf,
    /// The folder of the test images, if it is another one.
    pub test_folder: Option<PathBuf>,
    /// Files that are not used and other warnings, one line each.
    pub notes: Vec<Message>,
}

/// The layout of the folder `root`: `train/` with a folder for testing, or the classes themselves.
/// Without a folder for testing, a part of each class becomes the test split. With `some` (a choice
/// of classes), test classes without training images are ignored.
///
/// # Errors
/// [`Error::Usage`] says what was found and what to do; [`Error::Io`].
pub fn find(root: &Path, fraction: Option<f32>, seed: u64, some: bool) -> Result<Layout> {
    let Parts { train, test, mut notes } = Parts::of(root)?;
    // A folder for testing counts only beside one for training.
    let test_folder = test.filter(|_| train.is_some());
    let train_folder = train.unwrap_or_else(|| root.to_owned());
    let train = classes(&train_folder, &mut notes)?;
    require_two(&train_folder, &train)?;
    let Some(test_folder) = test_folder else {
        let (train, test) = set_apart(train, fraction, seed, &mut notes)?;
        return Ok(Layout { train, test, train_folder, test_folder: None, notes });
    };
    if fraction.is_some() {
        return Err(Error::usage(message![
            format!("{} holds the images to test with: leave ", test_folder.display()),
            Hint::Option("val-fraction"),
            " out",
        ]));
    }
    let test = classes(&test_folder, &mut notes)?;
    let names: Vec<String> = train.iter().map(|class| class.name.clone()).collect();
    let test = matched(test, &names, &test_folder, |class, hint| {
        let shown = class.folder.display();
        if some {
            notes.push(format!("{shown} is not used: its class has no training images").into());
            return Ok(());
        }
        let lacks = train_folder.join(&class.name);
        Err(Error::usage(message![
            format!(
                "{shown} is of a class without training images{hint}: {} has no pictures for \
                 it; rename the folder, move it away, or name the classes to use, such as ",
                lacks.display()
            ),
            // `require_two` and `classes` refuse fewer.
            Hint::set("classes", format!("{},{}", names[0], names[1])),
        ]))
    })?;
    Ok(Layout { train, test, train_folder, test_folder: Some(test_folder), notes })
}

/// The layout for evaluating a model with the classes `known`: the images of the folder for testing
/// if there is one, otherwise all. `rename` maps folder names to class names. With `some`, classes
/// that the model does not know are ignored.
///
/// # Errors
/// As [`find`].
pub fn measured(
    root: &Path,
    known: &[String],
    some: bool,
    rename: impl Fn(&str) -> String,
) -> Result<Layout> {
    let Parts { train, test: test_folder, mut notes } = Parts::of(root)?;
    let folder = test_folder.clone().or(train).unwrap_or_else(|| root.to_owned());
    let mut found = classes(&folder, &mut notes)?;
    found.iter_mut().for_each(|class| class.name = rename(&class.name));
    let test = matched(found, known, &folder, |class, hint| match some {
        true => Ok(()),
        false => Err(Error::usage(format!(
            "{} is of no class that the model knows{hint}: it knows {}",
            class.folder.display(),
            listed(known)
        ))),
    })?;
    let train = known.iter().map(|name| Class::empty(&folder, name)).collect();
    Ok(Layout { train, test, train_folder: folder, test_folder, notes })
}

impl Class {
    fn empty(root: &Path, name: &str) -> Self {
        Self { folder: root.join(name), name: name.to_owned(), photos: Vec::new() }
    }
}

/// The classes in a folder, sorted by name: the folders with pictures at any depth.
fn classes(root: &Path, notes: &mut Vec<Message>) -> Result<Vec<Class>> {
    let mut classes: Vec<Class> = Vec::new();
    let shown = root.display();
    let (loose, mut others) = walk::files(root, 1)?;
    let below = walk::folders(root)?;
    for path in &below {
        let folder = Folder::read(path)?;
        if folder.pictures.is_empty() {
            notes.push(empty(&folder).into());
            continue;
        }
        refuse_splits(&folder, root)?;
        if let Some(same) = classes.iter().find(|class| class.name == folder.name) {
            let (one, other) = (same.folder.display(), folder.path.display());
            return Err(Error::usage(format!(
                "{one} and {other} have the same name in Unicode, written in two ways: rename one"
            )));
        }
        others.extend(folder.others);
        classes.push(Class { name: folder.name, photos: folder.pictures, folder: folder.path });
    }
    classes.sort_by(|a, b| a.name.cmp(&b.name));
    let count = loose.len();
    if classes.is_empty() {
        return Err(Error::usage(match (below.is_empty(), count) {
            (_, 1..) => message![format!(
                "{shown} has {count} pictures, but no folders for classes: move the pictures of \
                 each class into a folder of its own, {shown}/CLASS"
            )],
            (true, 0) => message![format!(
                "{shown} has no sub-folders: each class needs one with its pictures"
            )],
            (false, 0) => {
                message![format!("{shown} has no pictures: "), Message::listed(notes)]
            }
        }));
    }
    if count > 0 {
        notes.push(
            format!("{count} pictures directly in {shown} are of no class and not used").into(),
        );
    }
    if let Some(others) = others.summary() {
        notes.push(format!("files that are not readable pictures are not used: {others}").into());
    }
    Ok(classes)
}

/// Refuses a single class.
fn require_two(root: &Path, classes: &[Class]) -> Result<()> {
    let [one] = classes else { return Ok(()) };
    let shown = root.display();
    let inner = Folder::read(&one.folder)?.inner();
    let only = one.folder.display();
    Err(Error::usage(match &inner[..] {
        [] => message![format!(
            "{shown} has one class only ('{}'): there must be two or more, a folder for each",
            one.name
        )],
        // Often an archive that was unpacked into a folder of its own.
        inner => message![
            format!(
                "{shown} has one folder with pictures only, {only}, which has the folders {}: if \
                 these are what you mean, give ",
                listed(inner)
            ),
            Hint::set("data", &only),
        ],
    }))
}

/// Refuses a class folder with splits inside: walking it would mix training and test images.
fn refuse_splits(folder: &Folder, root: &Path) -> Result<()> {
    let inner = folder.inner();
    let is =
        |names: &[&str]| inner.iter().any(|name| names.contains(&name.to_lowercase().as_str()));
    if !(is(&TRAIN) && is(&TEST)) {
        return Ok(());
    }
    let (shown, root) = (folder.path.display(), root.display());
    let name = &folder.name;
    Err(Error::usage(message![
        format!("{shown} has the folders {}: if they hold the classes, give ", listed(&inner)),
        Hint::set("data", &shown),
        format!(
            "; if '{name}' is a class, move its pictures to {root}/train/{name} and \
             {root}/test/{name}"
        ),
    ]))
}

/// The note about a folder without pictures.
fn empty(folder: &Folder) -> String {
    let others = folder.others.summary().map_or(String::new(), |others| format!(", but {others}"));
    format!("{} is no class: it has no pictures{others}", folder.path.display())
}

/// The classes of `found` in the order of `names`; missing ones have no photos. `unknown` is called
/// for each class that is not in `names`, with a did-you-mean, and may refuse it.
fn matched(
    mut found: Vec<Class>,
    names: &[String],
    folder: &Path,
    mut unknown: impl FnMut(&Class, String) -> Result<()>,
) -> Result<Vec<Class>> {
    for class in found.iter().filter(|class| !names.contains(&class.name)) {
        unknown(class, suggest::hint(&class.name, names.iter().map(String::as_str)))?;
    }
    let mut take = |name: &String| {
        let at = found.iter().position(|class| class.name == *name)?;
        Some(found.swap_remove(at))
    };
    let all = names.iter().map(|name| take(name).unwrap_or_else(|| Class::empty(folder, name)));
    Ok(all.collect())
}

/// The note about classes without test images, if there are any.
pub fn lacking(classes: &[Class], folder: &Path) -> Option<String> {
    let lacking = classes.iter().filter(|class| class.photos.is_empty());
    let lacking: Vec<String> = lacking.map(|class| class.name.clone()).collect();
    let shown = folder.display();
    (!lacking.is_empty())
        .then(|| format!("{shown} has no pictures of {}: not tested", listed(&lacking)))
}

/// Quoted names, at most [`LISTED`], and the number of the others.
fn listed(names: &[String]) -> String {
    let some: Vec<String> = names.iter().take(LISTED).map(|name| format!("'{name}'")).collect();
    let more = match names.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    some.join(", ") + &more
}

/// Moves a random part of each class to the test split. A single picture stays in training.
fn set_apart(
    all: Vec<Class>,
    fraction: Option<f32>,
    seed: u64,
    notes: &mut Vec<Message>,
) -> Result<(Vec<Class>, Vec<Class>)> {
    let fraction = fraction.unwrap_or(VAL_FRACTION);
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Error::usage(message![
            Hint::Option("val-fraction"),
            format!(" must be between 0 and 1, not {fraction}"),
        ]));
    }
    let (mut halves, mut single) = ((Vec::new(), Vec::new()), Vec::new());
    for (class, number) in all.into_iter().zip(0..) {
        let count = class.photos.len();
        if count == 1 {
            single.push(class.name.clone());
        }
        let apart = ((count as f32 * fraction).round() as usize).max(1).min(count - 1);
        let mut rng = Rng::new(seed, Stream::Split, 0, number);
        let mut order = rng.permutation(count as u32);
        order[..apart].sort_unstable();
        order[apart..].sort_unstable();
        let take = |order: &[u32]| Class {
            photos: order.iter().map(|i| class.photos[*i as usize].clone()).collect(),
            ..class.clone()
        };
        halves.0.push(take(&order[apart..]));
        halves.1.push(take(&order[..apart]));
    }
    if !single.is_empty() {
        let single = listed(&single);
        notes.push(
            format!("there is a single picture of {single}: it is trained on, not tested").into(),
        );
    }
    Ok(halves)
}

#[cfg(test)]
mod tests;
