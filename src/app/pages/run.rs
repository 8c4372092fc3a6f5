//! A run as a page: one self-contained HTML file.

use maud::{Markup, html};

use super::parts::{count, facts, note, page, percent, section, size};
use super::{classes, curves, memory, pictures, times};
use crate::Result;
use crate::app::config::{Config, Method};
use crate::app::profile::Profile;
use crate::base::shape::Shape;
use crate::data::Dataset;
use crate::gpu::adapter::Adapter;
use crate::gpu::device::Gpu;
use crate::train::detail::Detail;
use crate::train::metrics::{EpochRecord, Timing};
use crate::train::trainer::Trainer;

/// The parts of a run's page that do not change from epoch to epoch.
pub struct RunPage<'a> {
    config: &'a Config,
    dataset: &'a Dataset,
    device: Adapter,
    blocks: Vec<String>,
    /// Position in epochs and learning rate, at some of the steps.
    rates: Vec<(f64, f64)>,
    memory: Markup,
    parameters: usize,
    planned: usize,
    toml: String,
}

/// The results up to an epoch.
pub struct SoFar<'a> {
    /// The records of the epochs.
    pub records: &'a [EpochRecord],
    /// Times of the epochs for which they are known, each epoch once.
    pub timings: &'a [Timing],
    /// The epoch and the details of the last evaluation.
    pub detail: Option<&'a (u32, Detail)>,
    /// Shape and values of the weight of the convolution that reads the images, if there is one.
    pub filters: Option<(Shape, Vec<f32>)>,
    /// The profile of a step, after the last epoch.
    pub profile: Option<Result<Profile>>,
}

impl<'a> RunPage<'a> {
    /// Collects the fixed parts, and plans the same training by backpropagation.
    ///
    /// # Errors
    /// Those of planning.
    pub fn new(
        gpu: &Gpu,
        config: &'a Config,
        dataset: &'a Dataset,
        trainer: &Trainer,
    ) -> Result<Self> {
        let built = trainer.built();
        let values = built.parameters.values();
        let steps = trainer.steps_per_epoch().max(1) as u64;
        let all = u64::from(config.epochs) * steps;
        let rates = (0..=POINTS.min(all))
            .map(|i| i * all / POINTS.min(all))
            .map(|step| (step as f64 / steps as f64, f64::from(trainer.learning_rate(step))))
            .collect();
        Ok(Self {
            config,
            dataset,
            device: gpu.adapter.clone(),
            blocks: built.blocks.clone(),
            rates,
            memory: memory::section(config, trainer)?,
            parameters: values.map(|p| built.program.tensor(p.value).shape.elements()).sum(),
            planned: trainer.session().plan().bytes,
            toml: config.to_toml()?,
        })
    }

    /// The page as HTML.
    ///
    /// # Errors
    /// Those of reading the photos that it shows.
    pub fn page(&self, so_far: &SoFar) -> Result<String> {
        let Config { arch, dataset, method, epochs, .. } = self.config;
        let what = match method {
            Method::Sff => {
                format!("SFF by {}", format!("{:?}", self.config.partition).to_lowercase())
            }
            Method::Bp => "backpropagation".to_owned(),
        };
        let intro = format!(
            "{} of {epochs} epochs, {} in {}",
            so_far.records.len(),
            count(self.parameters, "parameter"),
            count(self.blocks.len(), "block")
        );
        let evaluated = so_far.detail.map(|(epoch, detail)| self.evaluated(*epoch, detail));
        let filters = so_far.filters.as_ref();
        let filters = filters.map(|(shape, weights)| pictures::filters(*shape, weights));
        let (evaluated, filters) = (evaluated.transpose()?, filters.transpose()?);
        let body = html! {
            (figures(&self.figures(so_far)))
            (section("Curves", &curves::section(&self.blocks, so_far, &self.rates)))
            @if let Some(evaluated) = evaluated { (evaluated) }
            @if let Some(filters) = filters { (section("First layer", &filters)) }
            (section("Memory", &self.memory))
            @if let Some(profile) = &so_far.profile {
                (section("Where the time of a step goes", &times::section(profile)))
            }
            (section("Configuration", &html! { pre tabindex="0" { (self.toml) } }))
            (section("Device and versions", &self.versions()))
        };
        Ok(page(&format!("{arch} on {dataset}, {what}"), &note(&intro), &body))
    }

    /// The sections about the last evaluation, which was after `epoch`.
    fn evaluated(&self, epoch: u32, detail: &Detail) -> Result<Markup> {
        let (title, what) = match self.config.method {
            Method::Sff => ("Goodness", "goodness"),
            Method::Bp => ("Scores", "score"),
        };
        let after = note(&format!("On the test images, after epoch {epoch}."));
        let classes = classes::confusion(detail, &self.dataset.classes);
        let spreads = classes::spreads(detail, &self.blocks, what);
        let mistakes = pictures::mistakes(self.dataset, &detail.worst)?;
        let worst = html! {
            (after)
            p {
                "The images with the largest difference between the mean " (what) " of the class they "
                "are taken for and that of their own class."
            }
            (mistakes)
        };
        Ok(html! {
            (section("Classes", &html! { (after) (classes) }))
            (section(title, &html! { (after) (spreads) }))
            @if !detail.worst.is_empty() { (section("Worst mistakes", &worst)) }
        })
    }

    /// The most important numbers.
    fn figures(&self, so_far: &SoFar) -> Vec<(&'static str, String)> {
        let mut figures = Vec::new();
        let tested = so_far.records.iter().rev().find_map(|record| record.test.as_ref());
        if let Some(test) = tested {
            let votes = test.accuracy;
            let shown = [
                ("test accuracy, vote of all", votes.all),
                ("of the later half", votes.late),
                ("of the last block", votes.last),
            ];
            match self.blocks.len() {
                1 => figures.push(("test accuracy", percent(votes.all, 2))),
                _ => figures.extend(shown.map(|(vote, share)| (vote, percent(share, 2)))),
            }
        }
        if let Some(timing) = so_far.timings.last() {
            let rate = timing.images_per_second;
            let rate = if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") };
            figures.push(("training images per second", rate));
        }
        figures.push(("memory", size(self.planned)));
        figures
    }

    fn versions(&self) -> Markup {
        let Adapter { name, backend, kind, driver, features, .. } = &self.device;
        let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
        let rows = [
            ("device", format!("{name} ({kind})")),
            ("driver", format!("{driver} ({backend})")),
            ("optional features", features),
            ("sff", env!("CARGO_PKG_VERSION").to_owned()),
            ("wgpu", locked("wgpu").to_owned()),
        ];
        facts("Device and versions", rows)
    }
}

/// Numbers in large type, each with its name.
fn figures(figures: &[(&str, String)]) -> Markup {
    html! {
        dl.figures {
            @for (what, value) in figures { div { dt { (what) } dd { (value) } } }
        }
    }
}

/// Points of the curve of the learning rate.
const POINTS: u64 = 120;

/// The version of a crate in `Cargo.lock`.
fn locked(name: &str) -> &'static str {
    let entry = include_str!("../../../Cargo.lock").split("[[package]]").find_map(|package| {
        package.trim_start().strip_prefix(&format!("name = \"{name}\"\nversion = \""))
    });
    entry.and_then(|rest| rest.split('"').next()).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_are_read_from_the_lock_file() {
        assert!(super::locked("wgpu").starts_with("30."), "{}", super::locked("wgpu"));
        assert_eq!(super::locked("wgp"), "unknown");
    }
}
