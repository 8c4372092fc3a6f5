//! A profile as one page: the roofline with a mark for each kind of op, what ran when, and the
//! tables. Nothing on it is told by colour alone.

use std::fmt::Write;

use crate::app::pages::svg::{self, escape, mark, series};
use crate::app::profile::table::COLUMNS;
use crate::app::profile::{Line, Profile};
use crate::gpu::peak::Peak;

/// Width of the pictures: narrow, so that their text can be read on a phone.
const WIDTH: f64 = 480.0;
/// Kinds of op with at least this part of the time are named in the roofline, not just numbered.
const NAMED: f64 = 0.03;

/// Draws the page.
pub fn page(profile: &Profile, title: &str) -> String {
    let mut out = String::from("<table>\n");
    for (name, value) in profile.summary() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{name}</th><td class=\"text\">{}</td></tr>",
            escape(&value)
        );
    }
    out.push_str("</table>\n");
    if let Some(peak) = profile.peak {
        out.push_str("<h2>Roofline</h2>\n<p>Each mark is a kind of op, numbered as in the table of ops below: a disc where maps are multiplied by weights, a square elsewhere. Above the sloped roof, caches served what memory could not.</p>\n");
        out.push_str(&roofline(profile, peak));
    }
    out.push_str("<h2>One step, block by block</h2>\n");
    out.push_str(&timeline(profile));
    for (by, lines) in profile.tables() {
        let _ = writeln!(
            out,
            "<h2>By {by}</h2>\n<div class=\"scroll\"><table>\n<tr><th scope=\"col\">{by}</th>"
        );
        COLUMNS.iter().for_each(|head| {
            let _ = write!(out, "<th scope=\"col\">{head}</th>");
        });
        out.push_str("</tr>\n");
        for (index, line) in lines.iter().enumerate() {
            let number = if by == "op" { format!("{}. ", index + 1) } else { String::new() };
            let _ = write!(out, "<tr><th scope=\"row\">{number}{}</th>", escape(&line.name));
            line.cells().iter().for_each(|cell| {
                let _ = write!(out, "<td>{cell}</td>");
            });
            out.push_str("</tr>\n");
        }
        out.push_str("</table></div>\n");
    }
    svg::page(title, &out)
}

/// A logarithmic axis over whole powers of ten.
struct Axis {
    /// Exponents of the first and the last.
    from: f64,
    to: f64,
    /// Where they are drawn.
    start: f64,
    end: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let (low, high) = values
            .filter(|value| *value > 0.0)
            .fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), v| (low.min(v), high.max(v)));
        let from = low.min(high).log10().floor();
        Self { from, to: high.log10().ceil().max(from + 1.0), start, end }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.log10() - self.from) / (self.to - self.from);
        self.start + part * (self.end - self.start)
    }

    fn powers(&self) -> impl Iterator<Item = f64> + use<> {
        (self.from as i32..=self.to as i32).map(|exponent| 10f64.powi(exponent))
    }
}

/// Rate against operations per byte, both logarithmic, under the roof that the peak makes.
fn roofline(profile: &Profile, peak: Peak) -> String {
    const HEIGHT: f64 = 380.0;
    let (left, right, top, bottom) = (52.0, WIDTH - 18.0, 10.0, HEIGHT - 40.0);
    let (rate, bandwidth) = (peak.f32_gflops, peak.gbs());
    let shown: Vec<(usize, &Line)> =
        profile.by_op.iter().enumerate().filter(|(_, line)| line.gflops > 0.0).collect();
    let ridge = rate / bandwidth;
    let intensity = |line: &Line| line.mflop / line.mb;
    let x =
        Axis::new(shown.iter().map(|(_, l)| intensity(l)).chain([ridge, 4.0 * ridge]), left, right);
    let y = Axis::new(shown.iter().map(|(_, l)| l.gflops).chain([rate]), bottom, top);
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-size=\"12\" role=\"img\" aria-label=\"roofline\">\n"
    );
    for value in x.powers() {
        let at = x.at(value);
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {top}V{bottom}\" stroke=\"var(--line)\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{value}</text>",
            bottom + 16.0
        );
    }
    for value in y.powers() {
        let at = y.at(value);
        let _ = writeln!(
            out,
            "<path d=\"M{left} {at:.1}H{right}\" stroke=\"var(--line)\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            left - 5.0,
            at + 4.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" class=\"faint\">operations per byte</text><text x=\"{}\" y=\"{}\" class=\"faint\">GFLOP/s</text>",
        right,
        HEIGHT - 6.0,
        left + 4.0,
        top + 12.0
    );
    // The slope begins at the left border, or at the bottom where that is higher.
    let from = 10f64.powf(x.from).max(10f64.powf(y.from) / bandwidth);
    let _ = writeln!(
        out,
        "<path d=\"M{:.1} {:.1}L{:.1} {:.1}H{right}\" fill=\"none\" stroke=\"var(--ink)\" stroke-width=\"1.5\"/>",
        x.at(from),
        y.at(from * bandwidth),
        x.at(ridge),
        y.at(rate)
    );
    let mut taken: Vec<Label> = Vec::new();
    let roof =
        Label::new(x.at(ridge).min(right - 130.0), y.at(rate) - 5.0, format!("{rate:.1} GFLOP/s"));
    out.push_str(&roof.draw());
    taken.push(roof);
    for (_, line) in &shown {
        taken.push(Label::new(x.at(intensity(line)) - 4.0, y.at(line.gflops) + 5.0, " ".into()));
    }
    for (index, line) in shown {
        let (px, py) = (x.at(intensity(line)), y.at(line.gflops));
        let product = line.name.starts_with("conv")
            || line.name.starts_with("depthwise")
            || line.name.contains("goodness");
        let colour = series(usize::from(!product));
        let title = format!(
            "<title>{}: {:.2} GFLOP/s, {:.1}% of the time</title>",
            escape(&line.name),
            line.gflops,
            100.0 * line.share
        );
        let shape = mark(if product { 3 } else { 0 }, px, py, &colour);
        let _ = writeln!(out, "<g>{title}{shape}</g>");
        let number = (index + 1).to_string();
        let text = if line.share >= NAMED { format!("{number} {}", line.name) } else { number };
        let label = Label::beside(px, py, text, (left, right), &taken);
        out.push_str(&label.draw());
        taken.push(label);
    }
    out.push_str("</svg>\n");
    out
}

/// A text and the room that it takes.
struct Label {
    x: f64,
    /// Of its baseline.
    y: f64,
    text: String,
}

impl Label {
    fn new(x: f64, y: f64, text: String) -> Self {
        Self { x, y, text }
    }

    fn width(&self) -> f64 {
        6.6 * self.text.chars().count() as f64
    }

    fn meets(&self, other: &Self) -> bool {
        let apart = self.x + self.width() < other.x || other.x + other.width() < self.x;
        !apart && (self.y - other.y).abs() < 12.0
    }

    /// Next to a mark: the first of some places where it meets no other within the picture.
    fn beside(px: f64, py: f64, text: String, (left, right): (f64, f64), taken: &[Self]) -> Self {
        let width = Self::new(0.0, 0.0, text.clone()).width();
        let sides = [px + 8.0, px - 8.0 - width, px - width / 2.0];
        let heights = [4.0, -9.0, 18.0, -22.0, 31.0, -35.0, 44.0];
        let places = heights.iter().flat_map(|dy| sides.iter().map(move |x| (*x, py + dy)));
        let mut labels = places.map(|(x, y)| Self::new(x, y, text.clone()));
        let fits =
            |l: &Self| l.x >= left && l.x + width <= right && !taken.iter().any(|t| t.meets(l));
        labels.find(fits).unwrap_or_else(|| Self::new(px + 8.0, py + 4.0, text.clone()))
    }

    fn draw(&self) -> String {
        format!("<text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n", self.x, self.y, escape(&self.text))
    }
}

/// What an op belongs to: how it is filled, and what that means.
const PHASES: [(&str, &str); 4] = [
    ("forward", "<rect width=\"6\" height=\"6\" fill=\"var(--s0)\"/>"),
    (
        "backward",
        "<rect width=\"6\" height=\"6\" fill=\"var(--s1)\"/><path d=\"M-1 1l2-2M0 6l6-6M5 7l2-2\" stroke=\"var(--paper)\" stroke-width=\"1.6\"/>",
    ),
    (
        "goodness and loss",
        "<rect width=\"6\" height=\"6\" fill=\"var(--s2)\"/><circle cx=\"3\" cy=\"3\" r=\"1.4\" fill=\"var(--paper)\"/>",
    ),
    (
        "update",
        "<rect width=\"6\" height=\"6\" fill=\"var(--s3)\"/><path d=\"M0 3h6\" stroke=\"var(--paper)\" stroke-width=\"1.6\"/>",
    ),
];

fn phase(op: &str) -> usize {
    match op {
        "adamw" | "accumulate" => 3,
        _ if op.contains("goodness") || op.contains("scores") || op == "cross_entropy" => 2,
        _ if op.ends_with("grad") => 1,
        _ => 0,
    }
}

/// The ops of the last timed step, a row for each block.
fn timeline(profile: &Profile) -> String {
    const ROW: f64 = 34.0;
    const TOP: f64 = 40.0;
    let blocks = &profile.by_block;
    let end = profile.dispatches.last().map_or(0.0, |d| d.span.end).max(f64::MIN_POSITIVE);
    let height = TOP + ROW * blocks.len() as f64 + 24.0;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" font-size=\"12\" role=\"img\" aria-label=\"timeline\">\n<defs>"
    );
    for (index, (_, fill)) in PHASES.iter().enumerate() {
        let _ = write!(
            out,
            "<pattern id=\"phase{index}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">{fill}</pattern>"
        );
    }
    out.push_str("</defs>\n");
    let mut x = 0.0;
    for (index, (name, _)) in PHASES.iter().enumerate() {
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"4\" width=\"18\" height=\"12\" fill=\"url(#phase{index})\"/><text x=\"{}\" y=\"14\">{name}</text>",
            x + 23.0
        );
        x += 46.0 + 6.6 * name.len() as f64;
    }
    for (row, block) in blocks.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let _ = writeln!(
            out,
            "<text x=\"0\" y=\"{}\">{}, {:.1}%</text><path d=\"M0 {y2}H{WIDTH}\" stroke=\"var(--line)\"/>",
            y + 11.0,
            escape(&block.name),
            100.0 * block.share,
            y2 = y + ROW - 4.0
        );
    }
    for dispatches in profile.dispatches.chunk_by(|a, b| a.op == b.op) {
        let (Some(first), Some(last)) = (dispatches.first(), dispatches.last()) else { continue };
        let Some(op) = profile.ops.iter().find(|op| op.index == first.op) else { continue };
        let row = blocks.iter().position(|line| line.name == op.block).unwrap_or(0);
        let (x, width) =
            (WIDTH * first.span.start / end, WIDTH * (last.span.end - first.span.start) / end);
        let _ = writeln!(
            out,
            "<rect x=\"{x:.2}\" y=\"{}\" width=\"{:.2}\" height=\"14\" fill=\"url(#phase{})\"><title>{} ({}): {:.3} ms</title></rect>",
            TOP + ROW * row as f64 + 15.0,
            width.max(0.3),
            phase(&op.line.name),
            escape(&op.line.name),
            escape(&op.block),
            1e3 * (last.span.end - first.span.start)
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"0\" y=\"{0}\" class=\"faint\">0</text><text x=\"{WIDTH}\" y=\"{0}\" text-anchor=\"end\" class=\"faint\">{1:.2} ms</text>\n</svg>",
        height - 6.0,
        1e3 * end
    );
    out
}
