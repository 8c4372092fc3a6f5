//! A plan as a picture: ops from left to right, bytes of the arena upwards.

use std::fmt::Write;

use super::Plan;
use crate::program::Program;
use crate::svg::{block_colour, document, escape};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;

/// Draws the tensors that come and go, coloured by block, as an SVG document. What persists is
/// one grey strip at the bottom, not to scale in time but in bytes.
pub fn svg(program: &Program, plan: &Plan, title: &str) -> String {
    let ops = program.ops().len().max(1) as f64;
    let scale = |bytes: usize| HEIGHT * bytes as f64 / plan.bytes.max(1) as f64;
    let mib = |bytes: usize| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64);
    let note = "each rectangle is a tensor: the ops during which it lives, the bytes that it holds; a colour for each block";
    let mut out = document(WIDTH + LEFT + 20.0, HEIGHT + TOP + 40.0, LEFT, title, note);
    let mut rectangle = |x: f64,
                         width: f64,
                         offset: usize,
                         bytes: usize,
                         fill: &str,
                         label: &str| {
        // Writing to a String cannot fail.
        let (y, height) = (TOP + HEIGHT - scale(offset + bytes), scale(bytes));
        let _ = writeln!(
            out,
            "<rect x=\"{:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"{fill}\" stroke=\"white\" stroke-width=\"0.3\"><title>{}</title></rect>",
            LEFT + x,
            escape(label)
        );
    };
    let label = format!("kept between steps: {}", mib(plan.persistent));
    rectangle(0.0, WIDTH, 0, plan.persistent, "#b0b0b0", &label);
    for cell in &plan.cells {
        let names: Vec<_> =
            cell.tensors.iter().map(|id| program.tensor(*id).name.as_str()).collect();
        let fill = match program.tensor(cell.tensors[0]).block {
            Some(block) => block_colour(block),
            None => "#777".to_owned(),
        };
        let x = WIDTH * cell.life.start as f64 / ops;
        let width = WIDTH * cell.life.len() as f64 / ops;
        let label = format!("{}: {}", names.join(", then "), mib(cell.bytes));
        rectangle(x, width, plan.offset(cell.tensors[0]), cell.bytes, &fill, &label);
    }
    let _ = writeln!(
        out,
        "<g fill=\"#333\"><text x=\"4\" y=\"{:.0}\">{}</text><text x=\"4\" y=\"{:.0}\">0</text><text x=\"{LEFT}\" y=\"{:.0}\">first op</text><text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">op {}</text></g>\n</svg>",
        TOP + 12.0,
        mib(plan.bytes),
        TOP + HEIGHT,
        TOP + HEIGHT + 18.0,
        LEFT + WIDTH,
        TOP + HEIGHT + 18.0,
        program.ops().len()
    );
    out
}
