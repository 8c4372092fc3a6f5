//! Brings batches of images to the device, and results back.

use crate::data::{Images, Normalization, Reader};
use crate::metrics::{Scores, Tally};
use crate::ops::{IMAGE_CHANNELS, Normalize};
use crate::program::{Built, Feed, Routine};
use crate::rng::Rng;
use crate::session::Session;
use crate::shape::Shape;
use crate::{Error, Result};

/// Steps whose results may be on their way to the host at a time.
const IN_FLIGHT: usize = 4;

/// Which image, and how it is changed on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Index into the images.
    pub index: u32,
    /// Whether left and right are exchanged.
    pub mirror: bool,
    /// Rows and columns by which the image is shifted; what comes in is black.
    pub shift: (i8, i8),
}

impl Sample {
    /// An image as it is.
    pub fn plain(index: u32) -> Self {
        Self { index, mirror: false, shift: (0, 0) }
    }

    /// An image mirrored with probability 1/2 if `flip`, and shifted by up to `crop` pixels.
    pub fn augmented(index: u32, flip: bool, crop: u8, rng: &mut Rng) -> Self {
        let mirror = flip && rng.below(2) == 1;
        let crop = crop.min(127);
        let mut shift = || (rng.below(2 * u64::from(crop) + 1) as i16 - i16::from(crop)) as i8;
        Self { index, mirror, shift: (shift(), shift()) }
    }

    /// The two words that the device reads.
    fn words(self, index: u32) -> [u32; 2] {
        let biased = |shift: i8| (i32::from(shift) + 128) as u32;
        [index, u32::from(self.mirror) | biased(self.shift.0) << 8 | biased(self.shift.1) << 16]
    }
}

/// Images of one routine: kept on the device if they fit, else brought batch by batch.
pub struct Feeder<'a> {
    images: &'a Images,
    reader: Reader<'a>,
    routine: Routine,
    resident: bool,
}

/// How so many images are fed in batches of `batch`: they stay on the device if they take at most
/// `room` bytes there.
pub fn plan_feed(images: usize, image: Shape, batch: usize, room: usize) -> Feed {
    let fits = images * image.elements() <= room;
    Feed { batch, resident: if fits { images.max(batch) } else { batch } }
}

/// The shape of one of `images`.
pub fn image_shape(images: &Images) -> Shape {
    Shape::new(1, images.height, images.width, images.channels)
}

/// Normalisation as the input kernel takes it.
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

impl<'a> Feeder<'a> {
    /// Copies the images to the device if the program keeps them there.
    ///
    /// # Errors
    /// Those of reading photos.
    pub fn new(session: &Session, routine: &Routine, images: &'a Images) -> Result<Self> {
        let room = session.program().tensor(routine.all_labels).shape.elements();
        let resident = room >= images.len();
        if resident {
            session.write_bytes(routine.pixels, &images.all()?);
            session.write_bytes(routine.all_labels, bytemuck::cast_slice(&images.labels));
        }
        Ok(Self { images, reader: Reader::new(images), routine: routine.clone(), resident })
    }

    /// Whether the images stay on the device.
    pub fn resident(&self) -> bool {
        self.resident
    }

    /// Says which images will be brought next, and in which order, so that photos are decoded
    /// ahead.
    pub fn expect(&self, order: Vec<u32>) {
        if !self.resident {
            self.reader.expect(order);
        }
    }

    /// How long bringing images waited for them so far.
    pub fn waited(&self) -> std::time::Duration {
        self.reader.waited()
    }

    /// Brings what the next run of the routine needs. A short batch is filled up with its first
    /// image, which then counts for nothing.
    ///
    /// # Errors
    /// Those of reading photos.
    pub fn bring(&self, session: &Session, samples: &[Sample], step: StepValues) -> Result<()> {
        let batch = self.routine.batch;
        let filled = (0..batch).map(|i| samples.get(i).unwrap_or(&samples[0]));
        let words: Vec<u32> = filled
            .clone()
            .enumerate()
            .flat_map(|(i, s)| s.words(if self.resident { s.index } else { i as u32 }))
            .collect();
        session.write_bytes(self.routine.samples, bytemuck::cast_slice(&words));
        if !self.resident {
            let bytes = self.images.bytes_per_image();
            let mut pixels = Vec::with_capacity(batch * bytes);
            samples.iter().try_for_each(|s| self.reader.read(s.index, &mut pixels))?;
            (samples.len()..batch).for_each(|_| pixels.extend_from_within(..bytes));
            let labels: Vec<u32> = filled.map(|s| self.images.labels[s.index as usize]).collect();
            session.write_bytes(self.routine.pixels, &pixels);
            session.write_bytes(self.routine.all_labels, bytemuck::cast_slice(&labels));
        }
        let values = [step.lr, step.correction1, step.correction2, samples.len() as f32];
        session.write_bytes(self.routine.step, bytemuck::cast_slice(&values));
        Ok(())
    }
}

/// What AdamW needs to know of a step.
#[derive(Clone, Copy, Default, Debug)]
pub struct StepValues {
    /// Learning rate.
    pub lr: f32,
    /// `1 - beta1^t`.
    pub correction1: f32,
    /// `1 - beta2^t`.
    pub correction2: f32,
}

/// Runs a routine batch after batch; results come back a few batches late.
pub struct Runner {
    routine: Routine,
    waiting: std::collections::VecDeque<usize>,
}

impl Runner {
    /// For `routine`.
    pub fn new(routine: &Routine) -> Self {
        Self { routine: routine.clone(), waiting: Default::default() }
    }

    /// Runs one batch of `images` valid images that was brought before. Calls `done` with the
    /// results, and the number of images, of batches that finished meanwhile.
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
        while let Some(bytes) = session.fetched(keep)? {
            let images = self.waiting.pop_front().unwrap_or_default();
            done(&bytemuck::pod_collect_to_vec::<u8, f32>(&bytes), images)?;
        }
        Ok(())
    }
}

/// Evaluates all images of `feeder` with the eval routine of `built`. Whether the losses are
/// finite is for the caller to look at.
///
/// # Errors
/// [`Error::Gpu`], and those of reading photos.
pub fn evaluate(
    session: &mut Session,
    built: &Built,
    routine: &Routine,
    feeder: &Feeder,
) -> Result<Scores> {
    let mut tally = Tally::new(built.blocks.len());
    let mut runner = Runner::new(routine);
    let all: Vec<Sample> = (0..feeder.images.len() as u32).map(Sample::plain).collect();
    let mut add = |step: &[f32], images: usize| {
        tally.add(step, images);
        Ok(())
    };
    feeder.expect((0..feeder.images.len() as u32).collect());
    for samples in all.chunks(routine.batch) {
        feeder.bring(session, samples, StepValues::default())?;
        runner.run(session, samples.len(), &mut add)?;
    }
    runner.finish(session, &mut add)?;
    Ok(tally.scores())
}
