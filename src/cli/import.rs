//! `sff import`.

use std::path::PathBuf;

use crate::app::config::{Method, Recipe, one_of};
use crate::app::torchvision::{self, About};
use crate::data::Normalization;
use crate::net::models::Stem;
use crate::net::options::Partition;
use crate::train::checkpoint;
use crate::{Error, Result};
use clap::Args;

#[derive(Args)]
#[command(
    before_help = "Example: sff import resnet18.safetensors --arch resnet18 --out model.safetensors"
)]
pub struct Import {
    /// State dict with torchvision's names, as safetensors
    #[arg(value_name = "WEIGHTS")]
    weights: PathBuf,
    /// Network: resnet18, mobilenet-v3-small, mobilenet-v3-large, cnn
    #[arg(long)]
    arch: String,
    /// Channels of each convolution of the cnn [default: 16,32,64,64]
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    widths: Option<Vec<usize>>,
    /// The first layers [default: for resnet18 by its first convolution, else imagenet]
    #[arg(long, value_parser = one_of::<Stem>())]
    stem: Option<Stem>,
    /// How it was trained [default: sff if there are tensors aux.*, else bp]
    #[arg(long, value_parser = one_of::<Method>())]
    method: Option<Method>,
    /// What was trained together, for sff [default: block]
    #[arg(long, value_parser = one_of::<Partition>())]
    partition: Option<Partition>,
    /// The --cuts of the run that the weights are from
    #[arg(long, value_delimiter = ',', value_name = "BLOCK,…")]
    cuts: Option<Vec<String>>,
    /// The --freeze-until of the run that the weights are from
    #[arg(long, value_name = "BLOCK")]
    freeze_until: Option<String>,
    /// Side that goodness heads pool maps to; the weights do not tell [default: 0, no pooling]
    #[arg(long, value_name = "PIXELS")]
    aux_pool: Option<usize>,
    /// Side of the images, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 224)]
    image_size: usize,
    #[command(flatten)]
    names: super::ClassesArg,
    /// Mean of each channel, for pixels from 0 to 1 [default: ImageNet's]
    #[arg(long, value_delimiter = ',', value_name = "R,G,B", requires = "std")]
    mean: Option<Vec<f32>>,
    /// Standard deviation of each channel [default: ImageNet's]
    #[arg(long, value_delimiter = ',', value_name = "R,G,B", requires = "mean")]
    std: Option<Vec<f32>>,
    /// The model to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Import {
    pub fn run(self) -> Result<()> {
        let state = torchvision::read(&self.weights)?;
        let normalization = match (self.mean, self.std) {
            (Some(mean), Some(std)) => Some(Normalization { mean, std }),
            _ => None,
        };
        let recipe = Recipe {
            arch: Some(self.arch.clone()),
            widths: self.widths,
            stem: self.stem,
            method: self.method,
            partition: self.partition,
            cuts: self.cuts,
            freeze_until: self.freeze_until,
            aux_pool: self.aux_pool,
            ..Recipe::default()
        };
        let (side, classes) = (self.image_size, self.names.read()?);
        let given = normalization.is_some();
        let about = About { recipe, side, classes, normalization };
        let info = torchvision::describe(&state.arrays, &about, &self.weights)?;
        if self.out == self.weights {
            let shown = self.out.display();
            return Err(Error::usage(format!(
                "--out {shown} is the input file: choose another one"
            )));
        }
        checkpoint::save(&self.out, &state.arrays, &info)?;
        for note in &state.notes {
            super::print(note)?;
        }
        if let ([mean], [std], false) =
            (&info.normalization.mean[..], &info.normalization.std[..], given)
        {
            super::print(&format!(
                "grey images, normalised by mean {mean} and standard deviation {std}: --mean and \
                 --std set other values"
            ))?;
        }
        super::print(&format!(
            "saved {} tensors, {} for {} classes, to {}",
            state.arrays.len(),
            self.arch,
            info.classes.len(),
            self.out.display()
        ))
    }
}
