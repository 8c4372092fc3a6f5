//! What a model file holds: its tensors by block, how it was trained, and its accuracy.

use std::path::Path;

use serde::Serialize;

use crate::app::config::{Config, Recipe};
use crate::app::folder;
use crate::app::inference;
use crate::app::records::ModelInfo;
use crate::compiler::program::Feed;
use crate::train::checkpoint;
use crate::train::metrics::Scores;
use crate::{Error, Result};

/// A description of a model.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Inspection {
    /// The file.
    pub file: String,
    /// Height, width and channels of the network's input.
    pub image: [usize; 3],
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The blocks, in order.
    pub blocks: Vec<BlockInfo>,
    /// Number of trainable values in all blocks.
    pub parameters: usize,
    /// Number of trainable values in heads.
    pub head_parameters: usize,
    /// The options of its training.
    pub config: Recipe,
    /// The last test of its run, if the run's records are beside the file.
    pub reached: Option<Reached>,
}

/// A block of a model.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct BlockInfo {
    /// Its name.
    pub name: String,
    /// Number of trainable values.
    pub parameters: usize,
    /// Its tensors, those of the head last.
    pub tensors: Vec<TensorInfo>,
}

/// A tensor of a model.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its shape in the file.
    pub shape: Vec<usize>,
    /// Whether it belongs to a head.
    pub head: bool,
    /// Whether it is a running statistic of batch norm.
    pub statistic: bool,
}

/// The state of a run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Reached {
    /// Number of finished epochs.
    pub epochs: u32,
    /// The last test.
    pub test: Scores,
}

/// Reads a model file, and the `metrics.jsonl` beside it if there is one.
///
/// # Errors
/// [`Error::Io`], [`Error::Corrupt`] or [`Error::Weights`] if the file is not a valid model.
pub fn inspect(path: &Path) -> Result<Inspection> {
    let (arrays, info) = folder::read_model(path)?;
    let [h, w, _] = info.image;
    let built = inference::program(&info, Feed { batch: 1, resident: 1, stored: [h, w] })?;
    checkpoint::check(&built, false, &arrays, path)?;
    let statistic = |name: &str| built.running.keys().find(|norm| belongs(name, norm));
    // Statistics belong to the block of their batch norm.
    let block_of = |name: &str| {
        let parameter = statistic(name).map_or(name.to_owned(), |norm| format!("{norm}.weight"));
        built.parameters.get(&parameter).map(|parameter| parameter.block)
    };
    let blocks: Vec<BlockInfo> = built
        .blocks
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let own = arrays.iter().filter(|(name, _)| block_of(name) == Some(index));
            let mut tensors: Vec<TensorInfo> = own
                .map(|(name, array)| TensorInfo {
                    name: name.clone(),
                    shape: array.shape.clone(),
                    head: checkpoint::is_head(name),
                    statistic: statistic(name).is_some(),
                })
                .collect();
            tensors.sort_by_key(|tensor| tensor.head);
            BlockInfo { name: name.clone(), parameters: count(&tensors, |_| true), tensors }
        })
        .collect();
    let all = |which: fn(&TensorInfo) -> bool| {
        blocks.iter().map(|block| count(&block.tensors, which)).sum()
    };
    Ok(Inspection {
        file: path.display().to_string(),
        image: info.image,
        classes: info.classes.clone(),
        parameters: all(|_| true),
        head_parameters: all(|tensor| tensor.head),
        reached: reached(path, &info, blocks.len())?,
        config: info.config,
        blocks,
    })
}

fn belongs(name: &str, norm: &str) -> bool {
    name.strip_prefix(norm).is_some_and(|rest| rest.starts_with(".running_"))
}

fn count(tensors: &[TensorInfo], which: impl Fn(&TensorInfo) -> bool) -> usize {
    let counted = tensors.iter().filter(|tensor| !tensor.statistic && which(tensor));
    counted.map(|tensor| tensor.shape.iter().product::<usize>()).sum()
}

/// The last test of the run in whose folder the model is; `None` if the model is not the run's own.
fn reached(path: &Path, info: &ModelInfo, blocks: usize) -> Result<Option<Reached>> {
    let folder = path.parent().unwrap_or(Path::new(""));
    if folder::model_path(folder) != path || !folder::has_records(folder) {
        return Ok(None);
    }
    let config = folder::read_config(folder)?;
    info.check(&config, path)?;
    let records = folder::read_records(folder)?;
    let Some(epochs) = records.last().map(|record| record.epoch) else { return Ok(None) };
    let Some(test) = records.into_iter().rev().find_map(|record| record.test) else {
        return Ok(None);
    };
    if test.blocks.len() != blocks || test.losses.len() != blocks {
        let problem = format!("metrics.jsonl has {} blocks, not {blocks}", test.blocks.len());
        return Err(Error::corrupt(folder, problem));
    }
    Ok(Some(Reached { epochs, test }))
}

impl Inspection {
    /// All options of its training with their values, as TOML.
    ///
    /// # Errors
    /// Those of [`Config::resolve`] and [`Config::to_toml`].
    pub fn options(&self) -> Result<String> {
        Config::resolve(self.config.clone())?.to_toml()
    }
}
