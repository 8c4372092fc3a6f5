//! The files of a run folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::app::config::Config;
use crate::app::records::{ModelInfo, StateInfo};
use crate::base::files::read_text;
use crate::base::suggest;
use crate::data::Identity;
use crate::train::checkpoint::{self, Arrays};
use crate::train::metrics::{EpochRecord, Timing};
use crate::{Error, Result};

/// Paths in a run folder.
#[derive(Clone, Copy)]
pub(crate) struct Folder<'a>(pub &'a Path);

impl Folder<'_> {
    /// Whether it has a file that a new run would replace.
    pub fn is_used(&self) -> bool {
        [self.config(), self.metrics(), self.timing(), self.model(), self.state()]
            .iter()
            .any(|path| path.exists())
    }
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }
    pub fn timing(&self) -> PathBuf {
        self.0.join("timing.jsonl")
    }
    pub fn model(&self) -> PathBuf {
        self.0.join("model.safetensors")
    }
    pub fn report(&self) -> PathBuf {
        self.0.join("report.html")
    }
    pub fn state(&self) -> PathBuf {
        self.0.join("state.safetensors")
    }
}

/// The model file of a run.
pub fn model_path(folder: &Path) -> PathBuf {
    Folder(folder).model()
}

/// The model file of a run; an error if there is no run.
///
/// # Errors
/// As [`must_exist`].
pub fn find_model(folder: &Path) -> Result<PathBuf> {
    must_exist(folder)?;
    Ok(model_path(folder))
}

/// The configuration of a run.
///
/// # Errors
/// Those of [`must_exist`], [`Error::Io`] or [`Error::Corrupt`].
pub fn read_config(folder: &Path) -> Result<Config> {
    must_exist(folder)?;
    Config::read(&Folder(folder).config())
}

/// The records of the finished epochs of a run.
///
/// # Errors
/// [`Error::Io`] or [`Error::Corrupt`].
pub fn read_records(folder: &Path) -> Result<Vec<EpochRecord>> {
    let path = Folder(folder).metrics();
    let text = read_text(&path)?;
    let records = text.lines().map(serde_json::from_str).collect::<Result<Vec<EpochRecord>, _>>();
    records.map_err(|e| Error::corrupt(&path, e.to_string()))
}

/// Checks that there is a run in a folder.
///
/// # Errors
/// [`Error::Usage`] if there is none; it suggests a run of a similar name in the same folder.
pub fn must_exist(folder: &Path) -> Result<()> {
    if Folder(folder).is_used() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside = std::fs::read_dir(parent.unwrap_or(Path::new("."))).into_iter().flatten();
    let runs: Vec<String> = beside
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| Folder(path).is_used())
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .collect();
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let near = suggest::nearest(&name, runs.iter().map(String::as_str));
    let hint = near.map_or(String::new(), |near| {
        format!(" (did you mean {}?)", folder.with_file_name(near).display())
    });
    let shown = folder.display();
    Err(Error::usage(format!("there is no run in {shown}{hint}")))
}

/// Whether a run has the records of an epoch.
pub fn has_records(folder: &Path) -> bool {
    Folder(folder).metrics().exists()
}

/// The page of a run.
pub fn report_path(folder: &Path) -> PathBuf {
    Folder(folder).report()
}

/// The records of the run in `folder`, if it has finished all epochs of `config`.
///
/// # Errors
/// [`Error::Io`] or [`Error::Corrupt`].
pub fn finished(folder: &Path, config: &Config) -> Result<Option<Vec<EpochRecord>>> {
    let folder = Folder(folder);
    if !folder.model().exists() || !folder.metrics().exists() {
        return Ok(None);
    }
    let records = read_records(folder.0)?;
    Ok((records.len() == config.epochs as usize).then_some(records))
}

/// The images that the run in `folder` was trained and tested with, if its state file says so.
///
/// # Errors
/// As [`read_state`].
pub fn trained_on(folder: &Path) -> Result<Option<Identity>> {
    let path = Folder(folder).state();
    if !path.exists() {
        return Ok(None);
    }
    Ok(read_state(&path)?.1.data)
}

/// The known times of epochs. A resumed run writes some twice, and the later line counts. Lines that
/// cannot be read are skipped, because nothing depends on times.
pub fn read_timings(path: &Path) -> Vec<Timing> {
    let text = read_text(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Timing>(line).ok());
    let each: BTreeMap<u32, Timing> = lines.map(|timing| (timing.epoch, timing)).collect();
    each.into_values().collect()
}

/// Reads a model file: its tensors and its metadata.
///
/// # Errors
/// [`Error::Io`] or [`Error::Corrupt`].
pub fn read_model(path: &Path) -> Result<(Arrays, ModelInfo)> {
    let (arrays, info): (Arrays, ModelInfo) = checkpoint::load(path)?;
    info.sane(path)?;
    Ok((arrays, info))
}

/// Reads the state file of a run: tensors and metadata.
///
/// # Errors
/// [`Error::Io`] or [`Error::Corrupt`].
pub fn read_state(path: &Path) -> Result<(Arrays, StateInfo)> {
    let (arrays, info): (Arrays, StateInfo) = checkpoint::load(path)?;
    info.model.sane(path)?;
    Ok((arrays, info))
}
