//! `flow run`: what it says and does, from the first run on.

use serde_json::Value;

use crate::common::TestDir;

mod facts;
mod failure;
mod select;
mod signal;

/// Two stages: what is clean is counted.
const TWO: &str = "\
name: two
config: { fold: false, top: 3 }
stages:
  clean:
    cmd: sort -u ${{ inputs }} > ${{ outputs }}
    inputs: raw.txt
    outputs: out/clean.txt
  count:
    cmd: wc -l < ${{ inputs }} > ${{ outputs }}; echo ${{ config.top }} >> ${{ outputs }}
    inputs: out/clean.txt
    outputs: out/count.txt
";

fn two() -> TestDir {
    let dir = TestDir::pipeline(TWO);
    dir.write("raw.txt", "b\na\nb\n");
    dir
}

#[test]
fn first_run_no_op_edit_and_cutoff() {
    let dir = two();
    dir.flow(&["run"]).code(0).out("").err(
        "
 ran       clean  [..]s
 ran       count  [..]s
 two: 2 ran in [..]s
",
    );
    assert_eq!(dir.read("out/count.txt"), "2\n3\n");
    let before = dir.tree(".flow/pipeline.yaml/runs");
    dir.flow(&["run"]).code(0).out("").err("\n two: 2 up to date in [..]s\n");
    assert_eq!(dir.tree(".flow/pipeline.yaml/runs"), before);
    // Other bytes, another result: all below runs.
    dir.write("raw.txt", "b\na\nc\n");
    dir.flow(&["run"]).code(0).err(
        "
 ran       clean  [..]s
 ran       count  [..]s
 two: 2 ran in [..]s
",
    );
    // Other bytes, the same result: what is below stays.
    dir.write("raw.txt", "c\nb\na\n");
    dir.flow(&["run"]).code(0).err(
        "
 ran       clean  [..]s
 two: 1 ran, 1 up to date in [..]s
",
    );
    dir.flow(&["run"]).code(0).err("\n two: 2 up to date in [..]s\n");
    // What was made before comes back.
    dir.write("raw.txt", "b\na\nb\n");
    dir.flow(&["run"]).code(0).err(
        "
 restored  clean  [..]4 B
 restored  count  [..]4 B
 two: 2 restored in [..]s
",
    );
}

#[test]
fn what_nothing_counts_reruns_nothing() {
    let dir = two();
    dir.flow(&["run"]).code(0);
    // A comment, a description, an order of stages.
    dir.edit("pipeline.yaml", "stages:\n", "# a remark\npools: { x: 2 }\nstages:\n");
    dir.edit("pipeline.yaml", "  count:\n", "  count:\n    description: how many\n    timeout: 5m\n    retries: 2\n    tags: [slow]\n");
    dir.flow(&["run"]).code(0).err("\n two: 2 up to date in [..]s\n");
    dir.edit("pipeline.yaml", "sort -u", "sort -u -r");
    dir.flow(&["run"]).code(0).err(
        "
 ran       clean  [..]s
 ran       count  [..]s
 two: 2 ran in [..]s
",
    );
}

#[test]
fn no_op_writes_nothing() {
    let dir = two();
    dir.flow(&["run"]).code(0);
    let before: Vec<_> = dir.tree(".").into_iter().filter(|(path, _, _)| !path.ends_with("lock")).collect();
    dir.flow(&["run"]).code(0);
    dir.flow(&["run", "count"]).code(0);
    dir.flow(&["run", "-n"]).code(0);
    let after: Vec<_> = dir.tree(".").into_iter().filter(|(path, _, _)| !path.ends_with("lock")).collect();
    assert_eq!(before, after);
}

#[test]
fn json_lines() {
    let dir = two();
    let got = dir.flow(&["run", "--json"]).code(0).err("");
    let lines: Vec<Value> = got.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let words: Vec<String> = lines.iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(words, ["run_started", "task_started", "task_ended", "task_done", "task_started", "task_ended", "task_done", "run_ended"]);
    for (n, line) in lines.iter().enumerate() {
        assert_eq!((&line["flow"], &line["run"], &line["seq"]), (&1.into(), &1.into(), &n.into()));
    }
    assert_eq!(lines[0]["pipeline"]["name"], "two");
    assert_eq!(lines[1]["reasons"][0]["reason"], "never_ran");
    assert_eq!(lines[3]["outputs"][0]["path"], "out/clean.txt");
    assert_eq!(lines[7]["counts"]["ran"], 2);
    assert_eq!(dir.read(".flow/pipeline.yaml/runs/1/events.jsonl"), got.out);
    // Nothing to do: two lines, and no file.
    let got = dir.flow(&["run", "--json"]).code(0).err("");
    let lines: Vec<Value> = got.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["event"], &lines[0]["run"]), (&"run_started".into(), &Value::Null));
    assert_eq!((&lines[1]["event"], &lines[1]["run"], &lines[1]["exit"]), (&"run_ended".into(), &Value::Null, &0.into()));
    assert_eq!(lines[1]["counts"]["up_to_date"], 2);
    assert!(!dir.has(".flow/pipeline.yaml/runs/2"));
}

#[test]
fn mistakes_of_the_file_stop_all() {
    let dir = two();
    dir.edit("pipeline.yaml", "    inputs: raw.txt", "    input: raw.txt");
    dir.flow(&["run"]).code(2).out("").err(
        "
error: unknown key `input` in stage `clean`
 --> pipeline.yaml:6:5
  |
6 |     input: raw.txt
  |     ^^^^^ did you mean `inputs`?
...
",
    );
    let got = dir.flow(&["run", "--json"]).code(2).err("");
    assert_eq!((&got.json()["kind"], &got.json()["diagnostics"][0]["code"]), (&"check".into(), &"unknown_key".into()));
    assert_eq!(got.json()["diagnostics"][0]["place"], "pipeline.yaml:6:5");
    assert!(!dir.has(".flow"));
}

#[test]
fn bad_command_lines() {
    let dir = two();
    for args in
        [&["run", "--nothing"][..], &["walk"], &["run", "-j", "0"], &["run", "-j", "x"], &["run", "--keep-going", "--fail-fast"], &[]]
    {
        let got = dir.flow(args).code(2).out("");
        assert!(!got.err.is_empty(), "{args:?}");
    }
    dir.flow(&["run", "nobody.yaml"]).code(2).err("\nerror: [..]nobody.yaml[..]\n...\n");
    dir.flow(&["run", "clena"]).code(2).err("\nerror: no stage, task or output `clena`\n did you mean `clean`?\n");
    assert!(!dir.has("out"));
}

#[test]
fn pipeline_is_found_above_and_beside() {
    let dir = two();
    dir.write("sub/deep/x", "");
    dir.flow_in("sub/deep", &["run"]).code(0).err("...\n two: 2 ran in [..]s\n");
    let none = TestDir::new(&[]);
    none.flow(&["run"]).code(2).err("\nerror: no pipeline.yaml here or in a folder above\n name one: flow run FILE\n");
    dir.write("pipeline.yml", TWO);
    dir.flow(&["run"]).code(2).err("\nerror: [..]both pipeline.yaml and pipeline.yml\n");
    dir.flow(&["run", "pipeline.yaml"]).code(0).err("\n two: 2 up to date in [..]s\n");
    dir.flow(&["run", "--file", "pipeline.yaml", "count"]).code(0).err("\n two: 2 up to date in [..]s\n");
}

#[test]
fn settings_by_set() {
    let dir = two();
    dir.flow(&["run", "--set", "top=7"]).code(0);
    assert_eq!(dir.read("out/count.txt"), "2\n7\n");
    dir.flow(&["run", "--set", "top=7"]).code(0).err("\n two: 2 up to date in [..]s\n");
    dir.flow(&["run"]).code(0).err("\n ran       count  [..]s\n two: 1 ran, 1 up to date in [..]s\n");
    dir.flow(&["run", "--set", "top=many"]).code(2).err("\nerror: [..]`top`[..]number[..]\n...\n");
    dir.flow(&["run", "--set", "tap=1"]).code(2).err("\nerror: [..]`tap`[..]\n did you mean `top`?\n");
    dir.flow(&["run", "--set", "zebra=1"]).code(2).err("\nerror: [..]`zebra`[..]\n declare it in the pipeline's `config`\n");
    dir.flow(&["run", "--set", "top"]).code(2).err("\nerror: `--set top` has no `=`: write `--set key=value`\n");
    // A key that no stage uses reruns nothing.
    dir.flow(&["run", "--set", "fold=true"]).code(0).err("\n two: 2 up to date in [..]s\n");
}

#[test]
fn force_runs_what_is_selected_only() {
    let dir = two();
    dir.flow(&["run"]).code(0);
    dir.flow(&["run", "--force", "count"]).code(0).err(
        "
 ran       count  [..]s
 two: 1 ran, 1 up to date in [..]s
",
    );
    dir.flow(&["run", "--force"]).code(0).err(
        "
 ran       clean  [..]s
 ran       count  [..]s
 two: 2 ran in [..]s
",
    );
}

#[test]
fn only_leaves_ancestors_alone() {
    let dir = two();
    // An input that is not there is an error, and nothing has begun.
    dir.flow(&["run", "--only", "count"]).code(2).err("\nerror: [..]`count`[..]out/clean.txt[..]\n...\n");
    dir.flow(&["run"]).code(0);
    dir.write("raw.txt", "z\n");
    dir.flow(&["run", "--only", "count"]).code(0).err("\n two: 1 up to date in [..]s\n");
    dir.flow(&["run", "count"]).code(0).err("...\n two: 2 ran in [..]s\n");
    assert_eq!(dir.read("out/count.txt"), "1\n3\n");
}

#[test]
fn dry_run_is_plan() {
    let dir = two();
    let (run, plan) = (dir.flow(&["run", "-n"]), dir.flow(&["plan"]));
    assert_eq!((run.code, run.out, run.err), (plan.code, plan.out, plan.err));
    assert!(!dir.has("out") && !dir.has(".flow/pipeline.yaml/runs"));
}

#[test]
fn rehash_trusts_no_stamp() {
    let dir = two();
    dir.flow(&["run"]).code(0);
    dir.flow(&["run", "--rehash"]).code(0).err("\n two: 2 up to date in [..]s\n");
    // Touched, with the same bytes.
    dir.write("raw.txt", "b\na\nb\n");
    dir.flow(&["run"]).code(0).err("\n two: 2 up to date in [..]s\n");
}

#[test]
fn jobs_run_side_by_side() {
    // Each waits for the other: alone neither would end.
    let wait = "for n in $(seq 2000); do test -e $1 && exit 0; sleep 0.01; done; exit 1";
    let dir = TestDir::pipeline(&format!(
        "stages:\n  a:\n    argv: [sh, -c, 'touch a; {wait}', sh, b]\n  b:\n    argv: [sh, -c, 'touch b; {wait}', sh, a]\n"
    ));
    dir.flow(&["run", "-j", "2"]).code(0).err("...\n pipeline: 2 ran in [..]s\n");
    // One at a time, in the order of the file.
    let dir = TestDir::pipeline("stages:\n  a:\n    cmd: mkdir busy; sleep 0.05; rmdir busy\n  b:\n    cmd: mkdir busy; rmdir busy\n");
    dir.flow(&["run", "-j", "1"]).code(0).err("\n ran       a  [..]s\n ran       b  [..]s\n pipeline: 2 ran in [..]s\n");
}

#[test]
fn sources_that_are_not_there_are_all_named() {
    let dir = TestDir::pipeline(
        "stages:\n  a:\n    cmd: cat ${{ inputs }} > a\n    inputs: [data/first.csv, data/second.csv]\n    outputs: a\n  b:\n    cmd: echo > b\n    outputs: b\n",
    );
    dir.write("data/frist.csv", "");
    dir.flow(&["run"]).code(2).out("").err(
        "
error: `a` needs data/first.csv, which is not there (pipeline.yaml:4:13)
error: `a` needs data/second.csv, which is not there (pipeline.yaml:4:13)
 data/first.csv: data/frist.csv is there
 nothing was run
",
    );
    assert!(!dir.has("b"));
    // What does not need it runs.
    dir.flow(&["run", "b"]).code(0);
}

#[test]
fn damaged_state_is_put_away() {
    let dir = two();
    dir.flow(&["run"]).code(0);
    dir.write(".flow/pipeline.yaml/state", "not what flow wrote");
    let got = dir.flow(&["run"]).code(0);
    assert!(got.err.contains("damaged"), "{}", got.err);
    assert!(got.err.contains("up to date") || got.err.contains("restored"), "{}", got.err);
    assert!(std::fs::read_dir(dir.path(".flow/kept")).unwrap().count() == 1);
    dir.flow(&["run"]).code(0).err("\n two: 2 up to date in [..]s\n");
}
