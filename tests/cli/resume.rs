//! `flow resume`: on with the newest run. What a signal or a kill left is in `run/signal.rs`.

use serde_json::{Value, json};

use crate::common::TestDir;

const THREE: &str = "\
name: three
config: { n: 1 }
stages:
  a:
    cmd: echo ${{ config.n }} > a; echo a >> runs
    outputs: a
  b:
    cmd: echo b >> runs; test -e go; cat a > b
    inputs: a
    outputs: b
  c:
    cmd: cat b > c; echo c >> runs
    inputs: b
    outputs: c
  other:
    cmd: echo other >> runs; test -e go && echo > other
    outputs: other
";

fn events(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn nothing_to_go_on_with() {
    let dir = TestDir::pipeline(THREE);
    dir.flow(&["resume"]).code(2).out("").err("\nerror: this pipeline has never run\n start with: flow run\n");
    dir.flow(&["resume", "pipeline.yaml"]).code(2).err("\nerror: this pipeline has never run\n start with: flow run pipeline.yaml\n");
    assert!(!dir.has(".flow"));
    dir.write("go", "");
    dir.flow(&["run"]).code(0);
    dir.flow(&["resume"]).code(0).out("").err("\n run 1 of [..] ended well: nothing to go on with\n");
    dir.flow(&["resume", "--json"]).code(0).out("");
}

#[test]
fn what_was_asked_is_asked_again() {
    let dir = TestDir::pipeline(THREE);
    dir.flow(&["run", "b", "--set", "n=7"]).code(1);
    dir.write("go", "");
    let got = dir.flow(&["resume", "--json"]).code(0).err("");
    let events = events(&got.out);
    assert_eq!((&events[0]["run"], &events[0]["resumes"]), (&json!(2), &json!(1)));
    assert_eq!((&events[0]["selectors"], &events[0]["set"]), (&json!(["b"]), &json!([{"key": "n", "value": "7"}])));
    assert_eq!((dir.read("a").as_str(), dir.has("c"), dir.has("other")), ("7\n", false, false));
    assert_eq!(dir.read("runs"), "a\nb\nb\n");
}

#[test]
fn keep_going_only_and_selectors_of_another_folder() {
    let dir = TestDir::pipeline(THREE);
    dir.write("sub/x", "");
    dir.flow_in("sub", &["run", "../b", "other", "--only"]).code(2);
    dir.write("a", "mine\n");
    dir.flow_in("sub", &["run", "--only", "--keep-going", "../b", "other"]).code(1);
    assert_eq!(dir.read("runs").lines().count(), 2);
    dir.write("go", "");
    // From wherever it is called.
    let got = dir.flow(&["resume"]).code(0);
    assert!(got.err.ends_with("s\n") && got.err.contains(" three: 2 ran in"), "{}", got.err);
    assert_eq!((dir.read("b").as_str(), dir.has("c")), ("mine\n", false));
}

#[test]
fn what_is_set_now_beats_what_was_set_then() {
    let dir = TestDir::pipeline(THREE);
    dir.flow(&["run", "b", "--set", "n=7"]).code(1);
    dir.write("go", "");
    dir.flow(&["resume", "--set", "n=8"]).code(0);
    assert_eq!(dir.read("b"), "8\n");
}

#[test]
fn from_the_file_as_it_is_now() {
    let dir = TestDir::pipeline(THREE);
    dir.flow(&["run"]).code(1);
    dir.edit("pipeline.yaml", "test -e go; cat a > b", "cat a a > b");
    dir.edit("pipeline.yaml", "test -e go && echo > other", "echo > other");
    dir.flow(&["resume"]).code(0);
    assert_eq!(dir.read("c"), "1\n1\n");
    // Mistakes of the file are told.
    dir.edit("pipeline.yaml", "echo > other", "false");
    dir.flow(&["run"]).code(1);
    dir.edit("pipeline.yaml", "    outputs: other", "    output: other");
    let got = dir.flow(&["resume"]).code(2);
    assert!(got.err.contains("unknown key `output`"), "{}", got.err);
}

#[test]
fn the_number_of_a_run() {
    let dir = TestDir::pipeline(THREE);
    dir.flow(&["run"]).code(1);
    dir.flow(&["run"]).code(1);
    dir.flow(&["resume", "1"])
        .code(2)
        .out("")
        .err("\nerror: run 1 is not the newest run, which is 2\n only the newest can go on: flow resume\n");
    dir.flow(&["resume", "9"]).code(2);
    dir.flow(&["resume", "last"]).code(2).err("\nerror: `last` is no number of a run\n[..]\n");
    dir.flow(&["resume", "1", "2"]).code(2);
    dir.write("go", "");
    dir.flow(&["resume", "pipeline.yaml", "2"]).code(0);
}

#[test]
fn what_was_forced_and_done_is_not_forced_again() {
    let dir = TestDir::pipeline(THREE);
    dir.write("go", "");
    dir.flow(&["run"]).code(0);
    dir.remove("go");
    dir.remove("runs");
    // It failed: what was done is known from its end.
    dir.flow(&["run", "--force", "a", "b"]).code(1);
    dir.flow(&["resume"]).code(1);
    dir.write("go", "");
    dir.flow(&["resume"]).code(0);
    assert_eq!(dir.read("runs"), "a\nb\nb\nb\n");
    dir.flow(&["resume"]).code(0).err("\n run 4 of [..] ended well: nothing to go on with\n");
}

#[test]
fn also_after_a_kill() {
    let dir = TestDir::pipeline(
        "stages:\n  a:\n    cmd: echo a >> runs; echo > a\n    outputs: a\n  b:\n    cmd: echo b >> runs; test -e go || { touch begun; sleep 60; }; cat a > b\n    inputs: a\n    outputs: b\n",
    );
    dir.write("go", "");
    dir.flow(&["run"]).code(0);
    dir.remove("go");
    dir.remove("runs");
    let mut running = dir.start(&["run", "--force"]);
    dir.wait_for("begun");
    running.kill();
    // Killed twice: what each has done counts.
    dir.remove("begun");
    let mut running = dir.start(&["resume"]);
    dir.wait_for("begun");
    running.kill();
    dir.write("go", "");
    let got = dir.flow(&["resume"]).code(0);
    assert!(got.err.contains(" run 3 of ") && got.err.contains("(killed). Going on:"), "{}", got.err);
    assert_eq!(dir.read("runs"), "a\nb\nb\nb\n");
    assert!(dir.has("b"));
}

#[test]
fn a_damaged_state_is_said() {
    let dir = TestDir::pipeline(THREE);
    dir.flow(&["run"]).code(1);
    dir.write(".flow/pipeline.yaml/state", "not what flow wrote");
    let got = dir.flow(&["resume"]).code(5).out("");
    assert!(got.err.contains("damaged") && got.err.contains("flow run"), "{}", got.err);
}
