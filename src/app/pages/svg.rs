//! Pieces of pictures that several parts of the program draw: SVG documents, and pages of HTML
//! that hold such pictures.

/// Colours of series in a document on white; they differ in brightness too. On a [`page`], use
/// [`series`].
pub(crate) const COLOURS: [&str; 6] =
    ["#0b3c8c", "#d1495b", "#2a9d5c", "#e09f3e", "#7b4fa3", "#3f3f3f"];

/// The beginning of a document on white, with a title and a line below it; to be closed by
/// `</svg>`.
pub(crate) fn document(width: f64, height: f64, left: f64, title: &str, note: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{left}\" y=\"24\" font-size=\"16\">{}</text>\n<text x=\"{left}\" y=\"42\" fill=\"#555\">{}</text>\n",
        escape(title),
        escape(note)
    )
}

/// Text as it may stand in an SVG or HTML document, also within quotes.
pub(crate) fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}

/// The colour of a block of a network. Steps of the golden angle keep neighbours apart.
pub(crate) fn block_colour(block: usize) -> String {
    format!("hsl({:.0} 55% 52%)", (block as f64 * 137.508) % 360.0)
}

/// A mark at a point of a series, in one of four shapes.
pub(crate) fn mark(series: usize, x: f64, y: f64, colour: &str) -> String {
    let path = match series % 4 {
        0 => format!("M{:.1} {:.1}h8v8h-8z", x - 4.0, y - 4.0),
        1 => format!("M{x:.1} {:.1}l5 9h-10z", y - 5.0),
        2 => format!("M{x:.1} {:.1}l5 5-5 5-5-5z", y - 5.0),
        _ => format!("M{:.1} {y:.1}a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", x - 4.0),
    };
    format!("<path d=\"{path}\" fill=\"{colour}\"/>\n")
}

/// Colours of a page, for light and for dark screens: text, paper, secondary text, lines, and six
/// series.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c1c1c;--paper:#fff;--faint:#5a5a5a;--line:#d8d8d8;\
--s0:#0b3c8c;--s1:#c03a4d;--s2:#1f7f49;--s3:#a86a0c;--s4:#7b4fa3;--s5:#3f3f3f}
@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--paper:#16181b;--faint:#a8a8a8;\
--line:#3a3d42;--s0:#86b4ff;--s1:#ff8d9c;--s2:#6fd79b;--s3:#f0bd6a;--s4:#c9a5ee;--s5:#d0d0d0}}
body{margin:0 auto;padding:1rem;max-width:64rem;font:15px/1.5 system-ui,sans-serif;\
color:var(--ink);background:var(--paper)}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
svg{display:block;width:100%;max-width:42rem;height:auto;font-family:inherit}
svg text{fill:var(--ink)}
.scroll{overflow-x:auto}
.faint,svg text.faint{color:var(--faint);fill:var(--faint)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child,.text{text-align:left}
.text{white-space:normal}
";

/// The colour of a series on a [`page`].
pub(crate) fn series(series: usize) -> String {
    format!("var(--s{})", series % COLOURS.len())
}

/// A page of HTML that needs no other file, and follows the reader's choice of light or dark.
/// `body` is HTML: SVG drawn in `var(--ink)`, `var(--line)` and [`series`], tables, text.
pub(crate) fn page(title: &str, body: &str) -> String {
    styled_page(title, "", body)
}

/// The same with rules of its own, as CSS.
pub(crate) fn styled_page(title: &str, style: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}
