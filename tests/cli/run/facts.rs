//! What a result rests on: each part makes stale what uses it, and nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::{Got, TestDir};

/// Runs: how many tasks ran or were restored, of how many.
#[track_caller]
fn worked(dir: &TestDir) -> usize {
    worked_by(&mut dir.command(".", &["run"]))
}

#[track_caller]
fn worked_by(command: &mut std::process::Command) -> usize {
    let got = Got::of(command).code(0);
    got.err.lines().filter(|line| line.starts_with(" ran ") || line.starts_with(" restored ")).count()
}

#[test]
fn needs_is_order_only() {
    let dir = TestDir::pipeline(
        "stages:\n  second:\n    cmd: cat log > second\n    outputs: second\n    needs: first\n  first:\n    cmd: echo ${{ config.n }} > log\nconfig: { n: 1 }\n",
    );
    assert_eq!(worked(&dir), 2);
    assert_eq!(dir.read("second"), "1\n");
    // Its rerun makes the other not stale.
    dir.edit("pipeline.yaml", "n: 1", "n: 2");
    assert_eq!(worked(&dir), 1);
    assert_eq!(dir.read("second"), "1\n");
}

#[test]
fn a_stage_without_outputs_and_its_stamp() {
    let dir = TestDir::pipeline(
        "stages:\n  load:\n    cmd: cat raw.csv >> table\n    inputs: raw.csv\n  report:\n    cmd: cat table > report\n    inputs: { from: load }\n    outputs: report\n",
    );
    dir.write("raw.csv", "a\n");
    assert_eq!(worked(&dir), 2);
    assert_eq!(worked(&dir), 0);
    dir.write("raw.csv", "b\n");
    assert_eq!(worked(&dir), 2);
    assert_eq!(dir.read("report"), "a\nb\n");
    // Never restored: what it did elsewhere is not in any file.
    dir.write("raw.csv", "a\n");
    assert_eq!(worked(&dir), 2);
    assert_eq!(dir.read("report"), "a\nb\na\n");
}

#[test]
fn folder_outputs() {
    let dir = TestDir::pipeline(
        "stages:\n  split:\n    cmd: mkdir -p parts/deep; for n in 1 2 3; do echo $n > parts/$n; done; echo d > parts/deep/d; echo run >> runs\n    outputs: parts/\n  sum:\n    cmd: cat ${{ inputs }} > sum\n    inputs: parts/*\n    outputs: sum\n",
    );
    assert_eq!(worked(&dir), 2);
    assert_eq!(dir.read("sum"), "1\n2\n3\n");
    let kept = fs::metadata(dir.path("parts/1")).unwrap().modified().unwrap();
    // A member that is gone comes back alone.
    dir.remove("parts/2");
    dir.flow(&["run"]).code(0).err("\n restored  split  [..] B\n pipeline: 1 restored, 1 up to date in [..]s\n");
    assert_eq!(dir.read("parts/2"), "2\n");
    assert_eq!(fs::metadata(dir.path("parts/1")).unwrap().modified().unwrap(), kept);
    // One that was added is put away.
    dir.write("parts/9", "9\n");
    let got = dir.flow(&["run"]).code(0);
    assert!(!dir.has("parts/9") && got.err.contains("kept"), "{}", got.err);
    assert_eq!((dir.read("runs").as_str(), dir.read("sum").as_str()), ("run\n", "1\n2\n3\n"));
    assert_eq!(worked(&dir), 0);
    // The whole of it.
    fs::remove_dir_all(dir.path("parts")).unwrap();
    dir.flow(&["run"]).code(0).err("\n restored  split  [..]8 B\n...\n");
    assert_eq!(dir.read("parts/deep/d"), "d\n");
    assert_eq!(dir.read("runs"), "run\n");
}

#[test]
fn optional_inputs_and_outputs() {
    let dir = TestDir::pipeline(
        "stages:\n  it:\n    cmd: cat $(ls ${{ inputs }} 2>/dev/null || true) > it; test -e more.txt && cp more.txt extra || true\n    inputs: [base.txt, { path: more.txt, optional: true }]\n    outputs: [it, { path: extra, optional: true }]\n",
    );
    dir.write("base.txt", "base\n");
    let got = dir.flow(&["run"]);
    assert_eq!(got.code, Some(0), "{}", got.err);
    assert_eq!(worked(&dir), 0);
    dir.write("more.txt", "more\n");
    assert_eq!(worked(&dir), 1);
    assert_eq!((dir.read("it").as_str(), dir.read("extra").as_str()), ("base\nmore\n", "more\n"));
    // Missing again is another value than empty.
    dir.write("more.txt", "");
    assert_eq!(worked(&dir), 1);
    dir.remove("more.txt");
    assert_eq!(worked(&dir), 1);
    assert!(!dir.has("extra"));
}

#[test]
fn globs() {
    let dir = TestDir::pipeline("stages:\n  it:\n    cmd: cat ${{ inputs }} > all.txt\n    inputs: 'in/*.txt'\n    outputs: all.txt\n");
    dir.write("in/b.txt", "b\n");
    dir.write("in/a.txt", "a\n");
    assert_eq!(worked(&dir), 1);
    assert_eq!(dir.read("all.txt"), "a\nb\n");
    dir.write("in/other.csv", "x");
    dir.write("in/.hidden.txt", "x");
    assert_eq!(worked(&dir), 0);
    dir.write("in/c.txt", "c\n");
    assert_eq!(worked(&dir), 1);
    dir.remove("in/a.txt");
    assert_eq!(worked(&dir), 1);
    assert_eq!(dir.read("all.txt"), "b\nc\n");
}

#[test]
fn tools_and_scripts() {
    let dir = TestDir::pipeline(
        "\
stages:
  declared:
    cmd: mytool > declared
    tools: mytool
    outputs: declared
  script:
    cmd: sh scripts/do.sh > script
    outputs: script
  program:
    cmd: ./bin/run.sh > program
    outputs: program
  asked:
    cmd: cat version > asked
    tools: { mytool: cat version }
    outputs: asked
",
    );
    let program = |path: &str, text: &str| {
        dir.write(path, text);
        fs::set_permissions(dir.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("path/mytool", "#!/bin/sh\necho one\n");
    program("bin/run.sh", "#!/bin/sh\necho run\n");
    dir.write("scripts/do.sh", "echo do\n");
    dir.write("version", "1.0\n");
    let path = format!("{}:{}", dir.path("path").display(), std::env::var("PATH").unwrap());
    let worked = || worked_by(dir.command(".", &["run"]).env("PATH", &path));
    assert_eq!(worked(), 4);
    assert_eq!(worked(), 0);
    for (path, text) in
        [("path/mytool", "#!/bin/sh\necho two\n"), ("bin/run.sh", "#!/bin/sh\necho walk\n"), ("scripts/do.sh", "echo done\n")]
    {
        program(path, text);
        assert_eq!(worked(), 1, "{path}");
    }
    assert_eq!((dir.read("declared"), dir.read("script"), dir.read("program")), ("two\n".into(), "done\n".into(), "walk\n".into()));
    dir.write("version", "1.1\n");
    assert_eq!(worked(), 1);
    assert_eq!(dir.read("asked"), "1.1\n");
    assert_eq!(worked(), 0);
}

#[test]
fn variables() {
    let dir = TestDir::pipeline(
        "stages:\n  it:\n    cmd: echo \"${A-unset} ${B-unset} ${C-unset}\" > it\n    env: { A: fixed, B: null }\n    outputs: it\n",
    );
    let worked = |b: Option<&str>, c: &str| {
        let mut command = dir.command(".", &["run"]);
        command.env("A", "of the caller").env("C", c);
        if let Some(b) = b {
            command.env("B", b);
        }
        worked_by(&mut command)
    };
    assert_eq!(worked(Some("1"), "x"), 1);
    assert_eq!(dir.read("it"), "fixed 1 x\n");
    // Seen, and not tracked.
    assert_eq!(worked(Some("1"), "y"), 0);
    assert_eq!(worked(Some("2"), "y"), 1);
    assert_eq!(dir.read("it"), "fixed 2 y\n");
    // Unset is not empty.
    assert_eq!(worked(Some(""), "y"), 1);
    assert_eq!(worked(None, "y"), 1);
    assert_eq!(dir.read("it"), "fixed unset y\n");
    dir.edit("pipeline.yaml", "fixed", "other");
    assert_eq!(worked(None, "y"), 1);
}

#[test]
fn params_are_what_a_command_reads_by_itself() {
    let dir = TestDir::pipeline(
        "config:\n  db: { host: h, port: 1 }\n  other: 1\nstages:\n  it:\n    cmd: cat $FLOW_CONFIG > it\n    params: [db]\n    outputs: it\n  none:\n    cmd: echo \"${FLOW_CONFIG-none}\" > none\n    outputs: none\n",
    );
    assert_eq!(worked(&dir), 2);
    let config: serde_json::Value = serde_json::from_str(&dir.read("it")).unwrap();
    assert_eq!(config, serde_json::json!({"db": {"host": "h", "port": 1}}));
    assert_eq!(dir.read("none"), "none\n");
    dir.edit("pipeline.yaml", "other: 1", "other: 2");
    assert_eq!(worked(&dir), 0);
    dir.edit("pipeline.yaml", "port: 1", "port: 2");
    assert_eq!(worked(&dir), 1);
}

#[test]
fn working_folder() {
    let dir = TestDir::pipeline(
        "stages:\n  it:\n    dir: sub\n    cmd: cat ${{ inputs }} > ${{ outputs }}; pwd > here.txt; echo ${{ inputs }} >> here.txt\n    inputs: data/in.txt\n    outputs: [out/it.txt]\n",
    );
    dir.write("data/in.txt", "in\n");
    dir.write("sub/x", "");
    assert_eq!(worked(&dir), 1);
    assert_eq!(dir.read("out/it.txt"), "in\n");
    assert!(dir.read("sub/here.txt").ends_with("/w/sub\n../data/in.txt\n"));
}

#[test]
fn the_environment_of_a_command() {
    let dir = TestDir::pipeline(
        "stages:\n  it:\n    cmd: |\n      echo $LC_ALL > it\n      test -d \"$TMPDIR\" && test \"$TMPDIR\" = ${{ tmp }} && test -z \"$(ls -A $TMPDIR)\"\n      touch $TMPDIR/left\n      cat <&0 | wc -c >> it\n    outputs: it\n",
    );
    let got = dir.flow(&["run"]);
    assert_eq!(got.code, Some(0), "{}", got.err);
    assert_eq!(dir.read("it").split_whitespace().collect::<Vec<_>>(), ["C.UTF-8", "0"]);
    // Nothing is left of the scratch folder.
    assert_eq!(fs::read_dir(dir.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_shell_of_ones_own() {
    let dir = TestDir::pipeline("stages:\n  it:\n    shell: sh -c\n    cmd: false; echo on > it\n    outputs: it\n");
    assert_eq!(worked(&dir), 1);
    assert_eq!(dir.read("it"), "on\n");
    dir.edit("pipeline.yaml", "shell: sh -c", "shell: sh -u -c");
    assert_eq!(worked(&dir), 1);
}

#[test]
fn renamed_stages_take_their_results_along() {
    let dir = TestDir::pipeline("stages:\n  old:\n    cmd: echo x > it; echo run >> runs\n    outputs: it\n");
    assert_eq!(worked(&dir), 1);
    dir.edit("pipeline.yaml", "old:", "new:");
    dir.flow(&["run"]).code(0).err("\n same      new  [..]2 B\n pipeline: 1 up to date in [..]s\n");
    assert_eq!(dir.read("runs"), "run\n");
    dir.flow(&["run"]).code(0).err("\n pipeline: 1 up to date in [..]s\n");
}
