//! What a selector means, and `runs`.

use crate::common::TestDir;

const CITIES: &str = "\
name: cities
stages:
  clean:
    foreach: { city: [sf, oslo, rome] }
    tags: [first]
    cmd: tr a-z A-Z < ${{ inputs }} > ${{ outputs }}
    inputs: raw/${{ city }}.txt
    outputs: out/${{ city }}.txt
  all:
    cmd: cat ${{ inputs }} > ${{ outputs }}
    inputs: { from: clean }
    outputs: out/all.txt
  other:
    cmd: echo other > ${{ outputs }}
    outputs: other.txt
";

fn cities() -> TestDir {
    let dir = TestDir::pipeline(CITIES);
    for city in ["sf", "oslo", "rome"] {
        dir.write(&format!("raw/{city}.txt"), city);
    }
    dir
}

/// The tasks that ran.
fn ran(dir: &TestDir, folder: &str, words: &[&str]) -> Vec<String> {
    let args: Vec<&str> = ["run", "--force", "--only"].iter().chain(words).copied().collect();
    let got = dir.flow_in(folder, &args).code(0);
    let mut ran: Vec<String> =
        got.err.lines().filter_map(|line| line.strip_prefix(" ran ")?.split_whitespace().next().map(str::to_owned)).collect();
    ran.sort();
    ran
}

#[test]
fn every_kind_of_selector() {
    let dir = cities();
    dir.flow(&["run"]).code(0).err("...\n cities: 5 ran in [..]s\n");
    let all = ["clean@city=oslo", "clean@city=rome", "clean@city=sf"];
    for (words, want) in [
        (&["clean"][..], &all[..]),
        (&["clean@city=rome"], &["clean@city=rome"]),
        (&["@city=sf"], &["clean@city=sf"]),
        (&["clean@city=o*"], &["clean@city=oslo"]),
        (&["cl*"], &all),
        (&["tag:first"], &all),
        (&["out/oslo.txt"], &["clean@city=oslo"]),
        (&["./out/oslo.txt"], &["clean@city=oslo"]),
        (&["out/"], &["all", "clean@city=oslo", "clean@city=rome", "clean@city=sf"]),
        (&["out/*o*.txt"], &["clean@city=oslo", "clean@city=rome"]),
        (&["other", "@city=sf"], &["clean@city=sf", "other"]),
        (&["clean,out/sf.txt"], &["clean@city=sf"]),
        (&["tag:first,@city=o*", "all"], &["all", "clean@city=oslo"]),
        (&["status:up_to_date,other"], &["other"]),
    ] {
        assert_eq!(ran(&dir, ".", words), want, "{words:?}");
    }
    // Paths are those of the caller's folder.
    for (words, want) in [
        (&["sf.txt"][..], &["clean@city=sf"][..]),
        (&["../other.txt"], &["other"]),
        (&["."], &["all", "clean@city=oslo", "clean@city=rome", "clean@city=sf"]),
    ] {
        assert_eq!(ran(&dir, "out", words), want, "{words:?}");
    }
}

#[test]
fn what_means_nothing_is_said() {
    let dir = cities();
    for (word, err) in [
        ("claen", "error: no stage, task or output `claen`\n did you mean `clean`?\n"),
        ("clean@city=osla", "error: no task `clean@city=osla`\n did you mean `clean@city=oslo`?\n"),
        ("clean@town=oslo", "error: no axis `town` in `clean@town=oslo`\n"),
        ("tag:frist", "error: no stage has the tag `frist`\n did you mean `tag:first`?\n"),
        ("status:fialed", "error: no status `fialed`\n did you mean `status:failed`?\n"),
        ("./clean", "error: no task makes `./clean`\n"),
        ("out/olso.txt", "error: no stage, task or output `out/olso.txt`\n did you mean `out/oslo.txt`?\n"),
        ("clean,,all", "error: an empty selector\n"),
    ] {
        dir.flow(&["run", word]).code(2).out("").err(err);
    }
    assert!(!dir.has("out"));
}

#[test]
fn ancestors_come_along() {
    let dir = cities();
    dir.flow(&["run", "all"]).code(0).err("...\n cities: 4 ran in [..]s\n");
    assert!(!dir.has("other.txt"));
    assert_eq!(dir.read("out/all.txt"), "SFOSLOROME");
}

#[test]
fn one_item_more_or_less_is_one_task() {
    let dir = cities();
    dir.flow(&["run"]).code(0);
    dir.edit("pipeline.yaml", "[sf, oslo, rome]", "[sf, bonn, oslo, rome]");
    dir.write("raw/bonn.txt", "bonn");
    dir.flow(&["run"])
        .code(0)
        .err("\n ran       clean@city=bonn  [..]s\n ran       all              [..]s\n cities: 2 ran, 4 up to date in [..]s\n");
    dir.edit("pipeline.yaml", "[sf, bonn, oslo, rome]", "[sf, oslo, rome]");
    dir.flow(&["run"]).code(0).err("\n restored  all  [..]10 B\n cities: 1 restored, 4 up to date in [..]s\n");
}

#[test]
fn what_is_stale_can_be_named() {
    let dir = TestDir::pipeline(
        "stages:\n  a:\n    cmd: cat x > a\n    inputs: x\n    outputs: a\n  b:\n    cmd: cat y > b\n    inputs: y\n    outputs: b\n",
    );
    dir.write("x", "1");
    dir.write("y", "1");
    dir.flow(&["run"]).code(0);
    dir.write("y", "2");
    dir.flow(&["plan", "status:stale"]).code(0).out("\n run      b  input y changed  [..]\n pipeline: 1 to run; [..]\n");
    dir.flow(&["run", "status:stale"]).code(0).err("\n ran       b  [..]s\n pipeline: 1 ran in [..]s\n");
    dir.flow(&["run", "status:stale"]).code(0).err("\n pipeline: nothing to do in [..]s\n");
}

#[test]
fn what_failed_can_be_named() {
    let dir = TestDir::pipeline(
        "keep_going: true\nstages:\n  a:\n    cmd: test -e go && echo > a\n    outputs: a\n  b:\n    cmd: echo > b\n    outputs: b\n",
    );
    dir.flow(&["run"]).code(1);
    dir.write("go", "");
    dir.flow(&["run", "status:failed"]).code(0).err("\n ran       a  [..]s\n pipeline: 1 ran in [..]s\n");
    // None is failed now: nothing is to do.
    dir.flow(&["run", "status:failed"]).code(0).err("\n pipeline: nothing to do in [..]s\n");
}

#[test]
fn when_a_stage_runs() {
    let dir = TestDir::pipeline(
        "\
stages:
  each:
    runs: always
    cmd: echo x >> log.txt
  asked:
    runs: manual
    cmd: echo asked > asked.txt; echo y >> log.txt
    outputs: asked.txt
  needs:
    cmd: cat asked.txt > needs.txt
    inputs: asked.txt
    outputs: needs.txt
  given:
    runs: never
    cmd: exit 1
    outputs: given.txt
  uses:
    cmd: cat given.txt > uses.txt
    inputs: given.txt
    outputs: uses.txt
",
    );
    dir.write("given.txt", "mine");
    // Manual as it is, it runs where it is needed.
    dir.flow(&["run"]).code(0);
    assert_eq!((dir.read("asked.txt"), dir.read("uses.txt")), ("asked\n".into(), "mine".into()));
    dir.flow(&["run"]).code(0).err("\n ran       each  [..]s\n pipeline: 1 ran, 4 up to date in [..]s\n");
    // Named it runs, stale or not; what stands below does not.
    dir.flow(&["run", "asked"]).code(0).err("\n ran       asked  [..]s\n pipeline: 1 ran in [..]s\n");
    dir.flow(&["run", "needs"]).code(0).err("\n pipeline: 2 up to date in [..]s\n");
    assert_eq!(dir.read("log.txt").matches('x').count(), 2);
    // What never runs counts as it is.
    dir.write("given.txt", "other");
    dir.flow(&["run", "uses"]).code(0).err("\n ran       uses  [..]s\n pipeline: 1 ran, 1 up to date in [..]s\n");
    dir.remove("given.txt");
    let got = dir.flow(&["run", "uses"]);
    assert!(got.code == Some(1) || got.code == Some(2), "{}", got.err);
    assert!(got.err.contains("given.txt"), "{}", got.err);
    assert!(!dir.has("given.txt"));
}

#[test]
fn manual_alone_is_left_out() {
    let dir =
        TestDir::pipeline("stages:\n  a:\n    cmd: echo > a\n    outputs: a\n  mail:\n    runs: manual\n    cmd: echo sent >> mails\n");
    dir.flow(&["run"]).code(0).err("...\n pipeline: 1 ran in [..]s\n");
    assert!(!dir.has("mails"));
    dir.flow(&["run", "mail"]).code(0);
    dir.flow(&["run", "mail"]).code(0);
    dir.flow(&["run", "m*"]).code(0);
    assert_eq!(dir.read("mails"), "sent\nsent\n");
}

#[test]
fn a_tag_or_a_glob_does_not_name_what_is_manual() {
    let dir = TestDir::pipeline("stages:\n  mail: {cmd: echo sent >> mails, runs: manual, tags: t}\n  note: {cmd: echo n, tags: t}\n");
    dir.flow(&["run", "tag:t"]).code(0).err(" ran       note  [..]s\n pipeline: 1 ran in [..]s\n");
    dir.flow(&["run", "m*"]).code(0).err(" pipeline: nothing to do in [..]s\n");
    dir.flow(&["plan", "m*"]).code(0).out(" pipeline: nothing to do\n");
    assert!(!dir.has("mails"));
    dir.flow(&["run", "mail"]).code(0);
    assert!(dir.has("mails"));
}
