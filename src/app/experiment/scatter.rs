//! An experiment as a picture: a line for each way, a place for each column.

use std::fmt::Write;

use super::{Experiment, Outcome, Summary};
use crate::app::pages::svg::{COLOURS, document, escape, mark, series};

const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 50.0;
/// Room on the right.
const RIGHT: f64 = 20.0;

/// Draws mean accuracies, with bars of one standard deviation, as an SVG document. Ways differ in
/// colour and in the shape of their marks.
pub fn svg(experiment: &Experiment, outcomes: &[Outcome]) -> String {
    let colour = |way: usize| COLOURS[way % COLOURS.len()].to_owned();
    let drawing = Drawing { width: 720.0, top: TOP, colour, line: "#ddd" };
    let full = TOP + drawing.height(experiment);
    let mut out = document(LEFT + 720.0 + RIGHT, full, LEFT, &experiment.title, NOTE);
    out.push_str(&drawing.draw(experiment, outcomes));
    out.push_str("</svg>\n");
    out
}

/// The same as a part of a page.
pub(super) fn figure(experiment: &Experiment, outcomes: &[Outcome]) -> String {
    let width = COLUMN * experiment.columns.len().max(4) as f64;
    let drawing = Drawing { width, top: 10.0, colour: series, line: "var(--line)" };
    let full = (LEFT + width + RIGHT, 10.0 + drawing.height(experiment));
    format!(
        "<figure><figcaption>Chart</figcaption>\n<p class=\"faint\">{NOTE}</p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Chart\"><svg viewBox=\"0 0 {} {}\" style=\"min-width:{}px;max-width:{}px\" font-size=\"12\" role=\"img\" aria-label=\"Mean accuracy of each way; the table above has the numbers\">\n{}</svg></div></figure>\n",
        full.0,
        full.1,
        0.8 * full.0,
        1.2 * full.0,
        drawing.draw(experiment, outcomes)
    )
}

const NOTE: &str = "test accuracy in percent; bars: one standard deviation over seeds";

/// Pixels of a column on a page.
const COLUMN: f64 = 84.0;

/// Where and how the chart is drawn.
struct Drawing<C> {
    width: f64,
    top: f64,
    colour: C,
    line: &'static str,
}

impl<C: Fn(usize) -> String> Drawing<C> {
    /// Below its top.
    fn height(&self, experiment: &Experiment) -> f64 {
        HEIGHT + 40.0 + 20.0 * experiment.ways.len() as f64
    }

    fn draw(&self, experiment: &Experiment, outcomes: &[Outcome]) -> String {
        let Self { width, top: start, line: grid, .. } = *self;
        let (ways, columns) = (&experiment.ways, &experiment.columns);
        let all: Vec<Vec<Option<Summary>>> = (0..ways.len())
            .map(|way| (0..columns.len()).map(|c| experiment.summary(outcomes, way, c)).collect())
            .collect();
        let known = || all.iter().flatten().flatten();
        let low = known().map(|s| s.mean - s.deviation).fold(1.0, f64::min);
        let high = known().map(|s| s.mean + s.deviation).fold(0.0, f64::max);
        // Whole steps of 5 percent around what is there.
        let (low, high) = ((low * 20.0).floor() / 20.0, ((high * 20.0).ceil() / 20.0).max(0.05));
        let range = (high - low).max(0.05);
        let y = |value: f64| start + HEIGHT * (1.0 - (value - low) / range);
        let step = width / columns.len() as f64;
        let mut out = String::new();
        for line in 0..=(range * 20.0).round() as usize {
            let value = low + line as f64 / 20.0;
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "<path d=\"M{LEFT} {0:.1}h{width}\" stroke=\"{grid}\"/><text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{3:.0}</text>",
                y(value),
                LEFT - 6.0,
                y(value) + 4.0,
                100.0 * value
            );
        }
        for (column, part) in columns.iter().enumerate() {
            let (x, y) = (LEFT + step * (column as f64 + 0.5), start + HEIGHT + 18.0);
            let name = escape(&part.name);
            let _ =
                writeln!(out, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{name}</text>");
        }
        for (way, summaries) in all.iter().enumerate() {
            let colour = (self.colour)(way);
            // Side by side, so that bars do not hide each other.
            let aside = (way as f64 - (ways.len() as f64 - 1.0) / 2.0) * 10.0;
            let mut line = String::new();
            for (column, summary) in summaries.iter().enumerate() {
                let Some(Summary { mean, deviation, .. }) = *summary else { continue };
                let x = LEFT + step * (column as f64 + 0.5) + aside;
                let _ = write!(
                    line,
                    "{}{x:.1} {:.1}",
                    if line.is_empty() { 'M' } else { 'L' },
                    y(mean)
                );
                let (top, bottom) = (y(mean + deviation), y(mean - deviation));
                let _ =
                    writeln!(out, "<path d=\"M{x:.1} {top:.1}V{bottom:.1}\" stroke=\"{colour}\"/>");
                out.push_str(&mark(way, x, y(mean), &colour));
            }
            let _ = writeln!(out, "<path d=\"{line}\" fill=\"none\" stroke=\"{colour}\"/>");
            let (x, y) = (LEFT + 10.0, start + HEIGHT + 42.0 + 20.0 * way as f64);
            out.push_str(&mark(way, x, y - 4.0, &colour));
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{y}\">{}</text>",
                x + 14.0,
                escape(&ways[way].name)
            );
        }
        out
    }
}
