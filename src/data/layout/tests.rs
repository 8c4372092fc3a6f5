//! Tests of layouts, on empty files.

use std::fs;

use super::*;

/// Makes files in a new folder.
fn tree(files: &[&str]) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    for file in files {
        let path = temp.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match file.ends_with('/') {
            true => fs::create_dir_all(&path).unwrap(),
            false => fs::write(&path, "").unwrap(),
        }
    }
    temp
}

/// Two pictures of each class in a folder.
fn of(folder: &str, classes: &[&str]) -> Vec<String> {
    let files = |class: &&str| [1, 2].map(|i| format!("{folder}{class}/{i}.jpg"));
    classes.iter().flat_map(files).collect()
}

fn all(parts: &[Vec<String>]) -> tempfile::TempDir {
    tree(&parts.concat().iter().map(String::as_str).collect::<Vec<_>>())
}

/// The layout as text: classes with the number of photos to train on and to test with, and notes.
fn found(temp: &tempfile::TempDir) -> std::result::Result<(String, String), String> {
    let root = temp.path();
    let shown = |text: String| text.replace(&root.display().to_string(), "ROOT");
    let layout = find(root, None, 0, false).map_err(|error| shown(error.to_string()))?;
    let of = |(train, test): (&Class, &Class)| {
        assert_eq!(train.name, test.name);
        format!("{} {}+{}", train.name, train.photos.len(), test.photos.len())
    };
    let classes: Vec<String> = layout.train.iter().zip(&layout.test).map(of).collect();
    let lacking = layout.test_folder.as_ref().and_then(|folder| lacking(&layout.test, folder));
    let notes = layout.notes.iter().map(ToString::to_string);
    let notes: Vec<String> = notes.chain(lacking).collect();
    Ok((classes.join(", "), shown(notes.join("\n"))))
}

#[test]
fn the_test_folder_may_have_any_usual_name() {
    for (train, test) in [
        ("train", "val"),
        ("train", "valid"),
        ("Train", "Test"),
        ("TRAIN", "Validation"),
        ("training", "testing"),
        ("train", "dev"),
    ] {
        let temp =
            all(&[of(&format!("{train}/"), &["a", "b"]), of(&format!("{test}/"), &["a", "b"])]);
        assert_eq!(found(&temp).unwrap(), ("a 2+2, b 2+2".into(), String::new()), "{test}");
    }
    // Of two test folders, the first is used and the other is reported.
    let classes = &["a", "b"];
    let temp = all(&[of("train/", classes), of("test/", classes), of("valid/", &["b", "a"])]);
    let (classes, notes) = found(&temp).unwrap();
    assert_eq!(classes, "a 2+2, b 2+2");
    assert_eq!(
        notes,
        "ROOT/test is not used; `eval` on the command line (run RUN, data ROOT/test) measures on it"
    );
}

#[test]
fn unused_files_and_folders_are_reported() {
    let classes = &["a", "b"];
    let train = || of("train/", classes);
    let more = |files: &[&str]| files.iter().map(|file| file.to_string()).collect::<Vec<_>>();
    for (others, expected, note) in [
        // As in competitions: the test images have no labels.
        (more(&["test/1.jpg"]), "a 1+1, b 1+1", "ROOT/test is not used: it has pictures, but no"),
        (more(&["test/"]), "a 1+1, b 1+1", "ROOT/test is not used: it has no pictures"),
        (more(&["extra/1.jpg"]), "a 1+1, b 1+1", "ROOT/extra is not used: it is beside ROOT/train"),
        (more(&["val/a/1.jpg"]), "a 2+1, b 2+0", "ROOT/val has no pictures of 'b': not tested"),
        (
            more(&["val/a/1.jpg", "val/b/"]),
            "a 2+1, b 2+0",
            "ROOT/val/b is no class: it has no pictures\nROOT/val has no pictures of 'b': not tested",
        ),
        (
            more(&["train/1.jpg"]),
            "a 1+1, b 1+1",
            "1 pictures directly in ROOT/train are of no class",
        ),
        (
            more(&["train/a/1.txt", "train/a/2.TXT", "train/b/more/1.heic", "train/b/x"]),
            "a 1+1, b 1+1",
            "files that are not readable pictures are not used: 1 (ROOT/train/b/x), 1 (.heic, \
             ROOT/train/b/more/1.heic), 2 (.txt, ROOT/train/a/1.txt, …)",
        ),
        (
            more(&["train/c/1.heic"]),
            "a 1+1, b 1+1",
            "ROOT/train/c is no class: it has no pictures, but 1 (.heic, ROOT/train/c/1.heic)",
        ),
        (more(&["train/c/1.jpg"]), "a 1+1, b 1+1, c 1+0", "a single picture of 'c': it is trained"),
        // Files of desktop environments are ignored silently.
        (
            more(&[
                "train/a/.DS_Store",
                "train/a/Thumbs.db",
                "__MACOSX/train/a/1.jpg",
                ".git/1.jpg",
            ]),
            "a 1+1, b 1+1",
            "",
        ),
    ] {
        let (classes, notes) = found(&all(&[train(), others.clone()])).unwrap();
        assert_eq!(classes, expected, "{others:?}");
        assert!(
            notes.contains(note) && notes.is_empty() == note.is_empty(),
            "{notes}\nexpected: {note}"
        );
    }
}

#[test]
fn pictures_are_found_at_any_depth_and_in_any_format() {
    let ends = ["jpg", "JPEG", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm"];
    let mut files: Vec<String> = ends.iter().map(|end| format!("cat/1.{end}")).collect();
    files.extend(
        ["cat/more/1.jpg", "cat/more/deep/1.jpg", "dog/1.jpg", "dog/2.jpg"].map(String::from),
    );
    let temp = all(&[files]);
    // With no extension, or an unknown one, the content decides.
    fs::write(temp.path().join("dog/IMG_3"), b"\x89PNG\r\n\x1a\n").unwrap();
    fs::write(temp.path().join("dog/4.jpe"), b"\xff\xd8\xff\xe0").unwrap();
    let (classes, notes) = found(&temp).unwrap();
    assert_eq!((classes.as_str(), notes.as_str()), ("cat 10+3, dog 3+1", ""));
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_dangling_ones_reported() {
    use std::os::unix::fs::symlink;
    let temp = all(&[of("real/", &["a"]), of("p/", &["b"])]);
    let root = temp.path().join("p");
    symlink(temp.path().join("real/a"), root.join("a")).unwrap();
    symlink("..", root.join("b/up")).unwrap();
    symlink("none", root.join("b/3.jpg")).unwrap();
    symlink("none", root.join("c")).unwrap();
    let layout = find(&root, None, 0, false).unwrap();
    let of = |class: &Class| (class.name.clone(), class.photos.len());
    assert_eq!(layout.train.iter().map(of).collect::<Vec<_>>(), [("a".into(), 1), ("b".into(), 1)]);
    let notes = layout.notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for part in ["are not used: 2 (", "1 (.jpg, ", "p/b/3.jpg)"] {
        assert!(notes.contains(part), "{notes}\nexpected: {part}");
    }
}

#[test]
fn class_names_are_composed_unicode() {
    let temp = all(&[of("train/", &["cafe\u{301}", "tea"]), of("val/", &["caf\u{e9}", "tea"])]);
    assert_eq!(found(&temp).unwrap().0, "caf\u{e9} 2+2, tea 2+2");
    let temp = all(&[of("", &["cafe\u{301}", "caf\u{e9}", "tea"])]);
    assert!(found(&temp).unwrap_err().contains("the same name in Unicode"));
}

/// Following the advice of the message leads to classes.
#[test]
fn a_layout_without_classes_is_refused_with_advice_that_works() {
    let classes = &["a", "b"];
    let follow = |temp: &tempfile::TempDir, advice: &str| {
        let folder = advice.split_once("give `data` ").unwrap().1;
        let end = folder.find([';', ',']).unwrap_or(folder.len());
        let folder = folder[..end].replace("ROOT", &temp.path().display().to_string());
        find(Path::new(&folder), None, 0, false)
            .unwrap_or_else(|error| panic!("{advice}\n{error}"));
    };
    // One level too many.
    for inner in [
        vec![of("photos/", classes)],
        vec![of("photos/train/", classes), of("photos/val/", classes)],
        vec![of("photos/Train/", classes), of("photos/Test/", classes), of("other/", &["x"])],
        vec![of("train/photos/", classes)],
        vec![of("train/photos/", classes), of("test/photos/", classes)],
    ] {
        let temp = all(&inner);
        let message = found(&temp).unwrap_err();
        follow(&temp, &message);
    }
    for (files, parts) in [
        (vec![], &["ROOT has no sub-folders"][..]),
        (vec!["1.jpg", "2.jpg"], &["ROOT has 2 pictures, but no folders", "ROOT/CLASS"]),
        (vec!["a/1.txt"], &["ROOT has no pictures: ROOT/a is no class", "1 (.txt, ROOT/a/1.txt)"]),
        (vec!["a/1.jpg"], &["ROOT has one class only ('a')"]),
        (vec!["train/1.jpg", "test/1.jpg"], &["no folders for the classes", "ROOT/train/CLASS"]),
        (vec!["train/a/1.jpg", "Train/a/1.jpg"], &["rename one of them"]),
        (
            vec!["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/B/1.jpg"],
            &["ROOT/val/B is of a class without training images (did you mean `b`?)"],
        ),
        (
            vec!["a/train/1.jpg", "a/test/1.jpg", "b/train/1.jpg", "b/test/1.jpg"],
            &["ROOT/a has the folders 'test', 'train'", "ROOT/train/a and ROOT/test/a"],
        ),
        (
            vec!["a/1.jpg", "b/1.jpg", "test/a/1.jpg", "test/b/1.jpg"],
            &["ROOT/test has folders for classes, and so has ROOT", "into ROOT/train"],
        ),
    ] {
        let message = found(&tree(&files)).unwrap_err();
        for part in parts {
            assert!(message.contains(part), "{message}\nexpected: {part}");
        }
        assert!(!message.contains('\n'), "{message}");
    }
    // Without `train/`, these may be class names.
    assert_eq!(found(&all(&[of("", &["train", "car"])])).unwrap().0, "car 1+1, train 1+1");
    let temp = all(&[of("", &["valid", "invalid"])]);
    let (classes, notes) = found(&temp).unwrap();
    assert_eq!(classes, "invalid 1+1, valid 1+1");
    assert!(notes.contains("ROOT/valid is taken for a class"), "{notes}");
    let halves = all(&[of("train/", &["a", "b"]), of("val/", &["a", "b"])]);
    let message = find(halves.path(), Some(0.3), 0, false).unwrap_err().to_string();
    assert!(message.contains("leave `val_fraction` out"), "{message}");
}

#[test]
fn a_model_is_evaluated_on_the_test_folder_or_on_all_images() {
    let known = ["a", "b", "c"].map(String::from);
    let measure = |temp: &tempfile::TempDir, some| -> std::result::Result<Vec<usize>, String> {
        let layout =
            measured(temp.path(), &known, some, str::to_owned).map_err(|e| e.to_string())?;
        Ok(layout.test.iter().map(|class| class.photos.len()).collect())
    };
    for parts in [
        vec![of("", &["a", "c"])],
        vec![of("val/", &["a", "c"])],
        vec![of("train/", &["a", "c"])],
        vec![of("train/", &["a", "b"]), of("Test/", &["a", "c"])],
    ] {
        assert_eq!(measure(&all(&parts), false).unwrap(), [2, 0, 2]);
    }
    assert_eq!(measure(&all(&[of("", &["b"])]), false).unwrap(), [0, 2, 0], "one class will do");
    let unknown = all(&[of("", &["a", "B"])]);
    let message = measure(&unknown, false).unwrap_err();
    assert!(message.contains("no class that the model knows (did you mean `b`?)"), "{message}");
    assert_eq!(measure(&unknown, true).unwrap(), [2, 0, 0]);
}
