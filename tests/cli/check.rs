//! `flow check`: mistakes on stdout, and nothing else touched.

use crate::common::TestDir;

const GOOD: &str = "\
stages:
  clean:
    foreach: { city: [sf, oslo] }
    cmd: sort -u ${{ inputs }} > ${{ outputs }}
    inputs: raw/${{ city }}.txt
    outputs: out/${{ city }}.txt
  all:
    cmd: cat ${{ inputs }} > all
    inputs: { from: clean }
    outputs: all
";

#[test]
fn nothing_wrong() {
    // Its inputs are not there: that is no mistake of the file.
    let dir = TestDir::new(&[("pipelines/etl.yaml", GOOD)]);
    dir.flow(&["check", "pipelines/etl.yaml"]).code(0).err("").out("pipelines/etl.yaml: 2 stages, 3 tasks, no mistakes\n");
    let got = dir.flow(&["check", "pipelines/etl.yaml", "--json"]).code(0).err("").json();
    assert_eq!(got["counts"], serde_json::json!({"error": 0, "warning": 0}));
    assert_eq!(
        (&got["kind"], &got["pipeline"]["name"], &got["pipeline"]["file"]),
        (&"check".into(), &"etl".into(), &"pipelines/etl.yaml".into())
    );
    assert!(got["pipeline"]["workspace"].as_str().unwrap().ends_with("/w/pipelines"));
    assert!(!dir.has("pipelines/.flow") && !dir.has(".flow"));
}

#[test]
fn all_mistakes_at_once() {
    let dir = TestDir::pipeline(GOOD);
    dir.edit("pipeline.yaml", "    inputs: raw/${{ city }}.txt", "    input: raw/${{ city }}.txt");
    dir.edit("pipeline.yaml", "{ from: clean }", "{ from: claen }");
    let got = dir.flow(&["check"]).code(2).err("");
    assert!(got.out.contains("error: unknown key `input` in stage `clean`\n --> pipeline.yaml:5:5\n"), "{}", got.out);
    assert!(got.out.contains("did you mean `inputs`?"), "{}", got.out);
    assert!(got.out.contains("did you mean `clean`?"), "{}", got.out);
    let last = got.out.lines().last().unwrap();
    assert!(last.starts_with("pipeline.yaml: ") && last.ends_with(" mistakes"), "{last}");
    let json = dir.flow(&["check", "--json"]).code(2).err("").json();
    assert!(json["counts"]["error"].as_u64().unwrap() >= 2);
    assert_eq!(
        (&json["diagnostics"][0]["place"], &json["diagnostics"][0]["end"]),
        (&"pipeline.yaml:5:5".into(), &"pipeline.yaml:5:10".into())
    );
    dir.write("pipeline.yaml", "stages: [\n");
    let got = dir.flow(&["check"]).code(2).err("");
    assert!(got.out.contains("error: this `[` is never closed\n"), "{}", got.out);
    std::fs::write(dir.path("pipeline.yaml"), b"stages: \xff\n").unwrap();
    let got = dir.flow(&["check"]).code(2).err("");
    assert!(got.out.ends_with("pipeline.yaml: 1 mistake\n"), "{}", got.out);
}

#[test]
fn warnings_alone_are_fine() {
    // An output that matches its own input glob is left out of it.
    let dir = TestDir::pipeline("stages:\n  it:\n    cmd: cat ${{ inputs }} > all.txt\n    inputs: '*.txt'\n    outputs: all.txt\n");
    dir.write("a.txt", "");
    let got = dir.flow(&["check"]).code(0).err("");
    assert!(got.out.starts_with("warning: "), "{}", got.out);
    assert!(got.out.ends_with("\npipeline.yaml: 1 stage, 1 task, no mistakes, 1 warning\n"), "{}", got.out);
    let json = dir.flow(&["check", "--json"]).code(0).json();
    assert_eq!(json["diagnostics"][0]["severity"], "warning");
}

#[test]
fn what_is_no_file_is_said() {
    let dir = TestDir::pipeline(GOOD);
    dir.flow(&["check", "clean"]).code(2).out("").err("\nerror: `clean` is no pipeline file\n flow check [FILE][..]\n");
    dir.flow(&["check", "other.yaml"]).code(2).out("").err("\nerror: [..]other.yaml[..]\n");
    dir.flow(&["check", "--set", "a=1"]).code(2).out("").err("\nerror: [..]`a`[..]\n...\n");
    dir.flow(&["check", "--file", "pipeline.yaml"]).code(0);
}
