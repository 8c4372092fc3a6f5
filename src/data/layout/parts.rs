//! Which folders hold the images to train on and to test with.

use std::path::{Path, PathBuf};

use crate::base::hint::{Hint, Message, message};
use crate::data::walk;
use crate::{Error, Result};

/// Names of the folder of images to train on, in any case of letters.
pub(super) const TRAIN: [&str; 2] = ["train", "training"];
/// Names of the folder of images to test with, beside it: the first of these that exists.
pub(super) const TEST: [&str; 9] =
    ["val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation", "holdout"];

/// The folders for training and for testing, and notes about folders that are not used.
pub(super) struct Parts {
    pub train: Option<PathBuf>,
    pub test: Option<PathBuf>,
    pub notes: Vec<Message>,
}

impl Parts {
    /// Finds the folders in `root` by their names.
    ///
    /// # Errors
    /// [`Error::Usage`] for folders whose meaning is not clear; [`Error::Io`].
    pub fn of(root: &Path) -> Result<Self> {
        let below = walk::folders(root)?;
        let train = named(&below, &TRAIN)?;
        let tests = TEST.iter().map(|name| named(&below, &[name]));
        let tests: Vec<PathBuf> = tests.filter_map(Result::transpose).collect::<Result<_>>()?;
        let of_classes = |folder: &PathBuf| -> Result<bool> {
            Ok(walk::folders(folder)?.iter().any(|inner| walk::any_picture(inner)))
        };
        let mut notes = Vec::new();
        // With `train/`, the other folders are splits and not classes.
        if let Some(train) = train {
            if of_classes(&train)? {
                return Self::beside(train, tests, below, of_classes);
            }
            let flat = tests.iter().find(|test| walk::any_picture(test));
            if let (Some(test), true) = (flat, walk::any_picture(&train)) {
                let (train, test) = (train.display(), test.display());
                return Err(Error::usage(format!(
                    "{train} and {test} have pictures, but no folders for the classes: move the \
                     pictures of each class into a folder of its own, {train}/CLASS and {test}/CLASS"
                )));
            }
        }
        let mut test = None;
        for folder in tests {
            let shown = folder.display();
            if !of_classes(&folder)? {
                if walk::any_picture(&folder) {
                    notes.push(
                        format!("{shown} is taken for a class: there is no train/ beside it")
                            .into(),
                    );
                }
                continue;
            }
            let others: Vec<&PathBuf> =
                below.iter().filter(|f| **f != folder && walk::any_picture(f)).collect();
            if !others.is_empty() {
                return Err(Error::usage(format!(
                    "{shown} has folders for classes, and so has {0}, but there is no {0}/train: \
                     move the classes to train on into {0}/train",
                    root.display()
                )));
            }
            test = Some(folder);
        }
        Ok(Self { train: None, test, notes })
    }

    /// The parts if there is a folder for training: the first folder for testing, and notes about the
    /// folders that are not used.
    fn beside(
        train: PathBuf,
        tests: Vec<PathBuf>,
        below: Vec<PathBuf>,
        of_classes: impl Fn(&PathBuf) -> Result<bool>,
    ) -> Result<Self> {
        let (mut test, mut notes) = (None, Vec::new());
        for folder in tests.iter() {
            let shown = folder.display();
            if !of_classes(folder)? {
                let why = match walk::any_picture(folder) {
                    true => "has pictures, but no folders that tell their classes",
                    false => "has no pictures",
                };
                notes.push(format!("{shown} is not used: it {why}").into());
            } else if test.is_none() {
                test = Some(folder.clone());
            } else {
                let options = vec![("run", "RUN".to_owned()), ("data", shown.to_string())];
                notes.push(message![
                    format!("{shown} is not used; "),
                    Hint::Command("eval".into(), options),
                    " measures on it",
                ]);
            }
        }
        let other = |folder: &&PathBuf| **folder != train && !tests.contains(folder);
        for folder in below.iter().filter(other).filter(|folder| walk::any_picture(folder)) {
            notes.push(
                format!("{} is not used: it is beside {}", folder.display(), train.display())
                    .into(),
            );
        }
        Ok(Self { train: Some(train), test, notes })
    }
}

/// The folder that has one of these names, ignoring case.
fn named(folders: &[PathBuf], names: &[&str]) -> Result<Option<PathBuf>> {
    let is = |folder: &&PathBuf| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        names.contains(&name.as_str())
    };
    let found: Vec<&PathBuf> = folders.iter().filter(is).collect();
    match found[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        [one, other, ..] => Err(Error::usage(format!(
            "{} and {} could both be meant: rename one of them",
            one.display(),
            other.display()
        ))),
    }
}
