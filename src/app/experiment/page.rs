//! An experiment as a page: the table, the chart, how runs went, and a link to each.

use std::fmt::Write;
use std::path::Path;

use super::scatter;
use super::{Cell, Experiment, Outcome, Summary};
use crate::Result;
use crate::app::folder;
use crate::app::pages::chart::{Chart, Line, Unit};
use crate::app::pages::run::STYLE;
use crate::app::pages::svg::{escape, styled_page};
use crate::train::metrics::EpochRecord;

/// The page of an experiment whose runs have their folders below `root`; the outcomes are those of
/// the first cells.
///
/// # Errors
/// Those of reading what the runs noted.
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
    let runs = format!("{} of {} runs", done.len(), cells.len());
    let mut body = format!("<p class=\"faint\">{runs}</p>\n<main>\n");
    let mut section = |title: &str, content: &str| {
        // Writing to a String cannot fail.
        let _ = write!(body, "<section>\n<h2>{title}</h2>\n{content}</section>\n");
    };
    section("Results", &(table(experiment, outcomes) + &scatter::figure(experiment, outcomes)));
    section("Curves", &curves(experiment, done, &records));
    section("Runs", &links(experiment, root, done, outcomes));
    body.push_str("</main>\n");
    Ok(styled_page(&experiment.title, STYLE, &body))
}

/// Mean and deviation of each way in each column.
fn table(experiment: &Experiment, outcomes: &[Outcome]) -> String {
    let head = |name: &String| format!("<th scope=\"col\">{}</th>", escape(name));
    let heads: String = experiment.columns.iter().map(|column| head(&column.name)).collect();
    let mut out = format!(
        "<p>Test accuracy in percent, mean ± standard deviation over seeds.</p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Results\"><table>\n<tr><th scope=\"col\">way</th>{heads}</tr>\n"
    );
    for (way, compared) in experiment.ways.iter().enumerate() {
        let cell = |column| match experiment.summary(outcomes, way, column) {
            Some(Summary { mean, runs: 1, .. }) => format!("<td>{:.1}</td>", 100.0 * mean),
            Some(Summary { mean, deviation, .. }) => {
                format!("<td>{:.1} ± {:.1}</td>", 100.0 * mean, 100.0 * deviation)
            }
            None => "<td>–</td>".to_owned(),
        };
        let cells: String = (0..experiment.columns.len()).map(cell).collect();
        let name = escape(&compared.name);
        let _ = writeln!(out, "<tr><th scope=\"row\">{name}</th>{cells}</tr>");
    }
    out + "</table></div>\n"
}

/// A chart for each column: accuracy over epochs, a line for each way, the mean of its seeds.
fn curves(experiment: &Experiment, cells: &[Cell], records: &[Vec<EpochRecord>]) -> String {
    let mut out = "<p>Accuracy on the test images after each epoch, the mean over seeds.</p>\n<div class=\"grid\">\n".to_owned();
    for (column, varied) in experiment.columns.iter().enumerate() {
        let line = |way: usize| {
            let vote = experiment.ways[way].vote;
            let of =
                |(cell, _): &(&Cell, &Vec<EpochRecord>)| (cell.way, cell.column) == (way, column);
            let runs: Vec<_> = cells.iter().zip(records).filter(of).map(|(_, r)| r).collect();
            let tested = runs.iter().copied().flatten().filter_map(|record| {
                Some((record.epoch, vote.of(&record.test.as_ref()?.accuracy)))
            });
            let tested: Vec<(u32, f64)> = tested.collect();
            let mut epochs: Vec<u32> = tested.iter().map(|(epoch, _)| *epoch).collect();
            epochs.sort_unstable();
            epochs.dedup();
            let mean = |epoch: u32| {
                let values = tested.iter().filter(|(at, _)| *at == epoch).map(|(_, value)| value);
                values.clone().sum::<f64>() / values.count() as f64
            };
            let points = epochs.into_iter().map(|epoch| (f64::from(epoch), mean(epoch))).collect();
            Line { name: experiment.ways[way].name.clone(), points }
        };
        let lines = (0..experiment.ways.len()).map(line).collect();
        let chart = Chart { title: &varied.name, over: "epoch", unit: Unit::Share, lines };
        out.push_str(&chart.html());
    }
    out + "</div>\n"
}

/// A row for each run, with a link to its page where it has one.
fn links(experiment: &Experiment, root: &Path, cells: &[Cell], outcomes: &[Outcome]) -> String {
    let mut out = "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Runs\"><table>\n<tr><th scope=\"col\">run</th><th scope=\"col\">seed</th><th scope=\"col\">all</th><th scope=\"col\">late</th><th scope=\"col\">last</th></tr>\n".to_owned();
    for (cell, outcome) in cells.iter().zip(outcomes) {
        let [way, column] =
            [&experiment.ways[cell.way], &experiment.columns[cell.column]].map(|p| escape(&p.name));
        let name = format!("{column}, {way}");
        let page = folder::report_path(&cell.folder);
        let name = match root.join(&page).exists() {
            true => format!("<a href=\"{}\">{name}</a>", href(&page)),
            false => name,
        };
        let votes = outcome.votes;
        let votes = [votes.all, votes.late, votes.last];
        let votes: String = votes.map(|v| format!("<td>{:.2}</td>", 100.0 * v)).concat();
        let seed = cell.seed;
        let _ = writeln!(out, "<tr><th scope=\"row\">{name}</th><td>{seed}</td>{votes}</tr>");
    }
    out + "</table></div>\n"
}

/// A relative path as a link: everything but letters, digits and a few signs in percents.
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
