//! Where bytes that nobody has to trust come in: whatever they are, they give a value or an error.
//! The fuzz targets and the tests go through the same doors.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use sff::internals::app::config::{Config, Recipe};
use sff::internals::app::fetch::unpack;
use sff::internals::app::folder;
use sff::internals::app::inspect;
use sff::internals::app::torchvision;
use sff::internals::data::picture::{self, Fit};
use sff::internals::data::{Request, cifar, idx, mat};
use sff::internals::train::checkpoint;

/// A file of these bytes in a folder of its own.
fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder for a file");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("a file");
    (folder, path)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).and_then(|()| out.finish()).expect("memory takes it")
}

/// An idx file, and a gzipped one.
pub fn idx(bytes: &[u8]) {
    for rank in [1, 3] {
        if let Ok(array) = idx::parse(bytes, rank, bytes.len() as u64) {
            assert_eq!(array.data.len(), array.dims.iter().product::<usize>());
        }
    }
    let (_folder, path) = file("a.gz", bytes);
    let _ = idx::read(&path, 3);
    let (_folder, path) = file("b.gz", &gzip(bytes));
    let _ = idx::read(&path, 3);
}

/// A file of CIFAR's records, a pickle of them, and one of the names of its classes.
pub fn cifar(bytes: &[u8]) {
    for set in [cifar::CIFAR10, cifar::CIFAR100, cifar::COARSE] {
        if let Ok(images) = cifar::parse(bytes, &set) {
            assert!(images.len() <= bytes.len() / 3073);
        }
        if let Ok(images) = cifar::parse_python(bytes, &set) {
            assert!(images.len() <= bytes.len() / 3072);
        }
    }
    let _ = cifar::parse_names(&String::from_utf8_lossy(bytes), 10);
}

/// A tar archive that is gzipped here, with checksums of its headers as they should be.
pub fn tar(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    for header in bytes.chunks_exact_mut(512) {
        if &header[257..262] == b"ustar" {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    archive(&gzip(&bytes));
}

/// A gzipped tar archive.
pub fn archive(bytes: &[u8]) {
    let (folder, path) = file("a.tar.gz", bytes);
    let into = folder.path().join("into");
    let _ = unpack::unpack(&path, &into);
    // Nothing but the archive and what it was unpacked to, in which there are files and folders.
    let mut names: Vec<_> = fs::read_dir(folder.path()).expect("it is there").collect();
    names.retain(|entry| entry.as_ref().is_ok_and(|e| e.path() != path && e.path() != into));
    assert!(names.is_empty(), "unpacked outside of the folder: {names:?}");
    let mut folders = vec![into];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(inner).into_iter().flatten().flatten() {
            let kind = entry.file_type().expect("it is there");
            assert!(kind.is_file() || kind.is_dir(), "{entry:?}");
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

/// A model, a state dict, or whatever else is called a safetensors file.
pub fn safetensors(bytes: &[u8]) {
    let (_folder, path) = file("a.safetensors", bytes);
    if let Ok((arrays, info)) = folder::read_model(&path) {
        assert!(arrays.values().all(|a| a.values.len() == a.shape.iter().product::<usize>()));
        assert!(!info.classes.is_empty());
    }
    let _ = torchvision::read(&path);
}

/// What the files of a run say beside sound tensors: a line of metadata, and lines of metrics.
pub fn checkpoint(bytes: &[u8]) {
    const TRAINED: &[u8] = include_bytes!("../../fuzz/corpus/safetensors/trained.safetensors");
    let (folder, model) = file("model.safetensors", TRAINED);
    let (arrays, _) = folder::read_model(&model).expect("a sound model");
    let text = String::from_utf8_lossy(bytes);
    let (metadata, metrics) = text.split_once('\n').unwrap_or((&text, ""));
    checkpoint::write(&model, &arrays, "sff", metadata.to_owned()).expect("a file");
    fs::write(folder.path().join("metrics.jsonl"), metrics).expect("a file");
    let _ = folder::read_records(folder.path());
    let _ = folder::read_state(&model);
    let Ok((_, info)) = folder::read_model(&model) else { return };
    let _ = torchvision::export(&model, &folder.path().join("dict.safetensors"));
    // With a configuration beside it, the metrics count, too.
    if let Ok(toml) = Config::resolve(info.config).and_then(|config| config.to_toml()) {
        fs::write(folder.path().join("config.toml"), toml).expect("a file");
        if let Ok(inspection) = inspect::inspect(&model) {
            assert_eq!(inspection.classes, info.classes);
        }
    }
}

/// A recipe, and what it resolves to.
pub fn recipe(bytes: &[u8]) {
    let (_folder, path) = file("a.toml", bytes);
    if let Ok(recipe) = Recipe::read(&path)
        && let Ok(config) = Config::resolve(recipe)
    {
        let _ = config.to_toml();
    }
    let _ =
        sff::internals::app::experiment::Experiment::read(&path).and_then(|e| e.cells().map(drop));
}

/// A picture by itself.
pub fn picture(bytes: &[u8]) {
    let (_folder, path) = file("a.png", bytes);
    if let Ok(pixels) = picture::read(&path, 9, 7, 3) {
        assert_eq!(pixels.len(), 9 * 7 * 3);
    }
    let _ = picture::photo(&path, Fit::evaluating(8));
}

/// A folder of photos: up to a zero byte a name on each line, then a picture that every other
/// file holds; the rest hold a good one.
#[cfg(unix)]
pub fn folder(bytes: &[u8]) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    const GOOD: &[u8] = include_bytes!("../../fuzz/corpus/picture/grey.png");
    let mut halves = bytes.splitn(2, |byte| *byte == 0);
    let (names, given) = (halves.next().unwrap_or_default(), halves.next().unwrap_or(GOOD));
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = 0;
    for (name, content) in names.split(|byte| *byte == b'\n').zip([GOOD, given].iter().cycle()) {
        let parts = name.split(|byte| *byte == b'/');
        let parts = parts.filter(|part| !matches!(*part, b"" | b"." | b".."));
        let path = folder.path().join(parts.map(OsStr::from_bytes).collect::<PathBuf>());
        let inner = path.parent().unwrap_or(folder.path());
        // The system does not take every name, nor the same one twice.
        if fs::create_dir_all(inner).and_then(|()| fs::write(&path, content)).is_ok() {
            files += 1;
        }
    }
    for strict in [false, true] {
        let (name, root) = ("folder".to_owned(), Some(folder.path().to_owned()));
        let request =
            Request { name, folder: root, image_size: Some(8), strict, ..Request::default() };
        if let Ok(loaded) = sff::internals::data::load(&request) {
            assert!(loaded.train.len() + loaded.test.len() + loaded.skipped.len() <= files);
            assert!(loaded.classes.len() >= 2);
        }
    }
}

/// A MAT-file, as SVHN comes in.
pub fn mat(bytes: &[u8]) {
    let (_folder, path) = file("a.mat", bytes);
    let _ = mat::read(&path, &["X", "y"]);
}
