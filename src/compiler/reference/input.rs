//! From stored images to the network's input, stage by stage as [`crate::net::augment`] lists them.

use crate::base::shape::Shape;
use crate::net::augment::{SAMPLE_WORDS, Sample};
use crate::net::options::{IMAGE_CHANNELS, Normalize};

/// Records that lie in words; the words know nothing of signs and floats.
pub fn samples(words: &[f64]) -> Vec<Sample> {
    let words: Vec<u32> = words.iter().map(|word| *word as u32).collect();
    let record = |words| bytemuck::pod_read_unaligned(bytemuck::cast_slice(words));
    words.chunks_exact(SAMPLE_WORDS).map(record).collect()
}

/// Each image's share of itself and of the one after it; the last has none after it.
pub fn mixed(images: &[Vec<f64>], samples: &[Sample]) -> Vec<Vec<f64>> {
    let mix = |(pair, sample): (&[Vec<f64>], &Sample)| {
        let share = f64::from(sample.partner_share);
        pair[0].iter().zip(&pair[1]).map(|(a, b)| (1.0 - share) * a + share * b).collect()
    };
    images.windows(2).zip(samples).map(mix).collect()
}

/// What is the same for all images of a batch.
pub struct View {
    /// Height and width of the stored images.
    pub stored: [usize; 2],
    /// The network's input.
    pub input: Shape,
    /// Whether colours change.
    pub jitter: bool,
    pub normalize: Normalize,
}

impl View {
    /// A normalised image per sample; `pixels` are words of four bytes that know nothing of
    /// images.
    pub fn all(&self, pixels: &[f64], samples: &[Sample]) -> Vec<Vec<f64>> {
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

    /// The box at the input's size, bilinearly.
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
        // Weights of the two pixels next to a position of the output.
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

/// Brightness, contrast and saturation, each with its clamp.
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
