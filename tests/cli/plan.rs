//! `flow plan`: what a run would do, in the order it would.

use crate::common::TestDir;

/// Two customers, cleaned and reported, and one index of all reports.
pub const ETL: &str = "\
config:
  threshold: 0.3
stages:
  clean:
    foreach:
      customer: [acme, globex]
    cmd: grep -v ${{ config.threshold }} ${{ inputs }} > ${{ outputs }}
    inputs: raw/${{ customer }}.csv
    outputs: clean/${{ customer }}.csv
  report:
    foreach:
      customer: [acme, globex]
    cmd: wc -l < ${{ inputs }} > ${{ outputs }}
    inputs: { from: clean, where: [customer] }
    outputs: report/${{ customer }}.txt
  index:
    cmd: cat ${{ inputs }} > index.txt
    inputs: { from: report }
    outputs: index.txt
";

/// With its sources.
pub fn etl() -> TestDir {
    TestDir::new(&[("pipeline.yaml", ETL), ("raw/acme.csv", "1\n2\n"), ("raw/globex.csv", "3\n")])
}

#[test]
fn a_first_plan() {
    let dir = etl();
    dir.flow(&["plan"]).code(0).err("").out(
        "
 run      clean@customer=acme     never ran
 run      clean@customer=globex   never ran
 run      report@customer=acme    never ran
 run      report@customer=globex  never ran
 run      index                   never ran
 pipeline: 5 to run; no estimate yet
",
    );
    assert!(!dir.has(".flow"), "a plan writes nothing");
}

#[test]
fn nothing_to_do() {
    let dir = etl();
    dir.flow(&["run"]).code(0);
    dir.flow(&["plan"]).code(0).err("").out("\n pipeline: 5 up to date\n");
    assert_eq!(dir.flow(&["run", "-n"]).out, " pipeline: 5 up to date\n");
}

#[test]
fn run_perhaps_and_restore() {
    let dir = etl();
    dir.flow(&["run"]).code(0);
    dir.write("raw/acme.csv", "1\n2\n3\n");
    dir.remove("clean/globex.csv");
    dir.flow(&["plan"]).code(0).err("").out_in_any_order(
        "
 run      clean@customer=acme    input raw/acme.csv changed                   about [..]s
 restore  clean@customer=globex  same as the run of [..]  2 B
 run?     report@customer=acme   if clean@customer=acme comes out different   about [..]s
 run?     index                  if report@customer=acme comes out different  about [..]s
 pipeline: 1 to run, 2 perhaps, 1 to restore, 1 up to date; about [..]s with 2 jobs
",
    );
    // A run does just that.
    dir.flow(&["run", "-j1"]).code(0).err_in_any_order(
        "
 restored  clean@customer=globex     2 B
 ran       clean@customer=acme    [..]s
 ran       report@customer=acme   [..]s
 ran       index                  [..]s
 pipeline: 3 ran, 1 restored, 1 up to date in [..]s[..]
",
    );
}

#[test]
fn reasons_are_counted() {
    let dir = etl();
    dir.flow(&["run"]).code(0);
    dir.edit("pipeline.yaml", "grep -v", "grep -vi");
    dir.edit("pipeline.yaml", "threshold: 0.3", "threshold: 0.5");
    dir.flow(&["plan", "clean@customer=acme"]).code(0).out(
        "
 run      clean@customer=acme  command changed and 1 more  about [..]s
 pipeline: 1 to run; about [..]s with 2 jobs
",
    );
    dir.flow(&["plan", "--force", "--only", "index", "-j1"]).code(0).out(
        "
 run      index  forced  about [..]s
 pipeline: 1 to run; about [..]s with 1 job
",
    );
}

#[test]
fn a_wide_stage_is_counted_from_the_sixth_on() {
    let dir = TestDir::pipeline(
        "stages:\n  one:\n    foreach: { n: [1, 2, 3, 4, 5, 6, 7, 8] }\n    cmd: echo ${{ n }} > ${{ outputs }}\n    outputs: out/${{ n }}\n",
    );
    dir.flow(&["plan"]).code(0).out(
        "
 run      one@n=1  never ran
 run      one@n=2  never ran
 run      one@n=3  never ran
 run      one@n=4  never ran
 run      one@n=5  never ran
 run      one      3 more: never ran 3
 pipeline: 8 to run; no estimate yet
",
    );
}

#[test]
fn a_glob_into_what_is_made_anew_is_perhaps() {
    let dir = TestDir::new(&[
        (
            "pipeline.yaml",
            "\
stages:
  split:
    cmd: mkdir parts && cp raw.txt parts/a && cp raw.txt parts/b
    inputs: raw.txt
    outputs: parts/
  join:
    cmd: cat ${{ inputs }} > joined.txt
    inputs: parts/*
    outputs: joined.txt
",
        ),
        ("raw.txt", "1\n"),
    ]);
    dir.flow(&["run"]).code(0);
    dir.write("raw.txt", "2\n");
    dir.flow(&["plan"]).code(0).out(
        "
 run      split  input raw.txt changed         about [..]s
 run?     join   if split comes out different  about [..]s
 pipeline: 1 to run, 1 perhaps; about [..]s with 2 jobs
",
    );
}

#[test]
fn sources_that_are_not_there_stop_it_as_they_stop_a_run() {
    let dir = etl();
    dir.remove("raw/acme.csv");
    let got = dir.flow(&["plan"]).code(2).out("");
    assert!(got.err.starts_with("error: `clean@customer=acme` needs raw/acme.csv, which is not there"), "{}", got.err);
    assert_eq!(got.err, dir.flow(&["run"]).code(2).err);
}

#[test]
fn as_json() {
    let dir = etl();
    dir.flow(&["run"]).code(0);
    dir.write("raw/acme.csv", "1\n2\n3\n");
    let plan = dir.flow(&["plan", "--json"]).code(0).err("").json();
    assert_eq!((&plan["flow"], &plan["kind"], &plan["jobs"]), (&1.into(), &"plan".into(), &2.into()));
    assert_eq!(plan["counts"], serde_json::json!({"run": 1, "pending": 2, "restore": 0, "up_to_date": 2}));
    assert!(plan["estimate_s"].is_f64());
    assert_eq!(plan["open"], serde_json::json!([]));
    let tasks = plan["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 5, "all selected tasks are listed");
    let of = |name: &str| tasks.iter().find(|task| task["task"] == name).unwrap();
    let clean = of("clean@customer=acme");
    assert_eq!((&clean["stage"], &clean["axes"]), (&"clean".into(), &serde_json::json!({"customer": "acme"})));
    assert_eq!((&clean["verdict"], &clean["runs"], &clean["restore_bytes"]), (&"run".into(), &"auto".into(), &serde_json::Value::Null));
    assert_eq!(clean["reasons"][0]["reason"], "input_changed");
    assert_eq!(clean["reasons"][0]["what"], "raw/acme.csv");
    assert_eq!(clean["reasons"][0]["place"], "pipeline.yaml:8:13");
    assert!(clean["estimate_s"].is_f64());
    let report = of("report@customer=acme");
    assert_eq!((&report["verdict"], &report["waits_for"]), (&"pending".into(), &serde_json::json!(["clean@customer=acme"])));
    assert_eq!((&report["reasons"][0]["reason"], &report["reasons"][0]["task"]), (&"input_perhaps".into(), &"clean@customer=acme".into()));
    assert_eq!(of("clean@customer=globex")["verdict"], "up_to_date");
    assert_eq!(of("clean@customer=globex")["reasons"], serde_json::json!([]));
}

#[test]
fn what_is_manual_is_left_out_unless_it_is_named() {
    let dir =
        TestDir::pipeline("stages:\n  a:\n    cmd: echo 1 > a\n    outputs: a\n  send:\n    cmd: cat a\n    inputs: a\n    runs: manual\n");
    dir.flow(&["run"]).code(0);
    dir.flow(&["plan"]).code(0).out("\n pipeline: 1 up to date\n");
    dir.flow(&["plan", "send"])
        .code(0)
        .out("\n run      send  was named  about [..]s\n pipeline: 1 to run, 1 up to date; about [..]s with 2 jobs\n");
}

#[test]
fn a_tool_command_is_asked_each_time() {
    let dir = TestDir::pipeline(
        "stages:\n  a:\n    cmd: echo 1 > a\n    outputs: a\n    tools:\n      - shell: cat version && echo asked >> ../asked\n",
    );
    dir.write("version", "1\n");
    dir.flow(&["run"]).code(0);
    dir.flow(&["run"]).code(0).err("\n pipeline: 1 up to date in [..]s\n");
    dir.write("version", "2\n");
    dir.flow(&["plan"]).code(0).out("\n run      a  tool shell changed  about [..]s\n pipeline: 1 to run; about [..]s with 2 jobs\n");
    dir.flow(&["run"]).code(0).err("\n ran       a  [..]s\n pipeline: 1 ran in [..]s\n");
    assert_eq!(std::fs::read_to_string(dir.root().join("asked")).unwrap().lines().count(), 4, "once a call");
}
