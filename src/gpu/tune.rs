//! Choosing, by the clock, how each op is computed on a device, and remembering it.
//!
//! What is chosen is remembered in a [`Cache`]. A run keeps what it began with, so that it resumes
//! with the same bits. A variant whose result is not that of the usual one is not used.

mod cache;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Serialize;

pub use cache::Cache;
pub use trial::Refusal;

use crate::base::choice::choice;
use crate::base::interrupt::Interrupt;
use crate::compiler::budget;
use crate::compiler::program::Program;
use crate::compiler::tensor::Tensors;
use crate::compiler::variants::{Choices, Class, Variant, Variants, key};
use crate::gpu::device::Gpu;
use crate::{Error, Result};
use trial::Trial;

choice! {
    /// How kernels are chosen.
    pub enum Tune: default Auto {
        /// What suits devices of its class, as a rule.
        Off = "off",
        /// What was the fastest when it was timed on this device. On a GPU, what was not timed yet is now,
        /// for a few seconds.
        Auto = "auto",
        /// The same on any device, for as long as it takes.
        Full = "full",
    }
}

/// How long things are timed.
#[derive(Clone, Debug)]
pub struct Effort {
    /// All of it, at most; ops that there is no time for stay as usual.
    pub total: Option<Duration>,
    /// A variant of an op, unless a single run takes longer.
    pub variant: Duration,
    /// Ends it between two variants, once it is asked.
    pub interrupt: Interrupt,
}

impl Effort {
    /// That of [`Tune::Auto`]: what a user does not mind, once for a device and a network.
    pub fn auto() -> Self {
        let (total, variant) = (Some(Duration::from_secs(4)), Duration::from_millis(10));
        Self { total, variant, interrupt: Interrupt::default() }
    }

    /// That of [`Tune::Full`].
    pub fn full() -> Self {
        Self { total: None, variant: Duration::from_millis(50), interrupt: Interrupt::default() }
    }

    /// Whether it is over since `start`.
    fn is_over(&self, start: Instant) -> bool {
        self.total.is_some_and(|total| start.elapsed() > total)
    }
}

/// How much faster than the usual variant another one must be: less may be noise.
const WORTH: f64 = 0.97;

/// An op that was timed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Timed {
    /// What it is, see [`key`].
    pub op: String,
    /// How many ops of the program are like it.
    pub count: usize,
    /// Variants and their milliseconds, the usual one first. Those that were refused are not here.
    pub variants: Vec<(&'static str, f64)>,
    /// The one that is used from now on.
    pub chosen: &'static str,
}

impl Timed {
    /// Milliseconds of the usual variant.
    pub fn usual_ms(&self) -> f64 {
        self.variants[0].1
    }

    /// Milliseconds of the chosen one.
    pub fn ms(&self) -> f64 {
        let found = self.variants.iter().find(|(variant, _)| *variant == self.chosen);
        found.map_or(f64::NAN, |(_, ms)| *ms)
    }

    /// How many times as fast the chosen variant is as the usual one.
    pub fn gain(&self) -> f64 {
        self.usual_ms() / self.ms()
    }
}

/// What tuning did.
#[derive(Debug, Default, Serialize)]
pub struct Tuning {
    /// Name of the device.
    pub device: String,
    /// Its driver.
    pub driver: String,
    /// Ops that were timed, those with most arithmetic first.
    pub ops: Vec<Timed>,
    /// Ops that there was no time or no memory for.
    pub left: Vec<String>,
    /// Variants that computed something else than the usual one.
    pub refused: Vec<Refusal>,
    /// How long it took.
    pub seconds: f64,
    /// Why it ended before its time.
    #[serde(skip)]
    pub ended: Option<Error>,
    /// Why nothing could be remembered.
    #[serde(skip)]
    pub unsaved: Option<Error>,
}

impl Tuning {
    /// Milliseconds of all ops that were timed, each as often as it occurs: as usual, and as chosen.
    pub fn ms(&self) -> (f64, f64) {
        let sum = |ms: fn(&Timed) -> f64| self.ops.iter().map(|op| op.count as f64 * ms(op)).sum();
        (sum(Timed::usual_ms), sum(Timed::ms))
    }

    /// What to warn of, a line each.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let Self { device, driver, .. } = self;
        let refused = self.refused.iter().map(move |refusal| {
            format!("on {device} ({driver}), {refusal}: it is not used; please report this")
        });
        let problems = self.ended.iter().chain(&self.unsaved);
        refused.chain(problems.map(|problem| format!("tuning: {problem}")))
    }
}

impl std::fmt::Display for Tuning {
    /// One line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (usual, chosen) = self.ms();
        let all = self.ops.len() + self.left.len();
        write!(
            f,
            "timed {} of {all} kinds of op on this device in {:.1} s",
            self.ops.len(),
            self.seconds
        )?;
        if chosen > 0.0 {
            write!(f, ": {:.2} times as fast as untuned", usual / chosen)?;
        }
        Ok(())
    }
}

/// Checks that a program can run on a device, before anything is timed for it.
///
/// # Errors
/// Those of [`budget::plan`], and [`Error::Adapter`] if the device cannot compute with float16 and is
/// to.
pub fn check(gpu: &Gpu, program: &Program) -> Result<()> {
    gpu.adapter.can_compute(program)?;
    budget::plan(program, gpu.limits()).map(drop)
}

/// The GPU with the choices for a program that `tune` asks for, and what was timed for that, if
/// anything. An op is timed by itself, with its own shapes, on random values. That choices cannot be
/// kept, and with [`Tune::Auto`] that the device failed, is no error: it stands in the [`Tuning`], and
/// the GPU is opened again if it has to be.
///
/// # Errors
/// Those of `program`, which should [`check`] what it gives, and of [`crate::compiler::ops::Node::lower`];
/// [`Error::Interrupted`] once `interrupt` is asked; with [`Tune::Full`] also those of running.
pub fn tune(
    gpu: &Gpu,
    tune: Tune,
    cache: &Cache,
    interrupt: &Interrupt,
    program: impl FnOnce() -> Result<Program>,
) -> Result<(Gpu, Option<Tuning>)> {
    let remembered = if tune == Tune::Off { Default::default() } else { cache.read(gpu) };
    let is_gpu = matches!(gpu.adapter.class(), Class::Discrete | Class::Integrated);
    let effort = match tune {
        Tune::Full => Some(Effort::full()),
        Tune::Auto if is_gpu => Some(Effort::auto()),
        Tune::Auto | Tune::Off => None,
    };
    let mut choices = remembered.choices;
    if effort.is_none() && choices.is_empty() {
        return Ok((gpu.with_choices(choices), None));
    }
    let program = program()?;
    let Some(effort) = effort else {
        return Ok((gpu.with_choices(choices.of(program.ops(), program.tensors())?), None));
    };
    if tune == Tune::Full {
        // What there was no time for before.
        remembered.left.iter().for_each(|key| choices.forget(key));
    }
    let effort = Effort { interrupt: interrupt.clone(), ..effort };
    let mut tuning = time(gpu, &program, &gpu.variants(), &effort, &mut choices)?;
    if tuning.ops.is_empty() && tuning.left.is_empty() {
        return Ok((gpu.with_choices(choices.of(program.ops(), program.tensors())?), None));
    }
    tuning.unsaved = cache.remember(gpu, &choices, &tuning).err();
    let mut gpu = gpu.clone();
    match tuning.ended.take() {
        Some(error @ Error::Interrupted(_)) => return Err(error),
        Some(error) if tune == Tune::Full => return Err(error),
        // An error of the device stays with it.
        Some(error) => (gpu, tuning.ended) = (gpu.reopen()?, Some(error)),
        None => {}
    }
    Ok((gpu.with_choices(choices.of(program.ops(), program.tensors())?), Some(tuning)))
}

/// Times the ops of a program for which there is a choice among `variants` and nothing chosen, those
/// with most arithmetic first, and adds to `choices`. If the device fails, or somebody asks, it ends
/// there, as [`Tuning::ended`] says; what was not timed stays as usual.
///
/// # Errors
/// Those of [`crate::compiler::ops::Node::lower`].
pub fn time(
    gpu: &Gpu,
    program: &Program,
    variants: &Variants,
    effort: &Effort,
    choices: &mut Choices,
) -> Result<Tuning> {
    let start = Instant::now();
    let (device, driver) = (gpu.adapter.name.clone(), gpu.adapter.driver.clone());
    let mut tuning = Tuning { device, driver, ..Tuning::default() };
    for open in open(program, variants, choices)? {
        let candidates = variants.distinct(&program.ops()[open.index], program.tensors())?;
        let late = effort.is_over(start) || tuning.ended.is_some();
        let timed = match late {
            true => None,
            false => match time_op(gpu, program, &open, &candidates, effort, &mut tuning.refused) {
                Ok(timed) => Some(timed),
                // Other ops may be smaller.
                Err(Error::OutOfMemory(_) | Error::Limit { .. }) => None,
                Err(error) => {
                    tuning.ended = Some(error);
                    None
                }
            },
        };
        let chosen = timed.as_ref().map_or(candidates[0].name, |timed| timed.chosen);
        choices.set(open.key.clone(), chosen);
        match timed {
            Some(timed) => tuning.ops.push(timed),
            None => tuning.left.push(open.key),
        }
    }
    tuning.seconds = start.elapsed().as_secs_f64();
    Ok(tuning)
}

/// Times an op; `refused` takes up what computes something else.
fn time_op(
    gpu: &Gpu,
    program: &Program,
    open: &Open,
    candidates: &[Variant],
    effort: &Effort,
    refused: &mut Vec<Refusal>,
) -> Result<Timed> {
    let mut trial = Trial::new(gpu, program, open.index, candidates)?;
    let mut times: Vec<(&'static str, f64)> = Vec::new();
    for (nth, variant) in candidates.iter().enumerate() {
        effort.interrupt.check()?;
        if let Some(difference) = trial.check(nth)? {
            let (op, variant, usual) = (open.key.clone(), variant.name, candidates[0].name);
            refused.push(Refusal { op, variant, usual, difference });
            continue;
        }
        let best = times.iter().map(|(_, ms)| *ms).fold(f64::INFINITY, f64::min);
        times.push((variant.name, 1e3 * trial.seconds(nth, effort.variant, 1e-3 * best)?));
    }
    let usual = times[0];
    let (chosen, _) = times[1..].iter().fold(usual, |best, other| {
        let needed = if best.0 == usual.0 { best.1 * WORTH } else { best.1 };
        if other.1 < needed { *other } else { best }
    });
    let (op, count) = (open.key.clone(), open.count);
    Ok(Timed { op, count, variants: times, chosen })
}

/// An op that nothing is chosen for.
struct Open {
    key: String,
    /// The first such in the program.
    index: usize,
    /// How many there are.
    count: usize,
}

/// All of them, those with most arithmetic first.
fn open(program: &Program, variants: &Variants, choices: &Choices) -> Result<Vec<Open>> {
    let mut found: BTreeMap<String, Open> = BTreeMap::new();
    let mut without_choice = BTreeSet::new();
    for (index, op) in program.ops().iter().enumerate() {
        let key = key(op, program.tensors())?;
        if choices.has(&key) || without_choice.contains(&key) {
            continue;
        }
        if let Some(open) = found.get_mut(&key) {
            open.count += 1;
        } else if variants.distinct(op, program.tensors())?.len() > 1 {
            found.insert(key.clone(), Open { key, index, count: 1 });
        } else {
            without_choice.insert(key);
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    let flops = |open: &Open| program.ops()[open.index].flops(Tensors(program.tensors()));
    found.sort_by_key(|open| std::cmp::Reverse(open.count as u64 * flops(open)));
    Ok(found)
}
