//! Tests of the guide in `docs/`: its links, commands and quotes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::support::{Ran, Sandbox, files};

/// Options that shorten the guide's training commands.
const FEWER: &str = "--train-limit 64 --test-limit 64";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src")
}

/// Name and text of each page, in the order of the summary.
fn pages() -> Vec<(String, String)> {
    let summary = fs::read_to_string(folder().join("SUMMARY.md")).unwrap();
    let names = links(&summary);
    assert!(names.len() > 5, "{names:?}");
    names.into_iter().map(|name| (name.clone(), read(&name))).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Targets of all links and images in a Markdown text, outside code blocks.
fn links(text: &str) -> Vec<String> {
    let mut code = false;
    let lines = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        code ^= fence;
        !code && !fence
    });
    let links = lines.flat_map(|line| line.split("](").skip(1));
    links.filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
}

/// The code blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let mut parts = text.split("```").skip(1).step_by(2);
    let of = |part: &&'a str| part.lines().next() == Some(language);
    let blocks: Vec<_> = parts.by_ref().filter(of).collect();
    blocks.into_iter().map(|part| part.split_once('\n').unwrap().1).collect()
}

/// The anchors of a page's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let plain = |c: char| match c {
        ' ' => Some('-'),
        _ => (c.is_alphanumeric() || c == '-').then(|| c.to_ascii_lowercase()),
    };
    headings.map(|h| h.trim_start_matches('#').trim().chars().filter_map(plain).collect()).collect()
}

#[test]
fn every_link_has_a_target_and_every_file_a_link() {
    let pages: BTreeMap<_, _> = pages().into_iter().collect();
    let mut linked: BTreeSet<String> = pages.keys().cloned().collect();
    linked.insert("SUMMARY.md".into());
    for (page, text) in &pages {
        assert!(text.starts_with("# "), "{page} has no title");
        for link in links(text).into_iter().filter(|link| !link.starts_with("https://")) {
            let (name, anchor) = link.split_once('#').unwrap_or((&link, ""));
            assert!(folder().join(name).is_file(), "{page} links to {link}");
            let exists = anchor.is_empty() || anchors(&pages[name]).contains(anchor);
            assert!(exists, "{page} links to {link}: no such heading");
            // The book also links to files elsewhere in the repository.
            if !name.starts_with("../") {
                linked.insert(name.to_owned());
            }
        }
    }
    // Every file in the folder is linked.
    assert_eq!(linked, files(&folder()).into_keys().collect());
}

/// Writes ten pictures of each of five classes, as `photos/CLASS/N.png`.
fn put_photos(sandbox: &Sandbox) {
    sandbox.ok("data export --dataset shapes32 --count 150 --out all");
    let mut classes: BTreeMap<String, usize> = BTreeMap::new();
    for (name, content) in sandbox.files("all") {
        let class = name.trim_end_matches(".png").split_once('-').unwrap().1;
        if classes.len() < 5 || classes.contains_key(class) {
            let number = classes.entry(class.to_owned()).or_default();
            *number += 1;
            if *number <= 10 {
                sandbox.put(&format!("photos/{class}/{number}.png"), content);
            }
        }
    }
    assert!(classes.len() == 5 && classes.values().all(|count| *count >= 10), "{classes:?}");
    sandbox.ok("data export --dataset shapes32 --count 1 --out photos/disc");
}

#[test]
fn every_command_of_the_guide_works() {
    let sandbox = Sandbox::new();
    put_photos(&sandbox);
    let mut count = 0;
    for (page, text) in pages() {
        for recipe in blocks(&text, "toml") {
            sandbox.put("ways.toml", recipe);
        }
        for block in blocks(&text, "sh") {
            if block.starts_with("# needs ") {
                continue;
            }
            for line in block.lines() {
                let command = line.split(" # ").next().unwrap().trim();
                let arguments = command.strip_prefix("sff ").unwrap_or_else(|| {
                    panic!("{page}: `{line}` is no sff command; mark the block with `# needs …`")
                });
                let trains = arguments.starts_with("train ") && !arguments.contains("--resume");
                let options = if trains { FEWER } else { "" };
                let ran = Ran::of(&mut sandbox.command(&format!("{arguments} {options}")));
                assert_eq!(ran.code, Some(0), "{page}: {command}\n{}", ran.err);
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count} commands");
}

#[test]
fn commands_marked_needs_have_existing_options_and_scripts() {
    let sandbox = Sandbox::new();
    for (page, text) in pages() {
        for block in blocks(&text, "sh").iter().filter(|block| block.starts_with("# needs ")) {
            for line in block.lines().skip(1) {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words[..] {
                    ["sff", ref rest @ ..] => check_options(&sandbox, &page, rest),
                    [script, ..] if script.starts_with("scripts/") => {
                        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
                        assert!(path.is_file(), "{page}: {line}");
                    }
                    ["cargo" | "sudo", ..] => {}
                    _ => panic!("{page}: what is `{line}`?"),
                }
            }
        }
    }
}

/// Asserts that the help of a command lists its options.
fn check_options(sandbox: &Sandbox, page: &str, words: &[&str]) {
    let depth = if matches!(words[0], "bench" | "data") { 2 } else { 1 };
    let help = sandbox.ok(&format!("{} --help", words[..depth].join(" ")));
    for word in words.iter().filter(|word| word.starts_with("--")) {
        assert!(help.contains(word), "{page}: sff {} has no {word}", words[..depth].join(" "));
    }
}

/// A code block begins with a comment that names a file, and quotes that file.
#[test]
fn quoted_code_is_in_the_named_file() {
    let mut quoted = 0;
    for (page, text) in pages() {
        let code = ["rust", "wgsl"].map(|language| blocks(&text, language)).concat();
        for block in code {
            let (name, lines) = block.split_once('\n').unwrap();
            let name = name.strip_prefix("// ").unwrap_or_else(|| panic!("{page}: quotes no file"));
            let file =
                fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
            // The paragraphs occur in order; a quote may omit text between them.
            let mut rest = file.as_str();
            for paragraph in lines.split("\n\n") {
                let at = rest.find(paragraph.trim_end());
                let at = at.unwrap_or_else(|| panic!("{page}: {name} does not say\n{paragraph}"));
                rest = &rest[at + paragraph.len() - 1..];
                quoted += 1;
            }
        }
    }
    assert!(quoted > 5, "{quoted} quotes");
}
