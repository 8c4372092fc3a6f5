//! A plan as a picture: ops from left to right, bytes of the arena upwards.

use std::fmt::Write;

use crate::app::pages::svg::{block_colour, document, escape};
use crate::compiler::plan::Plan;
use crate::compiler::program::Program;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;

/// Draws the tensors that come and go, coloured by block, as an SVG document. What persists is
/// one grey strip at the bottom, not to scale in time but in bytes.
pub fn svg(program: &Program, plan: &Plan, title: &str) -> String {
    let note = "each rectangle is a tensor: the ops during which it lives, the bytes that it holds; a colour and a number for each block";
    let mut out = document(WIDTH + LEFT + 20.0, HEIGHT + TOP + 40.0, LEFT, title, note);
    let (left, top, width, height) = (LEFT, TOP, WIDTH, HEIGHT);
    let area = Area { left, top, width, height, bytes: plan.bytes, least: 0.0, paper: "white" };
    out.push_str(&area.draw(program, plan));
    // Writing to a String cannot fail.
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

fn mib(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

/// The part of a picture where a plan is drawn.
pub(crate) struct Area<'a> {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    /// The bytes that its height stands for.
    pub bytes: usize,
    /// Rectangles that are less high are left out.
    pub least: f64,
    /// The colour between rectangles.
    pub paper: &'a str,
}

impl Area<'_> {
    /// The rectangles of a plan; where there is room, with the number of their block.
    pub fn draw(&self, program: &Program, plan: &Plan) -> String {
        let ops = program.ops().len().max(1) as f64;
        let scale = |bytes: usize| self.height * bytes as f64 / self.bytes.max(1) as f64;
        let mut out = format!("<g stroke=\"{}\" stroke-width=\"0.3\">\n", self.paper);
        let mut numbers = String::new();
        let mut rectangle = |life: (f64, f64),
                             offset: usize,
                             bytes: usize,
                             fill: &str,
                             label: &str| {
            let (x, width) = (self.left + self.width * life.0, self.width * life.1);
            let (y, height) = (self.top + self.height - scale(offset + bytes), scale(bytes));
            if height >= self.least {
                // Writing to a String cannot fail.
                let _ = writeln!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"><title>{}</title></rect>",
                    escape(label)
                );
            }
            (x + width / 2.0, y + height / 2.0 + 4.0, width > 18.0 && height > 13.0)
        };
        let label = format!("kept between steps: {}", mib(plan.persistent));
        rectangle((0.0, 1.0), 0, plan.persistent, "#b0b0b0", &label);
        for cell in plan.cells() {
            let names: Vec<_> =
                cell.tensors.iter().map(|id| program.tensor(*id).name.as_str()).collect();
            let block = program.tensor(cell.tensors[0]).block;
            let fill = block.map_or("#777".to_owned(), block_colour);
            let life = (cell.life.start as f64 / ops, cell.life.len() as f64 / ops);
            let label = format!("{}: {}", names.join(", then "), mib(cell.bytes));
            let offset = plan.offset(cell.tensors[0]);
            let (x, y, room) = rectangle(life, offset, cell.bytes, &fill, &label);
            if let (Some(block), true) = (block, room) {
                let _ = writeln!(numbers, "<text x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", block + 1);
            }
        }
        out + "</g>\n<g class=\"numbers\" text-anchor=\"middle\">\n" + &numbers + "</g>\n"
    }
}
