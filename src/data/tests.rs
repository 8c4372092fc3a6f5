//! Tests of the data sets as a whole.

use super::*;

fn request(name: &str) -> Request {
    Request { name: name.into(), train_limit: Some(20), seed: 1, ..Request::default() }
}

fn images(channels: usize, pixels: Vec<u8>) -> Images {
    let count = pixels.len() / (2 * channels);
    Images::in_memory([1, 2, channels], pixels, vec![0; count])
}

#[test]
fn images_are_slices_of_the_pixels() {
    let images = images(3, (0..18).collect());
    assert_eq!((images.len(), images.bytes_per_image()), (3, 6));
    assert_eq!(*images.image(1).unwrap(), [6, 7, 8, 9, 10, 11]);
    let one = images.clone().truncated(1);
    assert_eq!((one.len(), one.all().unwrap().len()), (1, 6));
    assert_eq!(images.clone().truncated(usize::MAX), images);
}

#[test]
fn normalization_is_per_channel() {
    let measured = Normalization::of(&images(2, vec![0, 7, 255, 7, 0, 7, 255, 7])).unwrap();
    assert_eq!(measured.mean, [0.5, 7.0 / 255.0]);
    assert_eq!(measured.std, [0.5, 1.0], "a constant channel must not be divided by 0");
    let nothing = Normalization::of(&images(1, vec![])).unwrap();
    assert_eq!(nothing, Normalization { mean: vec![0.0], std: vec![1.0] });
    let json = serde_json::to_string(&measured).unwrap();
    assert_eq!(serde_json::from_str::<Normalization>(&json).unwrap(), measured);
}

#[test]
fn unknown_names_get_a_did_you_mean() {
    for (typed, meant) in [
        ("FashionMNIST", "fashion-mnist"),
        ("fashion_mnist", "fashion-mnist"),
        ("cifar-10", "cifar10"),
        ("mnits", "mnist"),
        ("shape", "shapes"),
        ("shapes-32", "shapes32"),
    ] {
        let message = load(&request(typed)).unwrap_err().to_string();
        assert!(message.contains(&format!("did you mean `{meant}`?")), "{message}");
    }
    for typed in ["", "celeba-hq", &"m".repeat(1 << 20)] {
        let message = load(&request(typed)).unwrap_err().to_string();
        assert!(!message.contains("did you mean"), "{}", &message[message.len() - 200..]);
        assert!(NAMES.iter().all(|name| message.contains(name)));
    }
}

#[test]
fn generated_data_sets_load() {
    for (name, size, channels) in [("shapes", 28, 1), ("shapes32", 32, 3)] {
        let data = load(&request(name)).unwrap();
        assert_eq!((data.name.as_str(), data.train.len(), data.test.len()), (name, 20, 1000));
        for images in [data.train, data.test] {
            assert_eq!((images.height, images.width, images.channels), (size, size, channels));
            assert_eq!(images.all().unwrap().len(), images.len() * images.bytes_per_image());
        }
    }
}

#[test]
fn chosen_classes_are_relabelled() {
    let classes = |list: &str| Some(list.split(',').map(String::from).collect());
    let all = load(&Request { train_limit: None, ..request("shapes") }).unwrap();
    let some = load(&Request { classes: classes("7,0-1"), ..request("shapes") }).unwrap();
    assert_eq!(some.classes, [7, 0, 1].map(|class: usize| all.classes[class].clone()));
    assert_eq!((some.train.len(), some.test.len()), (20, 300));
    // The first images of these classes, in the order of the whole data set.
    let old = [7, 0, 1];
    let kept = (0..all.train.len()).filter(|i| old.contains(&all.train.labels[*i]));
    for (new, i) in kept.take(20).enumerate() {
        assert_eq!(old[some.train.labels[new] as usize], all.train.labels[i]);
        assert_eq!(some.train.image(new).unwrap(), all.train.image(i).unwrap());
    }
    let wrong = Request { classes: classes("7,11"), ..request("shapes") };
    assert!(matches!(load(&wrong), Err(Error::Usage(m)) if m.to_string().contains("0 to 9")));
}

#[test]
fn a_limit_of_zero_is_refused() {
    let none = Request { train_limit: Some(0), ..request("shapes") };
    assert!(matches!(load(&none), Err(Error::Usage(_))));
}

#[test]
fn missing_files_say_how_to_get_them() {
    let empty = tempfile::tempdir().unwrap();
    let system = empty.path().join("system");
    let places = Places::within(None, empty.path(), &system).unwrap();
    for (error, hint) in [
        (idx::load("fashion-mnist", &idx::FASHION, &places), "dataset-fashion-mnist"),
        (idx::load("mnist", &idx::DIGITS, &places), "`data fetch mnist`"),
        (cifar::load("cifar10", &cifar::CIFAR10, &places), "cifar-10-binary.tar.gz"),
    ] {
        let message = error.unwrap_err().to_string();
        assert!(message.contains(hint) && message.contains("`dataset` shapes"), "{message}");
        assert!(message.contains("system") && !message.contains('\n'), "{message}");
    }
}

#[test]
fn the_installed_fashion_mnist_has_its_known_mean_and_deviation() {
    let folder = std::path::Path::new("/usr/share/datasets/fashion-mnist");
    if !folder.is_dir() {
        eprintln!("skipped: {} is not installed", folder.display());
        return;
    }
    let all = Request {
        folder: Some(folder.to_owned()),
        train_limit: Some(usize::MAX),
        ..request("fashion-mnist")
    };
    let data = load(&all).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (60_000, 10_000));
    for class in 0..10 {
        assert_eq!(data.train.labels.iter().filter(|&&label| label == class).count(), 6000);
    }
    // The published mean and standard deviation.
    let Normalization { mean, std } = data.normalization().unwrap();
    assert!((mean[0] - 0.2860).abs() < 1e-4 && (std[0] - 0.3530).abs() < 1e-4, "{mean:?} {std:?}");
}
