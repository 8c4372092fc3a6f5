//! What the files of a run say of themselves, next to their tensors.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use crate::app::config::{Config, LARGEST_INPUT, Recipe};
use crate::base::suggest;
use crate::compiler::variants::Choices;
use crate::data::{Identity, Normalization};
use crate::train::metrics::EpochRecord;
use crate::train::trainer::Progress;
use crate::{Error, Result};

/// Version of our metadata; files of another one are refused.
pub(crate) const FORMAT: u32 = 1;

/// What a model file says of itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Version of this structure.
    pub format: u32,
    /// How it was trained, which says what the network is.
    pub config: Recipe,
    /// Height, width and channels of what it sees.
    pub image: [usize; 3],
    /// Names of the classes, in composed Unicode whatever the file has.
    #[serde(deserialize_with = "composed")]
    pub classes: Vec<String>,
    /// How pixels are normalised.
    pub normalization: Normalization,
}

fn composed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    Ok(names.iter().map(|name| suggest::composed(name)).collect())
}

impl ModelInfo {
    /// Checks that the file at `path` can be what it says of itself.
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

    /// Checks that the file at `path`, which says this of itself, is of the run that `config`
    /// describes.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn check(&self, config: &Config, path: &Path) -> Result<()> {
        // Options that a file does not know yet have their defaults.
        let same = |own: Config| portable(&own) == portable(config);
        if self.format == FORMAT && Config::resolve(self.config.clone()).is_ok_and(same) {
            return Ok(());
        }
        let differing = self.config.conflicts(config);
        let hint = if differing.is_empty() {
            String::new()
        } else {
            format!(" (not the same: {})", differing.join(", ").replace('_', "-"))
        };
        Err(Error::corrupt(path, format!("it is of another run than config.toml describes{hint}")))
    }
}

/// What a state file says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StateInfo {
    /// As in the model file; its normalisation also tells whether the images are the same.
    pub model: ModelInfo,
    /// Which images the run began with; files of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Identity>,
    /// Normalisation of the images where the model has that of the one it began from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Normalization>,
    /// Epoch and step that are reached.
    pub progress: Progress,
    /// The last one may lack a test that was interrupted.
    pub epochs: Vec<EpochRecord>,
    /// Bytes that it was planned for after the device had no room for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<usize>,
    /// The chosen kernels: the same bits need the same ones.
    #[serde(default, skip_serializing_if = "Choices::is_empty")]
    pub choices: Choices,
}

/// The configuration without what is true on this machine only.
pub(crate) fn portable(config: &Config) -> Recipe {
    Recipe { init: None, ..config.recipe().portable() }
}
