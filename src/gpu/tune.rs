//! Autotuning: times the kernel variants of each op on a device and uses the fastest.
//!
//! The choices are stored in a [`Cache`]. A run keeps the choices that it started with, so that it
//! resumes with the same bits. A variant whose result differs from the default's is not used.

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

/// Time limits of tuning.
#[derive(Clone, Debug)]
pub struct Effort {
    /// Total time; ops that are left over use the default.
    pub total: Option<Duration>,
    /// Time for a variant of an op, unless a single run takes longer.
    pub variant: Duration,
    /// Stops tuning between two variants.
    pub interrupt: Interrupt,
}

impl Effort {
    /// For [`Tune::Auto`]: acceptable once for each device and network.
    pub fn auto() -> Self {
        let (total, variant) = (Some(Duration::from_secs(4)), Duration::from_millis(10));
        Self { total, variant, interrupt: Interrupt::default() }
    }

    /// For [`Tune::Full`].
    pub fn full() -> Self {
        Self { total: None, variant: Duration::from_millis(50), interrupt: Interrupt::default() }
    }

    /// Whether the total time has passed since `start`.
    fn is_over(&self, start: Instant) -> bool {
        self.total.is_some_and(|total| start.elapsed() > total)
    }
}

/// A variant replaces the default only below this fraction of its time: less may be noise.
const MIN_GAIN: f64 = 0.97;

/// An op that was timed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Timed {
    /// Its [`key`].
    pub op: String,
    /// How many ops of the program have this key.
    pub count: usize,
    /// Variants and their milliseconds, the default first, without refused ones.
    pub variants: Vec<(&'static str, f64)>,
    /// The fastest one.
    pub chosen: &'static str,
}

impl Timed {
    /// Milliseconds of the default variant.
    pub fn usual_ms(&self) -> f64 {
        self.variants[0].1
    }

    /// Milliseconds of the chosen one.
    pub fn ms(&self) -> f64 {
        let found = self.variants.iter().find(|(variant, _)| *variant == self.chosen);
        found.map_or(f64::NAN, |(_, ms)| *ms)
    }

    /// Speed-up of the chosen variant over the default.
    pub fn gain(&self) -> f64 {
        self.usual_ms() / self.ms()
    }
}

/// The result of tuning.
#[derive(Debug, Default, Serialize)]
pub struct Tuning {
    /// Name of the device.
    pub device: String,
    /// Its driver.
    pub driver: String,
    /// Ops that were timed, by decreasing FLOPs.
    pub ops: Vec<Timed>,
    /// Ops that were not timed for lack of time or memory.
    pub left: Vec<String>,
    /// Variants whose result differs from the default's.
    pub refused: Vec<Refusal>,
    /// How long it took.
    pub seconds: f64,
    /// The error that ended tuning early.
    #[serde(skip)]
    pub ended: Option<Error>,
    /// The error of writing the cache.
    #[serde(skip)]
    pub unsaved: Option<Error>,
}

impl Tuning {
    /// Total milliseconds of the timed ops, weighted by count: by default, and as chosen.
    pub fn ms(&self) -> (f64, f64) {
        let sum = |ms: fn(&Timed) -> f64| self.ops.iter().map(|op| op.count as f64 * ms(op)).sum();
        (sum(Timed::usual_ms), sum(Timed::ms))
    }

    /// Warnings, a line each.
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

/// Checks that a program can run on a device, before tuning.
///
/// # Errors
/// Those of [`budget::plan`], and [`Error::Adapter`] if the program needs float16 and the device does
/// not support it.
pub fn check(gpu: &Gpu, program: &Program) -> Result<()> {
    gpu.adapter.can_compute(program)?;
    budget::plan(program, gpu.limits()).map(drop)
}

/// The GPU with choices for a program, tuned as `tune` says, and what was timed for that, if
/// anything. An op is timed by itself, with its own shapes, on random values. A failure to write the
/// cache and, with [`Tune::Auto`], a failure of the device are not errors: they are recorded in the
/// [`Tuning`], and the GPU is opened again if necessary.
///
/// # Errors
/// Those of `program`, which should [`check`] its result, and of [`crate::compiler::ops::Node::lower`];
/// [`Error::Interrupted`] if `interrupt` is requested; with [`Tune::Full`] also those of running.
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
        // Ops that were left over before are timed again.
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
        // The device keeps its error.
        Some(error) => (gpu, tuning.ended) = (gpu.reopen()?, Some(error)),
        None => {}
    }
    Ok((gpu.with_choices(choices.of(program.ops(), program.tensors())?), Some(tuning)))
}

/// Times the ops of a program that have several `variants` and no choice yet, by decreasing FLOPs, and
/// adds to `choices`. A failure of the device, or an interrupt, ends it early with
/// [`Tuning::ended`]; ops that were not timed use the default.
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
    for op in untuned(program, variants, choices)? {
        let candidates = variants.distinct(&program.ops()[op.index], program.tensors())?;
        let late = effort.is_over(start) || tuning.ended.is_some();
        let timed = match late {
            true => None,
            false => match time_op(gpu, program, &op, &candidates, effort, &mut tuning.refused) {
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
        choices.set(op.key.clone(), chosen);
        match timed {
            Some(timed) => tuning.ops.push(timed),
            None => tuning.left.push(op.key),
        }
    }
    tuning.seconds = start.elapsed().as_secs_f64();
    Ok(tuning)
}

/// Times an op; variants with another result are added to `refused`.
fn time_op(
    gpu: &Gpu,
    program: &Program,
    untuned: &Untuned,
    candidates: &[Variant],
    effort: &Effort,
    refused: &mut Vec<Refusal>,
) -> Result<Timed> {
    let mut trial = Trial::new(gpu, program, untuned.index, candidates)?;
    let mut times: Vec<(&'static str, f64)> = Vec::new();
    for (nth, variant) in candidates.iter().enumerate() {
        effort.interrupt.check()?;
        if let Some(difference) = trial.check(nth)? {
            let (op, variant, usual) = (untuned.key.clone(), variant.name, candidates[0].name);
            refused.push(Refusal { op, variant, usual, difference });
            continue;
        }
        let best = times.iter().map(|(_, ms)| *ms).fold(f64::INFINITY, f64::min);
        times.push((variant.name, 1e3 * trial.seconds(nth, effort.variant, 1e-3 * best)?));
    }
    let usual = times[0];
    let (chosen, _) = times[1..].iter().fold(usual, |best, other| {
        let needed = if best.0 == usual.0 { best.1 * MIN_GAIN } else { best.1 };
        if other.1 < needed { *other } else { best }
    });
    let (op, count) = (untuned.key.clone(), untuned.count);
    Ok(Timed { op, count, variants: times, chosen })
}

/// A kind of op without a choice.
struct Untuned {
    key: String,
    /// The first such op in the program.
    index: usize,
    /// How many there are.
    count: usize,
}

/// All of them, by decreasing FLOPs.
fn untuned(program: &Program, variants: &Variants, choices: &Choices) -> Result<Vec<Untuned>> {
    let mut found: BTreeMap<String, Untuned> = BTreeMap::new();
    let mut without_choice = BTreeSet::new();
    for (index, op) in program.ops().iter().enumerate() {
        let key = key(op, program.tensors())?;
        if choices.has(&key) || without_choice.contains(&key) {
            continue;
        }
        if let Some(same) = found.get_mut(&key) {
            same.count += 1;
        } else if variants.distinct(op, program.tensors())?.len() > 1 {
            found.insert(key.clone(), Untuned { key, index, count: 1 });
        } else {
            without_choice.insert(key);
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    let flops = |op: &Untuned| program.ops()[op.index].flops(Tensors(program.tensors()));
    found.sort_by_key(|op| std::cmp::Reverse(op.count as u64 * flops(op)));
    Ok(found)
}
