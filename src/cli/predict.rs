//! `sff predict`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use sff::data::{Images, catalog, picture};
use sff::infer::{Inference, Prediction};
use sff::metrics::Vote;
use sff::{Result, run};

/// Images per step.
const BATCH: usize = 32;

#[derive(Args)]
#[command(after_help = "Example: sff predict --run runs/first shoe.png shirt.jpg")]
pub struct Predict {
    /// Run folder
    #[arg(long, value_name = "FOLDER")]
    run: PathBuf,
    /// Which blocks decide
    #[arg(long, value_enum, default_value_t)]
    vote: Vote,
    /// Print JSON: file, class, label, probability, goodness per block and class, logits
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: super::DeviceArg,
    /// Pictures of any size: PNG, JPEG, WebP, BMP, GIF, PNM, TIFF
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
}

/// One element of what `--json` prints.
#[derive(Serialize)]
struct Report {
    file: String,
    #[serde(flatten)]
    prediction: Prediction,
}

impl Predict {
    pub fn run(self) -> Result<()> {
        let model = run::model_path(&self.run);
        let (_, info) = run::read_model(&model)?;
        let [height, width, channels] = info.image;
        let mut pixels = Vec::new();
        let photos = catalog::entry(info.config.dataset.as_deref().unwrap_or_default())
            .is_some_and(|entry| entry.photos());
        for path in &self.pictures {
            // A network that learned from photos sees them as it did then.
            pixels.extend(match photos {
                true => picture::photo(path, picture::Fit::evaluating(height as u32))?,
                false => picture::read(path, height, width, channels)?,
            });
        }
        let labels = vec![0; self.pictures.len()];
        let images = Images::in_memory([height, width, channels], pixels, labels);
        let gpu = self.device.open()?;
        let mut inference = Inference::new(&gpu, &model, &images, BATCH)?;
        let predictions = inference.predict(&info, self.vote)?;
        if self.json {
            let reports: Vec<_> = self
                .pictures
                .into_iter()
                .zip(predictions)
                .map(|(path, prediction)| Report { file: path.display().to_string(), prediction })
                .collect();
            return super::print_json(&reports);
        }
        let width = self.pictures.iter().map(|p| p.display().to_string().len()).max().unwrap_or(0);
        for (path, p) in self.pictures.iter().zip(predictions) {
            let file = path.display().to_string();
            super::print(&format!(
                "{file:width$}  {}  {}",
                p.label,
                super::percent(p.probability)
            ))?;
        }
        Ok(())
    }
}
