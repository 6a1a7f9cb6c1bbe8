//! Transcripts: what a `console` block shows is what happens.
//!
//! All blocks of a page are one session in one folder: a `yaml` block becomes `pipeline.yaml`, a line after `$ `
//! is given to bash, and what follows it must be what is printed. Times may differ, and so may the order of tasks that
//! run beside each other. `…` stands for any lines. `SNAPSHOTS=overwrite cargo test docs` writes pages anew.

use std::path::Path;
use std::process::Command;

use snapbox::IntoData;
use snapbox::assert::Assert;

use super::{page, top};
use crate::common::{Got, TestDir};

/// A line without times: `0.05 s`, `3 ms`, `25 Nov 14:00`, `2026-11-25`, what was saved; columns with one blank between
/// them.
fn timeless(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let bare = word.trim_end_matches([',', ')', ':']);
        let is_number = |word: Option<&String>| word.is_some_and(|word| word.parse::<f64>().is_ok());
        if ["s", "ms", "min"].contains(&bare) && is_number(words.last()) {
            words.pop();
            match words.last().map(String::as_str) {
                Some("(saved") => drop(words.pop()),
                _ => words.push("TIME".into()),
            }
        } else if bare.len() == 5 && bare.as_bytes()[2] == b':' && words.len() >= 2 && is_number(words.get(words.len() - 2)) {
            words.truncate(words.len() - 2);
            words.push("DATE".into());
        } else if let Some((before, after)) = word.split_once("/kept/")
            && after.len() > 10
        {
            words.push(format!("{before}/kept/DATE{}", &after[10..]));
        } else {
            words.push(word.to_owned());
        }
    }
    words.join(" ")
}

/// Whether what is printed is what is shown.
fn fits(printed: &str, shown: &str) -> bool {
    let list = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(timeless).filter(|line| !line.is_empty()).collect();
        let last = lines.pop().unwrap_or_default();
        lines.sort_unstable();
        (lines, last)
    };
    let (got, got_last) = list(printed);
    let (mut want, want_last) = list(shown);
    let all = want.len();
    want.retain(|line| line != "…");
    let some = want.len() < all;
    got_last == want_last && if some { want.iter().all(|line| got.contains(line)) } else { got == want }
}

/// The page as it would be if it showed what happens now.
fn played(text: &str, dir: &TestDir) -> String {
    let path = std::env::join_paths(
        std::iter::once(Path::new(env!("CARGO_BIN_EXE_flow")).parent().unwrap().to_path_buf())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let path = path.unwrap();
    let run = |line: &str| {
        let mut bash = Command::new("bash");
        let plain = dir.command(".", &[]);
        bash.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("PATH", &path);
        let got = Got::of(bash.args(["-c", &format!("exec 2>&1; {line}")]).current_dir(dir.path(".")).stdin(std::process::Stdio::null()));
        got.out
    };

    let mut out = String::new();
    let mut lines = text.lines().peekable();
    let mut language = "";
    let mut yaml = String::new();
    while let Some(line) = lines.next() {
        out.push_str(&format!("{line}\n"));
        if let Some(fence) = line.strip_prefix("```") {
            if language == "yaml" {
                dir.write("pipeline.yaml", &yaml);
            }
            language = if language.is_empty() { fence } else { "" };
            yaml.clear();
        } else if language == "yaml" {
            yaml.push_str(&format!("{line}\n"));
        } else if language == "console"
            && let Some(command) = line.strip_prefix("$ ")
        {
            let mut shown = String::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ") && !line.starts_with("```")) {
                shown.push_str(&format!("{line}\n"));
            }
            let printed = run(command);
            match fits(&printed, &shown) {
                true => out.push_str(&shown),
                // The empty line before the next command is the page's own.
                false => out.push_str(&format!("{printed}{}", if shown.ends_with("\n\n") || shown == "\n" { "\n" } else { "" })),
            }
        }
    }
    out
}

#[track_caller]
fn plays(path: &str, dir: &TestDir) {
    let text = page(path);
    assert!(text.contains("\n```console\n$ "), "{path} shows nothing");
    let played = played(&text, dir);
    if played != text {
        Assert::new().action_env("SNAPSHOTS").eq(played.into_data().raw(), snapbox::Data::read_from(&top().join(path), None).raw());
    }
}

#[test]
fn the_readme() {
    let dir = TestDir::new(&[]);
    crate::pipelines::copy(&top().join("pipelines"), &dir.path("pipelines"));
    plays("README.md", &dir);
}

#[test]
fn getting_started() {
    plays("docs/guide/getting-started.md", &TestDir::new(&[]));
}

#[test]
fn from_make() {
    plays("docs/guide/from-make.md", &TestDir::new(&[]));
}

#[test]
fn settings() {
    plays("docs/guide/settings.md", &TestDir::new(&[]));
}

#[test]
fn fan_out() {
    plays("docs/guide/fan-out.md", &TestDir::new(&[]));
}

#[test]
fn recovery() {
    plays("docs/guide/recovery.md", &TestDir::new(&[]));
}

#[test]
fn examples() {
    for example in ["first-steps", "from-make"] {
        plays(&format!("examples/{example}/README.md"), &crate::pipelines::copy_of(&format!("examples/{example}")));
    }
}

#[test]
fn times_do_not_count() {
    assert_eq!(timeless(" ran   clean@city=sf   0.04 s"), "ran clean@city=sf TIME");
    assert_eq!(timeless("weather  ·  last run 25 Nov 14:00, fine after 0.07 s"), "weather · last run DATE fine after TIME");
    assert_eq!(timeless(" p: 1 restored in 0.03 s (saved 0.14 s)"), "p: 1 restored in TIME");
    assert_eq!(timeless("as .flow/kept/2026-11-25-changed/a"), "as .flow/kept/DATE-changed/a");
    assert!(fits(" ran a 1 ms\n ran b 2 ms\n p: 2 ran in 3 ms\n", " ran b 9 s\n ran a 1 s\n p: 2 ran in 1 s\n\n"));
    assert!(fits("a\nb\nc\n", "…\nc\n") && !fits("a\nb\n", "…\nc\n") && !fits("a\nb\n", "b\n"));
}
