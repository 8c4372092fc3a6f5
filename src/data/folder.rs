//! Folders of photos, a sub-folder for each class.
//!
//! [`super::layout`] tells classes and splits from the folder names. All photos are decoded once when
//! they are loaded: corrupt ones are left out, and if the others fit into [`Request::photo_cache`]
//! they stay in memory. Otherwise they are decoded again on demand.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::images::Photos;
use super::layout::{self, Class, Layout};
use super::picture::Fit;
use super::select::Classes;
use super::{Dataset, Files, Found, Images, Pixels, Request};
use crate::base::hint::{Hint, Message, message};
use crate::{Error, Result};

/// Valid sides of images, in pixels.
const SIDES: std::ops::RangeInclusive<usize> = 8..=1024;

/// Loads the photos in `root` as images of `side` x `side`, unless `request` has another size.
/// `rename` maps folder names to class names.
pub(super) fn load(
    root: &Path,
    request: &Request,
    side: usize,
    rename: impl Fn(&str) -> String,
) -> Result<Dataset> {
    let side = request.image_size.unwrap_or(side);
    if !SIDES.contains(&side) {
        let (least, most) = (SIDES.start(), SIDES.end());
        let why = format!(" must be from {least} to {most}, not {side}");
        return Err(Error::usage(message![Hint::Option("image-size"), why]));
    }
    let mut layout = match &request.measured {
        Some(known) => layout::measured(root, known, request.classes.is_some(), &rename)?,
        None => {
            let some = request.classes.is_some();
            layout::find(root, request.val_fraction, request.seed, some)?
        }
    };
    let chosen = match &request.measured {
        Some(known) => Classes::new(known, None)?,
        None => {
            let names: Vec<_> = layout.train.iter().map(|class| rename(&class.name)).collect();
            Classes::new(&names, request.classes.as_deref())?
        }
    };
    let train = limited(&chosen.pick(&layout.train), request.train_limit.unwrap_or(usize::MAX));
    let train = if request.test_only { Vec::new() } else { train };
    let test = chosen.pick(&layout.test);
    if let Some(folder) =
        layout.test_folder.as_ref().or(request.measured.as_ref().map(|_| &layout.train_folder))
    {
        layout.notes.extend(layout::lacking(&test, folder).map(Message::from));
    }
    let test = limited(&test, request.test_limit.unwrap_or(usize::MAX));
    if test.is_empty() {
        let shown = layout.test_folder.as_ref().unwrap_or(&layout.train_folder).display();
        let message = format!("{shown} has no pictures of these classes to test with: add some");
        return Err(Error::usage(message));
    }
    if request.strict
        && let Some(note) = layout.notes.first()
    {
        return Err(Error::usage(message![note.clone(), " (", Hint::Option("strict"), ")"]));
    }

    let side = side as u32;
    let classes = chosen.names();
    let mut loading = Loading { request, classes, kept: 0, skipped: Vec::new() };
    let (train, train_files) = loading.images(train, Fit::training(side))?;
    let (test, test_files) = loading.images(test, Fit::evaluating(side))?;
    let (name, skipped) = (request.name.clone(), loading.skipped);
    let source = source(&layout, request, [train.len(), test.len()]);
    let files = Files { root: root.to_owned(), train: train_files, test: test_files };
    let whole = request.measured.is_some() && layout.test_folder.is_none();
    let found = Found { source, notes: layout.notes, files: Some(files), whole };
    Ok(Dataset { name, classes: chosen.into_names(), train, test, skipped, found })
}

/// The text for [`Found::source`].
fn source(layout: &Layout, request: &Request, [train, test]: [usize; 2]) -> String {
    let folder = layout.train_folder.display();
    match &layout.test_folder {
        Some(other) if request.test_only => {
            format!("{test} pictures of {} to test with", other.display())
        }
        Some(other) => format!(
            "{train} pictures of {folder} to train on, {test} of {} to test with",
            other.display()
        ),
        None if request.measured.is_some() => {
            format!("all {test} pictures of {folder} to test with")
        }
        None if request.test_only => {
            format!("{test} pictures of {folder}, those that are set apart to test with")
        }
        None => format!("{train} pictures of {folder} to train on, {test} set apart to test with"),
    }
}

/// At most `limit` photos with their labels, stratified by class.
fn limited(classes: &[Class], limit: usize) -> Vec<(PathBuf, u32)> {
    let mut all: Vec<(u64, u32, &PathBuf)> = Vec::new();
    for (class, label) in classes.iter().zip(0..) {
        let count = class.photos.len() as u64;
        // The relative position of a photo in its class, as a fixed-point number.
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

/// The state of decoding all photos once.
struct Loading<'a> {
    request: &'a Request,
    classes: &'a [String],
    /// Bytes kept in memory so far.
    kept: usize,
    skipped: Vec<String>,
}

impl Loading<'_> {
    /// The images, and the file of each.
    fn images(
        &mut self,
        photos: Vec<(PathBuf, u32)>,
        fit: Fit,
    ) -> Result<(Images, Arc<[PathBuf]>)> {
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
            // A limit may leave a class without pictures, but corrupt files must not.
            if wanted.contains(&label) && !labels.contains(&label) {
                let reason = self.skipped.last().map_or("", String::as_str);
                let problem = format!("no picture of class '{name}' can be read: {reason}");
                return Err(Error::usage(problem));
            }
        }
        let paths: Arc<[PathBuf]> = paths.into();
        let pixels = if keep {
            self.kept += bytes;
            Pixels::Memory(pixels)
        } else {
            Pixels::Files(Photos { paths: paths.clone(), fit })
        };
        Ok((Images { height: side, width: side, channels: 3, pixels, labels }, paths))
    }
}

#[cfg(test)]
mod tests;
