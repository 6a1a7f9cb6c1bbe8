//! `flow graph`: DOT, Mermaid and JSON.

use serde_json::{Value, json};

use crate::common::TestDir;

const ETL: &str = r#"name: etl
stages:
  clean:
    description: one form for all
    foreach: { city: [sf, oslo] }
    cmd: for output in ${{ outputs }}; do cat ${{ inputs }} > $output; done
    inputs: ["raw/${{ city }}.txt", names.txt]
    outputs: ["out/${{ city }}.txt", "out/${{ city }}.log"]
  names:
    cmd: echo > names.txt
    outputs: names.txt
  all:
    cmd: cat ${{ inputs }} > ${{ outputs }}
    inputs: { from: clean }
    outputs: all.txt
  load:
    cmd: cat all.txt > /dev/null
    inputs: all.txt
  report:
    cmd: echo > report
    inputs: { from: load }
    needs: clean
    outputs: report
"#;

fn etl() -> TestDir {
    let dir = TestDir::pipeline(ETL);
    dir.write("raw/sf.txt", "sf\n");
    dir.write("raw/oslo.txt", "oslo\n");
    dir
}

/// The lines of a drawing that are nodes or arrows, without their looks.
fn bare(dot: &str) -> Vec<&str> {
    dot.lines().filter(|line| line.starts_with("  \"")).map(|line| line.split(" [").next().unwrap().trim()).collect()
}

#[test]
fn one_node_a_stage() {
    let dir = etl();
    let got = dir.flow(&["graph"]).code(0).err("");
    assert!(got.out.starts_with("digraph \"etl\" {\n") && got.out.ends_with("}\n"), "{}", got.out);
    assert!(got.out.contains("\"clean\" [label=\"clean ×2\", peripheries=2"), "{}", got.out);
    assert_eq!(
        bare(&got.out),
        [
            "\"clean\"",
            "\"names\"",
            "\"all\"",
            "\"load\"",
            "\"report\"",
            "\"names\" -> \"clean\"",
            "\"clean\" -> \"all\"",
            "\"all\" -> \"load\"",
            "\"load\" -> \"report\"",
            "\"clean\" -> \"report\"",
        ]
    );
    assert!(!dir.has(".flow"));
}

#[test]
fn every_task() {
    let dir = etl();
    let got = dir.flow(&["graph", "--tasks"]).code(0).err("");
    assert_eq!(
        bare(&got.out),
        [
            "\"clean@city=sf\"",
            "\"clean@city=oslo\"",
            "\"names\"",
            "\"all\"",
            "\"load\"",
            "\"report\"",
            "\"names\" -> \"clean@city=sf\"",
            "\"names\" -> \"clean@city=oslo\"",
            "\"clean@city=sf\" -> \"all\"",
            "\"clean@city=oslo\" -> \"all\"",
            "\"all\" -> \"load\"",
            "\"load\" -> \"report\"",
            "\"clean@city=sf\" -> \"report\"",
            "\"clean@city=oslo\" -> \"report\"",
        ]
    );
}

#[test]
fn mermaid() {
    etl().flow(&["graph", "--format", "mermaid", "all", "load", "report"]).code(0).err("").out(
        "
---
title: \"etl\"
---
flowchart LR
  n0(\"all\")
  n1(\"load\")
  n2(\"report\")
  n0 -->|\"all.txt\"| n1
  n1 --o n2
",
    );
}

#[test]
fn selectors_restrict() {
    let dir = etl();
    assert_eq!(bare(&dir.flow(&["graph", "clean", "report"]).code(0).out), ["\"clean\"", "\"report\"", "\"clean\" -> \"report\""]);
    let got = dir.flow(&["graph", "--json", "@city=sf", "all"]).code(0).json();
    assert_eq!(got["nodes"][0], json!({"id": "clean", "stage": "clean", "tasks": 1, "state": null, "description": "one form for all"}));
    assert_eq!(got["edges"], json!([{"from": "clean", "to": "all", "edge": "file", "paths": ["out/sf.txt", "out/sf.log"], "count": 1}]));
    dir.flow(&["graph", "claen"]).code(2).out("").err("\nerror: no stage, task or output `claen`\n did you mean `clean`?\n");
}

#[test]
fn json_of_stages_and_tasks() {
    let dir = etl();
    let got = dir.flow(&["graph", "--json"]).code(0).err("").json();
    assert_eq!((&got["kind"], &got["pipeline"]["name"]), (&json!("graph"), &json!("etl")));
    let edges = |got: &Value| -> Vec<(String, String, String, usize, u64)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let edges = got["edges"].as_array().unwrap().iter();
        edges
            .map(|edge| {
                let paths = edge["paths"].as_array().unwrap().len();
                (text(&edge["from"]), text(&edge["to"]), text(&edge["edge"]), paths, edge["count"].as_u64().unwrap())
            })
            .collect()
    };
    let edge = |from: &str, to: &str, kind: &str, paths: usize, count: u64| (from.into(), to.into(), kind.into(), paths, count);
    assert_eq!(
        edges(&got),
        [
            edge("names", "clean", "file", 1, 2),
            edge("clean", "all", "file", 4, 2),
            edge("all", "load", "file", 1, 1),
            edge("load", "report", "stamp", 0, 1),
            edge("clean", "report", "order", 0, 2),
        ]
    );
    let got = dir.flow(&["graph", "--json", "--tasks"]).code(0).json();
    assert_eq!(edges(&got).len(), 8);
    assert!(got["nodes"].as_array().unwrap().iter().all(|node| node["tasks"] == 1));
}

#[test]
fn at_most_ten_paths() {
    let items: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let dir = TestDir::pipeline(&format!(
        "stages:\n  one:\n    foreach: {{ n: [{}] }}\n    cmd: echo > ${{{{ outputs }}}}\n    outputs: out/${{{{ n }}}}\n  all:\n    cmd: cat ${{{{ inputs }}}} > all\n    inputs: {{ from: one }}\n    outputs: all\n",
        items.join(", ")
    ));
    let got = dir.flow(&["graph", "--json"]).code(0).json();
    assert_eq!((got["edges"][0]["paths"].as_array().unwrap().len(), &got["edges"][0]["count"]), (10, &json!(200)));
    let dot = dir.flow(&["graph"]).code(0).out;
    assert!(dot.contains("label=\"one ×200\"") && dot.contains("200 files"), "{dot}");
}

#[test]
fn the_same_after_a_run_and_without_the_file_being_read() {
    let dir = etl();
    let before = dir.flow(&["graph"]).code(0).out;
    dir.flow(&["run"]).code(0);
    let tree = dir.tree(".");
    assert_eq!(dir.flow(&["graph"]).code(0).out, before);
    assert_eq!(dir.tree("."), tree);
}

#[test]
fn mistakes_are_told() {
    let dir = etl();
    dir.edit("pipeline.yaml", "needs: clean", "needs: claen");
    let got = dir.flow(&["graph"]).code(2).out("");
    assert!(got.err.contains("claen") && got.err.contains("did you mean `clean`?"), "{}", got.err);
    assert_eq!(dir.flow(&["graph", "--json"]).code(2).err("").json()["kind"], "check");
    dir.flow(&["graph", "--format", "png"]).code(2).out("");
}

#[test]
fn a_closed_stdout_is_no_error() {
    let dir = etl();
    let mut child = dir.command(".", &["graph"]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
