//! Charts of means with deviations: a series for each way to train, over columns.

use maud::{Markup, html};

use super::axis::Axis;
use crate::app::pages::parts::{figure, note, scroll};
use crate::app::pages::svg::{COLOURS, document, mark, picture, polyline, px, series};

const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
/// Pixels on the right.
const RIGHT: f64 = 20.0;
/// Width of a column on a page, in pixels.
const COLUMN: f64 = 84.0;
/// Pixels between the marks of a column.
const BESIDE: f64 = 10.0;
/// Line height of the legend, in pixels.
const LEADING: f64 = 20.0;

/// A chart of means. Values are fractions and shown in percent.
pub struct Scatter<'a> {
    /// Its title.
    pub title: &'a str,
    /// A note that explains values and bars.
    pub note: &'a str,
    /// Names of the columns.
    pub columns: Vec<&'a str>,
    /// The series that are compared.
    pub series: Vec<Series<'a>>,
}

/// A series of means.
pub struct Series<'a> {
    /// Its name.
    pub name: &'a str,
    /// Mean and deviation in each column; `None` if they are not known.
    pub values: Vec<Option<(f64, f64)>>,
}

/// Size and colours of a drawing.
struct Drawing<C> {
    width: f64,
    top: f64,
    colour: C,
    line: &'static str,
}

impl Scatter<'_> {
    /// The chart as an SVG document. Series differ in colour and in the shape of their marks.
    pub fn svg(&self) -> String {
        let colour = |index: usize| COLOURS[index % COLOURS.len()].to_owned();
        let drawing = Drawing { width: 720.0, top: 50.0, colour, line: "#ddd" };
        let size = self.size(drawing.width, drawing.top);
        document(size, LEFT, self.title, self.note, &self.draw(&drawing))
    }

    /// The chart as a figure of a page.
    pub fn figure(&self) -> Markup {
        let width = COLUMN * self.columns.len().max(4) as f64;
        let drawing = Drawing { width, top: 10.0, colour: series, line: "var(--line)" };
        let size = self.size(drawing.width, drawing.top);
        let label = "Mean accuracy of each way; the table above has the numbers";
        let drawn = picture(label, (0.0, 0.0), size, &self.draw(&drawing));
        // With many columns the chart scrolls instead of shrinking.
        let bounds = format!("min-width:{:.0}px;max-width:{:.0}px", 0.8 * size.0, 1.2 * size.0);
        let drawn = html! { div.wide style=(bounds) { (drawn) } };
        figure("Chart", &html! { (note(self.note)) (scroll("Chart", &drawn)) })
    }

    /// The size of the whole picture.
    fn size(&self, width: f64, top: f64) -> (f64, f64) {
        (LEFT + width + RIGHT, top + HEIGHT + 40.0 + LEADING * self.series.len() as f64)
    }

    /// The vertical axis, with steps of 5 percent around all bars.
    fn axis(&self) -> Axis {
        let known = || self.series.iter().flat_map(|series| &series.values).flatten();
        let low = known().map(|(mean, deviation)| mean - deviation).fold(1.0, f64::min);
        let high = known().map(|(mean, deviation)| mean + deviation).fold(0.0, f64::max);
        Axis::in_steps(low, high.max(low), 0.05)
    }

    fn draw<C: Fn(usize) -> String>(&self, drawing: &Drawing<C>) -> Markup {
        let Drawing { width, top, line, colour } = drawing;
        let bottom = top + HEIGHT;
        let axis = self.axis();
        let y = |value: f64| bottom - HEIGHT * axis.place(value);
        let x = |column: usize| LEFT + width / self.columns.len() as f64 * (column as f64 + 0.5);
        html! {
            @for value in axis.ticks() {
                path d={"M" (px(LEFT)) " " (px(y(value))) "h" (px(*width))} stroke=(line) {}
                text x=(px(LEFT - 6.0)) y=(px(y(value) + 4.0)) text-anchor="end" {
                    (format_args!("{:.0}", 100.0 * value))
                }
            }
            @for (column, name) in self.columns.iter().enumerate() {
                text x=(px(x(column))) y=(px(bottom + 18.0)) text-anchor="middle" { (name) }
            }
            @for (index, Series { name, values }) in self.series.iter().enumerate() {
                @let colour = colour(index);
                // Series are side by side, so that bars do not cover each other.
                @let aside = (index as f64 - (self.series.len() as f64 - 1.0) / 2.0) * BESIDE;
                @let known = values.iter().enumerate().filter_map(|(column, value)| {
                    value.map(|(mean, deviation)| (x(column) + aside, mean, deviation))
                });
                @for (x, mean, deviation) in known.clone() {
                    (bar(x, y(mean + deviation), y(mean - deviation), &colour))
                    (mark(index, x, y(mean), &colour))
                }
                path d=(polyline(known.map(|(x, mean, _)| (x, y(mean))))) fill="none"
                    stroke=(colour) {}
                @let (x, y) = (LEFT + 10.0, bottom + 42.0 + LEADING * index as f64);
                (mark(index, x, y - 4.0, &colour))
                text x=(px(x + 14.0)) y=(px(y)) { (name) }
            }
        }
    }
}

/// The bar of one deviation up and down.
fn bar(x: f64, top: f64, bottom: f64, colour: &str) -> Markup {
    html! { path d={"M" (px(x)) " " (px(top)) "V" (px(bottom))} stroke=(colour) {} }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_values_are_left_out() {
        let known = vec![Some((0.51, 0.01)), None];
        let series = vec![
            Series { name: "<a>", values: known },
            Series { name: "b", values: vec![None, None] },
        ];
        let scatter = Scatter { title: "t & u", note: "n", columns: vec!["c", "d"], series };
        let ticks: Vec<f64> = scatter.axis().ticks().map(|v| (100.0 * v).round()).collect();
        assert_eq!(ticks, [50.0, 55.0]);
        let svg = scatter.svg();
        assert!(svg.contains("t &amp; u") && svg.contains("&lt;a&gt;"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        // A mark for the mean, and one for each series in the legend.
        assert_eq!(
            svg.matches("fill=\"#").count() - svg.matches("fill=\"#555").count(),
            3,
            "{svg}"
        );
        let nothing = Scatter { series: vec![Series { name: "a", values: vec![None] }], ..scatter };
        assert!(!nothing.svg().contains("NaN"));
    }
}
