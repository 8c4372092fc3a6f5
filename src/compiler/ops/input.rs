//! The network's input: gathers, augments and normalises images.

use bytemuck::Zeroable;

use super::scores::PARTNER_WORDS;
use super::{Access, Misfit, Operation, Scratch, advice, expect};
use crate::base::shape::{Layout, Shape};
use crate::compiler::kernel::{Lowering, Slice, params, to_u32};
use crate::compiler::reference::Reference;
use crate::compiler::split;
use crate::compiler::tensor::{TensorId, Tensors};
use crate::net::augment::{SAMPLE_WORDS, Sample};
use crate::net::options::{IMAGE_CHANNELS, Normalize};

/// Gathers a batch of u8 images (`pixels`, four values per word) and its labels, augments the images as
/// described by `samples` ([`crate::net::augment`]) and normalises them. `stored` is the height and width
/// of the stored images; `jitter` enables changes of colours. With `partners`, each image is mixed with
/// the next, and `samples` has one more, the partner of the last.
#[derive(Clone, PartialEq, Debug)]
pub struct Input {
    pub pixels: TensorId,
    pub all_labels: TensorId,
    pub samples: TensorId,
    pub x: TensorId,
    pub labels: TensorId,
    pub partners: Option<TensorId>,
    pub jitter: bool,
    pub stored: [usize; 2],
    pub normalize: Normalize,
}

/// Weights of `channels` channels in the grey of a pixel; red, green and blue as in ITU-R BT.601.
const fn luma(channels: usize) -> [f32; 4] {
    match channels {
        1 => [1.0, 0.0, 0.0, 0.0],
        2 => [0.5, 0.5, 0.0, 0.0],
        3 => [0.299, 0.587, 0.114, 0.0],
        _ => [0.25; 4],
    }
}

impl Operation for Input {
    fn name(&self) -> &'static str {
        "input"
    }

    fn access(&self) -> Access {
        let mut access =
            Access::of(&[self.pixels, self.all_labels, self.samples], &[self.x, self.labels]);
        access.writes.extend(self.partners);
        access
    }

    fn check(&self, t: Tensors) -> Result<(), Misfit> {
        let x = t.shape(self.x);
        let [height, width] = self.stored;
        let bytes = t.elements(self.all_labels) * height * width * x.c;
        expect(t, self.pixels, Shape::vector(bytes.div_ceil(4)))?;
        let samples = x.n + usize::from(self.partners.is_some());
        expect(t, self.samples, Shape::vector(samples * SAMPLE_WORDS))?;
        expect(t, self.labels, Shape::vector(x.n))?;
        let words = Shape::vector(x.n * PARTNER_WORDS);
        self.partners.map_or(Ok(()), |partners| expect(t, partners, words))
    }

    /// For the mean grey of each image, which contrast is relative to: partial sums (a row per part, a
    /// value per sample), and the mean per sample.
    fn scratch(&self, t: Tensors) -> Vec<Scratch> {
        if !self.jitter {
            return Vec::new();
        }
        let samples = t.elements(self.samples) / SAMPLE_WORDS;
        let rows = |what, rows| (what, Shape::new(rows, samples, 1, 1), Layout::Nhwc);
        vec![rows("grey_parts", split::grey_parts(t.shape(self.x))), rows("greys", 1)]
    }

    fn operations(&self, t: Tensors) -> u64 {
        2 * t.elements(self.x) as u64
    }

    fn loop_steps(&self, t: Tensors) -> Option<(usize, &'static str)> {
        let x = t.shape(self.x);
        Some((x.h * x.w / split::grey_parts(x), advice::IMAGE))
    }

    /// In the stages that [`crate::net::augment`] lists.
    fn reference(&self, r: &mut Reference) {
        let samples = samples(r.get(self.samples));
        let shape = r.shape(self.x);
        let Self { stored, jitter, normalize, .. } = *self;
        let view = View { stored, input: shape, jitter, normalize };
        let mut images = view.all(r.get(self.pixels), &samples);
        let all_labels = r.get(self.all_labels);
        let label_of = |sample: &Sample| all_labels[sample.index as usize];
        let own = samples[..shape.n].iter().map(label_of).collect();
        if let Some(partners) = self.partners {
            let pairs = samples
                .windows(2)
                .map(|pair| [label_of(&pair[1]), f64::from(pair[0].partner_share.to_bits())]);
            let pairs: Vec<f64> = pairs.flatten().collect();
            images = mixed(&images, &samples);
            r.set(partners, pairs);
        }
        r.set(self.x, images.concat());
        r.set(self.labels, own);
    }

    fn lower(&self, l: &mut Lowering) {
        let shape = l.shape(self.x);
        let mut p = params::Input { luma: luma(shape.c), ..params::Input::zeroed() };
        for c in 0..shape.c {
            p.mean[c] = self.normalize.mean[c];
            p.scale[c] = 1.0 / self.normalize.std[c];
        }
        (p.stored_h, p.stored_w) = (to_u32(self.stored[0]), to_u32(self.stored[1]));
        (p.h, p.w) = (to_u32(shape.h), to_u32(shape.w));
        let channels = ("CHANNELS", to_u32(shape.c));
        let (pixels, samples) = (("pixels", self.pixels), ("samples", self.samples));
        let mut whole = vec![pixels, ("all_labels", self.all_labels), samples];
        if let [partial, mean] = *l.scratch {
            let parts = split::grey_parts(shape);
            let len = parts * (l.shape(self.samples).elements() / SAMPLE_WORDS);
            let params = params::Input { parts: to_u32(parts), len: to_u32(len), ..p };
            let operands = [pixels, samples, ("partial", partial)];
            l.once(("input", "grey", &[channels]), &operands, params, len);
            l.sum_rows(partial, mean);
            whole.push(("greys", mean));
        }
        let mut each = vec![("x", self.x), ("labels", self.labels)];
        each.extend(self.partners.map(|id| ("partners", id)));
        let flags = [
            channels,
            ("JITTER", u32::from(self.jitter)),
            ("MIX", u32::from(self.partners.is_some())),
        ];
        l.per_image(("input", "main", &flags), shape.n, &each, &whole, |s: Slice| {
            let len = shape.with_n(s.count).pixels();
            (params::Input { first: to_u32(s.first), len: to_u32(len), ..p }, len)
        });
    }
}

/// Decodes sample records from words, which hold the bits of their signed and float fields.
fn samples(words: &[f64]) -> Vec<Sample> {
    let words: Vec<u32> = words.iter().map(|word| *word as u32).collect();
    let record = |words| bytemuck::pod_read_unaligned(bytemuck::cast_slice(words));
    words.chunks_exact(SAMPLE_WORDS).map(record).collect()
}

/// Mixes each image with the next; the last one is a partner only.
fn mixed(images: &[Vec<f64>], samples: &[Sample]) -> Vec<Vec<f64>> {
    let mix = |(pair, sample): (&[Vec<f64>], &Sample)| {
        let share = f64::from(sample.partner_share);
        pair[0].iter().zip(&pair[1]).map(|(a, b)| (1.0 - share) * a + share * b).collect()
    };
    images.windows(2).zip(samples).map(mix).collect()
}

/// What all images of a batch have in common.
struct View {
    /// Height and width of the stored images.
    stored: [usize; 2],
    /// The network's input.
    input: Shape,
    /// Whether colours change.
    jitter: bool,
    normalize: Normalize,
}

impl View {
    /// A normalised image per sample; `pixels` are words of four bytes, and an image may begin inside one.
    fn all(&self, pixels: &[f64], samples: &[Sample]) -> Vec<Vec<f64>> {
        assert!(self.input.c <= IMAGE_CHANNELS && self.input.n <= samples.len());
        samples.iter().map(|sample| self.one(pixels, sample)).collect()
    }

    fn one(&self, pixels: &[f64], sample: &Sample) -> Vec<f64> {
        let Shape { h, w, c, .. } = self.input;
        let mut image = self.resized(pixels, sample);
        if sample.mirror == 1 {
            let rows = image.chunks_exact(w * c);
            image = rows.flat_map(|row| row.chunks_exact(c).rev()).flatten().copied().collect();
        }
        if self.jitter {
            jitter(&mut image, c, sample);
        }
        let Normalize { mean, std } = self.normalize;
        for (at, value) in image.iter_mut().enumerate() {
            *value = (*value - f64::from(mean[at % c])) / f64::from(std[at % c]);
        }
        let hole = |first: i32, at: usize| {
            (0..i64::from(sample.hole_side)).contains(&(at as i64 - i64::from(first)))
        };
        for row in (0..h).filter(|row| hole(sample.hole_top, *row)) {
            for column in (0..w).filter(|column| hole(sample.hole_left, *column)) {
                image[(row * w + column) * c..][..c].fill(0.0);
            }
        }
        image
    }

    /// The sample's region, resized bilinearly to the input's size.
    fn resized(&self, pixels: &[f64], sample: &Sample) -> Vec<f64> {
        let Shape { h, w, c, .. } = self.input;
        let [rows, columns] = self.stored;
        let byte = |at: usize| f64::from((pixels[at / 4] as u32).to_le_bytes()[at % 4]);
        let stored = |row: usize, column: usize, channel: usize| {
            let inside = |first: i32, at: usize, side: usize| {
                usize::try_from(i64::from(first) + at as i64).ok().filter(|at| *at < side)
            };
            let row = inside(sample.region.top, row, rows);
            let column = inside(sample.region.left, column, columns);
            let (Some(row), Some(column)) = (row, column) else { return 0.0 };
            let pixel = (sample.index as usize * rows + row) * columns + column;
            byte(pixel * c + channel) / 255.0
        };
        // The two stored pixels next to a position of the output, and their weights.
        let taps = |at: usize, to: usize, from: usize| {
            let place = ((at as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
            let low = place.floor();
            let high = (low as usize + 1).min(from - 1);
            [(low as usize, 1.0 - (place - low)), (high, place - low)]
        };
        let mut out = Vec::with_capacity(h * w * c);
        for (row, column) in (0..h).flat_map(|row| (0..w).map(move |column| (row, column))) {
            let above_and_below = taps(row, h, sample.region.height as usize);
            let left_and_right = taps(column, w, sample.region.width as usize);
            for channel in 0..c {
                let mut sum = 0.0;
                for (y, down) in above_and_below {
                    for (x, right) in left_and_right {
                        sum += down * right * stored(y, x, channel);
                    }
                }
                out.push(sum);
            }
        }
        out
    }
}

/// Brightness, contrast and saturation, each clamped to 0 to 1.
fn jitter(image: &mut [f64], channels: usize, sample: &Sample) {
    let weights: &[f64] = match channels {
        1 => &[1.0],
        2 => &[0.5; 2],
        3 => &[0.299, 0.587, 0.114],
        _ => &[0.25; 4],
    };
    let grey = |pixel: &[f64]| -> f64 { pixel.iter().zip(weights).map(|(v, w)| v * w).sum() };
    let blend = |value: f64, towards: f64, factor: f32| {
        let factor = f64::from(factor);
        (factor * value + (1.0 - factor) * towards).clamp(0.0, 1.0)
    };
    image.iter_mut().for_each(|v| *v = blend(*v, 0.0, sample.brightness));
    let greys = image.chunks_exact(channels).map(grey);
    let mean = greys.sum::<f64>() / (image.len() / channels) as f64;
    image.iter_mut().for_each(|v| *v = blend(*v, mean, sample.contrast));
    for pixel in image.chunks_exact_mut(channels) {
        let own = grey(pixel);
        pixel.iter_mut().for_each(|v| *v = blend(*v, own, sample.saturation));
    }
}

#[cfg(test)]
mod tests;
