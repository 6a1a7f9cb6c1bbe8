//! `flow log`: which attempt, which bytes, and following one that runs.

use std::fs;
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{LONG, TestDir};

const SOME: &str = "\
stages:
  talk:
    cmd: echo out; echo err >&2; cat in.txt > talk.txt; cat in.txt
    inputs: in.txt
    outputs: talk.txt
  mute:
    cmd: cat in.txt > mute.txt
    inputs: in.txt
    outputs: mute.txt
  each:
    foreach: { city: [sf, oslo] }
    cmd: echo ${{ city }}; test ${{ city }} != oslo
  below:
    cmd: cat ${{ inputs }} > below
    inputs: talk.txt
    needs: each
    outputs: below
";

fn some() -> TestDir {
    let dir = TestDir::pipeline(SOME);
    dir.write("in.txt", "one\n");
    dir.flow(&["run", "--keep-going"]).code(1);
    dir
}

#[test]
fn the_last_attempt_of_a_task() {
    let dir = some();
    dir.flow(&["log", "talk"]).code(0).err("").out("out\nerr\none\n");
    dir.flow(&["log", "pipeline.yaml", "talk.txt"]).code(0).err("").out("out\nerr\none\n");
    dir.flow(&["log", "each@city=oslo"]).code(0).err("").out("oslo\n");
    dir.flow(&["log", "status:failed"]).code(0).err("").out("oslo\n");
    dir.flow(&["log", "mute"]).code(0).out("").err("\n mute printed nothing in run 1\n");
    dir.write("in.txt", "two\n");
    dir.flow(&["run", "talk"]).code(0);
    dir.flow(&["log", "talk"]).code(0).out("out\nerr\ntwo\n");
    dir.flow(&["log", "talk", "--run", "1"]).code(0).err("").out("out\nerr\none\n");
    // Of one that was up to date there is the log of the run that ran it.
    dir.flow(&["run", "talk"]).code(0);
    dir.flow(&["log", "talk"]).code(0).err("").out("out\nerr\ntwo\n");
    let before = dir.tree(".");
    dir.flow(&["log", "talk"]).code(0);
    assert_eq!(dir.tree("."), before);
}

#[test]
fn a_task_that_is_not_meant_alone() {
    let dir = some();
    dir.flow(&["log", "each"]).code(2).out("").err(
        "
error: `each` is 2 tasks: name one
   each@city=oslo  exit status 1, run 1
   each@city=sf    fine, run 1
 flow log each@city=oslo
",
    );
    dir.flow(&["log"]).code(2).out("").err(
        "
error: which task?
   each@city=oslo  exit status 1, run 1
   talk            fine, run 1
   mute            fine, run 1
   each@city=sf    fine, run 1
   below           never ran
 flow log each@city=oslo
",
    );
    dir.flow(&["log", "taalk"]).code(2).out("").err("\nerror: no stage, task or output `taalk`\n did you mean `talk`?\n");
    dir.flow(&["log", "below"]).code(2).out("").err("\nerror: `below` never ran\n flow run below\n");
    dir.flow(&["log", "talk", "--run", "7"]).code(2).out("").err("\nerror: `talk` did not run in run 7\n there are logs of it of run 1\n");
    dir.flow(&["log", "talk", "--attempt", "2"]).code(2).err("\nerror: `talk` has no attempt 2 in run 1\n there are logs of it of run 1\n");
    dir.flow(&["log", "status:interrupted"]).code(2).out("").err("\nerror: no task is meant by that\n");
    let one = TestDir::pipeline("stages:\n  only:\n    cmd: echo here\n");
    one.flow(&["log"]).code(2).err("\nerror: `only` never ran\n flow run only\n");
    one.flow(&["run"]).code(0);
    one.flow(&["log"]).code(0).out("here\n");
}

#[test]
fn gone_from_the_file() {
    let dir = some();
    dir.edit("pipeline.yaml", "  talk:\n", "  speak:\n");
    dir.flow(&["log", "talk"]).code(0).out("out\nerr\none\n");
    dir.edit("pipeline.yaml", "  speak:\n", "  speak:\n    input: x\n");
    assert!(dir.flow(&["log", "mute"]).code(2).out("").err.contains("unknown key `input`"));
}

#[test]
fn results_that_no_command_of_that_run_made() {
    let dir = some();
    dir.write("in.txt", "two\n");
    dir.flow(&["run", "talk"]).code(0);
    dir.write("in.txt", "one\n");
    dir.flow(&["run", "talk"]).code(0).err("\n restored  talk[..]\n...\n");
    dir.flow(&["log", "talk"]).code(0).out("out\nerr\none\n").err("\n talk was not run by run 3: its result is that of run 1\n");
    assert_eq!(dir.flow(&["log", "talk", "--json"]).json()["run"], 1);
}

#[test]
fn what_failed_without_a_word() {
    let dir = TestDir::pipeline("stages:\n  it:\n    cmd: exit 3\n  lost:\n    cmd: 'true'\n    needs: it\n");
    dir.flow(&["run"]).code(1);
    dir.flow(&["log", "it"]).code(0).out("").err("\n it printed nothing in run 1: exit status 3\n");
}

#[test]
fn json() {
    let dir = TestDir::pipeline("stages:\n  it:\n    cmd: printf 'a \"b\"\\n\\tc\\\\ \\351 \\346\\227\\245 \\033[1m'; exit 4\n");
    dir.flow(&["run"]).code(1);
    let got = dir.flow(&["log", "it", "--json"]).code(0).err("").json();
    assert_eq!((&got["kind"], &got["task"], &got["run"], &got["attempt"]), (&json!("log"), &json!("it"), &json!(1), &json!(1)));
    assert_eq!((&got["result"]["cause"], &got["result"]["status"]), (&json!("exit"), &json!(4)));
    assert_eq!((&got["path"], &got["bytes"]), (&json!(".flow/pipeline.yaml/logs/it/1.1.log"), &json!(20)));
    assert_eq!(got["text"], "a \"b\"\n\tc\\ \u{fffd} 日 \u{1b}[1m");
    assert!(dir.has(got["path"].as_str().unwrap()));
    // A pipe gets the bytes as they are.
    let output = dir.command(".", &["log", "it"]).output().unwrap();
    assert_eq!(output.stdout, fs::read(dir.path(".flow/pipeline.yaml/logs/it/1.1.log")).unwrap());
}

#[test]
fn a_big_log_is_copied() {
    let dir = TestDir::pipeline("stages:\n  it:\n    cmd: head -c 5000000 /dev/zero | tr '\\0' '\\346'\n");
    dir.flow(&["run"]).code(0);
    let output = dir.command(".", &["log", "it"]).output().unwrap();
    assert!(output.stdout.len() == 5_000_000 && output.stdout.iter().all(|byte| *byte == 0o346));
    let got = dir.flow(&["log", "it", "--json"]).code(0).json();
    assert_eq!((&got["bytes"], got["text"].as_str().unwrap().chars().count()), (&json!(5_000_000), 5_000_000));
    let mut child = dir.command(".", &["log", "it"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_log_is_no_way_out() {
    let dir = some();
    fs::write(dir.root().join("secret"), "secret\n").unwrap();
    let log = ".flow/pipeline.yaml/logs/talk/1.1.log";
    dir.remove(log);
    std::os::unix::fs::symlink(dir.root().join("secret"), dir.path(log)).unwrap();
    let got = dir.flow(&["log", "talk"]);
    assert!(!got.out.contains("secret") && got.code == Some(5), "{}{}", got.out, got.err);
}

/// A task that says `n` when the file `n` is there, until it ends by `end`.
const STEPS: &str = "\
stages:
  first:
    cmd: echo > first
    outputs: first
  steps:
    cmd: |
      say() { while ! test -e $1; do sleep 0.01; done; echo $1; }
      say one; say two; say end
      echo done > steps
    inputs: first
    outputs: steps
  after:
    cmd: echo something of another task; cat steps > after
    inputs: steps
    outputs: after
";

/// `flow log -f` with what it prints.
struct Follower {
    child: Child,
    seen: Vec<u8>,
}

impl Follower {
    fn new(dir: &TestDir, args: &[&str]) -> Follower {
        let child = dir.command(".", args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Follower { child, seen: Vec::new() }
    }

    /// Reads until this has come.
    fn expect(&mut self, text: &str) {
        let out = self.child.stdout.as_mut().unwrap();
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&self.seen).contains(text) {
            let count = out.read(&mut piece).unwrap();
            assert!(count > 0, "no {text:?} in {:?}", String::from_utf8_lossy(&self.seen));
            self.seen.extend(&piece[..count]);
        }
    }

    /// All it printed on both, and its code.
    fn end(mut self) -> (String, String, Option<i32>) {
        let since = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(since.elapsed() < LONG, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = self.child.wait_with_output().unwrap();
        self.seen.extend(output.stdout);
        (String::from_utf8(self.seen).unwrap(), String::from_utf8(output.stderr).unwrap(), output.status.code())
    }
}

fn begun(dir: &TestDir) {
    dir.wait_for(".flow/pipeline.yaml/logs/slot-0");
    let since = Instant::now();
    while !dir.flow(&["log", "steps"]).err.contains("is running") {
        assert!(since.elapsed() < LONG);
    }
}

#[test]
fn following_to_the_end() {
    let dir = TestDir::pipeline(STEPS);
    let mut running = dir.start(&["run"]);
    begun(&dir);
    let mut follower = Follower::new(&dir, &["log", "-f", "steps"]);
    dir.write("one", "");
    follower.expect("one\n");
    // Who looks without following gets what there is.
    dir.flow(&["log", "steps"]).code(0).out("one\n").err("\n steps is running: to go on, flow log -f steps\n");
    let got = dir.flow(&["log", "steps", "--json"]).code(0).json();
    assert_eq!((&got["text"], &got["bytes"], &got["result"]), (&json!("one\n"), &json!(4), &Value::Null));
    dir.write("two", "");
    follower.expect("two\n");
    dir.write("end", "");
    assert_eq!(follower.end(), ("one\ntwo\nend\n".into(), " steps: exit status 0\n".into(), Some(0)));
    assert_eq!(running.wait(), Some(0));
    // What is over is printed, and that is all.
    dir.flow(&["log", "-f", "steps"]).code(0).err("").out("one\ntwo\nend\n");
}

#[test]
fn following_in_json() {
    let dir = TestDir::pipeline(&STEPS.replace("echo done > steps", "exit 9"));
    let mut running = dir.start(&["run"]);
    begun(&dir);
    let mut follower = Follower::new(&dir, &["log", "-f", "steps", "--json"]);
    dir.write("one", "");
    follower.expect("one");
    dir.write("two", "");
    dir.write("end", "");
    let (out, _, code) = follower.end();
    assert_eq!((code, running.wait()), (Some(0), Some(1)));
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text: String = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(text, "one\ntwo\nend\n");
    let last = lines.last().unwrap();
    assert_eq!((&last["bytes"], &last["result"]["status"], &lines[0]["result"]), (&json!(12), &json!(9), &Value::Null));
}

#[test]
fn following_one_that_is_killed_with_its_flow() {
    let dir = TestDir::pipeline(STEPS);
    let mut running = dir.start(&["run"]);
    begun(&dir);
    let mut follower = Follower::new(&dir, &["log", "-f", "steps"]);
    dir.write("one", "");
    follower.expect("one\n");
    running.kill();
    let (out, err, code) = follower.end();
    assert_eq!((out.as_str(), err.as_str(), code), ("one\n", " steps: lost: flow was killed while it ran\n", Some(0)));
    // Before the next run has put things in order, and after.
    dir.flow(&["log", "steps"]).code(0).out("one\n").err("\n steps: lost: flow was killed while it ran\n");
    dir.write("two", "");
    dir.write("end", "");
    dir.flow(&["resume"]).code(0);
    dir.flow(&["log", "steps"]).code(0).out("one\ntwo\nend\n");
    dir.flow(&["log", "steps", "--run", "1"]).code(0).out("one\n");
}

#[test]
fn nothing_of_another_task_is_shown() {
    // One slot: what comes next uses the empty log of what printed nothing.
    let dir = TestDir::pipeline(
        "stages:\n  quiet:\n    cmd: while ! test -e go; do sleep 0.01; done; echo > quiet\n    outputs: quiet\n  loud:\n    cmd: echo loud; while ! test -e go2; do sleep 0.01; done; cat quiet > loud\n    inputs: quiet\n    outputs: loud\n",
    );
    let mut running = dir.start(&["run", "-j", "1"]);
    dir.wait_for(".flow/pipeline.yaml/logs/slot-0");
    let follower = Follower::new(&dir, &["log", "-f", "quiet"]);
    let since = Instant::now();
    while !dir.flow(&["log", "quiet"]).err.contains("has printed nothing yet") {
        assert!(since.elapsed() < LONG);
    }
    dir.write("go", "");
    let (out, err, code) = follower.end();
    assert_eq!((out.as_str(), code), ("", Some(0)), "{err}");
    assert!(err.contains("quiet printed nothing"), "{err}");
    let mut follower = Follower::new(&dir, &["log", "-f", "loud"]);
    follower.expect("loud\n");
    dir.write("go2", "");
    assert_eq!(follower.end().0, "loud\n");
    assert_eq!(running.wait(), Some(0));
}

#[test]
fn following_ends_with_the_attempt() {
    let dir = TestDir::pipeline(
        "stages:\n  it:\n    cmd: echo try ${{ attempt }}; while ! test -e go${{ attempt }}; do sleep 0.01; done; test ${{ attempt }} = 2\n    retries: 1\n",
    );
    let mut running = dir.start(&["run"]);
    dir.wait_for(".flow/pipeline.yaml/logs/slot-0");
    let since = Instant::now();
    while dir.flow(&["log", "it"]).out != "try 1\n" {
        assert!(since.elapsed() < LONG);
    }
    let mut follower = Follower::new(&dir, &["log", "-f", "it"]);
    follower.expect("try 1\n");
    dir.write("go1", "");
    let (out, err, code) = follower.end();
    assert_eq!((out.as_str(), code), ("try 1\n", Some(0)));
    assert!(err.contains("it: exit status 1"), "{err}");
    let mut follower = Follower::new(&dir, &["log", "-f", "it", "--attempt", "2"]);
    dir.write("go2", "");
    follower.expect("try 2\n");
    assert_eq!(follower.end().0, "try 2\n");
    assert_eq!(running.wait(), Some(0));
}
