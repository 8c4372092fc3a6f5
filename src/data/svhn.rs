//! SVHN: digits of house numbers, cropped to 32 x 32, <http://ufldl.stanford.edu/housenumbers>.
//!
//! Two MAT-files hold `X`, bytes of shape (row, column, channel, image) in column-major order, and
//! `y`, the digits, where 10 stands for 0.

use std::path::{Path, PathBuf};

use super::place::Places;
use super::{Dataset, Found, Images, mat};
use crate::base::hint::{Hint, message};
use crate::{Error, Result};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// Its files, from the first of `places` that has them.
pub(super) fn find(places: &Places) -> Result<Vec<PathBuf>> {
    let files = ["train_32x32.mat", "test_32x32.mat"];
    places.find(
        "svhn",
        &[],
        &files,
        |_| Vec::new(),
        message![Hint::command("data fetch svhn"), " gets it"],
    )
}

/// Loads the data set `name` from the first of `places` that has it.
pub(super) fn load(name: &str, places: &Places) -> Result<Dataset> {
    let paths = find(places)?;
    let classes = (0..10).map(|digit| digit.to_string()).collect();
    let (train, test) = (read(&paths[0])?, read(&paths[1])?);
    let found = Found::in_files(name, &paths);
    Ok(Dataset { name: name.into(), classes, train, test, skipped: Vec::new(), found })
}

/// Reads one file.
///
/// # Errors
/// [`Error::Io`] or [`Error::Corrupt`].
pub fn read(path: &Path) -> Result<Images> {
    let corrupt = |problem: String| Error::corrupt(path, problem);
    let arrays = mat::read(path, &["X", "y"])?;
    let array = |name: &str| {
        let found = arrays.iter().find(|array| array.name == name);
        found.ok_or_else(|| corrupt(format!("there is no array {name} in it, expected X and y")))
    };
    let (x, y) = (array("X")?, array("y")?);
    // MATLAB drops a last dimension of 1.
    let (count, bytes) = match (&x.dims[..], x.bytes()) {
        ([SIDE, SIDE, 3, count], Some(bytes)) => (*count, bytes),
        ([SIDE, SIDE, 3], Some(bytes)) => (1, bytes),
        (dims, Some(_)) => return Err(corrupt(format!("X is {dims:?}, expected [32, 32, 3, N]"))),
        (_, None) => return Err(corrupt("the values of X are no bytes".into())),
    };
    let label = |(at, value): (usize, f64)| match value {
        10.0 => Ok(0),
        1.0..10.0 if value.fract() == 0.0 => Ok(value as u32),
        _ => Err(corrupt(format!("label {at} in y is {value}, expected 1 to 10"))),
    };
    let labels = y.values().enumerate().map(label).collect::<Result<Vec<u32>>>()?;
    if labels.len() != count || count == 0 {
        return Err(corrupt(format!("{count} images in X, but {} labels in y", labels.len())));
    }
    let mut pixels = Vec::with_capacity(bytes.len());
    for image in bytes.chunks_exact(3 * PLANE) {
        for row in 0..SIDE {
            for column in 0..SIDE {
                let at = column * SIDE + row;
                pixels.extend([image[at], image[PLANE + at], image[2 * PLANE + at]]);
            }
        }
    }
    Ok(Images::in_memory([SIDE, SIDE, 3], pixels, labels))
}

#[cfg(test)]
mod tests {
    use super::super::mat::tests::{array, compressed, file};
    use super::*;
    use std::fs;

    /// A file with one image for each label: its pixel at row 1, column 2 is (label, 20, 30), and
    /// all others are 0.
    pub fn svhn(labels: &[u8]) -> Vec<u8> {
        let mut pixels = vec![0; labels.len() * 3 * PLANE];
        for (image, label) in pixels.chunks_exact_mut(3 * PLANE).zip(labels) {
            for (plane, value) in [*label, 20, 30].into_iter().enumerate() {
                image[plane * PLANE + 2 * SIDE + 1] = value;
            }
        }
        let x = array("X", 9, &[32, 32, 3, labels.len() as i32], 2, &pixels);
        let y = array("y", 6, &[labels.len() as i32, 1], 2, labels);
        file(&[compressed(&x), compressed(&y)])
    }

    #[test]
    fn images_are_row_major_and_label_ten_is_zero() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("train_32x32.mat"), svhn(&[1, 10, 9])).unwrap();
        fs::write(temp.path().join("test_32x32.mat"), svhn(&[2])).unwrap();
        let nowhere = Path::new("/nowhere");
        let places = Places::within(Some(temp.path()), nowhere, nowhere).unwrap();
        let data = load("svhn", &places).unwrap();
        assert_eq!((data.train.labels.clone(), data.test.labels), (vec![1, 0, 9], vec![2]));
        let image = data.train.image(1).unwrap();
        assert_eq!(image[(SIDE + 2) * 3..][..3], [10, 20, 30]);
        assert_eq!(image.iter().filter(|value| **value > 0).count(), 3);
    }

    #[test]
    fn wrong_arrays_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.mat");
        let image = [7; 3 * PLANE];
        let x = array("X", 9, &[32, 32, 3, 1], 2, &image);
        let one = array("y", 6, &[1, 1], 2, &[1]);
        for (content, expected) in [
            (file(std::slice::from_ref(&x)), "no array y"),
            (file(std::slice::from_ref(&one)), "no array X"),
            (
                file(&[array("X", 9, &[3, 32, 32, 1], 2, &image), one.clone()]),
                "X is [3, 32, 32, 1]",
            ),
            (file(&[array("X", 9, &[32, 32, 3, 1], 1, &image), one]), "no bytes"),
            (file(&[x.clone(), array("y", 6, &[1, 1], 2, &[0])]), "label 0 in y is 0"),
            (file(&[x.clone(), array("y", 6, &[1, 1], 2, &[11])]), "label 0 in y is 11"),
            (
                file(&[x.clone(), array("y", 6, &[1, 1], 9, &f64::NAN.to_le_bytes())]),
                "label 0 in y is NaN",
            ),
            (file(&[x, array("y", 6, &[2, 1], 2, &[1, 2])]), "1 images in X, but 2 labels"),
        ] {
            fs::write(&path, content).unwrap();
            let message = read(&path).unwrap_err().to_string();
            let named = message.contains("a.mat: ") && message.contains(expected);
            assert!(named, "{message}\nexpected: {expected}");
        }
    }
}
