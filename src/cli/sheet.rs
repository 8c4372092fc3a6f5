//! `sff data sheet`.

use std::path::PathBuf;

use crate::app::config::{Config, Recipe};
use crate::base::random::{Rng, Stream};
use crate::base::shape::Shape;
use crate::data::{self, Normalization, picture};
use crate::gpu::session::{Session, SessionOptions};
use crate::net::augment::Sample;
use crate::net::layers::{Head, Network};
use crate::net::models;
use crate::net::options::Partition;
use crate::train::feeder::{self, Feeder, StepValues};
use crate::train::trainer;
use crate::{Error, Result};
use clap::Args;

#[derive(Args)]
#[command(
    before_help = "Example: sff data sheet --dataset cifar10 --crop 4 --flip --cutout 8 --out sheet.png"
)]
pub struct Sheet {
    #[command(flatten)]
    recipe: Recipe,
    /// Number of training images, starting with the first; one row each
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = few())]
    count: u32,
    /// Number of epochs, starting with the first; one column each, after a column with the image itself
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = few())]
    columns: u32,
    /// The PNG to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    device: super::DeviceArg,
}

fn few() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=100)
}

impl Sheet {
    pub fn run(self) -> Result<()> {
        let config = Config::resolve(self.recipe)?;
        let dataset = data::load(&config.request())?;
        super::tell_found(&dataset);
        let training = config.training();
        let image = trainer::image(&training, &dataset);
        training.augment.check_for([image.h, image.w])?;
        let count = dataset.train.len().min(self.count as usize);
        // Only the first op of a step runs, which augments the images, so the network is the smallest.
        let head = Head::goodness(1);
        let blocks = models::cnn(&[1], Partition::Whole);
        let network = Network { blocks, head, classes: dataset.classes.len() };
        let gpu = self.device.open()?;
        let normalization = dataset.normalization()?;
        let mut demand = trainer::demand(&network, &training, gpu.limits(), &dataset);
        demand.setup.normalize = feeder::normalize(&normalization, image.c)?;
        let built = demand.build(count, 1, false)?;
        let missing = || Error::Model("the program has no routine to train".into());
        let routine = built.train.ok_or_else(missing)?;
        let mut session = Session::new(&gpu, built.program, SessionOptions::default())?;
        let feeder = Feeder::new(&session, &routine, &dataset.train)?;
        let mut sheet = Tiles::new(image, count, self.columns as usize + 1);
        for column in 0..=self.columns {
            let sample = |index: u32| match column.checked_sub(1) {
                None => Sample::plain(index, feeder.sizes()),
                Some(epoch) => {
                    let (epoch, key) = (epoch.into(), index.into());
                    let mut rng = Rng::new(config.seed, Stream::Augment, epoch, key);
                    training.augment.draw(index, feeder.sizes(), &mut rng)
                }
            };
            let samples: Vec<Sample> = (0..count as u32).chain([0]).map(sample).collect();
            feeder.bring(&session, &samples[..feeder.reads()], StepValues::default())?;
            session.run(routine.ops.start..routine.ops.start + 1, None)?;
            sheet.put(column as usize, &session.read(routine.x)?, &normalization);
        }
        picture::write(&self.out, &sheet.pixels, sheet.height, sheet.width, image.c)?;
        super::print(&self.out.display().to_string())
    }
}

/// Pictures side by side, with black lines between them.
struct Tiles {
    pixels: Vec<u8>,
    height: usize,
    width: usize,
    image: Shape,
}

impl Tiles {
    fn new(image: Shape, rows: usize, columns: usize) -> Self {
        let (height, width) = (rows * (image.h + 1) - 1, columns * (image.w + 1) - 1);
        Self { pixels: vec![0; height * width * image.c], height, width, image }
    }

    /// Fills a column with normalised images.
    fn put(&mut self, column: usize, images: &[f32], normalization: &Normalization) {
        let Shape { h, w, c, .. } = self.image;
        for (at, value) in images.iter().enumerate() {
            let (channel, x, y) = (at % c, at / c % w, at / (c * w));
            let value = value * normalization.std[channel] + normalization.mean[channel];
            let (row, column) = (y / h * (h + 1) + y % h, column * (w + 1) + x);
            // The conversion clamps to 0 and 255.
            self.pixels[(row * self.width + column) * c + channel] = (value * 255.0).round() as u8;
        }
    }
}
