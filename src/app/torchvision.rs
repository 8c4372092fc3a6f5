//! Import and export of state dicts with torchvision's names, as safetensors files.
//!
//! Names, shapes and the order of axes are the same in [`crate::train::checkpoint`]. A state dict only
//! lacks our metadata: the network, its images and its classes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};

use crate::app::config::{Config, Method, Recipe};
use crate::app::folder;
use crate::app::inference;
use crate::app::records;
use crate::app::records::ModelInfo;
use crate::base::choice::Choice;
use crate::compiler::program::{Built, Feed};
use crate::data::Normalization;
use crate::net::layers::Scale;
use crate::net::models::{Arch, Stem};
use crate::net::options::Partition;
use crate::train::checkpoint::dialect::{self, Translation};
use crate::train::checkpoint::{self, Array, Arrays, foreign};
use crate::{Error, Result};

/// Last part of the name of PyTorch's batch counters in batch norm, which are not used here.
const COUNTER: &str = "num_batches_tracked";

/// Mean and standard deviation of ImageNet's channels, with which torchvision's weights were trained. For
/// one channel: the mean luminance, and the mean of the three deviations.
pub fn imagenet_normalization(channels: usize) -> Normalization {
    match channels {
        1 => Normalization { mean: vec![0.459], std: vec![0.226] },
        _ => Normalization { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] },
    }
}

/// The tensors of a state dict, and notes about changes.
#[derive(Clone, Debug)]
pub struct StateDict {
    /// As float32.
    pub arrays: Arrays,
    /// One line for each kind of change: converted types, omitted tensors.
    pub notes: Vec<String>,
}

/// Reads any safetensors file of float tensors, and gives them torchvision's names, see
/// [`dialect::translate`]. Batch counters are left out.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`] for a damaged file or another format, which it names;
/// [`Error::Weights`] lists tensors of other types, and those with NaN or infinity.
pub fn read(path: &Path) -> Result<StateDict> {
    let bytes = foreign::read(path)?;
    let file = foreign::open(&bytes, path)?;
    let (mut arrays, mut wrong) = (Arrays::new(), Vec::new());
    let (mut converted, mut counters) = (BTreeMap::new(), 0);
    let Translation { names, mut notes } = dialect::translate(&file.names());
    for (own, name) in file.names().into_iter().zip(names) {
        let Ok(view) = file.tensor(own) else { continue };
        if name.rsplit('.').next() == Some(COUNTER) {
            counters += 1;
            continue;
        }
        let Some(values) = floats(&view) else {
            wrong.push(format!("{own} is {}, expected F32, F16, BF16 or F64", view.dtype()));
            continue;
        };
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            wrong.push(format!("{own} holds {} at position {at}", values[at]));
        }
        if view.dtype() != Dtype::F32 {
            *converted.entry(view.dtype().to_string()).or_insert(0) += 1;
        }
        let array = Array { shape: view.shape().to_vec(), values };
        if arrays.insert(name.clone(), array).is_some() {
            wrong.push(format!("{own} is not the only tensor that becomes {name}"));
        }
    }
    if !wrong.is_empty() {
        let problem = format!("{} of its tensors cannot be used", wrong.len());
        return Err(Error::Weights { path: path.to_owned(), problem, tensors: wrong });
    }
    notes.extend(
        converted
            .into_iter()
            .map(|(dtype, count)| format!("converted {count} {dtype} tensors to F32")),
    );
    if counters > 0 {
        notes.push(format!("left out {counters} tensors {COUNTER}, which are not used"));
    }
    Ok(StateDict { arrays, notes })
}

/// The values of a tensor of floats; `None` for other types.
fn floats(view: &TensorView) -> Option<Vec<f32>> {
    let bytes = view.data();
    let halves = |value: fn([u8; 2]) -> f32| {
        bytes.chunks_exact(2).map(|pair| value([pair[0], pair[1]])).collect()
    };
    Some(match view.dtype() {
        Dtype::F32 => bytemuck::pod_collect_to_vec(bytes),
        Dtype::F16 => halves(|pair| f16::from_le_bytes(pair).to_f32()),
        Dtype::BF16 => halves(|pair| bf16::from_le_bytes(pair).to_f32()),
        Dtype::F64 => {
            let values: Vec<f64> = bytemuck::pod_collect_to_vec(bytes);
            values.into_iter().map(|value| value as f32).collect()
        }
        _ => return None,
    })
}

/// The metadata that a state dict lacks.
#[derive(Clone, Debug)]
pub struct About {
    /// At least the architecture. By default the method follows from the head, and the stem from the
    /// first convolution of resnet18; that of other networks is the published one.
    pub recipe: Recipe,
    /// Side of the images, in pixels.
    pub side: usize,
    /// Names of the classes; by default their numbers.
    pub classes: Option<Vec<String>>,
    /// Normalisation of pixels; by default that of ImageNet.
    pub normalization: Option<Normalization>,
}

/// The metadata of a model file with these weights.
///
/// # Errors
/// [`Error::Weights`] lists tensors that are missing, unknown or of another shape; [`Error::Corrupt`] for
/// weights of another network; [`Error::Usage`] for invalid options or another number of classes.
pub fn describe(arrays: &Arrays, about: &About, path: &Path) -> Result<ModelInfo> {
    let shape = |name: &str| arrays.get(name).map(|array| &array.shape[..]);
    let goodness = shape("aux.0.weight");
    let depthwise = shape("aux.0.depthwise.weight");
    let mut recipe = about.recipe.clone();
    recipe.method = recipe.method.or(Some(match goodness {
        Some(_) => Method::Sff,
        None => Method::Bp,
    }));
    if recipe.method == Some(Method::Sff) {
        let kernel = depthwise.or(goodness).and_then(|shape| shape.last()).copied();
        recipe.aux_kernel = recipe.aux_kernel.or(kernel);
        recipe.aux_separable = recipe.aux_separable.or(Some(depthwise.is_some()));
        let learnable = arrays.contains_key("aux.0.log_scale").then_some(Scale::Learnable);
        recipe.aux_scale = recipe.aux_scale.or(learnable);
    }
    if recipe.arch.as_deref() != Some("cnn") {
        // The small stem of ResNet18 has a 3×3 kernel; that of MobileNetV3 differs in the stride only.
        let small = shape("conv1.weight").and_then(|shape| shape.last()) == Some(&3);
        let stem = if small { Stem::Cifar } else { Stem::Imagenet };
        recipe.stem = recipe.stem.or(Some(stem));
    }
    let config = Config::resolve(recipe)?;
    let shapes = arrays.iter().map(|(name, array)| (name.clone(), array.shape.clone())).collect();
    if let Some(known) = dialect::recognise(&shapes).filter(|known| known.name != config.arch) {
        let what = match known.options {
            Some(options) => {
                let all: Vec<_> =
                    options.iter().map(|(name, value)| format!("--{name} {value}")).collect();
                format!("give {}", all.join(" "))
            }
            None => format!("there is no such network: --arch is {}", Arch::names().join(", ")),
        };
        let problem =
            format!("these are weights of {}, not of {}; {what}", known.name, config.arch);
        return Err(Error::corrupt(path, problem));
    }
    let heads = ["fc.weight", "classifier.3.weight", "aux.0.weight"];
    let rows = heads.iter().find_map(|head| shape(head)?.first().copied());
    // Without a head, `check` below lists all missing tensors.
    let count = rows.unwrap_or(2).max(2);
    let classes =
        about.classes.clone().unwrap_or_else(|| (0..count).map(|i| i.to_string()).collect());
    if classes.len() != count && rows.is_some() {
        return Err(Error::usage(format!(
            "{} has {count} classes, but {} names are given",
            path.display(),
            classes.len()
        )));
    }
    let first = ["conv1.weight", "features.0.0.weight"].iter().find_map(|name| shape(name));
    let channels = first.and_then(|s| s.get(1)).copied().unwrap_or(3);
    if ![1, 3].contains(&channels) {
        let problem =
            format!("its first convolution takes images of {channels} channels, not 1 or 3");
        return Err(Error::corrupt(path, problem));
    }
    let image = [about.side, about.side, channels];
    let normalization =
        about.normalization.clone().unwrap_or_else(|| imagenet_normalization(channels));
    let given = [normalization.mean.len(), normalization.std.len()];
    if given != [channels; 2] {
        return Err(Error::usage(format!(
            "{} takes images of {channels} channels, but --mean has {} values and --std {}",
            path.display(),
            given[0],
            given[1]
        )));
    }
    if normalization.mean.iter().any(|mean| *mean > 1.0) {
        let of_one = |values: &[f32]| {
            let values = values.iter().map(|value| format!("{:.4}", value / 255.0));
            values.collect::<Vec<_>>().join(",")
        };
        return Err(Error::usage(format!(
            "--mean and --std are of pixels from 0 to 1; those of pixels from 0 to 255 are --mean {} \
             --std {}",
            of_one(&normalization.mean),
            of_one(&normalization.std)
        )));
    }
    let config = records::portable(&config.settled(count, about.side));
    let info = ModelInfo { format: records::FORMAT, config, image, classes, normalization };
    info.sane(path)?;
    checkpoint::check(&evaluation(&info)?, false, arrays, path)?;
    Ok(info)
}

/// The program that evaluates one image, for the names and shapes of a model's tensors.
fn evaluation(info: &ModelInfo) -> Result<Built> {
    let [h, w, _] = info.image;
    inference::program(info, Feed { batch: 1, resident: 1, stored: [h, w] })
}

/// How a state dict differs from torchvision's of the same network.
#[derive(Clone, Debug, Default)]
pub struct Differences {
    /// Tensors of torchvision's network that the model lacks.
    pub lacks: Vec<String>,
    /// Tensors of the model that torchvision's network lacks.
    pub has: Vec<String>,
}

/// Writes the weights of a model as a state dict. `None` if torchvision has no such network.
///
/// # Errors
/// Those of [`folder::read_model`] and [`checkpoint::check`], and [`Error::Io`].
pub fn export(model: &Path, out: &Path) -> Result<Option<Differences>> {
    let (arrays, info) = folder::read_model(model)?;
    checkpoint::check(&evaluation(&info)?, false, &arrays, model)?;
    // Transformers, for one, looks for this entry.
    checkpoint::write(out, &arrays, "format", "pt".into())?;
    let arch = info.config.arch.clone().unwrap_or_default();
    if Arch::named(&arch).is_none_or(|arch| arch == Arch::Cnn) {
        return Ok(None);
    }
    let config = Recipe {
        method: Some(Method::Bp),
        partition: Some(Partition::Whole),
        cuts: None,
        freeze_until: None,
        ..info.config.clone()
    };
    let theirs = checkpoint::names(&evaluation(&ModelInfo { config, ..info })?);
    let ours: BTreeSet<String> = arrays.into_keys().collect();
    let without = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect();
    Ok(Some(Differences { lacks: without(&theirs, &ours), has: without(&ours, &theirs) }))
}
