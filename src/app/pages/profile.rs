//! A profile as one page: the roofline with a mark for each kind of op, a timeline, and the tables.
//! Shapes and patterns repeat what colours say.

mod roofline;
mod timeline;

use maud::{Markup, html};

use super::parts::{facts, page as whole, row, section, table};
use crate::app::profile::table::COLUMNS;
use crate::app::profile::{Line, Profile};

/// Width of the pictures: narrow, so that their text can be read on a phone.
const WIDTH: f64 = 480.0;

/// The page as HTML.
pub fn page(profile: &Profile, title: &str) -> String {
    let sections = html! {
        @if let Some(peak) = profile.peak {
            (section("Roofline", &roofline::section(profile, peak)))
        }
        (section("One step, block by block", &timeline::section(profile)))
        @for (by, lines) in profile.tables() {
            (section(&format!("By {by}"), &lines_by(by, lines)))
        }
    };
    whole(title, &facts("Summary", profile.summary()), &sections)
}

/// A table. Kinds of op are numbered as in the roofline.
fn lines_by(by: &str, lines: &[Line]) -> Markup {
    let name = |index: usize, line: &Line| match by {
        "op" => format!("{}. {}", index + 1, line.name),
        _ => line.name.clone(),
    };
    let heads: Vec<&str> = [by].into_iter().chain(COLUMNS).collect();
    let rows = html! {
        @for (index, line) in lines.iter().enumerate() { (row(name(index, line), line.cells())) }
    };
    table(&format!("By {by}"), &heads, &rows)
}
