//! Weights on disk: safetensors files with torchvision's names, shapes and order of axes, and
//! what we need to know of them as JSON in the file's metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::write_whole;
use crate::program::Built;
use crate::session::Session;
use crate::shape::Shape;
use crate::tensor::TensorId;
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
    let failed =
        |e: &dyn std::fmt::Display| Error::io("write", path)(std::io::Error::other(e.to_string()));
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
    // One key only: the order of several would change from run to run.
    let json = serde_json::to_string(info).map_err(|e| failed(&e))?;
    let metadata = HashMap::from([(KEY.to_owned(), json)]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| failed(&e))?;
    write_whole(path, |file| file.write_all(&bytes))
}

/// Reads a safetensors file.
///
/// # Errors
/// [`Error::Io`], or [`Error::Corrupt`] if the file is damaged or not one of ours.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<(Arrays, T)> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let bad = |e: &dyn std::fmt::Display| {
        Error::corrupt(path, format!("not a usable safetensors file: {e}"))
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| bad(&e))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| bad(&e))?;
    let json = header.metadata().as_ref().and_then(|m| m.get(KEY));
    let json = json.ok_or_else(|| bad(&"it was not written by sff (no `sff` metadata)"))?;
    let info = serde_json::from_str(json).map_err(|e| bad(&e))?;
    let mut arrays = Arrays::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(bad(&format!("{name} is {:?}, expected F32", view.dtype())));
        }
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(bad(&format!("{name} holds {} at position {at}", values[at])));
        }
        arrays.insert(name.to_owned(), Array { shape: view.shape().to_vec(), values });
    }
    Ok((arrays, info))
}

/// What a file calls a tensor of the device, and how it is laid out there.
struct Entry {
    name: String,
    tensor: TensorId,
    file_shape: Vec<usize>,
    /// Row of a running-statistics tensor.
    row: Option<usize>,
}

/// Weights and running statistics; with `moments`, the optimiser's state too.
fn entries(built: &Built, moments: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (name, p) in &built.parameters {
        let mut add = |suffix: &str, tensor| {
            let (name, file_shape) = (format!("{name}{suffix}"), p.file_shape.clone());
            entries.push(Entry { name, tensor, file_shape, row: None });
        };
        add("", p.value);
        if moments {
            add(".m", p.m);
            add(".v", p.v);
        }
    }
    for (name, tensor) in &built.running {
        let channels = built.program.tensor(*tensor).shape.c;
        for (row, what) in ["mean", "var"].into_iter().enumerate() {
            let name = format!("{name}.running_{what}");
            entries.push(Entry {
                name,
                tensor: *tensor,
                file_shape: vec![channels],
                row: Some(row),
            });
        }
    }
    entries
}

/// Reads weights (and moments) off the device.
///
/// # Errors
/// [`Error::Gpu`].
pub fn read_device(session: &mut Session, built: &Built, moments: bool) -> Result<Arrays> {
    let mut arrays = Arrays::new();
    for entry in entries(built, moments) {
        let t = built.program.tensor(entry.tensor);
        let mut values = session.read(entry.tensor)?;
        if let Some(row) = entry.row {
            values = values[row * t.shape.c..(row + 1) * t.shape.c].to_vec();
        } else if entry.file_shape.len() > 1 {
            values = oihw(t.shape, &values);
        }
        arrays.insert(entry.name, Array { shape: entry.file_shape, values });
    }
    Ok(arrays)
}

/// Writes weights (and moments) to the device; all of them must be there and fit.
///
/// # Errors
/// [`Error::Corrupt`] lists what is missing, left over or of another shape.
pub fn write_device(
    session: &mut Session,
    built: &Built,
    moments: bool,
    arrays: &Arrays,
    path: &Path,
) -> Result<()> {
    let entries = entries(built, moments);
    let mut problems = Vec::new();
    for entry in &entries {
        match arrays.get(&entry.name) {
            None => problems.push(format!("{} is missing", entry.name)),
            Some(a) if a.shape != entry.file_shape => problems.push(format!(
                "{} has shape {:?}, expected {:?}",
                entry.name, a.shape, entry.file_shape
            )),
            Some(_) => {}
        }
    }
    let known: std::collections::BTreeSet<_> = entries.iter().map(|e| &e.name).collect();
    problems.extend(
        arrays.keys().filter(|n| !known.contains(n)).map(|n| format!("{n} is not part of it")),
    );
    if !problems.is_empty() {
        let problem = format!("these weights are of another architecture: {}", problems.join(", "));
        return Err(Error::corrupt(path, problem));
    }
    for entry in entries {
        let t = built.program.tensor(entry.tensor).clone();
        let values = &arrays[&entry.name].values;
        if let Some(row) = entry.row {
            // Mean and variance are one tensor on the device.
            let mut both = session.read(entry.tensor)?;
            both[row * t.shape.c..(row + 1) * t.shape.c].copy_from_slice(values);
            session.write(entry.tensor, &both);
        } else if entry.file_shape.len() > 1 {
            session.write(entry.tensor, &hwio(t.shape, values));
        } else {
            session.write(entry.tensor, values);
        }
    }
    Ok(())
}

/// Positions of a weight's values in the order output, input, row, column, each with its
/// position in the order row, column, input, output.
fn axes(shape: Shape) -> impl Iterator<Item = (usize, usize)> {
    let Shape { n: kh, h: kw, w: cin, c: cout } = shape;
    (0..shape.elements()).map(move |at| {
        let (x, rest) = (at % kw, at / kw);
        let (y, rest) = (rest % kh, rest / kh);
        let (i, o) = (rest % cin, rest / cin);
        (at, ((y * kw + x) * cin + i) * cout + o)
    })
}

fn oihw(shape: Shape, hwio: &[f32]) -> Vec<f32> {
    axes(shape).map(|(_, from)| hwio[from]).collect()
}

fn hwio(shape: Shape, oihw: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; oihw.len()];
    axes(shape).for_each(|(from, to)| out[to] = oihw[from]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize], values: &[f32]) -> Array {
        Array { shape: shape.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn axes_are_swapped_and_swapped_back() {
        let shape = Shape::weight(3, 2, 5);
        let values: Vec<f32> = (0..shape.elements()).map(|v| v as f32).collect();
        let swapped = oihw(shape, &values);
        // Output 4, input 1, row 2, column 0.
        assert_eq!(swapped[((4 * 2 + 1) * 3 + 2) * 3], values[((2 * 3) * 2 + 1) * 5 + 4]);
        assert_eq!(hwio(shape, &swapped), values);
    }

    #[test]
    fn files_round_trip_and_damage_is_noticed() {
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
