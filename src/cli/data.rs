//! `sff data`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sff::data::{self, Request, picture};
use sff::{Error, Result};

use super::sheet::Sheet;

#[derive(Args)]
#[command(arg_required_else_help = false)]
pub struct Data {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write some test images of a data set as PNG files, named INDEX-CLASS.png
    #[command(
        after_help = "Example: sff data export --dataset fashion-mnist --count 8 --out pictures"
    )]
    Export(Export),
    /// Draw a sheet of training images as a run would change them, as a PNG
    Sheet(Box<Sheet>),
}

#[derive(Args)]
struct Export {
    /// Name of the data set
    #[arg(long)]
    dataset: String,
    /// Folder with the data set's files
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// How many images, from the first one on
    #[arg(long, default_value_t = 8)]
    count: usize,
    /// Folder to write to
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

impl Data {
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Export(export) => export.run(),
            Command::Sheet(sheet) => sheet.run(),
        }
    }
}

impl Export {
    fn run(self) -> Result<()> {
        let request =
            Request { name: self.dataset, folder: self.data, train_limit: Some(1), seed: 0 };
        let dataset = data::load(&request)?;
        std::fs::create_dir_all(&self.out).map_err(Error::io("create", &self.out))?;
        let images = &dataset.test;
        for index in 0..self.count.min(images.len()) {
            let class = &dataset.classes[images.labels[index] as usize];
            let class: String = class
                .to_lowercase()
                .chars()
                .map(|c| if c.is_alphanumeric() { c } else { '-' })
                .collect();
            let path = self.out.join(format!("{index:05}-{class}.png"));
            picture::write(
                &path,
                images.image(index),
                images.height,
                images.width,
                images.channels,
            )?;
            super::print(&path.display().to_string())?;
        }
        Ok(())
    }
}
