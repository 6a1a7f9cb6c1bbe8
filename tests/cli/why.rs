//! `flow why`: down to the first cause.

use super::plan::{ETL, etl};
use crate::common::TestDir;

#[test]
fn up_to_date_is_one_line() {
    let dir = etl();
    dir.flow(&["run"]).code(0);
    dir.flow(&["why", "index"]).code(0).err("").out("\nindex is up to date: command and 2 inputs are as they were on [..]\n");
    // A stage of several: a line each.
    dir.flow(&["why", "clean"]).code(0).out(
        "
clean@customer=acme is up to date: command, 1 input and 1 config key are as they were on [..]
clean@customer=globex is up to date: command, 1 input and 1 config key are as they were on [..]
",
    );
}

#[test]
fn the_cause_is_followed_upstream() {
    let dir = etl();
    dir.flow(&["run"]).code(0);
    dir.edit("pipeline.yaml", "threshold: 0.3", "threshold: 0.5");
    dir.flow(&["why", "report@customer=acme"]).code(0).err("").out(
        "
report@customer=acme would perhaps run, because
  input clean/acme.csv  will be made anew by clean@customer=acme, because
    command  changed   (pipeline.yaml:7:10)
      - grep -v 0.3 raw/acme.csv > clean/acme.csv
      + grep -v 0.5 raw/acme.csv > clean/acme.csv
    config `threshold`  0.3 → 0.5   (pipeline.yaml:2:14)
last good run: [..], [..]s (run 1, flow log report@customer=acme --run 1)
",
    );
    // What two ways lead to is told once.
    dir.flow(&["why", "pipeline.yaml", "index"]).code(0).out(
        "
index would perhaps run, because
  input report/acme.txt  may be made anew by report@customer=acme, because
    input clean/acme.csv  will be made anew by clean@customer=acme, because
...
last good run: [..] (run 1, flow log pipeline.yaml index --run 1)
",
    );
}

#[test]
fn a_first_run_and_a_missing_source() {
    let dir = etl();
    dir.flow(&["why", "clean@customer=acme"]).code(0).out("\nclean@customer=acme would run, because\n  it never ran\n");
    dir.remove("raw/acme.csv");
    dir.flow(&["why", "clean@customer=acme"])
        .code(0)
        .out("\nclean@customer=acme would run, because\n  it never ran\n  raw/acme.csv is not there\n");
    assert!(!dir.has(".flow"));
}

#[test]
fn what_was_made_meanwhile() {
    let dir = etl();
    dir.flow(&["run"]).code(0);
    dir.write("raw/acme.csv", "1\n2\n3\n");
    dir.flow(&["run", "clean"]).code(0);
    dir.flow(&["why", "report@customer=acme"]).code(0).out(
        "
report@customer=acme would run, because
  input clean/acme.csv  changed: made by clean@customer=acme on [..] (run 2)   (pipeline.yaml:14:13)
last good run: [..] (run 1, flow log report@customer=acme --run 1)
",
    );
    dir.remove("clean/acme.csv");
    dir.flow(&["why", "clean/acme.csv"]).code(0).out(
        "
clean@customer=acme would be restored, not run: its result is that of the run of [..] (6 B), because
  output clean/acme.csv  is gone
last good run: [..] (run 2, flow log clean@customer=acme --run 2)
",
    );
}

#[test]
fn scripts_and_tools() {
    let dir = TestDir::new(&[
        (
            "pipeline.yaml",
            "\
stages:
  a:
    cmd: sh ./make.sh > a
    outputs: a
    tools:
      - shell: cat version
      - lib/*.sh
",
        ),
        ("make.sh", "echo 1\n"),
        ("lib/x.sh", "x\n"),
        ("version", "1\n"),
    ]);
    dir.flow(&["why", "a"]).code(0).out(
        "
whether a would run is not known: `shell` was never asked; --fresh asks it
automatic: make.sh, found in its command
",
    );
    dir.flow(&["run"]).code(0);
    dir.flow(&["why", "a"]).code(0).out(
        "
a is up to date: command and 3 tools are as they were on [..]
automatic: make.sh, found in its command
tools as of run 1; --fresh asks again
",
    );
    dir.write("version", "2\n");
    dir.write("make.sh", "echo 2\n");
    dir.flow(&["why", "a"]).code(0).out(
        "
a would run, because
  script make.sh (automatic)  changed
automatic: make.sh, found in its command
last good run: [..] (run 1, flow log a --run 1)
tools as of run 1; --fresh asks again
",
    );
    dir.flow(&["why", "a", "--fresh"]).code(0).out(
        "
a would run, because
  tool shell  changed
  script make.sh (automatic)  changed
...
",
    );
}

#[test]
fn after_a_failure() {
    let dir =
        TestDir::pipeline("stages:\n  a:\n    cmd: test ! -e bad && echo 1 > a\n    outputs: a\n  b:\n    cmd: cat a\n    inputs: a\n");
    dir.write("bad", "");
    dir.flow(&["run"]).code(1);
    dir.flow(&["why", "a"]).code(0).out(
        "
a would run, because
  its last attempt failed: exit status 1
last attempt: [..], exit status 1 (run 1, flow log a --run 1)
",
    );
    dir.remove("bad");
    dir.flow(&["run"]).code(0);
    dir.write("bad", "");
    dir.flow(&["run", "--force", "a"]).code(1);
    dir.flow(&["why", "a"]).code(0).out(
        "
a is up to date: command is as it was on [..]
last attempt: [..], exit status 1 (run 3, flow log a --run 3); what stands is from before
",
    );
}

#[test]
fn what_is_unknown_names_the_nearest() {
    let dir = etl();
    dir.flow(&["why", "inde"]).code(2).out("").err("\nerror: no stage, task or output `inde`\n did you mean `index`?\n");
    dir.flow(&["why"]).code(2).out("").err("\nerror: no task given\n flow why TASK; `flow status` shows what is there\n");
}

#[test]
fn as_json() {
    let dir = etl();
    dir.flow(&["run"]).code(0);
    dir.edit("pipeline.yaml", "threshold: 0.3", "threshold: 0.5");
    let why = dir.flow(&["why", "report@customer=acme", "--json"]).code(0).err("").json();
    assert_eq!((&why["kind"], &why["task"], &why["verdict"]), (&"why".into(), &"report@customer=acme".into(), &"pending".into()));
    let reason = &why["reasons"][0];
    assert_eq!((&reason["reason"], &reason["task"]), (&"input_perhaps".into(), &"clean@customer=acme".into()));
    let because = &reason["because"];
    assert_eq!(because[1]["reason"], "config_changed");
    assert_eq!((&because[1]["was"], &because[1]["is"]), (&"0.3".into(), &"0.5".into()));
    assert_eq!(because[1]["place"], "pipeline.yaml:2:14");
    assert_eq!(why["same"], serde_json::json!({"command": 1, "inputs": 0, "config": 0, "tools": 0, "env": 0}));
    assert_eq!(why["key"], serde_json::Value::Null);
    assert_eq!(why["last_good"]["run"], 1);
    assert_eq!(why["automatic"], serde_json::json!([]));
    dir.write("pipeline.yaml", ETL);
    let why = dir.flow(&["why", "index", "--json"]).code(0).json();
    assert_eq!((&why["verdict"], &why["reasons"]), (&"up_to_date".into(), &serde_json::json!([])));
    assert!(why["key"].as_str().unwrap().starts_with("b3:"));
    let got = dir.flow(&["why", "clean", "--json"]).code(2).out("");
    assert!(got.err.starts_with("error: with --json one task is explained, not 2"), "{}", got.err);
}
