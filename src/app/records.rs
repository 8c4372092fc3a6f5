//! The metadata of model and state files.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use crate::app::config::{Config, LARGEST_INPUT, Recipe};
use crate::base::suggest;
use crate::compiler::variants::Choices;
use crate::data::{Identity, Normalization};
use crate::train::metrics::EpochRecord;
use crate::train::trainer::Progress;
use crate::{Error, Result};

/// Version of the metadata; files of another version are refused.
pub(crate) const FORMAT: u32 = 1;

/// The metadata of a model file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Version of this structure.
    pub format: u32,
    /// The options of its training, which also define the network.
    pub config: Recipe,
    /// Height, width and channels of the network's input.
    pub image: [usize; 3],
    /// Names of the classes, in composed Unicode even if the file has decomposed names.
    #[serde(deserialize_with = "composed")]
    pub classes: Vec<String>,
    /// Mean and standard deviation by which pixels are normalised.
    pub normalization: Normalization,
}

fn composed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    Ok(names.iter().map(|name| suggest::composed(name)).collect())
}

impl ModelInfo {
    /// Checks that the metadata of the file at `path` is valid.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn sane(&self, path: &Path) -> Result<()> {
        let [h, w, c] = self.image;
        let classes = self.classes.len();
        let sides = [h, w].iter().all(|side| (1..=LARGEST_INPUT).contains(side));
        if self.format == FORMAT && sides && matches!(c, 1 | 3) && classes >= 2 {
            return Ok(());
        }
        let problem = format!(
            "its metadata (format {}, {h}×{w}×{c} images, {classes} classes) is not of this version of sff",
            self.format
        );
        Err(Error::corrupt(path, problem))
    }

    /// Checks that the file at `path`, which has this metadata, is of the run that `config` describes.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn check(&self, config: &Config, path: &Path) -> Result<()> {
        // Options that are missing in an older file have their defaults.
        let same = |own: Config| portable(&own) == portable(config);
        if self.format == FORMAT && Config::resolve(self.config.clone()).is_ok_and(same) {
            return Ok(());
        }
        let differing = self.config.conflicts(config);
        let hint = if differing.is_empty() {
            String::new()
        } else {
            format!(" (different: {})", differing.join(", ").replace('_', "-"))
        };
        Err(Error::corrupt(path, format!("it is of another run than config.toml describes{hint}")))
    }
}

/// The metadata of a state file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StateInfo {
    /// As in the model file. A resumed run compares its normalisation with that of the images.
    pub model: ModelInfo,
    /// The images that the run began with; missing in files of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Identity>,
    /// Normalisation of the images, if the model keeps that of the model that it began from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Normalization>,
    /// The epoch and step of this state.
    pub progress: Progress,
    /// Records of the epochs; the last one has no test if that was interrupted.
    pub epochs: Vec<EpochRecord>,
    /// The memory budget in bytes after the device ran out of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<usize>,
    /// The chosen kernels; a resumed run needs the same ones for the same bits.
    #[serde(default, skip_serializing_if = "Choices::is_empty")]
    pub choices: Choices,
}

/// The configuration without options that hold for this machine only.
pub(crate) fn portable(config: &Config) -> Recipe {
    Recipe { init: None, ..config.recipe().portable() }
}
