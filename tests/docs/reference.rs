//! The reference names all that the program knows, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use clap::CommandFactory;
use flow::cli::error;
use flow::cli::options::CommandLine;
use flow::pipeline::shell::{INTERPRETERS, WRAPPERS};
use flow::pipeline::words::{self, Place};

use super::{page, prose, rows, section, spans};
use crate::common::TestDir;

fn set<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}

/// The keys of a map as it is written in one line, without those of maps in it.
fn keys(span: &str) -> Vec<&str> {
    let Some(inner) = span.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else { return Vec::new() };
    let mut depth = 0;
    let mut found = Vec::new();
    let mut start = 0;
    for (at, c) in inner.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => start = at + 1,
            ':' if depth == 0 && start <= at => {
                found.push(inner[start..at].trim());
                start = inner.len();
            }
            _ => {}
        }
    }
    found
}

/// The spans in backquotes of the first column of a text's tables.
fn first_column(text: &str) -> Vec<String> {
    rows(text).iter().flat_map(|row| spans(&row[0]).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn the_language_has_these_keys() {
    let text = page("docs/reference/language.md");
    let file = section(&text, "## The file");
    assert_eq!(set(first_column(file).iter().map(String::as_str)), set(words::keys(Place::File).iter().copied()));
    let cache: Vec<&str> = file.lines().flat_map(spans).filter_map(|span| span.strip_prefix("cache.")).collect();
    assert_eq!(set(cache), set(words::keys(Place::Cache).iter().copied()));

    let stage = section(&text, "## A stage");
    let tables = ["### What it is", "### When it runs", "### How it runs"].map(|heading| first_column(section(stage, heading)).join(" "));
    assert_eq!(set(tables.join(" ").split(' ')), set(words::keys(Place::Stage).iter().copied()));

    for (heading, place) in [("### Inputs", Place::Input), ("### Outputs", Place::Output)] {
        let entries = first_column(section(stage, heading));
        assert_eq!(set(entries.iter().flat_map(|span| keys(span))), set(words::keys(place).iter().copied()), "{heading}");
    }
    let needs = section(stage, "### Needs");
    assert_eq!(set(needs.lines().flat_map(spans).flat_map(keys)), set(words::keys(Place::Need).iter().copied()));
}

#[test]
fn later_keys_are_named() {
    let text = page("docs/reference/language.md");
    let table: BTreeMap<String, BTreeSet<String>> =
        rows(section(&text, "## Not yet")).iter().map(|row| (row[0].clone(), set(spans(&row[1])))).collect();
    let later = |place: Place| words::all_later().filter(|(at, _)| *at == place).map(|(_, word)| word.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(table["at the top"], later(Place::File));
    assert_eq!(table["in a stage"], later(Place::Stage));
    assert_eq!(table["of an output"], later(Place::Output));
    assert_eq!(table["as an axis"], words::LATER_AXES.iter().map(|word| format!("{{{word}: …}}")).collect());
}

/// The tables of words of other tools, as the program knows them.
fn words_of_others() -> String {
    let mut text = String::new();
    for (place, heading) in [
        (Place::File, "At the top"),
        (Place::Stage, "In a stage"),
        (Place::Input, "In an entry of `inputs`"),
        (Place::Output, "In an entry of `outputs`"),
        (Place::Need, "In an entry of `needs`"),
        (Place::Cache, "Under `cache`"),
    ] {
        // In the order of the lists: those that mean one thing are one row.
        let mut table: Vec<(String, Vec<&str>)> = Vec::new();
        for foreign in words::all_foreign().filter(|foreign| foreign.place == place) {
            let say = foreign.means.map_or_else(|| foreign.say.to_owned(), |key| format!("`{key}`"));
            match table.iter_mut().find(|(known, _)| *known == say) {
                Some((_, words)) => words.push(foreign.word),
                None => table.push((say, vec![foreign.word])),
            }
        }
        text.push_str(&format!("\n## {heading}\n\n| instead of | write |\n|---|---|\n"));
        for (say, words) in table {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            text.push_str(&format!("| {} | {} |\n", words.join(" "), say.replace('|', "\\|")));
        }
    }
    text
}

#[test]
fn words_of_other_tools_are_named() {
    let text = page("docs/reference/words.md");
    let start = text.find("\n## ").unwrap();
    let known = words_of_others();
    assert!(text[start..] == known, "docs/reference/words.md should go on so:\n{known}");
}

#[test]
fn hints_name_commands_that_are_there() {
    let line = CommandLine::command();
    for foreign in words::all_foreign() {
        for command in spans(foreign.say).filter_map(|span| span.strip_prefix("flow ")) {
            let name = command.split(' ').next().unwrap();
            assert!(line.find_subcommand(name).is_some(), "`{}`: {}", foreign.word, foreign.say);
        }
    }
}

#[test]
fn filters_are_named() {
    let text = page("docs/reference/language.md");
    let text = section(&text, "## Templates");
    let start = text.find("Filters: `").unwrap() + "Filters: `".len();
    let named: BTreeSet<String> = set(text[start..].split('`').next().unwrap().split_whitespace());
    for filter in &named {
        let dir = TestDir::pipeline(&format!("config: {{x: [1]}}\nstages:\n  a:\n    cmd: echo ${{{{ config.x | {filter} }}}}\n"));
        let got = dir.flow(&["check", "--json"]).out;
        assert!(!got.contains("no filter") && !got.contains("unknown filter"), "{filter}: {got}");
    }
    let nothing = TestDir::pipeline("stages:\n  a:\n    cmd: echo ${{ 'x' | shout }}\n").flow(&["check"]).code(2);
    assert!(nothing.out.contains("filter") || nothing.err.contains("filter"), "{}{}", nothing.out, nothing.err);
}

/// The options that a text speaks of.
fn options(text: &str) -> BTreeSet<String> {
    let named = prose(text).into_iter().flat_map(|line| line.split('`').skip(1).step_by(2).collect::<Vec<_>>());
    let words = named.flat_map(|span| span.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    words.filter(|word| word.starts_with('-') && word.len() > 1).collect()
}

#[test]
fn commands_and_options_are_these() {
    let text = page("docs/reference/commands.md");
    let start = text.split("\n## ").next().unwrap();
    let common = options(start);
    let mut line = CommandLine::command();
    line.build();
    let mut named: BTreeSet<String> = text.lines().filter_map(|line| line.strip_prefix("## flow ")).map(str::to_owned).collect();
    for command in line.get_subcommands() {
        let name = command.get_name();
        assert!(named.remove(name), "no section on {name}");
        let mut known: BTreeSet<String> = BTreeSet::new();
        for argument in command.get_arguments() {
            known.extend(argument.get_long().map(|long| format!("--{long}")));
            known.extend(argument.get_short().map(|short| format!("-{short}")));
        }
        for option in ["--file", "--set", "--json", "--help", "-h"] {
            assert!(known.contains(option) && common.contains(option), "{name} {option}");
        }
        let told = options(section(&text, &format!("## flow {name}")));
        let own: BTreeSet<String> = known.iter().filter(|option| !common.contains(*option) || told.contains(*option)).cloned().collect();
        assert_eq!(told, own, "{name}");
        assert!(known.contains("-f"), "{name}");
    }
    assert!(named.is_empty(), "no such commands: {named:?}");
    assert!(common.contains("--version") && common.contains("-V"));
    for later in section(&text, "## Not yet").split(';').next().unwrap().lines().flat_map(spans) {
        assert!(line.find_subcommand(later).is_none(), "{later} is there by now");
    }
}

#[test]
fn exit_codes_are_these() {
    let text = page("docs/reference/commands.md");
    let named: BTreeSet<u8> = rows(section(&text, "## Exit codes"))
        .iter()
        .flat_map(|row| row[0].split(", ").map(|code| code.parse().unwrap()).collect::<Vec<u8>>())
        .collect();
    let known = [error::FINE, error::FAILED, error::WRONG, error::STALE, error::BUSY, error::BROKEN, 128 + 1, 128 + 2, 128 + 15];
    assert_eq!(named, known.into_iter().collect());
}

#[test]
fn interpreters_are_these() {
    let text = page("docs/reference/interpreters.md");
    let table = rows(&text);
    let named: Vec<String> = table.iter().flat_map(|row| spans(&row[0]).map(str::to_owned).collect::<Vec<_>>()).collect();
    assert_eq!(named, INTERPRETERS.iter().map(|known| known.name).collect::<Vec<_>>());
    for row in &table {
        for name in spans(&row[0]) {
            let known = INTERPRETERS.iter().find(|known| known.name == name).unwrap();
            assert_eq!(set(spans(&row[1])), set(known.script.iter().copied()), "{name}");
            assert_eq!(row[1].contains("the first word"), known.first, "{name}");
            assert_eq!(set(spans(&row[2])), set(known.ends.iter().copied()), "{name}");
        }
    }
    let rest = text.split("These start the command after them").nth(1).unwrap().split("\n\n").next().unwrap();
    assert_eq!(rest.lines().flat_map(spans).collect::<Vec<_>>(), WRAPPERS.iter().map(|known| known.0).collect::<Vec<_>>());
}

/// The fields of objects in a value, all the way down; the names of axes are the user's.
fn fields(value: &serde_json::Value, into: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                into.insert(name.clone());
                if name != "axes" {
                    fields(value, into);
                }
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| fields(value, into)),
        _ => {}
    }
}

#[test]
fn fields_of_json_are_named() {
    let text = page("docs/reference/json.md");
    let mut named: BTreeSet<String> = prose(&text).into_iter().flat_map(spans).map(str::to_owned).collect();
    // What stands in the examples of how an object begins.
    named.extend(text.lines().filter(|line| line.starts_with("    {")).flat_map(|line| line.split('"').map(str::to_owned)));
    let dir = crate::pipelines::copy_of("pipelines");
    let mut seen = BTreeSet::new();
    let mut ask = |args: &[&str]| {
        let got = dir.flow(&[args, &["--json"]].concat());
        for line in got.out.lines() {
            fields(&serde_json::from_str(line).unwrap(), &mut seen);
        }
    };
    ask(&["run", "weather.yaml"]);
    dir.edit("weather/sf-temps.csv", "47.8,2010/01/01 00:00:00", "mild,2010/01/01 00:00:00");
    dir.write("out/weather/clean/seattle.csv", "mine\n");
    for listing in [
        &["plan", "weather.yaml"][..],
        &["why", "weather.yaml", "report"],
        &["run", "weather.yaml"],
        &["status", "weather.yaml"],
        &["graph", "weather.yaml"],
        &["log", "weather.yaml", "clean@city=sf"],
        &["resume", "weather.yaml"],
    ] {
        ask(listing);
    }
    dir.edit("weather.yaml", "year: 2010", "yaer: 2010");
    ask(&["check", "weather.yaml"]);
    let missing: Vec<&String> = seen.iter().filter(|field| !named.contains(*field)).collect();
    assert!(missing.is_empty() && seen.len() > 80, "{missing:?} of {}", seen.len());
}

#[test]
fn files_of_a_run_are_named() {
    let text = page("docs/reference/files.md");
    let [shared, own] = ["Shared by all pipeline files of the workspace", "For each pipeline file"].map(|start| {
        let at = text.find(start).unwrap();
        let table = text[at..].split("\n\n").find(|part| part.starts_with("| path")).unwrap();
        first_column(&format!("{table}\n"))
    });
    let dir = crate::pipelines::copy_of("pipelines");
    dir.flow(&["run", "weather.yaml"]).code(0);
    // What failures and edits leave.
    dir.edit("weather/sf-temps.csv", "47.8,2010/01/01 00:00:00", "mild,2010/01/01 00:00:00");
    dir.write("out/weather/clean/sf.csv", "mine\n");
    dir.flow(&["run", "weather.yaml"]).code(1);

    let list = |folder: &str| -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(dir.path(folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let firsts = |paths: &[String]| set(paths.iter().map(|path| path.split('/').next().unwrap()));
    let there: BTreeSet<String> = list(".flow").into_iter().filter(|name| name != "weather.yaml").collect();
    assert_eq!(there, firsts(&shared));
    let own_there: BTreeSet<String> = list(".flow/weather.yaml").into_iter().collect();
    // `aside` is there while something runs, `checkpoint` is kept free.
    assert_eq!(own_there, &firsts(&own) - &set(["aside", "checkpoint"]));

    // The level below, with what stands for names as in the page.
    assert_eq!(list(".flow/cache/v1"), ["blobs", "records"]);
    assert_eq!(shared.iter().filter(|path| path.starts_with("cache/v1/blobs/") || path.starts_with("cache/v1/records/")).count(), 3);
    assert!(list(".flow/cache/v1/blobs").iter().all(|name| name.len() == 1));
    assert_eq!(list(".flow/weather.yaml/runs"), ["1", "2"]);
    assert!(own.contains(&"runs/RUN/events.jsonl".to_owned()) && dir.has(".flow/weather.yaml/runs/2/events.jsonl"));
    assert!(own.contains(&"failed/TASK/RUN.ATTEMPT/…".to_owned()) && dir.has(".flow/weather.yaml/failed/clean@city=sf/2.1"));
    assert!(own.contains(&"logs/TASK/RUN.ATTEMPT.log".to_owned()) && dir.has(".flow/weather.yaml/logs/clean@city=sf/2.1.log"));
    for name in list(".flow/weather.yaml/logs") {
        assert!(name.contains('@') || name == "announce" || name.starts_with("slot-"), "{name}");
    }
    assert_eq!(dir.read(".flow/.gitignore").trim(), "*");
}
