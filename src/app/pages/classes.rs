//! What an evaluation shows of classes: which is taken for which, and how goodness tells them
//! apart.

use std::fmt::Write;

use crate::app::pages::svg::escape;
use crate::train::detail::{Detail, Spread};

/// Classes up to which there is a matrix; of more, only what is worst.
const MATRIX: usize = 24;
/// Rows of a table of what is worst.
const ROWS: usize = 24;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 130.0;
const BINS: usize = 40;
/// The share of values on either side that a histogram leaves to its outermost bins.
const TAIL: f64 = 0.002;

/// Which class is taken for which, and how many of each are recognised.
pub fn confusion(detail: &Detail, classes: &[String]) -> String {
    let mut out = String::new();
    if detail.classes <= MATRIX {
        out.push_str(&matrix(detail, classes));
    }
    out + &table(detail, classes)
}

fn matrix(detail: &Detail, classes: &[String]) -> String {
    let mut out = "<p>Rows are what images are, columns what the vote of all blocks takes them for. Shades are shares of a row: right answers up to all of it, mistakes up to the largest share there is.</p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Confusion matrix\"><table class=\"matrix\">\n<tr><th scope=\"col\">class</th>".to_owned();
    let count = detail.classes;
    let share = |t: usize, p: usize| {
        detail.confusion[t * count + p] as f64 / detail.recognised(t).0.max(1) as f64
    };
    let pairs = (0..count).flat_map(|t| (0..count).map(move |p| (t, p))).filter(|(t, p)| t != p);
    let largest = pairs.map(|(t, p)| share(t, p)).fold(f64::MIN_POSITIVE, f64::max);
    // Writing to a String cannot fail.
    for (class, name) in classes.iter().enumerate() {
        let _ =
            write!(out, "<th scope=\"col\"><abbr title=\"{}\">{class}</abbr></th>", escape(name));
    }
    out.push_str("</tr>\n");
    for (t, name) in classes.iter().enumerate() {
        let _ = write!(out, "<tr><th scope=\"row\">{t} {}</th>", escape(name));
        for p in 0..count {
            let images = detail.confusion[t * count + p];
            let (kind, shade) =
                if t == p { ("hit", share(t, p)) } else { ("miss", 0.75 * share(t, p) / largest) };
            let strong = if shade > 0.55 { " strong" } else { "" };
            let shown = if images == 0 { "·".to_owned() } else { images.to_string() };
            let _ =
                write!(out, "<td class=\"{kind}{strong}\" style=\"--v:{shade:.2}\">{shown}</td>");
        }
        out.push_str("</tr>\n");
    }
    out + "</table></div>\n"
}

/// A row for each class, or for those that are recognised least.
fn table(detail: &Detail, classes: &[String]) -> String {
    let share = |class: &usize| {
        let (images, right) = detail.recognised(*class);
        right as f64 / images.max(1) as f64
    };
    let mut order: Vec<usize> =
        (0..detail.classes).filter(|class| detail.recognised(*class).0 > 0).collect();
    order.sort_by(|a, b| share(a).total_cmp(&share(b)));
    let shown = order.len().min(ROWS);
    let title = if shown < order.len() {
        format!("The {shown} classes of {} that are recognised least", order.len())
    } else {
        "Accuracy of each class".to_owned()
    };
    let mut out = format!(
        "<details{}><summary>{title}</summary>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{title}\"><table>\n<tr><th scope=\"col\">class</th><th scope=\"col\">images</th><th scope=\"col\">recognised</th><th scope=\"col\">most often taken for</th></tr>\n",
        if detail.classes > MATRIX { " open" } else { "" }
    );
    for class in order.into_iter().take(ROWS) {
        let row = &detail.confusion[class * detail.classes..][..detail.classes];
        let others = row.iter().enumerate().filter(|(p, images)| *p != class && **images > 0);
        let most = others.max_by_key(|(p, images)| (**images, usize::MAX - p));
        let taken = most
            .map_or("–".to_owned(), |(p, images)| format!("{} ({images})", escape(&classes[p])));
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{:.1}%</td><td>{taken}</td></tr>",
            escape(&classes[class]),
            detail.recognised(class).0,
            100.0 * share(&class)
        );
    }
    out + "</table></div></details>\n"
}

/// A histogram for each block: the score of each image's own class, and those of the others.
pub fn spreads(detail: &Detail, blocks: &[String], what: &str) -> String {
    let mut out = format!(
        "<p>The {what} of each test image's own class should lie to the right of that of the other classes. Both have the same area; values far out count for the outermost bars.</p>\n<svg style=\"position:absolute;width:0;height:0\" aria-hidden=\"true\"><defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><path d=\"M0 0v6\" stroke=\"var(--s0)\" stroke-width=\"2.4\"/></pattern></defs></svg>\n<p class=\"key\"><span><svg viewBox=\"0 0 32 18\" aria-hidden=\"true\"><rect width=\"32\" height=\"18\" fill=\"url(#hatch)\" stroke=\"var(--s0)\"/></svg>own class</span><span><svg viewBox=\"0 0 32 18\" aria-hidden=\"true\"><rect width=\"32\" height=\"18\" fill=\"var(--s1)\" fill-opacity=\".3\" stroke=\"var(--s1)\"/></svg>other classes</span></p>\n<div class=\"grid small\">\n"
    );
    for (spread, name) in detail.blocks.iter().zip(blocks) {
        out.push_str(&histogram(spread, name, what).unwrap_or_default());
    }
    out + "</div>\n"
}

fn histogram(spread: &Spread, name: &str, what: &str) -> Option<String> {
    let (own, others) = (&spread.own, &spread.others);
    let (a, b) = (own.range(TAIL)?, others.range(TAIL)?);
    let range = (a.0.min(b.0), a.1.max(b.1));
    let shares = [own, others].map(|h| h.shares(range, BINS));
    let highest = shares.iter().flatten().fold(0.0, |a: f64, b| a.max(*b));
    let x = |value: f64| WIDTH * (value - range.0) / (range.1 - range.0);
    let outline = |shares: &[f64]| {
        let step = WIDTH / BINS as f64;
        let bar = |share: &f64| format!("V{:.1}h{step}", HEIGHT * (1.0 - 0.95 * share / highest));
        format!("M0 {HEIGHT}{}V{HEIGHT}z", shares.iter().map(bar).collect::<String>())
    };
    let means = (own.mean()?, others.mean()?);
    let mean = |value: f64, colour: &str| {
        format!(
            "<path d=\"M{0:.1} {HEIGHT}v6\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
            x(value).clamp(0.0, WIDTH)
        )
    };
    Some(format!(
        "<figure><figcaption>{0}</figcaption>\n<svg viewBox=\"-2 0 {1} {2}\" font-size=\"12\" role=\"img\" aria-label=\"Histogram of the {what} in {0}: mean {3:.3} for the own class, {4:.3} for other classes\">\n<path d=\"{5}\" fill=\"var(--s1)\" fill-opacity=\".3\" stroke=\"var(--s1)\"/><path d=\"{6}\" fill=\"url(#hatch)\" stroke=\"var(--s0)\"/>\n<path d=\"M0 {HEIGHT}h{WIDTH}\" stroke=\"var(--ink)\"/>{7}{8}<text class=\"faint\" y=\"{9}\">{10:.1}</text><text class=\"faint\" x=\"{WIDTH}\" y=\"{9}\" text-anchor=\"end\">{11:.1}</text>\n</svg>\n<p class=\"faint key\">mean {3:.2} own, {4:.2} others</p></figure>\n",
        escape(name),
        WIDTH + 4.0,
        HEIGHT + 22.0,
        means.0,
        means.1,
        outline(&shares[1]),
        outline(&shares[0]),
        mean(means.0, "var(--s0)"),
        mean(means.1, "var(--s1)"),
        HEIGHT + 18.0,
        range.0,
        range.1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_classes_only_the_worst_are_shown() {
        let page = |count: usize| {
            let mut detail = Detail::new(1, count);
            for class in 0..count {
                // The first two are taken for each other.
                let guess = if class < 2 { 1 - class } else { class };
                let scores: Vec<f32> = (0..count).map(|k| f32::from(k == guess)).collect();
                detail.add(class, class, &[&scores]);
            }
            let names: Vec<String> = (0..count).map(|class| format!("<{class}>")).collect();
            confusion(&detail, &names)
        };
        let (few, many) = (page(MATRIX), page(MATRIX + 6));
        assert!(few.contains("class=\"matrix\"") && !many.contains("class=\"matrix\""));
        assert!(many.contains("<details open><summary>The 24 classes of 30"), "{many}");
        assert_eq!(many.matches("<tr><th scope=\"row\">").count(), ROWS);
        let worst = "<th scope=\"row\">&lt;0&gt;</th><td>1</td><td>0.0%</td><td>&lt;1&gt; (1)</td>";
        assert!(many.contains(worst) && few.contains(worst), "{many}");
    }

    #[test]
    fn a_histogram_needs_values() {
        let mut spread = Spread::default();
        assert_eq!(histogram(&spread, "a", "goodness"), None);
        (0..100).for_each(|i| spread.own.add(i as f32 / 10.0));
        spread.others.add(1.5);
        let html = histogram(&spread, "a", "goodness").unwrap();
        assert!(html.contains("mean 4.950 for the own class, 1.500 for other"), "{html}");
        assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
    }
}
