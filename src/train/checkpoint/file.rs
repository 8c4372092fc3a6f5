//! Safetensors files: tensors by torchvision's names, and our description of the model as JSON in the
//! file's metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{dialect, foreign};
use crate::base::files::write_whole;
use crate::base::hint::{Hint, message};
use crate::{Error, Result};

/// The metadata key that holds our JSON.
const KEY: &str = "sff";

/// A tensor as files hold it: float32, row-major.
#[derive(Clone, PartialEq, Debug)]
pub struct Array {
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

/// Tensors by name.
pub type Arrays = BTreeMap<String, Array>;

/// Writes a safetensors file; the same arrays and `info` give the same bytes.
///
/// # Errors
/// [`Error::Io`].
pub fn save(path: &Path, arrays: &Arrays, info: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string(info).map_err(|e| unwritable(path, &e))?;
    write(path, arrays, KEY, json)
}

fn unwritable(path: &Path, problem: &dyn std::fmt::Display) -> Error {
    Error::io("write", path)(std::io::Error::other(problem.to_string()))
}

/// Writes a safetensors file with one entry of metadata, `key`.
///
/// # Errors
/// [`Error::Io`].
pub fn write(path: &Path, arrays: &Arrays, key: &str, value: String) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| unwritable(path, e);
    let views = arrays
        .iter()
        .map(|(name, array)| {
            let bytes = bytemuck::cast_slice(&array.values);
            Ok((
                name,
                TensorView::new(Dtype::F32, array.shape.clone(), bytes).map_err(|e| failed(&e))?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    // Only one key: a HashMap would write several in random order.
    let metadata = HashMap::from([(key.to_owned(), value)]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| failed(&e))?;
    write_whole(path, |file| file.write_all(&bytes))
}

/// Reads a safetensors file.
///
/// # Errors
/// [`Error::Io`], or [`Error::Corrupt`] if the file is damaged or was not written by sff.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<(Arrays, T)> {
    let bytes = foreign::read(path)?;
    let bad = |e: &dyn std::fmt::Display| {
        Error::corrupt(path, format!("not a usable safetensors file: {e}"))
    };
    let file = foreign::open(&bytes, path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| bad(&e))?;
    let json = header.metadata().as_ref().and_then(|m| m.get(KEY));
    let json = json.ok_or_else(|| not_ours(&file, path))?;
    let info = serde_json::from_str(json).map_err(|e| {
        let state = serde_json::from_str::<serde_json::Value>(json);
        match state.is_ok_and(|state| state.get("progress").is_some())
            && e.to_string().contains("`format`")
        {
            // The state file was given instead of the model file.
            true => Error::corrupt(
                path,
                message![
                    "this is the state of a run, for ",
                    Hint::Option("resume"),
                    "; give its model.safetensors",
                ],
            ),
            false => bad(&e),
        }
    })?;
    let mut arrays = Arrays::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(bad(&format!("{name} is {}, expected F32", view.dtype())));
        }
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(bad(&format!("{name} holds {} at position {at}", values[at])));
        }
        arrays.insert(name.to_owned(), Array { shape: view.shape().to_vec(), values });
    }
    Ok((arrays, info))
}

/// The error for weights that need to be imported first.
fn not_ours(file: &SafeTensors, path: &Path) -> Error {
    let names = dialect::translate(&file.names()).names;
    let shapes = file
        .names()
        .into_iter()
        .zip(names)
        .filter_map(|(old, new)| Some((new, file.tensor(old).ok()?.shape().to_vec())));
    let (what, mut options) = match dialect::recognise(&shapes.collect()) {
        Some(dialect::Known { name, options: Some(options) }) => {
            (format!("it has weights of {name}, but "), options)
        }
        Some(dialect::Known { name, options: None }) => {
            let problem = format!("it has weights of {name}; sff has no such network");
            return Error::corrupt(path, problem);
        }
        None => (String::new(), vec![("arch", "ARCH".to_owned())]),
    };
    options.push(("out", "model.safetensors".to_owned()));
    let problem = message![
        format!("{what}it was not written by sff; "),
        Hint::Command(format!("import {}", path.display()).into(), options),
        " makes a model of them",
    ];
    Error::corrupt(path, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize], values: &[f32]) -> Array {
        Array { shape: shape.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn files_round_trip_and_corrupt_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let arrays = Arrays::from([
            ("a".to_owned(), array(&[2, 1], &[1.0, -2.5])),
            ("b".to_owned(), array(&[1], &[3.0])),
        ]);
        save(&path, &arrays, &vec![1, 2]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(load::<Vec<i32>>(&path).unwrap(), (arrays.clone(), vec![1, 2]));
        save(&path, &arrays, &vec![1, 2]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = load::<Vec<i32>>(&path).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{length}: {error}");
        }
        save(&path, &Arrays::from([("a".to_owned(), array(&[1], &[f32::NAN]))]), &0).unwrap();
        assert!(load::<i32>(&path).unwrap_err().to_string().contains("NaN"));
    }
}
