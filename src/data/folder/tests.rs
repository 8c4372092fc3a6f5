//! Tests of photo folders, with small pictures made here.

use super::super::Identity;
use super::super::{load as load_any, picture};
use super::*;
use image::{Rgb, RgbImage};
use std::fs;

/// A folder of pictures: red depends on the class, green is the picture's number; sizes vary.
fn put(root: &Path, class: &str, count: usize) {
    let folder = root.join(class);
    fs::create_dir_all(&folder).unwrap();
    let hue = class.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    for i in 0..count {
        let size = (20 + i as u32 % 7, 30 - i as u32 % 5);
        let picture = RgbImage::from_pixel(size.0, size.1, Rgb([hue, i as u8, 7]));
        picture.save(folder.join(format!("{i:03}.png"))).unwrap();
    }
}

fn request(root: &Path) -> Request {
    Request {
        name: "folder".into(),
        folder: Some(root.to_owned()),
        image_size: Some(14),
        photo_cache: usize::MAX,
        ..Request::default()
    }
}

/// Shades and labels of the images, in order.
fn content(images: &Images) -> Vec<(u8, u32)> {
    (0..images.len()).map(|i| (images.image(i).unwrap()[1], images.labels[i])).collect()
}

fn counts(images: &Images) -> Vec<usize> {
    let count = |class| images.labels.iter().filter(|label| **label == class).count();
    (0..3).map(count).collect()
}

#[test]
fn the_split_is_seeded_complete_and_stratified() {
    let temp = tempfile::tempdir().unwrap();
    for (class, count) in [("b", 20), ("a", 10), ("c", 2)] {
        put(temp.path(), class, count);
    }
    fs::write(temp.path().join("README.txt"), "no class").unwrap();
    fs::write(temp.path().join("a/notes.txt"), "no picture").unwrap();
    put(temp.path(), ".hidden", 1);
    let data = load_any(&request(temp.path())).unwrap();
    assert_eq!(data.classes, ["a", "b", "c"]);
    assert_eq!((counts(&data.train), counts(&data.test)), (vec![8, 16, 1], vec![2, 4, 1]));
    let mut all = [content(&data.train), content(&data.test)].concat();
    all.sort_by_key(|(shade, label)| (*label, *shade));
    let expected = [(10, 0), (20, 1), (2, 2)];
    let expected = expected.into_iter().flat_map(|(n, label)| (0..n).map(move |i| (i, label)));
    assert!(all.into_iter().eq(expected), "each picture occurs once");

    assert_eq!(load_any(&request(temp.path())).unwrap(), data);
    let other = load_any(&Request { seed: 1, ..request(temp.path()) }).unwrap();
    assert_ne!(content(&other.test), content(&data.test));
    let half = Request { val_fraction: Some(0.5), ..request(temp.path()) };
    assert_eq!(counts(&load_any(&half).unwrap().test), [5, 10, 1]);
    for fraction in [0.0, 1.0, -0.5, f32::NAN] {
        let request = Request { val_fraction: Some(fraction), ..request(temp.path()) };
        let message = load_any(&request).unwrap_err().to_string();
        assert!(message.contains("`val_fraction` must be between 0 and 1"), "{message}");
    }
}

#[test]
fn a_limit_is_stratified() {
    let temp = tempfile::tempdir().unwrap();
    for (class, count) in [("a", 4), ("b", 16), ("c", 8)] {
        put(&temp.path().join("train"), class, count);
        put(&temp.path().join("val"), class, 2);
    }
    let limited = |limit| {
        let request = Request { train_limit: Some(limit), ..request(temp.path()) };
        load_any(&request).unwrap()
    };
    for (limit, expected) in
        [(28, [4, 16, 8]), (99, [4, 16, 8]), (14, [2, 8, 4]), (7, [1, 4, 2]), (3, [0, 2, 1])]
    {
        let data = limited(limit);
        assert_eq!((counts(&data.train), counts(&data.test)), (expected.to_vec(), vec![2, 2, 2]));
        assert!(data.train.labels.is_sorted());
        // The first photos of each class.
        assert!(content(&data.train).iter().all(|(shade, _)| *shade < 16));
    }
    let test = load_any(&Request { test_only: true, ..request(temp.path()) }).unwrap();
    assert_eq!((test.train.len(), test.test.len()), (0, 6));
}

#[test]
fn image_sizes_and_classes_are_checked() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    let message = |request: &Request| load_any(request).unwrap_err().to_string();
    put(root, "only", 3);
    put(root, "single", 2);
    for size in [0, 7, 1025, usize::MAX] {
        let request = Request { image_size: Some(size), ..request(root) };
        assert!(message(&request).contains("`image_size` must be from 8 to 1024"));
    }
    let nowhere = Request { folder: None, ..request(root) };
    assert!(message(&nowhere).contains("needs `data` FOLDER"));
    assert!(message(&request(&root.join("none"))).contains("no such folder"));
    let classes = Some(vec!["singel".into(), "only".into()]);
    let unknown = Request { classes, ..request(root) };
    assert!(message(&unknown).contains("`singel` (did you mean `single`?)"));
}

#[test]
fn the_source_names_folders_and_counts() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    put(root, "a", 5);
    put(root, "b", 5);
    let source = |request: &Request| {
        let source = load_any(request).unwrap().found.source;
        source.replace(&root.display().to_string(), "ROOT")
    };
    assert_eq!(source(&request(root)), "8 pictures of ROOT to train on, 2 set apart to test with");
    let test_only = Request { test_only: true, ..request(root) };
    assert_eq!(source(&test_only), "2 pictures of ROOT, those that are set apart to test with");
    let measured = Some(vec!["b".into(), "c".into(), "a".into()]);
    let all = Request { measured, test_only: true, ..request(root) };
    assert_eq!(source(&all), "all 10 pictures of ROOT to test with");
    let data = load_any(&all).unwrap();
    assert_eq!((counts(&data.test), data.classes.len()), (vec![5, 0, 5], 3));
    assert!(data.found.whole && data.found.notes[0].to_string().contains("no pictures of 'c'"));
    for class in ["a", "b"] {
        put(&root.join("Train"), class, 3);
        put(&root.join("Valid"), class, 1);
    }
    assert_eq!(
        source(&request(root)),
        "6 pictures of ROOT/Train to train on, 2 of ROOT/Valid to test with"
    );
    assert_eq!(source(&all), "2 pictures of ROOT/Valid to test with");
    assert!(!load_any(&all).unwrap().found.whole);
}

#[test]
fn the_identity_depends_on_the_images_and_not_on_their_folder() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fill = |root: &Path| {
        for class in ["a", "b"] {
            put(&root.join("train"), class, 3);
            put(&root.join("val"), class, 2);
        }
    };
    fill(one.path());
    fill(other.path());
    let identity = |request: &Request| Identity::of(&load_any(request).unwrap()).unwrap();
    let first = identity(&request(one.path()));
    assert_eq!(first.difference(&identity(&request(other.path()))), None);
    let on_disk = Request { photo_cache: 0, ..request(one.path()) };
    assert_eq!(first.difference(&identity(&on_disk)), None);
    let json = serde_json::to_string(&first).unwrap();
    assert_eq!(serde_json::from_str::<Identity>(&json).unwrap(), first);
    type Change = fn(&Path);
    let changes: [(Change, &str); 5] = [
        (
            |p| fs::remove_file(p.join("val/a/000.png")).unwrap(),
            "were 4 images, not 3, to test with",
        ),
        (
            |p| fs::rename(p.join("train/a/000.png"), p.join("train/a/0.png")).unwrap(),
            "other files to train on",
        ),
        (
            |p| {
                let name = "train/b/001.png";
                let moved = p.join("train/a/0010.png");
                fs::rename(p.join(name), moved).unwrap();
                fs::copy(p.join("train/a/001.png"), p.join(name)).unwrap();
                fs::remove_file(p.join("train/a/001.png")).unwrap();
            },
            "other files to train on",
        ),
        (
            |p| {
                let [a, b] = ["val/a/000.png", "val/b/000.png"].map(|name| p.join(name));
                let bytes = fs::read(&a).unwrap();
                fs::copy(&b, &a).unwrap();
                fs::write(&b, bytes).unwrap();
            },
            "another content in images to test with",
        ),
        (|p| put(&p.join("train"), "b", 4), "were 6 images, not 7, to train on"),
    ];
    for (change, expected) in changes {
        let changed = tempfile::tempdir().unwrap();
        fill(changed.path());
        change(changed.path());
        let found = first.difference(&identity(&request(changed.path()))).unwrap();
        assert!(found.contains(expected), "{found}\nexpected: {expected}");
    }
}

#[test]
fn corrupt_pictures_are_skipped_and_named() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    for half in ["train", "val"] {
        put(&root.join(half), "a", 3);
        put(&root.join(half), "b", 3);
    }
    let truncate = |name: &str| {
        let bytes = fs::read(root.join(name)).unwrap();
        fs::write(root.join(name), &bytes[..bytes.len() / 2]).unwrap();
    };
    truncate("train/a/001.png");
    fs::write(root.join("val/b/000.png"), "").unwrap();
    for photo_cache in [usize::MAX, 0] {
        let request = Request { photo_cache, ..request(root) };
        let data = load_any(&request).unwrap();
        assert_eq!(content(&data.train), [(0, 0), (2, 0), (0, 1), (1, 1), (2, 1)]);
        assert_eq!(content(&data.test), [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1)]);
        assert_eq!(data.skipped.len(), 2);
        assert!(data.skipped[0].contains("train/a/001.png: not a readable picture"));
        assert!(data.skipped[1].contains("val/b/000.png: not a readable picture"));
        let message = load_any(&Request { strict: true, ..request }).unwrap_err().to_string();
        assert!(message.contains("001.png: not a readable picture"), "{message}");
    }
    truncate("train/a/000.png");
    truncate("train/a/002.png");
    let message = load_any(&request(root)).unwrap_err().to_string();
    assert!(message.contains("no picture of class 'a' can be read: "), "{message}");
    let test = load_any(&Request { test_only: true, ..request(root) }).unwrap();
    assert_eq!((test.test.len(), test.skipped.len()), (5, 1));
}

#[test]
fn photos_in_memory_and_on_disk_give_the_same_pixels() {
    let temp = tempfile::tempdir().unwrap();
    put(temp.path(), "a", 30);
    put(temp.path(), "b", 31);
    let memory = load_any(&request(temp.path())).unwrap();
    let disk = load_any(&Request { photo_cache: 0, ..request(temp.path()) }).unwrap();
    assert!(matches!(memory.train.pixels, Pixels::Memory(_)));
    assert!(matches!(disk.train.pixels, Pixels::Files(_)));
    assert_eq!(memory.train.labels, disk.train.labels);
    assert_eq!(memory.train.all().unwrap(), disk.train.all().unwrap());
    assert_eq!(memory.normalization().unwrap(), disk.normalization().unwrap());
    // Reads in any order, prefetched or not.
    let reader = super::super::Reader::new(&disk.train);
    let order = [5, 0, 48, 48, 7];
    for expected in [&order[..], &[], &[9, 9]] {
        reader.expect(expected.to_vec());
        for index in order {
            let mut pixels = Vec::new();
            reader.read(index, &mut pixels).unwrap();
            assert_eq!(pixels, *memory.train.image(index as usize).unwrap());
        }
    }
    // Relabelling and truncation work on both.
    for images in [memory.train.clone(), disk.train] {
        let some = images.relabelled(|label| (label == 1).then_some(0)).truncated(3);
        assert_eq!((some.len(), some.labels.clone()), (3, vec![0; 3]));
        let first = memory.train.labels.iter().position(|label| *label == 1).unwrap();
        assert_eq!(some.image(2).unwrap(), memory.train.image(first + 2).unwrap());
    }
    // A photo that was deleted meanwhile is an I/O error.
    let disk = load_any(&Request { photo_cache: 0, ..request(temp.path()) }).unwrap();
    let Pixels::Files(photos) = &disk.train.pixels else { panic!() };
    fs::remove_file(&photos.paths[3]).unwrap();
    assert!(disk.train.all().unwrap_err().to_string().contains("cannot read"));
}

#[test]
fn a_choice_of_classes_is_relabelled() {
    let temp = tempfile::tempdir().unwrap();
    for class in ["a", "b", "c"] {
        put(temp.path(), class, 5);
    }
    let classes = Some(vec!["c".into(), "0".into()]);
    let data = load_any(&Request { classes, ..request(temp.path()) }).unwrap();
    assert_eq!(data.classes, ["c", "a"]);
    assert_eq!((counts(&data.train), counts(&data.test)), (vec![4, 4, 0], vec![1, 1, 0]));
    let red = |i: usize| data.train.image(i).unwrap()[0];
    assert_eq!((red(0), red(4)), (b'c', b'a'));
    // The same photos are set apart, whatever classes are used.
    let all = load_any(&request(temp.path())).unwrap();
    let of_a = |images: &Images, a| -> Vec<(u8, u32)> {
        content(images).into_iter().filter(|(_, label)| *label == a).collect()
    };
    let shades = |v: Vec<(u8, u32)>| v.into_iter().map(|(shade, _)| shade).collect::<Vec<_>>();
    assert_eq!(shades(of_a(&data.test, 1)), shades(of_a(&all.test, 0)));
}

#[test]
fn the_middle_of_a_photo_is_kept() {
    // The middle seven eighths of the middle 64 x 64. Colours are coordinates.
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a.png");
    RgbImage::from_fn(128, 64, |x, y| Rgb([x as u8, y as u8, 9])).save(&path).unwrap();
    let pixels = picture::photo(&path, Fit::evaluating(56)).unwrap();
    assert_eq!(Fit::evaluating(224).short, 256);
    assert_eq!(pixels.len(), 56 * 56 * 3);
    assert_eq!(pixels[..3], [36, 4, 9]);
    assert_eq!(pixels[pixels.len() - 3..], [36 + 55, 4 + 55, 9]);
    // Grey and transparent pictures become RGB.
    let grey = image::GrayAlphaImage::from_pixel(9, 9, image::LumaA([200, 51]));
    grey.save(&path).unwrap();
    assert_eq!(picture::photo(&path, Fit::evaluating(8)).unwrap(), [40; 192]);
}

#[test]
fn imagenette_classes_get_english_names() {
    let temp = tempfile::tempdir().unwrap();
    for half in ["train", "val"] {
        for class in ["n01440764", "n02102040", "n09999999"] {
            let folder = temp.path().join("imagenette2-160").join(half);
            put(&folder, class, 2);
        }
    }
    let request =
        Request { name: "imagenette-160".into(), image_size: None, ..request(temp.path()) };
    let data = load_any(&request).unwrap();
    assert_eq!(data.classes, ["tench", "English springer", "n09999999"]);
    assert_eq!((data.train.len(), data.test.len(), data.test.width), (6, 6, 128));
    let missing = Request { name: "imagenette-320".into(), ..request };
    let message = load_any(&missing).unwrap_err().to_string();
    assert!(message.contains("`data fetch imagenette-320`"), "{message}");
}
