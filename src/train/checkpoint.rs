//! Weights between files and the device: torchvision's names, shapes and axis order in files, the
//! program's tensors on the device.

pub mod dialect;
mod file;
pub mod foreign;

pub use file::{Array, Arrays, load, save, write};

use std::collections::BTreeSet;
use std::path::Path;

use crate::base::shape::Shape;
use crate::compiler::program::{Built, Parameter};
use crate::compiler::tensor::TensorId;
use crate::gpu::session::Session;
use crate::{Error, Result};

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

    #[test]
    fn oihw_and_hwio_are_inverse() {
        let shape = Shape::from(Weight::new(3, 2, 5));
        let values: Vec<f32> = (0..shape.elements()).map(|v| v as f32).collect();
        let transposed = oihw(shape, &values);
        // Output 4, input 1, row 2, column 0.
        assert_eq!(transposed[((4 * 2 + 1) * 3 + 2) * 3], values[((2 * 3) * 2 + 1) * 5 + 4]);
        assert_eq!(hwio(shape, &transposed), values);
    }
}
