//! Random inputs of a training step.

use std::collections::BTreeMap;

use sff::internals::base::random::{Rng, Stream};
use sff::internals::compiler::ops::{Input, Op};
use sff::internals::compiler::program::{Built, Init, Routine};
use sff::internals::compiler::reference::Reference;
use sff::internals::compiler::tensor::TensorId;
use sff::internals::net::augment::{Augment, Sample, Sizes};

/// Values of all tensors that the host writes, as floats or as words.
pub struct Inputs {
    pub floats: BTreeMap<TensorId, Vec<f32>>,
    pub words: BTreeMap<TensorId, Vec<u32>>,
}

impl Inputs {
    pub fn new(built: &Built, augment: Augment) -> Self {
        let mut inputs = Self { floats: BTreeMap::new(), words: BTreeMap::new() };
        let mut rng = Rng::new(1, Stream::Init, 0, 0);
        for routine in [&built.train, &built.eval].into_iter().flatten() {
            let Op::Input(Input { stored, x, .. }) = built.program.ops()[routine.ops.start].op
            else {
                panic!("a routine reads its images first");
            };
            let shape = |id: TensorId| built.program.tensor(id).shape;
            let (image, classes) = (shape(x), shape(routine.scores[0]).c);
            let resident = shape(routine.all_labels).elements() as u32;
            let mut words = |id: TensorId, value: &mut dyn FnMut(usize) -> u32| {
                let count = built.program.tensor(id).shape.elements();
                inputs.words.insert(id, (0..count).map(value).collect());
            };
            words(routine.pixels, &mut |_| rng.next_u64() as u32);
            words(routine.all_labels, &mut |i| (i * 3 % classes) as u32);
            let sizes = Sizes { stored, input: [image.h, image.w] };
            let samples: Vec<Sample> = (0..=routine.batch as u64)
                .map(|key| {
                    let mut rng = Rng::new(4, Stream::Augment, 0, key);
                    augment.draw(2 * key as u32 % resident, sizes, &mut rng)
                })
                .collect();
            let samples: &[u32] = bytemuck::cast_slice(&samples);
            words(routine.samples, &mut |i| samples[i]);
            let step = [3e-3, 0.3, 0.02, routine.batch as f32 - 1.0].map(f32::to_bits);
            words(routine.step, &mut |i| step[i]);
            if let Some(key) = routine.dropout_key {
                words(key, &mut |i| [11, 4_000_000_000][i]);
            }
        }
        let floats = &mut inputs.floats;
        let mut values = |id: TensorId| -> Vec<f64> {
            let count = built.program.tensor(id).shape.elements();
            (0..count).map(|_| rng.normal()).collect()
        };
        let mut set = |id, values: Vec<f64>| {
            floats.insert(id, values.into_iter().map(|v| v as f32).collect());
        };
        for p in built.parameters.values() {
            // Of the magnitude of the initial values, but without exact zeros: with gamma and beta
            // of zero, batch norm would put whole maps on the kink of the ReLU.
            let (center, deviation) = match p.init {
                Init::Constant(value) => (f64::from(value), 0.5),
                Init::Normal(deviation) | Init::Uniform(deviation) => (0.0, f64::from(deviation)),
            };
            set(p.value, values(p.value).iter().map(|v| center + deviation * v).collect());
            // Moments of a later step: in the first step, AdamW moves a weight by the sign of its
            // gradient, however small.
            set(p.m, values(p.m).iter().map(|v| 0.5 * v).collect());
            set(p.v, values(p.v).iter().map(|v| 0.25 * v * v + 0.01).collect());
        }
        for id in built.running.values() {
            set(*id, values(*id).iter().map(|v| (0.5 * v).abs() + 0.1).collect());
        }
        inputs
    }

    /// Runs all ops of a routine in the reference. `nudge`, if any, is a parameter, an index and
    /// the difference that is added to that value.
    pub fn run<'a>(
        &self,
        built: &'a Built,
        routine: &Routine,
        nudge: Option<(TensorId, usize, f64)>,
    ) -> Reference<'a> {
        let mut reference = Reference::new(built.program.tensors());
        for (id, values) in &self.floats {
            let mut values: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
            if let Some((_, at, by)) = nudge.filter(|(nudged, ..)| nudged == id) {
                values[at] += by;
            }
            reference.set(*id, values);
        }
        for (id, words) in &self.words {
            let float = |word: &u32| f64::from(f32::from_bits(*word));
            let integer = |word: &u32| f64::from(*word);
            let is_step = *id == routine.step;
            let values = words.iter().map(|w| if is_step { float(w) } else { integer(w) });
            reference.set(*id, values.collect());
        }
        built.program.ops()[routine.ops.clone()].iter().for_each(|op| op.reference(&mut reference));
        reference
    }
}
