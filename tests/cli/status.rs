//! `flow status`: how everything stands.

use std::time::Duration;

use super::plan::etl;
use crate::common::{Got, TestDir};

#[test]
fn before_the_first_run() {
    let dir = etl();
    dir.flow(&["status"]).code(0).err("").out(
        "
pipeline  ·  never run  ·  5 tasks
  never ran    5   clean 2 of 2   report 2 of 2   index
next: flow run
",
    );
    assert!(!dir.has(".flow"));
    dir.remove("raw/acme.csv");
    dir.flow(&["status", "pipeline.yaml"]).code(0).out(
        "
pipeline  ·  never run  ·  5 tasks
  never ran    5   clean 2 of 2   report 2 of 2   index
 raw/acme.csv is not there, and clean@customer=acme needs it (pipeline.yaml:8:13); stage `clean` makes clean/acme.csv
next: flow run pipeline.yaml
",
    );
}

#[test]
fn all_well() {
    let dir = etl();
    dir.flow(&["run"]).code(0);
    dir.flow(&["status"]).code(0).err("").out(
        "
pipeline  ·  last run [..], fine after [..]s  ·  5 tasks
  up to date   5
",
    );
    dir.flow(&["status", "--check"]).code(0);
}

#[test]
fn stale_and_to_restore() {
    let dir = etl();
    dir.flow(&["run"]).code(0);
    dir.write("raw/acme.csv", "1\n2\n3\n");
    dir.remove("clean/globex.csv");
    dir.flow(&["status"]).code(0).err("").out(
        "
pipeline  ·  last run [..], fine after [..]s  ·  5 tasks
  up to date   1
  stale        4   clean 2 of 2   report 1 of 2   index   perhaps changed above 2, input changed 1, to restore 1
next: flow run
",
    );
    dir.flow(&["status", "--check"]).code(3);
    dir.flow(&["status", "clean@customer=globex"]).code(0).out(
        "
pipeline  ·  last run [..], fine after [..]s  ·  1 of 5 tasks
  stale        1   clean 1 of 2   to restore 1
next: flow run
",
    );
    dir.flow(&["status", "--check", "report@customer=globex"]).code(0);
}

/// Fails at `train` while the file `bad` is there.
const TRAIN: &str = "\
name: etl
keep_going: true
stages:
  clean:
    cmd: sort raw.txt > clean.txt
    inputs: raw.txt
    outputs: clean.txt
  train:
    cmd: test ! -e bad && cp clean.txt model || { echo broken; exit 1; }
    inputs: clean.txt
    outputs: model
  report:
    cmd: cat model > report
    inputs: model
    outputs: report
  upload:
    cmd: cat report
    inputs: report
    runs: manual
";

fn train() -> TestDir {
    TestDir::new(&[("pipeline.yaml", TRAIN), ("raw.txt", "1\n"), ("bad", "")])
}

#[test]
fn a_failure_and_what_is_below_it() {
    let dir = train();
    dir.flow(&["run"]).code(1);
    dir.flow(&["status"]).code(0).err("").out(
        "
etl  ·  last run [..], failed after [..]s  ·  4 tasks
  up to date   1
  failed       1   train    exit status 1: flow log train
  not run      1   below train
  manual       1   upload   when it is named
next: flow resume
",
    );
    dir.flow(&["status", "--check"]).code(3);
    let status = dir.flow(&["status", "--json"]).code(0).json();
    assert_eq!(status["last_run"]["state"], "failed");
    assert_eq!(status["last_run"]["counts"]["failed"], 1);
    assert_eq!((&status["running"], &status["check"]), (&serde_json::Value::Null, &"stale".into()));
    assert_eq!(
        status["counts"],
        serde_json::json!({"up_to_date": 1, "stale": 0, "failed": 1, "interrupted": 0, "blocked": 2, "never_ran": 0, "running": 0, "unknown": 0, "off": 0})
    );
    let train = &status["tasks"][1];
    assert_eq!((&train["task"], &train["state"], &train["runs"]), (&"train".into(), &"failed".into(), &"auto".into()));
    assert_eq!(train["last"]["result"]["text"], "exit status 1");
    assert_eq!((&train["last"]["run"], &train["last"]["attempt"]), (&1.into(), &1.into()));
    let log = train["last"]["log"].as_str().unwrap();
    assert_eq!(dir.read(log), "broken\n");
    assert_eq!((&status["tasks"][0]["description"], &status["tasks"][0]["as_of"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert_eq!(status["tasks"][3]["runs"], "manual");
    // Mended, all is well; broken again by force, what stands is still good.
    dir.remove("bad");
    dir.flow(&["run"]).code(0);
    dir.write("bad", "");
    dir.flow(&["run", "--force", "train"]).code(1);
    dir.flow(&["status"]).code(0).out(
        "
etl  ·  last run [..], failed after [..]s  ·  4 tasks
  up to date   3            last attempt failed of train: exit status 1: flow log train
  manual       1   upload   when it is named
",
    );
    dir.flow(&["status", "--check"]).code(0);
}

#[test]
fn while_a_run_goes_on_and_after_it_was_killed() {
    let dir = TestDir::pipeline(
        "stages:\n  a:\n    cmd: echo 1 > a\n    outputs: a\n  b:\n    cmd: touch ../began && while test ! -e ../go; do sleep 0.01; done; cat a > b\n    inputs: a\n    outputs: b\n  c:\n    cmd: cat b > c\n    inputs: b\n    outputs: c\n",
    );
    let mut run = dir.start(&["run"]);
    dir.wait_for("../began");
    // Events are written when the run waits, which may be a moment after the command began.
    dir.wait_until("b started", || dir.read(".flow/pipeline.yaml/runs/1/events.jsonl").matches("task_started").count() == 2);
    dir.flow(&["status"]).code(0).err("").out(
        "
pipeline  ·  running since [..]:[..], 1 of 3  ·  3 tasks
  running      1   b
  up to date   1
  never ran    1   c
",
    );
    let status = dir.flow(&["status", "--json"]).code(0).json();
    assert_eq!((&status["running"]["run"], &status["running"]["state"]), (&1.into(), &"running".into()));
    assert_eq!(status["last_run"], serde_json::Value::Null);
    assert_eq!(status["tasks"][1]["state"], "running");
    run.kill();
    dir.flow(&["status"]).code(0).out(
        "
pipeline  ·  last run [..], killed  ·  3 tasks
  up to date   1
  never ran    1   c
  interrupted  1   b   flow ended while it ran
next: flow resume
",
    );
    std::fs::write(dir.root().join("go"), "").unwrap();
    dir.flow(&["run"]).code(0);
    dir.flow(&["status"]).code(0).out("\npipeline  ·  last run [..], fine after [..]s  ·  3 tasks\n  up to date   3\n");
}

#[test]
fn what_changed_while_it_ran_runs_again() {
    let dir = TestDir::pipeline(
        "stages:\n  clean:\n    cmd: cat raw.csv > clean.csv; echo more >> raw.csv\n    inputs: raw.csv\n    outputs: clean.csv\n",
    );
    dir.write("raw.csv", "1\n");
    dir.flow(&["run"]).code(0);
    dir.flow(&["status"]).code(0).out(
        "
pipeline  ·  last run [..], fine after [..]s  ·  1 task
  stale        1   clean   input changed while it ran 1[..]
 1 will run again: raw.csv changed while clean ran
next: flow run
",
    );
}

#[test]
fn what_runs_always_is_no_fault() {
    let dir = TestDir::pipeline(
        "stages:\n  fetch:\n    cmd: echo 1 > a\n    outputs: a\n    runs: always\n  use:\n    cmd: cat a > b\n    inputs: a\n    outputs: b\n",
    );
    dir.flow(&["status", "--check"]).code(3);
    dir.flow(&["run"]).code(0);
    dir.flow(&["status", "--check"]).code(0).out(
        "
pipeline  ·  last run [..], fine after [..]s  ·  2 tasks
  always       2   fetch   use   runs always 1, perhaps changed above 1
",
    );
    dir.edit("pipeline.yaml", "cat a > b", "cat a >> b");
    dir.flow(&["status", "--check"]).code(3).out(
        "
pipeline  ·  last run [..], fine after [..]s  ·  2 tasks
  stale        1   use     command changed 1
  always       1   fetch   runs always 1
next: flow run
",
    );
}

#[test]
fn tool_commands_are_asked_only_when_told() {
    let dir = TestDir::pipeline(
        "stages:\n  a:\n    cmd: echo 1 > a\n    outputs: a\n    tools:\n      - shell: echo asked >> ../asked; cat version\n",
    );
    dir.write("version", "1\n");
    dir.flow(&["status"]).code(0).out(
        "
pipeline  ·  never run  ·  1 task
  unknown      1   a   `shell` was never asked: flow status --fresh
next: flow status --fresh
",
    );
    assert!(!dir.root().join("asked").exists());
    dir.flow(&["run"]).code(0);
    dir.write("version", "2\n");
    dir.flow(&["status"]).code(0).out(
        "
pipeline  ·  last run [..], fine after [..]s  ·  1 task
  up to date   1
 tools as of run 1; flow status --fresh asks again
",
    );
    assert_eq!(dir.flow(&["status", "--json"]).json()["tasks"][0]["as_of"], 1);
    dir.flow(&["status", "--fresh"]).code(0).out(
        "
pipeline  ·  last run [..], fine after [..]s  ·  1 task
  stale        1   a   tool changed 1
next: flow run
",
    );
    dir.flow(&["status", "--check"]).code(3);
}

#[test]
fn what_is_gone_from_the_file() {
    let dir = etl();
    dir.flow(&["run"]).code(0);
    let text = dir.read("pipeline.yaml").replace("[acme, globex]", "[acme]");
    dir.write("pipeline.yaml", &text);
    dir.flow(&["run"]).code(0);
    dir.flow(&["status"]).code(0).out(
        "
pipeline  ·  last run [..], fine after [..]s  ·  3 tasks
  up to date   3
  gone         2   clean@customer=globex, report@customer=globex   2 outputs, 4 B on disk
",
    );
    let status = dir.flow(&["status", "--json"]).json();
    assert_eq!(status["gone"][0]["task"], "clean@customer=globex");
    assert_eq!(status["gone"][0]["outputs"], serde_json::json!([{"path": "clean/globex.csv", "bytes": 2}]));
    assert_eq!(status["check"], "fine");
}

#[test]
fn trusting_no_stamp() {
    let dir = etl();
    dir.flow(&["run"]).code(0);
    dir.flow(&["status", "--rehash", "--check"]).code(0);
}

#[test]
fn looking_writes_nothing() {
    let dir = train();
    for runs in [0, 1, 2] {
        if runs > 0 {
            dir.flow(&["run"]).code(if runs == 1 { 1 } else { 0 });
        }
        if runs == 1 {
            dir.remove("bad");
        }
        std::thread::sleep(Duration::from_millis(20));
        let before = dir.tree(".");
        for words in [
            &["status"][..],
            &["status", "--check"],
            &["status", "--fresh", "--rehash", "--json"],
            &["why", "train"],
            &["why", "train", "--fresh"],
            &["plan"],
            &["plan", "--rehash", "--force"],
            &["run", "-n"],
            &["graph"],
            &["log", "train"],
            &["check"],
        ] {
            let _ = dir.flow(words);
            assert_eq!(dir.tree("."), before, "{words:?}");
        }
    }
}

#[test]
fn a_folder_that_cannot_be_written_can_be_looked_at() {
    let dir = etl();
    dir.flow(&["run"]).code(0);
    // A closed stdout ends it quietly.
    let mut command = dir.command(".", &["status"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let got = command.stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!((got.status.code(), got.stderr.len()), (Some(0), 0));
    let _ = Got::of(&mut dir.command("raw", &["status"])).code(0);
}
