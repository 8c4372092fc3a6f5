//! The structure that `src/lib.rs` promises: floors that import downwards only, and no circle
//! between the modules of a floor.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up; what stands side by side does not know each other.
const FLOORS: [&[&str]; 7] =
    [&["base"], &["net"], &["compiler"], &["gpu", "data"], &["train"], &["app"], &["cli"]];

/// A source file: its module's path, and the modules that its code names.
struct Source {
    file: PathBuf,
    module: Vec<String>,
    names: Vec<Vec<String>>,
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.extend(path.extension().is_some_and(|e| e == "rs").then_some(path)),
        }
    }
}

/// All paths that begin with `crate` or `super` in a file's code.
fn names(module: &[String], text: &str) -> Vec<Vec<String>> {
    let (mut found, mut module) = (Vec::new(), module.to_vec());
    let own = module.len();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        // A module within the file ends at the next brace that is not indented.
        let inner = line.strip_suffix(" {").and_then(|line| line.rsplit_once("mod "));
        match inner {
            Some((_, name)) if !line.starts_with(' ') => module.push(name.to_owned()),
            _ if line == "}" => module.truncate(own),
            _ => {}
        }
        for (at, word) in ["crate::", "super::"].iter().flat_map(|w| line.match_indices(w)) {
            let before = line[..at].chars().next_back();
            // `super::super::x` is read from its beginning.
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let path = line[at..].split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            let mut segments = path.take(1).flat_map(|path| path.split("::")).peekable();
            let mut name = module.clone();
            if word.starts_with("crate") {
                name.clear();
                segments.next();
            }
            while segments.next_if_eq(&"super").is_some() {
                name.pop();
            }
            name.extend(segments.filter(|s| !s.is_empty()).map(str::to_owned));
            found.push(name);
        }
    }
    found
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    files(root(), &mut found);
    let source = |file: PathBuf| {
        let path = file.strip_prefix(root()).unwrap().with_extension("");
        let module: Vec<String> =
            path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        let names = names(&module, &fs::read_to_string(&file).unwrap());
        Source { file, module, names }
    };
    let all = found.into_iter().map(source);
    all.filter(|source| !["lib", "main"].contains(&source.module[0].as_str())).collect()
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

#[test]
fn floors_import_downwards_only() {
    let sources = sources();
    assert!(sources.len() > 100);
    for Source { file, module, names } in &sources {
        let own = floor(&module[0]).unwrap_or_else(|| panic!("{}: no floor", file.display()));
        for name in names.iter().filter(|name| !name.is_empty()) {
            // What begins with a capital is in lib.rs.
            let Some(other) = floor(&name[0]) else {
                let facade = name[0].starts_with(char::is_uppercase);
                assert!(facade, "{}: crate::{}", file.display(), name.join("::"));
                continue;
            };
            let fits = name[0] == module[0] || other < own;
            assert!(fits, "{} names crate::{}, a floor above", file.display(), name.join("::"));
        }
    }
}

/// The crates that only some floors may name.
const KEPT: [(&str, &[&str]); 5] = [
    ("wgpu::", &["gpu"]),
    ("clap::", &["app", "cli"]),
    ("indicatif::", &["app", "cli"]),
    ("signal_hook::", &["app", "cli"]),
    ("ureq::", &["app", "cli"]),
];

#[test]
fn some_crates_are_known_to_some_floors_only() {
    for Source { file, module, .. } in sources() {
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let strange = |(name, floors): &&(&str, &[&str])| {
                line.contains(name) && !floors.contains(&module[0].as_str())
            };
            let found = KEPT.iter().find(strange);
            assert!(found.is_none(), "{} names {found:?}: {line}", file.display());
        }
    }
}

/// Only the command line knows what to type: below, messages have hints.
#[test]
fn the_engine_names_no_flags() {
    let core = floor("app").unwrap();
    let typed = |line: &str| {
        let flag = |at: usize| line[at..].starts_with(|c: char| c.is_ascii_lowercase());
        let flags = line.match_indices("--").any(|(at, dashes)| flag(at + dashes.len()));
        flags || line.contains("`sff ")
    };
    assert!(typed("\"use a smaller --batch\"") && typed("\"`sff import` makes one\""));
    assert!(!typed("a - -b") && !typed("\"use sff::Config\""));
    for Source { file, module, .. } in sources() {
        if floor(&module[0]).unwrap() >= core {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = code.find(|line| typed(line));
        assert!(found.is_none(), "{}: {}", file.display(), found.unwrap());
    }
}

/// Among the modules that have the same parent, whatever lies below them.
#[test]
fn modules_have_no_circles() {
    let mut edges: BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let sources = sources();
    let modules: BTreeSet<&Vec<String>> = sources.iter().map(|source| &source.module).collect();
    for Source { module, names, .. } in &sources {
        for name in names {
            let same = module.iter().zip(name).take_while(|(a, b)| a == b).count();
            // A module that names its own child, or its parent's items, is one with them.
            let (Some(from), Some(to)) = (module.get(same), name.get(same)) else { continue };
            if modules.contains(&name[..=same].to_vec()) {
                let siblings = edges.entry(module[..same].to_vec()).or_default();
                siblings.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    let mut circles = Vec::new();
    for (parent, siblings) in &edges {
        for from in siblings.keys() {
            // What can be reached from a module must not reach it.
            let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
            while let Some(at) = next.pop() {
                for to in siblings.get(at).into_iter().flatten() {
                    if seen.insert(to) {
                        next.push(to);
                    }
                }
            }
            if seen.contains(from) {
                circles.push(format!("{}::{from} by way of {seen:?}", parent.join("::")));
            }
        }
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

/// Unit tests are a `tests` module of their file, or of `x/tests.rs` beside `x.rs`.
#[test]
fn unit_tests_sit_in_their_file_or_beside_it() {
    // To be moved into its file.
    let known = Path::new("app/fetch/unpack.rs");
    for Source { file, .. } in sources() {
        let text = fs::read_to_string(&file).unwrap();
        let has_path = text.lines().any(|line| line.trim_start().starts_with("#[path"));
        assert!(!has_path || file.ends_with(known), "{} has a #[path]", file.display());
    }
}
