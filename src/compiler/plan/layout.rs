//! The search for a low layout of cells in the arena.

use std::ops::Range;

use super::cells::Cell;
use crate::base::random::hash;

/// Rounds an address up to one where this number of bytes fits into one arena.
type Fit<'a> = dyn Fn(usize, usize) -> usize + 'a;

/// The lowest layout found: an address for each cell. A layout places cells one by one at the lowest
/// address that is free during the cell's whole life; layouts differ in the order of cells. Several
/// orders are tried. The best is improved by placing a topmost cell earlier, or by swapping two cells
/// that are alive with it, until it reaches `bound` or a fixed number of tries. The search is
/// deterministic.
pub(super) fn best_layout(cells: &[Cell], bound: usize, fit: &Fit) -> Vec<usize> {
    /// The sort key of a cell, given the most bytes that are alive at once during its life.
    type Order = fn(&Cell, usize) -> (usize, usize);
    const ORDERS: [Order; 5] = [
        |c, _| (usize::MAX - c.bytes, c.life.start),
        |c, _| (usize::MAX - c.bytes.saturating_mul(c.life.len()), c.life.start),
        |c, _| (usize::MAX - c.life.len(), usize::MAX - c.bytes),
        |c, _| (c.life.start, usize::MAX - c.bytes),
        |c, pressure| (usize::MAX - pressure, usize::MAX - c.bytes),
    ];
    /// Most pairs of cells that the search compares: a fraction of a second.
    const EFFORT: usize = 10_000_000;

    let ops = cells.iter().map(|cell| cell.life.end).max().unwrap_or(0);
    let mut live = vec![0; ops];
    for cell in cells {
        live[cell.life.clone()].iter_mut().for_each(|bytes| *bytes += cell.bytes);
    }
    let pressure = |cell: &Cell| live[cell.life.clone()].iter().copied().max().unwrap_or(0);
    let pressures: Vec<usize> = cells.iter().map(pressure).collect();
    let sorted = ORDERS.map(|order| {
        let mut indices: Vec<usize> = (0..cells.len()).collect();
        indices.sort_by_key(|i| order(&cells[*i], pressures[*i]));
        indices
    });
    let overlaps = |cell: &Cell| (0..cells.len()).filter(|i| cells[*i].overlaps(cell)).collect();
    let overlaps: Vec<Vec<usize>> = cells.iter().map(overlaps).collect();
    let place = |order: Vec<usize>| {
        let places = first_fit(cells, &overlaps, &order, fit);
        (height(cells, &places), order, places)
    };
    let Some(mut best) = sorted.into_iter().map(place).min_by_key(|(height, ..)| *height) else {
        return Vec::new();
    };
    let tries = EFFORT / overlaps.iter().map(Vec::len).sum::<usize>().max(1);
    for attempt in 0..tries.min(20000) {
        let (top, order, places) = &best;
        if *top <= bound {
            break;
        }
        let mut order = order.clone();
        let random = |key, below| hash([attempt as u64, key, 0, 0]) as usize % below;
        let at_top = |i: &usize| places[*i] + cells[*i].bytes == *top;
        let Some(from) = order.iter().position(at_top) else { break };
        if attempt % 3 == 0 {
            order[random(1, from + 1)..=from].rotate_right(1);
        } else {
            // Small cells do not free enough bytes to lower the top.
            let (high, gap) = (&cells[order[from]], *top - bound);
            let large = |i: &usize| cells[*i].overlaps(high) && 4 * cells[*i].bytes >= gap;
            let large: Vec<_> = (0..order.len()).filter(|at| large(&order[*at])).collect();
            let Some(last) = large.len().checked_sub(1).filter(|last| *last > 0) else { continue };
            order.swap(large[random(1, last + 1)], large[random(2, last + 1)]);
        }
        let next = place(order);
        if next.0 <= best.0 {
            best = next;
        }
    }
    best.2
}

/// Addresses of all cells, placed in this order; `overlaps` lists for each cell those that are alive with
/// it.
fn first_fit(cells: &[Cell], overlaps: &[Vec<usize>], order: &[usize], fit: &Fit) -> Vec<usize> {
    let mut places = vec![None; cells.len()];
    for index in order {
        let cell = &cells[*index];
        let taken = |other: &usize| places[*other].map(|at| at..at + cells[*other].bytes);
        let mut busy: Vec<Range<usize>> = overlaps[*index].iter().filter_map(taken).collect();
        busy.sort_unstable_by_key(|range| range.start);
        let mut at = fit(0, cell.bytes);
        for range in busy {
            if at + cell.bytes <= range.start {
                break;
            }
            at = fit(at.max(range.end), cell.bytes);
        }
        places[*index] = Some(at);
    }
    places.into_iter().flatten().collect()
}

/// Bytes of a layout: the end of its topmost cell.
pub(super) fn height(cells: &[Cell], places: &[usize]) -> usize {
    cells.iter().zip(places).map(|(cell, place)| place + cell.bytes).max().unwrap_or(0)
}
