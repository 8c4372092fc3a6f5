//! Generated data sets: ten shapes, `shapes` in grey and `shapes32` in colour.
//!
//! Position, size, tilt, thickness, and the colours of shape and background are random; either may
//! be lighter, and noise is added. A single pixel says nothing about the class.
//!
//! An image depends only on the seed, the split and its index, and on no function whose result
//! differs between platforms (no `sin`, no `ln`): the bytes are the same everywhere.

use super::{Dataset, Found, Images};
use crate::base::random::{Rng, Stream};

/// The names of the classes.
pub const CLASSES: [&str; 10] = [
    "disc",
    "ring",
    "square",
    "frame",
    "triangle",
    "plus",
    "cross",
    "rows",
    "columns",
    "checkerboard",
];

/// Number of training images, unless a limit is given.
pub const TRAIN: usize = 6000;
/// Number of test images.
pub const TEST: usize = 1000;

/// Samples along each side of a pixel, averaged for smooth edges.
const SAMPLES: usize = 3;
/// The tangent of half the largest tilt (about 14 degrees).
const TILT: f64 = 0.12;
/// The smallest difference between shape and background, as a fraction of the range from black to
/// white.
const CONTRAST: f64 = 0.35;
/// Amplitude of the noise; its standard deviation is 0.58 times this.
const NOISE: f64 = 0.12;

/// The training or the test images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Images to train on.
    Train = 0,
    /// Images to test with.
    Test = 1,
}

/// Draws a data set of `size` x `size` images, with at most `train_limit` training images.
pub fn dataset(name: &str, size: usize, channels: usize, train_limit: usize, seed: u64) -> Dataset {
    Dataset {
        name: name.into(),
        classes: CLASSES.map(String::from).into(),
        train: images(size, channels, TRAIN.min(train_limit), seed, Split::Train),
        test: images(size, channels, TEST, seed, Split::Test),
        skipped: Vec::new(),
        found: Found::default(),
    }
}

/// Draws the first `count` images of a split; classes alternate.
pub fn images(size: usize, channels: usize, count: usize, seed: u64, split: Split) -> Images {
    let mut pixels = Vec::with_capacity(count * size * size * channels);
    let mut labels = Vec::with_capacity(count);
    for index in 0..count {
        let class = index % CLASSES.len();
        let mut rng = Rng::new(seed, Stream::Shapes, split as u64, index as u64);
        draw(class, size, channels, &mut rng, &mut pixels);
        labels.push(class as u32);
    }
    Images::in_memory([size, size, channels], pixels, labels)
}

/// Draws one image, HWC, at the end of `pixels`.
fn draw(class: usize, size: usize, channels: usize, rng: &mut Rng, pixels: &mut Vec<u8>) {
    let mut between = |low: f64, high: f64| low + (high - low) * rng.uniform();
    // Lengths are in units of half the image's side; (0, 0) is the centre.
    let radius = between(0.5, 0.9);
    let (x, y) = (between(radius - 1.0, 1.0 - radius), between(radius - 1.0, 1.0 - radius));
    let tilt = between(-TILT, TILT);
    // Cosine and sine from the tangent of half the angle.
    let (cos, sin) = (
        (1.0 - tilt * tilt) / (1.0 + tilt * tilt) / radius,
        2.0 * tilt / (1.0 + tilt * tilt) / radius,
    );
    let thickness = between(0.25, 0.4);
    let mut paint = || {
        let contrast = between(CONTRAST, 1.0);
        let dark = between(0.0, 1.0 - contrast);
        let light = dark + contrast;
        if between(0.0, 1.0) < 0.5 { (dark, light) } else { (light, dark) }
    };
    let paints: Vec<(f64, f64)> = (0..channels).map(|_| paint()).collect();

    let step = 2.0 / (size * SAMPLES) as f64;
    let sample = |i: usize| (i as f64 + 0.5) * step - 1.0;
    for row in 0..size {
        for column in 0..size {
            let mut hits = 0;
            for i in row * SAMPLES..(row + 1) * SAMPLES {
                for j in column * SAMPLES..(column + 1) * SAMPLES {
                    let (dx, dy) = (sample(j) - x, sample(i) - y);
                    let (u, v) = (cos * dx + sin * dy, cos * dy - sin * dx);
                    hits += usize::from(covers(class, u, v, thickness));
                }
            }
            let coverage = hits as f64 / (SAMPLES * SAMPLES) as f64;
            for &(background, shape) in &paints {
                let clean = background + (shape - background) * coverage;
                let value = (clean + NOISE * noise(rng)) * 255.0;
                pixels.push(value.round().clamp(0.0, 255.0) as u8);
            }
        }
    }
}

/// Nearly normal noise with mean 0 and standard deviation 0.58: the sum of four 16-bit uniforms.
fn noise(rng: &mut Rng) -> f64 {
    let bits = rng.next_u64();
    let sum: u64 = [0, 16, 32, 48].iter().map(|shift| bits >> shift & 0xffff).sum();
    sum as f64 / 65536.0 - 2.0
}

/// Whether the point (u, v) is in the shape, which nearly fills the square -1..1; v points down.
fn covers(class: usize, u: f64, v: f64, thickness: f64) -> bool {
    /// Half the side of square shapes, so that they are about as large as the round ones.
    const HALF: f64 = 0.85;
    let (outer, inner) = (u.abs().max(v.abs()), u.abs().min(v.abs()));
    let radius = u * u + v * v;
    // The index of the stripe or cell, counted from one edge.
    let band = |x: f64, width: f64| ((x + HALF) / width) as i64;
    let (stripe, cell) = (HALF * 2.0 / 5.0, HALF * 2.0 / 4.0);
    match class {
        0 => radius < 1.0,
        1 => radius < 1.0 && radius > (1.0 - thickness).powi(2),
        2 => outer < HALF,
        3 => outer < HALF && outer > HALF * (1.0 - thickness),
        // Equilateral, with its corners on the unit circle.
        4 => v < 0.5 && u * u * 3.0 < (v + 1.0) * (v + 1.0) && v > -1.0,
        5 => outer < 1.0 && inner < thickness * 0.75,
        6 => {
            // A plus, rotated by 45 degrees.
            let (a, b) = ((u + v).abs(), (u - v).abs());
            a.max(b) < std::f64::consts::SQRT_2
                && a.min(b) < thickness * 0.75 * std::f64::consts::SQRT_2
        }
        7 => outer < HALF && band(v, stripe) % 2 == 0,
        8 => outer < HALF && band(u, stripe) % 2 == 0,
        _ => outer < HALF && (band(u, cell) + band(v, cell)) % 2 == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: [(usize, usize); 2] = [(28, 1), (32, 3)];

    #[test]
    fn an_image_depends_only_on_seed_split_and_index() {
        for (size, channels) in SETS {
            let many = images(size, channels, 40, 5, Split::Train);
            assert_eq!(many.clone().truncated(15), images(size, channels, 15, 5, Split::Train));
            for other in [
                images(size, channels, 40, 6, Split::Train),
                images(size, channels, 40, 5, Split::Test),
            ] {
                assert!((0..40).all(|i| many.image(i).unwrap() != other.image(i).unwrap()));
            }
            assert!((0..30).all(|i| many.image(i).unwrap() != many.image(i + 10).unwrap()));
        }
    }

    #[test]
    fn bytes_are_the_same_in_every_version() {
        // A changed generator would make runs incomparable.
        let sums = SETS.map(|(size, channels)| {
            let mut crc = flate2::Crc::new();
            crc.update(&images(size, channels, 200, 1, Split::Train).all().unwrap());
            crc.sum()
        });
        assert_eq!(sums, [0x7dbc_4308, 0x7cfd_39d4]);
    }

    #[test]
    fn classes_are_balanced() {
        let data = dataset("shapes", 28, 1, 40, 1);
        assert_eq!((data.train.len(), data.test.len()), (40, TEST));
        for class in 0..10 {
            let count = |images: &Images| images.labels.iter().filter(|&&l| l == class).count();
            assert_eq!((count(&data.train), count(&data.test)), (4, TEST / 10));
        }
        assert_eq!(dataset("shapes", 28, 1, usize::MAX, 1).train.len(), TRAIN);
    }

    #[test]
    fn shapes_stay_in_their_square_and_cover_enough_of_it() {
        for class in 0..CLASSES.len() {
            for thickness in [0.25, 0.4] {
                let at = |i: i32| f64::from(i) / 50.0 + 0.001;
                let inside = |reach: i32| {
                    let range = move || -reach..reach;
                    let points = range().flat_map(|i| range().map(move |j| (at(i), at(j))));
                    points.filter(|&(u, v)| covers(class, u, v, thickness)).count()
                };
                assert_eq!(inside(50), inside(80), "class {class} leaves its square");
                let share = inside(50) as f64 / 10_000.0;
                assert!((0.25..0.8).contains(&share), "class {class} covers {share}");
            }
        }
    }

    /// The accuracy of the classifier that takes the class with the nearest mean image.
    fn nearest_mean(train: &Images, test: &Images) -> f64 {
        let bytes = train.bytes_per_image();
        let mut means = vec![vec![0.0; bytes]; CLASSES.len()];
        for i in 0..train.len() {
            for (sum, &value) in
                means[train.labels[i] as usize].iter_mut().zip(&*train.image(i).unwrap())
            {
                *sum += f64::from(value) * CLASSES.len() as f64 / train.len() as f64;
            }
        }
        let distance = |mean: &[f64], image: &[u8]| -> f64 {
            mean.iter().zip(image).map(|(m, &x)| (m - f64::from(x)).powi(2)).sum()
        };
        let right = (0..test.len()).filter(|&i| {
            let image = test.image(i).unwrap();
            let by_distance = |a: &usize, b: &usize| {
                distance(&means[*a], &image).total_cmp(&distance(&means[*b], &image))
            };
            (0..CLASSES.len()).min_by(by_distance) == Some(test.labels[i] as usize)
        });
        right.count() as f64 / test.len() as f64
    }

    #[test]
    fn a_nearest_mean_classifier_fails() {
        let train = images(28, 1, 2000, 1, Split::Train);
        let accuracy = nearest_mean(&train, &images(28, 1, 500, 1, Split::Test));
        assert!(accuracy < 0.4, "{accuracy}");
    }
}
