//! Lists the shaders, so that a new file in `shaders/` is known without a word elsewhere.

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
    for file in &files {
        let name = file.strip_prefix(&shaders).expect("it was found there").with_extension("");
        let name = name.to_str().expect("shaders have plain names").replace('\\', "/");
        // Writing to a String cannot fail.
        let _ = writeln!(list, "    ({name:?}, include_str!({file:?})),");
    }
    list.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("shaders.rs"), list)?;
    println!("cargo::rerun-if-changed=shaders");
    Ok(())
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
