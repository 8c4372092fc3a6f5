//! Beginning from the weights of another model.

use crate::app::config::{Config, Recipe, Start};
use crate::app::folder::read_model;
use crate::base::files::md5;
use crate::data::{Dataset, Normalization};
use crate::net::layers::Network;
use crate::net::models::Stem;
use crate::train::checkpoint::{Arrays, foreign};
use crate::{Error, Result};

/// Completes a recipe from the model that it begins from, if there is one: architecture, widths and
/// stem, unless the recipe gives them.
///
/// # Errors
/// [`Error::Io`] or [`Error::Corrupt`] if it cannot be read, [`Error::Usage`] if it is not the
/// file that the recipe was made with.
pub fn inherit(recipe: Recipe) -> Result<Recipe> {
    let Some(Start { path, checksum: expected }) = recipe.init.clone() else { return Ok(recipe) };
    foreign::no_folder(&path)?;
    let found = md5(&path)?;
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(Error::usage(format!(
            "{} is not the file that this recipe began from (checksum {found}, not {expected}); give another one with --init",
            path.display()
        )));
    }
    let (_, info) = read_model(&path)?;
    let model = Config::resolve(info.config)?;
    let init = Some(Start { path, checksum: Some(found) });
    if recipe.arch.as_ref().is_some_and(|arch| *arch != model.arch) {
        // `Begin::read` refuses a model of another architecture.
        return Ok(Recipe { init, ..recipe });
    }
    let stem = recipe.stem.or(Some(model.stem.unwrap_or(Stem::for_side(info.image[0]))));
    let cnn = model.arch == "cnn";
    Ok(Recipe {
        init,
        widths: recipe.widths.or(cnn.then_some(model.widths)),
        stem: stem.filter(|_| !cnn),
        arch: Some(model.arch),
        ..recipe
    })
}

/// The model that a run begins from.
pub struct Begin<'a> {
    pub start: &'a Start,
    pub arrays: Arrays,
    pub normalization: Normalization,
    /// Whether its heads fit: the network has the same classes, blocks and kind of head.
    pub heads: bool,
}

impl<'a> Begin<'a> {
    /// Reads the model, and checks it against the network and the images.
    ///
    /// # Errors
    /// Those of [`inherit`], and [`Error::Usage`] for another architecture or number of channels.
    pub fn read(
        start: &'a Start,
        config: &Config,
        network: &Network,
        data: &Dataset,
    ) -> Result<Self> {
        inherit(Recipe { init: Some(start.clone()), ..Recipe::default() })?;
        let (arrays, info) = read_model(&start.path)?;
        let channels = data.train.channels;
        if info.image[2] != channels {
            return Err(Error::usage(format!(
                "{} takes images of {} channels, but {} has {channels}",
                start.path.display(),
                info.image[2],
                data.name
            )));
        }
        let model = Config::resolve(info.config)?;
        if model.arch != config.arch {
            return Err(Error::usage(format!(
                "{} is a {}, not a {}: leave --arch out, or choose another --init",
                start.path.display(),
                model.arch,
                config.arch
            )));
        }
        let theirs = model.network(info.classes.len(), info.image[0]);
        let names = |network: &Network| -> Vec<String> {
            network.blocks.iter().map(|block| block.name.clone()).collect()
        };
        let same_blocks = theirs.head == network.head && names(&theirs) == names(network);
        let heads = same_blocks && info.classes == data.classes;
        Ok(Self { start, arrays, normalization: info.normalization, heads })
    }
}
