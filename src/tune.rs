//! Choosing, by the clock, how each op is computed on a device, and remembering it.
//!
//! The choices for a device lie in a file of the user's cache folder, whose name is a digest of the
//! device, its driver and all kernels: another version of any of them begins anew. A run keeps those
//! it began with, so that it resumes with the same bits.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use etcetera::base_strategy::{BaseStrategy, choose_native_strategy};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::files::{hex, write_whole};
use crate::gpu::Gpu;
use crate::kernel::{Choices, Variant, distinct, key};
use crate::program::Program;
use crate::session::{Options, Session};
use crate::{Error, Result, shaders};

/// How kernels are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Tune {
    /// What suits devices of its kind, as a rule.
    Off,
    /// What was the fastest when it was timed on this device, if it was; no time is spent.
    #[default]
    Cached,
    /// The same, after timing what was not yet.
    Full,
}

/// How long a variant of an op is timed at most, unless a single run takes longer.
const EFFORT: Duration = Duration::from_millis(50);
/// Runs of a variant at most, besides the first one, which warms up.
const RUNS: usize = 20;
/// How much faster than the usual variant another one must be: less may be noise.
const WORTH: f64 = 0.97;

/// What the cache holds for a device.
#[derive(Serialize, Deserialize)]
struct Cached {
    /// For whoever looks into the file.
    device: String,
    driver: String,
    choices: Choices,
}

/// The file for a device; none if the system has no cache folder.
fn path(gpu: &Gpu) -> Option<PathBuf> {
    let mut digest = Md5::new();
    let adapter = &gpu.adapter;
    for part in [&adapter.name, &adapter.backend, &adapter.driver] {
        digest.update(part);
        digest.update([0]);
    }
    digest.update(format!("{:?}", gpu.variants()));
    shaders::sources().for_each(|source| digest.update(source));
    let folder = choose_native_strategy().ok()?.cache_dir();
    Some(folder.join("sff").join(format!("kernels-{}.json", hex(&digest.finalize()))))
}

/// What was found out before about a device. A file that cannot be read counts for nothing.
pub fn cached(gpu: &Gpu) -> Choices {
    let text = path(gpu).and_then(|path| fs::read(path).ok());
    let cached = text.and_then(|text| serde_json::from_slice::<Cached>(&text).ok());
    cached.map(|cached| cached.choices).unwrap_or_default()
}

/// Adds choices to what is remembered of a device.
fn remember(gpu: &Gpu, choices: &Choices) -> Result<()> {
    let Some(path) = path(gpu) else { return Ok(()) };
    let folder = path.parent().unwrap_or(&path);
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut all = choices.clone();
    // Another process may have been at it meanwhile.
    all.fill(cached(gpu));
    let (device, driver) = (gpu.adapter.name.clone(), gpu.adapter.driver.clone());
    let text = serde_json::to_string_pretty(&Cached { device, driver, choices: all })
        .map_err(|e| Error::corrupt(&path, e.to_string()))?;
    write_whole(&path, |file| file.write_all(text.as_bytes()))
}

/// The GPU with the choices for a program that `tune` asks for. What is timed, is timed with the
/// program's own plan, on the tensors as the device leaves them.
///
/// # Errors
/// Those of [`Session::new`] and of running; [`Error::Io`] if the choices cannot be kept.
pub fn tune(gpu: &Gpu, tune: Tune, program: impl FnOnce() -> Result<Program>) -> Result<Gpu> {
    let mut choices = if tune == Tune::Off { Choices::default() } else { cached(gpu) };
    if choices.is_empty() && tune != Tune::Full {
        return Ok(gpu.with_choices(choices));
    }
    let program = program()?;
    if tune == Tune::Full && time(gpu, &program, &mut choices)? {
        remember(gpu, &choices)?;
    }
    Ok(gpu.with_choices(choices.of(program.ops(), program.tensors())))
}

/// Times each op of a program for which there is a choice and nothing chosen; whether there were
/// any.
fn time(gpu: &Gpu, program: &Program, choices: &mut Choices) -> Result<bool> {
    let (tensors, variants) = (program.tensors(), gpu.variants());
    let mut open: BTreeMap<String, (usize, Vec<Variant>)> = BTreeMap::new();
    for (index, op) in program.ops().iter().enumerate() {
        let candidates = distinct(op, tensors, &variants);
        if candidates.len() > 1 {
            let key = key(op, tensors);
            if !choices.has(&key) {
                open.entry(key).or_insert((index, candidates));
            }
        }
    }
    let mut best: BTreeMap<&str, (f64, &Variant)> = BTreeMap::new();
    for (nth, variant) in variants.iter().enumerate() {
        let with =
            |(_, (_, candidates)): &(_, &(usize, Vec<Variant>))| candidates.contains(variant);
        let ops: Vec<_> = open.iter().filter(with).collect();
        if ops.is_empty() {
            continue;
        }
        let options = Options { tiles: Some(variant.tiles), ..Options::default() };
        let mut session = Session::new(gpu, program.clone(), options)?;
        for (key, (index, _)) in ops {
            let seconds = seconds(&mut session, *index)?;
            let needed = if nth == 0 { seconds } else { seconds / WORTH };
            let best = best.entry(key).or_insert((needed, variant));
            if needed < best.0 {
                *best = (seconds, variant);
            }
        }
    }
    let found: Vec<_> =
        best.into_iter().map(|(key, (_, variant))| (key.to_owned(), *variant)).collect();
    found.iter().for_each(|(key, variant)| choices.set(key.clone(), variant));
    Ok(!found.is_empty())
}

/// Seconds of an op, the best of some runs.
fn seconds(session: &mut Session, op: usize) -> Result<f64> {
    let clock = session.clock();
    let mut run = || -> Result<f64> {
        let spans = session.run_timed(op..op + 1, clock)?;
        Ok(spans.iter().map(|span| span.end - span.start).sum())
    };
    run()?;
    let start = Instant::now();
    let mut best = run()?;
    for _ in 1..RUNS {
        if start.elapsed() > EFFORT {
            break;
        }
        best = best.min(run()?);
    }
    Ok(best)
}
