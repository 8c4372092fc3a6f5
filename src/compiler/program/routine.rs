//! The tensors that a routine exchanges with the host, and its first op.

use super::build::RoutineBuilder;
use super::emit::Emitter;
use super::setup::Routine;
use crate::base::shape::{Layout, Shape};
use crate::compiler::ops;
use crate::compiler::ops::scores::{PARTNER_WORDS, STEP_WORDS, result_words};
use crate::compiler::tensor::Kind;
use crate::net::augment::{Augment, MAX_SIDE, SAMPLE_WORDS};
use crate::{Error, Result};

impl RoutineBuilder<'_> {
    pub(super) fn training(&self) -> bool {
        self.name == "train"
    }

    /// The scale of gradients, which float16 needs.
    pub(super) fn gradient_scale(&self) -> f32 {
        self.setup.precision.gradient_scale(self.feed.batch)
    }

    /// Augmentation of this routine's images.
    fn augment(&self) -> Augment {
        if self.training() { self.setup.augment } else { Augment::default() }
    }

    /// Checks the number and the sides of images.
    fn check(&self) -> Result<()> {
        let (feed, image) = (self.feed, self.setup.image);
        let records = feed.batch + self.augment().partners();
        if feed.batch == 0 || feed.resident < records {
            return Err(Error::Model(format!(
                "a batch of {} reads {records} images, but {} are on the device",
                feed.batch, feed.resident
            )));
        }
        let sides = [feed.stored[0], feed.stored[1], image.h, image.w];
        match sides.into_iter().find(|side| !(1..=MAX_SIDE).contains(side)) {
            Some(side) => Err(Error::Model(format!(
                "images of {side} pixels are not supported: 1 to {MAX_SIDE} a side"
            ))),
            None => Ok(()),
        }
    }

    /// The routine's own tensors, and the op that reads the images.
    ///
    /// # Errors
    /// [`Error::Model`] if there are not enough images, or they are too large.
    pub(super) fn declare(&self, e: &mut Emitter) -> Result<Routine> {
        self.check()?;
        let Self { network, setup, feed, name } = *self;
        let (augment, batch, blocks) = (self.augment(), feed.batch, network.blocks.len());
        let program = &mut e.program;
        let first = program.ops().len();
        let mut words = |what: &str, count, kind| {
            program.add(&format!("{name}.{what}"), Shape::vector(count), Layout::Words, kind)
        };
        let bytes = feed.resident * feed.stored[0] * feed.stored[1] * setup.image.c;
        let pixels = words("pixels", bytes.div_ceil(4), Kind::Io);
        let all_labels = words("all_labels", feed.resident, Kind::Io);
        let samples = words("samples", (batch + augment.partners()) * SAMPLE_WORDS, Kind::Io);
        let step = words("step", STEP_WORDS, Kind::Io);
        let metrics = words("metrics", result_words(blocks), Kind::Io);
        let summing = self.training() && setup.micro_batches > 1;
        let keep = summing.then(|| words("keep", 1, Kind::Io));
        let labels = words("labels", batch, Kind::Activation);
        let partners =
            augment.mixes().then(|| words("partners", batch * PARTNER_WORDS, Kind::Activation));
        let (image, maps) = (setup.image.with_n(batch), setup.precision.maps());
        let x = program.add(&format!("{name}.x"), image, maps, Kind::Activation);
        // Slabs, because one op reads the scores of all blocks, and their losses.
        let mut members = |what: &str, shape| {
            let slab = program.add_slab(&format!("{name}.{what}"), Kind::Activation);
            let member = |block| {
                program.add_member(slab, &format!("{name}.b{block}.{what}"), shape, Layout::Nhwc)
            };
            (0..blocks).map(member).collect()
        };
        let scores = members("scores", Shape::rows(batch, network.classes));
        let losses = members("losses", Shape::rows(batch, 1));
        program.push(ops::Input {
            pixels,
            all_labels,
            samples,
            x,
            labels,
            partners,
            jitter: augment.jitter > 0.0,
            stored: feed.stored,
            normalize: setup.normalize,
        });
        Ok(Routine {
            ops: first..first,
            batch,
            pixels,
            all_labels,
            samples,
            step,
            dropout_key: None,
            keep,
            x,
            labels,
            partners,
            scores,
            losses,
            metrics,
            maps: Vec::new(),
        })
    }
}
