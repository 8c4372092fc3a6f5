//! The memory plan of a run, compared with that of backpropagation.

use maud::{Markup, html};

use super::parts::{figure, grid, row, size, table};
use super::plan::Area;
use super::svg::{self, px};
use crate::Result;
use crate::app::config::{Config, Method, Recipe};
use crate::compiler::plan::{Limits, MemoryReport, Plan};
use crate::compiler::program::{Built, Program};
use crate::train::trainer::{self, Trainer};

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 300.0;
/// Height of the axis below.
const BOTTOM: f64 = 22.0;
/// Least height of a rectangle, in pixels.
const LEAST: f64 = 0.35;

/// A plan with its program and its name.
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

/// Both plans as pictures of the same scale, and a table of their memory by kind of tensor.
///
/// # Errors
/// Those of building the program for backpropagation.
pub fn section(config: &Config, trainer: &Trainer) -> Result<Markup> {
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
    let other = if other.is_some() {
        " Both pictures have the same scale, network, batch and images; backpropagation has a linear \
         head."
    } else if config.method == Method::Sff {
        " There is no plan of backpropagation to compare with: it cannot freeze the same blocks."
    } else {
        ""
    };
    Ok(html! {
        p {
            "Each rectangle is a tensor: from left to right the ops during which it lives, upwards "
            "its bytes. Grey at the bottom is what is kept between steps "
            "(weights, moments, images); numbers and colours are blocks." (other)
        }
        (grid(&html! { @for shown in &all { (picture(shown, bytes)) } }))
        (amounts(&all))
    })
}

/// The program that trains the same network by backpropagation, with the same micro-batches. `None` if
/// the configuration is not valid for backpropagation.
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

fn picture(shown: &Shown, bytes: usize) -> Markup {
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
    let axis = HEIGHT + 16.0;
    let content = html! {
        (area.draw(program, plan))
        path d={"M0 " (px(top)) "h" (WIDTH)} stroke="var(--ink)" stroke-dasharray="5 3" {}
        text.faint y=(axis) { "first op" }
        text.faint x=(WIDTH) y=(axis) text-anchor="end" { "op " (program.ops().len()) }
    };
    let peaks: Vec<String> = report
        .blocks
        .iter()
        .map(|block| format!("{} {}", block.name, size(block.peak_bytes)))
        .collect();
    let peak = size(plan.bytes);
    let peaks = peaks.join(", ");
    let label = format!("Memory plan of {name}: {peak} at most; peaks of blocks: {peaks}");
    let drawn = svg::picture(&label, (0.0, -4.0), (WIDTH, HEIGHT + 4.0 + BOTTOM), &content);
    figure(format!("{name}: {peak}"), &drawn)
}

/// Memory of the plans by kind of tensor.
fn amounts(all: &[&Shown]) -> Markup {
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
    let heads: Vec<&str> =
        ["at most at a time"].into_iter().chain(all.iter().map(|shown| shown.name)).collect();
    let rows = html! {
        @for (index, (name, _)) in kinds(&all[0].report).into_iter().enumerate() {
            (row(name, all.iter().map(|shown| size(kinds(&shown.report)[index].1))))
        }
    };
    table("Memory", &heads, &rows)
}
