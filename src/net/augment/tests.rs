use std::collections::BTreeSet;

use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::base::random::Stream;

const ALL: Augment =
    Augment { flip: true, crop: 0, random_resized_crop: 0.35, jitter: 0.4, cutout: 5, mixup: 0.2 };

fn rng(index: u64) -> Rng {
    Rng::new(7, Stream::Augment, 3, index)
}

fn inside(region: Region, [rows, columns]: [usize; 2]) -> bool {
    let fits = |first: i32, side: u32, all: usize| {
        first >= 0 && side >= 1 && first as usize + side as usize <= all
    };
    fits(region.top, region.height, rows) && fits(region.left, region.width, columns)
}

fn area(region: Region) -> f64 {
    f64::from(region.height) * f64::from(region.width)
}

proptest! {
    #[test]
    fn random_boxes_lie_inside_the_image(
        rows in 1..600usize, columns in 1..600usize, h in 1..300usize, w in 1..300usize,
        least in 0.001..1.0f32, index: u32, seed: u64,
    ) {
        let sizes = Sizes { stored: [rows, columns], input: [h, w] };
        prop_assert!(inside(sizes.centre(), sizes.stored));
        let augment = Augment { random_resized_crop: least, ..Augment::default() };
        let mut rng = Rng::new(seed, Stream::Augment, 0, 0);
        let region = augment.draw(index, sizes, &mut rng).region;
        prop_assert!(inside(region, sizes.stored), "{region:?} of {rows}×{columns}");
        // Shape and area are in range, but for the rounding of small boxes, and for images of an
        // extreme shape, in which no box fits.
        let ratio = columns as f64 / rows as f64;
        let mild = (0.75..=4.0 / 3.0).contains(&ratio);
        if area(region) >= 2500.0 && mild {
            let shape = f64::from(region.width) / f64::from(region.height);
            prop_assert!((0.72..1.39).contains(&shape), "{region:?}");
            let share = area(region) / (rows * columns) as f64;
            prop_assert!(share > f64::from(least) - 0.05, "{region:?} of {rows}×{columns}");
        }
    }

    #[test]
    fn shifts_are_at_most_the_crop(crop in 0..=127u8, index: u32, seed: u64) {
        let sizes = Sizes { stored: [40, 30], input: [32, 32] };
        let mut rng = Rng::new(seed, Stream::Augment, 0, 0);
        let sample = Augment { crop, ..Augment::default() }.draw(index, sizes, &mut rng);
        let (plain, crop) = (Sample::plain(index, sizes), u32::from(crop));
        prop_assert!(sample.region.top.abs_diff(plain.region.top) <= crop);
        prop_assert!(sample.region.left.abs_diff(plain.region.left) <= crop);
        let region = Region { top: plain.region.top, left: plain.region.left, ..sample.region };
        prop_assert_eq!(Sample { region, ..sample }, plain);
    }
}

#[test]
fn without_options_a_draw_is_the_plain_sample() {
    let sizes = Sizes { stored: [9, 7], input: [9, 7] };
    let plain = Sample::plain(4, sizes);
    assert_eq!(Augment::default().draw(4, sizes, &mut rng(4)), plain);
    assert_eq!(plain.region, Region { top: 0, left: 0, height: 9, width: 7 });
    assert_eq!((plain.mirror, plain.hole_side, plain.partner_share), (0, 0, 0.0));
    assert_eq!([plain.brightness, plain.contrast, plain.saturation], [1.0; 3]);
}

#[test]
fn evaluation_uses_the_centre_crop() {
    let centre = |stored, input| Sizes { stored, input }.centre();
    let region = |top, left, height, width| Region { top, left, height, width };
    assert_eq!(centre([256, 300], [224, 224]), region(16, 38, 224, 224));
    assert_eq!(centre([10, 9], [5, 4]), region(2, 2, 5, 4));
    // Smaller images are scaled up: the box is the whole image along that axis.
    assert_eq!(centre([10, 32], [20, 20]), region(0, 6, 10, 20));
}

#[test]
fn a_draw_depends_on_its_key_only() {
    let sizes = Sizes { stored: [40, 48], input: [32, 32] };
    let draw = |index: u64| ALL.draw(index as u32, sizes, &mut rng(index));
    let draws: Vec<Sample> = (0..100).map(draw).collect();
    assert_eq!(draws, (0..100).rev().map(draw).rev().collect::<Vec<_>>());
    assert!(draws.windows(2).all(|pair| pair[0].region != pair[1].region));
    let other = ALL.draw(5, sizes, &mut Rng::new(7, Stream::Augment, 4, 5));
    assert_ne!(other, draws[5]);
}

#[test]
fn draws_have_the_expected_ranges_and_means() {
    let sizes = Sizes { stored: [64, 64], input: [32, 32] };
    let draws: Vec<Sample> = (0..20_000).map(|i| ALL.draw(i as u32, sizes, &mut rng(i))).collect();
    let mean = |value: &dyn Fn(&Sample) -> f64| draws.iter().map(value).sum::<f64>() / 20_000.0;
    let close = |value: f64, expected: f64, by: f64| {
        assert!((value - expected).abs() < by, "{value} is not close to {expected}");
    };
    close(mean(&|s| s.mirror.into()), 0.5, 0.02);
    // Large boxes of some shapes do not fit and are drawn again, so the mean is a bit lower than 0.675.
    close(mean(&|s| area(s.region) / 4096.0), 0.65, 0.04);
    close(mean(&|s| (f64::from(s.region.width) / f64::from(s.region.height)).ln()), 0.0, 0.01);
    close(mean(&|s| f64::from(s.region.top) + f64::from(s.region.height) / 2.0), 32.0, 0.3);
    for factor in [|s: &Sample| s.brightness, |s: &Sample| s.contrast, |s: &Sample| s.saturation] {
        close(mean(&|s| factor(s).into()), 1.0, 0.01);
        close(mean(&|s| f64::from(factor(s) - 1.0).powi(2)), 0.16 / 3.0, 0.002);
        assert!(draws.iter().all(|s| (0.6..=1.4).contains(&factor(s))));
    }
    for axis in [0, 1] {
        let first = |s: &Sample| [s.hole_top, s.hole_left][axis];
        let all: BTreeSet<i32> = draws.iter().map(first).collect();
        assert_eq!(all, (-2..30).collect(), "axis {axis}");
    }
    assert!(draws.iter().all(|s| s.hole_side == 5 && (0.0..=0.5).contains(&s.partner_share)));
    // The mean of min(x, 1 - x) for x from Beta(0.2, 0.2).
    let mut rng = rng(0);
    let beta = (0..20_000).map(|_| rng.beta(0.2)).map(|x| x.min(1.0 - x)).sum::<f64>() / 20_000.0;
    close(mean(&|s| s.partner_share.into()), beta, 0.01);
}

#[test]
fn a_box_that_never_fits_is_a_centre_crop() {
    let wide = Augment { random_resized_crop: 1.0, ..Augment::default() };
    let region = |stored| wide.draw(0, Sizes { stored, input: [8, 8] }, &mut rng(0)).region;
    assert_eq!(region([30, 300]), Region { top: 0, left: 130, height: 30, width: 40 });
    assert_eq!(region([300, 30]), Region { top: 130, left: 0, height: 40, width: 30 });
    assert_eq!(region([1, 1]), Region { top: 0, left: 0, height: 1, width: 1 });
    assert_eq!(region([1, 9]), Region { top: 0, left: 4, height: 1, width: 1 });
}

#[test]
fn options_out_of_range_are_named() {
    let off = Augment::default();
    off.check().unwrap();
    ALL.check().unwrap();
    for (augment, expected) in [
        (Augment { crop: 128, ..off }, "`crop` must be at most 127, not 128"),
        (Augment { random_resized_crop: 1.5, ..off }, "`random_resized_crop`"),
        (Augment { random_resized_crop: f32::NAN, ..off }, "not NaN"),
        (Augment { crop: 1, random_resized_crop: 0.5, ..off }, "exclude each other"),
        (Augment { jitter: -0.1, ..off }, "`jitter` must be 0 to 1, not -0.1"),
        (Augment { jitter: f32::INFINITY, ..off }, "`jitter`"),
        (Augment { cutout: 1 << 20, ..off }, "`cutout` must be at most"),
        (Augment { mixup: 101.0, ..off }, "`mixup` must be 0 to 100, not 101"),
    ] {
        let message = augment.check().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}
