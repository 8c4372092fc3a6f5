//! Charts of a page: line charts here, means with deviations in [`scatter`], and parts of all charts:
//! axes, and labels that do not overlap.

mod axis;
mod labels;
pub(crate) mod scatter;

use maud::{Markup, html};

use super::parts::figure;
use super::svg::{mark, picture, polyline, px, series};
use axis::Axis;

pub(super) use axis::LogAxis;
pub use axis::Unit;
pub(super) use labels::Label;

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 250.0;
/// Least width of the labels of the vertical axis.
const LEFT: f64 = 46.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 36.0;
/// Pixels between the axis and the first point, and after the last one, for their marks.
const INSET: f64 = 8.0;
/// The most points of a line whose points have marks.
const MARKED: usize = 24;

/// Dash patterns, to tell series apart without colours.
const DASHES: [&str; 4] = ["none", "7 3", "2 3", "9 3 2 3"];

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name; empty for a single line that the title describes.
    pub name: String,
    /// Positions and values, sorted by position.
    pub points: Vec<(f64, f64)>,
}

/// A line chart.
#[derive(Clone, Debug)]
pub struct Chart<'a> {
    /// Its title.
    pub title: &'a str,
    /// The name of the horizontal axis.
    pub over: &'a str,
    /// The unit of the vertical axis.
    pub unit: Unit,
    /// The lines; those without points are left out.
    pub lines: Vec<Line>,
}

impl Chart<'_> {
    /// The chart as a figure of a page; empty if there are no points.
    pub fn figure(&self) -> Markup {
        let lines: Vec<&Line> = self.lines.iter().filter(|l| !l.points.is_empty()).collect();
        if lines.is_empty() {
            return html! {};
        }
        let (x, y) = self.axes(&lines);
        let names = labels::names(&lines);
        let letters = names.iter().map(|(_, name)| name.chars().count()).max().unwrap_or(0);
        // Labels are on the right of the lines.
        let right = if letters == 0 { 16.0 } else { 34.0 + 6.4 * letters as f64 };
        let digits = y.ticks().map(|tick| y.label(tick, self.unit).chars().count()).max();
        let left = LEFT.max(10.0 + 7.5 * digits.unwrap_or(0) as f64);
        let (across, down) = (WIDTH - left - right, HEIGHT - TOP - BOTTOM);
        let at = |(a, b): (f64, f64)| {
            (left + INSET + (across - 2.0 * INSET) * x.place(a), TOP + down * (1.0 - y.place(b)))
        };
        let start = left + across + 8.0;
        let content = html! {
            @for tick in y.ticks() {
                @let (_, y_at) = at((x.low, tick));
                path d={"M" (px(left)) " " (px(y_at)) "h" (px(across))} stroke="var(--line)" {}
                text.faint x=(px(left - 6.0)) y=(px(y_at + 4.0)) text-anchor="end" {
                    (y.label(tick, self.unit))
                }
            }
            @for tick in x.ticks() {
                @let (x_at, bottom) = at((tick, y.low));
                text.faint x=(px(x_at)) y=(px(bottom + 16.0)) text-anchor="middle" {
                    (format_args!("{tick:.0}"))
                }
            }
            text.faint x=(px(left + across / 2.0)) y=(px(HEIGHT - 4.0)) text-anchor="middle" {
                (self.over)
            }
            @for (index, line) in lines.iter().enumerate() {
                @let points = || line.points.iter().map(|point| at(*point));
                (stroke(index, &polyline(points())))
                @if line.points.len() <= MARKED {
                    @for (x, y) in points() { (mark(index, x, y, &series(index))) }
                }
            }
            @for (index, name, y) in labels::spread(&names, &lines, |point| at(point).1) {
                (stroke(index, &polyline([(start, y), (start + 18.0, y)])))
                text x=(px(start + 22.0)) y=(px(y + 4.0)) { (name) }
            }
        };
        let drawn = picture(&self.described(&lines, y), (0.0, 0.0), (WIDTH, HEIGHT), &content);
        figure(self.title, &drawn)
    }

    /// The horizontal and the vertical axis, around all points.
    fn axes(&self, lines: &[&Line]) -> (Axis, Axis) {
        let range = |of: fn(&(f64, f64)) -> f64| {
            let values = lines.iter().flat_map(|line| &line.points).map(of);
            let ends = (f64::INFINITY, f64::NEG_INFINITY);
            values.fold(ends, |(low, high), value| (low.min(value), high.max(value)))
        };
        let ((first, end), (low, high)) = (range(|p| p.0), range(|p| p.1));
        let low = if self.unit == Unit::FromZero { low.min(0.0) } else { low };
        // A single point is drawn at the end, beside its label.
        let first = if first < end { first } else { end - 1.0 };
        (Axis::around(first, end, 1.0), Axis::around(low, high, 0.0))
    }

    /// A description of the chart, for screen readers.
    fn described(&self, lines: &[&Line], y: Axis) -> String {
        let fine = Axis { step: y.step / 10.0, ..y };
        let ends: Vec<String> = lines
            .iter()
            .filter_map(|line| Some((line, line.points.last()?)))
            .map(|(line, last)| {
                let name = if line.name.is_empty() { "it" } else { &line.name };
                format!("{name} ends at {}", fine.label(last.1, self.unit))
            })
            .collect();
        format!("Line chart: {} over {}. {}.", self.title, self.over, ends.join(", "))
    }
}

/// The stroke of a series.
fn stroke(index: usize, data: &str) -> Markup {
    html! {
        path d=(data) fill="none" stroke=(series(index)) stroke-width="1.6"
            stroke-dasharray=(DASHES[index % DASHES.len()]) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_draws_its_lines_and_describes_where_they_end() {
        let line = |i| Line { name: format!("<{i}>"), points: vec![(1.0, 0.25), (2.0, 0.5)] };
        let lines = (0..9).map(line).collect();
        let chart = Chart { title: "a & b", over: "epoch", unit: Unit::Share, lines };
        let html = chart.figure().into_string();
        assert!(html.contains("a &amp; b") && html.contains("&lt;8&gt;") && !html.contains("<8>"));
        assert!(html.contains("ends at 50.0%"), "{html}");
        // A line and a piece of it at its label; two marks.
        assert_eq!(html.matches("stroke-dasharray").count(), 9 * 2, "{html}");
        assert_eq!(html.matches("<path").count(), 9 * 4 + html.matches("--line").count());
        assert_eq!(Chart { lines: vec![], ..chart }.figure().into_string(), "");
    }
}
