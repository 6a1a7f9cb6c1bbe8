//! The docs are true: what can be read or run of them is read or run.

mod reference;
mod transcript;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::common::TestDir;

/// The top of this repository.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page's text.
fn page(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page, by its path from the top.
fn pages() -> Vec<String> {
    let mut found = Vec::new();
    let mut stack = vec!["docs", "examples", "pipelines"].into_iter().map(|folder| top().join(folder)).collect::<Vec<PathBuf>>();
    while let Some(folder) = stack.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !["out", ".flow"].contains(&name) {
                stack.push(path);
            } else if name.ends_with(".md") {
                found.push(path.strip_prefix(top()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.extend(["README.md".to_owned(), "CHANGELOG.md".to_owned()]);
    found.sort();
    found
}

/// A block of a page.
struct Block {
    /// What stands behind its fence.
    language: String,
    /// The line of its fence, from 1.
    line: usize,
    text: String,
}

/// The fenced blocks of a page.
fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open = false;
    for (n, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(language) => {
                open = true;
                found.push(Block { language: language.to_owned(), line: n + 1, text: String::new() });
            }
            None if open => found.last_mut().unwrap().text.push_str(&format!("{line}\n")),
            None => {}
        }
    }
    assert!(!open, "a block is not closed");
    found
}

/// What stands in backquotes in a line, without blocks.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// A page's lines outside blocks.
fn prose(text: &str) -> Vec<&str> {
    let mut open = false;
    let lines = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        open ^= fence;
        !open && !fence
    });
    lines.collect()
}

/// The text under a heading, up to the next one that is as high.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let level = heading.split(' ').next().unwrap();
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")) + heading.len() + 2;
    let rest = &text[start..];
    let ends = (2..=level.len()).filter_map(|n| rest.find(&format!("\n{} ", "#".repeat(n))));
    &rest[..ends.min().unwrap_or(rest.len())]
}

/// The cells of the tables of a text, a list a row, without the rows of names.
fn rows(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let is_head = lines.get(n + 1).is_some_and(|next| next.starts_with("|---"));
        if let Some(row) = line.strip_prefix("| ")
            && !is_head
        {
            let row = row.replace("\\|", "\u{1}");
            let cells = row.trim_end_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "|"));
            found.push(cells.collect());
        }
    }
    found
}

#[test]
fn every_pipeline_in_a_page_is_one() {
    let mut count = 0;
    for path in pages() {
        for block in blocks(&page(&path)).into_iter().filter(|block| block.language == "yaml") {
            let place = format!("{path}:{}", block.line);
            let (_, faults) = flow::pipeline::read::read(&block.text, 0);
            assert!(faults.is_empty(), "{place}: {faults:?}");
            // What its names mean holds together, too.
            let got = TestDir::pipeline(&block.text).flow(&["check", "--json"]);
            let faults = got.json()["diagnostics"].as_array().unwrap().iter().map(|fault| fault["message"].to_string()).collect::<Vec<_>>();
            // Its files are not there.
            let faults: Vec<String> = faults.into_iter().filter(|fault| !fault.contains(" matches no")).collect();
            assert!(faults.is_empty(), "{place}: {faults:?}");
            count += 1;
        }
    }
    assert!(count > 20, "{count} blocks");
}

/// The name of a heading in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut linked = BTreeSet::new();
    for path in pages() {
        let text = page(&path);
        for line in prose(&text) {
            for rest in line.split("](").skip(1) {
                let target = rest.split(')').next().unwrap();
                if target.contains("://") {
                    continue;
                }
                let (file, place) = target.split_once('#').unwrap_or((target, ""));
                let there = if file.is_empty() { top().join(&path) } else { top().join(&path).parent().unwrap().join(file) };
                let there = there.canonicalize().unwrap_or_else(|_| panic!("{path}: no {target}"));
                linked.insert(there.clone());
                if !place.is_empty() {
                    let text = std::fs::read_to_string(&there).unwrap();
                    let known = prose(&text).into_iter().filter(|line| line.starts_with('#')).any(|line| anchor(line) == place);
                    assert!(known, "{path}: no heading {target}");
                }
            }
        }
    }
    for path in pages().into_iter().filter(|path| path.starts_with("docs/")) {
        assert!(linked.contains(&top().join(&path).canonicalize().unwrap()), "nothing links to {path}");
    }
}

#[test]
fn files_that_pages_name_are_there() {
    for path in pages() {
        for line in prose(&page(&path)) {
            for span in spans(line)
                .filter(|span| ["src/", "tests/", "docs/", "pipelines/", "examples/"].iter().any(|start| span.starts_with(start)))
            {
                let made = span.starts_with("pipelines/out/") || span.contains(['*', '…']);
                assert!(made || top().join(span).exists(), "{path}: no {span}");
            }
        }
    }
}

#[test]
fn the_readme_promises_two_commands() {
    let text = page("README.md");
    let commands: Vec<&str> = section(&text, "## Two commands").lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert_eq!(commands, ["cargo run --release -- run pipelines/weather.yaml", "cargo test"]);
    assert!(top().join("pipelines/weather.yaml").exists());
}

#[test]
fn every_room_stands_in_the_architecture() {
    let text = page("docs/architecture.md");
    let named: BTreeSet<&str> = text.lines().flat_map(spans).map(|span| span.trim_end_matches('/')).collect();
    for line in page("src/lib.rs").lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let room = line.trim_end_matches(';');
        assert!(named.contains(room), "{room}");
    }
    let design = page("docs/design/README.md");
    let listed: Vec<String> = rows(&design).iter().map(|row| row[1].clone()).collect();
    let titles: Vec<String> = pages()
        .iter()
        .filter(|path| path.starts_with("docs/design/0"))
        .map(|path| page(path).lines().next().unwrap()[7..].to_owned())
        .collect();
    assert_eq!(listed, titles);
}
