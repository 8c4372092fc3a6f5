//! Uploads batches of images to the device, and reads results back.

use crate::base::interrupt::Interrupt;
use crate::base::shape::Shape;
use crate::compiler::program::{Built, Program, Routine};
use crate::compiler::tensor::TensorId;
use crate::data::{Images, Normalization, Reader};
use crate::gpu::session::Session;
use crate::net::augment::{SAMPLE_WORDS, Sample, Sizes};
use crate::net::options::{IMAGE_CHANNELS, Normalize};
use crate::train::detail::Detail;
use crate::train::metrics::{Scores, Tally};
use crate::{Error, Result};

/// Steps whose results may be in flight to the host.
const IN_FLIGHT: usize = 4;

/// The images of a routine: resident on the device if they fit, otherwise uploaded batch by batch.
pub struct Feeder<'a> {
    images: &'a Images,
    reader: Reader<'a>,
    routine: Routine,
    resident: bool,
    /// Samples per run of the routine: its batch, and with mixing the partner of the last image.
    reads: usize,
    sizes: Sizes,
}

/// The shape of all of `images` as they are stored.
pub fn stored_shape(images: &Images) -> Shape {
    Shape::new(images.len(), images.height, images.width, images.channels)
}

/// Normalisation in the form of the input kernel.
///
/// # Errors
/// [`Error::Model`] if it does not match the number of channels.
pub fn normalize(n: &Normalization, channels: usize) -> Result<Normalize> {
    let fits = n.mean.len() == channels && n.std.len() == channels && channels <= IMAGE_CHANNELS;
    let sane = n.mean.iter().chain(&n.std).all(|v| v.is_finite()) && n.std.iter().all(|s| *s > 0.0);
    if !fits || !sane {
        return Err(Error::Model(format!("{n:?} is no normalisation of {channels} channels")));
    }
    let mut out = Normalize { mean: [0.0; IMAGE_CHANNELS], std: [1.0; IMAGE_CHANNELS] };
    out.mean[..channels].copy_from_slice(&n.mean);
    out.std[..channels].copy_from_slice(&n.std);
    Ok(out)
}

/// Sets whether the gradients of the next micro-batch are added to those before it; number 0 starts new
/// sums. Without micro-batches it does nothing.
pub fn accumulate(session: &Session, routine: &Routine, number: usize) {
    if let Some(keep) = routine.keep {
        let factor = if number == 0 { 0.0f32 } else { 1.0 };
        session.write_bytes(keep, bytemuck::bytes_of(&factor));
    }
}

impl<'a> Feeder<'a> {
    /// Uploads the images if the program keeps them on the device.
    ///
    /// # Errors
    /// Those of reading photos.
    pub fn new(session: &Session, routine: &Routine, images: &'a Images) -> Result<Self> {
        let shape = |id| session.program().tensor(id).shape;
        let resident = shape(routine.all_labels).elements() >= images.len();
        if resident {
            session.write_bytes(routine.pixels, &images.all()?);
            session.write_bytes(routine.all_labels, bytemuck::cast_slice(&images.labels));
        }
        let reads = shape(routine.samples).elements() / SAMPLE_WORDS;
        let input = shape(routine.x);
        let sizes = Sizes { stored: [images.height, images.width], input: [input.h, input.w] };
        let reader = Reader::new(images);
        Ok(Self { images, reader, routine: routine.clone(), resident, reads, sizes })
    }

    /// The size of stored images and of the network's input.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The most samples that [`Feeder::bring`] takes.
    pub fn reads(&self) -> usize {
        self.reads
    }

    /// All images in order, without augmentation.
    pub fn plain(&self) -> Vec<Sample> {
        (0..self.images.len() as u32).map(|index| Sample::plain(index, self.sizes)).collect()
    }

    /// Whether the images are resident on the device.
    pub fn resident(&self) -> bool {
        self.resident
    }

    /// Announces the next images, in order, so that photos are decoded ahead.
    pub fn expect(&self, order: Vec<u32>) {
        if !self.resident {
            self.reader.expect(order);
        }
    }

    /// Total time spent waiting for images.
    pub fn waited(&self) -> std::time::Duration {
        self.reader.waited()
    }

    /// Uploads the inputs of the next run of the routine. With mixing, `samples` ends with the partner
    /// of the batch's last image. A short batch is padded with its first image, and the padding is
    /// masked out.
    ///
    /// # Errors
    /// Those of reading photos.
    pub fn bring(&self, session: &Session, samples: &[Sample], step: StepValues) -> Result<()> {
        let filled = (0..self.reads).map(|i| samples.get(i).unwrap_or(&samples[0]));
        let place = |(i, s): (usize, &Sample)| Sample {
            index: if self.resident { s.index } else { i as u32 },
            ..*s
        };
        let records: Vec<Sample> = filled.clone().enumerate().map(place).collect();
        session.write_bytes(self.routine.samples, bytemuck::cast_slice(&records));
        if !self.resident {
            let bytes = self.images.bytes_per_image();
            let mut pixels = Vec::with_capacity(self.reads * bytes);
            samples.iter().try_for_each(|s| self.reader.read(s.index, &mut pixels))?;
            (samples.len()..self.reads).for_each(|_| pixels.extend_from_within(..bytes));
            let labels: Vec<u32> = filled.map(|s| self.images.labels[s.index as usize]).collect();
            session.write_bytes(self.routine.pixels, &pixels);
            session.write_bytes(self.routine.all_labels, bytemuck::cast_slice(&labels));
        }
        let valid = samples.len().min(self.routine.batch) as f32;
        let values = [step.lr, step.correction1, step.correction2, valid];
        session.write_bytes(self.routine.step, bytemuck::cast_slice(&values));
        Ok(())
    }
}

/// AdamW's per-step values.
#[derive(Clone, Copy, Default, Debug)]
pub struct StepValues {
    /// Learning rate.
    pub lr: f32,
    /// `1 - beta1^t`.
    pub correction1: f32,
    /// `1 - beta2^t`.
    pub correction2: f32,
}

/// Runs a routine batch after batch. Results arrive a few batches late.
pub struct Runner {
    routine: Routine,
    /// A tensor to read back besides the metrics.
    extra: Option<TensorId>,
    waiting: std::collections::VecDeque<usize>,
}

impl Runner {
    /// For `routine`.
    pub fn new(routine: &Routine) -> Self {
        Self { routine: routine.clone(), extra: None, waiting: Default::default() }
    }

    /// The same with another tensor, whose words follow the metrics in the results.
    fn with(routine: &Routine, extra: TensorId) -> Self {
        Self { extra: Some(extra), ..Self::new(routine) }
    }

    /// Runs the batch that was uploaded last, which has `images` valid images. Calls `done` with the
    /// results and the number of images of each batch that finished meanwhile.
    ///
    /// # Errors
    /// Those of the session and of `done`.
    pub fn run(
        &mut self,
        session: &mut Session,
        images: usize,
        done: impl FnMut(&[f32], usize) -> Result<()>,
    ) -> Result<()> {
        session.run(self.routine.ops.clone(), Some(self.routine.metrics))?;
        if self.extra.is_some() {
            session.run(0..0, self.extra)?;
        }
        self.waiting.push_back(images);
        self.collect(session, IN_FLIGHT, done)
    }

    /// Waits for all batches.
    ///
    /// # Errors
    /// Those of the session and of `done`.
    pub fn finish(
        &mut self,
        session: &mut Session,
        done: impl FnMut(&[f32], usize) -> Result<()>,
    ) -> Result<()> {
        self.collect(session, 0, done)
    }

    fn collect(
        &mut self,
        session: &mut Session,
        keep: usize,
        mut done: impl FnMut(&[f32], usize) -> Result<()>,
    ) -> Result<()> {
        let keep = keep * (1 + usize::from(self.extra.is_some()));
        while let Some(mut bytes) = session.fetched(keep)? {
            if self.extra.is_some() {
                bytes.extend(session.fetched(keep)?.unwrap_or_default());
            }
            let images = self.waiting.pop_front().unwrap_or_default();
            done(&bytemuck::pod_collect_to_vec::<u8, f32>(&bytes), images)?;
        }
        Ok(())
    }
}

/// Evaluates all images of `feeder` with the eval routine of `built`, and collects `detail`. The
/// caller must check that the losses are finite.
///
/// # Errors
/// [`Error::Interrupted`], [`Error::Gpu`] and the like, and those of reading photos.
pub fn evaluate(
    session: &mut Session,
    built: &Built,
    routine: &Routine,
    feeder: &Feeder,
    interrupt: &Interrupt,
    mut detail: Option<&mut Detail>,
) -> Result<Scores> {
    let mut tally = Tally::new(built.blocks.len());
    let scores = Words::of(&built.program, routine);
    let mut runner = match detail {
        Some(_) => Runner::with(routine, scores.slab),
        None => Runner::new(routine),
    };
    let (labels, mut first) = (&feeder.images.labels, 0);
    let mut add = |step: &[f32], images: usize| {
        tally.add(step, images);
        if let Some(detail) = detail.as_deref_mut() {
            for image in 0..images {
                let label = labels[first + image] as usize;
                detail.add(first + image, label, &scores.of_image(step, image));
            }
        }
        first += images;
        Ok(())
    };
    feeder.expect((0..feeder.images.len() as u32).collect());
    for samples in feeder.plain().chunks(routine.batch) {
        interrupt.check()?;
        feeder.bring(session, samples, StepValues::default())?;
        runner.run(session, samples.len(), &mut add)?;
    }
    runner.finish(session, &mut add)?;
    Ok(tally.scores())
}

/// The position of the scores in the words that are read back.
struct Words {
    slab: TensorId,
    /// The first word of each block.
    blocks: Vec<usize>,
    /// Words from one image to the next.
    stride: usize,
    classes: usize,
}

impl Words {
    fn of(program: &Program, routine: &Routine) -> Self {
        let metrics = program.tensor(routine.metrics).bytes();
        let places: Vec<_> = routine.scores.iter().map(|id| program.root(*id)).collect();
        let blocks = places.iter().map(|(_, offset)| (metrics + offset) / 4).collect();
        let scores = program.tensor(routine.scores[0]);
        let stride = scores.layout.stored(scores.shape).c;
        Self { slab: places[0].0, blocks, stride, classes: scores.shape.c }
    }

    fn of_image<'a>(&self, words: &'a [f32], image: usize) -> Vec<&'a [f32]> {
        let start = |block: &usize| block + image * self.stride;
        self.blocks.iter().map(|block| &words[start(block)..][..self.classes]).collect()
    }
}
