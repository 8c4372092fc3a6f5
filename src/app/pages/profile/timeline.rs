//! The timeline of a step, with a row for each block.

use maud::{Markup, html};

use super::WIDTH;
use crate::app::pages::parts::{legend, percent};
use crate::app::pages::svg::{patterns, picture, px};
use crate::app::profile::Profile;

/// Height of a row in pixels.
const ROW: f64 = 34.0;
/// Least width of a rectangle, in pixels.
const LEAST: f64 = 0.3;

/// The phases of a step, each with the pattern that fills its ops, to tell them apart without colours.
fn phases() -> [(&'static str, Markup); 4] {
    let square = |colour: &str| html! { rect width="6" height="6" fill=(colour) {} };
    let lines = |data: &str| html! { path d=(data) stroke="var(--paper)" stroke-width="1.6" {} };
    [
        ("forward", square("var(--s0)")),
        ("backward", html! { (square("var(--s1)")) (lines("M-1 1l2-2M0 6l6-6M5 7l2-2")) }),
        (
            "goodness and loss",
            html! { (square("var(--s2)")) circle cx="3" cy="3" r="1.4" fill="var(--paper)" {} },
        ),
        ("update", html! { (square("var(--s3)")) (lines("M0 3h6")) }),
    ]
}

/// The index of the phase of a kind of op.
fn phase(op: &str) -> usize {
    match op {
        // `finite` checks the results of a step.
        "adamw" | "accumulate" | "finite" => 3,
        "cross_entropy" | "metrics" => 2,
        _ if op.contains("goodness") || op.contains("scores") => 2,
        _ if op.ends_with("grad") => 1,
        _ => 0,
    }
}

/// An op as it is drawn.
struct Bar {
    row: usize,
    x: f64,
    width: f64,
    phase: usize,
    /// Its op, block and time.
    title: String,
}

/// The ops of the last timed step.
pub(super) fn section(profile: &Profile) -> Markup {
    let id = |phase: usize| format!("phase{phase}");
    let fill = |phase: usize| format!("url(#{})", id(phase));
    let phases = phases();
    let names = phases.each_ref().map(|(name, _)| *name);
    let filled: Vec<(String, Markup)> =
        phases.into_iter().enumerate().map(|(i, (_, pattern))| (id(i), pattern)).collect();
    let swatch = |i| html! { rect width="32" height="18" fill=(fill(i)) {} };
    let height = ROW * profile.by_block.len() as f64 + 24.0;
    let end = end(profile);
    let content = html! {
        @for (row, block) in profile.by_block.iter().enumerate() {
            @let y = ROW * row as f64;
            text x="0" y=(px(y + 11.0)) { (block.name) ", " (percent(block.share, 1)) }
            path d={"M0 " (px(y + ROW - 4.0)) "H" (px(WIDTH))} stroke="var(--line)" {}
        }
        @for bar in bars(profile) {
            rect x=(px(bar.x)) y=(px(ROW * bar.row as f64 + 15.0)) width=(px(bar.width))
                height="14" fill=(fill(bar.phase)) { title { (bar.title) } }
        }
        text.faint x="0" y=(px(height - 6.0)) { "0" }
        text.faint x=(px(WIDTH)) y=(px(height - 6.0)) text-anchor="end" {
            (format_args!("{:.2} ms", 1e3 * end))
        }
    };
    html! {
        (patterns(0, &filled))
        (legend((0..).map(swatch).zip(names)))
        (picture("timeline", (0.0, 0.0), (WIDTH, height), &content))
    }
}

/// The end of the last dispatch, in seconds.
fn end(profile: &Profile) -> f64 {
    profile.dispatches.last().map_or(0.0, |d| d.span.end).max(f64::MIN_POSITIVE)
}

fn bars(profile: &Profile) -> Vec<Bar> {
    let end = end(profile);
    let bars = profile.dispatches.chunk_by(|a, b| a.op == b.op).filter_map(|dispatches| {
        let (first, last) = (dispatches.first()?, dispatches.last()?);
        let op = profile.ops.iter().find(|op| op.index == first.op)?;
        let seconds = last.span.end - first.span.start;
        Some(Bar {
            row: profile.by_block.iter().position(|line| line.name == op.block).unwrap_or(0),
            x: WIDTH * first.span.start / end,
            width: (WIDTH * seconds / end).max(LEAST),
            phase: phase(&op.line.name),
            title: format!("{} ({}): {:.3} ms", op.line.name, op.block, 1e3 * seconds),
        })
    });
    bars.collect()
}
