//! What moves a key and what does not, from the text of a pipeline to its key.

use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::diag::{Diagnostic, Sources};
use crate::graph::Look;
use crate::graph::compile::{Given, compile};
use crate::hash::Digest;
use crate::pattern::Pattern;
use crate::pipeline::config;
use crate::record::manifest::Key;

/// A disk, a PATH and an environment.
#[derive(Clone)]
struct Here {
    files: BTreeMap<&'static str, &'static str>,
    programs: BTreeMap<&'static str, &'static str>,
    variables: BTreeMap<&'static str, &'static str>,
    answer: Option<&'static str>,
    /// A task that would run, and so decides what its outputs and folders hold.
    open: bool,
}

impl Here {
    fn new() -> Here {
        Here {
            files: BTreeMap::from([("a.csv", "1"), ("b.csv", "2"), ("fit.py", "py"), ("x/1.t", "3"), ("d/1.csv", "4"), ("d/2.csv", "5")]),
            programs: BTreeMap::from([("samtools", "1.9")]),
            variables: BTreeMap::from([("HOME", "/h"), ("LEVEL", "3")]),
            answer: Some("13.2"),
            open: false,
        }
    }
}

impl Look for Here {
    fn kind(&self, path: &RelPath) -> Option<Kind> {
        if self.files.contains_key(path.as_str()) {
            return Some(Kind::File);
        }
        self.files.keys().any(|file| file.starts_with(&format!("{path}/"))).then_some(Kind::Folder)
    }
    fn glob(&self, pattern: &Pattern) -> Result<Vec<RelPath>, String> {
        Ok(self.files.keys().filter(|file| pattern.matches(file)).map(|file| RelPath::normal(file).unwrap()).collect())
    }
    fn program(&self, name: &str) -> Option<String> {
        self.programs.contains_key(name).then(|| format!("/usr/bin/{name}"))
    }
    fn left_by_gone(&self, _: &dyn Fn(&str) -> bool) -> HashSet<RelPath> {
        HashSet::new()
    }
}

fn content(text: Option<&&str>) -> Content {
    text.map_or(Content::Absent, |text| Content::Is(Digest::of(text.as_bytes())))
}

impl Now for Here {
    fn input(&mut self, path: &RelPath, from: Option<TaskId>) -> Result<Content, String> {
        if self.open && from.is_some() {
            return Ok(Content::Pending("above".into()));
        }
        Ok(content(self.files.get(path.as_str())))
    }
    fn script(&mut self, path: &RelPath, from: Option<TaskId>) -> Result<Content, String> {
        self.input(path, from)
    }
    fn program(&mut self, name: &str) -> Result<Content, String> {
        Ok(content(self.programs.get(name)))
    }
    fn answer(&mut self, _: &str, _: &[String]) -> Result<Content, String> {
        Ok(self.answer.map_or(Content::Unknown, |answer| Content::Is(Digest::of(answer.as_bytes()))))
    }
    fn glob(&mut self, pattern: &str, _: &[String], _: &[TaskId]) -> Result<Result<Vec<RelPath>, TaskName>, String> {
        if self.open {
            return Ok(Err("above".into()));
        }
        Look::glob(self, &Pattern::parse(pattern).unwrap()).map(Ok)
    }
    fn variable(&mut self, name: &str) -> Option<String> {
        self.variables.get(name).map(|value| value.to_string())
    }
    fn nonce(&mut self, _: TaskId) -> Option<u64> {
        (!self.open).then_some(7)
    }
}

fn gathered(text: &str, task: &str, here: &Here) -> Gathered {
    let mut sources = Sources::default();
    let file = sources.add("p.yaml", text);
    let (pipeline, mut faults) = crate::pipeline::read::read(text, file);
    let environment: Vec<(String, String)> = here.variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let given = Given {
        sources: &sources,
        file,
        config: config::settle(pipeline.config.as_ref(), &[]).unwrap(),
        stem: "p",
        root: "/w",
        here: RelPath::workspace(),
        own: RelPath::normal("p.yaml").unwrap(),
        environment: &environment,
    };
    let (graph, more) = compile(&pipeline, &given, here);
    faults.extend(more);
    let wrong: Vec<&Diagnostic> = faults.iter().filter(|fault| fault.is_error()).collect();
    assert!(wrong.is_empty(), "{text}\n{wrong:?}");
    let id = graph.find(task).unwrap_or_else(|| panic!("no {task}"));
    gather(&graph, id, &mut here.clone()).unwrap()
}

fn key(text: &str, task: &str, here: &Here) -> Option<Key> {
    gathered(text, task, here).manifest.key()
}

/// A pipeline with something of everything.
const WHOLE: &str = r#"
config: {n: 1, other: 2, model: {lr: 0.1, kind: tree}}
stages:
  above:
    inputs: [a.csv]
    outputs: [up.csv, d/]
    cmd: make
  effect:
    cmd: load
  t:
    description: fits
    tags: [slow]
    needs: [above]
    inputs: {table: a.csv, b: b.csv, x: "x/*.t", up: up.csv}
    outputs: {model: m.bin, plots: plots/}
    env: {LEVEL: "${{ env.LEVEL }}", MODE: fast}
    params: [model]
    tools: [samtools, {cc: "cc --version"}]
    timeout: 1h
    retries: 2
    cmd: python3 fit.py -n ${{ config.n }} -a -b
"#;

#[test]
fn what_is_in_the_key_moves_it() {
    let text = WHOLE;
    let before = key(text, "t", &Here::new());
    assert!(before.is_some());
    let changes: Vec<(&str, &str)> = vec![
        ("-a -b", "-b -a"),
        ("-a -b", "-a  -b"),
        ("{table: a.csv", "{tabl: a.csv"),
        ("b: b.csv, x: \"x/*.t\"", "x: \"x/*.t\", b: b.csv"),
        ("b: b.csv, x: \"x/*.t\"", "b: b.csv"),
        ("b: b.csv", "b: a.csv"),
        ("{model: m.bin, plots: plots/}", "{mode: m.bin, plots: plots/}"),
        ("{model: m.bin, plots: plots/}", "{model: m2.bin, plots: plots/}"),
        ("{model: m.bin, plots: plots/}", "{model: m.bin}"),
        ("{model: m.bin, plots: plots/}", "{model: m.bin, plots: plots}"),
        ("MODE: fast", "MODE: slow"),
        ("MODE: fast", "MODE: \"\""),
        (", MODE: fast", ""),
        ("n: 1,", "n: 2,"),
        ("lr: 0.1", "lr: 0.10"),
        ("kind: tree", "kind: forest"),
        ("params: [model]", "params: [model, other]"),
        ("tools: [samtools, {cc: \"cc --version\"}]", "tools: [samtools]"),
        ("    cmd: python3 fit.py", "    dir: x\n    cmd: python3 ../fit.py"),
        ("    cmd: python3 fit.py", "    shell: [sh, -c]\n    cmd: python3 fit.py"),
    ];
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        assert_ne!(key(&text.replace(from, to), "t", &Here::new()), before, "{from} -> {to}");
    }
    let change = |with: &dyn Fn(&mut Here)| {
        let mut here = Here::new();
        with(&mut here);
        key(text, "t", &here)
    };
    let all: Vec<(&str, Option<Key>)> = vec![
        (
            "an input",
            change(&|here| {
                here.files.insert("a.csv", "9");
            }),
        ),
        (
            "a match",
            change(&|here| {
                here.files.insert("x/1.t", "9");
            }),
        ),
        (
            "one match more",
            change(&|here| {
                here.files.insert("x/2.t", "9");
            }),
        ),
        (
            "a script",
            change(&|here| {
                here.files.insert("fit.py", "9");
            }),
        ),
        (
            "what a task makes",
            change(&|here| {
                here.files.insert("up.csv", "9");
            }),
        ),
        (
            "a program",
            change(&|here| {
                here.programs.insert("samtools", "2.0");
            }),
        ),
        ("an answer", change(&|here| here.answer = Some("14"))),
        (
            "a variable",
            change(&|here| {
                here.variables.insert("LEVEL", "4");
            }),
        ),
        (
            "an empty variable",
            change(&|here| {
                here.variables.insert("LEVEL", "");
            }),
        ),
        (
            "a time zone",
            change(&|here| {
                here.variables.insert("TZ", "UTC");
            }),
        ),
        (
            "an empty time zone",
            change(&|here| {
                here.variables.insert("TZ", "");
            }),
        ),
    ];
    let mut different: HashSet<Key> = HashSet::from([before.unwrap()]);
    for (what, key) in all {
        assert!(different.insert(key.unwrap()), "{what}");
    }
    assert_eq!(change(&|here| here.answer = None), None, "an answer that may not be asked");
    assert_eq!(change(&|here| here.open = true), None, "a task above that would run");
}

#[test]
fn what_is_not_in_the_key_leaves_it() {
    let text = WHOLE;
    let before = key(text, "t", &Here::new());
    let changes: Vec<(&str, &str)> = vec![
        ("description: fits", "description: fits better"),
        ("tags: [slow]", "tags: [fast, slow]"),
        ("timeout: 1h", "timeout: 2h"),
        ("retries: 2", "retries: 0"),
        ("    needs: [above]\n", ""),
        ("    timeout: 1h\n", "    timeout: 1h\n    resources: {cpus: 1}\n"),
        ("other: 2", "other: 3"),
        ("cmd: load", "cmd: load more"),
        ("{LEVEL: \"${{ env.LEVEL }}\", MODE: fast}", "{MODE: fast, LEVEL: \"${{ env.LEVEL }}\"}"),
        ("{lr: 0.1, kind: tree}", "{kind: tree, lr: 0.1}"),
        ("n: 1, other: 2", "other: 2, n: 1"),
        ("    cmd: python3 fit.py", "    cache: false\n    cmd: python3 fit.py"),
        ("    cmd: python3 fit.py", "    runs: manual\n    cmd: python3 fit.py"),
        ("tools: [samtools, {cc: \"cc --version\"}]", "tools: [samtools, {cc: \"cc  --version\"}]"),
    ];
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        assert_eq!(key(&text.replace(from, to), "t", &Here::new()), before, "{from} -> {to}");
    }
    assert_eq!(key(&text.replace("  t:\n", "  renamed:\n"), "renamed", &Here::new()), before, "the stage's name");
    let (head, tail) = text.split_at(text.find("  effect:").unwrap());
    let (effect, t) = tail.split_at(tail.find("  t:").unwrap());
    assert_eq!(key(&format!("{head}{t}{effect}"), "t", &Here::new()), before, "the order of stages");
    let mut here = Here::new();
    here.variables.insert("HOME", "/elsewhere");
    here.files.insert("unrelated", "x");
    assert_eq!(key(text, "t", &here), before);
}

#[test]
fn argument_lists_are_framed() {
    let of = |argv: &str| key(&format!("stages: {{t: {{outputs: [o], argv: {argv}}}}}"), "t", &Here::new()).unwrap();
    let all: HashSet<Key> = ["[a, b]", "[a b]", "[b, a]", "[a, b, '']", "['[a', 'b]']"].map(of).into();
    assert_eq!(all.len(), 5);
    let shell = key("stages: {t: {outputs: [o], cmd: '[\"a\",\"b\"]'}}", "t", &Here::new()).unwrap();
    assert!(!all.contains(&shell));
}

#[test]
fn items_are_tasks_of_their_own() {
    let text = "stages: {t: {foreach: {c: [x, y]}, outputs: [\"o/${{ c }}\"], cmd: \"make > o/${{ c }}\"}}";
    let renamed = text.replace("{c: [x", "{k: [x").replace("${{ c }}", "${{ k }}");
    let one = key(text, "t@c=x", &Here::new()).unwrap();
    assert_ne!(Some(one), key(text, "t@c=y", &Here::new()));
    assert_ne!(Some(one), key(&renamed, "t@k=x", &Here::new()), "what the command is handed holds the axis's name");
    let more = text.replace("[x, y]", "[w, x, y]");
    assert_eq!(Some(one), key(&more, "t@c=x", &Here::new()), "an item more is not the others' affair");
}

#[test]
fn a_stamp_is_which_execution() {
    let text = "stages: {load: {cmd: load}, t: {inputs: [{from: load}], outputs: [o], cmd: make}}";
    let parts = gathered(text, "t", &Here::new()).manifest.parts;
    assert!(parts.contains(&Part::Stamp { task: "load".into(), nonce: Some(7) }), "{parts:?}");
    assert_eq!(key(text, "t", &Here { open: true, ..Here::new() }), None);
}

#[test]
fn a_glob_that_is_not_answered_leaves_its_command_open() {
    let text = "stages: {above: {outputs: [d/], cmd: make}, t: {inputs: [\"d/*.csv\"], outputs: [o], env: {L: \"${{ inputs | join(',') }}\"}, cmd: \"cat ${{ inputs }} > o\"}}";
    let closed = gathered(text, "t", &Here::new());
    assert!(closed.manifest.key().is_some());
    assert!(closed.manifest.parts.contains(&Part::Command("cat d/1.csv d/2.csv > o".into())), "{:?}", closed.manifest.parts);
    let open = gathered(text, "t", &Here { open: true, ..Here::new() });
    assert_eq!(open.manifest.key(), None);
    assert!(!open.manifest.parts.iter().any(|part| matches!(part, Part::Command(_))));
    // A command that names none of them is known all the same.
    let other = text.replace("cat ${{ inputs }}", "cat d/*").replace("L: \"${{ inputs | join(',') }}\"", "L: x");
    let open = gathered(&other, "t", &Here { open: true, ..Here::new() });
    assert!(open.manifest.parts.contains(&Part::Command("cat d/* > o".into())), "{:?}", open.manifest.parts);
    assert!(open.missing.is_empty());
}

#[test]
fn what_is_missing_is_named() {
    let mut here = Here::new();
    let text =
        "stages: {above: {outputs: [up], cmd: make}, t: {inputs: [a.csv, up, {path: maybe, optional: true}], outputs: [o], cmd: make}}";
    let gathered = |here: &Here| gathered(text, "t", here).missing;
    assert_eq!(gathered(&here), [RelPath::normal("up").unwrap()]);
    here.files.insert("up", "1");
    assert_eq!(gathered(&here), []);
    assert_ne!(
        key(text, "t", &here),
        key(text, "t", &Here { files: here.files.clone().into_iter().chain([("maybe", "")]).collect(), ..here.clone() })
    );
}
