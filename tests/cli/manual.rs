//! Tests of help, completions, manual pages, `sff devices`, `--quiet` and `--json`.

use serde_json::Value;

use crate::cli::support::{SMALL, Sandbox};

#[test]
fn help_shows_an_example_before_the_options() {
    let sandbox = Sandbox::new();
    for command in ["", "train", "data", "data fetch", "man"] {
        let help = sandbox.ok(&format!("{command} --help"));
        let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("no {text}:\n{help}"));
        assert!(at("Example") < at("Usage:") && at("Usage:") < at("Options:"), "{help}");
    }
    assert!(sandbox.ok("--help").contains("Exit codes"));
}

#[test]
fn completion_scripts_contain_commands_and_options() {
    let sandbox = Sandbox::new();
    for (shell, part) in [
        ("bash", "complete -F _sff"),
        ("zsh", "#compdef sff"),
        ("fish", "complete -c sff"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let script = sandbox.ok(&format!("completions {shell}"));
        assert!(script.contains(part), "{shell}:\n{script}");
        assert!(script.contains("freeze-until") && script.contains("predict"), "{shell}");
    }
    sandbox.refuses("completions tcsh", &["'tcsh'", "bash"]);
}

#[test]
fn every_command_has_a_manual_page() {
    let sandbox = Sandbox::new();
    let text = sandbox.ok("man pages/man1");
    let pages = sandbox.files("pages/man1");
    assert_eq!(text, format!("{} pages are in pages/man1\n", pages.len()));
    assert!(pages.contains_key("sff-data-list.1"), "{:?}", pages.keys());
    for (name, page) in pages {
        let page = String::from_utf8(page).unwrap();
        let command = name.trim_end_matches(".1").replace("sff-data-", "sff data ");
        let command = command.replace("sff-bench-", "sff bench ");
        let command = command.replacen("sff-", "sff ", 1);
        assert!(page.contains(".TH ") && page.contains("Example"), "{name}:\n{page}");
        assert!(page.replace("\\-", "-").contains(&command), "{name}: {command}\n{page}");
    }
    sandbox.put("file", "");
    sandbox.refuses("man file/man1", &["cannot create file/man1"]);
}

#[test]
fn quiet_with_json_prints_only_json() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&format!("{SMALL} --out run --quiet --json"));
    assert_eq!(ran.err, "");
    let report: Value = serde_json::from_str(&ran.ok()).unwrap();
    assert_eq!(report["folder"], "run");
    let evaluated = sandbox.json("eval --run run --json");
    for key in ["accuracy", "blocks", "loss", "images"] {
        assert_eq!(report[key], evaluated[key], "{key}");
    }

    sandbox.put(
        "e.toml",
        "title = 't'\nseeds = [5]\noptions = { dataset = 'shapes', widths = [4, 4] }\n[[ways]]\nname = 'A way'\n",
    );
    let line = "compare --recipe e.toml --quick --out c";
    let rows = sandbox.json(&format!("{line} --json"));
    let row = &rows[0];
    assert_eq!(
        (&row["way"], &row["column"], &row["seed"]),
        (&"A way".into(), &"accuracy".into(), &5.into())
    );
    assert!(row["accuracy"]["late"].is_f64() && rows.as_array().unwrap().len() == 1, "{rows}");
    assert!(sandbox.path(row["folder"].as_str().unwrap()).join("config.toml").is_file());
    let listed = sandbox.json("compare --recipe e.toml --list --json");
    assert_eq!(listed[0], "accuracy/a-way-seed-5");
    let quiet = sandbox.ok(&format!("{line} --quiet"));
    assert!(quiet.starts_with("| |") && !quiet.contains("1/1"), "{quiet}");
}

#[test]
fn help_and_version_succeed() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ok("--version"), concat!("sff ", env!("CARGO_PKG_VERSION"), "\n"));
    for line in ["--help", "help train", "train -h", "data export --help"] {
        let ran = sandbox.run(line);
        assert_eq!(ran.err, "");
        assert!(ran.ok().contains("Usage: sff"), "{line}");
    }
}

#[test]
fn the_list_of_devices_marks_the_one_in_use() {
    let sandbox = Sandbox::new();
    let listed = sandbox.json("devices --json");
    let used: Vec<_> = listed.as_array().unwrap().iter().filter(|d| d["used"] == true).collect();
    assert_eq!(used.len(), 1);
    let name = used[0]["name"].as_str().unwrap();
    let text = sandbox.ok("devices");
    assert!(text.contains(name) && text.contains("this one would be used"), "{text}");
    let last = listed.as_array().unwrap().len() - 1;
    let listed = sandbox.json(&format!("devices --json --device {last}"));
    assert_eq!(listed[last]["used"], true);
}
