use super::*;
use crate::compiler::ops::tests::{Table, assert_close};
use crate::net::augment::{Region, Sizes};

/// Stored images, and the samples that make a network's input of them.
struct Case<'a> {
    /// Height, width and channels.
    stored: [usize; 3],
    bytes: &'a [u8],
    input: [usize; 2],
    samples: &'a [Sample],
    jitter: bool,
    mix: bool,
}

impl Case<'_> {
    /// The input's values, not normalised, and the words of the partners.
    fn run(&self) -> (Vec<f64>, Vec<f64>) {
        let mut t = Table::default();
        let [h, w, c] = self.stored;
        let mut bytes = self.bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let word = |b: &[u8]| f64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let words: Vec<f64> = bytes.chunks(4).map(word).collect();
        let images = self.bytes.len() / (h * w * c);
        let batch = self.samples.len() - usize::from(self.mix);
        let (pixels, all_labels) = (t.words(words.len()), t.words(images));
        let samples = t.words(self.samples.len() * SAMPLE_WORDS);
        let x = t.maps(batch, self.input[0], self.input[1], c);
        let labels = t.words(batch);
        let partners = self.mix.then(|| t.words(2 * batch));
        let op = Input {
            pixels,
            all_labels,
            samples,
            x,
            labels,
            partners,
            jitter: self.jitter,
            stored: [h, w],
            normalize: Normalize { mean: [0.0; 4], std: [1.0; 4] },
        };
        let records: &[u32] = bytemuck::cast_slice(self.samples);
        let records: Vec<f64> = records.iter().map(|word| f64::from(*word)).collect();
        let names: Vec<f64> = (0..images).map(|i| 10.0 + i as f64).collect();
        let r = t.run(&op, &[(pixels, &words), (all_labels, &names), (samples, &records)]);
        let own: Vec<f64> =
            self.samples[..batch].iter().map(|s| 10.0 + f64::from(s.index)).collect();
        assert_eq!(r.get(labels), own);
        (r.get(x).to_vec(), partners.map_or(vec![], |id| r.get(id).to_vec()))
    }
}

fn bytes_to_shares(bytes: &[u8]) -> Vec<f64> {
    bytes.iter().map(|b| f64::from(*b) / 255.0).collect()
}

fn sample(index: u32, region: [i32; 4]) -> Sample {
    let [top, left, height, width] = region;
    let region = Region { top, left, height: height as u32, width: width as u32 };
    let ones = Sample { brightness: 1.0, contrast: 1.0, saturation: 1.0, ..Sample::zeroed() };
    Sample { index, region, ..ones }
}

#[test]
fn regions_of_the_same_size_are_copied() {
    // Two images of 2×3 bytes: the second begins inside a word.
    let bytes: Vec<u8> = (1..=12).collect();
    let same = [0, 0, 2, 3];
    let cases = [
        (sample(0, same), [1, 2, 3, 4, 5, 6]),
        (sample(1, same), [7, 8, 9, 10, 11, 12]),
        (Sample { mirror: 1, ..sample(1, same) }, [9, 8, 7, 12, 11, 10]),
        // Shifted up and right, black outside of the image; then mirrored and shifted left.
        (sample(1, [1, -1, 2, 3]), [0, 10, 11, 0, 0, 0]),
        (Sample { mirror: 1, ..sample(1, [0, 1, 2, 3]) }, [0, 9, 8, 0, 12, 11]),
        (
            Sample { hole_top: -1, hole_left: 1, hole_side: 2, ..sample(0, same) },
            [1, 0, 0, 4, 5, 6],
        ),
    ];
    let samples = cases.map(|case| case.0);
    let case = Case {
        stored: [2, 3, 1],
        bytes: &bytes,
        input: [2, 3],
        samples: &samples,
        jitter: false,
        mix: false,
    };
    assert_close(&case.run().0, &bytes_to_shares(&cases.map(|case| case.1).concat()));
}

#[test]
fn channels_of_a_pixel_stay_together() {
    let sizes = Sizes { stored: [1, 2], input: [1, 2] };
    let samples = [Sample { mirror: 1, ..Sample::plain(0, sizes) }];
    let bytes = [255, 0, 51, 0, 102, 204];
    let case = Case {
        stored: [1, 2, 3],
        bytes: &bytes,
        input: [1, 2],
        samples: &samples,
        jitter: false,
        mix: false,
    };
    assert_close(&case.run().0, &[0.0, 0.4, 0.8, 1.0, 0.0, 0.2]);
}

/// The values are those of `torch.nn.functional.interpolate(mode="bilinear")`.
#[test]
fn resizing_is_bilinear_with_half_pixel_centres() {
    let resized = |bytes: &[u8], region, input| {
        let samples = [sample(0, region)];
        let stored = [1, bytes.len(), 1];
        let case = Case { stored, bytes, input, samples: &samples, jitter: false, mix: false };
        case.run().0.iter().map(|v| (v * 255e6).round() / 1e6).collect::<Vec<_>>()
    };
    assert_eq!(resized(&[0, 100], [0, 0, 1, 2], [1, 4]), [0.0, 25.0, 75.0, 100.0]);
    assert_eq!(resized(&[0, 10, 20, 30], [0, 0, 1, 4], [1, 2]), [5.0, 25.0]);
    assert_eq!(resized(&[0, 60, 90], [0, 0, 1, 3], [1, 2]), [15.0, 82.5]);
    // Shrinking by three takes every third pixel.
    assert_eq!(resized(&[9, 1, 9, 9, 2, 9], [0, 0, 1, 6], [1, 2]), [1.0, 2.0]);
    // Beyond its border, a region repeats its edge, not the pixels outside.
    assert_eq!(resized(&[7, 0, 100, 7], [0, 1, 1, 2], [1, 4]), [0.0, 25.0, 75.0, 100.0]);
    assert_eq!(resized(&[0, 100], [0, 0, 1, 2], [2, 2]), [0.0, 100.0, 0.0, 100.0]);
    // Outside of the image, a region is black.
    assert_eq!(resized(&[100, 40], [0, -2, 1, 4], [1, 2]), [0.0, 70.0]);
}

#[test]
fn brightness_contrast_and_saturation_change_in_this_order() {
    let one = |bytes: &[u8], channels: usize, factors: [f32; 3]| {
        let width = bytes.len() / channels;
        let [brightness, contrast, saturation] = factors;
        let plain = sample(0, [0, 0, 1, width as i32]);
        let samples = [Sample { brightness, contrast, saturation, ..plain }];
        let (stored, input) = ([1, width, channels], [1, width]);
        Case { stored, bytes, input, samples: &samples, jitter: true, mix: false }.run().0
    };
    assert_close(&one(&[51, 204], 1, [1.0; 3]), &[0.2, 0.8]);
    assert_close(&one(&[51, 204], 1, [1.5, 1.0, 1.0]), &[0.3, 1.0]);
    assert_close(&one(&[51, 204], 1, [0.5, 1.0, 1.0]), &[0.1, 0.4]);
    assert_close(&one(&[51, 204], 1, [1.0, 0.5, 1.0]), &[0.35, 0.65]);
    assert_close(&one(&[51, 204], 1, [1.0, 2.0, 1.0]), &[0.0, 1.0]);
    // Contrast is relative to the mean after brightness.
    assert_close(&one(&[51, 204], 1, [0.5, 0.5, 1.0]), &[0.175, 0.325]);
    // Grey has no saturation.
    assert_close(&one(&[51, 204], 1, [1.0, 1.0, 0.0]), &[0.2, 0.8]);
    assert_close(&one(&[255, 0, 0], 3, [1.0, 1.0, 0.0]), &[0.299; 3]);
    assert_close(&one(&[0, 255, 0], 3, [1.0, 1.0, 0.5]), &[0.2935, 0.7935, 0.2935]);
    assert_close(&one(&[0, 0, 255], 3, [1.0, 0.0, 1.0]), &[0.114; 3]);
}

#[test]
fn each_image_is_mixed_with_the_next() {
    let whole = [0, 0, 1, 2];
    // Holes are cut before mixing: in a hole of one image, the other still shows.
    let samples = [
        Sample { partner_share: 0.25, hole_side: 1, ..sample(2, whole) },
        Sample { mirror: 1, ..sample(0, whole) },
        Sample { partner_share: 0.5, ..sample(1, whole) },
    ];
    let bytes = [0, 51, 102, 153, 204, 255];
    let case = Case {
        stored: [1, 2, 1],
        bytes: &bytes,
        input: [1, 2],
        samples: &samples,
        jitter: false,
        mix: true,
    };
    let (images, partners) = case.run();
    assert_close(&images, &[0.25 * 0.2, 0.75, 0.2, 0.0]);
    assert_eq!(partners, [10.0, f64::from(0.25f32.to_bits()), 11.0, 0.0]);
}
