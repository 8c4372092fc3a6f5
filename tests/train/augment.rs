//! Augmentation on the device: compared with the f64 reference, and independent of micro-batches and of
//! where the images are kept.

use crate::cases::Case;
use crate::common::gpu;
use sff::internals::base::random::{Rng, Stream};
use sff::internals::base::shape::{Layout, Shape};
use sff::internals::compiler::budget::Demand;
use sff::internals::compiler::ops::Input;
use sff::internals::compiler::ops::scores::PARTNER_WORDS;
use sff::internals::compiler::program::Feed;
use sff::internals::compiler::tensor::{Kind, TensorId};
use sff::internals::data::{self, Dataset, Request};
use sff::internals::gpu::device::Gpu;
use sff::internals::gpu::session::{Session, SessionOptions};
use sff::internals::net::augment::{Augment, Region, Sample, Sizes};
use sff::internals::net::layers::{Head, Network};
use sff::internals::net::models;
use sff::internals::net::options::{Normalize, Partition, TrainOptions};
use sff::internals::train::feeder::{Feeder, StepValues};
use sff::internals::train::trainer::{self, Trainer};

const NORMALIZE: Normalize = Normalize { mean: [0.3, 0.4, 0.5, 0.6], std: [0.2, 0.3, 0.4, 0.5] };

const ALL: Augment =
    Augment { flip: true, crop: 0, random_resized_crop: 0.1, jitter: 0.5, cutout: 3, mixup: 1.0 };

/// Adds the op that reads `samples`. With mixup the last sample is a partner only.
fn input(
    case: &mut Case,
    stored: Shape,
    input: [usize; 2],
    samples: &[Sample],
    augment: Augment,
) -> TensorId {
    let bytes: Vec<u8> = (0..stored.elements()).map(|i| (i * i % 253) as u8).collect();
    let words = bytes.chunks(4).map(|b| b.iter().rev().fold(0, |w, b| w << 8 | u32::from(*b)));
    let pixels = case.words(words.collect());
    let all_labels = case.words((0..stored.n as u32).map(|i| i * 3).collect());
    let batch = samples.len() - augment.partners();
    let x = case.output(Shape::new(batch, input[0], input[1], stored.c));
    let mut words =
        |what, count| case.temporary(what, Shape::vector(count), Layout::Words, Kind::Activation);
    let labels = words("labels", batch);
    let partners = augment.mixes().then(|| words("partners", batch * PARTNER_WORDS));
    let samples = case.words(bytemuck::cast_slice(samples).to_vec());
    case.program.push(Input {
        pixels,
        all_labels,
        samples,
        x,
        labels,
        partners,
        jitter: augment.jitter > 0.0,
        stored: [stored.h, stored.w],
        normalize: NORMALIZE,
    });
    x
}

#[test]
fn every_augmentation_matches_the_reference() {
    let gpu = gpu();
    for (stored, to) in [
        (Shape::new(9, 5, 7, 1), [5, 7]),
        (Shape::new(9, 4, 3, 3), [9, 8]),
        (Shape::new(9, 17, 23, 3), [11, 10]),
        (Shape::new(2, 40, 31, 2), [6, 5]),
        (Shape::new(9, 1, 1, 4), [1, 1]),
    ] {
        let sizes = Sizes { stored: [stored.h, stored.w], input: to };
        let drawn = (0..5).map(|key| {
            let index = key * 7 % stored.n as u32;
            ALL.draw(index, sizes, &mut Rng::new(5, Stream::Augment, 0, key.into()))
        });
        // Boxes that cross each border, and one that lies outside of the image.
        let region = |top, left, height, width| Region { top, left, height, width };
        let outside = [region(-2, 1, 4, 5), region(2, -1, 3, 9), region(-99, 50, 2, 1)];
        let outside = outside.map(|region| Sample { region, ..Sample::plain(1, sizes) });
        let samples: Vec<Sample> = [Sample::plain(0, sizes)]
            .into_iter()
            .chain(drawn)
            .chain(outside)
            .chain([Sample::plain(1, sizes)])
            .collect();
        for (jitter, mixup) in [(0.0, 0.0), (0.5, 0.0), (0.0, 1.0), (0.5, 1.0)] {
            let augment = Augment { jitter, mixup, ..ALL };
            for samples in [&samples[..], &samples[2..][..1 + augment.partners()]] {
                let mut case = Case::default();
                input(&mut case, stored, to, samples, augment);
                let batch = samples.len() - augment.partners();
                case.called(format!("{stored} to {to:?}, {augment:?}, batch {batch}")).check(&gpu);
            }
        }
    }
}

/// The bits of the batch that the device makes of `samples`.
fn bits(gpu: &Gpu, stored: Shape, samples: &[Sample], augment: Augment) -> Vec<u32> {
    let mut case = Case::default();
    let x = input(&mut case, stored, [stored.h, stored.w], samples, augment);
    let options = SessionOptions { checked: true, ..SessionOptions::default() };
    let mut session = Session::new(gpu, case.program.clone(), options).unwrap();
    for (id, words) in &case.words {
        session.write_bytes(*id, bytemuck::cast_slice(words));
    }
    session.run(0..1, None).unwrap();
    session.read(x).unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn without_scaling_pixels_are_copied_exactly() {
    let gpu = gpu();
    let stored = Shape::new(3, 13, 11, 1);
    let sizes = Sizes { stored: [13, 11], input: [13, 11] };
    let plain = [0, 2, 1, 0].map(|index| Sample::plain(index, sizes));
    let bytes: Vec<u8> = (0..stored.elements()).map(|i| (i * i % 253) as u8).collect();
    let off = bits(&gpu, stored, &plain[..3], Augment::default());
    // Equal bytes become equal bits at every position.
    let mut bits_of = std::collections::BTreeMap::new();
    let images = plain[..3].iter().flat_map(|s| &bytes[s.index as usize * 143..][..143]);
    for (byte, bits) in images.zip(&off) {
        assert_eq!(bits_of.entry(byte).or_insert(bits), &bits, "byte {byte}");
    }
    assert!(bits_of.len() > 50);
    // Shifted images consist of the same bits.
    let shifted = plain.map(|mut sample| {
        (sample.region.top, sample.region.left) = (3, -2);
        sample
    });
    let shifted = bits(&gpu, stored, &shifted[..3], Augment::default());
    for (at, bits) in shifted.iter().enumerate() {
        let (image, row, column) = (at / 143, at % 143 / 11, at % 11);
        if row + 3 < 13 && column >= 2 {
            assert_eq!(*bits, off[image * 143 + (row + 3) * 11 + column - 2]);
        } else {
            assert_eq!(bits, bits_of[&0]);
        }
    }
    // Mixup with a share of 0 changes nothing.
    assert!(off == bits(&gpu, stored, &plain, Augment { mixup: 1.0, ..Augment::default() }));
}

fn dataset() -> Dataset {
    let name = "shapes32".into();
    data::load(&Request { name, train_limit: Some(40), seed: 1, ..Request::default() }).unwrap()
}

fn network() -> Network {
    let head = Head::goodness(3);
    Network { blocks: models::cnn(&[4, 4], Partition::Block), head, classes: 10 }
}

/// Images, labels and partners of a step of 12, in micro-batches.
fn step(gpu: &Gpu, dataset: &Dataset, micro: usize, keep: bool) -> [Vec<u32>; 3] {
    let augment = ALL;
    let options = TrainOptions { augment, input: Some(24), ..TrainOptions::default() };
    let network = network();
    let demand: Demand = trainer::demand(&network, &options, gpu.limits(), dataset);
    let built = demand.build(micro, 12 / micro, keep).unwrap();
    let routine = built.train.unwrap();
    let mut session = Session::new(gpu, built.program, SessionOptions::default()).unwrap();
    let feeder = Feeder::new(&session, &routine, &dataset.train).unwrap();
    assert_eq!((feeder.resident(), feeder.reads()), (keep, micro + 1));
    let order = (0..12).chain([0]).map(|i| i * 3);
    let samples: Vec<Sample> = order
        .map(|index| {
            let mut rng = Rng::new(1, Stream::Augment, 0, index);
            augment.draw(index as u32, feeder.sizes(), &mut rng)
        })
        .collect();
    let mut out = [vec![], vec![], vec![]];
    for first in (0..12).step_by(micro) {
        feeder.bring(&session, &samples[first..][..micro + 1], StepValues::default()).unwrap();
        session.run(routine.ops.start..routine.ops.start + 1, None).unwrap();
        out[0].extend(session.read(routine.x).unwrap().into_iter().map(f32::to_bits));
        out[1].extend(session.read_words(routine.labels).unwrap());
        out[2].extend(session.read_words(routine.partners.unwrap()).unwrap());
    }
    out
}

#[test]
fn micro_batches_get_the_same_images_resident_or_streamed() {
    let (gpu, dataset) = (gpu(), dataset());
    let whole = step(&gpu, &dataset, 12, true);
    let label = |i: usize| dataset.train.labels[i * 3];
    assert_eq!(whole[1], (0..12).map(label).collect::<Vec<_>>());
    let partners = whole[2].chunks(2).map(|pair| pair[0]);
    assert!(partners.eq((1..12).chain([0]).map(label)));
    for (micro, keep) in [(12, false), (6, true), (6, false), (4, false), (1, true), (1, false)] {
        assert!(whole == step(&gpu, &dataset, micro, keep), "{micro} at a time, kept: {keep}");
    }
}

#[test]
fn training_with_augmentation_is_deterministic_and_every_option_has_an_effect() {
    let (gpu, dataset) = (gpu(), dataset());
    let train = |augment: Augment, input| {
        let options = TrainOptions {
            epochs: 2,
            batch: 20,
            augment,
            input: Some(input),
            ..TrainOptions::default()
        };
        let mut trainer = Trainer::new(&gpu, &network(), &dataset, options).unwrap();
        let losses: Vec<f64> = (0..2).map(|_| trainer.train_epoch(|_| {}).unwrap().loss).collect();
        assert_eq!(trainer.evaluate().unwrap().images, dataset.test.len() as u64);
        losses
    };
    let plain = train(Augment::default(), 32);
    let all = train(ALL, 28);
    assert_eq!(all, train(ALL, 28));
    assert_ne!(all, plain);
    for one in [
        Augment { flip: true, ..Augment::default() },
        Augment { crop: 2, ..Augment::default() },
        Augment { random_resized_crop: 0.5, ..Augment::default() },
        Augment { jitter: 0.5, ..Augment::default() },
        Augment { cutout: 8, ..Augment::default() },
        Augment { mixup: 0.5, ..Augment::default() },
    ] {
        let losses = train(one, 32);
        assert!(losses.iter().all(|loss| loss.is_finite()));
        assert_ne!(losses, plain, "{one:?} has no effect");
    }
    let tall = Augment { cutout: 33, ..Augment::default() };
    let options = TrainOptions { batch: 20, augment: tall, ..TrainOptions::default() };
    let refusal = Trainer::new(&gpu, &network(), &dataset, options).err().unwrap().to_string();
    assert!(refusal.contains("`cutout` 33 is larger than the network's 32×32 input"), "{refusal}");
}

#[test]
fn resident_images_include_partners() {
    let images = Shape::new(10, 4, 4, 1);
    let resident = |batch, partners, limit| Feed::new(images, batch, partners, limit).resident;
    assert_eq!([resident(4, 0, 159), resident(4, 1, 159)], [4, 5]);
    assert_eq!([resident(4, 1, 160), resident(10, 1, 160), resident(12, 0, 160)], [10, 11, 12]);
}
