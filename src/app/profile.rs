//! Where the time of a training step goes: each dispatch timed on the device, next to what it has
//! to do and to the device's peak.

pub mod table;
mod trace;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::Serialize;

pub use trace::trace;

use crate::base::random::{Rng, Stream};
use crate::compiler::program::{Built, Routine};
use crate::compiler::tensor::{Kind, TensorId};
use crate::compiler::work::{Traffic, Work, label, share};
use crate::gpu::device::Gpu;
use crate::gpu::peak::Peak;
use crate::gpu::session::{self, Clock, Session};
use crate::net::augment::{SAMPLE_WORDS, Sample, Sizes};
use crate::train::trainer::{Trainer, initialise};
use crate::{Error, Result};

/// How to profile.
#[derive(Clone, Copy, Debug)]
pub struct ProfileOptions {
    /// Steps to time, after one that warms up.
    pub steps: usize,
    /// How to time; the best that the device has if not given.
    pub clock: Option<Clock>,
    /// Images of a whole step.
    pub batch: usize,
    /// Classes that labels are drawn from.
    pub classes: usize,
}

/// Time and work of some dispatches of a step.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Line {
    /// Kernel, kind of op, or block.
    pub name: String,
    /// Dispatches.
    pub calls: usize,
    /// Milliseconds of a step.
    pub ms: f64,
    /// Part of the time of all dispatches.
    pub share: f64,
    /// 10⁶ operations.
    pub mflop: f64,
    /// 10⁶ bytes read and written.
    pub mb: f64,
    /// 10⁹ operations per second.
    pub gflops: f64,
    /// 10⁹ bytes per second.
    pub gbs: f64,
    /// The least time that the device's peak allows for, as a part of the time taken, if the peak is
    /// known. More than 1 where caches serve what memory could not.
    pub roofline: Option<f64>,
}

/// Time and work of an op.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OpLine {
    /// Its index in the program.
    pub index: usize,
    /// Its block's name.
    pub block: String,
    /// What its dispatches did; the name is that of the kind of op.
    #[serde(flatten)]
    pub line: Line,
}

/// What the host does for a step.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Host {
    /// Milliseconds of encoding.
    pub encode_ms: f64,
    /// Milliseconds of submitting.
    pub submit_ms: f64,
    /// Both, next to the device's time.
    pub share: f64,
    /// Objects that were made on the device in all timed steps: 0, but for a fault.
    pub objects: u64,
}

/// Something that took time, for the trace: seconds since the step began.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Event {
    pub name: String,
    pub span: Range<f64>,
    /// Index of the op, for dispatches.
    pub op: usize,
    pub work: Work,
}

/// Where the time of a training step goes.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Profile {
    /// The device.
    pub device: String,
    /// How dispatches were timed.
    pub clock: String,
    /// Images per step.
    pub batch: usize,
    /// Timed steps; times are medians over them.
    pub steps: usize,
    /// Milliseconds of all dispatches of a step.
    pub device_ms: f64,
    /// Milliseconds of a step that is not timed in parts, from the first call to its results.
    pub step_ms: f64,
    /// The host's part.
    pub host: Host,
    /// The device at its best, if that was measured.
    pub peak: Option<Peak>,
    /// By kernel, most time first.
    pub by_kernel: Vec<Line>,
    /// By kind of op, most time first.
    pub by_op: Vec<Line>,
    /// By block, in order; what belongs to none comes last.
    pub by_block: Vec<Line>,
    /// Every op, in order.
    pub ops: Vec<OpLine>,
    /// The dispatches of the last timed step.
    #[serde(skip)]
    pub(crate) dispatches: Vec<Event>,
    /// What the host did in a step that was not timed in parts.
    #[serde(skip)]
    host_events: Vec<Event>,
}

/// What is summed into a [`Line`].
#[derive(Clone, Copy, Default)]
struct Sum {
    calls: usize,
    seconds: f64,
    work: Work,
    /// What the peak allows for.
    least: f64,
}

/// A step as the session runs it.
struct Step<'a> {
    session: &'a mut Session,
    built: &'a Built,
    routine: &'a Routine,
    /// Images.
    batch: usize,
    /// Ops of each submit.
    runs: Vec<Range<usize>>,
}

impl<'a> Step<'a> {
    /// Of so many images.
    fn new(session: &'a mut Session, built: &'a Built, batch: usize) -> Result<Self> {
        let missing = || Error::Model("the program has no routine to train".into());
        let routine = built.train.as_ref().ok_or_else(missing)?;
        let mut runs = vec![routine.ops.clone(); batch / routine.batch];
        runs.extend(built.update.clone());
        Ok(Self { session, built, routine, batch, runs })
    }

    /// Starts new sums of gradients, or goes on with those that are there.
    fn keep(&self, run: usize) {
        if let Some(keep) = self.routine.keep {
            let keeping = if run == 0 { 0.0f32 } else { 1.0 };
            self.session.write_bytes(keep, bytemuck::bytes_of(&keeping));
        }
    }

    /// Runs it as training does, and waits.
    fn plain(&mut self) -> Result<()> {
        for run in 0..self.runs.len() {
            self.keep(run);
            self.session.run(self.runs[run].clone(), Some(self.routine.metrics))?;
        }
        while self.session.fetched(0)?.is_some() {}
        Ok(())
    }

    /// Seconds of each dispatch, from beginning to end.
    fn timed(&mut self, clock: Clock) -> Result<Vec<Range<f64>>> {
        let mut spans: Vec<Range<f64>> = Vec::new();
        for run in 0..self.runs.len() {
            self.keep(run);
            let before = spans.last().map_or(0.0, |span| span.end);
            let run = self.session.run_timed(self.runs[run].clone(), clock)?;
            spans.extend(run.into_iter().map(|s| s.start + before..s.end + before));
        }
        Ok(spans)
    }

    /// Times steps, whole ones and then in parts.
    fn profile(&mut self, peak: Option<Peak>, clock: Clock, steps: usize) -> Result<Profile> {
        let gpu = self.session.gpu().clone();
        let objects = gpu.objects();
        let host: Vec<HostTimes> =
            (0..steps).map(|_| HostTimes::of(self)).collect::<Result<_>>()?;
        let objects = gpu.objects() - objects;
        let timed: Vec<Vec<Range<f64>>> =
            (0..steps).map(|_| self.timed(clock)).collect::<Result<_>>()?;

        let Self { session, built, .. } = &*self;
        let works = works(session, built, &self.runs)?;
        let seconds: Vec<f64> = (0..works.len())
            .map(|i| median(timed.iter().map(|spans| spans[i].end - spans[i].start).collect()))
            .collect();
        let device: f64 = seconds.iter().sum();
        let lines = Lines { built, works: &works, seconds: &seconds, peak, device };
        let of = |time: fn(&HostTimes) -> Duration| {
            1e3 * median(host.iter().map(|h| time(h).as_secs_f64()).collect())
        };
        let (encode_ms, submit_ms) = (of(|h| h.encode), of(|h| h.submit));
        let dispatches = timed.last().into_iter().flatten().zip(&works).map(|(span, w)| Event {
            name: w.kernel.clone(),
            span: span.clone(),
            op: w.op,
            work: w.work,
        });
        Ok(Profile {
            device: format!("{} ({})", gpu.adapter.name, gpu.adapter.driver),
            clock: clock.to_string(),
            batch: self.batch,
            steps,
            device_ms: 1e3 * device,
            step_ms: of(|h| h.whole),
            host: Host {
                encode_ms,
                submit_ms,
                share: (encode_ms + submit_ms) / (1e3 * device).max(f64::MIN_POSITIVE),
                objects,
            },
            peak,
            by_kernel: by_time(lines.by(|w| w.kernel.clone())),
            by_op: by_time(lines.by(|w| built.program.ops()[w.op].name().to_owned())),
            by_block: lines.by_block(),
            ops: lines.ops(),
            dispatches: dispatches.collect(),
            host_events: host.last().map(HostTimes::events).unwrap_or_default(),
        })
    }
}

/// Runs training steps on random images and times them.
///
/// # Errors
/// Those of [`Session::new`] and of running, [`Error::Usage`] for no steps.
pub fn profile(gpu: &Gpu, built: &Built, peak: Peak, options: ProfileOptions) -> Result<Profile> {
    if options.steps == 0 {
        return Err(Error::Usage("--steps must be at least 1".into()));
    }
    let mut session = Session::new(gpu, built.program.clone(), session::SessionOptions::default())?;
    initialise(&session, built, 0);
    let clock = options.clock.unwrap_or(session.clock());
    let mut step = Step::new(&mut session, built, options.batch)?;
    fill(step.session, step.routine, options.classes);
    step.plain()?;
    step.timed(clock)?;
    step.profile(Some(peak), clock, options.steps)
}

/// Times so many more steps of a training, on the images of its last one, and undoes what they
/// change.
///
/// # Errors
/// Those of running.
pub fn of_training(trainer: &mut Trainer, steps: usize) -> Result<Profile> {
    let (images, count) = trainer.micro_batches();
    let (session, built) = trainer.parts();
    let clock = session.clock();
    let lasting = |id: &TensorId| {
        let tensor = built.program.tensor(*id);
        tensor.parent.is_none() && tensor.persists() && tensor.kind != Kind::Io
    };
    let kept = built.program.ids().filter(lasting);
    let kept: Vec<_> = kept.map(|id| Ok((id, session.read_bytes(id)?))).collect::<Result<_>>()?;
    let profile = Step::new(session, built, images * count)?.profile(None, clock, steps);
    kept.iter().for_each(|(id, bytes)| session.write_bytes(*id, bytes));
    profile
}

/// Random images and labels, and values of a step.
fn fill(session: &Session, routine: &Routine, classes: usize) {
    let shape = |id| session.program().tensor(id).shape;
    let mut rng = Rng::new(0, Stream::Init, 0, 0);
    let mut bytes =
        |count: usize| -> Vec<u8> { (0..count).map(|_| rng.below(256) as u8).collect() };
    session.write_bytes(routine.pixels, &bytes(4 * shape(routine.pixels).elements()));
    let resident = shape(routine.all_labels).elements();
    let labels: Vec<u32> = (0..resident).map(|i| (i % classes) as u32).collect();
    session.write_bytes(routine.all_labels, bytemuck::cast_slice(&labels));
    let input = shape(routine.x);
    let sizes = Sizes { stored: [input.h, input.w], input: [input.h, input.w] };
    let reads = shape(routine.samples).elements() / SAMPLE_WORDS;
    let samples: Vec<Sample> =
        (0..reads).map(|i| Sample::plain((i % resident) as u32, sizes)).collect();
    session.write_bytes(routine.samples, bytemuck::cast_slice(&samples));
    // Learning rate, corrections of the first step, valid images.
    let values = [1e-3, 0.1, 1e-3, routine.batch as f32];
    session.write_bytes(routine.step, bytemuck::cast_slice(&values));
}

/// What the host did in one step.
struct HostTimes {
    encode: Duration,
    submit: Duration,
    wait: Duration,
    whole: Duration,
}

impl HostTimes {
    fn of(step: &mut Step) -> Result<Self> {
        let before = step.session.activity();
        let start = Instant::now();
        step.plain()?;
        let whole = start.elapsed();
        let after = step.session.activity();
        Ok(Self {
            encode: after.encoding - before.encoding,
            submit: after.submitting - before.submitting,
            wait: after.waiting - before.waiting,
            whole,
        })
    }

    /// One after another, within the step.
    fn events(&self) -> Vec<Event> {
        let event =
            |name: &str, span| Event { name: name.to_owned(), span, op: 0, work: Work::default() };
        let mut events = vec![event("step", 0.0..self.whole.as_secs_f64())];
        let mut at = 0.0;
        for (name, time) in [("encode", self.encode), ("submit", self.submit), ("wait", self.wait)]
        {
            let end = at + time.as_secs_f64();
            events.push(event(name, at..end));
            at = end;
        }
        events
    }
}

/// What a dispatch of the step does.
struct DispatchWork {
    op: usize,
    kernel: String,
    work: Work,
}

fn works(session: &Session, built: &Built, runs: &[Range<usize>]) -> Result<Vec<DispatchWork>> {
    let (mut traffic, mut works) = (Traffic::default(), Vec::new());
    for op in runs.iter().cloned().flatten() {
        let dispatches = session.dispatches(op..op + 1);
        let program = &built.program;
        let shares = share(&program.ops()[op], program.tensors(), dispatches, &mut traffic)?;
        works.extend(shares.into_iter().zip(dispatches).map(|(work, dispatch)| DispatchWork {
            op,
            kernel: label(&dispatch.kernel),
            work,
        }));
    }
    Ok(works)
}

/// Makes lines of dispatches.
struct Lines<'a> {
    built: &'a Built,
    works: &'a [DispatchWork],
    seconds: &'a [f64],
    peak: Option<Peak>,
    /// Seconds of all dispatches.
    device: f64,
}

impl Lines<'_> {
    fn by<K: Ord + ToString>(&self, key: impl Fn(&DispatchWork) -> K) -> Vec<(K, Line)> {
        let mut sums: BTreeMap<K, Sum> = BTreeMap::new();
        for (w, seconds) in self.works.iter().zip(self.seconds) {
            let sum = sums.entry(key(w)).or_default();
            sum.calls += 1;
            sum.seconds += seconds;
            sum.work.flops += w.work.flops;
            sum.work.bytes += w.work.bytes;
            sum.least += self.peak.map_or(0.0, |peak| peak.seconds(w.work.flops, w.work.bytes));
        }
        sums.into_iter()
            .map(|(key, sum)| {
                let line = self.line(key.to_string(), sum);
                (key, line)
            })
            .collect()
    }

    fn line(&self, name: String, sum: Sum) -> Line {
        // What took no time that the clock could tell has no rate.
        let per_second = |amount: f64| if sum.seconds > 0.0 { amount / sum.seconds } else { 0.0 };
        Line {
            name,
            calls: sum.calls,
            ms: 1e3 * sum.seconds,
            share: sum.seconds / self.device.max(f64::MIN_POSITIVE),
            mflop: 1e-6 * sum.work.flops,
            mb: 1e-6 * sum.work.bytes,
            gflops: per_second(1e-9 * sum.work.flops),
            gbs: per_second(1e-9 * sum.work.bytes),
            roofline: self.peak.map(|_| per_second(sum.least)),
        }
    }

    /// The block whose tensors an op writes, or at least reads; one more than the last if there is
    /// none.
    fn block(&self, op: usize) -> usize {
        let program = &self.built.program;
        let access = program.ops()[op].access();
        let mut touched = access.writes.into_iter().chain(access.reads);
        touched.find_map(|id| program.tensor(id).block).unwrap_or(self.built.blocks.len())
    }

    fn block_name(&self, block: usize) -> String {
        self.built.blocks.get(block).map_or("input, metrics".into(), Clone::clone)
    }

    fn by_block(&self) -> Vec<Line> {
        let blocks = self.by(|w| self.block(w.op)).into_iter();
        blocks.map(|(block, line)| Line { name: self.block_name(block), ..line }).collect()
    }

    fn ops(&self) -> Vec<OpLine> {
        self.by(|w| w.op)
            .into_iter()
            .map(|(index, line)| OpLine {
                index,
                block: self.block_name(self.block(index)),
                line: Line { name: self.built.program.ops()[index].name().to_owned(), ..line },
            })
            .collect()
    }
}

fn by_time(lines: Vec<(String, Line)>) -> Vec<Line> {
    let mut lines: Vec<Line> = lines.into_iter().map(|(_, line)| line).collect();
    lines.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    lines
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
