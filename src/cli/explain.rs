//! `sff predict --explain`: which parts of a picture the goodness of a class comes from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::app::inference::Explanation;
use crate::data::{Images, picture};
use crate::{Error, Result};

/// Least length of the longer side of a drawn picture, in pixels.
const SIDE: usize = 128;
/// Pixels between two pictures.
const GAP: usize = 4;
/// The colour of the largest values.
const GLOW: [f64; 3] = [255.0, 214.0, 70.0];

/// The file for each picture: `target` itself if it is a PNG, else one of the same name in that
/// folder.
///
/// # Errors
/// [`Error::Usage`] if two pictures would share a file, or a picture would be overwritten; [`Error::Io`].
pub fn targets(target: &Path, pictures: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let single = target.extension().is_some_and(|end| end.eq_ignore_ascii_case("png"));
    if single && pictures.len() > 1 {
        return Err(Error::usage(format!(
            "--explain {} is one file, but there are {} pictures: give a folder",
            target.display(),
            pictures.len()
        )));
    }
    let file = |path: &PathBuf| {
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push(".png");
        if single { target.to_owned() } else { target.join(name) }
    };
    let files: Vec<PathBuf> = pictures.iter().map(file).collect();
    let (mut targets, real) = (BTreeSet::new(), |path: &Path| path.canonicalize().ok());
    let read: BTreeSet<_> = pictures.iter().filter_map(|path| real(path)).collect();
    for file in &files {
        let shown = file.display();
        if !targets.insert(file) {
            let problem = "would be the file of several pictures: explain them one by one";
            return Err(Error::usage(format!("{shown} {problem}")));
        }
        if real(file).is_some_and(|file| read.contains(&file)) {
            let problem = "is one of the pictures to classify: choose another --explain";
            return Err(Error::usage(format!("{shown} {problem}")));
        }
    }
    if !single {
        std::fs::create_dir_all(target).map_err(Error::io("create", target))?;
    }
    Ok(files)
}

/// Draws picture `at` as the network sees it, and beside it the picture under the class map of each
/// block, with a row for each of `classes`. Each map is scaled by its own largest value.
///
/// # Errors
/// Those of writing the file.
pub fn draw(
    path: &Path,
    images: &Images,
    at: usize,
    of: &Explanation,
    classes: &[usize],
) -> Result<()> {
    let (height, width, channels) = (images.height, images.width, images.channels);
    let pixels = images.image(at)?;
    let scale = SIDE.div_ceil(height.max(width));
    let (tall, wide) = (height * scale, width * scale);
    let columns = of.maps.len() + 1;
    let (rows, across) = (classes.len() * (tall + GAP) - GAP, columns * (wide + GAP) - GAP);
    let mut sheet = vec![255u8; rows * across * 3];
    for (row, class) in classes.iter().enumerate() {
        for column in 0..columns {
            let maps = column.checked_sub(1).map(|block| &of.maps[block]);
            let largest = maps.map_or(1.0, |maps| f64::from(maps.largest(*class)).max(1e-30));
            for (y, x) in (0..tall).flat_map(|y| (0..wide).map(move |x| (y, x))) {
                let pixel = &pixels[(y / scale * width + x / scale) * channels..][..channels];
                let colour = |c: usize| f64::from(pixel[c.min(channels - 1)]);
                let place = |at: usize, of: usize| (at as f64 + 0.5) / of as f64;
                let glow =
                    maps.map(|maps| maps.at(*class, place(y, tall), place(x, wide)) / largest);
                let left = column * (wide + GAP) + x;
                let to = ((row * (tall + GAP) + y) * across + left) * 3;
                for (c, out) in sheet[to..to + 3].iter_mut().enumerate() {
                    let value = match glow {
                        None => colour(c),
                        Some(glow) => {
                            // Luma of Rec. 601.
                            let grey = 0.299 * colour(0) + 0.587 * colour(1) + 0.114 * colour(2);
                            let (dim, glow) = (0.45 * grey, glow.clamp(0.0, 1.0));
                            dim + glow * (GLOW[c] - dim) * 0.85
                        }
                    };
                    *out = value.round() as u8;
                }
            }
        }
    }
    picture::write(path, &sheet, rows, across, 3)
}

/// The goodness of `classes` in each block, and the scores of the vote, as a table.
pub fn table(of: &Explanation, blocks: &[String], classes: &[usize], names: &[String]) -> String {
    let width = classes.iter().map(|class| names[*class].chars().count()).max().unwrap_or(0).max(8);
    let heads: Vec<String> = blocks.iter().map(|name| format!("{name:>9}")).collect();
    let mut out = format!("  {:width$} {} {:>9}", "goodness", heads.join(" "), "vote");
    for class in classes {
        let values = of.prediction.goodness.iter().map(|block| block[*class]);
        let values: Vec<String> = values
            .chain([of.prediction.logits[*class]])
            .zip(blocks.iter().map(|name| name.chars().count().max(9)).chain([9]))
            .map(|(value, width)| format!("{value:width$.3}"))
            .collect();
        out.push_str(&format!("\n  {:width$} {}", names[*class], values.join(" ")));
    }
    out
}
