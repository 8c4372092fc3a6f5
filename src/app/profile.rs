//! Where the time of a training step goes: each dispatch timed on the device, compared with its
//! arithmetic, its bytes and the device's peak.

mod lines;
mod step;
pub mod table;
mod trace;

use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

pub use trace::trace;

use crate::base::random::{Rng, Stream};
use crate::compiler::program::{Built, Routine};
use crate::compiler::tensor::{Kind, TensorId};
use crate::compiler::work::Work;
use crate::gpu::device::Gpu;
use crate::gpu::peak::Peak;
use crate::gpu::session::{self, Clock, Session};
use crate::net::augment::{SAMPLE_WORDS, Sample, Sizes};
use crate::train::trainer::{Trainer, initialise};
use crate::{Error, Result};
use lines::Lines;
use step::{HostTimes, Step};

/// How to profile.
#[derive(Clone, Copy, Debug)]
pub struct ProfileOptions {
    /// Steps to time, after one that warms up.
    pub steps: usize,
    /// How to time; by default the most precise clock of the device.
    pub clock: Option<Clock>,
    /// Images per step.
    pub batch: usize,
    /// Number of classes.
    pub classes: usize,
}

/// Time and work of some dispatches of a step.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Line {
    /// The kernel, kind of op, or block.
    pub name: String,
    /// Number of dispatches.
    pub calls: usize,
    /// Milliseconds per step.
    pub ms: f64,
    /// Fraction of the time of all dispatches.
    pub share: f64,
    /// 10⁶ operations.
    pub mflop: f64,
    /// 10⁶ bytes read and written.
    pub mb: f64,
    /// 10⁹ operations per second.
    pub gflops: f64,
    /// 10⁹ bytes per second.
    pub gbs: f64,
    /// The least time that the device's peak allows, as a fraction of the time taken, if the peak is
    /// known. More than 1 if operands come from caches, which are faster than memory.
    pub roofline: Option<f64>,
}

/// Time and work of an op.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OpLine {
    /// Its index in the program.
    pub index: usize,
    /// Its block's name.
    pub block: String,
    /// Time and work of its dispatches; the name is that of the kind of op.
    #[serde(flatten)]
    pub line: Line,
}

/// The host's part of a step.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Host {
    /// Milliseconds of encoding.
    pub encode_ms: f64,
    /// Milliseconds of submitting.
    pub submit_ms: f64,
    /// Both, as a fraction of the device's time.
    pub share: f64,
    /// Number of wgpu objects that were created in all timed steps; 0 unless there is a bug.
    pub objects: u64,
}

/// An event of the trace; its span is in seconds since the step began.
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
    /// Number of timed steps; times are medians over them.
    pub steps: usize,
    /// Milliseconds of all dispatches of a step.
    pub device_ms: f64,
    /// Milliseconds of a step without timed dispatches, from the first call to its results.
    pub step_ms: f64,
    /// The host's part.
    pub host: Host,
    /// The device's peak, if it was measured.
    pub peak: Option<Peak>,
    /// By kernel, most time first.
    pub by_kernel: Vec<Line>,
    /// By kind of op, most time first.
    pub by_op: Vec<Line>,
    /// By block, in order; ops outside of blocks come last.
    pub by_block: Vec<Line>,
    /// Every op, in order.
    pub ops: Vec<OpLine>,
    /// The dispatches of the last timed step.
    #[serde(skip)]
    pub(crate) dispatches: Vec<Event>,
    /// The host's events in a step without timed dispatches.
    #[serde(skip)]
    host_events: Vec<Event>,
}

/// Runs training steps on random images and times them.
///
/// # Errors
/// Those of [`Session::new`] and of running, [`Error::Usage`] for 0 steps.
pub fn profile(gpu: &Gpu, built: &Built, peak: Peak, options: ProfileOptions) -> Result<Profile> {
    if options.steps == 0 {
        return Err(Error::usage("--steps must be at least 1"));
    }
    let mut session = Session::new(gpu, built.program.clone(), session::SessionOptions::default())?;
    initialise(&session, built, 0);
    let clock = options.clock.unwrap_or(session.clock());
    let mut step = Step::new(&mut session, built, options.batch)?;
    fill(step.session, step.routine, options.classes);
    step.plain()?;
    step.timed(clock)?;
    measure(&mut step, Some(peak), clock, options.steps)
}

/// Times `steps` more training steps on the images of the last one, and restores what they change.
///
/// # Errors
/// Those of running.
pub fn of_training(trainer: &mut Trainer, steps: usize) -> Result<Profile> {
    let (images, count) = trainer.micro_batches();
    let (session, built) = trainer.parts();
    let clock = session.clock();
    let persistent = |id: &TensorId| {
        let tensor = built.program.tensor(*id);
        tensor.parent.is_none() && tensor.persists() && tensor.kind != Kind::Io
    };
    let saved = built.program.ids().filter(persistent);
    let saved: Vec<_> = saved.map(|id| Ok((id, session.read_bytes(id)?))).collect::<Result<_>>()?;
    let profile = measure(&mut Step::new(session, built, images * count)?, None, clock, steps);
    saved.iter().for_each(|(id, bytes)| session.write_bytes(*id, bytes));
    profile
}

/// Fills the input of a step: random images, labels, and the step's values.
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
    // Learning rate, the first step's bias corrections of AdamW, and the number of valid images.
    let values = [1e-3, 0.1, 1e-3, routine.batch as f32];
    session.write_bytes(routine.step, bytemuck::cast_slice(&values));
}

/// Times `steps` whole steps, then as many dispatch by dispatch.
fn measure(step: &mut Step, peak: Option<Peak>, clock: Clock, steps: usize) -> Result<Profile> {
    let gpu = step.session.gpu().clone();
    let objects = gpu.objects();
    let host: Vec<HostTimes> = (0..steps).map(|_| HostTimes::of(step)).collect::<Result<_>>()?;
    let objects = gpu.objects() - objects;
    let timed: Vec<Vec<Range<f64>>> =
        (0..steps).map(|_| step.timed(clock)).collect::<Result<_>>()?;
    let mut dispatches = lines::dispatched(step.session, step.built, &step.runs)?;
    for (index, dispatch) in dispatches.iter_mut().enumerate() {
        let spans = timed.iter().map(|spans| &spans[index]);
        dispatch.seconds = median(spans.map(|span| span.end - span.start).collect());
    }
    let seconds: f64 = dispatches.iter().map(|dispatch| dispatch.seconds).sum();
    let lines = Lines { built: step.built, dispatches: &dispatches, peak, seconds };
    let ms = |time: fn(&HostTimes) -> Duration| {
        1e3 * median(host.iter().map(|host| time(host).as_secs_f64()).collect())
    };
    let (encode_ms, submit_ms) = (ms(|host| host.encode), ms(|host| host.submit));
    let share = (encode_ms + submit_ms) / (1e3 * seconds).max(f64::MIN_POSITIVE);
    let last = timed.last().into_iter().flatten().zip(&dispatches);
    let last = last.map(|(span, dispatch)| Event {
        name: dispatch.kernel.clone(),
        span: span.clone(),
        op: dispatch.op,
        work: dispatch.work,
    });
    Ok(Profile {
        device: format!("{} ({})", gpu.adapter.name, gpu.adapter.driver),
        clock: clock.to_string(),
        batch: step.batch,
        steps,
        device_ms: 1e3 * seconds,
        step_ms: ms(|host| host.whole),
        host: Host { encode_ms, submit_ms, share, objects },
        peak,
        by_kernel: lines.by_kernel(),
        by_op: lines.by_op(),
        by_block: lines.by_block(),
        ops: lines.ops(),
        dispatches: last.collect(),
        host_events: host.last().map(HostTimes::events).unwrap_or_default(),
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
