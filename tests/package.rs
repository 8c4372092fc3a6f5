//! Dependencies of the package: their licences, and the Rust version that they need.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Metadata of every package in Cargo.lock, for all platforms.
fn packages() -> Vec<Value> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--locked"]).current_dir(root());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().clone();
    assert!(packages.len() > 100);
    packages
}

/// Major and minor number of a version such as `1.88` or `1.88.0`.
fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap_or(0))
}

/// Whether these licences satisfy an SPDX expression.
fn allowed(expression: &str, licences: &[&str]) -> bool {
    let any = |part: &str| {
        let part = part.trim_matches(['(', ')']).replace('/', " OR ");
        part.split(" OR ").any(|name| licences.contains(&name.trim()))
    };
    expression.split(" AND ").all(any)
}

#[test]
fn dependencies_have_allowed_licences_and_build_with_the_minimum_rust_version() {
    let deny = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let deny: toml::Table = deny.parse().unwrap();
    let licences = deny["licenses"]["allow"].as_array().unwrap();
    let licences: Vec<&str> = licences.iter().map(|name| name.as_str().unwrap()).collect();
    let minimum = version(env!("CARGO_PKG_RUST_VERSION"));
    for package in packages() {
        let name = format!("{} {}", package["name"], package["version"]);
        let licence = package["license"].as_str().unwrap_or_else(|| panic!("{name}: no licence"));
        assert!(allowed(licence, &licences), "{name}: {licence}");
        if let Some(needed) = package["rust_version"].as_str() {
            assert!(version(needed) <= minimum, "{name} needs Rust {needed}");
        }
    }
}

/// A filter that matches no test passes silently, so names in scripts must not go stale.
#[test]
fn scripts_and_documents_name_tests_that_exist() {
    let listed = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut found = 0;
    for folder in ["scripts", "docs/src", "."] {
        for file in root().join(folder).read_dir().unwrap() {
            let file = file.unwrap().path();
            if !file.extension().is_some_and(|e| e == "sh" || e == "md") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let other = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
            let paths = text.split(other).map(|path| path.trim_end_matches(':'));
            let modules = ["gpu::", "train::", "compiler::", "cli::", "app::", "data::"];
            for path in paths.filter(|path| modules.iter().any(|module| path.starts_with(module))) {
                assert!(listed.contains(path), "{}: there is no test {path}", file.display());
                found += 1;
            }
        }
    }
    assert!(found > 10, "{found} names");
}

#[test]
fn spdx_expressions_are_evaluated() {
    let licences = ["MIT", "Zlib"];
    for expression in ["MIT", "MIT/Apache-2.0", "GPL-2.0 OR Zlib", "(MIT OR Apache-2.0) AND Zlib"] {
        assert!(allowed(expression, &licences), "{expression}");
    }
    for expression in ["GPL-2.0", "MIT AND GPL-2.0", "(MIT OR Apache-2.0) AND GPL-2.0"] {
        assert!(!allowed(expression, &licences), "{expression}");
    }
}
