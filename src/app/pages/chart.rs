//! Lines over epochs or steps, as SVG for a page.

use std::fmt::Write;

use crate::app::pages::svg::{escape, mark, series};

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 46.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 36.0;
/// Room for marks between the axis and the first point, and likewise at the end.
const INSET: f64 = 8.0;
/// Pixels of a label's line.
const LABEL: f64 = 14.0;
/// Letters of a label.
const LETTERS: usize = 15;
/// Lines that all have a label; of more, the first, the last and the highest have one.
const LABELLED: usize = 12;
/// Points up to which each has a mark.
const MARKED: usize = 24;

/// Dashes tell series apart where colours do not.
const DASHES: [&str; 4] = ["none", "7 3", "2 3", "9 3 2 3"];

/// What values are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Fractions, shown in percent.
    Share,
    /// Numbers.
    Plain,
    /// Numbers whose distance from 0 matters.
    FromZero,
}

/// Values over an axis.
#[derive(Clone, Debug)]
pub struct Line {
    /// What they are of; empty for a single line, of which the title says enough.
    pub name: String,
    /// Position and value, by position.
    pub points: Vec<(f64, f64)>,
}

/// A line chart.
#[derive(Clone, Debug)]
pub struct Chart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What the horizontal axis counts.
    pub over: &'a str,
    /// What the vertical axis shows.
    pub unit: Unit,
    /// The lines; those without points are left out.
    pub lines: Vec<Line>,
}

/// Evenly spaced round numbers.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// Around what lies from `low` to `high`, with steps of at least `least`.
    fn around(low: f64, high: f64, least: f64) -> Self {
        let range = (high - low).max(least).max(high.abs() * 0.02).max(f64::MIN_POSITIVE);
        let power = 10f64.powf((range / 4.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|by| by * power);
        let step = steps.into_iter().find(|step| range / step <= 5.0).unwrap_or(power);
        let step = step.max(least);
        let low = (low / step + 1e-9).floor() * step;
        let high = ((high / step - 1e-9).ceil() * step).max(low + step);
        Self { low, high, step }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (low, step) = (self.low, self.step);
        (0..=((self.high - low) / step).round() as usize).map(move |i| low + i as f64 * step)
    }

    /// 0 at the low end, 1 at the high one.
    fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// A value with as many decimals as steps have.
    fn label(&self, value: f64, unit: Unit) -> String {
        let (factor, sign) = if unit == Unit::Share { (100.0, "%") } else { (1.0, "") };
        let decimals = (-(self.step * factor).log10()).ceil().clamp(0.0, 9.0) as usize;
        if decimals > 4 {
            format!("{value:.0e}")
        } else {
            format!("{:.decimals$}{sign}", factor * value)
        }
    }
}

impl Chart<'_> {
    /// As a figure of HTML; nothing if there are no points.
    pub fn html(&self) -> String {
        let lines: Vec<&Line> = self.lines.iter().filter(|l| !l.points.is_empty()).collect();
        let points = || lines.iter().flat_map(|line| &line.points);
        let fold = |start: f64, of: fn(&(f64, f64)) -> f64, f: fn(f64, f64) -> f64| {
            points().map(of).fold(start, f)
        };
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut low = fold(min, |p| p.1, f64::min);
        if self.unit == Unit::FromZero {
            low = low.min(0.0);
        }
        if lines.is_empty() {
            return String::new();
        }
        let y = Axis::around(low, fold(max, |p| p.1, f64::max), 0.0);
        let (first, end) = (fold(min, |p| p.0, f64::min), fold(max, |p| p.0, f64::max));
        // A single point lies at the end, where its label is.
        let x = Axis::around(if first < end { first } else { end - 1.0 }, end, 1.0);
        let named = labels(&lines);
        let letters = named.iter().map(|(_, name)| name.chars().count()).max().unwrap_or(0);
        let right = if letters == 0 { 16.0 } else { 34.0 + 6.4 * letters as f64 };
        let (across, down) = (WIDTH - LEFT - right, HEIGHT - TOP - BOTTOM);
        let at = |(a, b): (f64, f64)| {
            (LEFT + INSET + (across - 2.0 * INSET) * x.place(a), TOP + down * (1.0 - y.place(b)))
        };
        let mut out = format!(
            "<figure><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-size=\"12\" role=\"img\" aria-label=\"{}\">\n",
            escape(self.title),
            escape(&self.described(&lines, &y))
        );
        for tick in y.ticks() {
            let (_, at) = at((x.low, tick));
            let label = y.label(tick, self.unit);
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "<path d=\"M{LEFT} {at:.1}h{across:.1}\" stroke=\"var(--line)\"/><text class=\"faint\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 6.0,
                at + 4.0
            );
        }
        for tick in x.ticks() {
            let (at, bottom) = at((tick, y.low));
            let _ = writeln!(
                out,
                "<text class=\"faint\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick:.0}</text>",
                bottom + 16.0
            );
        }
        let _ = writeln!(
            out,
            "<text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            LEFT + across / 2.0,
            HEIGHT - 4.0,
            escape(self.over)
        );
        for (index, line) in lines.iter().enumerate() {
            let path: Vec<String> = line
                .points
                .iter()
                .map(|point| at(*point))
                .map(|(x, y)| format!("{x:.1} {y:.1}"))
                .collect();
            let _ = writeln!(out, "<path d=\"M{}\" {}/>", path.join("L"), stroke(index));
            if line.points.len() <= MARKED {
                line.points.iter().map(|point| at(*point)).for_each(|(x, y)| {
                    out.push_str(&mark(index, x, y, &series(index)));
                });
            }
        }
        for (index, name, place) in spread(&named, &lines, |point| at(point).1) {
            let start = LEFT + across + 8.0;
            let _ = writeln!(
                out,
                "<path d=\"M{start:.1} {place:.1}h18\" {}/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                stroke(index),
                start + 22.0,
                place + 4.0,
                escape(name)
            );
        }
        out + "</svg></figure>\n"
    }

    /// The chart in words, for those who do not see it.
    fn described(&self, lines: &[&Line], y: &Axis) -> String {
        let ends: Vec<String> = lines
            .iter()
            .filter_map(|line| Some((line, line.points.last()?)))
            .map(|(line, last)| {
                let fine = Axis { step: y.step / 10.0, ..*y };
                let name = if line.name.is_empty() { "it" } else { &line.name };
                format!("{name} ends at {}", fine.label(last.1, self.unit))
            })
            .collect();
        format!("Line chart: {} over {}. {}.", self.title, self.over, ends.join(", "))
    }
}

fn stroke(index: usize) -> String {
    format!(
        "fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\" stroke-dasharray=\"{}\"",
        series(index),
        DASHES[index % DASHES.len()]
    )
}

fn last(line: &Line) -> f64 {
    line.points.last().map_or(f64::NEG_INFINITY, |point| point.1)
}

/// The lines that have a label, and what it says.
fn labels(lines: &[&Line]) -> Vec<(usize, String)> {
    let highest = (0..lines.len()).max_by(|a, b| last(lines[*a]).total_cmp(&last(lines[*b])));
    let wanted = |index: &usize| {
        let ends = *index == 0 || index + 1 == lines.len();
        lines.len() <= LABELLED || ends || Some(*index) == highest
    };
    let short = |name: &str| match name.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    };
    let named = |index: &usize| !lines[*index].name.is_empty();
    (0..lines.len())
        .filter(named)
        .filter(wanted)
        .map(|index| (index, short(&lines[index].name)))
        .collect()
}

/// Labels near the ends of their lines, but not on top of each other.
fn spread<'a>(
    named: &'a [(usize, String)],
    lines: &[&Line],
    at: impl Fn((f64, f64)) -> f64,
) -> Vec<(usize, &'a str, f64)> {
    let place = |(index, name): &'a (usize, String)| {
        let point = lines[*index].points.last().copied().unwrap_or_default();
        (*index, name.as_str(), at(point))
    };
    let mut placed: Vec<_> = named.iter().map(place).collect();
    placed.sort_by(|a, b| a.2.total_cmp(&b.2));
    let mut free = TOP;
    for (_, _, y) in &mut placed {
        *y = y.max(free);
        free = *y + LABEL;
    }
    let mut below = HEIGHT - BOTTOM + 4.0;
    for (_, _, y) in placed.iter_mut().rev() {
        *y = y.min(below);
        below = *y - LABEL;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_steps_around_the_values() {
        for (low, high, least, ticks) in [
            (0.61, 0.88, 0.0, "60% 70% 80% 90%"),
            (0.5, 0.5, 0.0, "50% 50%"),
            (1.0, 3.0, 1.0, "100% 200% 300%"),
            (0.0, 0.0, 0.0, "0e0 0e0"),
        ] {
            let axis = Axis::around(low, high, least);
            assert!(axis.low <= low + 1e-12 && axis.high >= high - 1e-12);
            let labels: Vec<_> = axis.ticks().map(|t| axis.label(t, Unit::Share)).collect();
            let wanted: Vec<_> = ticks.split(' ').collect();
            assert_eq!(labels.len(), wanted.len(), "{labels:?}");
            if axis.step > 0.01 {
                assert_eq!(labels, wanted);
            }
        }
    }

    #[test]
    fn labels_keep_apart_and_names_are_escaped() {
        let lines: Vec<Line> = (0..9)
            .map(|i| Line { name: format!("<{i}>"), points: vec![(1.0, 0.5), (2.0, 0.5)] })
            .collect();
        let refs: Vec<&Line> = lines.iter().collect();
        let named = labels(&refs);
        let placed = spread(&named, &refs, |_| 100.0);
        assert!(placed.windows(2).all(|w| w[1].2 - w[0].2 >= LABEL - 1e-9), "{placed:?}");
        let chart = Chart { title: "a & b", over: "epoch", unit: Unit::Share, lines };
        let html = chart.html();
        assert!(html.contains("a &amp; b") && html.contains("&lt;8&gt;") && !html.contains("<8>"));
        assert!(html.contains("ends at 50"), "{html}");
        assert_eq!(Chart { lines: vec![], ..chart }.html(), "");
    }
}
