//! The results of an evaluation by class: the confusion matrix, and histograms of goodness.

use maud::{Markup, html};

use super::parts::{details, figure, legend, percent, row, scroll, table};
use super::svg::{patterns, picture, px};
use crate::train::detail::{Detail, Spread};

/// The most classes for a matrix; with more, only the worst classes are shown.
const MATRIX: usize = 24;
/// Rows of the table of the worst classes.
const ROWS: usize = 24;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 130.0;
const BINS: usize = 40;
/// The fraction of values at either end that counts for the outermost bins of a histogram.
const TAIL: f64 = 0.002;

/// The confusion matrix, and the accuracy of each class.
pub fn confusion(detail: &Detail, classes: &[String]) -> Markup {
    html! {
        @if detail.classes <= MATRIX { (matrix(detail, classes)) }
        (worst(detail, classes))
    }
}

fn matrix(detail: &Detail, classes: &[String]) -> Markup {
    let count = detail.classes;
    let share = |t: usize, p: usize| {
        detail.confusion[t * count + p] as f64 / detail.recognised(t).0.max(1) as f64
    };
    let pairs = (0..count).flat_map(|t| (0..count).map(move |p| (t, p))).filter(|(t, p)| t != p);
    let largest = pairs.map(|(t, p)| share(t, p)).fold(f64::MIN_POSITIVE, f64::max);
    let cell = |t: usize, p: usize| {
        let images = detail.confusion[t * count + p];
        let (kind, shade) =
            if t == p { ("hit", share(t, p)) } else { ("miss", 0.75 * share(t, p) / largest) };
        html! {
            td.(kind).strong[shade > 0.55] style={"--v:" (format_args!("{shade:.2}"))} {
                @if images == 0 { "·" } @else { (images) }
            }
        }
    };
    let matrix = html! {
        table.matrix {
            tr {
                th scope="col" { "class" }
                @for (class, name) in classes.iter().enumerate() {
                    th scope="col" { abbr title=(name) { (class) } }
                }
            }
            @for (t, name) in classes.iter().enumerate() {
                tr { th scope="row" { (t) " " (name) } @for p in 0..count { (cell(t, p)) } }
            }
        }
    };
    html! {
        p {
            "Rows are true classes, columns the classes that all blocks vote for. Shades are shares of "
            "a row: blue up to the whole row, red up to the largest share of a mistake."
        }
        (scroll("Confusion matrix", &matrix))
    }
}

/// A row for each class or, if there are many, for those with the lowest accuracy.
fn worst(detail: &Detail, classes: &[String]) -> Markup {
    let share = |class: usize| {
        let (images, right) = detail.recognised(class);
        right as f64 / images.max(1) as f64
    };
    let mut order: Vec<usize> =
        (0..detail.classes).filter(|class| detail.recognised(*class).0 > 0).collect();
    order.sort_by(|a, b| share(*a).total_cmp(&share(*b)));
    let shown = order.len().min(ROWS);
    let title = if shown < order.len() {
        format!("The {shown} of {} classes with the lowest accuracy", order.len())
    } else {
        "Accuracy of each class".to_owned()
    };
    let taken = |class: usize| {
        let guesses = &detail.confusion[class * detail.classes..][..detail.classes];
        let others = guesses.iter().enumerate().filter(|(p, images)| *p != class && **images > 0);
        let most = others.max_by_key(|(p, images)| (**images, usize::MAX - p));
        most.map_or("–".to_owned(), |(p, images)| format!("{} ({images})", classes[p]))
    };
    let cells = |class: usize| {
        [detail.recognised(class).0.to_string(), percent(share(class), 1), taken(class)]
    };
    let heads = ["class", "images", "accuracy", "most often taken for"];
    let rows = html! { @for &class in &order[..shown] { (row(&classes[class], cells(class))) } };
    details(&title, detail.classes > MATRIX, &table(&title, &heads, &rows))
}

/// A histogram for each block: the scores of each image's own class, and of the other classes.
pub fn spreads(detail: &Detail, blocks: &[String], what: &str) -> Markup {
    let hatch = html! { path d="M0 0v6" stroke="var(--s0)" stroke-width="2.4" {} };
    html! {
        p {
            "The " (what) " of each test image's own class should lie to the right of that of the "
            "other classes. Both have the same area; outliers count for the outermost bars."
        }
        (patterns(45, &[("hatch".to_owned(), hatch)]))
        (legend([(OWN.swatch(), "own class"), (OTHERS.swatch(), "other classes")]))
        div.grid.small {
            @for (spread, name) in detail.blocks.iter().zip(blocks) {
                @if let Some(histogram) = histogram(spread, name, what) { (histogram) }
            }
        }
    }
}

/// The style of a histogram's bars.
struct Bars {
    fill: &'static str,
    opacity: &'static str,
    colour: &'static str,
}

const OWN: Bars = Bars { fill: "url(#hatch)", opacity: "1", colour: "var(--s0)" };
const OTHERS: Bars = Bars { fill: "var(--s1)", opacity: ".3", colour: "var(--s1)" };

impl Bars {
    fn swatch(&self) -> Markup {
        let Self { fill, opacity, colour } = self;
        html! {
            rect width="32" height="18" fill=(fill) fill-opacity=(opacity) stroke=(colour) {}
        }
    }

    /// The bars of some shares, with the mean as a stroke below.
    fn draw(&self, shares: &[f64], highest: f64, mean: f64) -> Markup {
        let Self { fill, opacity, colour } = self;
        let step = WIDTH / shares.len() as f64;
        let outline = html! {
            "M0 " (HEIGHT)
            @for share in shares { "V" (px(HEIGHT * (1.0 - 0.95 * share / highest))) "h" (step) }
            "V" (HEIGHT) "z"
        };
        html! {
            path d=(outline) fill=(fill) fill-opacity=(opacity) stroke=(colour) {}
            path d={"M" (px(mean)) " " (HEIGHT) "v6"} stroke=(colour) stroke-width="2.5" {}
        }
    }
}

fn histogram(spread: &Spread, name: &str, what: &str) -> Option<Markup> {
    let (own, others) = (&spread.own, &spread.others);
    let (a, b) = (own.range(TAIL)?, others.range(TAIL)?);
    let (low, high) = (a.0.min(b.0), a.1.max(b.1));
    let shares = [own, others].map(|h| h.shares((low, high), BINS));
    let highest = shares.iter().flatten().fold(0.0, |a: f64, b| a.max(*b));
    let x = |value: f64| (WIDTH * (value - low) / (high - low)).clamp(0.0, WIDTH);
    let means = (own.mean()?, others.mean()?);
    let content = html! {
        (OTHERS.draw(&shares[1], highest, x(means.1)))
        (OWN.draw(&shares[0], highest, x(means.0)))
        path d={"M0 " (HEIGHT) "h" (WIDTH)} stroke="var(--ink)" {}
        text.faint y=(HEIGHT + 18.0) { (format_args!("{low:.1}")) }
        text.faint x=(WIDTH) y=(HEIGHT + 18.0) text-anchor="end" { (format_args!("{high:.1}")) }
    };
    let label = format!(
        "Histogram of the {what} in {name}: mean {:.3} for the own class, {:.3} for other classes",
        means.0, means.1
    );
    let drawn = picture(&label, (-2.0, 0.0), (WIDTH + 4.0, HEIGHT + 22.0), &content);
    let means = format!("mean {:.2} own, {:.2} others", means.0, means.1);
    Some(figure(name, &html! { (drawn) p.faint.key { (means) } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_many_classes_only_the_worst_are_shown() {
        let page = |count: usize| {
            let mut detail = Detail::new(1, count);
            for class in 0..count {
                // The first two are taken for each other.
                let guess = if class < 2 { 1 - class } else { class };
                let scores: Vec<f32> = (0..count).map(|k| f32::from(k == guess)).collect();
                detail.add(class, class, &[&scores]);
            }
            let names: Vec<String> = (0..count).map(|class| format!("<{class}>")).collect();
            confusion(&detail, &names).into_string()
        };
        let (few, many) = (page(MATRIX), page(MATRIX + 6));
        assert!(few.contains("class=\"matrix\"") && !many.contains("class=\"matrix\""));
        // All images of the first two classes are taken for the other one.
        for cell in ["<td class=\"hit\" style=\"--v:0.00\">·</td>", "<td class=\"miss strong\""] {
            assert!(few.contains(cell), "{few}");
        }
        assert!(many.contains("<details open><summary>The 24 of 30 classes"), "{many}");
        assert_eq!(many.matches("<tr><th scope=\"row\">").count(), ROWS);
        let worst = "<th scope=\"row\">&lt;0&gt;</th><td>1</td><td>0.0%</td><td>&lt;1&gt; (1)</td>";
        assert!(many.contains(worst) && few.contains(worst), "{many}");
    }

    #[test]
    fn a_histogram_without_values_is_left_out() {
        let mut spread = Spread::default();
        assert!(histogram(&spread, "a", "goodness").is_none());
        (0..100).for_each(|i| spread.own.add(i as f32 / 10.0));
        spread.others.add(1.5);
        let html = histogram(&spread, "a", "goodness").unwrap().into_string();
        assert!(html.contains("mean 4.950 for the own class, 1.500 for other"), "{html}");
        assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
    }
}
