//! A run that is stopped: by a signal to it alone, and by Ctrl-C.

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use crate::common::TestDir;

const SLOW: &str = "\
stages:
  first:
    cmd: echo > first
    outputs: first
  slow:
    cmd: |
      trap 'echo asked > asked; exit 1' TERM
      touch begun
      for n in $(seq 6000); do sleep 0.01; done
      echo done > slow
    inputs: first
    outputs: slow
  last:
    cmd: cat slow > last
    inputs: slow
    outputs: last
";

fn kill(pid: i32, signal: &str, group: bool) {
    let target = if group { format!("-{pid}") } else { pid.to_string() };
    assert!(std::process::Command::new("kill").args([signal, "--", &target]).status().unwrap().success());
}

#[test]
fn signals_stop_a_run() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let dir = TestDir::pipeline(SLOW);
        // A process group of its own, as a shell gives it: Ctrl-C goes to the whole of it.
        let mut command = dir.command(".", &["run"]);
        let child = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        dir.wait_for("begun");
        kill(child.id() as i32, signal, signal == "-INT");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{signal}");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains("what runs is asked to end; a second"), "{err}");
        assert!(err.contains(" cancelled slow") && !err.contains("failed"), "{err}");
        assert!(err.contains("flow resume"), "{err}");
        // The command was asked to end, and what it would have written is not there.
        assert_eq!(dir.read("asked"), "asked\n");
        assert!(!dir.has("slow") && !dir.has("last"));
        dir.edit("pipeline.yaml", "      for n in $(seq 6000); do sleep 0.01; done\n", "");
        dir.flow(&["resume"]).code(0).err(
            "
 run 1 of [..] stopped after 1 of 3 tasks (interrupted). Going on:
 ran       slow  [..]s
 ran       last  [..]s
 pipeline: 2 ran, 1 up to date in [..]s
",
        );
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let dir = TestDir::pipeline(
        "stages:\n  deaf:\n    cmd: trap '' TERM; touch begun; for n in $(seq 6000); do sleep 0.01; done\n    grace: 1m\n",
    );
    let mut running = dir.start(&["run"]);
    dir.wait_for("begun");
    kill(running.pid(), "-TERM", false);
    std::thread::sleep(std::time::Duration::from_millis(100));
    kill(running.pid(), "-INT", false);
    assert_eq!(running.wait(), Some(143));
}

#[test]
fn a_second_run_waits_or_is_refused() {
    let dir =
        TestDir::pipeline("stages:\n  it:\n    cmd: touch begun; while ! test -e go; do sleep 0.01; done; echo > it\n    outputs: it\n");
    let mut running = dir.start(&["run"]);
    dir.wait_for("begun");
    let got = dir.flow(&["run"]).code(4);
    assert!(got.err.contains("another run of this pipeline is going on"), "{}", got.err);
    dir.flow(&["resume"]).code(4);
    let waiting = dir.command(".", &["run", "--wait"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    dir.write("go", "");
    let output = waiting.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!((running.wait(), output.status.code()), (Some(0), Some(0)), "{err}");
    assert!(err.ends_with("s\n") && err.contains("1 up to date"), "{err}");
}

#[test]
fn killed_and_gone_on_with() {
    let dir = TestDir::pipeline(SLOW);
    let mut running = dir.start(&["run"]);
    dir.wait_for("begun");
    running.kill();
    dir.edit("pipeline.yaml", "      for n in $(seq 6000); do sleep 0.01; done\n", "");
    let got = dir.flow(&["resume"]).code(0);
    assert!(got.err.starts_with(" run 1 of "), "{}", got.err);
    assert!(got.err.contains("stopped after 1 of 3 tasks (killed). Going on:"), "{}", got.err);
    assert!(got.err.ends_with("s\n") && got.err.contains(" 2 ran, 1 up to date in"), "{}", got.err);
    assert_eq!(dir.read("last"), "done\n");
    dir.flow(&["resume"]).code(0).err("\n run 2 of [..] ended well: nothing to go on with\n");
}
