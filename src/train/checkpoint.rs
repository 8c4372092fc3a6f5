//! Weights on disk: safetensors files with torchvision's names, shapes and axis order, and our
//! description of the model as JSON in the file's metadata.

pub mod dialect;
pub mod foreign;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::files::write_whole;
use crate::base::hint::{Hint, message};
use crate::base::shape::Shape;
use crate::compiler::program::{Built, Parameter};
use crate::compiler::tensor::TensorId;
use crate::gpu::session::Session;
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
            // In place of the model of the run.
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

/// A tensor of a file, and the tensor of the program that it belongs to.
struct Entry {
    name: String,
    tensor: TensorId,
    file_shape: Vec<usize>,
    /// The row of a tensor of running statistics: 0 for means, 1 for variances.
    row: Option<usize>,
    /// Whether training changes it.
    trained: bool,
}

impl Entry {
    /// The problem if a tensor in a file has another shape.
    fn wrong_shape(&self, array: &Array) -> Option<String> {
        (array.shape != self.file_shape).then(|| {
            format!("{} has shape {:?}, expected {:?}", self.name, array.shape, self.file_shape)
        })
    }
}

/// Weights and running statistics; with `moments`, also the optimiser's state.
fn entries(built: &Built, moments: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (name, p) in &built.parameters {
        let mut add = |suffix: &str, tensor| {
            let (name, file_shape) = (format!("{name}{suffix}"), p.file_shape.clone());
            let trained = p.trained();
            entries.push(Entry { name, tensor, file_shape, row: None, trained });
        };
        add("", p.value);
        if moments && p.trained() {
            add(".m", p.m);
            add(".v", p.v);
        }
    }
    for (name, tensor) in &built.running {
        let channels = built.program.tensor(*tensor).shape.c;
        let affine = built.parameters.get(&format!("{name}.weight"));
        let trained = affine.is_some_and(Parameter::trained);
        for (row, what) in ["mean", "var"].into_iter().enumerate() {
            let name = format!("{name}.running_{what}");
            entries.push(Entry {
                name,
                tensor: *tensor,
                file_shape: vec![channels],
                row: Some(row),
                trained,
            });
        }
    }
    entries
}

/// Reads weights (and moments) from the device.
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

/// Names of all weights and running statistics.
pub fn names(built: &Built) -> BTreeSet<String> {
    entries(built, false).into_iter().map(|entry| entry.name).collect()
}

/// Checks that these are exactly the weights (and moments) of a program.
///
/// # Errors
/// [`Error::Weights`] lists tensors that are missing, unknown or of another shape.
pub fn check(built: &Built, moments: bool, arrays: &Arrays, path: &Path) -> Result<()> {
    let entries = entries(built, moments);
    let (mut missing, mut wrong_shape) = (Vec::new(), Vec::new());
    for entry in &entries {
        match arrays.get(&entry.name) {
            None => missing.push(format!("{} is missing", entry.name)),
            Some(array) => wrong_shape.extend(entry.wrong_shape(array)),
        }
    }
    let known: BTreeSet<_> = entries.iter().map(|entry| &entry.name).collect();
    let extra = arrays.keys().filter(|name| !known.contains(name));
    let extra: Vec<_> = extra.map(|name| format!("{name} is not part of it")).collect();
    if missing.is_empty() && wrong_shape.is_empty() && extra.is_empty() {
        return Ok(());
    }
    let problem = format!(
        "these weights are of another architecture ({} missing, {} of another shape, {} too many)",
        missing.len(),
        wrong_shape.len(),
        extra.len()
    );
    let tensors = [missing, wrong_shape, extra].concat();
    Err(Error::Weights { path: path.to_owned(), problem, tensors })
}

/// Writes weights (and moments) to the device. They must be complete.
///
/// # Errors
/// Those of [`check`], and [`Error::Gpu`].
pub fn write_device(
    session: &mut Session,
    built: &Built,
    moments: bool,
    arrays: &Arrays,
    path: &Path,
) -> Result<()> {
    check(built, moments, arrays, path)?;
    for entry in entries(built, moments) {
        put(session, built, &entry, &arrays[&entry.name].values)?;
    }
    Ok(())
}

/// Writes a tensor of a file to the device.
fn put(session: &mut Session, built: &Built, entry: &Entry, values: &[f32]) -> Result<()> {
    let t = built.program.tensor(entry.tensor);
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
    Ok(())
}

/// The result of [`take_over`].
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Number of tensors that were taken over.
    pub tensors: usize,
    /// Names of tensors that are not in the model and keep their random values.
    pub new: Vec<String>,
    /// Names of tensors of the model that are not used.
    pub unused: Vec<String>,
}

/// Writes the weights of another model to the device where the names agree; other tensors keep their
/// values. Heads (the tensors whose shape depends on the classes) are left out unless `heads`.
///
/// # Errors
/// [`Error::Weights`] lists tensors of another shape, and missing tensors of frozen layers;
/// [`Error::Corrupt`] if no name agrees.
pub fn take_over(
    session: &mut Session,
    built: &Built,
    arrays: &Arrays,
    heads: bool,
    path: &Path,
) -> Result<Taken> {
    let (mut taken, mut wrong) = (Taken::default(), Vec::new());
    let entries: Vec<_> =
        entries(built, false).into_iter().filter(|e| heads || !is_head(&e.name)).collect();
    for entry in &entries {
        match arrays.get(&entry.name) {
            Some(array) => wrong.extend(entry.wrong_shape(array)),
            None if entry.trained => taken.new.push(entry.name.clone()),
            None => wrong.push(format!("{} is missing, and would not be trained", entry.name)),
        }
    }
    if !wrong.is_empty() {
        let problem = "training cannot begin from these weights".into();
        return Err(Error::Weights { path: path.to_owned(), problem, tensors: wrong });
    }
    for entry in &entries {
        if let Some(array) = arrays.get(&entry.name) {
            put(session, built, entry, &array.values)?;
            taken.tensors += 1;
        }
    }
    if taken.tensors == 0 {
        return Err(Error::corrupt(path, "it has no tensor that this network has"));
    }
    let known: BTreeSet<_> = entries.iter().map(|entry| &entry.name).collect();
    let unused = arrays.keys().filter(|name| !known.contains(name) && !is_head(name));
    taken.unused = unused.cloned().collect();
    Ok(taken)
}

/// Whether a tensor's shape depends on the classes.
pub(crate) fn is_head(name: &str) -> bool {
    ["aux.", "fc.", "classifier.3."].iter().any(|head| name.starts_with(head))
}

/// Index pairs of a weight's values: in OIHW order and in HWIO order.
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
    use crate::base::shape::Weight;

    fn array(shape: &[usize], values: &[f32]) -> Array {
        Array { shape: shape.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn oihw_and_hwio_are_inverse() {
        let shape = Shape::from(Weight::new(3, 2, 5));
        let values: Vec<f32> = (0..shape.elements()).map(|v| v as f32).collect();
        let transposed = oihw(shape, &values);
        // Output 4, input 1, row 2, column 0.
        assert_eq!(transposed[((4 * 2 + 1) * 3 + 2) * 3], values[((2 * 3) * 2 + 1) * 5 + 4]);
        assert_eq!(hwio(shape, &transposed), values);
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
