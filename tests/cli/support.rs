//! Runs the program in a temporary folder per test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A small run: 3 blocks, 2 epochs of 12 steps; about a second.
pub const SMALL: &str =
    "train --dataset shapes --train-limit 96 --batch 8 --widths 4,4,4 --partition layer --epochs 2";

/// Files in the folder of a finished run.
pub const RUN_FILES: [&str; 6] = [
    "config.toml",
    "metrics.jsonl",
    "model.safetensors",
    "report.html",
    "state.safetensors",
    "timing.jsonl",
];

/// A temporary folder in which the program runs.
pub struct Sandbox(TempDir);

/// A command's exit code and output.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Whether the device under test is SwiftShader. If so, prints that the test is skipped, and why.
pub fn swiftshader(why: &str) -> bool {
    let is = std::env::var("SFF_TEST_DEVICE").is_ok_and(|device| device == "swiftshader");
    if is {
        eprintln!("skipped: SwiftShader {why}");
    }
    is
}

impl Sandbox {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, creates its parent folders, and returns its path.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The program with these arguments, separated by spaces, in this folder.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sff"));
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let device = std::env::var("SFF_TEST_DEVICE");
        // After the subcommand, because the last argument may be an option without its value.
        let after = match words.first() {
            Some(&"train" | &"eval" | &"predict" | &"compare" | &"profile") => Some(1),
            Some(&"bench") => Some(2),
            _ => None,
        };
        if let (Ok(device), Some(at)) = (&device, after)
            && !words.contains(&"--device")
        {
            words.splice(at..at, ["--device", device]);
        }
        command.args(&words).current_dir(self.0.path()).stdin(Stdio::null());
        // Tuned choices are cached per test, not in the user's cache.
        command.env("SFF_CACHE_DIR", self.path(".cache"));
        // As on a machine without a desktop, where some drivers print warnings.
        command.env_remove("XDG_RUNTIME_DIR");
        command
    }

    /// Runs a command and waits for it.
    pub fn run(&self, line: &str) -> Ran {
        Ran::of(&mut self.command(line))
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub fn ok(&self, line: &str) -> String {
        self.run(line).ok()
    }

    /// Runs a command that must fail with one line, and returns the line.
    pub fn error(&self, line: &str) -> String {
        self.run(line).error()
    }

    /// Runs a command that must fail with a line that contains all `parts`.
    pub fn refuses(&self, line: &str, parts: &[&str]) {
        let message = self.error(line);
        for part in parts {
            assert!(message.contains(part), "{line}\n{message}\nexpected: {part}");
        }
    }

    /// Runs a command and parses the JSON that it prints.
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(line)).unwrap()
    }

    /// The files in a folder, by name.
    pub fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        files(&self.path(folder))
    }

    /// The same without files that contain times, which differ from run to run.
    pub fn results(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.files(folder);
        files.remove("timing.jsonl");
        files.remove("report.html");
        files
    }

    /// Copies the files of one folder into another.
    pub fn copy(&self, from: &str, to: &str) {
        for (name, content) in self.files(from) {
            self.put(&format!("{to}/{name}"), content);
        }
    }
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// The error line of a command that failed before any other output.
    pub fn error(self) -> String {
        // Indented lines are a list that belongs to the error.
        let lines = self.err.lines().filter(|line| !line.starts_with("  "));
        assert_eq!(lines.count(), 1, "expected one line, not:\n{}", self.err);
        assert_eq!(self.out, "");
        self.last_error()
    }

    /// The error line of a command that failed with exit code 2, possibly after other output.
    pub fn last_error(self) -> String {
        self.last_error_of(2)
    }

    /// The same with another exit code.
    pub fn last_error_of(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        let (_, message) =
            self.err.rsplit_once("error: ").unwrap_or_else(|| panic!("{}", self.err));
        let last = message.lines().skip(1).all(|line| line.starts_with("  "));
        assert!(last, "the error is not the last line:\n{}", self.err);
        message.trim_end().to_owned()
    }
}

/// The files in a folder, by name.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

/// Asserts that two sets of files have the same names and contents.
pub fn assert_same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, content) in a {
        assert!(content == &b[name], "{name} differs");
    }
}

/// The content of an idx file of unsigned bytes.
pub fn idx(dims: &[usize], data: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|dim| out.extend((*dim as u32).to_be_bytes()));
    out.extend(data);
    out
}

/// Writes the four files of MNIST, with images of `side` x `side` pixels.
pub fn digits(sandbox: &Sandbox, folder: &str, side: usize, train: usize, test: usize) {
    for (name, count) in [("train", train), ("t10k", test)] {
        let pixels: Vec<u8> = (0..count * side * side).map(|i| (i * 37 % 251) as u8).collect();
        let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
        let images = idx(&[count, side, side], &pixels);
        sandbox.put(&format!("{folder}/{name}-images-idx3-ubyte"), images);
        sandbox.put(&format!("{folder}/{name}-labels-idx1-ubyte"), idx(&[count], &labels));
    }
}

/// The keys of a JSON object.
pub fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A JSON array of numbers.
pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The last line of a run's metrics.
pub fn last_record(sandbox: &Sandbox, folder: &str) -> Value {
    let text = fs::read_to_string(sandbox.path(folder).join("metrics.jsonl")).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// The index of the largest value; of equal values, the first.
pub fn largest(values: &[f64]) -> usize {
    (0..values.len()).rev().max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap()
}
