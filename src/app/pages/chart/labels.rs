//! Labels of a chart, placed so that they do not overlap.

use maud::{Markup, html};

use super::{BOTTOM, HEIGHT, Line, TOP};
use crate::app::pages::svg::px;

/// Line height of text, in pixels.
const LEADING: f64 = 14.0;
/// Largest number of letters of a label.
const LETTERS: usize = 15;
/// The most lines that all have labels; with more, only the first, the last and the highest have one.
const LABELLED: usize = 12;

/// The lines that have a label at their end: index and text.
pub(super) fn names(lines: &[&Line]) -> Vec<(usize, String)> {
    let last = |index: &usize| lines[*index].points.last().map_or(f64::NEG_INFINITY, |p| p.1);
    let highest = (0..lines.len()).max_by(|a, b| last(a).total_cmp(&last(b)));
    let wanted = |index: &usize| {
        let ends = *index == 0 || index + 1 == lines.len();
        lines.len() <= LABELLED || ends || Some(*index) == highest
    };
    let short = |name: &str| match name.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    };
    let named = |index: &usize| !lines[*index].name.is_empty();
    (0..lines.len())
        .filter(named)
        .filter(wanted)
        .map(|index| (index, short(&lines[index].name)))
        .collect()
}

/// Positions of labels near the ends of their lines, without overlaps: index, text, and pixels from the
/// top.
pub(super) fn spread<'a>(
    names: &'a [(usize, String)],
    lines: &[&Line],
    at: impl Fn((f64, f64)) -> f64,
) -> Vec<(usize, &'a str, f64)> {
    let place = |(index, name): &'a (usize, String)| {
        let point = lines[*index].points.last().copied().unwrap_or_default();
        (*index, name.as_str(), at(point))
    };
    let mut placed: Vec<_> = names.iter().map(place).collect();
    placed.sort_by(|a, b| a.2.total_cmp(&b.2));
    let mut free = TOP;
    for (_, _, y) in &mut placed {
        *y = y.max(free);
        free = *y + LEADING;
    }
    let mut below = HEIGHT - BOTTOM + 4.0;
    for (_, _, y) in placed.iter_mut().rev() {
        *y = y.min(below);
        below = *y - LEADING;
    }
    placed
}

/// A text at a position.
pub(in crate::app::pages) struct Label {
    x: f64,
    /// The baseline.
    y: f64,
    text: String,
}

impl Label {
    /// A label whose baseline begins at a point.
    pub fn new(x: f64, y: f64, text: String) -> Self {
        Self { x, y, text }
    }

    fn width(&self) -> f64 {
        6.6 * self.text.chars().count() as f64
    }

    fn overlaps(&self, other: &Self) -> bool {
        let apart = self.x + self.width() < other.x || other.x + other.width() < self.x;
        !apart && (self.y - other.y).abs() < 12.0
    }

    /// A label next to a mark: at the first of some positions where it overlaps no other label and stays
    /// within the borders (left and right, top and bottom).
    pub fn beside(
        (px, py): (f64, f64),
        text: String,
        [(left, right), (top, bottom)]: [(f64, f64); 2],
        taken: &[Self],
    ) -> Self {
        let width = Self::new(0.0, 0.0, text.clone()).width();
        let sides = [px + 8.0, px - 8.0 - width, px - width / 2.0];
        let heights = [4.0, -9.0, 18.0, -22.0, 31.0, -35.0, 44.0];
        let places = heights.iter().flat_map(|dy| sides.iter().map(move |x| (*x, py + dy)));
        let mut labels = places.map(|(x, y)| Self::new(x, y, text.clone()));
        let inside =
            |l: &Self| l.x >= left && l.x + width <= right && l.y >= top + 10.0 && l.y <= bottom;
        let fits = |l: &Self| inside(l) && !taken.iter().any(|t| t.overlaps(l));
        // If no position is free, it overlaps others, but stays inside.
        let side = (px + 8.0).min(right - width);
        labels.find(fits).unwrap_or_else(|| Self::new(side, py + 4.0, text.clone()))
    }

    /// Draws the text.
    pub fn draw(&self) -> Markup {
        html! { text x=(px(self.x)) y=(px(self.y)) { (self.text) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_lines_do_not_overlap() {
        let lines: Vec<Line> = (0..9)
            .map(|i| Line { name: format!("{i}"), points: vec![(1.0, 0.5), (2.0, 0.5)] })
            .collect();
        let refs: Vec<&Line> = lines.iter().collect();
        let names = names(&refs);
        let placed = spread(&names, &refs, |_| 100.0);
        assert_eq!(placed.len(), 9);
        assert!(placed.windows(2).all(|w| w[1].2 - w[0].2 >= LEADING - 1e-9), "{placed:?}");
    }

    #[test]
    fn labels_of_marks_do_not_overlap() {
        let mut taken = Vec::new();
        let borders = [(0.0, 200.0), (0.0, 200.0)];
        for _ in 0..9 {
            let label = Label::beside((100.0, 100.0), "conv2d".into(), borders, &taken);
            assert!(!taken.iter().any(|other: &Label| other.overlaps(&label)), "{}", taken.len());
            taken.push(label);
        }
        // In a corner, all labels stay inside, even if they overlap.
        for _ in 0..50 {
            let label = Label::beside((199.0, 1.0), "conv2d".into(), borders, &taken);
            assert!(label.x >= 0.0 && label.x + label.width() <= 200.0, "{}", label.x);
            taken.push(label);
        }
    }
}
