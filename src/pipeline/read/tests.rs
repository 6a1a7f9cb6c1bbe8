//! Files as short texts, faults as lines.

use std::time::Duration;

use super::*;
use crate::diag::Sources;
use crate::pipeline::spec::{Command, Input, Items, Runs, Tool};

/// A file's faults as `code line:column message | label`.
fn faults(text: &str) -> Vec<String> {
    let mut sources = Sources::default();
    let file = sources.add("p.yaml", text);
    let mut faults = read(text, file).1;
    faults.sort_by_key(|fault| fault.at);
    let line = |fault: &Diagnostic| {
        let place = sources.place(fault.at);
        format!("{} {}:{} {} | {}", fault.code, place.line, place.column, fault.message, fault.label)
    };
    faults.iter().map(line).collect()
}

/// The faults of a stage with these keys beside its `cmd`; columns count in the key's line.
fn stage_faults(keys: &str) -> Vec<String> {
    let indented: String = keys.lines().map(|line| format!("    {line}\n")).collect();
    faults(&format!("stages:\n  a:\n    cmd: x\n{indented}")).into_iter().map(|fault| fault.replace(" 4:", " ")).collect()
}

fn good(text: &str) -> Pipeline {
    let (pipeline, faults) = read(text, 0);
    assert_eq!(faults, [], "{text}");
    pipeline
}

#[test]
fn a_whole_file() {
    let text = r#"
version: 1
name: etl
description: all of it
root: ..
env: {LC_ALL: C, HOME: null, N: 08}
pools: {gpu: 1, db: 4}
keep_going: true
cache: {store: all, dir: /tmp/c, size: 4GiB}
config: {customers: [acme, globex], rate: 1.10}
x-common: &common {timeout: 1h30m, grace: 5s, retries: 2}
stages:
  clean:
    <<: *common
    description: one customer
    foreach: {customer: config.customers, day: [1, 2], m: {big: 1}}
    exclude: {customer: acme, day: [2]}
    cmd: |
      sort -u ${{ inputs }}
    inputs: raw/${{ customer }}.csv
    outputs: clean/${{ customer }}.csv
    tools: [samtools, lib/**/*.py, {python: python3 --version}]
    params: rate
    tags: daily
    runs: always
    shell: bash -c
    dir: sub
    resources: {cpus: 2, memory: 4G, gpu: 1}
    cache: false
    env: {A: ${A}}
    timeout: 2h
  report:
    argv: [python, r.py]
    inputs:
      all: {from: clean, output: [x, y], where: {customer: acme, day: [1, 2]}, optional: true}
      lib: {glob: "l*.o", exclude: lua.o}
      src: {path: src/, exclude: ["*.tmp"], optional: true}
      one: a.csv
    outputs: [a, {path: b/, optional: true}]
    needs: [clean, {from: clean, where: [customer]}]
    runs: never
    shell: [bash, -c]
    timeout:
"#
    .replace("{A: ${A}}", "{A: \"${A}\"}");
    let pipeline = good(&text);
    assert_eq!(pipeline.name.unwrap().text, "etl");
    assert_eq!(pipeline.root.unwrap().text, "..");
    let env: Vec<_> = pipeline.env.iter().map(|v| (v.name.text.as_str(), v.value.as_ref().map(|w| w.text.as_str()))).collect();
    assert_eq!(env, [("LC_ALL", Some("C")), ("HOME", None), ("N", Some("08"))]);
    assert_eq!((pipeline.pools[1].0.text.as_str(), pipeline.pools[1].1, pipeline.keep_going), ("db", 4, true));
    assert_eq!((pipeline.cache.store, pipeline.cache.size), (Some(Store::All), Some(4 << 30)));
    assert_eq!(pipeline.config.unwrap().at_path("rate").unwrap().spelling(), Some("1.10"));
    let [clean, report] = pipeline.stages.as_slice() else { panic!() };
    assert_eq!((clean.timeout, clean.grace, clean.retries), (Some(Duration::from_secs(7200)), Some(Duration::from_secs(5)), 2));
    assert_eq!((clean.runs, clean.cache, clean.name.text.as_str()), (Runs::Always, false, "clean"));
    let Command::Shell(cmd) = &clean.command else { panic!() };
    assert_eq!(cmd.text, "sort -u ${{ inputs }}\n");
    let hole = cmd.place(&text, 8..20);
    assert_eq!(&text[hole.start as usize..hole.end as usize], "${{ inputs }");
    assert!(matches!(&clean.foreach[0].items, Items::Expression(words) if words.text == "config.customers"));
    assert!(matches!(&clean.foreach[1].items, Items::Literal(value) if value.items().unwrap().len() == 2));
    assert!(matches!(&clean.foreach[2].items, Items::Literal(value) if value.get("big").is_some()));
    assert_eq!((clean.exclude.len(), clean.exclude[0].len(), clean.exclude[0][1].1.len()), (1, 2, 1));
    assert!(clean.inputs.single && clean.outputs.single);
    assert!(matches!(&clean.tools[2], Tool::Asked { name, command } if name.text == "python" && command.text == "python3 --version"));
    assert_eq!((clean.params.len(), clean.tags.len(), clean.dir.as_ref().unwrap().text.as_str()), (1, 1, "sub"));
    assert_eq!(
        clean.resources.iter().map(|(key, amount)| (key.text.as_str(), amount.amount)).collect::<Vec<_>>(),
        [("cpus", 2), ("memory", 4 << 30), ("gpu", 1)]
    );
    assert_eq!(clean.shell.as_ref().unwrap().0, ["bash", "-c"]);
    assert!(matches!(&report.command, Command::Argv(words) if words.len() == 2));
    assert_eq!((report.runs, report.timeout, report.inputs.single), (Runs::Never, None, false));
    let names: Vec<_> = report.inputs.list.iter().map(|(name, _)| name.as_ref().unwrap().text.as_str()).collect();
    assert_eq!(names, ["all", "lib", "src", "one"]);
    let Input::From(from) = &report.inputs.list[0].1 else { panic!() };
    assert_eq!((from.stage.text.as_str(), from.output.len(), from.optional), ("clean", 2, true));
    assert_eq!(from.filter[1].values.as_ref().unwrap().len(), 2);
    assert!(matches!(&report.inputs.list[1].1, Input::Glob { exclude, .. } if exclude[0].text == "lua.o"));
    assert!(matches!(&report.inputs.list[2].1, Input::Path { optional: true, .. }));
    assert!(report.outputs.list[1].1.optional && !report.outputs.single);
    assert_eq!(report.needs[1].filter[0].axis.text, "customer");
    assert_eq!(report.needs[0].stage.text, "clean");
}

#[test]
fn one_entry_stands_for_a_list() {
    for (inputs, single, count) in [
        ("a", true, 1),
        ("{path: a}", true, 1),
        ("[a]", false, 1),
        ("{glob: a}", false, 1),
        ("{from: a}", false, 1),
        ("{x: a}", false, 1),
        ("{x: a, y: b}", false, 2),
        ("[]", false, 0),
        ("{}", false, 0),
        ("", false, 0),
    ] {
        let pipeline = good(&format!("stages: {{a: {{cmd: x, inputs: {inputs}}}}}"));
        let inputs = &pipeline.stages[0].inputs;
        assert_eq!((inputs.single, inputs.list.len()), (single, count));
    }
    let pipeline = good("stages: {a: {argv: ls, outputs: {path: b, optional: true}, needs: b, tags: c, tools: d, params: e.f}}");
    assert!(pipeline.stages[0].outputs.single);
    let Command::Shell(cmd) = &good("stages: {a: {cmd: true}}").stages[0].command.clone() else { panic!() };
    assert_eq!(cmd.text, "true");
}

#[test]
fn files_that_are_no_pipeline() {
    for (text, want) in [
        ("", "empty 1:1 there is no pipeline in this file | a pipeline needs `stages`"),
        ("# x\n", "empty 1:1 there is no pipeline in this file | a pipeline needs `stages`"),
        ("---\n", "empty 1:1 there is no pipeline in this file | a pipeline needs `stages`"),
        ("- a\n", "wrong_type 1:1 a pipeline is a map with the key `stages`, not a list | a map is needed here"),
        ("x\n", "wrong_type 1:1 a pipeline is a map with the key `stages`, not text | a map is needed here"),
        ("name: x\n", "missing 1:1 there are no `stages` in this file | a pipeline needs the key `stages`"),
        ("stages:\n", "missing 1:1 `stages` is empty | a pipeline needs a stage"),
        ("stages: {}\n", "missing 1:9 `stages` is empty | a pipeline needs a stage"),
        ("stages: [a]\n", "wrong_type 1:9 `stages` takes a map, not a list | each stage stands under its name"),
        ("version: 2\nfoo: 1\n", "version 1:10 this file is written in version 2 of the language | flow 0.1.0 knows version 1"),
        ("version: x\nstages: {a: {cmd: x}}\n", "version 1:10 `version` is 1 or absent | write `version: 1`"),
        ("jobs: {a: {run: x}}\n", "unknown_key 1:1 unknown key `jobs` in the file | did you mean `stages`?"),
        ("stages: {a: }\n", "missing 1:10 stage `a` has no command | `cmd` or `argv` is missing"),
        ("stages: {a: x}\n", "wrong_type 1:13 stage `a` is text | a map with `cmd` is needed here"),
        (
            "stages: {2a: {cmd: x}}\n",
            "name 1:10 `2a` can't be the name of a stage | a letter or `_` first, then letters, digits, `_` and `-`",
        ),
    ] {
        assert_eq!(faults(text), [want], "{text:?}");
    }
    assert!(read("version: 3\nstages: {a: {cmd: x}}", 0).0.stages.is_empty());
}

#[test]
fn the_top_of_the_file() {
    let top = |line: &str| faults(&format!("{line}\nstages: {{a: {{cmd: x}}}}\n"));
    for (line, want) in [
        ("keep_going: yes", "wrong_type 1:13 `keep_going` takes true or false, not `yes` | write `true`"),
        ("keep_going: \"false\"", "wrong_type 1:13 `keep_going` takes true or false, not the text `false` | write `false`"),
        ("pools: {gpu: -1}", "wrong_type 1:14 `gpu` takes a whole number, not `-1` | how many there are of it"),
        ("pools: {cpus: 4}", "name 1:9 `cpus` can't be the name of a pool | it is a resource of the machine"),
        ("cache: off", "wrong_type 1:8 `cache` takes a map, not `off` | write `{store: auto, dir: …, size: …}`"),
        ("cache: false", "wrong_type 1:8 `cache` takes a map, not `false` | write `cache: {store: off}`, or `cache: false` in a stage"),
        ("cache: {store: on}", "wrong_type 1:16 `store` is `auto`, `all` or `off` | one of these three"),
        ("cache: {size: 4}", "size 1:15 `size` is a bare number | a unit is missing: `4MiB`?"),
        ("cache: {path: x}", "unknown_key 1:9 unknown key `path` in `cache` | did you mean `dir`?"),
        ("config: [a]", "wrong_type 1:9 `config` takes a map, not a list | names and their values are needed here"),
        ("env: [A=b]", "wrong_type 1:6 `env` takes a map, not a list | write `NAME: value`, without `-` and `=`"),
        ("env: {\"A=\": b}", "name 1:7 `A=` can't be the name of a variable | no `=` in a name"),
        ("name: [x]", "wrong_type 1:7 `name` takes text, not a list | a text is needed here"),
        ("nmae: x", "unknown_key 1:1 unknown key `nmae` in the file | did you mean `name`?"),
        ("vars: {a: b}", "unknown_key 1:1 unknown key `vars` in the file | did you mean `config`?"),
        ("cmd: x", "unknown_key 1:1 unknown key `cmd` in the file | this belongs to a stage, below `stages`"),
        ("b: {cmd: x}", "unknown_key 1:1 unknown key `b` in the file | a stage belongs below `stages`"),
        ("profiles: {}", "not_yet 1:1 `profiles` is not in this version of flow yet | comes with a later version"),
        ("include: x", "not_yet 1:1 `include` is not in this version of flow yet | comes with a later version"),
    ] {
        assert_eq!(top(line), [want], "{line}");
    }
    for line in ["x-y: {a: b}", "name:", "pools: ~", "version: 1", "version: \"1\"", "env: {A: \"\"}", "name: 4"] {
        assert_eq!(top(line), [""; 0], "{line}");
    }
}

#[test]
fn keys_of_a_stage() {
    for (keys, want) in [
        ("input: [a]", "unknown_key 5 unknown key `input` in stage `a` | did you mean `inputs`?"),
        ("Outputs: [a]", "unknown_key 5 unknown key `Outputs` in stage `a` | did you mean `outputs`?"),
        ("deps: [a]", "unknown_key 5 unknown key `deps` in stage `a` | did you mean `inputs`?"),
        ("depends_on: [a]", "unknown_key 5 unknown key `depends_on` in stage `a` | did you mean `needs`?"),
        ("always: true", "unknown_key 5 unknown key `always` in stage `a` | write `runs: always`"),
        ("zebra: true", "unknown_key 5 unknown key `zebra` in stage `a` | not known here"),
        (
            "pools: {a: 1}",
            "unknown_key 5 unknown key `pools` in stage `a` | write `resources: {db: 1}` with the pool's name; its size stands under `pools` at the top",
        ),
        ("keep_going: true", "unknown_key 5 unknown key `keep_going` in stage `a` | this belongs to the top of the file"),
        ("depfile: x", "not_yet 5 `depfile` is not in this version of flow yet | comes with a later version"),
        ("argv: [x]", "both 5 stage `a` has both `cmd` and `argv` | one command is one of them"),
        ("timeout: 5", "duration 14 `timeout` is a bare number | a unit is missing: `5s`?"),
        ("timeout: 5 min", "duration 14 `5 min` is no duration | as `90s`, `5m`, `1h30m` or `30d`"),
        ("timeout: [5s]", "wrong_type 14 `timeout` takes a duration, not a list | as `90s`, `5m`, `1h30m` or `30d`"),
        ("timeout: 0s", "duration 14 a `timeout` of nothing stops every attempt at once | leave it out for none"),
        ("retries: -1", "wrong_type 14 `retries` takes a whole number, not `-1` | how often it is tried again"),
        ("retries: {times: 3}", "not_yet 14 `retries` as a map is not in this version of flow yet | a number: how often it is tried again"),
        ("runs: allways", "wrong_type 11 `runs` is `always`, `manual` or `never` | did you mean `always`?"),
        ("runs: true", "wrong_type 11 `runs` is `always`, `manual` or `never` | one of these three"),
        ("cache: no", "wrong_type 12 `cache` takes true or false, not `no` | write `false`"),
        (
            "cache: {store: off}",
            "wrong_type 12 `cache` takes true or false, not a map | in a stage only; a map belongs to the top of the file",
        ),
        ("shell: bash 'x", "wrong_type 12 `shell` can't be read: a quote in it is never closed | as `bash -euo pipefail -c`"),
        ("resources: {memory: 4}", "size 25 `memory` is a bare number | a unit is missing: `4MiB`?"),
        ("resources: {memory: big}", "size 25 `big` is no size | as `512MiB` or `4GiB`"),
        ("resources: {cpus: 0}", "wrong_type 23 a task takes at least 1 of `cpus` | 1 or more"),
        ("resources: {mem: 4G}", "unknown_key 17 unknown resource `mem` | did you mean `memory`?"),
        ("resources: {gpu: x}", "wrong_type 22 `gpu` takes a whole number, not `x` | 1 or more"),
        ("foreach: config.x", "wrong_type 14 `foreach` takes a map, not `config.x` | each axis needs a name"),
        ("foreach: {}", "missing 14 `foreach` has no axis | as `{city: [sf, nyc]}`"),
        ("foreach: {n: 3}", "wrong_type 18 `n` takes a list, a map or an expression, not `3` | a list of one is `[3]`"),
        ("foreach: {a-b: [1]}", "name 15 `a-b` can't be the name of an axis | `-` is minus in a template: `a_b`"),
        ("foreach: {item: [1]}", "reserved_name 15 `item` can't be the name of an axis | templates use this name for something else"),
        ("foreach: {f: {glob: x}}", "not_yet 19 `{glob: …}` as an axis is not in this version of flow yet | comes with a later version"),
        ("foreach: {x: [1]}\nexclude: {y: 1}", "unknown_axis 5:15 `exclude` names the unknown axis `y` | did you mean `x`?"),
        ("exclude: lua.o", "wrong_type 14 `exclude` takes maps of axes, not `lua.o` | as `{city: sf, year: [2023, 2024]}`"),
        ("tags: {a: b}", "wrong_type 11 `tags` takes a list of texts, not a map | a list is needed here"),
        ("tools:\n  -", "wrong_type 5:7 `tools` takes text, not nothing | a text is needed here"),
        ("inputs:\n  - a\n  -", "missing 6:7 an empty entry of `inputs` | a path is missing"),
        ("inputs: {raw: }", "missing 14 an empty entry of `inputs` | a path is missing"),
        ("inputs: [[a]]", "wrong_type 14 an entry of `inputs` is a list | one path for each name or `-`"),
        ("inputs:\n  - raw: a.csv", "wrong_type 5:9 `raw` names an entry of a list | names make a map: leave out every `-`"),
        ("inputs: [{file: a}]", "unknown_key 15 unknown key `file` in an entry of `inputs` | did you mean `path`?"),
        ("inputs: [{optional: true, exclude: b}]", "missing 14 an entry of `inputs` without a path | `path`, `glob` or `from` is missing"),
        ("inputs: {path: a, glob: b}", "both 23 an entry has both `path` and `glob` | one entry is one of them"),
        ("inputs: {path: a, where: [b]}", "wrong_type 23 `where` belongs to an entry with `from` | there is no `from` beside it"),
        ("inputs: {from: a, where: {b: }}", "missing 31 `b` under `where` has no value | equal to mine is `where: [axis]`"),
        ("inputs: {a.csv: b}", "name 14 `a.csv` can't be the name of an input | a letter or `_` first, then letters, digits, `_` and `-`"),
        ("outputs: {path: a, persist: true}", "not_yet 24 `persist` is not in this version of flow yet | comes with a later version"),
        (
            "outputs: [{glob: a}]",
            "unknown_key 16 unknown key `glob` in an entry of `outputs` | outputs are files and folders by name: end a folder with `/`",
        ),
        ("outputs: \"\"", "missing 14 `outputs` is an empty text | something is needed here"),
        (
            "needs: [{from: b, output: c}]",
            "unknown_key 23 unknown key `output` in an entry of `needs` | `needs` is order only: put it under `inputs` if its files are read",
        ),
        ("needs: {}", "missing 12 an entry of `needs` without a stage | `from` is missing"),
    ] {
        assert_eq!(stage_faults(keys), [want], "{keys}");
    }
}

#[test]
fn a_list_of_commands_is_shown_both_ways_out() {
    let (_, faults) = read("stages:\n  a:\n    cmd: [sort -u raw.txt, 'echo \"x\"']\n", 0);
    assert_eq!(faults[0].message, "`cmd` takes one text, not a list");
    let want = "one script, a line each:\ncmd: |\n  sort -u raw.txt\n  echo \"x\"\nor one command without a shell, a word each:\nargv: [\"sort -u raw.txt\", \"echo \\\"x\\\"\"]";
    assert_eq!(faults[0].hint.as_deref(), Some(want));
    assert_eq!(faults.len(), 1);
}

#[test]
fn a_word_of_another_tool_causes_one_fault() {
    for foreign in words::all_foreign() {
        let text = match foreign.place {
            Place::Stage if foreign.means == Some("cmd") => format!("stages: {{a: {{{}: x}}}}", foreign.word),
            Place::Stage => format!("stages: {{a: {{cmd: x, {}: {{z: [1]}}}}}}", foreign.word),
            Place::File if foreign.means == Some("stages") => format!("{}: {{a: {{cmd: x, foo: 1}}}}", foreign.word),
            Place::File => format!("stages: {{a: {{cmd: x}}}}\n{}: {{z: [1]}}", foreign.word),
            Place::Input => format!("stages: {{a: {{cmd: x, inputs: [{{path: x, {}: y}}]}}}}", foreign.word),
            Place::Output => format!("stages: {{a: {{cmd: x, outputs: [{{path: x, {}: y}}]}}}}", foreign.word),
            Place::Need => format!("stages: {{a: {{cmd: x, needs: [{{from: x, {}: y}}]}}}}", foreign.word),
            Place::Cache => format!("stages: {{a: {{cmd: x}}}}\ncache: {{{}: y}}", foreign.word),
        };
        let (_, faults) = read(&text, 0);
        assert_eq!(faults.len(), 1, "{foreign:?}: {faults:?}");
        assert_eq!(faults[0].code, "unknown_key", "{foreign:?}");
        if let Some(key) = foreign.means {
            assert_eq!(faults[0].label, format!("did you mean `{key}`?"));
        }
    }
}

#[test]
fn what_was_meant_is_in_the_spec() {
    let (pipeline, faults) = read("tasks:\n  a: {run: x, deps: [b, c], outs: d, depends_on: e}\n", 0);
    assert_eq!(faults.len(), 1);
    let stage = &pipeline.stages[0];
    assert!(matches!(&stage.command, Command::Shell(words) if words.text == "x"));
    assert_eq!((stage.inputs.list.len(), stage.outputs.list.len(), stage.needs.len()), (2, 1, 1));
}

#[test]
fn all_faults_of_a_file_at_once() {
    let text = "keep_going: yes\nstages:\n  a:\n    comd: x\n    inputs: *.csv\n    timeout: 5\n    timeout: 6s\n  b:\n    argv: []\n    outputs: [!x, {persist: true}]\n  c: {}\nwat: 1\n";
    assert_eq!(
        faults(text),
        [
            "wrong_type 1:13 `keep_going` takes true or false, not `yes` | write `true`",
            "unknown_key 4:5 unknown key `comd` in stage `a` | did you mean `cmd`?",
            "alias 5:13 YAML takes a text that starts with `*` for the name of an anchor | no `&.csv` above",
            "duration 6:14 `timeout` is a bare number | a unit is missing: `5s`?",
            "duplicate_key 7:5 the key `timeout` is given twice | given again",
            "missing 9:11 `argv` is an empty list | the program and its arguments, a word each",
            "tag 10:15 YAML takes this `!` for the start of a tag | a tag, not part of the text",
            "missing 10:19 an entry of `outputs` without a path | `path` is missing",
            "not_yet 10:20 `persist` is not in this version of flow yet | comes with a later version",
            "missing 11:3 stage `c` has no command | `cmd` or `argv` is missing",
            "unknown_key 12:1 unknown key `wat` in the file | not known here",
        ]
    );
}

#[test]
fn after_a_syntax_fault_only_what_is_certain_is_said() {
    let text = "stages:\n  a:\n    cmd: x\n    input: y\n  b:\n    inputs: [x\n  c:\n    cmd: z\n";
    assert_eq!(faults(text).len(), 2);
    assert!(read(text, 0).0.stages.is_empty());
    assert_eq!(faults("stages:\n  a:\n      inputs: y\n    cmd: x\n").len(), 1);
}

#[test]
fn mutated_files_never_panic() {
    let mut random = fastrand::Rng::with_seed(5);
    let valid = "name: x\nstages:\n  a:\n    cmd: |\n      sort\n    foreach: {c: [a, b], d: config.x}\n    exclude: {c: a}\n    inputs: {a: b, c: {from: d, where: {e: f}}}\n    outputs: [x, {path: y}]\n    timeout: 5s\n    shell: bash -c\n    resources: {cpus: 1, memory: 4G}\nconfig: {x: [1]}\n";
    let words = [
        "[", "]", "{", "}", ": ", "- ", "\n", "  ", "null", "'", "\"", "5", "x: y", "*a", "&a ", "!", "|", "#", "é", "path: ", "from: ",
        "[[]]", "{}",
    ];
    for _ in 0..6_000 {
        let mut text = valid.to_owned();
        for _ in 0..random.usize(1..4) {
            let mut at = random.usize(..=text.len());
            let mut end = (at + random.usize(..8)).min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            while !text.is_char_boundary(end) {
                end += 1;
            }
            text.replace_range(at..end, words[random.usize(..words.len())]);
        }
        let mut sources = Sources::default();
        sources.add("p.yaml", text.as_str());
        for fault in read(&text, 0).1 {
            assert!(fault.at.start <= fault.at.end && fault.at.end as usize <= text.len(), "{fault:?}\n{text}");
            assert!(!fault.message.is_empty() && !fault.message.ends_with('.'));
        }
    }
}
