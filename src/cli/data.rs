//! `sff data`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::app::fetch::{self, FetchOptions, Origin};
use crate::data::catalog::{ENTRIES, Entry};
use crate::data::verify::verify;
use crate::data::{self, Request, picture};
use crate::{Error, Result};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::sheet::Sheet;

#[derive(Args)]
#[command(arg_required_else_help = false, before_help = "Example: sff data list")]
pub struct Data {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the data sets, their sources and licences, and where they were found
    #[command(before_help = "Example: sff data list")]
    List(List),
    /// Download a data set and check it
    #[command(before_help = "Examples:
  sff data fetch cifar10
  sff data fetch imagenette-160 --to /mnt/datasets
  sff data fetch svhn --from https://mirror.example.org/svhn")]
    Fetch(Fetch),
    /// Check the files of a data set: checksums, content, number of images
    #[command(before_help = "Example: sff data verify cifar10")]
    Verify(Verify),
    /// Write some test images of a data set as PNG files, named INDEX-CLASS.png
    #[command(
        before_help = "Example: sff data export --dataset fashion-mnist --count 8 --out pictures"
    )]
    Export(Export),
    /// Draw training images as a run would augment them, in one PNG
    Sheet(Box<Sheet>),
}

#[derive(Args)]
struct List {
    /// Folder to look in, in place of datasets/ and /usr/share/datasets
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Fetch {
    /// Name of the data set
    name: String,
    /// Folder in which to create the data set's folder
    #[arg(long, value_name = "FOLDER", default_value = "datasets")]
    to: PathBuf,
    /// Mirror or folder with the same files [default: the publisher's address]
    #[arg(long, value_name = "URL|FOLDER")]
    from: Option<Origin>,
    /// How long to wait for an answer, and for each further part of it
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
    /// Print JSON: name, folder
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Verify {
    /// Name of the data set
    name: String,
    /// Folder with the data set's files
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Print JSON: name, folder, numbers of images, number of files whose checksums are right and of
    /// those that are compressed in another way
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Export {
    /// Name of the data set
    #[arg(long)]
    dataset: String,
    /// Folder with the data set's files
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Number of images, starting with the first
    #[arg(long, default_value_t = 8)]
    count: usize,
    /// Seed for drawn data sets, and for which photos of a folder are set apart for testing
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder to write to
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

/// A line of `sff data list`.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    classes: usize,
    /// Height, width, channels; photos have no common size.
    image: Option<[usize; 3]>,
    train: usize,
    test: usize,
    download_bytes: u64,
    /// The folder where it was found.
    found: Option<PathBuf>,
    about: &'static str,
}

impl Data {
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::List(command) => command.run(),
            Command::Fetch(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Export(command) => command.run(),
            Command::Sheet(command) => command.run(),
        }
    }
}

impl List {
    fn run(self) -> Result<()> {
        let row = |entry: &Entry| {
            let found = match data::locate(entry.name, self.data.as_deref()) {
                Ok(folder) => Some(folder),
                Err(Error::MissingData(_)) => None,
                Err(_) if entry.source.is_none() => None,
                Err(error) => return Err(error),
            };
            Ok(Row {
                name: entry.name,
                classes: entry.classes,
                image: entry.image,
                train: entry.train,
                test: entry.test,
                download_bytes: entry.source.map_or(0, |source| source.bytes()),
                found,
                about: entry.about,
            })
        };
        let rows = ENTRIES.iter().map(row).collect::<Result<Vec<_>>>()?;
        if self.json {
            return super::print_json(&rows);
        }
        let mut out = format!(
            "{:15}  {:>7}  {:7}  {:>6}  {:>6}  {:>8}  found",
            "name", "classes", "images", "train", "test", "download"
        );
        let number = |n: usize| if n == 0 { "any".to_owned() } else { n.to_string() };
        for row in rows {
            let image = row.image.map_or("photos".into(), |[h, w, c]| format!("{h}×{w}×{c}"));
            let (download, found) = match (row.download_bytes, row.found) {
                (0, _) => ("none".to_owned(), "needs no files".to_owned()),
                (bytes, Some(folder)) => (megabytes(bytes), folder.display().to_string()),
                (bytes, None) => (megabytes(bytes), "not found".to_owned()),
            };
            let found = if row.name == "folder" { "--data FOLDER".to_owned() } else { found };
            out.push_str(&format!(
                "\n{:15}  {:>7}  {image:7}  {:>6}  {:>6}  {download:>8}  {found}\n{:15}  {}",
                row.name,
                number(row.classes),
                number(row.train),
                number(row.test),
                "",
                row.about
            ));
        }
        super::print(&out)
    }
}

/// A number of bytes in MB.
fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

impl Fetch {
    fn run(self) -> Result<()> {
        let source = data::source(&self.name)?;
        let options = FetchOptions {
            origin: self.from.unwrap_or(Origin::Official),
            stall: Duration::from_secs(self.timeout),
            ..FetchOptions::default()
        };
        let mut bar = Bar { bar: ProgressBar::hidden(), quiet: self.quiet };
        let fetched = fetch::fetch(source, &self.to, &options, &mut bar);
        bar.bar.finish_and_clear();
        if self.json {
            return super::print_json(&json!({ "name": self.name, "folder": fetched? }));
        }
        let to = self.to.display();
        // `datasets` is searched without an option.
        let option = match self.to == Path::new("datasets") {
            true => String::new(),
            false => format!("; find it there with --data {to}"),
        };
        super::print(&format!("{} is in {}{option}", self.name, fetched?.display()))
    }
}

/// A download on a terminal; a line for each file elsewhere.
struct Bar {
    bar: ProgressBar,
    quiet: bool,
}

impl fetch::Progress for Bar {
    fn file(&mut self, name: &str, done: u64, bytes: u64) {
        if self.quiet {
            return;
        }
        self.bar.finish_and_clear();
        self.bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
        let style = "{prefix} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            self.bar.set_style(style);
        }
        self.bar.set_prefix(name.to_owned());
        self.bar.set_position(done);
        self.bar.reset_eta();
        if self.bar.is_hidden() {
            let from = if done > 0 { format!(", from byte {done} on") } else { String::new() };
            self.note(&format!("fetching {name} ({}){from}", megabytes(bytes)));
        }
    }

    fn at(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    fn note(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        // The download goes on even if standard error is closed.
        let _ = self.bar.suspend(|| writeln!(std::io::stderr(), "{text}"));
    }
}

impl Verify {
    fn run(self) -> Result<()> {
        let found = verify(&self.name, self.data.as_deref())?;
        if self.json {
            return super::print_json(&json!({
                "name": self.name,
                "folder": found.folder,
                "train": found.train,
                "test": found.test,
                "checksums_right": found.sums.right,
                "packed_otherwise": found.sums.repacked,
            }));
        }
        let checksums = match (found.sums.right, found.sums.repacked) {
            (0, 0) => "no checksum is known for these files".to_owned(),
            (right, 0) => format!("{right} checksums are right"),
            (right, other) => {
                format!("{right} checksums are right, {other} files are compressed in another way")
            }
        };
        let (folder, train, test) = (found.folder.display(), found.train, found.test);
        super::print(&format!(
            "{} in {folder}: {train} images to train on, {test} to test with; {checksums}",
            self.name
        ))
    }
}

impl Export {
    fn run(self) -> Result<()> {
        let (name, folder, seed) = (self.dataset, self.data, self.seed);
        let test_only = true;
        let dataset = data::load(&Request { name, folder, seed, test_only, ..Request::default() })?;
        super::tell_found(&dataset);
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
            let (height, width) = (images.height, images.width);
            picture::write(&path, &images.image(index)?, height, width, images.channels)?;
            super::print(&path.display().to_string())?;
        }
        Ok(())
    }
}
