//! What the package promises of its dependencies: licences, and the oldest Rust.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every package that is linked in on any platform, as Cargo.lock has it.
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

/// `1.88` and `1.88.0` as numbers.
fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap_or(0))
}

/// Whether an SPDX expression can be met with these licences.
fn allowed(expression: &str, licences: &[&str]) -> bool {
    let any = |part: &str| {
        let part = part.trim_matches(['(', ')']).replace('/', " OR ");
        part.split(" OR ").any(|name| licences.contains(&name.trim()))
    };
    expression.split(" AND ").all(any)
}

#[test]
fn dependencies_have_licences_that_are_allowed_and_build_with_the_oldest_rust() {
    let deny = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let deny: toml::Table = deny.parse().unwrap();
    let licences = deny["licenses"]["allow"].as_array().unwrap();
    let licences: Vec<&str> = licences.iter().map(|name| name.as_str().unwrap()).collect();
    let oldest = version(env!("CARGO_PKG_RUST_VERSION"));
    for package in packages() {
        let name = format!("{} {}", package["name"], package["version"]);
        let licence = package["license"].as_str().unwrap_or_else(|| panic!("{name}: no licence"));
        assert!(allowed(licence, &licences), "{name}: {licence}");
        if let Some(needed) = package["rust_version"].as_str() {
            assert!(version(needed) <= oldest, "{name} needs Rust {needed}");
        }
    }
}

#[test]
fn licences_are_read_as_spdx_has_them() {
    let licences = ["MIT", "Zlib"];
    for expression in ["MIT", "MIT/Apache-2.0", "GPL-2.0 OR Zlib", "(MIT OR Apache-2.0) AND Zlib"] {
        assert!(allowed(expression, &licences), "{expression}");
    }
    for expression in ["GPL-2.0", "MIT AND GPL-2.0", "(MIT OR Apache-2.0) AND GPL-2.0"] {
        assert!(!allowed(expression, &licences), "{expression}");
    }
}
