//! The house kept tidy: who imports whom, module docs, no forgotten files, the top level.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The words everyone shares.
const WORDS: [&str; 7] = ["name", "diag", "value", "hash", "attempt", "pattern", "near"];

/// Which rooms a room may import.
fn table() -> BTreeMap<&'static str, Vec<&'static str>> {
    let with_words = |more: &[&'static str]| WORDS.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    BTreeMap::from([
        ("name", vec![]),
        ("diag", vec![]),
        ("near", vec![]),
        ("os", vec![]),
        ("value", vec!["diag"]),
        ("pattern", vec!["diag"]),
        ("hash", vec!["name"]),
        ("attempt", vec!["name"]),
        ("event", with_words(&["plan"])),
        ("disk", vec!["os", "name", "hash", "pattern", "record"]),
        ("pipeline", with_words(&["os"])),
        ("graph", with_words(&["pipeline"])),
        ("record", with_words(&["os", "disk"])),
        ("plan", with_words(&["graph", "record", "pipeline"])),
        ("run", with_words(&["os", "disk", "pipeline", "graph", "plan", "record", "event"])),
        ("report", with_words(&["os", "plan", "record", "event"])),
    ])
}

/// What inner rooms may not import, or may import alone.
const INNER: [(&str, &[&str]); 3] =
    [("run/schedule", &["name", "attempt"]), ("run/exec", &["name", "attempt", "os", "run"]), ("run/queue", &["name", "os"])];

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut stack = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = stack.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stack.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn below_src(path: &Path) -> String {
    path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap().to_str().unwrap().to_string()
}

fn room(path: &str) -> String {
    path.split('/').next().unwrap().trim_end_matches(".rs").to_string()
}

/// The rooms a file names as `crate::room`, outside its tests.
fn imports(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                found.insert(name);
            }
        }
    }
    found
}

#[test]
fn rooms_import_only_what_the_table_says() {
    let table = table();
    let mut wrong = Vec::new();
    for path in sources() {
        let file = below_src(&path);
        if file.contains("tests") {
            continue;
        }
        let here = room(&file);
        let used = imports(&std::fs::read_to_string(&path).unwrap());
        if let Some(allowed) = table.get(here.as_str()) {
            wrong.extend(
                used.iter()
                    .filter(|other| **other != here && !allowed.contains(&other.as_str()))
                    .map(|other| format!("{file} imports {other}")),
            );
        }
        for (inner, allowed) in INNER {
            if file.starts_with(inner) {
                wrong.extend(used.iter().filter(|other| !allowed.contains(&other.as_str())).map(|other| format!("{file} imports {other}")));
            }
        }
        let pure = ["record/manifest.rs", "record/record.rs"].contains(&file.as_str())
            || file.starts_with("plan/")
            || file.starts_with("graph/")
            || (file.starts_with("pipeline/") && !["pipeline/config.rs", "pipeline/import.rs"].contains(&file.as_str()));
        if pure && used.contains("os") {
            wrong.push(format!("{file} touches the machine"));
        }
        if file.starts_with("record/") && !file.starts_with("record/cache") && used.contains("disk") {
            wrong.push(format!("{file} imports disk"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|path| !std::fs::read_to_string(path).unwrap().starts_with("//!"))
        .map(|path| below_src(&path))
        .collect();
    assert!(silent.is_empty(), "no opening doc: {}", silent.join(", "));
}

#[test]
fn nothing_is_left_open() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["todo!(", "unimplemented!(", "TODO", "FIXME", "XXX"] {
            assert!(!text.contains(word), "{} says {word}", below_src(&path));
        }
    }
}

#[test]
fn no_file_is_called_after_nothing() {
    for path in sources() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(!["util", "utils", "helper", "helpers", "misc", "common"].contains(&name), "{}", below_src(&path));
    }
}

#[test]
fn the_top_level_is_as_it_is_meant() {
    let allowed =
        ["Cargo.toml", "Cargo.lock", "src", "pipelines", "tests", "examples", "docs", "README.md", "CHANGELOG.md", "LICENSE", "target"];
    for entry in std::fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || allowed.contains(&name.as_str()), "{name} at the top level");
    }
}
