//! `sff predict`.

use std::path::{Path, PathBuf};

use crate::app::config::Config;
use crate::app::config::one_of;
use crate::app::folder;
use crate::app::inference::{Explainer, Explanation, Inference, Prediction};
use crate::app::records::ModelInfo;
use crate::data::{Images, catalog, picture};
use crate::gpu::device::Gpu;
use crate::net::models::Stem;
use crate::train::checkpoint::Arrays;
use crate::train::metrics::Vote;
use crate::{Error, Result};
use clap::Args;
use serde::Serialize;

use super::explain;

/// Images per step.
const BATCH: usize = 32;

#[derive(Args)]
#[command(before_help = "Examples:
  sff predict --run runs/first shoe.png shirt.jpg
  sff predict --run runs/first --explain why.png shoe.png
  sff predict --init model.safetensors --image-size 224 --resize 256 --top 5 dog.jpg")]
pub struct Predict {
    #[command(flatten)]
    model: super::ModelArg,
    /// Side that pictures are cropped and scaled to [default: the image size of the model]
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
    /// First scale the middle square of a picture to this side, then crop it to the image size, as
    /// torchvision does with 256 and 224 [default: the image size]
    #[arg(long, value_name = "PIXELS")]
    resize: Option<usize>,
    #[command(flatten)]
    names: super::ClassesArg,
    /// Which blocks vote
    #[arg(long, default_value = "all", value_parser = one_of::<Vote>())]
    vote: Vote,
    /// Show the N most likely classes, at most 5
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=5))]
    top: u8,
    /// Print JSON: file, class, label, probability, the five most likely classes, goodness per block
    /// and class, logits; pictures that cannot be read come last, with file and error
    #[arg(long)]
    json: bool,
    /// Also show where goodness comes from: a PNG file for a single picture, or a folder for one PNG
    /// per picture. Beside the picture are its squared class maps in each block, with a row for each
    /// of the --top classes, at least two
    #[arg(long, value_name = "FILE.png|FOLDER")]
    explain: Option<PathBuf>,
    #[command(flatten)]
    precision: super::PrecisionArg,
    #[command(flatten)]
    device: super::DeviceArg,
    /// Pictures of any size: PNG, JPEG, WebP, BMP, GIF, PNM, TIFF
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
}

/// One element of what `--json` prints.
#[derive(Serialize)]
#[serde(untagged)]
enum Report {
    Answer {
        file: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        explained: Option<String>,
        #[serde(flatten)]
        prediction: Prediction,
    },
    Unreadable {
        file: String,
        error: String,
    },
}

/// A prediction, and its explanation: the path of the drawing, and a table.
struct Answer {
    prediction: Prediction,
    explained: Option<(PathBuf, String)>,
}

impl Predict {
    pub fn run(self) -> Result<()> {
        let model = self.model.path()?;
        let (arrays, info) = folder::read_model(&model)?;
        let info = self.adapt(info, &model)?;
        let [height, width, channels] = info.image;
        let photos = catalog::entry(info.config.dataset.as_deref().unwrap_or_default())
            .is_some_and(|entry| entry.photos());
        // A network that was trained on photos gets them cropped as in its evaluation.
        let read = |path: &PathBuf| match self.resize {
            Some(side) => cropped(path, info.image, side),
            None if photos => picture::photo(path, picture::Fit::evaluating(height as u32)),
            None => picture::read(path, height, width, channels),
        };
        let (mut pixels, mut pictures, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for path in &self.pictures {
            match read(path) {
                Ok(picture) => {
                    pixels.extend(picture);
                    pictures.push(path.clone());
                }
                Err(error @ Error::Usage(_)) => return Err(error),
                Err(error) => unreadable.push((path, error)),
            }
        }
        let failed = |mut unreadable: Vec<(&PathBuf, Error)>| {
            // The command ends with the last error; the others are only printed.
            let last = unreadable.pop();
            unreadable
                .iter()
                .for_each(|(_, error)| super::note(&format!("error: {}", super::worded(error))));
            last.map_or(Ok(()), |(_, error)| Err(error))
        };
        if pictures.is_empty() {
            return failed(unreadable);
        }
        let labels = vec![0; pictures.len()];
        let images = Images::in_memory([height, width, channels], pixels, labels);
        let gpu = self.device.open()?;
        let answers = match &self.explain {
            Some(target) => {
                let files = explain::targets(target, &pictures)?;
                self.explain(&gpu, (&model, &arrays, &info), &images, files)?
            }
            None => {
                let mut inference =
                    Inference::of_model(&gpu, &model, (&arrays, &info), &images, BATCH)?;
                let predictions = inference.predict(self.vote)?.into_iter();
                predictions.map(|prediction| Answer { prediction, explained: None }).collect()
            }
        };
        if self.json {
            let answered = pictures.iter().zip(answers).map(|(path, answer)| Report::Answer {
                file: path.display().to_string(),
                explained: answer.explained.map(|(path, _)| path.display().to_string()),
                prediction: answer.prediction,
            });
            let others = unreadable.iter().map(|(path, error)| Report::Unreadable {
                file: path.display().to_string(),
                error: super::worded(error),
            });
            super::print_json(&answered.chain(others).collect::<Vec<_>>())?;
            return failed(unreadable);
        }
        let width = pictures.iter().map(|p| p.display().to_string().len()).max().unwrap_or(0);
        for (path, answer) in pictures.iter().zip(answers) {
            let guesses = answer.prediction.top.iter().take(self.top.into());
            let guesses =
                guesses.map(|g| format!("{}  {}", g.label, super::percent(g.probability)));
            let guesses: Vec<_> = guesses.collect();
            super::print(&format!(
                "{:width$}  {}",
                path.display().to_string(),
                guesses.join("  ")
            ))?;
            if let Some((path, table)) = answer.explained {
                super::print(&format!("{table}\n  drawn in {}", path.display()))?;
            }
        }
        failed(unreadable)
    }

    /// Predictions with drawings and tables.
    fn explain(
        &self,
        gpu: &Gpu,
        (model, arrays, info): (&Path, &Arrays, &ModelInfo),
        images: &Images,
        files: Vec<PathBuf>,
    ) -> Result<Vec<Answer>> {
        let mut explainer = Explainer::new(gpu, model, (arrays, info), images)?;
        let explanations = explainer.explain(info, self.vote)?;
        let answer = |(at, (of, file)): (usize, (Explanation, PathBuf))| {
            let top = of.prediction.top.iter().take(usize::from(self.top).max(2));
            let classes: Vec<usize> = top.map(|guess| guess.class).collect();
            explain::draw(&file, images, at, &of, &classes)?;
            let table = explain::table(&of, explainer.blocks(), &classes, &info.classes);
            Ok(Answer { prediction: of.prediction, explained: Some((file, table)) })
        };
        explanations.into_iter().zip(files).enumerate().map(answer).collect()
    }

    /// The model with the precision, image size and class names from the command line.
    fn adapt(&self, mut info: ModelInfo, model: &Path) -> Result<ModelInfo> {
        self.precision.choose(&mut info);
        if let Some(side) = self.image_size {
            let config = Config::resolve(info.config.clone())?;
            // Keep the network's stem, which would otherwise depend on the image size.
            info.config.stem = config.stem.or(Some(Stem::for_side(info.image[0])));
            info.image = [side, side, info.image[2]];
            info.sane(model).map_err(|_| {
                Error::usage(format!("--image-size must be from 1 to 4096, not {side}"))
            })?;
        }
        if let Some(names) = self.names.read()? {
            if names.len() != info.classes.len() {
                return Err(Error::usage(format!(
                    "{} has {} classes, but {} names are given",
                    model.display(),
                    info.classes.len(),
                    names.len()
                )));
            }
            info.classes = names;
        }
        Ok(info)
    }
}

/// The middle of a picture whose middle square was scaled to `side`.
fn cropped(path: &Path, [height, width, channels]: [usize; 3], side: usize) -> Result<Vec<u8>> {
    if side < height.max(width) {
        return Err(Error::usage(format!(
            "--resize must be at least the image size of {height}×{width}, not {side}"
        )));
    }
    let square = picture::read(path, side, side, channels)?;
    let (top, left) = ((side - height) / 2, (side - width) / 2);
    let row = |row: usize| &square[((top + row) * side + left) * channels..][..width * channels];
    Ok((0..height).flat_map(row).copied().collect())
}
