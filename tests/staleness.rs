//! What makes a task stale, and what does not: the table, case by case, with the built program.
//!
//! Each test says which tasks run; commands append their names to `../log`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use crate::yard::{Said, Yard, append};

/// `a` reads `raw.txt`, `b` reads what `a` makes.
const CHAIN: &str = "
stages:
  a:
    cmd: echo a >> ../log; tr a-z A-Z < raw.txt > a.txt
    inputs: raw.txt
    outputs: a.txt
  b:
    cmd: echo b >> ../log; wc -c < a.txt > b.txt
    inputs: a.txt
    outputs: b.txt
";

/// One stage over a glob.
const GLOB: &str = "
stages:
  all:
    cmd: echo all >> ../log; cat ${{ inputs }} > all.txt
    inputs: raw/*.txt
    outputs: all.txt
";

/// One task an item.
const ITEMS: &str = "
config:
  items: [one, two]
stages:
  each:
    foreach: { thing: config.items }
    cmd: echo ${{ thing }} >> ../log; echo ${{ thing }} > ${{ outputs }}
    outputs: out/${{ thing }}.txt
  all:
    cmd: echo all >> ../log; cat ${{ inputs }} > all.txt
    inputs: out/*.txt
    outputs: all.txt
";

/// One folder output.
const FOLDER: &str = "
stages:
  split:
    cmd: echo split >> ../log; mkdir -p parts/deep; for x in 1 2 3; do echo $x > parts/$x; done; echo 4 > parts/deep/4
    inputs: raw.txt
    outputs: parts/
";

/// A workspace where everything is up to date.
fn done(pipeline: &str, files: &[(&str, &str)]) -> Yard {
    let yard = Yard::new(pipeline);
    for (path, text) in files {
        yard.write(path, text);
    }
    yard.run();
    yard.ran();
    yard.rests();
    yard
}

fn chain() -> Yard {
    done(CHAIN, &[("raw.txt", "abc\n")])
}

fn glob() -> Yard {
    done(GLOB, &[("raw/1.txt", "1\n"), ("raw/2.txt", "2\n")])
}

fn set_time(yard: &Yard, path: &str, time: SystemTime) {
    fs::File::options().write(true).open(yard.at(path)).unwrap().set_modified(time).unwrap();
}

fn time(yard: &Yard, path: &str) -> SystemTime {
    fs::metadata(yard.at(path)).unwrap().modified().unwrap()
}

#[test]
fn touched() {
    let yard = chain();
    set_time(&yard, "raw.txt", SystemTime::now());
    yard.rests();
    set_time(&yard, "a.txt", SystemTime::now());
    yard.rests();
    set_time(&yard, "b.txt", SystemTime::now());
    yard.rests();
    set_time(&yard, "pipeline.yaml", SystemTime::now());
    yard.rests();
    // Written anew with the same bytes, as an editor does it.
    yard.write("new.txt", "abc\n");
    yard.rename("new.txt", "raw.txt");
    yard.rests();
}

#[test]
fn times_are_never_ordered() {
    let yard = chain();
    for seconds in [-1_000_000_i64, 1_000_000] {
        let moved = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { SystemTime::now() - moved } else { SystemTime::now() + moved };
        for file in ["raw.txt", "a.txt", "b.txt"] {
            set_time(&yard, file, time);
        }
        yard.rests();
        yard.write("raw.txt", format!("abc{seconds}\n"));
        set_time(&yard, "raw.txt", time);
        yard.runs(&["a", "b"]);
        yard.rests();
    }
}

#[test]
fn edits_of_the_same_size() {
    let yard = chain();
    for round in 0..30 {
        let text = format!("r{:02}\n", round);
        // Straight before and straight after a run, with the time set back.
        let before = time(&yard, "raw.txt");
        yard.write("raw.txt", &text);
        if round % 2 == 0 {
            set_time(&yard, "raw.txt", before);
        }
        // The same size in `a.txt` and so the same in `b.txt`: `b` runs since its input changed.
        yard.runs(&["a", "b"]);
        assert_eq!(yard.read("a.txt"), text.to_uppercase());
    }
    yard.rests();
}

#[test]
fn early_cutoff() {
    let yard = done(&CHAIN.replace("tr a-z A-Z < raw.txt", "sort -u raw.txt"), &[("raw.txt", "x\ny\n")]);
    yard.write("raw.txt", "y\nx\ny\n");
    yard.runs(&["a"]);
    yard.rests();
}

#[test]
fn edits_and_their_undoing() {
    let yard = chain();
    yard.write("raw.txt", "other\n");
    yard.runs(&["a", "b"]);
    assert_eq!(yard.read("b.txt").trim(), "6");
    // Both results are still known.
    yard.write("raw.txt", "abc\n");
    yard.runs(&[]);
    assert_eq!((yard.read("a.txt").as_str(), yard.read("b.txt").trim()), ("ABC\n", "4"));
    yard.rests();
}

#[test]
fn workspaces_that_were_copied() {
    let mut yard = done(
        "
stages:
  a:
    cmd: echo a >> ../log; cat raw/*.txt > ${{ outputs }}
    inputs: raw/*.txt
    outputs: out/a.txt
  parts:
    cmd: echo parts >> ../log; mkdir -p parts; cp out/a.txt parts/; ln -s a.txt parts/link
    inputs: out/a.txt
    outputs: parts/
  sent:
    cmd: echo sent >> ../log
    inputs: parts/
",
        &[("raw/1.txt", "1\n"), ("raw/2.txt", "2\n")],
    );
    for (name, how) in [("kept", "cp -a ws kept"), ("plain", "cp -r ws plain"), ("moved", "mv ws moved")] {
        assert!(yard.shell(&format!("cd ..; {how}")).code == 0);
        yard.moves_to(name);
        yard.rests();
        yard.rests();
        yard.write("raw/2.txt", format!("2 {name}\n"));
        yard.runs(&["a", "parts", "sent"]);
        yard.moves_to("ws");
    }
}

#[test]
fn a_checkout_without_state_asks_the_cache() {
    let yard = chain();
    let cache = yard.outside().join("shared");
    fs::rename(yard.at(".flow/cache"), &cache).unwrap();
    yard.remove(".flow");
    yard.remove("a.txt");
    yard.remove("b.txt");
    let call = |yard: &Yard| Said::of(yard.command(&["run"]).env("FLOW_CACHE_DIR", &cache).output().unwrap());
    call(&yard).ends(0);
    assert_eq!(yard.ran(), [""; 0]);
    assert_eq!((yard.read("a.txt").as_str(), yard.read("b.txt").trim()), ("ABC\n", "4"));
}

#[test]
fn without_state_and_cache_all_runs_once() {
    let yard = chain();
    yard.remove(".flow");
    yard.runs(&["a", "b"]);
    // What stood there was not known to be flow's; it came out the same, so nothing is kept.
    assert_eq!(yard.kept(), [""; 0]);
    yard.rests();
}

#[test]
fn files_that_a_glob_matches() {
    let yard = glob();
    yard.write("raw/3.txt", "3\n");
    yard.runs(&["all"]);
    assert_eq!(yard.read("all.txt"), "1\n2\n3\n");
    yard.rests();
    yard.rename("raw/3.txt", "raw/0.txt");
    yard.runs(&["all"]);
    assert_eq!(yard.read("all.txt"), "3\n1\n2\n");
    yard.rests();
    yard.remove("raw/0.txt");
    // As it was at first: the result is still known.
    yard.runs(&[]);
    assert_eq!(yard.read("all.txt"), "1\n2\n");
    // What does not match changes the folder and nothing else.
    yard.write("raw/notes.md", "");
    yard.write("raw/.hidden.txt", "");
    yard.rests();
    yard.rests();
    yard.remove("raw/notes.md");
    yard.rests();
}

#[test]
fn files_that_come_while_a_glob_is_used() {
    let yard = done(
        &GLOB.replace("cat ${{ inputs }} > all.txt", "cat ${{ inputs }} > all.txt; test ! -e ../add || cp ../add raw/9.txt"),
        &[("raw/1.txt", "1\n")],
    );
    append(&yard.outside().join("add"), "9\n");
    yard.write("raw/1.txt", "one\n");
    yard.runs(&["all"]);
    assert_eq!(yard.read("all.txt"), "one\n");
    // It came while the run went on, and is seen by the next.
    yard.runs(&["all"]);
    assert_eq!(yard.read("all.txt"), "one\n9\n");
}

#[test]
fn a_file_that_comes_into_a_glob_behind_a_runs_back() {
    // The task that adds it is another one, which is no stage of this glob.
    let yard = done(
        &format!(
            "{GLOB}  adds:\n    cmd: echo adds >> ../log; cp in.txt made.txt; test ! -e ../add || cp ../add raw/9.txt\n    inputs: in.txt\n    outputs: made.txt\n"
        ),
        &[("raw/1.txt", "1\n"), ("in.txt", "1\n")],
    );
    append(&yard.outside().join("add"), "9\n");
    yard.write("in.txt", "2\n");
    let said = yard.run();
    assert!(yard.ran().contains(&"adds".to_string()), "{said:?}");
    yard.run();
    assert_eq!(yard.read("all.txt"), "1\n9\n");
    yard.ran();
    yard.rests();
}

#[test]
fn folders_as_inputs() {
    let yard = done(
        "
stages:
  list:
    cmd: echo list >> ../log; find data | sort > list.txt
    inputs: data/
    outputs: list.txt
",
        &[("data/1", "1"), ("data/deep/2", "2")],
    );
    yard.write("data/deep/3", "3");
    yard.runs(&["list"]);
    yard.write("data/deep/3", "4");
    yard.runs(&["list"]);
    fs::create_dir(yard.at("data/empty")).unwrap();
    yard.runs(&["list"]);
    yard.rename("data/deep/3", "data/deep/4");
    yard.runs(&["list"]);
    yard.rests();
    // Left out of every folder.
    yard.write("data/__pycache__/x", "");
    yard.write("data/.git/x", "");
    yard.rests();
}

#[test]
fn what_is_in_the_key() {
    let pipeline = "
config: { size: 3, other: 1 }
env: { FROM_TOP: '1' }
stages:
  a:
    cmd: |
      echo a >> ../log
      bash tools/run.sh ${{ config.size }} > a.txt
    inputs: [one.txt, two.txt]
    tools: [lib/*.py]
    env: { MINE: '1' }
    outputs: a.txt
";
    let yard = done(pipeline, &[("tools/run.sh", "echo $1 $MINE $FROM_TOP"), ("one.txt", "1"), ("two.txt", "2"), ("lib/x.py", "1")]);
    let change = |yard: &Yard, from: &str, to: &str, tasks: &[&str]| {
        yard.edit("pipeline.yaml", from, to);
        yard.runs(tasks);
        yard.rests();
    };
    change(&yard, "size: 3", "size: 4", &["a"]);
    assert_eq!(yard.read("a.txt"), "4 1 1\n");
    change(&yard, "other: 1", "other: 2", &[]);
    change(&yard, "MINE: '1'", "MINE: '2'", &["a"]);
    change(&yard, "FROM_TOP: '1'", "FROM_TOP: '2'", &["a"]);
    change(&yard, "[one.txt, two.txt]", "[two.txt, one.txt]", &["a"]);
    change(&yard, "[two.txt, one.txt]", "[two.txt]", &["a"]);
    change(&yard, "[two.txt]", "[two.txt, one.txt]", &[]);
    change(&yard, "run.sh ${{", "run.sh  ${{", &["a"]);
    // What only says how it runs.
    change(
        &yard,
        "    outputs: a.txt",
        "    outputs: a.txt\n    timeout: 1h\n    retries: 2\n    tags: [x]\n    description: y\n    resources: {cpus: 1}\n",
        &[],
    );
    change(&yard, "config:", "name: other\ndescription: x\nconfig:", &[]);
    change(&yard, "    outputs: a.txt", "    outputs: a.txt\n    shell: bash -eu -c", &["a"]);
    change(&yard, "    shell: bash -eu -c\n", "", &[]);
    // A script found by itself, and a tool.
    yard.write("tools/run.sh", "echo $1 $MINE $FROM_TOP new");
    yard.runs(&["a"]);
    yard.write("lib/x.py", "2");
    yard.runs(&["a"]);
    yard.write("lib/y.py", "2");
    yard.runs(&["a"]);
    yard.rests();
    // The executable bit counts too.
    fs::set_permissions(yard.at("one.txt"), fs::Permissions::from_mode(0o755)).unwrap();
    yard.runs(&["a"]);
    fs::set_permissions(yard.at("one.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    yard.runs(&[]);
    yard.rests();
    // A setting for one call.
    yard.flow(&["run", "--set", "size=9"]).ends(0);
    assert_eq!(yard.ran(), ["a"]);
    yard.flow(&["run", "--set", "size=9"]).ends(0);
    assert_eq!(yard.ran(), [""; 0]);
    yard.run();
    assert_eq!(yard.read("a.txt"), "4 2 2 new\n");
    assert_eq!(yard.ran(), [""; 0]);
}

#[test]
fn declared_variables_of_the_caller() {
    let yard = Yard::new(
        "
stages:
  a:
    cmd: echo a >> ../log; echo \"${MINE-unset}\" > a.txt
    env: { MINE: null }
    outputs: a.txt
",
    );
    let call = |value: Option<&str>, tasks: &[&str], text: &str| {
        let mut command = yard.command(&["run"]);
        match value {
            Some(value) => command.env("MINE", value),
            None => command.env_remove("MINE"),
        };
        Said::of(command.output().unwrap()).ends(0);
        assert_eq!(yard.ran(), tasks);
        assert_eq!(yard.read("a.txt"), text);
    };
    call(None, &["a"], "unset\n");
    call(None, &[], "unset\n");
    call(Some(""), &["a"], "\n");
    call(Some("x"), &["a"], "x\n");
    call(Some("x"), &[], "x\n");
    // Known from before: it comes back.
    call(None, &[], "unset\n");
}

#[test]
fn zone_and_locale() {
    let yard = Yard::new(
        "
stages:
  a:
    cmd: echo a >> ../log; (echo $LC_ALL; echo ${LANG-}; date -d @0 +%H) > a.txt
    outputs: a.txt
",
    );
    let call = |variables: &[(&str, &str)], tasks: &[&str]| {
        Said::of(yard.command(&["run"]).envs(variables.iter().copied()).output().unwrap()).ends(0);
        assert_eq!(yard.ran(), tasks, "{variables:?}");
        yard.read("a.txt")
    };
    let first = call(&[("LC_ALL", "de_DE.UTF-8"), ("LANG", "x")], &["a"]);
    assert!(first.starts_with("C"), "{first}");
    // Neither is tracked: commands see one locale whatever the caller has.
    call(&[("LC_ALL", "POSIX"), ("LANG", "y")], &[]);
    call(&[], &[]);
    let moved = call(&[("TZ", "Asia/Tokyo")], &["a"]);
    assert_ne!(first.lines().last(), moved.lines().last());
    call(&[("TZ", "Asia/Tokyo")], &[]);
    call(&[], &[]);
}

#[test]
fn programs_of_path() {
    let yard = Yard::new(
        "
stages:
  a:
    cmd: echo a >> ../log; mytool > a.txt
    tools: [mytool]
    outputs: a.txt
  b:
    cmd: echo b >> ../log; echo b > b.txt
    tools: [{ version: 'cat version.txt' }]
    outputs: b.txt
",
    );
    yard.write("version.txt", "1");
    yard.program("bin1/mytool", "#!/bin/sh\necho one\n");
    yard.program("bin2/mytool", "#!/bin/sh\necho two\n");
    let call = |folders: &[&str], tasks: &[&str], text: &str| {
        let path = folders.iter().map(|folder| format!("{}:", yard.at(folder).display())).collect::<String>() + "/usr/bin:/bin";
        Said::of(yard.command(&["run"]).env("PATH", path).output().unwrap()).ends(0);
        assert_eq!(yard.ran(), tasks, "{folders:?}");
        assert_eq!(yard.read("a.txt"), text);
    };
    call(&["bin1"], &["a", "b"], "one\n");
    call(&["bin1"], &[], "one\n");
    // Another PATH where the same program is found.
    call(&["empty", "bin1"], &[], "one\n");
    call(&["bin2", "bin1"], &["a"], "two\n");
    // The same bytes in another place.
    fs::create_dir(yard.at("bin3")).unwrap();
    fs::copy(yard.at("bin2/mytool"), yard.at("bin3/mytool")).unwrap();
    call(&["bin3"], &[], "two\n");
    // A program that comes in before it.
    fs::create_dir(yard.at("bin0")).unwrap();
    call(&["bin0", "bin3"], &[], "two\n");
    yard.program("bin0/mytool", "#!/bin/sh\necho zero\n");
    let path = format!("{}:{}:/usr/bin:/bin", yard.at("bin0").display(), yard.at("bin3").display());
    Said::of(yard.command(&["run"]).env("PATH", &path).output().unwrap()).ends(0);
    assert_eq!(yard.ran(), ["a"]);
    // A tool command is asked in every run.
    yard.write("version.txt", "2");
    Said::of(yard.command(&["run"]).env("PATH", &path).output().unwrap()).ends(0);
    assert_eq!(yard.ran(), ["b"]);
    yard.write("version.txt", "1");
    Said::of(yard.command(&["run"]).env("PATH", &path).output().unwrap()).ends(0);
    assert_eq!(yard.ran(), [""; 0]);
}

#[test]
fn outputs_deleted() {
    let yard = chain();
    yard.remove("a.txt");
    yard.runs(&[]).says(" restored  a ");
    assert_eq!(yard.read("a.txt"), "ABC\n");
    yard.rests();
    yard.remove("a.txt");
    yard.remove("b.txt");
    yard.runs(&[]);
    yard.rests();
    // Without its blob the command runs, and what it makes is the same, so nothing else does.
    yard.remove(".flow/cache");
    yard.remove("a.txt");
    yard.runs(&["a"]);
    yard.rests();
}

#[test]
fn outputs_deleted_that_are_not_cached() {
    let yard = done(&CHAIN.replace("    outputs: a.txt", "    outputs: a.txt\n    cache: false"), &[("raw.txt", "abc\n")]);
    yard.remove("a.txt");
    yard.runs(&["a"]);
    yard.rests();
    yard.write("raw.txt", "x\n");
    yard.runs(&["a", "b"]);
    yard.write("raw.txt", "abc\n");
    yard.runs(&["a"]);
    yard.rests();
}

#[test]
fn members_of_folders() {
    let yard = done(FOLDER, &[("raw.txt", "x")]);
    let inode = |yard: &Yard, path: &str| fs::metadata(yard.at(path)).unwrap().ino();
    let (one, folder) = (inode(&yard, "parts/1"), inode(&yard, "parts"));
    // A member alone comes back; the others are not touched.
    yard.remove("parts/2");
    yard.runs(&[]);
    assert_eq!(yard.read("parts/2"), "2\n");
    assert_eq!((inode(&yard, "parts/1"), inode(&yard, "parts")), (one, folder));
    yard.rests();
    yard.remove("parts/deep");
    yard.runs(&[]);
    assert_eq!(yard.read("parts/deep/4"), "4\n");
    yard.rests();
    // A changed one and an added one make way.
    yard.write("parts/3", "mine\n");
    yard.write("parts/deep/new", "mine too\n");
    yard.runs(&[]);
    assert_eq!(yard.read("parts/3"), "3\n");
    assert!(!yard.has("parts/deep/new"));
    let kept = yard.kept();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(kept[0].ends_with("/parts/3") && yard.read(&kept[0]) == "mine\n", "{kept:?}");
    assert!(kept[1].ends_with("/parts/deep/new") && yard.read(&kept[1]) == "mine too\n", "{kept:?}");
    assert_eq!(inode(&yard, "parts/1"), one);
    yard.rests();
    yard.remove("parts");
    yard.runs(&[]);
    assert_eq!(yard.files("parts"), ["parts/1", "parts/2", "parts/3", "parts/deep/4"]);
    yard.rests();
}

#[test]
fn outputs_changed_by_hand() {
    let yard = chain();
    yard.write("a.txt", "mine\n");
    yard.runs(&[]).says("a.txt").says(".flow/kept/");
    assert_eq!(yard.read("a.txt"), "ABC\n");
    let kept = yard.kept();
    assert_eq!(kept.len(), 1);
    assert_eq!(yard.read(&kept[0]), "mine\n");
    yard.rests();
    // There before flow ever made it, and the command makes the same: nothing is kept twice.
    let yard = Yard::new(CHAIN);
    yard.write("raw.txt", "abc\n");
    yard.write("a.txt", "ABC\n");
    yard.write("b.txt", "mine\n");
    yard.runs(&["a", "b"]);
    let kept = yard.kept();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(yard.read(&kept[0]), "mine\n");
    // A hand edit and a changed input at once.
    yard.write("a.txt", "edited\n");
    yard.write("raw.txt", "new\n");
    yard.runs(&["a", "b"]);
    let kept = yard.kept();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(kept.iter().any(|path| yard.read(path) == "edited\n"));
    // A folder where a file was, a link where a file was.
    yard.remove("a.txt");
    yard.write("a.txt/inside", "mine\n");
    yard.runs(&[]);
    assert_eq!(yard.read("a.txt"), "NEW\n");
    yard.remove("a.txt");
    yard.write("elsewhere", "NEW\n");
    symlink("elsewhere", yard.at("a.txt")).unwrap();
    yard.runs(&[]);
    assert!(!yard.at("a.txt").symlink_metadata().unwrap().is_symlink());
    assert_eq!(yard.read("elsewhere"), "NEW\n");
    // Only the mode: the executable bit is a part of it.
    fs::set_permissions(yard.at("a.txt"), fs::Permissions::from_mode(0o755)).unwrap();
    yard.runs(&[]);
    assert_eq!(fs::metadata(yard.at("a.txt")).unwrap().mode() & 0o111, 0);
    yard.rests();
}

#[test]
fn inputs_changed_while_they_are_read() {
    let pipeline =
        CHAIN.replace("tr a-z A-Z < raw.txt > a.txt", "tr a-z A-Z < raw.txt > a.txt; test ! -e ../meanwhile || mv ../meanwhile raw.txt");
    let yard = done(&pipeline, &[("raw.txt", "abc\n")]);
    append(&yard.outside().join("meanwhile"), "xyz\n");
    yard.write("raw.txt", "new\n");
    yard.runs(&["a", "b"]).says("raw.txt changed while `a` ran");
    assert_eq!(yard.read("a.txt"), "NEW\n");
    yard.runs(&["a", "b"]);
    assert_eq!(yard.read("a.txt"), "XYZ\n");
    yard.rests();
    // It never went into the cache: the text it was keyed on gives the right result.
    yard.write("raw.txt", "new\n");
    yard.runs(&["a"]);
    assert_eq!(yard.read("a.txt"), "NEW\n");
    yard.rests();
}

#[test]
fn a_spoilt_result_is_no_hand_edit() {
    let pipeline = CHAIN.replace("> a.txt\n", "> a.txt; test ! -e ../meanwhile || mv ../meanwhile raw.txt\n");
    let yard = Yard::new(&pipeline);
    yard.write("raw.txt", "abc\n");
    append(&yard.outside().join("meanwhile"), "xyz\n");
    yard.runs(&["a", "b"]).says("raw.txt changed while `a` ran");
    yard.runs(&["a", "b"]);
    assert_eq!(yard.kept(), [""; 0]);
    // Spoilt, and a key that is as it was before: only what was keyed on it counts.
    append(&yard.outside().join("meanwhile"), "xyz\n");
    yard.write("raw.txt", "once\n");
    yard.runs(&["a", "b"]).says("raw.txt changed while `a` ran");
    let text = yard.read("a.txt");
    assert_eq!(text, "ONCE\n");
    yard.run();
    assert_eq!(yard.read("a.txt"), "XYZ\n");
    assert_eq!(yard.read("b.txt").trim(), "4");
    assert_eq!(yard.kept(), [""; 0]);
    yard.ran();
    yard.rests();
}

#[test]
fn a_command_that_fails_after_writing() {
    let pipeline = CHAIN.replace("> a.txt\n", "> a.txt; test ! -e ../fail\n");
    let yard = done(&pipeline, &[("raw.txt", "abc\n")]);
    append(&yard.outside().join("fail"), "");
    yard.write("raw.txt", "new\n");
    yard.flow(&["run"]).ends(1).says(" failed    a ").says(".flow/pipeline.yaml/failed/a/").says("a.txt is still");
    assert_eq!(yard.ran(), ["a"]);
    assert_eq!(yard.read("a.txt"), "ABC\n");
    let failed = yard.files(".flow/pipeline.yaml/failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].ends_with("/a.txt") && yard.read(&failed[0]) == "NEW\n", "{failed:?}");
    assert!(!yard.has(".flow/pipeline.yaml/aside"));
    // Again: only the newest failure is kept.
    yard.flow(&["run"]).ends(1);
    assert_eq!(yard.ran(), ["a"]);
    assert_eq!(yard.files(".flow/pipeline.yaml/failed").len(), 1);
    // Its input is as it was: the last good result stands.
    yard.write("raw.txt", "abc\n");
    yard.runs(&[]);
    yard.rests();
    // Success empties `failed/`.
    fs::remove_file(yard.outside().join("fail")).unwrap();
    yard.write("raw.txt", "newer\n");
    yard.runs(&["a", "b"]);
    assert_eq!(yard.files(".flow/pipeline.yaml/failed"), [""; 0]);
    yard.rests();
}

#[test]
fn forced_and_failed_the_last_good_one_counts() {
    let pipeline = CHAIN.replace("> a.txt\n", "> a.txt; test ! -e ../fail\n");
    let yard = done(&pipeline, &[("raw.txt", "abc\n")]);
    append(&yard.outside().join("fail"), "");
    yard.flow(&["run", "--force", "a"]).ends(1);
    assert_eq!(yard.ran(), ["a"]);
    yard.rests();
    yard.flow(&["run", "--force"]).ends(1);
    yard.ran();
    yard.rests();
}

#[test]
fn stages_without_outputs() {
    let pipeline = "
stages:
  load:
    cmd: echo load >> ../log; test ! -e ../fail
    inputs: raw.txt
  after:
    cmd: echo after >> ../log; date +%s%N > after.txt
    inputs: { from: load }
    outputs: after.txt
";
    let yard = done(pipeline, &[("raw.txt", "abc\n")]);
    yard.write("raw.txt", "x\n");
    yard.runs(&["after", "load"]);
    // Never restored: an undone edit loads again, and what rests on it reruns.
    yard.write("raw.txt", "abc\n");
    yard.runs(&["after", "load"]);
    yard.rests();
    append(&yard.outside().join("fail"), "");
    yard.write("raw.txt", "y\n");
    yard.flow(&["run"]).ends(1);
    assert_eq!(yard.ran(), ["load"]);
    // The last started execution decides, although the key is that of a good one.
    yard.write("raw.txt", "abc\n");
    yard.flow(&["run"]).ends(1);
    assert_eq!(yard.ran(), ["load"]);
    fs::remove_file(yard.outside().join("fail")).unwrap();
    yard.runs(&["after", "load"]);
    yard.rests();
    // History gone: once more.
    yard.remove(".flow");
    assert!(yard.run().err.contains("ran"));
    assert!(yard.ran().contains(&"load".to_string()));
}

/// A stamp is in no file: what reads one is asked again whenever the stage ran without it.
#[test]
fn a_stage_without_outputs_that_ran_by_itself() {
    let pipeline = "
stages:
  load:
    cmd: echo load >> ../log
    inputs: raw.txt
  after:
    cmd: echo after >> ../log; date +%s%N > after.txt
    inputs: { from: load }
    outputs: after.txt
";
    let yard = done(pipeline, &[("raw.txt", "abc\n")]);
    yard.write("raw.txt", "x\n");
    yard.flow(&["run", "--only", "load"]).ends(0);
    assert_eq!(yard.ran(), ["load"]);
    yard.runs(&["after"]);
    yard.rests();
    yard.flow(&["run", "--force", "load"]).ends(0);
    assert_eq!(yard.ran(), ["load"]);
    // Also when another run came between, that looked at neither or could not finish.
    yard.flow(&["run", "--only", "load"]).ends(0);
    yard.flow(&["run", "--only", "after"]).ends(0);
    assert_eq!(yard.ran(), ["after"]);
    yard.rests();
}

#[test]
fn items_that_go_and_come() {
    let yard = done(ITEMS, &[]);
    yard.edit("pipeline.yaml", "[one, two]", "[one, two, three]");
    yard.runs(&["all", "three"]);
    yard.rests();
    // Gone: its file stays, and is left out of the glob with a note.
    yard.edit("pipeline.yaml", "[one, two, three]", "[one, three]");
    yard.runs(&["all"]).says("gone");
    assert_eq!(yard.read("all.txt"), "one\nthree\n");
    assert!(yard.has("out/two.txt"));
    yard.rests();
    // Come back: nothing runs that is known.
    yard.edit("pipeline.yaml", "[one, three]", "[one, two, three]");
    yard.runs(&[]);
    assert_eq!(
        yard.read("all.txt"),
        "one\ntwo\nthree\n".split_inclusive('\n').collect::<Vec<_>>().join("").replace("two\nthree\n", "three\ntwo\n")
    );
    yard.rests();
}

#[test]
fn stages_that_go() {
    let yard = done(
        "
stages:
  a:
    cmd: echo a >> ../log; echo a > out/a.txt
    outputs: out/a.txt
  b:
    cmd: echo b >> ../log; echo b > out/b.txt
    outputs: out/b.txt
  all:
    cmd: echo all >> ../log; cat ${{ inputs }} > all.txt
    inputs: out/*.txt
    outputs: all.txt
",
        &[],
    );
    let (before, after) = ("  b:\n    cmd: echo b >> ../log; echo b > out/b.txt\n    outputs: out/b.txt\n", "");
    yard.edit("pipeline.yaml", before, after);
    yard.runs(&["all"]).says("gone");
    assert_eq!(yard.read("all.txt"), "a\n");
    // Still gone in a second run, whatever was written anew meanwhile.
    yard.rests();
    yard.write("pipeline.yaml", yard.read("pipeline.yaml") + "\n# a comment\n");
    yard.rests();
    assert!(yard.has("out/b.txt"));
}

#[test]
fn stages_that_go_and_made_a_folder() {
    let split = "  split:\n    cmd: mkdir -p parts/deep; echo 1 > parts/1.txt; echo 2 > parts/deep/2.txt\n    outputs: parts/\n";
    let all = "  all:\n    cmd: echo all >> ../log; cat ${{ inputs }} > all.dat\n    inputs: '**/*.txt'\n    outputs: all.dat\n";
    let yard = done(&format!("stages:\n{split}{all}"), &[("own.txt", "own\n")]);
    assert_eq!(yard.read("all.dat"), "own\n");
    // What it made is left out as before; what somebody puts beside it is not.
    yard.edit("pipeline.yaml", split, "");
    yard.rests();
    yard.write("parts/new.txt", "new\n");
    yard.runs(&["all"]).says("gone");
    assert_eq!(yard.read("all.dat"), "own\nnew\n");
    yard.rests();
}

#[test]
fn renamed_stages_take_over() {
    let yard = chain();
    let inode = |yard: &Yard, path: &str| fs::metadata(yard.at(path)).unwrap().ino();
    let was = inode(&yard, "a.txt");
    yard.edit("pipeline.yaml", "  a:\n", "  renamed:\n");
    yard.runs(&[]);
    assert_eq!(inode(&yard, "a.txt"), was, "what stands is not touched");
    yard.rests();
    // With a missing file it is restored.
    yard.edit("pipeline.yaml", "  renamed:\n", "  again:\n");
    yard.remove("a.txt");
    yard.runs(&[]);
    assert_eq!(yard.read("a.txt"), "ABC\n");
    yard.rests();
    // Without any blob, and with a file that stands.
    yard.remove(".flow/cache");
    yard.edit("pipeline.yaml", "  again:\n", "  third:\n");
    yard.runs(&[]);
    yard.rests();
}

#[test]
fn renamed_stages_without_outputs_run() {
    let yard = done("stages:\n  load:\n    cmd: echo load >> ../log\n    inputs: raw.txt\n", &[("raw.txt", "x")]);
    yard.edit("pipeline.yaml", "  load:\n", "  put:\n");
    yard.runs(&["load"]);
    yard.rests();
}

#[test]
fn renamed_items_take_over() {
    let pipeline = "
config:
  sources: { first: raw.txt }
stages:
  each:
    foreach: { thing: config.sources }
    cmd: echo each >> ../log; cp ${{ thing.value }} copy.txt
    inputs: ${{ thing.value }}
    outputs: copy.txt
";
    let yard = done(pipeline, &[("raw.txt", "x")]);
    yard.edit("pipeline.yaml", "first: raw", "second: raw");
    // The item's key is in `$FLOW_TASK`, which is in the key: another item is another task, unless
    // nothing can tell them apart.
    yard.run();
    assert!(yard.ran().len() <= 1);
    yard.rests();
}

#[test]
fn names_that_differ_by_case() {
    let yard = done(&CHAIN.replace("a.txt", "data.txt").replace("b.txt", "Data.txt"), &[("raw.txt", "abc\n")]);
    yard.write("raw.txt", "x\n");
    yard.edit("pipeline.yaml", "stages:", "# other\nstages:");
    yard.runs(&["a", "b"]).says("Data.txt and data.txt differ only by case");
    yard.rename("raw.txt", "Raw.txt");
    yard.flow(&["run"]).ends(2).says("raw.txt").says("Raw.txt");
}

#[test]
fn inputs_outside_the_workspace() {
    let yard = Yard::new("");
    let outside = yard.outside().join("far.txt");
    fs::write(&outside, "1").unwrap();
    yard.write(
        "pipeline.yaml",
        format!(
            "
stages:
  a:
    cmd: echo a >> ../log; cat ${{{{ inputs }}}} > a.txt
    inputs: [../far.txt]
    outputs: a.txt
  b:
    cmd: echo b >> ../log; cat ${{{{ inputs }}}} > b.txt
    inputs: ['{}']
    outputs: b.txt
",
            outside.display()
        ),
    );
    yard.runs(&["a", "b"]);
    yard.rests();
    fs::write(&outside, "2").unwrap();
    yard.runs(&["a", "b"]);
    yard.rests();
    // A link counts by what it leads to.
    let yard = done(CHAIN, &[("raw.txt", "abc\n")]);
    yard.rename("raw.txt", "real.txt");
    symlink("real.txt", yard.at("raw.txt")).unwrap();
    yard.rests();
    yard.write("real.txt", "def\n");
    yard.runs(&["a", "b"]);
    yard.rests();
    yard.write("other.txt", "ghij\n");
    yard.remove("raw.txt");
    symlink("other.txt", yard.at("raw.txt")).unwrap();
    yard.runs(&["a", "b"]);
    yard.rests();
}

#[test]
fn optional_inputs() {
    let yard = done(
        "
stages:
  a:
    cmd: echo a >> ../log; (cat ${{ inputs }} 2> /dev/null || echo none) > a.txt
    inputs: [{ path: extra.txt, optional: true }]
    outputs: a.txt
",
        &[],
    );
    // Empty is not missing.
    yard.write("extra.txt", "");
    yard.runs(&["a"]);
    yard.rests();
    yard.write("extra.txt", "x");
    yard.runs(&["a"]);
    yard.remove("extra.txt");
    yard.runs(&[]);
    assert_eq!(yard.read("a.txt"), "none\n");
    yard.rests();
}

#[test]
fn optional_outputs() {
    let yard = done(
        "
stages:
  a:
    cmd: echo a >> ../log; cp raw.txt a.txt; if grep -q x raw.txt; then echo x > errors.txt; fi
    inputs: raw.txt
    outputs: [a.txt, { path: errors.txt, optional: true }]
",
        &[("raw.txt", "a")],
    );
    assert!(!yard.has("errors.txt"));
    yard.write("raw.txt", "x");
    yard.runs(&["a"]);
    assert_eq!(yard.read("errors.txt"), "x\n");
    yard.rests();
    yard.write("raw.txt", "a");
    yard.runs(&[]);
    assert!(!yard.has("errors.txt"), "absent is a result too");
    yard.rests();
    // One that appears by hand is not flow's.
    yard.write("errors.txt", "mine");
    yard.runs(&[]);
    assert!(!yard.has("errors.txt"));
    assert_eq!(yard.kept().iter().filter(|path| yard.read(path) == "mine").count(), 1);
    yard.rests();
}

#[test]
fn the_same_content_many_times() {
    let yard = done(ITEMS, &[]);
    let text = ITEMS.replace("echo ${{ thing }} > ${{ outputs }}", "echo same > ${{ outputs }}");
    yard.write("pipeline.yaml", text);
    yard.runs(&["all", "one", "two"]);
    yard.remove("out");
    yard.runs(&[]);
    assert_eq!((yard.read("out/one.txt").as_str(), yard.read("out/two.txt").as_str()), ("same\n", "same\n"));
    yard.rests();
}

#[test]
fn an_output_that_matches_its_own_glob() {
    let yard =
        Yard::new("stages:\n  a:\n    cmd: echo a >> ../log; cat ${{ inputs }} > all.txt\n    inputs: '*.txt'\n    outputs: all.txt\n");
    yard.write("1.txt", "1\n");
    yard.runs(&["a"]).says("all.txt");
    assert_eq!(yard.read("all.txt"), "1\n");
    yard.rests();
    yard.write("2.txt", "2\n");
    yard.runs(&["a"]);
    assert_eq!(yard.read("all.txt"), "1\n2\n");
    yard.rests();
}

#[test]
fn always_manual_never() {
    let yard = Yard::new(
        "
stages:
  always:
    cmd: echo always >> ../log; echo same > always.txt
    runs: always
    outputs: always.txt
  below:
    cmd: echo below >> ../log; cp always.txt below.txt
    inputs: always.txt
    outputs: below.txt
  manual:
    cmd: echo manual >> ../log; echo x > manual.txt
    runs: manual
    outputs: manual.txt
  never:
    cmd: echo never >> ../log; echo x > never.txt
    runs: never
    outputs: never.txt
  reads:
    cmd: echo reads >> ../log; cp never.txt reads.txt
    inputs: never.txt
    outputs: reads.txt
",
    );
    yard.write("never.txt", "given\n");
    yard.runs(&["always", "below", "reads"]);
    yard.runs(&["always"]);
    yard.flow(&["run", "manual"]).ends(0);
    assert_eq!(yard.ran(), ["manual"]);
    yard.flow(&["run", "manual"]).ends(0);
    assert_eq!(yard.ran(), ["manual"]);
    yard.write("never.txt", "other\n");
    yard.runs(&["always", "reads"]);
    assert_eq!(yard.read("reads.txt"), "other\n");
    yard.remove("never.txt");
    let said = yard.flow(&["run"]);
    assert!(said.code == 1 || said.code == 2, "{said:?}");
    assert!(said.err.contains("never.txt"), "{said:?}");
}

#[test]
fn only_selected_and_forced() {
    let yard = chain();
    yard.write("raw.txt", "new\n");
    yard.flow(&["run", "--only", "b"]).ends(0);
    assert_eq!(yard.ran(), [""; 0]);
    yard.flow(&["run", "b"]).ends(0);
    assert_eq!(yard.ran(), ["a", "b"]);
    yard.rests();
    yard.flow(&["run", "--force", "b"]).ends(0);
    assert_eq!(yard.ran(), ["b"]);
    yard.flow(&["run", "--force"]).ends(0);
    assert_eq!(yard.ran(), ["a", "b"]);
    yard.rests();
    // After a run of a part the rest is still known to be stale.
    yard.write("raw.txt", "longer\n");
    yard.flow(&["run", "a"]).ends(0);
    assert_eq!(yard.ran(), ["a"]);
    yard.runs(&["b"]);
    yard.rests();
}

#[test]
fn rehash_trusts_no_stamp() {
    let yard = chain();
    yard.flow(&["run", "--rehash"]).ends(0);
    assert_eq!(yard.ran(), [""; 0]);
    yard.rests();
}

#[test]
fn nothing_is_written_by_a_run_with_nothing_to_do() {
    let yard = chain();
    let stamps = |yard: &Yard| -> Vec<(String, i64, i64, u64)> {
        let list = yard.files("");
        let list = list.into_iter().filter(|path| !path.ends_with("/lock"));
        list.map(|path| {
            let meta = fs::symlink_metadata(yard.at(&path)).unwrap();
            (path, meta.mtime_nsec(), meta.ctime_nsec(), meta.ino())
        })
        .collect()
    };
    let before = stamps(&yard);
    for _ in 0..3 {
        yard.rests();
    }
    assert_eq!(stamps(&yard), before);
}

#[test]
fn many_tasks_in_any_order_come_out_right() {
    // Random edits over a small graph: always what a run from nothing would make, and never a task
    // more than once.
    let pipeline = "
stages:
  a:
    cmd: echo a >> ../log; cat x y | sort > a
    inputs: [x, y]
    outputs: a
  b:
    cmd: echo b >> ../log; cat y z | sort > b
    inputs: [y, z]
    outputs: b
  c:
    cmd: echo c >> ../log; mkdir -p c; cp a c/a; cp b c/b; head -c1 x > c/x
    inputs: [a, b, x]
    outputs: c/
  d:
    cmd: echo d >> ../log; cat c/* > d
    inputs: [c/]
    outputs: d
";
    let yard = Yard::new(pipeline);
    let mut random = fastrand::Rng::with_seed(11);
    for name in ["x", "y", "z"] {
        yard.write(name, "0\n");
    }
    for round in 0..40 {
        for _ in 0..random.usize(1..4) {
            let input = ["x", "y", "z"][random.usize(..3)];
            match random.u8(..6) {
                0 => yard.write(input, format!("{}\n", random.u8(..3))),
                1 => set_time(&yard, input, SystemTime::now()),
                2 if yard.has("a") => yard.remove("a"),
                3 if yard.has("c/a") => yard.remove("c/a"),
                4 => yard.write("d", format!("by hand {round}\n")),
                _ => yard.write(input, format!("{}\n", random.u8(..2))),
            }
        }
        yard.run();
        let ran = yard.ran();
        let mut once = ran.clone();
        once.dedup();
        assert_eq!(ran, once, "round {round}");
        let [x, y, z] = ["x", "y", "z"].map(|name| yard.read(name));
        let sorted = |one: &str, two: &str| {
            let mut lines = [one, two];
            lines.sort();
            lines.concat()
        };
        let (a, b) = (sorted(&x, &y), sorted(&y, &z));
        assert_eq!((yard.read("a"), yard.read("b")), (a.clone(), b.clone()), "round {round}");
        assert_eq!(yard.read("d"), format!("{a}{b}{}", &x[..1]), "round {round}");
        yard.rests();
    }
}

#[test]
fn variables_that_axes_read() {
    let yard = Yard::new(
        "
stages:
  each:
    foreach: { word: \"env.WORDS | split\" }
    cmd: echo ${{ word }} >> ../log; echo ${{ word }} > ${{ outputs }}
    outputs: out/${{ word }}.txt
",
    );
    let call = |words: &str, tasks: &[&str]| {
        Said::of(yard.command(&["run"]).env("WORDS", words).output().unwrap()).ends(0);
        assert_eq!(yard.ran(), tasks);
    };
    call("a b", &["a", "b"]);
    call("a b", &[]);
    call("a b c", &["c"]);
    call("a", &[]);
    call("a b c d", &["d"]);
}
