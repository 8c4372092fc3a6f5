//! Folders of photos, a sub-folder for each class.
//!
//! Either `train/` and `val/` (or `test/`) hold the classes, or the folder itself does and a part
//! of each class is set apart to test with. All photos are decoded once when they are loaded: the
//! corrupt ones are left out, and if the others fit into [`Request::photo_cache`] they stay in
//! memory. Otherwise they are decoded again whenever they are needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::images::Photos;
use super::picture::Fit;
use super::select::Classes;
use super::{Dataset, Images, Pixels, Request};
use crate::rng::{Rng, Stream};
use crate::{Error, Result};

/// Photos are recognised by these ends of their names, in any case of letters.
const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// Names of the folder that holds the images to test with, beside `train`.
const TEST_FOLDERS: [&str; 3] = ["val", "test", "validation"];
/// Sides of the images that a network may take.
const SIDES: std::ops::RangeInclusive<usize> = 8..=1024;
/// The share of each class that is set apart if nothing else is said.
const VAL_FRACTION: f32 = 0.2;

/// The photos of one class, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Class {
    folder: PathBuf,
    name: String,
    photos: Vec<PathBuf>,
}

/// Loads the photos in `root` as `request` says, for images of `side` x `side` unless it says
/// otherwise. `rename` gives the classes names for those of their folders.
pub(super) fn load(
    root: &Path,
    request: &Request,
    side: usize,
    rename: impl Fn(&str) -> String,
) -> Result<Dataset> {
    let side = request.image_size.unwrap_or(side);
    if !SIDES.contains(&side) {
        let (least, most) = (SIDES.start(), SIDES.end());
        let message = format!("--image-size must be from {least} to {most}, not {side}");
        return Err(Error::Usage(message));
    }
    let (train, test) = split(root, request)?;
    let names: Vec<String> = train.iter().map(|class| rename(&class.name)).collect();
    let chosen = Classes::new(&names, request.classes.as_deref())?;
    let train = limited(&chosen.pick(&train), request.train_limit.unwrap_or(usize::MAX));
    let train = if request.test_only { Vec::new() } else { train };
    let test = limited(&chosen.pick(&test), request.test_limit.unwrap_or(usize::MAX));

    let side = side as u32;
    let classes = chosen.names();
    let mut loading = Loading { request, classes, kept: 0, skipped: Vec::new() };
    let train = loading.images(train, Fit::training(side))?;
    let test = loading.images(test, Fit::evaluating(side))?;
    let (name, skipped) = (request.name.clone(), loading.skipped);
    Ok(Dataset { name, classes: chosen.into_names(), train, test, skipped })
}

/// The classes to train on and those to test with: the same ones, in the same order.
fn split(root: &Path, request: &Request) -> Result<(Vec<Class>, Vec<Class>)> {
    let train = root.join("train");
    let test = TEST_FOLDERS.iter().map(|name| root.join(name)).find(|path| path.is_dir());
    match test.filter(|_| train.is_dir()) {
        Some(test) => {
            if request.val_fraction.is_some() {
                let shown = test.display();
                return Err(Error::Usage(format!(
                    "{shown} holds the images to test with: leave --val-fraction out"
                )));
            }
            given(classes(&train)?, classes(&test)?, &test)
        }
        None => {
            let root = if train.is_dir() { &train } else { root };
            drawn(classes(root)?, request.val_fraction.unwrap_or(VAL_FRACTION), request.seed)
        }
    }
}

/// Checks that two folders have the same classes.
fn given(train: Vec<Class>, test: Vec<Class>, folder: &Path) -> Result<(Vec<Class>, Vec<Class>)> {
    let lacks = |classes: &[Class], name: &str| classes.iter().all(|class| class.name != name);
    if let Some(class) = train.iter().find(|class| lacks(&test, &class.name)) {
        let shown = folder.display();
        return Err(Error::Usage(format!("{shown} has no folder for the class '{}'", class.name)));
    }
    if let Some(class) = test.iter().find(|class| lacks(&train, &class.name)) {
        let shown = class.folder.display();
        return Err(Error::Usage(format!("{shown} is of a class that there is no training for")));
    }
    Ok((train, test))
}

/// Sets a part of each class apart, at random.
fn drawn(all: Vec<Class>, fraction: f32, seed: u64) -> Result<(Vec<Class>, Vec<Class>)> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Error::Usage(format!(
            "--val-fraction must be between 0 and 1, not {fraction}"
        )));
    }
    let mut halves = (Vec::new(), Vec::new());
    for (class, number) in all.into_iter().zip(0..) {
        let count = class.photos.len();
        if count < 2 {
            let shown = class.folder.display();
            return Err(Error::Usage(format!(
                "{shown} has one picture only: each class needs one to train on, one to test with"
            )));
        }
        let apart = ((count as f32 * fraction).round() as usize).clamp(1, count - 1);
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
    Ok(halves)
}

/// The classes in a folder, sorted by name, each with one photo or more.
fn classes(root: &Path) -> Result<Vec<Class>> {
    let mut classes = Vec::new();
    for folder in entries(root)?.into_iter().filter(|path| path.is_dir()) {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
            let shown = folder.display();
            let message = format!("{shown}: the name of a class must be UTF-8, rename the folder");
            return Err(Error::Usage(message));
        };
        let is_photo = |path: &PathBuf| {
            let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
            extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str())) && !path.is_dir()
        };
        let photos: Vec<PathBuf> = entries(&folder)?.into_iter().filter(is_photo).collect();
        if photos.is_empty() {
            return Err(Error::Usage(format!(
                "{}: no pictures ({}) for this class; remove the folder or fill it",
                folder.display(),
                EXTENSIONS.join(", ")
            )));
        }
        classes.push(Class { name: name.to_owned(), photos, folder });
    }
    let shown = root.display();
    match &classes[..] {
        [] => Err(Error::Usage(format!(
            "{shown} has no sub-folders: each class needs one with its pictures"
        ))),
        [one] => Err(Error::Usage(format!(
            "{shown} has one class only ('{}'): there must be two or more",
            one.name
        ))),
        _ => Ok(classes),
    }
}

/// What is in a folder and not hidden, sorted by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = || Error::io("read", folder);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// At most `limit` photos with their labels, from each class in proportion to its size.
fn limited(classes: &[Class], limit: usize) -> Vec<(PathBuf, u32)> {
    let mut all: Vec<(u64, u32, &PathBuf)> = Vec::new();
    for (class, label) in classes.iter().zip(0..) {
        let count = class.photos.len() as u64;
        // How far into its class a photo is, in units that compare exactly.
        let rank = |i: u64| ((2 * i + 1) << 32) / (2 * count);
        all.extend((0..).zip(&class.photos).map(|(i, path)| (rank(i), label, path)));
    }
    if limit < all.len() {
        all.sort_unstable();
        all.truncate(limit);
        all.sort_unstable_by_key(|(rank, label, _)| (*label, *rank));
    }
    all.into_iter().map(|(_, label, path)| (path.clone(), label)).collect()
}

/// Decodes all photos once.
struct Loading<'a> {
    request: &'a Request,
    classes: &'a [String],
    /// Bytes that are kept in memory.
    kept: usize,
    skipped: Vec<String>,
}

impl Loading<'_> {
    fn images(&mut self, photos: Vec<(PathBuf, u32)>, fit: Fit) -> Result<Images> {
        let side = fit.side as usize;
        let bytes = photos.len() * side * side * 3;
        let keep = self.kept.saturating_add(bytes) <= self.request.photo_cache;
        let mut pixels = Vec::with_capacity(if keep { bytes } else { 0 });
        let (mut paths, mut labels) = (Vec::new(), Vec::new());
        let wanted: BTreeSet<u32> = photos.iter().map(|(_, label)| *label).collect();
        let all = Photos { paths: photos.iter().map(|(path, _)| path.clone()).collect(), fit };
        let ahead = all.ahead();
        ahead.expect((0..photos.len() as u32).collect());
        for ((path, label), index) in photos.into_iter().zip(0..) {
            let decoded = ahead.next(index).unwrap_or_else(|| super::picture::photo(&path, fit));
            match decoded {
                Ok(image) => {
                    if keep {
                        pixels.extend(image);
                    }
                    paths.push(path);
                    labels.push(label);
                }
                Err(error) if self.request.strict => return Err(error),
                Err(error) => self.skipped.push(error.to_string()),
            }
        }
        for (name, label) in self.classes.iter().zip(0..) {
            // A limit may leave a class without pictures, but damage must not.
            if wanted.contains(&label) && !labels.contains(&label) {
                let reason = self.skipped.last().map_or("", String::as_str);
                let problem = format!("no picture of class '{name}' can be read: {reason}");
                return Err(Error::Usage(problem));
            }
        }
        let pixels = if keep {
            self.kept += bytes;
            Pixels::Memory(pixels)
        } else {
            Pixels::Files(Photos { paths: paths.into(), fit })
        };
        Ok(Images { height: side, width: side, channels: 3, pixels, labels })
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
