//! The memory plan of a run next to that of backpropagation.

use std::fmt::Write;

use crate::Result;
use crate::app::config::{Config, Method, Recipe};
use crate::app::pages::plan::Area;
use crate::app::pages::svg::escape;
use crate::compiler::plan::{Limits, MemoryReport, Plan};
use crate::compiler::program::{Built, Program};
use crate::train::trainer::{self, Trainer};

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 300.0;
/// Room for the axis below.
const BOTTOM: f64 = 22.0;
/// Height of the thinnest rectangle, in pixels.
const LEAST: f64 = 0.35;

/// A plan, and what it is of.
struct Shown<'a> {
    name: &'static str,
    program: &'a Program,
    plan: Plan,
    report: MemoryReport,
}

impl<'a> Shown<'a> {
    fn new(name: &'static str, built: &'a Built, plan: Plan) -> Self {
        let report = MemoryReport::new(&built.program, &plan, &built.blocks);
        Self { name, program: &built.program, plan, report }
    }
}

/// Both plans as pictures of one scale, and what they need by purpose.
///
/// # Errors
/// Those of building the program for backpropagation.
pub fn section(config: &Config, trainer: &Trainer) -> Result<String> {
    let own = Shown::new("this run", trainer.built(), trainer.session().plan().clone());
    let other = match config.method {
        Method::Bp => None,
        Method::Sff => backpropagation(config, trainer).transpose()?,
    };
    let plan = other.as_ref().map(|built| Plan::new(&built.program, Limits::NONE)).transpose()?;
    let other = other.as_ref().zip(plan);
    let other = other.map(|(built, plan)| Shown::new("backpropagation", built, plan));
    let all: Vec<&Shown> = [&own].into_iter().chain(&other).collect();
    let bytes = all.iter().map(|shown| shown.plan.bytes).max().unwrap_or(0);
    let mut out = "<p>Each rectangle is a tensor: the ops during which it lives from left to right, and the bytes that it holds upwards. Grey at the bottom is what is kept between steps (weights, moments, images); numbers and colours are blocks.".to_owned();
    if other.is_some() {
        out.push_str(" Both pictures have one scale, for the same network, batch and images; backpropagation has a linear head.");
    } else if config.method == Method::Sff {
        out.push_str(
            " Backpropagation has no plan of this kind: it cannot freeze the same blocks.",
        );
    }
    out.push_str("</p>\n<div class=\"grid\">\n");
    all.iter().for_each(|shown| out.push_str(&picture(shown, bytes)));
    out.push_str("</div>\n");
    out.push_str(&table(&all));
    Ok(out)
}

/// The program that trains the same network by backpropagation, on the same images at a time.
fn backpropagation(config: &Config, trainer: &Trainer) -> Option<Result<Built>> {
    let recipe = Recipe {
        method: Some(Method::Bp),
        partition: None,
        cuts: None,
        window: None,
        memory: None,
        ..config.recipe()
    };
    let config = Config::resolve(recipe).ok()?;
    let dataset = trainer.dataset();
    let image = trainer.image();
    let network = config.network(dataset.classes.len(), image.h);
    let demand = trainer::demand(&network, &config.training(), Limits::NONE, dataset);
    let (micro, count) = trainer.micro_batches();
    Some(demand.build(micro, count, trainer.resident()))
}

fn picture(shown: &Shown, bytes: usize) -> String {
    let Shown { name, program, plan, report } = shown;
    let area = Area {
        left: 0.0,
        top: 0.0,
        width: WIDTH,
        height: HEIGHT,
        bytes,
        least: LEAST,
        paper: "var(--paper)",
    };
    let top = HEIGHT * (1.0 - plan.bytes as f64 / bytes.max(1) as f64);
    let blocks: Vec<String> = report
        .blocks
        .iter()
        .map(|block| format!("{} {}", block.name, size(block.peak_bytes)))
        .collect();
    format!(
        "<figure><figcaption>{name}: {peak}</figcaption>\n<svg viewBox=\"0 -4 {WIDTH} {full}\" font-size=\"12\" role=\"img\" aria-label=\"Memory plan of {name}: {peak} at most; peaks of blocks: {}\">\n{}<path d=\"M0 {top:.1}h{WIDTH}\" stroke=\"var(--ink)\" stroke-dasharray=\"5 3\"/><text class=\"faint\" y=\"{axis}\">first op</text><text class=\"faint\" x=\"{WIDTH}\" y=\"{axis}\" text-anchor=\"end\">op {}</text>\n</svg></figure>\n",
        escape(&blocks.join(", ")),
        area.draw(program, plan),
        program.ops().len(),
        peak = size(plan.bytes),
        full = HEIGHT + 4.0 + BOTTOM,
        axis = HEIGHT + 16.0,
    )
}

fn table(all: &[&Shown]) -> String {
    let kinds = |report: &MemoryReport| {
        let k = &report.max_live_by_kind;
        [
            ("peak of the arena", report.peak_bytes),
            ("activations and workspace", report.activations_and_workspace),
            ("parameters", k.parameters),
            ("optimiser state", k.optimizer),
            ("parameter gradients", k.param_gradients),
            ("images and metrics", k.io),
        ]
    };
    let names: String =
        all.iter().map(|shown| format!("<th scope=\"col\">{}</th>", shown.name)).collect();
    let mut out = format!(
        "<div class=\"scroll\"><table>\n<tr><th scope=\"col\">at most at a time</th>{names}</tr>\n"
    );
    for row in 0..kinds(&all[0].report).len() {
        let cells: String = all
            .iter()
            .map(|shown| format!("<td>{}</td>", size(kinds(&shown.report)[row].1)))
            .collect();
        let name = kinds(&all[0].report)[row].0;
        // Writing to a String cannot fail.
        let _ = writeln!(out, "<tr><th scope=\"row\">{name}</th>{cells}</tr>");
    }
    out + "</table></div>\n"
}

/// Bytes in the unit that suits them.
pub(super) fn size(bytes: usize) -> String {
    match bytes as f64 / 1024.0 {
        kib if kib < 1024.0 => format!("{kib:.1} KiB"),
        kib => format!("{:.1} MiB", kib / 1024.0),
    }
}
