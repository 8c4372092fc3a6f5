//! Tests of `sff data sheet`.

use image::{GenericImageView, RgbImage};
use sff::internals::data::{self, Dataset, Request};

use crate::cli::support::Sandbox;

#[test]
fn a_sheet_shows_images_and_their_augmented_forms() {
    let sandbox = Sandbox::new();
    let line = "data sheet --dataset shapes32 --train-limit 9 --count 3 --columns 2";
    let sheet = |options: &str| {
        let name = format!("{}.png", options.len());
        assert_eq!(sandbox.ok(&format!("{line} {options} --out {name}")).trim(), name);
        image::open(sandbox.path(&name)).unwrap().into_rgb8()
    };
    let tile = |sheet: &RgbImage, row: u32, column: u32| {
        sheet.view(column * 33, row * 33, 32, 32).to_image()
    };
    let plain = sheet("");
    assert_eq!(plain.dimensions(), (3 * 33 - 1, 3 * 33 - 1));
    let dataset = shapes32();
    for row in 0..3 {
        // Normalising and back keeps every pixel.
        assert_eq!(
            tile(&plain, row, 0).into_raw(),
            dataset.train.image(row as usize).unwrap().as_ref()
        );
        assert_eq!(tile(&plain, row, 1), tile(&plain, row, 0));
    }
    let jittered = sheet("--jitter 0.5");
    for row in 0..3 {
        assert_eq!(tile(&jittered, row, 0), tile(&plain, row, 0));
        assert_ne!(tile(&jittered, row, 1), tile(&plain, row, 1));
        assert_ne!(tile(&jittered, row, 1), tile(&jittered, row, 2));
    }
    assert_eq!(sheet("--image-size 16 --mixup 0.5").dimensions(), (3 * 17 - 1, 3 * 17 - 1));
}

fn shapes32() -> Dataset {
    let name = "shapes32".into();
    data::load(&Request { name, train_limit: Some(9), ..Request::default() }).unwrap()
}
