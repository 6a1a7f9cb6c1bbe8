//! When a command fails.

use serde_json::Value;

use crate::common::{Got, TestDir};

#[test]
fn one_failure_is_shown_whole() {
    let dir = TestDir::pipeline(
        "\
name: etl
stages:
  clean:
    cmd: echo clean > clean.csv
    outputs: clean.csv
  train:
    cmd: |
      echo epoch 1
      echo half > model.bin
      echo 'no such column: n/a' >&2
      test -e fixed
      cat clean.csv > model.bin
    inputs: clean.csv
    outputs: model.bin
  report:
    cmd: cat model.bin > report.html
    inputs: model.bin
    outputs: report.html
",
    );
    dir.flow(&["run"]).code(1).out("").err(
        "
 ran       clean  [..]s
 failed    train  [..]exit status 1 after [..]s

   echo epoch 1
   echo half > model.bin
   echo 'no such column: n/a' >&2
   test -e fixed
   cat clean.csv > model.bin
   │ epoch 1
   │ no such column: n/a

   whole log: flow log train      what it wrote: .flow/pipeline.yaml/failed/train/1.1/

 etl: 1 failed, 1 not run below it, 1 ran in [..]s
 after mending it: flow resume
",
    );
    assert_eq!(dir.read(".flow/pipeline.yaml/failed/train/1.1/model.bin"), "half\n");
    assert!(!dir.has("model.bin") && !dir.has("report.html"));
    dir.write("fixed", "");
    dir.flow(&["resume"]).code(0).err(
        "
 run 1 of [..] stopped after 1 of 3 tasks (failed). Going on:
 ran       train   [..]s
 ran       report  [..]s
 etl: 2 ran, 1 up to date in [..]s
",
    );
    assert_eq!(dir.read("report.html"), "clean\n");
    assert!(!dir.has(".flow/pipeline.yaml/failed/train/1.1"));
}

#[test]
fn last_good_result_stays() {
    let dir =
        TestDir::pipeline("stages:\n  a:\n    cmd: echo ${{ config.n }} > a; test ${{ config.n }} = 1\n    outputs: a\nconfig: { n: 1 }\n");
    dir.flow(&["run"]).code(0);
    dir.flow(&["run", "--set", "n=2"]).code(1).err(
        "
 failed    a  [..]exit status 1 after [..]s

   echo 2 > a; test 2 = 1
   it printed nothing

   what it wrote: .flow/pipeline.yaml/failed/a/2.1/
   a is still the result of the run of [..]
   a of an earlier run was out of its way while it ran: the command can't go on from it

 pipeline: 1 failed in [..]s
 after mending it: flow resume
",
    );
    assert_eq!(dir.read("a"), "1\n");
    dir.flow(&["run"]).code(0).err("\n pipeline: 1 up to date in [..]s\n");
}

/// Three that fail in the same way, and one beside them.
const FAN: &str = "\
stages:
  bad:
    foreach: { n: [1, 2, 3] }
    cmd: echo broken; exit 3
    outputs: bad${{ n }}
  below:
    cmd: cat ${{ inputs }} > below
    inputs: { from: bad }
    outputs: below
  beside:
    cmd: sleep 0.05; echo > beside
    outputs: beside
";

#[test]
fn first_failure_stops_and_keep_going_does_not() {
    let dir = TestDir::pipeline(FAN);
    dir.flow(&["run", "-j", "1"])
        .code(1)
        .err("...\n pipeline: 1 failed, 1 not run below it, 3 not started in [..]s\n after mending it: flow resume\n");
    assert!(!dir.has("beside"));
    dir.flow(&["run", "-j", "1", "--keep-going"]).code(1).err(
        "
 failed    bad@n=1  [..]exit status 3 after [..]s
...
   whole log: flow log bad@n=1

 failed    bad@n=2  [..]
 failed    bad@n=3  [..]
 ran       beside   [..]s
...
 pipeline: 3 failed, 1 not run below them, 1 ran in [..]s
 after mending them: flow resume
",
    );
    // As the file says, and the command line beats it.
    let dir = TestDir::pipeline(&format!("keep_going: true\n{FAN}"));
    dir.flow(&["run", "-j", "1", "--fail-fast"]).code(1).err("...\n pipeline: 1 failed, 1 not run below it, 3 not started in [..]s\n...\n");
    dir.flow(&["run", "-j", "1"]).code(1).err("...\n pipeline: 3 failed, 1 not run below them, 1 ran in [..]s\n...\n");
}

/// How a command of this text ends.
fn ends(stage: &str) -> Got {
    TestDir::pipeline(&format!("stages:\n  it:\n{stage}")).flow(&["run"])
}

#[test]
fn causes_are_said_for_people() {
    for (stage, said) in [
        ("    cmd: kill -SEGV $$\n", "killed by SIGSEGV"),
        ("    cmd: sleep 60\n    timeout: 1s\n    grace: 1s\n", "timed out after 1 s"),
        ("    cmd: 'true'\n    outputs: model.bin\n", "did not make model.bin"),
        ("    cmd: 'true'\n    outputs: [a, b/]\n", "did not make a, b"),
        ("    cmd: seq 100000 | head -n 1\n", "a reader such as head closed the pipe"),
        ("    cmd: mkdir a\n    outputs: a\n", "`a/`"),
        ("    cmd: echo > a\n    outputs: a/\n", "a is a file, declared as the folder `a/`"),
        ("    cmd: exit 7\n", "exit status 7"),
        ("    argv: [nosuchprogram]\n", "nosuchprogram"),
        ("    cmd: nosuchprogram --x y\n", "nosuchprogram"),
    ] {
        let got = ends(stage).code(1);
        assert!(got.err.contains(said), "{stage}\n{}", got.err);
        assert!(got.err.contains("pipeline: 1 failed in"), "{}", got.err);
    }
}

#[test]
fn a_missing_default_shell_is_named() {
    let dir = TestDir::pipeline("stages:\n  it:\n    cmd: echo a; echo b\n");
    let mut command = dir.command(".", &["run"]);
    let got = Got::of(command.env("PATH", dir.path("."))).code(1);
    assert!(got.err.contains("shell: sh -eu -c"), "{}", got.err);
    assert!(got.err.contains("bash"), "{}", got.err);
    // One of your own that is missing is only not found.
    dir.edit("pipeline.yaml", "    cmd: echo a; echo b\n", "    cmd: echo a; echo b\n    shell: zzsh -c\n");
    let got = dir.flow(&["run"]).code(1);
    assert!(got.err.contains("zzsh") && !got.err.contains("sh -eu"), "{}", got.err);
}

#[test]
fn retries() {
    let dir = TestDir::pipeline(
        "stages:\n  it:\n    cmd: echo try ${{ attempt }}; echo x >> tries; test $(wc -l < tries) -ge 2 && echo > it\n    outputs: it\n    retries: 3\n",
    );
    let got = dir.flow(&["run", "--json"]).code(0);
    let lines: Vec<Value> = got.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ended: Vec<(u64, String)> = lines
        .iter()
        .filter(|line| line["event"] == "task_ended")
        .map(|line| (line["attempt"].as_u64().unwrap(), line["result"]["cause"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(ended, [(1, "exit".into()), (2, "success".into())]);
    assert_eq!(lines.last().unwrap()["counts"]["ran"], 1);
    dir.flow(&["log", "it"]).code(0).out("try 2\n");
    dir.flow(&["log", "it", "--attempt", "1"]).code(0).out("try 1\n");
    // The attempt is no part of the key.
    dir.flow(&["run"]).code(0).err("\n pipeline: 1 up to date in [..]s\n");
}

#[test]
fn retries_that_do_not_help() {
    let dir = TestDir::pipeline("stages:\n  it:\n    cmd: echo no >> tries; false\n    retries: 1\n");
    dir.flow(&["run"]).code(1).err("...\n pipeline: 1 failed in [..]s\n...\n");
    assert_eq!(dir.read("tries"), "no\nno\n");
}

#[test]
fn an_output_changed_by_hand_is_kept() {
    let dir = TestDir::pipeline("stages:\n  it:\n    cmd: echo made > it.txt\n    outputs: it.txt\n");
    dir.flow(&["run"]).code(0);
    dir.write("it.txt", "mine\n");
    let got = dir.flow(&["run"]).code(0);
    assert!(got.err.contains("it.txt was not what flow had made: it is kept as"), "{}", got.err);
    assert_eq!(dir.read("it.txt"), "made\n");
}

#[test]
fn an_input_that_changes_meanwhile_spoils_the_result() {
    let dir =
        TestDir::pipeline("stages:\n  it:\n    cmd: cat in.txt > out.txt; echo more >> in.txt\n    inputs: in.txt\n    outputs: out.txt\n");
    dir.write("in.txt", "one\n");
    let got = dir.flow(&["run"]).code(0);
    assert!(got.err.contains("in.txt changed while `it` ran"), "{}", got.err);
    // Not up to date: it runs again.
    let got = dir.flow(&["run"]).code(0);
    assert!(got.err.contains("ran       it"), "{}", got.err);
}

#[test]
fn what_is_made_anew_with_the_same_bytes_is_not_kept() {
    let dir = TestDir::pipeline(
        "stages:\n  same:\n    cmd: echo same > same\n    outputs: same\n  other:\n    cmd: echo other > other\n    outputs: other\n",
    );
    dir.write("same", "same\n");
    dir.write("other", "mine\n");
    let got = dir.flow(&["run"]).code(0);
    assert!(!got.err.contains("warning   same"), "{}", got.err);
    let place = got.err.split("it is kept as ").nth(1).unwrap().lines().next().unwrap();
    assert_eq!((dir.read(place).as_str(), dir.read("other").as_str()), ("mine\n", "other\n"));
    assert!(!dir.has(&place.replace("other", "same")));
}

#[test]
fn a_retry_names_its_task_once() {
    let dir = TestDir::pipeline("stages:\n  a: {cmd: exit 1, retries: 1}\n");
    dir.flow(&["run"]).code(1).err(
        "
 retry     a  [..]exit status 1 after [..]s, again in 1 s
 failed    a  [..]exit status 1 after [..]s

   exit 1
   it printed nothing

 pipeline: 1 failed in [..]s
 after mending it: flow resume
",
    );
}

#[test]
fn a_very_long_line_of_a_log_is_cut() {
    let dir = TestDir::pipeline("stages:\n  a: {cmd: head -c 20000 /dev/zero | tr '\\0' b; exit 1}\n");
    let got = dir.flow(&["run"]).code(1);
    assert!(got.err.lines().all(|line| line.chars().count() <= 510), "{}", got.err);
}
