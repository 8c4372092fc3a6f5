//! A run as a page: one file of HTML that needs nothing else.

use std::fmt::Write;

use super::{classes, curves, memory, pictures, times};
use crate::Result;
use crate::app::config::{Config, Method};
use crate::app::pages::svg::{escape, styled_page};
use crate::app::profile::Profile;
use crate::base::shape::Shape;
use crate::data::Dataset;
use crate::gpu::adapter::Adapter;
use crate::gpu::device::Gpu;
use crate::train::detail::Detail;
use crate::train::metrics::{EpochRecord, Timing};
use crate::train::trainer::Trainer;

/// What pages of results look like, besides what all pages do.
pub(crate) const STYLE: &str = include_str!("style.css");

/// What does not change while a run goes on.
pub struct RunPage<'a> {
    config: &'a Config,
    dataset: &'a Dataset,
    device: Adapter,
    blocks: Vec<String>,
    /// Position in epochs and learning rate, some of all steps.
    rates: Vec<(f64, f64)>,
    memory: String,
    parameters: usize,
    planned: usize,
    toml: String,
}

/// What is known after an epoch.
pub struct SoFar<'a> {
    /// Of all epochs.
    pub records: &'a [EpochRecord],
    /// Of those epochs whose times are known, each once.
    pub timings: &'a [Timing],
    /// The last evaluation, and the epoch after which it was.
    pub detail: Option<&'a (u32, Detail)>,
    /// The weight of the convolution that reads the images, if there is one.
    pub filters: Option<(Shape, Vec<f32>)>,
    /// Of a step after the last one.
    pub profile: Option<Result<Profile>>,
}

impl<'a> RunPage<'a> {
    /// Gathers it, and plans the same training by backpropagation.
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

    /// The page.
    ///
    /// # Errors
    /// Those of reading photos that are shown.
    pub fn page(&self, so_far: &SoFar) -> Result<String> {
        let Config { arch, dataset, method, epochs, .. } = self.config;
        let what = match method {
            Method::Sff => {
                format!("SFF by {}", format!("{:?}", self.config.partition).to_lowercase())
            }
            Method::Bp => "backpropagation".to_owned(),
        };
        let title = format!("{arch} on {dataset}, {what}");
        let mut body = format!(
            "<p class=\"faint\">{} of {epochs} epochs, {} in {}</p>\n<main>\n",
            so_far.records.len(),
            count(self.parameters, "parameter"),
            count(self.blocks.len(), "block")
        );
        body.push_str(&self.figures(so_far));
        let mut section = |title: &str, content: &str| {
            // Writing to a String cannot fail.
            let _ = write!(body, "<section>\n<h2>{title}</h2>\n{content}</section>\n");
        };
        section("Curves", &curves::section(&self.blocks, so_far, &self.rates));
        if let Some((epoch, detail)) = so_far.detail {
            let what = match method {
                Method::Sff => "goodness",
                Method::Bp => "score",
            };
            let after =
                format!("<p class=\"faint\">On the test images, after epoch {epoch}.</p>\n");
            let names = &self.dataset.classes;
            section("Classes", &(after.clone() + &classes::confusion(detail, names)));
            let title = if *method == Method::Sff { "Goodness" } else { "Scores" };
            section(title, &(after.clone() + &classes::spreads(detail, &self.blocks, what)));
            if !detail.worst.is_empty() {
                let shown = pictures::mistakes(self.dataset, &detail.worst)?;
                let by = format!(
                    "{after}<p>The images whose own class has the mean {what} that is furthest below that of the class they are taken for.</p>\n"
                );
                section("Worst mistakes", &(by + &shown));
            }
        }
        if let Some((shape, weights)) = &so_far.filters {
            section("First layer", &pictures::filters(*shape, weights)?);
        }
        section("Memory", &self.memory);
        if let Some(profile) = &so_far.profile {
            section("Where the time of a step goes", &times::section(profile));
        }
        let toml = escape(&self.toml);
        section("Configuration", &format!("<pre tabindex=\"0\">{toml}</pre>\n"));
        section("Device and versions", &self.versions());
        body.push_str("</main>\n");
        Ok(styled_page(&title, STYLE, &body))
    }

    /// The few numbers that matter most.
    fn figures(&self, so_far: &SoFar) -> String {
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
                1 => figures.push(("test accuracy".to_owned(), percent(votes.all))),
                _ => figures.extend(shown.map(|(vote, v)| (vote.to_owned(), percent(v)))),
            }
        }
        if let Some(timing) = so_far.timings.last() {
            let rate = timing.images_per_second;
            let rate = if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") };
            figures.push(("training images per second".to_owned(), rate));
        }
        figures.push(("memory".to_owned(), memory::size(self.planned)));
        let figures: String = figures
            .iter()
            .map(|(what, value)| format!("<div><dt>{what}</dt><dd>{value}</dd></div>"))
            .collect();
        format!("<dl class=\"figures\">{figures}</dl>\n")
    }

    fn versions(&self) -> String {
        let Adapter { name, backend, kind, driver, features, .. } = &self.device;
        let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
        let rows = [
            ("device", format!("{name} ({kind})")),
            ("driver", format!("{driver} ({backend})")),
            ("optional features", features),
            ("sff", env!("CARGO_PKG_VERSION").to_owned()),
            ("wgpu", locked("wgpu").to_owned()),
        ];
        let row = |(what, value): &(&str, String)| {
            format!("<tr><th scope=\"row\">{what}</th><td>{}</td></tr>\n", escape(value))
        };
        let rows: String = rows.iter().map(row).collect();
        format!("<div class=\"scroll\"><table class=\"plain\">\n{rows}</table></div>\n")
    }
}

/// Points of the learning rate.
const POINTS: u64 = 120;

/// The version of a crate that this program was made with.
fn locked(name: &str) -> &'static str {
    let entry = include_str!("../../../Cargo.lock").split("[[package]]").find_map(|package| {
        package.trim_start().strip_prefix(&format!("name = \"{name}\"\nversion = \""))
    });
    entry.and_then(|rest| rest.split('"').next()).unwrap_or("unknown")
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.2}%", 100.0 * share)
}

/// As in `1 block` and `2 blocks`.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_of_wgpu_is_known() {
        assert!(super::locked("wgpu").starts_with("30."), "{}", super::locked("wgpu"));
        assert_eq!(super::locked("wgp"), "unknown");
    }
}
