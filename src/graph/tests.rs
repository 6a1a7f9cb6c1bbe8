//! Pipelines as short texts, graphs as short texts.

use std::collections::{BTreeMap, HashSet};

use crate::diag::Sources;
use crate::graph::compile::{Given, compile};
use crate::graph::{Command, Edge, Graph, Look, Source, Tool};
use crate::hash::Kind;
use crate::name::{RelPath, TaskId};
use crate::pattern::Pattern;
use crate::pipeline::config;

/// A disk that holds these files.
struct Files(Vec<&'static str>);

impl Look for Files {
    fn kind(&self, path: &RelPath) -> Option<Kind> {
        if self.0.contains(&path.as_str()) {
            return Some(Kind::File);
        }
        self.0.iter().any(|file| file.starts_with(&format!("{path}/"))).then_some(Kind::Folder)
    }

    fn glob(&self, pattern: &Pattern) -> Result<Vec<RelPath>, String> {
        let mut found: Vec<RelPath> =
            self.0.iter().filter(|file| pattern.matches(file)).map(|file| RelPath::normal(file).unwrap()).collect();
        found.sort();
        Ok(found)
    }

    fn program(&self, name: &str) -> Option<String> {
        (name == "samtools").then(|| "/usr/bin/samtools".to_string())
    }

    fn left_by_gone(&self, is_there: &dyn Fn(&str) -> bool) -> HashSet<RelPath> {
        if is_there("old") { HashSet::new() } else { HashSet::from([RelPath::normal("data/gone.csv").unwrap()]) }
    }
}

fn compiled(text: &str, files: &[&'static str]) -> (Graph, Vec<String>) {
    let mut sources = Sources::default();
    let file = sources.add("p.yaml", text);
    let (pipeline, mut faults) = crate::pipeline::read::read(text, file);
    let settings = config::settle(pipeline.config.as_ref(), &[]).unwrap();
    let given = Given {
        sources: &sources,
        file,
        config: settings,
        stem: "p",
        root: "/w",
        here: RelPath::workspace(),
        own: RelPath("p.yaml".into()),
        environment: &[("HOME".into(), "/h".into())],
    };
    let (graph, more) = compile(&pipeline, &given, &Files(files.to_vec()));
    faults.extend(more);
    let said =
        faults.iter().map(|fault| format!("{} {}: {}", &sources.show(sources.place(fault.at))[7..], fault.code, fault.message)).collect();
    (graph, said)
}

fn good(text: &str, files: &[&'static str]) -> Graph {
    let (graph, faults) = compiled(text, files);
    assert!(faults.is_empty(), "{faults:?}");
    graph
}

fn faults(text: &str, files: &[&'static str]) -> Vec<String> {
    compiled(text, files).1
}

/// Each task with its command.
fn commands(graph: &Graph) -> BTreeMap<&str, String> {
    graph.tasks.iter().map(|task| (task.name.as_str(), task.command_text())).collect()
}

/// Each edge as `below <- above`, gates as the stage's name in brackets.
fn edges(graph: &Graph) -> Vec<String> {
    let name = |id: TaskId| match graph.is_gate(id) {
        true => format!("[{}]", graph.stages[graph.gates[id.index() - graph.tasks.len()].index()].name),
        false => graph.task(id).name.to_string(),
    };
    let mut list = Vec::new();
    for node in (0..graph.nodes() as u32).map(TaskId) {
        for (above, edge) in graph.above.of(node) {
            let mark = match edge {
                Edge::File => "",
                Edge::Stamp => " stamp",
                Edge::Order => " order",
            };
            list.push(format!("{} <- {}{mark}", name(node), name(above)));
        }
    }
    list
}

#[test]
fn files_tie_stages() {
    let graph = good(
        "stages:\n  b:\n    cmd: cat ${{ inputs }} > ${{ outputs }}\n    inputs: a.txt\n    outputs: b.txt\n  a:\n    cmd: sort ${{ inputs }} > ${{ outputs }}\n    inputs: [raw.txt]\n    outputs: ./x/../a.txt\n",
        &["raw.txt"],
    );
    assert_eq!(edges(&graph), ["b <- a"]);
    assert_eq!(commands(&graph)["b"], "cat a.txt > b.txt");
    assert_eq!(graph.order.iter().map(|id| graph.task(*id).name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn fan_out_and_gather() {
    let graph = good(
        concat!(
            "config:\n  customers: {acme: {lr: 0.10}, glob ex: {lr: 2}}\n",
            "stages:\n",
            "  clean:\n    foreach: {c: config.customers}\n    cmd: clean --lr ${{ c.lr }} ${{ c }} > ${{ outputs }}\n    outputs: clean/${{ c.key }}.csv\n",
            "  report:\n    foreach: {c: config.customers}\n    cmd: report ${{ inputs }}\n    inputs: {from: clean, where: [c]}\n    outputs: r/${{ c }}\n",
            "  all:\n    cmd: cat ${{ inputs }}\n    inputs: {from: clean}\n    outputs: all.csv\n",
            "  done:\n    cmd: echo done\n    needs: [report]\n",
        ),
        &[],
    );
    let commands = commands(&graph);
    assert_eq!(commands["clean@c=acme"], "clean --lr 0.10 acme > clean/acme.csv");
    assert_eq!(commands["clean@c=glob%20ex"], "clean --lr 2 'glob ex' > 'clean/glob ex.csv'");
    assert_eq!(commands["all"], "cat clean/acme.csv 'clean/glob ex.csv'");
    assert_eq!(
        edges(&graph),
        [
            "report@c=acme <- clean@c=acme",
            "report@c=glob%20ex <- clean@c=glob%20ex",
            "all <- [clean]",
            "done <- [report] order",
            "[clean] <- clean@c=acme",
            "[clean] <- clean@c=glob%20ex",
            "[report] <- report@c=acme",
            "[report] <- report@c=glob%20ex",
        ]
    );
}

#[test]
fn settings_are_tracked_one_by_one() {
    let graph =
        good("config: {a: 1, b: {c: 2, d: 3}, e: x}\nstages:\n  s:\n    cmd: run ${{ config.a }}\n    params: [b]\n    outputs: o\n", &[]);
    let settings: Vec<&str> = graph.tasks[0].settings.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(settings, ["a", "b.c", "b.d"]);
}

#[test]
fn an_axis_is_no_setting_of_its_tasks() {
    let graph = good(
        "config: {cities: {sf: {t: 1}, seattle: {t: 2}}}\nstages:\n  s:\n    foreach: {c: config.cities}\n    cmd: run ${{ c.t }}\n    outputs: o/${{ c }}\n",
        &[],
    );
    assert!(graph.tasks.iter().all(|task| task.settings.is_empty()));
}

#[test]
fn globs_match_disk_and_declared_outputs() {
    let graph = good(
        concat!(
            "stages:\n  make:\n    cmd: x\n    outputs: [data/made.csv, data/folder/]\n",
            "  read:\n    cmd: cat ${{ inputs }}\n    inputs: {glob: \"data/*.csv\", exclude: data/z*}\n    outputs: o\n",
            "  late:\n    cmd: cat ${{ inputs }}\n    inputs: data/folder/*.txt\n    outputs: p\n",
            "  deep:\n    cmd: cat ${{ inputs }}\n    inputs: data/**/*.csv\n    outputs: q\n",
        ),
        &["data/a.csv", "data/z.csv", "data/folder/in.csv"],
    );
    let commands = commands(&graph);
    assert_eq!(commands["read"], "cat data/a.csv data/made.csv");
    assert_eq!(commands["late"], "cat ${{ inputs }}");
    assert_eq!(commands["deep"], "cat data/a.csv data/made.csv data/z.csv");
    assert!(matches!(graph.task(graph.find("late").unwrap()).inputs[0].source, Source::LateGlob { .. }));
    assert_eq!(edges(&graph), ["read <- make", "late <- make", "deep <- make"]);
}

#[test]
fn what_a_gone_stage_left_is_not_matched() {
    let text = "stages:\n  read:\n    cmd: cat ${{ inputs }}\n    inputs: data/*.csv\n    outputs: o\n";
    let (graph, said) = compiled(text, &["data/a.csv", "data/gone.csv"]);
    assert_eq!(commands(&graph)["read"], "cat data/a.csv");
    assert_eq!(said, ["4:13 gone_in_glob: `data/*.csv` matches 1 outputs of stages or items that are gone"]);
}

#[test]
fn what_is_run_is_an_input() {
    let graph = good(
        "stages:\n  s:\n    cmd: python scripts/clean.py raw | ./bin/tool\n    dir: sub\n    tools: [samtools, \"lib/*.py\", {v: python --version}]\n    outputs: o\n",
        &["sub/scripts/clean.py", "sub/bin/tool", "lib/a.py", "lib/b.py", "scripts/clean.py"],
    );
    let said: Vec<String> = graph.tasks[0]
        .tools
        .iter()
        .map(|tool| match tool {
            Tool::File { path, automatic, .. } => format!("{path} {automatic}"),
            Tool::Program { name } => name.clone(),
            Tool::Asked { name, command } => format!("{name}: {command}"),
        })
        .collect();
    assert_eq!(
        said,
        ["samtools", "lib/a.py false", "lib/b.py false", "v: python --version", "sub/scripts/clean.py true", "sub/bin/tool true"]
    );
}

#[test]
fn a_stage_without_outputs_gives_a_stamp() {
    let graph = good(
        "stages:\n  load:\n    cmd: psql\n    inputs: a.csv\n  report:\n    cmd: q\n    inputs: {from: load}\n    outputs: r\n",
        &["a.csv"],
    );
    assert_eq!(edges(&graph), ["report <- load stamp"]);
    assert!(matches!(graph.tasks[1].inputs[0].source, Source::Stamp(TaskId(0))));
}

#[test]
fn paths_are_seen_from_dir_and_volatile_values_count_by_name() {
    let graph = good(
        "stages:\n  s:\n    cmd: run -t ${{ attempt }} ${{ inputs }} ${{ outputs.x }}\n    dir: sub\n    inputs: [a.txt]\n    outputs: {x: sub/o, y: p/}\n",
        &["a.txt"],
    );
    let Command::Shell(text) = &graph.tasks[0].command else { panic!() };
    assert!(text.ends_with(" ../a.txt o"), "{text}");
    assert!(!text.contains(" 1 "), "{text}");
    assert!(graph.tasks[0].late.is_some());
}

#[test]
fn two_makers_of_one_path() {
    for outputs in ["x", "./x", "q/../x", "x/"] {
        let said = faults(&format!("stages:\n  a:\n    cmd: t\n    outputs: x\n  b:\n    cmd: t\n    outputs: {outputs}\n"), &[]);
        assert_eq!(said, ["7:14 two_makers: `a` and `b` both make x"], "{outputs}");
    }
    assert_eq!(
        faults("stages:\n  a:\n    cmd: t\n    outputs: d/\n  b:\n    cmd: t\n    outputs: d/e/f\n", &[]),
        ["7:14 two_makers: `a` makes d and `b` makes d/e/f: one lies inside the other"]
    );
    assert_eq!(
        faults("stages:\n  a:\n    foreach: {i: [1, 2]}\n    cmd: t\n    outputs: x\n", &[]),
        ["5:14 two_makers: `a@i=1` and `a@i=2` both make x"]
    );
}

#[test]
fn faults_have_places() {
    let cases = [
        ("stages:\n  a: {cmd: t, outputs: ../x}\n", "2:24 output_outside"),
        ("stages:\n  a: {cmd: t, outputs: .flow/x}\n", "2:24 output_in_flow"),
        ("stages:\n  a: {cmd: t, outputs: \"*.csv\"}\n", "2:24 output_glob"),
        ("stages:\n  a: {cmd: t, inputs: \"*.csv\"}\n", "2:23 glob_nothing"),
        ("stages:\n  a: {cmd: t, inputs: {from: b}}\n", "2:23 unknown_stage"),
        ("stages:\n  a: {cmd: t, needs: b}\n", "2:22 unknown_stage"),
        ("stages:\n  a: {cmd: t, params: x}\n", "2:23 unknown_setting"),
        ("stages:\n  a: {cmd: t, tools: nosuchtool}\n", "2:22 tool_missing"),
        ("stages:\n  a: {cmd: t, resources: {gpu: 1}}\n", "2:27 unknown_pool"),
        ("pools: {gpu: 1}\nstages:\n  a: {cmd: t, resources: {gpu: 2}}\n", "3:32 pool_too_small"),
        ("stages:\n  a:\n    cmd: t ${{ confg.x }}\n", "3:16 unknown_name"),
        ("stages:\n  a:\n    cmd: t\n    foreach: {city: sf}\n", "4:21 "),
        ("stages:\n  a:\n    cmd: t\n    foreach: {i: [1, 1]}\n", "4:18 same_item"),
        ("stages:\n  a:\n    cmd: t\n    foreach: {env: [1]}\n", "4:15 reserved_axis"),
        ("stages:\n  a: {cmd: t, inputs: x, outputs: x}\n", "2:23 own_output"),
    ];
    for (text, want) in cases {
        let said = faults(text, &[]);
        assert!(said.iter().any(|said| said.starts_with(want)), "{text}: {said:?}");
    }
}

#[test]
fn a_cycle_is_named_whole() {
    let said = faults(
        "stages:\n  a: {cmd: t, inputs: c.txt, outputs: a.txt}\n  b: {cmd: t, inputs: a.txt, outputs: b.txt}\n  c: {cmd: t, inputs: b.txt, outputs: c.txt}\n",
        &[],
    );
    assert_eq!(said, ["2:23 cycle: a cycle of 3 tasks: each waits for the next"]);
}

#[test]
fn a_graph_is_plain_data() {
    let graph = good(
        "config: {l: [1, 2]}\nstages:\n  s:\n    foreach: {i: config.l}\n    cmd: t ${{ i }} ${{ attempt }}\n    outputs: o/${{ i }}\n",
        &[],
    );
    let bytes = postcard::to_stdvec(&graph).unwrap();
    assert_eq!(postcard::from_bytes::<Graph>(&bytes).unwrap(), graph);
}
