//! A plan as a picture: ops from left to right, bytes of the arena upwards.

use maud::{Markup, html};

use super::parts::size;
use super::svg::{block_colour, document, px};
use crate::compiler::plan::Plan;
use crate::compiler::program::Program;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;

/// Draws the tensors of a step, coloured by block, as an SVG document. Tensors that are kept between
/// steps are one grey strip at the bottom.
pub fn svg(program: &Program, plan: &Plan, title: &str) -> String {
    let note = "each rectangle is a tensor, as wide as its lifetime in ops and as high as its bytes; each block has a colour and a number";
    let (left, top, width, height) = (LEFT, TOP, WIDTH, HEIGHT);
    let area = Area { left, top, width, height, bytes: plan.bytes, least: 0.0, paper: "white" };
    let content = html! {
        (area.draw(program, plan))
        g fill="#333" {
            text x="4" y=(px(TOP + 12.0)) { (size(plan.bytes)) }
            text x="4" y=(px(TOP + HEIGHT)) { "0" }
            text x=(px(LEFT)) y=(px(TOP + HEIGHT + 18.0)) { "first op" }
            text x=(px(LEFT + WIDTH)) y=(px(TOP + HEIGHT + 18.0)) text-anchor="end" {
                "op " (program.ops().len())
            }
        }
    };
    document((WIDTH + LEFT + 20.0, HEIGHT + TOP + 40.0), LEFT, title, note, &content)
}

/// The part of a picture where a plan is drawn.
pub(crate) struct Area<'a> {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    /// The bytes that its height stands for.
    pub bytes: usize,
    /// Rectangles of less height are left out.
    pub least: f64,
    /// The colour between rectangles.
    pub paper: &'a str,
}

/// A rectangle: one tensor, several that share a place one after another, or all that persist.
struct Tensors {
    /// The begin and the length of their lifetime, as fractions of all ops.
    life: (f64, f64),
    offset: usize,
    bytes: usize,
    /// Their names and sizes.
    title: String,
    block: Option<usize>,
    fill: String,
}

impl Area<'_> {
    /// The rectangles of a plan, with the number of the block in those that are large enough.
    pub fn draw(&self, program: &Program, plan: &Plan) -> Markup {
        let tensors = tensors(program, plan);
        html! {
            g stroke=(self.paper) stroke-width="0.3" {
                @for tensors in &tensors {
                    @let ((x, y), (width, height)) = self.rectangle(tensors);
                    @if height >= self.least {
                        rect x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height))
                            fill=(tensors.fill) { title { (tensors.title) } }
                    }
                }
            }
            g.numbers text-anchor="middle" {
                @for tensors in &tensors {
                    @let ((x, y), (width, height)) = self.rectangle(tensors);
                    @if let (Some(block), true) = (tensors.block, width > 18.0 && height > 13.0) {
                        text x=(px(x + width / 2.0)) y=(px(y + height / 2.0 + 4.0)) { (block + 1) }
                    }
                }
            }
        }
    }

    /// The upper left corner and the size of a rectangle, in pixels.
    fn rectangle(&self, tensors: &Tensors) -> ((f64, f64), (f64, f64)) {
        let scale = |bytes: usize| self.height * bytes as f64 / self.bytes.max(1) as f64;
        let (x, width) = (self.left + self.width * tensors.life.0, self.width * tensors.life.1);
        let top = scale(tensors.offset + tensors.bytes);
        ((x, self.top + self.height - top), (width, scale(tensors.bytes)))
    }
}

/// The rectangles of a plan: first the tensors that persist, then the others.
fn tensors(program: &Program, plan: &Plan) -> Vec<Tensors> {
    let ops = program.ops().len().max(1) as f64;
    let mut all = vec![Tensors {
        life: (0.0, 1.0),
        offset: 0,
        bytes: plan.persistent,
        title: format!("kept between steps: {}", size(plan.persistent)),
        block: None,
        fill: "#b0b0b0".to_owned(),
    }];
    all.extend(plan.cells().iter().map(|cell| {
        let names: Vec<_> =
            cell.tensors.iter().map(|id| program.tensor(*id).name.as_str()).collect();
        let block = program.tensor(cell.tensors[0]).block;
        Tensors {
            life: (cell.life.start as f64 / ops, cell.life.len() as f64 / ops),
            offset: plan.offset(cell.tensors[0]),
            bytes: cell.bytes,
            title: format!("{}: {}", names.join(", then "), size(cell.bytes)),
            block,
            fill: block.map_or("#777".to_owned(), block_colour),
        }
    }));
    all
}
