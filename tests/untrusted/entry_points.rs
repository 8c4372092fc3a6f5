//! Parsers of untrusted bytes: any input gives a value or an error. The fuzz targets and the tests
//! share these functions.

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

/// Writes these bytes to a file in a new folder.
fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder for a file");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("a file");
    (folder, path)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).and_then(|()| out.finish()).expect("writing to memory")
}

/// Parses an idx file, plain and gzipped.
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

/// Parses CIFAR records, a pickle of CIFAR images, and a list of class names.
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

/// Unpacks a tar archive, after correcting the checksums of its headers and compressing it.
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

/// Unpacks a gzipped tar archive.
pub fn archive(bytes: &[u8]) {
    let (folder, path) = file("a.tar.gz", bytes);
    let into = folder.path().join("into");
    let _ = unpack::unpack(&path, &into);
    // Only the archive and the target exist, and the target holds only files and folders.
    let mut names: Vec<_> = fs::read_dir(folder.path()).expect("a readable folder").collect();
    names.retain(|entry| entry.as_ref().is_ok_and(|e| e.path() != path && e.path() != into));
    assert!(names.is_empty(), "unpacked outside the target: {names:?}");
    let mut folders = vec![into];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(inner).into_iter().flatten().flatten() {
            let kind = entry.file_type().expect("an existing entry");
            assert!(kind.is_file() || kind.is_dir(), "{entry:?}");
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

/// Reads a safetensors file as a model and as a state dict.
pub fn safetensors(bytes: &[u8]) {
    let (_folder, path) = file("a.safetensors", bytes);
    if let Ok((arrays, info)) = folder::read_model(&path) {
        assert!(arrays.values().all(|a| a.values.len() == a.shape.iter().product::<usize>()));
        assert!(!info.classes.is_empty());
    }
    let _ = torchvision::read(&path);
}

/// Reads a run with valid tensors. The first line is its metadata, the other lines are its metrics.
pub fn checkpoint(bytes: &[u8]) {
    const TRAINED: &[u8] = include_bytes!("../../fuzz/corpus/safetensors/trained.safetensors");
    let (folder, model) = file("model.safetensors", TRAINED);
    let (arrays, _) = folder::read_model(&model).expect("a valid model");
    let text = String::from_utf8_lossy(bytes);
    let (metadata, metrics) = text.split_once('\n').unwrap_or((&text, ""));
    checkpoint::write(&model, &arrays, "sff", metadata.to_owned()).expect("a file");
    fs::write(folder.path().join("metrics.jsonl"), metrics).expect("a file");
    let _ = folder::read_records(folder.path());
    let _ = folder::read_state(&model);
    let Ok((_, info)) = folder::read_model(&model) else { return };
    let _ = torchvision::export(&model, &folder.path().join("dict.safetensors"));
    // With a configuration, inspection also reads the metrics.
    if let Ok(toml) = Config::resolve(info.config).and_then(|config| config.to_toml()) {
        fs::write(folder.path().join("config.toml"), toml).expect("a file");
        if let Ok(inspection) = inspect::inspect(&model) {
            assert_eq!(inspection.classes, info.classes);
        }
    }
}

/// Reads and resolves a recipe, and reads an experiment.
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

/// Decodes a picture.
pub fn picture(bytes: &[u8]) {
    let (_folder, path) = file("a.png", bytes);
    if let Ok(pixels) = picture::read(&path, 9, 7, 3) {
        assert_eq!(pixels.len(), 9 * 7 * 3);
    }
    let _ = picture::photo(&path, Fit::evaluating(8));
}

/// Loads a folder of photos. The bytes before the first zero byte are file names, one a line. Every
/// second file holds the bytes after it; the others hold a valid picture.
#[cfg(unix)]
pub fn folder(bytes: &[u8]) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    const VALID: &[u8] = include_bytes!("../../fuzz/corpus/picture/grey.png");
    let mut halves = bytes.splitn(2, |byte| *byte == 0);
    let (names, given) = (halves.next().unwrap_or_default(), halves.next().unwrap_or(VALID));
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = 0;
    for (name, content) in names.split(|byte| *byte == b'\n').zip([VALID, given].iter().cycle()) {
        let parts = name.split(|byte| *byte == b'/');
        let parts = parts.filter(|part| !matches!(*part, b"" | b"." | b".."));
        let path = folder.path().join(parts.map(OsStr::from_bytes).collect::<PathBuf>());
        let inner = path.parent().unwrap_or(folder.path());
        // The file system refuses some names.
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

/// Reads the arrays of SVHN from a MAT file.
pub fn mat(bytes: &[u8]) {
    let (_folder, path) = file("a.mat", bytes);
    let _ = mat::read(&path, &["X", "y"]);
}
