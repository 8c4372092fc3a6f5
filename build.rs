//! Lists the shaders, so that a new file in `shaders/` is known without a word elsewhere, and reads
//! their parameters, which are written in WGSL only.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let shaders = root.join("shaders");
    let mut files = Vec::new();
    collect(&shaders, &mut files)?;
    files.sort();
    let mut list = String::from("&[\n");
    let mut names = BTreeSet::new();
    for file in &files {
        let path = file.strip_prefix(&shaders).expect("it was found there").with_extension("");
        let path = path.to_str().expect("shaders have plain names").replace('\\', "/");
        assert!(names.insert(stem(file)), "shaders: two files are called {}", stem(file));
        // Writing to a String cannot fail.
        let _ = writeln!(list, "    Source {{ path: {path:?}, text: include_str!({file:?}) }},");
    }
    list.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("shaders.rs"), list)?;
    let mut structs = String::from("params! {\n");
    for file in &files {
        if let Some(members) = params(&fs::read_to_string(file)?) {
            let _ = writeln!(structs, "    {} {{ {members} }}", camel_case(stem(file)));
        }
    }
    structs.push_str("}\n");
    fs::write(out.join("params.rs"), structs)?;
    println!("cargo::rerun-if-changed=shaders");
    Ok(())
}

/// A file's name, without its folder and extension.
fn stem(file: &Path) -> &str {
    file.file_stem().and_then(|stem| stem.to_str()).expect("shaders have plain names")
}

/// Adds every `.wgsl` file in `folder` and below.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "wgsl") {
            files.push(path);
        }
    }
    Ok(())
}

/// The members of a shader's `struct Params`, as Rust writes them.
fn params(wgsl: &str) -> Option<String> {
    let (_, rest) = wgsl.split_once("struct Params {\n")?;
    let (members, _) = rest.split_once("\n}")?;
    let member = |line: &str| {
        let (name, kind) = line.trim().trim_end_matches(',').split_once(": ")?;
        let kind = match kind {
            "u32" | "f32" => kind.to_owned(),
            "vec4<f32>" => "[f32; 4]".to_owned(),
            _ => {
                let count =
                    kind.strip_prefix("array<vec4<u32>, ").and_then(|k| k.strip_suffix('>'));
                let count =
                    count.unwrap_or_else(|| panic!("{name}: {kind} is no type of a parameter"));
                format!("[[u32; 4]; {count}]")
            }
        };
        Some(format!("{name}: {kind}"))
    };
    let lines = members.lines().filter(|line| !line.trim_start().starts_with("//"));
    Some(lines.filter_map(member).collect::<Vec<_>>().join(", "))
}

/// `batch_norm` as `BatchNorm`, and `conv2d_params`, which several kernels share, as `Conv2d`.
fn camel_case(name: &str) -> String {
    let words = name.strip_suffix("_params").unwrap_or(name).split('_');
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    words.map(capital).collect()
}
