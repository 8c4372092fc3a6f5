//! The crate's only random generator. It is counter-based.
//!
//! Every draw is a function of (seed, stream, epoch, index, number of the draw). What image 17
//! gets in epoch 3 does not depend on earlier draws, on threads, or on resuming a run.
//!
//! The mixing is SplitMix64: Steele, Lea and Flood, *Fast Splittable Pseudorandom Number
//! Generators*, OOPSLA 2014, with the finaliser constants of David Stafford's variant 13, as in
//! Sebastiano Vigna's public-domain `splitmix64.c` (<https://prng.di.unimi.it/splitmix64.c>).

/// 2^64 divided by the golden ratio, rounded to an odd number: the step of SplitMix64's counter.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finaliser: a bijection in which every input bit reaches every output bit.
const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Mixes four words into one; a change of any bit of any word changes about half of the result.
pub const fn hash(key: [u64; 4]) -> u64 {
    let [a, b, c, d] = key;
    let h = mix(a.wrapping_add(GAMMA));
    let h = mix((h ^ b).wrapping_add(GAMMA));
    let h = mix((h ^ c).wrapping_add(GAMMA));
    mix((h ^ d).wrapping_add(GAMMA))
}

/// What random numbers are for. The streams of a seed are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Initial weights; the index is the tensor's.
    Init = 1,
    /// The order of the training images in an epoch.
    Shuffle = 2,
    /// The augmentation of one image in one epoch.
    Augment = 3,
    /// The drawn data sets; the epoch is the split, the index the image.
    Shapes = 4,
    /// Which images form the test split, or are measured for the normalisation.
    Split = 16,
    /// Dropout masks; the epoch is the step, the index the micro-batch in it.
    Dropout = 32,
}

/// A sequence of random numbers that belongs to one (seed, stream, epoch, index).
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
    /// Box-Muller gives two normals at a time; this is the second.
    spare: Option<f64>,
}

impl Rng {
    /// The sequence of `index` in `epoch` (0 for both where they do not apply).
    pub fn new(seed: u64, stream: Stream, epoch: u64, index: u64) -> Self {
        Self { state: hash([seed, stream as u64, epoch, index]), spare: None }
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in 0..n without bias; 0 when `n` is 0.
    ///
    /// Daniel Lemire, *Fast Random Integer Generation in an Interval*, 2019.
    pub fn below(&mut self, n: u64) -> u64 {
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            let (high, low) = ((product >> 64) as u64, product as u64);
            // The lowest 2^64 mod n values of `low` are rejected: they would bias the result.
            if low >= n || low >= n.wrapping_neg().checked_rem(n).unwrap_or(0) {
                return high;
            }
        }
    }

    /// Normally distributed with mean 0 and standard deviation 1 (Box-Muller).
    ///
    /// `ln`, `sin` and `cos` are the platform's: the last bit may differ between platforms.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // 1 - uniform() is in (0, 1]: its logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    /// A draw from Beta(alpha, alpha), in [0, 1]: uniform for alpha 1, close to 0 or 1 for a
    /// smaller alpha, close to 1/2 for a larger one. `alpha` is positive.
    pub fn beta(&mut self, alpha: f64) -> f64 {
        // a / (a + b) of two gamma variates. Their logarithms cannot underflow.
        let [a, b] = [(); 2].map(|()| self.log_gamma(alpha));
        1.0 / (1.0 + (b - a).exp())
    }

    /// Logarithm of a draw from Gamma(shape, 1).
    ///
    /// George Marsaglia and Wai Wan Tsang, *A Simple Method for Generating Gamma Variables*, 2000;
    /// shapes below 1 are raised by 1 as in their section 6.
    fn log_gamma(&mut self, shape: f64) -> f64 {
        // 1 - uniform() is in (0, 1]: its logarithm is finite.
        if shape < 1.0 {
            return (1.0 - self.uniform()).ln() / shape + self.log_gamma(shape + 1.0);
        }
        let d = shape - 1.0 / 3.0;
        loop {
            let x = self.normal();
            let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
            let u = 1.0 - self.uniform();
            if v > 0.0 && u.ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
                return d.ln() + v.ln();
            }
        }
    }

    /// The numbers 0..n in random order, every order equally likely (Fisher-Yates).
    pub fn permutation(&mut self, n: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).collect();
        for i in (1..order.len()).rev() {
            let j = self.below(i as u64 + 1) as usize;
            order.swap(i, j);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng() -> Rng {
        Rng::new(7, Stream::Shuffle, 3, 11)
    }

    #[test]
    fn steps_as_the_published_splitmix64() {
        let mut rng = Rng { state: 1_234_567, spare: None };
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(expected.map(|_| rng.next_u64()), expected);
    }

    #[test]
    fn values_are_the_same_in_every_version() {
        assert_eq!(hash([0; 4]), 0x2130_748a_aac8_0268);
        assert_eq!(hash([1, 2, 3, 4]), 0xd55c_cd4a_eb3c_cafb);
        assert_eq!(rng().next_u64(), 0xb973_4902_a401_c7fa);
        assert_eq!(rng().permutation(10), [1, 2, 5, 0, 6, 9, 4, 8, 3, 7]);
        assert!((rng().normal() + 0.930_394_704_750_158_7).abs() < 1e-12, "{}", rng().normal());
    }

    /// Kolmogorov's test: the largest distance between the distribution function of 100,000 draws
    /// and the true one is below 0.006 in 99.9% of cases.
    fn distance(draw: impl Fn(&mut Rng) -> f64, distribution: impl Fn(f64) -> f64) -> f64 {
        let mut rng = rng();
        let mut draws: Vec<f64> = (0..100_000).map(|_| draw(&mut rng)).collect();
        draws.sort_by(f64::total_cmp);
        let off = |(at, x): (usize, &f64)| (distribution(*x) - at as f64 / 100_000.0).abs();
        draws.iter().enumerate().map(off).fold(0.0, f64::max)
    }

    /// The distribution function of a standard normal, by integrating its density (trapezoids).
    fn normal_distribution(x: f64) -> f64 {
        let steps = 200;
        let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
        let h = x / f64::from(steps);
        let inner: f64 = (1..steps).map(|i| density(f64::from(i) * h)).sum();
        0.5 + h * (inner + 0.5 * (density(0.0) + density(x)))
    }

    #[test]
    fn draws_have_their_distribution() {
        let normal = distance(Rng::normal, normal_distribution);
        assert!(normal < 0.006, "normal: {normal}");
        let arcsine = |x: f64| 2.0 / std::f64::consts::PI * x.sqrt().asin();
        let cases: [(f64, &dyn Fn(f64) -> f64); 3] =
            [(0.5, &arcsine), (1.0, &|x| x), (2.0, &|x| x * x * (3.0 - 2.0 * x))];
        for (alpha, distribution) in cases {
            let beta = distance(|rng| rng.beta(alpha), distribution);
            assert!(beta < 0.006, "beta, alpha {alpha}: {beta}");
        }
        // From degenerate to nearly constant.
        for alpha in [1e-40, 1e-3, 0.2, 100.0] {
            let mut rng = rng();
            let draws: Vec<f64> = (0..20_000).map(|_| rng.beta(alpha)).collect();
            assert!(draws.iter().all(|x| (0.0..=1.0).contains(x)), "alpha {alpha}");
            let mean = draws.iter().sum::<f64>() / 20_000.0;
            let variance = draws.iter().map(|x| (x - 0.5).powi(2)).sum::<f64>() / 20_000.0;
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 0.015, "alpha {alpha}: {mean}");
            assert!((variance / expected - 1.0).abs() < 0.05, "alpha {alpha}: {variance}");
        }
    }

    #[test]
    fn below_is_uniform_and_in_range() {
        let mut rng = rng();
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| c.abs_diff(10_000) < 400), "{counts:?}");
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
        // For n just over 2^63 nearly half of all draws must be drawn again.
        let n = (1 << 63) + 1;
        assert!((0..1000).all(|_| rng.below(n) < n));
    }

    #[test]
    fn a_permutation_has_each_number_once() {
        for n in [0, 1, 1000] {
            let mut order = rng().permutation(n);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..n));
        }
    }
}
