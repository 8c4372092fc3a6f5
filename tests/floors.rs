//! The structure that `src/lib.rs` describes: floors import downwards only, and modules of a floor
//! have no import cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the lowest up. The two floors of one entry do not import each other.
const FLOORS: [&[&str]; 7] =
    [&["base"], &["net"], &["compiler"], &["gpu", "data"], &["train"], &["app"], &["cli"]];

/// A source file, its module path, and the paths that its code names.
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

/// All paths in a file's code that begin with `crate` or `super`, as absolute paths.
fn names(module: &[String], text: &str) -> Vec<Vec<String>> {
    let (mut found, mut module) = (Vec::new(), module.to_vec());
    let own = module.len();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        // An inline module ends at the next unindented closing brace.
        let inner = line.strip_suffix(" {").and_then(|line| line.rsplit_once("mod "));
        match inner {
            Some((_, name)) if !line.starts_with(' ') => module.push(name.to_owned()),
            _ if line == "}" => module.truncate(own),
            _ => {}
        }
        for (at, word) in ["crate::", "super::"].iter().flat_map(|w| line.match_indices(w)) {
            let before = line[..at].chars().next_back();
            // The second `super` of `super::super::x` does not begin a path.
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
            // A name with a capital is reexported by lib.rs.
            let Some(other) = floor(&name[0]) else {
                let reexported = name[0].starts_with(char::is_uppercase);
                assert!(reexported, "{}: crate::{}", file.display(), name.join("::"));
                continue;
            };
            let allowed = name[0] == module[0] || other < own;
            assert!(allowed, "{} names crate::{}, a floor above", file.display(), name.join("::"));
        }
    }
}

/// Crates that only some floors may use.
const RESTRICTED: [(&str, &[&str]); 5] = [
    ("wgpu::", &["gpu"]),
    ("clap::", &["app", "cli"]),
    ("indicatif::", &["app", "cli"]),
    ("signal_hook::", &["app", "cli"]),
    ("ureq::", &["app", "cli"]),
];

#[test]
fn only_the_listed_floors_use_a_restricted_crate() {
    for Source { file, module, .. } in sources() {
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let forbidden = |(name, floors): &&(&str, &[&str])| {
                line.contains(name) && !floors.contains(&module[0].as_str())
            };
            let found = RESTRICTED.iter().find(forbidden);
            assert!(found.is_none(), "{} names {found:?}: {line}", file.display());
        }
    }
}

/// Messages below `app` have typed hints; the command line adds commands and flags.
#[test]
fn floors_below_app_name_no_commands_or_flags() {
    let app = floor("app").unwrap();
    let names_command = |line: &str| {
        let flag = |at: usize| line[at..].starts_with(|c: char| c.is_ascii_lowercase());
        let flags = line.match_indices("--").any(|(at, dashes)| flag(at + dashes.len()));
        flags || line.contains("`sff ")
    };
    assert!(names_command("\"use a smaller --batch\""));
    assert!(names_command("\"`sff import` makes one\""));
    assert!(!names_command("a - -b") && !names_command("\"use sff::Config\""));
    for Source { file, module, .. } in sources() {
        if floor(&module[0]).unwrap() >= app {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = code.find(|line| names_command(line));
        assert!(found.is_none(), "{}: {}", file.display(), found.unwrap());
    }
}

/// Between siblings; imports of a module's descendants count as its own.
#[test]
fn modules_have_no_import_cycles() {
    let mut edges: BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let sources = sources();
    let modules: BTreeSet<&Vec<String>> = sources.iter().map(|source| &source.module).collect();
    for Source { module, names, .. } in &sources {
        for name in names {
            let same = module.iter().zip(name).take_while(|(a, b)| a == b).count();
            // Paths to a module's own descendants or to items of its ancestors are no edges.
            let (Some(from), Some(to)) = (module.get(same), name.get(same)) else { continue };
            if modules.contains(&name[..=same].to_vec()) {
                let siblings = edges.entry(module[..same].to_vec()).or_default();
                siblings.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    let mut cycles = Vec::new();
    for (parent, siblings) in &edges {
        for from in siblings.keys() {
            // A module must not be reachable from itself.
            let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
            while let Some(at) = next.pop() {
                for to in siblings.get(at).into_iter().flatten() {
                    if reached.insert(to) {
                        next.push(to);
                    }
                }
            }
            if reached.contains(from) {
                cycles.push(format!("{}::{from} by way of {reached:?}", parent.join("::")));
            }
        }
    }
    assert!(cycles.is_empty(), "{}", cycles.join("\n"));
}

/// Unit tests are a `tests` module at the end of their file, or in `x/tests.rs` beside `x.rs`.
#[test]
fn sources_have_no_path_attribute() {
    for Source { file, .. } in sources() {
        let text = fs::read_to_string(&file).unwrap();
        let has_path = text.lines().any(|line| line.trim_start().starts_with("#[path"));
        assert!(!has_path, "{} has a #[path]", file.display());
    }
}
