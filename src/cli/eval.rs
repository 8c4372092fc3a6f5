//! `sff eval`.

use std::path::{Path, PathBuf};

use crate::app::config::Config;
use crate::app::folder;
use crate::app::inference::Inference;
use crate::data;
use crate::data::{Dataset, Identity, Request, catalog};
use crate::gpu::device::Gpu;
use crate::train::metrics::{Scores, Votes};
use crate::train::trainer;
use crate::{Error, Result};
use clap::Args;
use serde::Serialize;

#[derive(Args)]
#[command(before_help = "Example: sff eval --run runs/first --json")]
pub struct Eval {
    /// Run folder
    #[arg(long, value_name = "FOLDER")]
    run: PathBuf,
    /// Folder with the data set's files; with photos, those in its folder for testing are measured, or
    /// all if it has none [default: as in training]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Images per step [default: as in training]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Print JSON: accuracies as fractions, the mean loss, the number of images
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    precision: super::PrecisionArg,
    #[command(flatten)]
    device: super::DeviceArg,
}

/// What `--json` prints.
#[derive(Serialize)]
pub struct Evaluation {
    accuracy: Votes,
    blocks: Vec<f64>,
    loss: f64,
    images: u64,
}

impl From<Scores> for Evaluation {
    fn from(Scores { accuracy, blocks, loss, images, .. }: Scores) -> Self {
        Self { accuracy, blocks, loss, images }
    }
}

impl Eval {
    pub fn run(self) -> Result<()> {
        let config = folder::read_config(&self.run)?;
        let model = folder::model_path(&self.run);
        let (arrays, mut info) = folder::read_model(&model)?;
        info.check(&config, &model)?;
        self.precision.choose(&mut info);
        if self.batch == Some(0) {
            return Err(Error::usage("--batch must be at least 1"));
        }
        let dataset = self.images(&config, &info.classes)?;
        super::tell_found(&dataset);
        if dataset.classes != info.classes {
            return Err(Error::corrupt(
                &model,
                format!("its classes are not those of {}", dataset.name),
            ));
        }
        let gpu = self.device.open()?;
        let batch = self.batch.unwrap_or_else(|| trained_batch(&config, &dataset, &gpu));
        let read = (&arrays, &info);
        let scores = Inference::of_model(&gpu, &model, read, &dataset.test, batch)?.evaluate()?;
        if self.json {
            return super::print_json(&Evaluation::from(scores));
        }
        let network = config.network(dataset.classes.len(), info.image[0]);
        let names: Vec<_> = network.blocks.into_iter().map(|b| b.name).collect();
        super::print(&super::progress::table(&scores, &names))
    }

    /// The images to measure on: the test images of the run or, if another folder of photos is given,
    /// the photos in it.
    fn images(&self, config: &Config, classes: &[String]) -> Result<Dataset> {
        let trained = config.request();
        let photos = catalog::entry(&config.dataset).is_some_and(catalog::Entry::photos);
        let real = |path: &Path| path.canonicalize().ok();
        let other = match (&self.data, &trained.folder) {
            (Some(given), Some(trained)) => real(given) != real(trained),
            (given, _) => given.is_some(),
        };
        let folder = self.data.clone().or(trained.folder.clone());
        let request = Request { folder, test_only: true, ..trained };
        if !(photos && other) {
            return data::load(&request);
        }
        let whole = data::load(&Request {
            measured: Some(classes.to_vec()),
            test_limit: None,
            ..request.clone()
        })?;
        // The folder may be that of training, moved. Then most of its images were trained on, and only
        // the test images are measured.
        if let (true, Some(identity)) = (whole.found.whole, folder::trained_on(&self.run)?)
            // A folder with fewer photos than the run had is another one: no need to decode it again.
            && whole.test.len() >= identity.images()
            && let Ok(again) = data::load(&Request { test_only: false, ..request })
            && identity.difference(&Identity::of(&again)?).is_none()
        {
            return Ok(again);
        }
        Ok(whole)
    }
}

/// Images at a time when training evaluates: the same batches give the same bits as the scores in
/// `metrics.jsonl`.
fn trained_batch(config: &Config, dataset: &Dataset, gpu: &Gpu) -> usize {
    if config.memory.is_none() {
        return config.training().batch;
    }
    let image = config.image(dataset);
    let network = config.network(dataset.classes.len(), image.h);
    let demand = trainer::demand(&network, &config.training(), gpu.limits(), dataset);
    let eval = demand.program(config.training().batch).ok().and_then(|built| built.eval);
    // If training does not fit this device, one image at a time may.
    eval.map_or(1, |routine| routine.batch)
}
