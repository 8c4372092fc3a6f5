//! An experiment as a page: the table, charts, and a link to each run.

use std::collections::BTreeSet;
use std::path::Path;

use maud::{Markup, html};

use super::{Cell, Experiment, Outcome, Summary};
use crate::Result;
use crate::app::folder;
use crate::app::pages::chart::scatter::{Scatter, Series};
use crate::app::pages::chart::{Chart, Line, Unit};
use crate::app::pages::parts::{self, grid, note, row, section};
use crate::train::metrics::EpochRecord;

/// The page of an experiment whose runs have their folders below `root`; the outcomes are those of
/// the first cells.
///
/// # Errors
/// Those of reading the records of the runs.
pub fn page(
    experiment: &Experiment,
    root: &Path,
    cells: &[Cell],
    outcomes: &[Outcome],
) -> Result<String> {
    let done = &cells[..outcomes.len()];
    let records: Vec<Vec<EpochRecord>> = done
        .iter()
        .map(|cell| folder::read_records(&root.join(&cell.folder)))
        .collect::<Result<_>>()?;
    let runs = note(&format!("{} of {} runs", done.len(), cells.len()));
    let results = html! {
        (table(experiment, outcomes))
        (scatter(experiment, outcomes).figure())
    };
    let sections = html! {
        (section("Results", &results))
        (section("Curves", &curves(experiment, done, &records)))
        (section("Runs", &links(experiment, root, done, outcomes)))
    };
    Ok(parts::page(&experiment.title, &runs, &sections))
}

/// Mean accuracies, with bars of one standard deviation, as an SVG document.
pub fn svg(experiment: &Experiment, outcomes: &[Outcome]) -> String {
    scatter(experiment, outcomes).svg()
}

fn scatter<'a>(experiment: &'a Experiment, outcomes: &[Outcome]) -> Scatter<'a> {
    let value = |way: usize, column: usize| {
        experiment.summary(outcomes, way, column).map(|s| (s.mean, s.deviation))
    };
    let columns = experiment.columns.len();
    let series = experiment.ways.iter().enumerate().map(|(way, compared)| Series {
        name: &compared.name,
        values: (0..columns).map(|column| value(way, column)).collect(),
    });
    Scatter {
        title: &experiment.title,
        note: "test accuracy in percent; bars: one standard deviation over seeds",
        columns: experiment.columns.iter().map(|column| column.name.as_str()).collect(),
        series: series.collect(),
    }
}

/// Mean and deviation of each way in each column.
fn table(experiment: &Experiment, outcomes: &[Outcome]) -> Markup {
    let cell = |way: usize, column: usize| match experiment.summary(outcomes, way, column) {
        Some(Summary { mean, runs: 1, .. }) => format!("{:.1}", 100.0 * mean),
        Some(Summary { mean, deviation, .. }) => {
            format!("{:.1} ± {:.1}", 100.0 * mean, 100.0 * deviation)
        }
        None => "–".to_owned(),
    };
    let columns = experiment.columns.len();
    let names = experiment.columns.iter().map(|column| column.name.as_str());
    let heads: Vec<&str> = ["way"].into_iter().chain(names).collect();
    let rows = html! {
        @for (way, compared) in experiment.ways.iter().enumerate() {
            (row(&compared.name, (0..columns).map(|column| cell(way, column))))
        }
    };
    html! {
        p { "Test accuracy in percent, mean ± standard deviation over seeds." }
        (parts::table("Results", &heads, &rows))
    }
}

/// A chart for each column: accuracy over epochs, a line for each way, the mean of its seeds.
fn curves(experiment: &Experiment, cells: &[Cell], records: &[Vec<EpochRecord>]) -> Markup {
    let line = |way: usize, column: usize| {
        let vote = experiment.ways[way].vote;
        let of = |(cell, _): &(&Cell, &Vec<EpochRecord>)| (cell.way, cell.column) == (way, column);
        let runs = cells.iter().zip(records).filter(of).flat_map(|(_, records)| records);
        let tested: Vec<(u32, f64)> = runs
            .filter_map(|record| Some((record.epoch, vote.of(&record.test.as_ref()?.accuracy))))
            .collect();
        let epochs: BTreeSet<u32> = tested.iter().map(|(epoch, _)| *epoch).collect();
        let mean = |epoch: u32| {
            let values = tested.iter().filter(|(at, _)| *at == epoch).map(|(_, value)| value);
            values.clone().sum::<f64>() / values.count() as f64
        };
        let points = epochs.into_iter().map(|epoch| (f64::from(epoch), mean(epoch))).collect();
        Line { name: experiment.ways[way].name.clone(), points }
    };
    let charts = experiment.columns.iter().enumerate().map(|(column, varied)| Chart {
        title: &varied.name,
        over: "epoch",
        unit: Unit::Share,
        lines: (0..experiment.ways.len()).map(|way| line(way, column)).collect(),
    });
    html! {
        p { "Accuracy on the test images after each epoch, the mean over seeds." }
        (grid(&html! { @for chart in charts { (chart.figure()) } }))
    }
}

/// A row for each run, with a link to its page if it has one.
fn links(experiment: &Experiment, root: &Path, cells: &[Cell], outcomes: &[Outcome]) -> Markup {
    let name = |cell: &Cell| {
        let (way, column) =
            (&experiment.ways[cell.way].name, &experiment.columns[cell.column].name);
        let page = folder::report_path(&cell.folder);
        let name = format!("{column}, {way}");
        if root.join(&page).exists() {
            html! { a href=(href(&page)) { (name) } }
        } else {
            html! { (name) }
        }
    };
    let cells_of = |cell: &Cell, Outcome { votes, .. }: &Outcome| {
        let votes = [votes.all, votes.late, votes.last].map(|v| format!("{:.2}", 100.0 * v));
        [cell.seed.to_string()].into_iter().chain(votes)
    };
    let rows = html! {
        @for (cell, outcome) in cells.iter().zip(outcomes) {
            (row(name(cell), cells_of(cell, outcome)))
        }
    };
    parts::table("Runs", &["run", "seed", "all", "late", "last"], &rows)
}

/// A relative path as a link: percent-encoded except for letters, digits, `-`, `_` and `.`.
fn href(path: &Path) -> String {
    let escaped = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    let parts = path.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let parts: Vec<String> = parts.map(|part| part.bytes().map(escaped).collect()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_escaped() {
        assert_eq!(href(Path::new("a b/ä\"#?/r.html")), "a%20b/%C3%A4%22%23%3F/r.html");
    }
}
