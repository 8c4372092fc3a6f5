//! The roofline: rates of ops, and the roof that the device's peak sets.

use maud::{Markup, html};

use super::WIDTH;
use crate::app::pages::chart::{Label, LogAxis};
use crate::app::pages::parts::percent;
use crate::app::pages::svg::{mark, picture, px, series};
use crate::app::profile::{Line, Profile};
use crate::gpu::peak::Peak;

const HEIGHT: f64 = 380.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = WIDTH - 18.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = HEIGHT - 40.0;
/// Kinds of op with at least this fraction of the time have their name in the picture, the others only
/// their number.
const NAMED: f64 = 0.03;

/// The axes: operations per byte, and GFLOP/s.
struct Axes {
    x: LogAxis,
    y: LogAxis,
}

/// A kind of op in the picture.
struct Op<'a> {
    line: &'a Line,
    /// Its number in the table of ops, from 1.
    number: usize,
    x: f64,
    y: f64,
}

/// The picture: rate over operations per byte, both logarithmic.
pub(super) fn section(profile: &Profile, peak: Peak) -> Markup {
    let ridge = peak.f32_gflops / peak.gbs();
    let shown = || profile.by_op.iter().enumerate().filter(|(_, line)| line.gflops > 0.0);
    let intensity = |line: &Line| line.mflop / line.mb;
    let intensities = shown().map(|(_, line)| intensity(line)).chain([ridge, 4.0 * ridge]);
    let rates = shown().map(|(_, line)| line.gflops).chain([peak.f32_gflops]);
    let axes =
        Axes { x: LogAxis::new(intensities, LEFT, RIGHT), y: LogAxis::new(rates, BOTTOM, TOP) };
    let ops: Vec<Op> = shown()
        .map(|(index, line)| {
            let (x, y) = (axes.x.at(intensity(line)), axes.y.at(line.gflops));
            Op { line, number: index + 1, x, y }
        })
        .collect();
    let content = html! { (grid(&axes)) (roof(&axes, peak)) (marks(&axes, peak, &ops)) };
    html! {
        p {
            "Each mark is a kind of op, numbered as in the table of ops below: a disc where maps "
            "are multiplied by weights, a square elsewhere. Marks above the sloped "
            "roof read from caches, which are faster than memory."
        }
        (picture("roofline", (0.0, 0.0), (WIDTH, HEIGHT), &content))
    }
}

fn grid(axes: &Axes) -> Markup {
    html! {
        @for (value, label) in axes.x.powers() {
            @let x = axes.x.at(value);
            path d={"M" (px(x)) " " (px(TOP)) "V" (px(BOTTOM))} stroke="var(--line)" {}
            text x=(px(x)) y=(px(BOTTOM + 16.0)) text-anchor="middle" { (label) }
        }
        @for (value, label) in axes.y.powers() {
            @let y = axes.y.at(value);
            path d={"M" (px(LEFT)) " " (px(y)) "H" (px(RIGHT))} stroke="var(--line)" {}
            text x=(px(LEFT - 5.0)) y=(px(y + 4.0)) text-anchor="end" { (label) }
        }
        text.faint x=(px(RIGHT)) y=(px(HEIGHT - 6.0)) text-anchor="end" { "operations per byte" }
        text.faint x=(px(LEFT + 4.0)) y=(px(TOP + 12.0)) { "GFLOP/s" }
    }
}

/// The roof: sloped where memory is the limit, level where arithmetic is.
fn roof(Axes { x, y }: &Axes, peak: Peak) -> Markup {
    let (rate, bandwidth) = (peak.f32_gflops, peak.gbs());
    // The slope begins at the left border or, if it is below the bottom there, at the bottom.
    let from = x.first().max(y.first() / bandwidth);
    html! {
        path d={
            "M" (px(x.at(from))) " " (px(y.at(from * bandwidth)))
            "L" (px(x.at(rate / bandwidth))) " " (px(y.at(rate))) "H" (px(RIGHT))
        } fill="none" stroke="var(--ink)" stroke-width="1.5" {}
    }
}

fn marks(axes: &Axes, peak: Peak, ops: &[Op]) -> Markup {
    let rate = peak.f32_gflops;
    let ridge = axes.x.at(rate / peak.gbs()).min(RIGHT - 130.0);
    // Labels must not overlap the label of the roof, the marks, or each other.
    let mut taken =
        vec![Label::new(ridge, roof_label(axes.y.at(rate)), format!("{rate:.1} GFLOP/s"))];
    let mut labels = html! { (taken[0].draw()) };
    taken.extend(ops.iter().map(|op| Label::new(op.x - 4.0, op.y + 5.0, " ".into())));
    for Op { line, number, x, y } in ops {
        let named = line.share >= NAMED;
        let text = if named { format!("{number} {}", line.name) } else { number.to_string() };
        let label = Label::beside((*x, *y), text, [(LEFT, RIGHT), (TOP, BOTTOM)], &taken);
        labels = html! { (labels) (label.draw()) };
        taken.push(label);
    }
    html! { @for op in ops { (op.mark()) } (labels) }
}

/// The baseline of the label of a roof at `y`: above it or, if it would be cut off there, below.
fn roof_label(y: f64) -> f64 {
    if y - 5.0 < TOP + 6.0 { y + 15.0 } else { y - 5.0 }
}

impl Op<'_> {
    fn mark(&self) -> Markup {
        let Line { name, gflops, share, .. } = self.line;
        let product = ["conv", "depthwise"].iter().any(|start| name.starts_with(start))
            || name.contains("goodness");
        let shape = if product { 3 } else { 0 };
        let share = percent(*share, 1);
        html! {
            g {
                title { (name) (format_args!(": {gflops:.2} GFLOP/s, ")) (share) " of the time" }
                (mark(shape, self.x, self.y, &series(usize::from(!product))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_of_the_roof_is_inside_the_picture() {
        for y in [TOP, TOP + 3.6, TOP + 11.0, TOP + 12.0, BOTTOM] {
            let baseline = roof_label(y);
            assert!((12.0..HEIGHT - 4.0).contains(&baseline), "{y}: {baseline}");
        }
    }
}
