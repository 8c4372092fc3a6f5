//! Parts that all pages share: the page itself, sections, tables, figures, legends, and the format of
//! numbers.

use maud::{DOCTYPE, Markup, PreEscaped, Render, html};

const STYLE: &str = include_str!("style.css");

/// A whole page, which needs no other file and has a light and a dark scheme. `intro` stands below the
/// title, `sections` are made by [`section`].
pub(crate) fn page(title: &str, intro: &Markup, sections: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                (intro)
                main { (sections) }
            }
        }
    };
    page.into_string()
}

/// A section of a page, under a heading.
pub(crate) fn section(title: &str, content: &Markup) -> Markup {
    html! { section { h2 { (title) } (content) } }
}

/// A note in a fainter colour.
pub(crate) fn note(text: &str) -> Markup {
    html! { p.faint { (text) } }
}

/// Content that scrolls horizontally if the screen is too narrow, also by keyboard.
pub(crate) fn scroll(label: &str, content: &Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(label) { (content) } }
}

/// A table with a head; `rows` are made by [`row`].
pub(crate) fn table(label: &str, heads: &[impl Render], rows: &Markup) -> Markup {
    let table = html! {
        table {
            tr { @for head in heads { th scope="col" { (head) } } }
            (rows)
        }
    };
    scroll(label, &table)
}

/// A row of a [`table`]: its name and its values.
pub(crate) fn row(name: impl Render, cells: impl IntoIterator<Item: Render>) -> Markup {
    html! { tr { th scope="row" { (name) } @for cell in cells { td { (cell) } } } }
}

/// A table of names and values.
pub(crate) fn facts<'a>(label: &str, facts: impl IntoIterator<Item = (&'a str, String)>) -> Markup {
    let table = html! {
        table {
            @for (name, value) in facts { tr { th scope="row" { (name) } td.text { (value) } } }
        }
    };
    scroll(label, &table)
}

/// One or more pictures under a caption.
pub(crate) fn figure(caption: impl Render, content: &Markup) -> Markup {
    html! { figure { figcaption { (caption) } (content) } }
}

/// Figures side by side, as many as fit.
pub(crate) fn grid(figures: &Markup) -> Markup {
    html! { div.grid { (figures) } }
}

/// The legend of a picture: a swatch and a name for each entry.
pub(crate) fn legend<'a>(entries: impl IntoIterator<Item = (Markup, &'a str)>) -> Markup {
    html! {
        p.key {
            @for (swatch, name) in entries {
                span { svg viewBox="0 0 32 18" aria-hidden="true" { (swatch) } (name) }
            }
        }
    }
}

/// Content that opens when its summary is clicked.
pub(crate) fn details(summary: &str, open: bool, content: &Markup) -> Markup {
    html! { details open[open] { summary { (summary) } (content) } }
}

/// A share, such as an accuracy, as a percentage.
pub(crate) fn percent(share: f64, decimals: usize) -> String {
    format!("{:.decimals$}%", 100.0 * share)
}

/// A number with a noun, as in `1 block` and `2 blocks`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A number of bytes in KiB or MiB.
pub(crate) fn size(bytes: usize) -> String {
    match bytes as f64 / 1024.0 {
        kib if kib < 1024.0 => format!("{kib:.1} KiB"),
        kib => format!("{:.1} MiB", kib / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_wherever_it_stands() {
        let hostile = "<b>&\"c\"";
        let safe = "&lt;b&gt;&amp;&quot;c&quot;";
        let table = table(hostile, &[hostile], &row(hostile, [hostile]));
        let whole = page(hostile, &note(hostile), &section(hostile, &figure(hostile, &table)));
        assert!(!whole.contains(hostile), "{whole}");
        // Title twice, note, heading, caption, label, head, name, value.
        assert_eq!(whole.matches(safe).count(), 9, "{whole}");
    }

    #[test]
    fn numbers_have_their_units() {
        assert_eq!((percent(0.12345, 2), percent(1.0, 0)), ("12.35%".into(), "100%".into()));
        assert_eq!((count(1, "block"), count(0, "block")), ("1 block".into(), "0 blocks".into()));
        assert_eq!((size(512), size(3 << 20)), ("0.5 KiB".into(), "3.0 MiB".into()));
    }
}
