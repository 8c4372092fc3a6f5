//! Tests of the readers of CIFAR-10 and CIFAR-100.

use super::*;
use proptest::prelude::*;

const RECORD: usize = 1 + 3 * PLANE;
const FILES: &[&str] = CIFAR10.files;

/// A record whose pixel at (0, 1) is red `r`, green `g`, blue `b`, and all others 0.
fn record(label: u8, [r, g, b]: [u8; 3]) -> Vec<u8> {
    let mut record = vec![0; RECORD];
    record[0] = label;
    for (plane, value) in [r, g, b].into_iter().enumerate() {
        record[1 + plane * PLANE + 1] = value;
    }
    record
}

/// A folder with all six files, one record each; its label is the file's position.
fn folder() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    let inner = temp.path().join("cifar-10-batches-bin");
    fs::create_dir(&inner).unwrap();
    for (file, label) in FILES.iter().zip(0..) {
        fs::write(inner.join(file), record(label, [label, 20, 30])).unwrap();
    }
    temp
}

fn load_from(folder: &Path) -> Result<Dataset> {
    let nowhere = Path::new("/nowhere");
    load("cifar10", &CIFAR10, &Places::within(Some(folder), nowhere, nowhere)?)
}

#[test]
fn planes_become_pixels() {
    let images = parse(&[record(3, [1, 2, 3]), record(9, [4, 5, 6])].concat(), &CIFAR10).unwrap();
    assert_eq!(images.labels, [3, 9]);
    assert_eq!(images.image(0).unwrap()[..6], [0, 0, 0, 1, 2, 3]);
    assert_eq!(images.image(1).unwrap()[..6], [0, 0, 0, 4, 5, 6]);
    assert_eq!(images.image(1).unwrap()[6..], [0; 3 * PLANE - 6]);
}

#[test]
fn says_what_is_wrong_and_where() {
    let good = record(0, [0; 3]);
    for (bytes, expected) in [
        (vec![], "at byte 0: the last 0 bytes are no record"),
        (good[1..].to_vec(), "at byte 0: the last 3072 bytes"),
        ([&good[..], &[0]].concat(), "at byte 3073: the last 1 bytes"),
        ([good.clone(), record(10, [0; 3])].concat(), "at byte 3073: label 10"),
    ] {
        let problem = parse(&bytes, &CIFAR10).unwrap_err();
        assert!(problem.contains(expected), "{problem}\nexpected: {expected}");
    }
}

#[test]
fn train_and_test_batches_are_loaded_and_a_corrupt_one_is_named() {
    let temp = folder();
    let data = load_from(temp.path()).unwrap();
    assert_eq!((data.train.labels.clone(), data.test.labels), (vec![0, 1, 2, 3, 4], vec![5]));
    assert_eq!(data.train.image(4).unwrap()[..6], [0, 0, 0, 4, 20, 30]);
    assert_eq!(data.classes, NAMES);
    // A corrupt batch is named.
    let third = temp.path().join("cifar-10-batches-bin/data_batch_3.bin");
    fs::write(&third, record(77, [0; 3])).unwrap();
    let message = load_from(temp.path()).unwrap_err().to_string();
    assert!(message.contains("data_batch_3.bin: at byte 0: label 77"), "{message}");
    fs::remove_file(third).unwrap();
    let error = load_from(temp.path()).unwrap_err();
    assert!(matches!(&error, Error::MissingData(m) if m.to_string().contains("data_batch_3.bin")));
}

#[test]
fn class_names_are_read_from_the_folder() {
    let temp = folder();
    let meta = temp.path().join("cifar-10-batches-bin/batches.meta.txt");
    fs::write(&meta, "a\r\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
    assert_eq!(load_from(temp.path()).unwrap().classes.concat(), "abcdefghij");
    for bad in [&b"a\nb\n"[..], b"\xff\xfe", &[b'\n'; 1 << 16]] {
        fs::write(&meta, bad).unwrap();
        let message = load_from(temp.path()).unwrap_err().to_string();
        assert!(message.contains("batches.meta.txt: "), "{message}");
    }
}

#[test]
fn cifar100_has_fine_and_coarse_labels() {
    let temp = tempfile::tempdir().unwrap();
    let inner = temp.path().join("cifar-100-binary");
    fs::create_dir(&inner).unwrap();
    let two = |coarse: u8, fine: u8| [&[coarse], &record(fine, [1, 2, 3])[..]].concat();
    let put = |file: &str, content: &[u8]| fs::write(inner.join(file), content).unwrap();
    put("train.bin", &[two(19, 99), two(0, 7)].concat());
    put("test.bin", &two(3, 50));
    let names = |count: usize| (0..count).map(|i| format!("class {i}\n")).collect::<String>();
    put("fine_label_names.txt", names(100).as_bytes());
    put("coarse_label_names.txt", names(20).as_bytes());
    let load = |set| {
        let nowhere = Path::new("/nowhere");
        load("it", set, &Places::within(Some(temp.path()), nowhere, nowhere)?)
    };
    let fine = load(&CIFAR100).unwrap();
    assert_eq!((&fine.train.labels[..], &fine.test.labels[..]), (&[99, 7][..], &[50][..]));
    assert_eq!((fine.classes.len(), &fine.classes[99][..]), (100, "class 99"));
    assert_eq!(fine.train.image(1).unwrap()[..6], [0, 0, 0, 1, 2, 3]);
    let coarse = load(&COARSE).unwrap();
    assert_eq!((&coarse.train.labels[..], &coarse.test.labels[..]), (&[19, 0][..], &[3][..]));
    assert_eq!((coarse.classes.len(), coarse.train.pixels), (20, fine.train.pixels));

    let message = |set| load(set).unwrap_err().to_string();
    put("test.bin", &two(20, 99));
    assert!(message(&COARSE).contains("test.bin: at byte 0: label 20, expected 0 to 19"));
    put("train.bin", &[two(1, 2), two(1, 100)].concat());
    assert!(message(&CIFAR100).contains("train.bin: at byte 3075: label 100, expected 0 to 99"));
    put("train.bin", &two(1, 2)[..3073]);
    assert!(message(&CIFAR100).contains("the last 3073 bytes are no record"));
    put("train.bin", &two(1, 2));
    put("test.bin", &two(1, 2));
    put("fine_label_names.txt", names(99).as_bytes());
    assert!(message(&CIFAR100).contains("99 class names, expected 100"));
    fs::remove_file(inner.join("fine_label_names.txt")).unwrap();
    assert!(message(&CIFAR100).contains("cannot read"));
}

#[test]
fn the_python_version_loads() {
    use super::super::pickle::tests::{batch, names};
    let row = |label: u8| record(0, [label, 20, 30])[1..].to_vec();
    let numbers = |count: usize| (0..count).map(|i| format!("class {i}")).collect::<Vec<_>>();
    let load = |set, folder: &Path| {
        let nowhere = Path::new("/nowhere");
        load("it", set, &Places::within(Some(folder), nowhere, nowhere)?)
    };
    // As it unpacks, and renamed to the names of the binary version.
    for (inner, end) in [("cifar-10-batches-py", ""), ("cifar-10-batches-bin", ".bin")] {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join(inner);
        fs::create_dir(&folder).unwrap();
        for (file, label) in FILES.iter().zip(0..) {
            let bytes = batch(&[row(label)], &[("labels", vec![label])]);
            fs::write(folder.join(file.replace(".bin", end)), bytes).unwrap();
        }
        fs::write(folder.join("batches.meta"), names("label_names", &numbers(10))).unwrap();
        let data = load(&CIFAR10, temp.path()).unwrap();
        assert_eq!(
            (&data.train.labels[..], &data.test.labels[..]),
            (&[0, 1, 2, 3, 4][..], &[5][..])
        );
        assert_eq!(data.train.image(4).unwrap()[..6], [0, 0, 0, 4, 20, 30]);
        assert_eq!(data.classes, numbers(10));
        for (bytes, part) in [
            (batch(&[row(1)], &[("labels", vec![10])]), "label 10, expected 0 to 9"),
            (batch(&[row(1)], &[("labels", vec![1, 2])]), "1 images, but 2 labels"),
            (batch(&[row(1)], &[("fine_labels", vec![1])]), "has no list `labels`"),
            (names("label_names", &numbers(10)), "has no array `data`"),
            (b"\x80\x02cos\nsystem\n".to_vec(), "at byte 13: this is no pickle"),
            (b"MATLAB 5.0 MAT-file".to_vec(), "version for MATLAB; `data fetch cifar10`"),
        ] {
            let path = folder.join(FILES[2].replace(".bin", end));
            fs::write(&path, bytes).unwrap();
            let message = load(&CIFAR10, temp.path()).unwrap_err().to_string();
            assert!(message.contains("data_batch_3") && message.contains(part), "{message}");
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("cifar-100-python");
    fs::create_dir(&folder).unwrap();
    for (file, fine) in [("train", 99), ("test", 7)] {
        let labels = [("fine_labels", vec![fine]), ("coarse_labels", vec![fine / 5])];
        fs::write(folder.join(file), batch(&[row(1)], &labels)).unwrap();
    }
    fs::write(folder.join("meta"), names("coarse_label_names", &numbers(20))).unwrap();
    let coarse = load(&COARSE, temp.path()).unwrap();
    assert_eq!((&coarse.train.labels[..], coarse.classes), (&[19][..], numbers(20)));
    let message = load(&CIFAR100, temp.path()).unwrap_err().to_string();
    assert!(message.contains("meta: this pickle has no list `fine_label_names`"), "{message}");
    fs::write(folder.join("meta"), names("fine_label_names", &numbers(100))).unwrap();
    assert_eq!(load(&CIFAR100, temp.path()).unwrap().test.labels, [7]);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3 * RECORD)) {
        let _ = parse(&bytes, &CIFAR10);
        let _ = parse(&bytes, &CIFAR100);
        let _ = parse_names(&String::from_utf8_lossy(&bytes), 10);
    }

    #[test]
    fn pixels_go_from_planes_to_hwc(
        label in 0u8..10, pixels in prop::collection::vec(any::<u8>(), 3 * PLANE),
    ) {
        let images = parse(&[&[label][..], &pixels].concat(), &CIFAR10).unwrap();
        prop_assert_eq!(&images.labels, &[u32::from(label)]);
        for (i, &value) in pixels.iter().enumerate() {
            prop_assert_eq!(images.image(0).unwrap()[i % PLANE * 3 + i / PLANE], value);
        }
    }
}
