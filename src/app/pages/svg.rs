//! Parts of pictures: SVG documents, pictures on a page, colours and marks.

use maud::{Markup, Render, html};

/// Colours of series in a document on white, which also differ in brightness. On a page, use
/// [`series`].
pub(crate) const COLOURS: [&str; 6] =
    ["#0b3c8c", "#d1495b", "#2a9d5c", "#e09f3e", "#7b4fa3", "#3f3f3f"];

/// An SVG document on white, with a title and a note below it that begin at `left`.
pub(crate) fn document(
    (width, height): (f64, f64),
    left: f64,
    title: &str,
    note: &str,
    content: &Markup,
) -> String {
    let document = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={"0 0 " (px(width)) " " (px(height))}
            font-family="sans-serif" font-size="12" {
            rect width="100%" height="100%" fill="white" {}
            text x=(px(left)) y="24" font-size="16" { (title) }
            text x=(px(left)) y="42" fill="#555" { (note) }
            (content)
        }
    };
    document.into_string() + "\n"
}

/// A picture on a page: its description in words, its origin and size, and its content, which uses the
/// colours `var(--ink)`, `var(--line)` and [`series`].
pub(crate) fn picture(
    label: &str,
    (left, top): (f64, f64),
    (width, height): (f64, f64),
    content: &Markup,
) -> Markup {
    html! {
        svg viewBox={(px(left)) " " (px(top)) " " (px(width)) " " (px(height))}
            font-size="12" role="img" aria-label=(label) { (content) }
    }
}

/// Fill patterns for the pictures of a page, each with its id: squares of 6 × 6 pixels, rotated by
/// `degrees`.
pub(crate) fn patterns(degrees: u32, patterns: &[(String, Markup)]) -> Markup {
    html! {
        svg style="position:absolute;width:0;height:0" aria-hidden="true" {
            defs {
                @for (id, content) in patterns {
                    pattern id=(id) width="6" height="6" patternUnits="userSpaceOnUse"
                        patternTransform={"rotate(" (degrees) ")"} { (content) }
                }
            }
        }
    }
}

/// A length or position in a picture, rounded to a tenth of a pixel.
pub(crate) fn px(value: f64) -> impl Render {
    // Adding 0 makes -0 a plain 0.
    (10.0 * value).round() / 10.0 + 0.0
}

/// Points joined by straight lines, as path data.
pub(crate) fn polyline(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let mut data = html! {};
    for (x, y) in points {
        let command = if data.0.is_empty() { "M" } else { "L" };
        data.0 += &html! { (command) (px(x)) " " (px(y)) }.0;
    }
    data.into_string()
}

/// The colour of a block of a network. Steps of the golden angle keep neighbours apart.
pub(crate) fn block_colour(block: usize) -> String {
    format!("hsl({:.0} 55% 52%)", (block as f64 * 137.508) % 360.0)
}

/// The colour of a series on a page.
pub(crate) fn series(series: usize) -> String {
    format!("var(--s{})", series % COLOURS.len())
}

/// The mark of a series at a point, in one of four shapes.
pub(crate) fn mark(series: usize, x: f64, y: f64, colour: &str) -> Markup {
    let (dx, dy, shape) = match series % 4 {
        0 => (-4.0, -4.0, "h8v8h-8z"),
        1 => (0.0, -5.0, "l5 9h-10z"),
        2 => (0.0, -5.0, "l5 5-5 5-5-5z"),
        _ => (-4.0, 0.0, "a4 4 0 1 0 8 0a4 4 0 1 0-8 0z"),
    };
    html! { path d={"M" (px(x + dx)) " " (px(y + dy)) (shape)} fill=(colour) {} }
}
