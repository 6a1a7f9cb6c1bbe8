//! Bad input and bad days: what was done, what it says, how it ends, what is left on disk.
//!
//! The first half is a table, one row a case; what needs more than one call has a test of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use crate::yard::{Said, Yard, append, is_root, wait_until};

/// One bad thing.
struct Case {
    /// What was done.
    what: &'static str,
    /// The pipeline file.
    pipeline: String,
    /// What is there beside it: a path and its text; a path that ends in `/` is a folder.
    files: &'static [(&'static str, &'static str)],
    /// What is done to it before flow is called.
    then: fn(&Yard),
    /// The exit code.
    code: i32,
    /// What is said, in any order.
    says: &'static [&'static str],
    /// What is left beside what was there: paths, `.flow` not looked into.
    leaves: &'static [&'static str],
}

fn nothing(_: &Yard) {}

fn case(what: &'static str, pipeline: impl Into<String>, code: i32, says: &'static [&'static str]) -> Case {
    Case { what, pipeline: pipeline.into(), files: &[], then: nothing, code, says, leaves: &[] }
}

impl Case {
    fn with(self, files: &'static [(&'static str, &'static str)]) -> Case {
        Case { files, ..self }
    }

    fn then(self, then: fn(&Yard)) -> Case {
        Case { then, ..self }
    }

    fn leaves(self, leaves: &'static [&'static str]) -> Case {
        Case { leaves, ..self }
    }

    fn check(&self) {
        let yard = Yard::new(&self.pipeline);
        for (path, text) in self.files {
            match path.strip_suffix('/') {
                Some(folder) => fs::create_dir_all(yard.at(folder)).unwrap(),
                None => yard.write(path, text),
            }
        }
        (self.then)(&yard);
        let list = |yard: &Yard| -> Vec<String> {
            let files = yard.files("").into_iter().filter(|path| !path.starts_with(".flow/"));
            files.collect()
        };
        let before = list(&yard);
        let said = yard.flow(&["run"]);
        assert_eq!(said.code, self.code, "{}: {said:#?}", self.what);
        assert!(!said.err.contains("panicked") && !said.out.contains("panicked"), "{}: {said:#?}", self.what);
        assert_eq!(said.out, "", "{}", self.what);
        for text in self.says {
            assert!(said.err.contains(text), "{}: no `{text}` in {said:#?}", self.what);
        }
        assert!(!said.err.bytes().any(|byte| byte < b' ' && byte != b'\n'), "{}: control characters in {said:#?}", self.what);
        let left: Vec<String> = list(&yard).into_iter().filter(|path| !before.contains(path)).collect();
        assert_eq!(left, self.leaves, "{}: {said:#?}", self.what);
        assert!(
            before.iter().all(|path| yard.has(path) || path.contains(char::REPLACEMENT_CHARACTER)),
            "{}: something of the user's is gone: {before:?}",
            self.what
        );
        if self.code == 2 {
            assert!(!yard.has(".flow"), "{}: something was written", self.what);
        } else {
            assert!(!yard.has(".flow/pipeline.yaml/aside"), "{}", self.what);
        }
    }
}

/// A pipeline of one stage `a`, its keys with `; ` between them.
fn stage(text: &str) -> String {
    let keys = ["inputs", "outputs", "timeout", "grace", "dir", "shell", "retries"];
    let lines = keys.iter().fold(text.to_string(), |text, key| text.replace(&format!("; {key}:"), &format!("\n    {key}:")));
    format!("stages:\n  a:\n    {lines}\n")
}

/// Two stages with these outputs.
fn two(first: &str, second: &str) -> String {
    format!("stages:\n  a: {{cmd: 'true', outputs: {first}}}\n  b: {{cmd: 'true', outputs: {second}}}\n")
}

fn instead(yard: &Yard, make: impl FnOnce(&std::path::Path)) {
    yard.remove("pipeline.yaml");
    make(&yard.at("pipeline.yaml"));
}

fn mkfifo(path: &std::path::Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn bomb() -> String {
    let mut text = String::from("x-0: &x0 [a,a,a,a,a,a,a,a,a,a]\n");
    for n in 1..12 {
        let before = n - 1;
        text += &format!("x-{n}: &x{n} [{}]\n", vec![format!("*x{before}"); 10].join(","));
    }
    text + "stages: {a: {cmd: *x11}}\n"
}

fn cycle(length: usize) -> String {
    let stage = |n: usize| format!("  s{n}: {{cmd: 'true', inputs: f{n}, outputs: f{}}}\n", (n + 1) % length);
    format!("stages:\n{}", (0..length).map(stage).collect::<String>())
}

fn the_file() -> Vec<Case> {
    vec![
        case("not UTF-8", "", 2, &["pipeline.yaml:1:12", "is not UTF-8"]).then(|yard| yard.write("pipeline.yaml", b"stages: {a:\xff}")),
        case("a folder", "", 2, &["`pipeline.yaml` is a folder, not a file"]).then(|yard| {
            instead(yard, |path| fs::create_dir(path).unwrap());
            yard.write("pipeline.yaml/x", "");
        }),
        case("a fifo", "", 2, &["`pipeline.yaml` is a fifo"]).then(|yard| instead(yard, mkfifo)),
        case("/dev/zero", "", 2, &["`pipeline.yaml` is a device"]).then(|yard| instead(yard, |path| symlink("/dev/zero", path).unwrap())),
        case("a link to nowhere", "", 2, &["no pipeline.yaml here"]).then(|yard| instead(yard, |path| symlink("nowhere", path).unwrap())),
        case("8 MiB of one line", "x".repeat(8 << 20), 2, &["pipeline.yaml:1:1", "a pipeline is a map"]),
        case("100,000 deep", format!("stages: {}", "[".repeat(100_000)), 2, &["64 deep"]),
        case("100,000 maps deep", format!("stages: {}", "{a: ".repeat(100_000)), 2, &["64 deep"]),
        case("an alias bomb", bomb(), 2, &["aliases make this file larger"]),
        case("empty", "", 2, &["there is no pipeline in this file"]),
        case("only a comment", "# nothing\n", 2, &["there is no pipeline in this file"]),
        case("no stages", "name: x\n", 2, &["stages"]),
        case("NUL bytes", "stages:\n  a: {cmd: \"x\0y\"}\n", 2, &["pipeline.yaml:2"]),
        case("missing", "", 2, &["no pipeline.yaml here or in a folder above"]).then(|yard| yard.remove("pipeline.yaml")),
        case(
            "many mistakes",
            "stages:\n  a: {cmd: x, input: y}\n  b: {cmd: [x], outputs: {z}}\n",
            2,
            &["unknown key `input`", "mistakes in pipeline.yaml; nothing was run"],
        ),
        case("a cycle of 1,000", cycle(1000), 2, &["a cycle of 1000 tasks"]),
        case("a cycle of one", stage("cmd: x; inputs: f; outputs: f"), 2, &["which it makes itself"]),
    ]
}

fn outputs() -> Vec<Case> {
    vec![
        case("written twice", two("x", "./x"), 2, &["`a` and `b` both make x", "also made here"]),
        case("written twice, by a detour", two("x", "q/../x"), 2, &["both make x"]),
        case("written twice, with two slashes", two("q/x", "q//x"), 2, &["both make q/x"]),
        case("one inside another's folder", two("d/", "d/x"), 2, &["`a` makes d and `b` makes d/x"]),
        case("a folder inside a folder", two("d/e/", "d/"), 2, &["one lies inside the other"]),
        case("a file and a folder", two("d/", "d"), 2, &["both make d"]),
        case("outside", two("../x", "y"), 2, &["output `../x` lies outside the workspace"]),
        case("absolute", two("/tmp/x", "y"), 2, &["output `/tmp/x` lies outside the workspace"]),
        case("outside, by a detour", two("q/../../x", "y"), 2, &["lies outside the workspace"]),
        case("flow's own folder", two(".flow/x", "y"), 2, &["`.flow` is flow's own folder"]),
        case("the workspace", two("./", "y"), 2, &["the workspace itself can't be an output"]),
        case("the pipeline file", two("pipeline.yaml", "y"), 2, &["the pipeline file lies at or below the output"]),
        case("a glob", two("'*.txt'", "y"), 2, &["is a glob"]),
        case(
            "through a link that leads out",
            stage("cmd: echo x > sub/x; outputs: sub/x"),
            2,
            &["`a` makes sub/x, but the link sub leads out of the workspace"],
        )
        .then(|yard| {
            fs::create_dir(yard.outside().join("far")).unwrap();
            symlink("../far", yard.at("sub")).unwrap();
        }),
        case("through a link that stays inside", stage("cmd: echo x > sub/x; outputs: sub/x"), 0, &["ran       a"])
            .with(&[("real/", "")])
            .then(|yard| symlink("real", yard.at("sub")).unwrap())
            .leaves(&["real/x"]),
        case("a folder where a file was declared", stage("cmd: mkdir -p out; outputs: out"), 1, &["out is a folder: declare it as `out/`"]),
        case(
            "a file where a folder was declared",
            stage("cmd: touch out; outputs: out/"),
            1,
            &["out is a file, declared as the folder `out/`"],
        ),
        case("a fifo as an output", stage("cmd: mkfifo out; outputs: out"), 1, &["`out` is a fifo"]),
        case(
            "a name that is not UTF-8 in a folder",
            stage("cmd: mkdir -p out && touch out/$'\\xff'; outputs: out/"),
            1,
            &["not UTF-8", "\\xFF"],
        ),
        case("a parent that is a file", stage("cmd: echo x > f/out; outputs: f/out"), 1, &["f/out"]).with(&[("f", "mine")]),
    ]
}

fn inputs() -> Vec<Case> {
    vec![
        case(
            "missing ones",
            "stages:\n  a: {cmd: x, inputs: [in/x.csv, gone.txt], outputs: made}\n  b: {cmd: x, inputs: mode, outputs: y}\n",
            2,
            &[
                "`a` needs in/x.csv, which is not there (pipeline.yaml:2",
                "`a` needs gone.txt, which is not there",
                "`b` needs mode, which is not there",
                "in/y.csv is there",
                "stage `a` makes made",
                "nothing was run",
            ],
        )
        .with(&[("in/y.csv", "")]),
        case("a glob without a match", stage("cmd: x; inputs: '*.csv'; outputs: y"), 2, &["`*.csv` matches nothing"]),
        case("a fifo", stage("cmd: cat in > out; inputs: in; outputs: out"), 2, &["`a`: `in` is a fifo"])
            .then(|yard| mkfifo(&yard.at("in"))),
        case("a fifo in a folder", stage("cmd: ls in > out; inputs: in/; outputs: out"), 2, &["fifo"])
            .with(&[("in/", "")])
            .then(|yard| mkfifo(&yard.at("in/p"))),
        case("a device", stage("cmd: head -c1 /dev/zero > out; inputs: /dev/zero; outputs: out"), 2, &["`/dev/zero` is a device"]),
        case("a name that is not UTF-8", stage("cmd: ls in > out; inputs: in/*; outputs: out"), 2, &["not UTF-8", "\\xFF"])
            .with(&[("in/x", "")])
            .then(|yard| assert!(yard.shell("touch in/$'\\xff'").code == 0)),
        case("a link in a circle", stage("cmd: x; inputs: in; outputs: out"), 2, &["`in`"])
            .then(|yard| symlink("in", yard.at("in")).unwrap()),
        case("flow's own folder", stage("cmd: x; inputs: .flow/x; outputs: out"), 2, &["`.flow` is flow's own folder"]),
        case("the byte 0", stage("cmd: x; inputs: \"a\\0b\"; outputs: out"), 2, &["pipeline.yaml:4"]),
        case("a setting that is not there", stage("cmd: echo ${{ config.x }}; outputs: out"), 2, &["config"]),
    ]
}

fn commands() -> Vec<Case> {
    vec![
        case("not there", stage("cmd: nosuchcommand --x; outputs: out"), 1, &["command not found: nosuchcommand"]),
        case("not there, in a shell", stage("cmd: nosuchcommand | cat > out; outputs: out"), 1, &["nosuchcommand"]),
        case("not executable", stage("argv: [./script]; outputs: out"), 1, &["not executable: ./script (chmod +x ./script)"])
            .with(&[("script", "echo x")]),
        case("a folder", stage("argv: [./folder]; outputs: out"), 1, &["./folder"]).with(&[("folder/", "")]),
        case("without its interpreter", stage("argv: [./script]; outputs: out"), 1, &["./script"])
            .then(|yard| yard.program("script", "#!/no/such/program\n")),
        case("makes nothing", stage("cmd: 'true'; outputs: [out, out2]"), 1, &["did not make out, out2"]),
        case(
            "makes half",
            stage("cmd: echo x > out; outputs: [out, out2]"),
            1,
            &["did not make out2", "what it wrote: .flow/pipeline.yaml/failed/a/1.1/"],
        ),
        case(
            "fails in the middle",
            stage("cmd: 'echo half > out; echo why >&2; exit 3'; outputs: out"),
            1,
            &["exit status 3", "│ why", "failed/a/1.1/", "flow resume"],
        ),
        case("kills itself", stage("cmd: kill -SEGV $$; outputs: out"), 1, &["killed by SIGSEGV"]),
        case("no such folder", stage("cmd: pwd > out; dir: nowhere; outputs: out"), 1, &["failed", "nowhere"]),
        case(
            "ignores SIGTERM",
            stage("cmd: \"trap '' TERM; echo x > out; while :; do sleep 0.05; done\"; timeout: 1s; grace: 1s; outputs: out"),
            1,
            &["timed out after 1 s"],
        ),
        case("leaves a child with the log", stage("cmd: (sleep 60; echo late) & echo x > out; outputs: out"), 0, &["ran       a"])
            .leaves(&["out"]),
        case("prints control characters", stage("cmd: printf '\\033[31mred\\007\\n'; exit 1; outputs: out"), 1, &["\\x1b[31mred"]),
        case("prints no text", stage("cmd: head -c 3000 /dev/urandom | tr -d '\\n'; exit 1; outputs: out"), 1, &["exit status 1"]),
        case(
            "prints a long line",
            stage("cmd: head -c 3000000 /dev/zero | tr '\\0' x; exit 1; outputs: out"),
            1,
            &["exit status 1", "whole log: flow log a"],
        ),
        case(
            "an empty output that is read",
            "stages:\n  a: {cmd: 'true > out', outputs: out}\n  b: {cmd: cat out > end, inputs: out, outputs: end}\n",
            0,
            &["out is empty and will never change", "{from: a}"],
        )
        .leaves(&["end", "out"]),
        case("removes its own scratch folder", stage("cmd: rm -r $TMPDIR && echo x > out; outputs: out"), 0, &["ran       a"])
            .leaves(&["out"]),
        case("a shell that is not there", stage("cmd: a | b; shell: /no/shell -c; outputs: out"), 1, &["/no/shell"]),
        case(
            "the argument is too long",
            format!("config: {{x: {}}}\nstages: {{a: {{argv: [echo, '${{{{ config.x }}}}'], outputs: out}}}}\n", "y".repeat(200_000)),
            1,
            &["failed"],
        ),
    ]
}

fn check(cases: Vec<Case>) {
    cases.iter().for_each(Case::check);
}

#[test]
fn bad_files() {
    check(the_file());
}

#[test]
fn bad_outputs() {
    check(outputs());
}

#[test]
fn bad_inputs() {
    check(inputs());
}

#[test]
fn bad_commands() {
    check(commands());
}

#[test]
fn a_pipeline_that_is_named() {
    let yard = Yard::new("");
    yard.flow(&["run", "nowhere.yaml"]).ends(2).says("`nowhere.yaml` is not there");
    yard.flow(&["run", "tmp/"]).ends(2);
    yard.flow(&["run", ""]).ends(2);
    fs::create_dir(yard.at("d.yaml")).unwrap();
    yard.flow(&["run", "d.yaml"]).ends(2).says("`d.yaml` is a folder");
    mkfifo(&yard.at("p.yaml"));
    yard.flow(&["run", "p.yaml"]).ends(2).says("`p.yaml` is a fifo");
    yard.flow(&["run", "/dev/zero.yaml"]).ends(2);
    assert!(!yard.has(".flow"));
}

/// Keys of items that are hard on shells, paths and terminals.
const ODD: &str = r##"["a b", "it's", "q\"x", "new\nline", "ctl\u0001\u001b[31m", "日本", "semi;rm", "$HOME", "a/b", "%41", "@x=1", "a=b", "-rf", "\\", "~", "#", "trail ", "ü"]"##;

#[test]
fn odd_names() {
    let yard = Yard::new(&format!(
        "
config:
  keys: {ODD}
stages:
  each:
    foreach: {{ k: config.keys }}
    cmd: |
      printf %s ${{{{ k }}}} > ${{{{ outputs[0] }}}}
      mkdir -p ${{{{ outputs[1] }}}}; printf %s ${{{{ k }}}} > ${{{{ outputs[1] }}}}/in
      test ! -e ../fail || {{ echo ${{{{ k }}}}; exit 1; }}
    outputs: ['out/${{{{ k }}}}.txt', 'd/${{{{ k }}}}/']
  all:
    cmd: cat ${{{{ inputs }}}} > all.txt
    inputs: out/**/*.txt
    outputs: all.txt
"
    ));
    let keys: Vec<String> = serde_json::from_str(ODD).unwrap();
    let well = |yard: &Yard| {
        for key in &keys {
            assert_eq!((yard.read(&format!("out/{key}.txt")), yard.read(&format!("d/{key}/in"))), (key.clone(), key.clone()));
        }
        assert_eq!(yard.read("all.txt").len(), keys.iter().map(String::len).sum::<usize>());
    };
    let quiet = |said: &Said| assert!(!said.err.bytes().any(|byte| byte < b' ' && byte != b'\n'), "{said:?}");
    quiet(&yard.run());
    well(&yard);
    yard.rests();
    yard.remove("out");
    yard.remove("d");
    quiet(&yard.run());
    well(&yard);
    yard.rests();
    append(&yard.outside().join("fail"), "");
    let said = yard.flow(&["run", "--force", "--keep-going"]).ends(1);
    quiet(&said);
    well(&yard);
    let failed = yard.files(".flow/pipeline.yaml/failed");
    assert_eq!(failed.len(), 2 * keys.len(), "{failed:?}");
    let inside = |folder: &str| fs::read_dir(yard.at(folder)).unwrap().count();
    assert_eq!((inside(".flow/pipeline.yaml/failed"), inside(".flow/pipeline.yaml/logs") >= keys.len()), (keys.len(), true));
    yard.rests();
}

#[test]
fn names_that_only_look_alike() {
    // Longer than a name on disk may be, and the same for 250 bytes.
    let (one, two) = ("x".repeat(250) + "1", "x".repeat(250) + "2");
    let yard = Yard::new(&format!(
        "config: {{ keys: ['{one}', '{two}'] }}\nstages:\n  each:\n    foreach: {{ k: config.keys, n: '[1, 2]' }}\n    cmd: echo ${{{{ k }}}}; test ! -e ../fail; echo ${{{{ n }}}} > ${{{{ outputs }}}}\n    outputs: '${{{{ k[240:] }}}}-${{{{ n }}}}'\n"
    ));
    yard.run();
    yard.rests();
    append(&yard.outside().join("fail"), "");
    yard.flow(&["run", "--force", "-k"]).ends(1);
    assert_eq!(
        fs::read_dir(yard.at(".flow/pipeline.yaml/logs")).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(),
        4
    );
}

#[test]
fn an_unreadable_input() {
    if is_root() {
        return nobody_reads();
    }
    let yard = Yard::new(&stage("cmd: cat in > out; inputs: in; outputs: out"));
    yard.write("in", "1");
    fs::set_permissions(yard.at("in"), fs::Permissions::from_mode(0o000)).unwrap();
    yard.flow(&["run"]).ends(2).says("no permission to read `in`");
}

/// A call of flow as a user who owns nothing.
fn as_nobody(yard: &Yard, args: &[&str]) -> Option<Said> {
    use std::os::unix::process::CommandExt;
    let mut command = yard.command(args);
    command.uid(65534).gid(65534);
    // The program may lie where nobody may look.
    match command.output() {
        Ok(output) => Some(Said::of(output)),
        Err(_) => None,
    }
}

fn open_to_all(yard: &Yard) {
    assert!(yard.shell("chmod -R a+rX .. && chmod a+rwx ../tmp .").code == 0);
}

fn nobody_reads() {
    let yard = Yard::new(&stage("cmd: cat in > out; inputs: in; outputs: out"));
    yard.write("in", "1");
    open_to_all(&yard);
    fs::set_permissions(yard.at("in"), fs::Permissions::from_mode(0o600)).unwrap();
    let Some(said) = as_nobody(&yard, &["run"]) else { return };
    said.ends(2).says("no permission to read `in`");
    assert!(!yard.has(".flow"));
}

#[test]
fn a_workspace_that_cannot_be_written() {
    let yard =
        Yard::new("stages:\n  a: {cmd: cat in > out, inputs: in, outputs: out}\n  b: {cmd: cat out > end, inputs: out, outputs: end}\n");
    yard.write("in", "1");
    yard.run();
    open_to_all(&yard);
    let locked = yard.shell("chmod -R a-w . && chmod a-w .");
    assert_eq!(locked.code, 0);
    let call = |yard: &Yard| match is_root() {
        true => as_nobody(yard, &["run"]),
        false => Some(yard.flow(&["run"])),
    };
    let Some(said) = call(&yard) else { return };
    said.ends(0).says("2 up to date");
    // Touched: looked at again, and nothing can be kept of that.
    assert_eq!(yard.shell("touch in 2> /dev/null || { chmod u+w in; touch in; chmod u-w in; }").code, 0);
    for _ in 0..2 {
        call(&yard).unwrap().ends(0).says("2 up to date");
    }
    // Something to do: a clear end, and nothing is lost.
    assert_eq!(yard.shell("chmod u+w in; echo 2 > in; chmod a-w in").code, 0);
    call(&yard).unwrap().ends(5).says("state");
    assert_eq!((yard.read("out"), yard.read("end")), ("1".into(), "1".into()));
    assert_eq!(yard.shell("chmod -R u+w .").code, 0);
    yard.run();
    assert_eq!(yard.read("end"), "2\n");
}

#[test]
fn a_folder_of_outputs_that_cannot_be_written() {
    let yard = Yard::new(&stage("cmd: cat in > one/out; cat in > two/out; inputs: in; outputs: [one/out, two/out]; retries: 1"));
    yard.write("in", "1");
    yard.run();
    open_to_all(&yard);
    assert_eq!(yard.shell("chmod -R a+rw . && chmod a+rwx . one .flow .flow/* && chmod -R a+rwX .flow && chmod 555 two").code, 0);
    yard.write("in", "2");
    let said = match is_root() {
        true => as_nobody(&yard, &["run"]),
        false => Some(yard.flow(&["run"])),
    };
    let Some(said) = said else { return };
    said.ends(1).says("two/out");
    // The good outputs of both stand, although only one could be moved.
    assert_eq!((yard.read("one/out"), yard.read("two/out")), ("1".into(), "1".into()));
    assert!(!yard.has(".flow/pipeline.yaml/aside"));
    assert_eq!(yard.files(".flow/pipeline.yaml/failed"), [""; 0]);
    assert_eq!(yard.shell("chmod 777 two").code, 0);
    yard.run();
    assert_eq!((yard.read("one/out"), yard.read("two/out")), ("2".into(), "2".into()));
}

/// Two stages with outputs and one without, up to date.
fn small() -> Yard {
    let yard = Yard::new(
        "
stages:
  a:
    cmd: echo a >> ../log; cat in > out
    inputs: in
    outputs: out
  b:
    cmd: echo b >> ../log; mkdir -p d; cp out d/1; cp out d/2
    inputs: out
    outputs: d/
  sent:
    cmd: echo sent >> ../log
    inputs: d/
",
    );
    yard.write("in", "1\n");
    yard.runs(&["a", "b", "sent"]);
    yard.rests();
    yard
}

const STATE: &str = ".flow/pipeline.yaml/state";

/// After whatever was done to the state: a run ends well and runs at most what has no outputs.
fn mends(yard: &Yard, context: &str) -> Said {
    let said = yard.flow(&["run"]);
    assert_eq!(said.code, 0, "{context}: {said:#?}");
    let ran = yard.ran();
    assert!(ran.is_empty() || ran == ["sent"], "{context}: {ran:?}, {said:#?}");
    assert_eq!((yard.read("out"), yard.read("d/1"), yard.read("d/2")), ("1\n".into(), "1\n".into(), "1\n".into()), "{context}");
    yard.rests();
    said
}

#[test]
fn a_state_that_is_cut() {
    let yard = small();
    let whole = fs::read(yard.at(STATE)).unwrap();
    let step = whole.len() / 60;
    for cut in (0..64).chain((64..whole.len()).step_by(step)).chain(whole.len() - 3..whole.len()) {
        yard.write(STATE, &whole[..cut]);
        let said = mends(&yard, &format!("cut at {cut} of {}", whole.len()));
        if cut > 0 {
            said.says("state").says(".flow/kept");
        }
    }
    assert!(yard.kept().len() > 60);
    // Nothing but states was ever kept: no output was taken for somebody else's.
    assert!(yard.kept().iter().all(|path| path.contains("-damaged/")), "{:?}", yard.kept());
}

#[test]
fn a_state_whose_frames_are_cut() {
    // A run that is killed leaves frames; each prefix of them is a truth of its own.
    let yard = small();
    yard.write("in", "2\n");
    let slow = yard.read("pipeline.yaml").replace("cp out d/2", "cp out d/2; test ! -e ../slow || sleep 60");
    yard.write("pipeline.yaml", &slow);
    yard.run();
    yard.write("in", "3\n");
    append(&yard.outside().join("slow"), "");
    yard.ran();
    let mut flow = yard.start(&["run"]);
    wait_until(|| yard.has("d/2") && yard.read("d/2") == "3\n");
    flow.kill().unwrap();
    flow.wait().unwrap();
    fs::remove_file(yard.outside().join("slow")).unwrap();
    let saved = yard.outside().join("saved");
    assert_eq!(yard.shell("cp -a . ../saved").code, 0);
    let whole = fs::read(saved.join(STATE)).unwrap();
    let length = whole.len();
    for cut in (length - 900..=length).rev().step_by(45) {
        assert_eq!(yard.shell("cd ..; rm -rf ws; cp -a saved ws").code, 0);
        yard.write(STATE, &whole[..cut]);
        yard.run();
        assert_eq!((yard.read("out"), yard.read("d/1"), yard.read("d/2")), ("3\n".into(), "3\n".into(), "3\n".into()), "{cut} of {length}");
        assert!(!yard.has(".flow/pipeline.yaml/aside"), "{cut}");
        yard.ran();
        yard.rests();
    }
}

#[test]
fn a_state_that_is_garbled() {
    let yard = small();
    let whole = fs::read(yard.at(STATE)).unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..60 {
        let mut bytes = whole.clone();
        match round % 3 {
            0 => bytes.iter_mut().for_each(|byte| *byte = random.u8(..)),
            1 => (0..1 + random.usize(..20)).for_each(|_| {
                let at = random.usize(..bytes.len());
                bytes[at] ^= 1 << random.u8(..8);
            }),
            _ => {
                let at = random.usize(..bytes.len());
                let to = (at + random.usize(..400)).min(bytes.len());
                bytes[at..to].fill(0);
            }
        }
        yard.write(STATE, &bytes);
        mends(&yard, &format!("garbled, round {round}"));
    }
}

#[test]
fn a_state_that_is_something_else() {
    let yard = small();
    let mut bytes = fs::read(yard.at(STATE)).unwrap();
    bytes[8] = 99;
    yard.write(STATE, &bytes);
    mends(&yard, "another version").says("version 99").says(".flow/kept");
    yard.remove(STATE);
    fs::create_dir(yard.at(STATE)).unwrap();
    mends(&yard, "a folder").says("state").says(".flow/kept");
    yard.remove(STATE);
    mkfifo(&yard.at(STATE));
    mends(&yard, "a fifo").says("state");
    yard.remove(STATE);
    symlink("/etc/passwd", yard.at(STATE)).unwrap();
    mends(&yard, "a link").says("state");
    yard.remove(STATE);
    mends(&yard, "nothing");
    yard.write(STATE, "");
    mends(&yard, "empty");
    // Frames that speak of another world.
    append(&yard.at(STATE), "some bytes that are no frame at all, longer than a head");
    mends(&yard, "a tail of garbage");
}

#[test]
fn what_is_below_flow_is_something_else() {
    let yard = small();
    yard.remove(".flow");
    yard.write(".flow", "mine");
    yard.flow(&["run"]).ends(5).says(".flow");
    assert_eq!(yard.read(".flow"), "mine");
    yard.remove(".flow");
    yard.write(".flow/pipeline.yaml", "mine");
    yard.flow(&["run"]).ends(5).says(".flow/pipeline.yaml");
    yard.remove(".flow");
    fs::create_dir_all(yard.at(".flow/pipeline.yaml/lock")).unwrap();
    yard.flow(&["run"]).ends(5).says("lock");
    yard.remove(".flow");
    fs::create_dir_all(yard.at(".flow/pipeline.yaml")).unwrap();
    // A cache that cannot be used steps aside.
    yard.write(".flow/cache", "mine");
    yard.ran();
    yard.run();
    assert_eq!(yard.ran(), ["a", "b", "sent"]);
    assert_eq!(yard.read(".flow/cache"), "mine");
    yard.rests();
    yard.remove(".flow");
    // Links inside lead nowhere: nothing of the user's is touched through them.
    let far = yard.outside().join("far");
    fs::create_dir(&far).unwrap();
    fs::create_dir_all(yard.at(".flow/pipeline.yaml")).unwrap();
    for name in ["logs", "runs", "aside", "failed"] {
        symlink(&far, yard.at(&format!(".flow/pipeline.yaml/{name}"))).unwrap();
    }
    let said = yard.flow(&["run"]);
    assert!(!said.err.contains("panicked"), "{said:?}");
    assert_eq!(fs::read_dir(&far).unwrap().count(), 0, "{said:?}");
}

#[test]
fn flow_is_removed_while_it_runs() {
    let yard =
        Yard::new(&stage("cmd: cat in > out; touch ../started; while test ! -e ../go; do sleep 0.01; done; inputs: in; outputs: out"));
    yard.write("in", "1\n");
    let flow = yard.start(&["run"]);
    wait_until(|| yard.outside().join("started").exists());
    yard.remove(".flow");
    append(&yard.outside().join("go"), "");
    let said = Said::of(flow.wait_with_output().unwrap());
    assert!(!said.err.contains("panicked"), "{said:?}");
    assert_eq!(yard.read("out"), "1\n");
    yard.run();
    yard.rests();
}

/// A pipeline that runs until `../go` is there.
const WAITS: &str = "
stages:
  a:
    cmd: echo a >> ../log; touch ../started; while test ! -e ../go; do sleep 0.01; done; echo x > out
    outputs: out
";

#[test]
fn two_flows_of_one_pipeline() {
    let yard = Yard::new(WAITS);
    let first = yard.start(&["run"]);
    wait_until(|| yard.outside().join("started").exists());
    yard.flow(&["run"]).ends(4).says("another run of this pipeline is going on");
    yard.flow(&["run", "--force"]).ends(4);
    let pid = first.id().to_string();
    yard.flow(&["run"]).ends(4).says(&pid);
    let second = yard.start(&["run", "--wait"]);
    let third = yard.start(&["run", "--wait"]);
    append(&yard.outside().join("go"), "");
    Said::of(first.wait_with_output().unwrap()).ends(0).says("ran       a");
    Said::of(second.wait_with_output().unwrap()).ends(0).says("waiting for another run").says("1 up to date");
    Said::of(third.wait_with_output().unwrap()).ends(0).says("1 up to date");
    assert_eq!(yard.ran(), ["a"]);
    assert_eq!(yard.kept(), [""; 0]);
}

#[test]
fn many_first_flows_at_once() {
    for _ in 0..5 {
        let yard = Yard::new(
            "stages:\n  a: {cmd: echo a >> ../log; echo x > out, outputs: out}\n  b: {cmd: echo b >> ../log; cat out > end, inputs: out, outputs: end}\n",
        );
        let flows: Vec<_> = (0..6).map(|_| yard.start(&["run", "--wait"])).collect();
        for flow in flows {
            Said::of(flow.wait_with_output().unwrap()).ends(0);
        }
        assert_eq!(yard.ran(), ["a", "b"]);
        yard.rests();
    }
}

#[test]
fn two_pipelines_of_one_workspace() {
    let yard = Yard::new(WAITS);
    yard.write("other.yaml", "stages:\n  a: {cmd: echo other >> ../log; echo x > other, outputs: other}\n");
    let first = yard.start(&["run"]);
    wait_until(|| yard.outside().join("started").exists());
    yard.flow(&["run", "other.yaml"]).ends(0).says("other: 1 ran");
    append(&yard.outside().join("go"), "");
    Said::of(first.wait_with_output().unwrap()).ends(0);
    assert_eq!(yard.ran(), ["a", "other"]);
    yard.rests();
    yard.flow(&["run", "other.yaml"]).ends(0).says("1 up to date");
}

#[test]
fn two_pipelines_that_make_one_file() {
    let yard = Yard::new(&two("x", "d/y"));
    yard.edit("pipeline.yaml", "cmd: 'true', outputs: x", "cmd: 'echo x > x', outputs: x");
    yard.edit("pipeline.yaml", "cmd: 'true', outputs: d/y", "cmd: 'echo x > d/y', outputs: d/y");
    yard.run();
    yard.write("other.yaml", "stages:\n  c: {cmd: 'echo y > x', outputs: x}\n  e: {cmd: 'mkdir -p d', outputs: d/}\n");
    let said = yard.flow(&["run", "other.yaml"]).ends(2);
    let said = said.says("`c` (other.yaml:2:").says("and `a` of pipeline.yaml (line 2) both make x");
    said.says("`e` (other.yaml:3:").says("and `b` of pipeline.yaml (line 3) both make d/y");
    assert_eq!(yard.read("x"), "x\n");
    assert!(!yard.has(".flow/other.yaml"));
    // A stage that moved to the other file, and a file that is gone.
    yard.write("pipeline.yaml", "stages:\n  z: {cmd: 'echo z > z', outputs: z}\n");
    yard.flow(&["run", "other.yaml"]).ends(0);
    yard.flow(&["run"]).ends(0);
    yard.write("third.yaml", "stages:\n  c: {cmd: 'echo y > x', outputs: x}\n");
    yard.flow(&["run", "third.yaml"]).ends(2).says("of other.yaml");
    yard.remove("other.yaml");
    yard.flow(&["run", "third.yaml"]).ends(0);
}

#[test]
fn a_task_that_writes_its_own_input() {
    let yard = Yard::new(&stage("cmd: cp in out && echo more >> in; inputs: in; outputs: out"));
    yard.write("in", "1\n");
    yard.run().says("in changed while `a` ran");
    yard.run().says("in changed again while `a` ran").says("writes its own input");
    assert_eq!(yard.read("out"), "1\nmore\n");
    assert_eq!(yard.kept(), [""; 0]);
}

#[test]
fn an_input_that_goes_while_it_is_read() {
    let yard = Yard::new(&stage("cmd: cp in out && rm in; inputs: in; outputs: out"));
    yard.write("in", "1\n");
    yard.run().says("in changed while `a` ran");
    yard.flow(&["run"]).ends(2).says("`a` needs in, which is not there");
    assert_eq!(yard.read("out"), "1\n");
    // One that goes before its task is ready.
    let yard = Yard::new("stages:\n  a: {cmd: rm in; touch x, outputs: x}\n  b: {cmd: cat in x > out, inputs: [in, x], outputs: out}\n");
    yard.write("in", "1\n");
    yard.flow(&["run"]).ends(1).says("failed    b").says("in");
}

#[test]
fn closed_streams() {
    let yard = Yard::new(
        "stages:\n  a: {cmd: cat in > out, inputs: in, outputs: out}\n  b: {cmd: cat in >&2 && exit 1, inputs: in, outputs: none}\n",
    );
    let calls = [
        "\"$FLOW\" run 2>&-",
        "\"$FLOW\" run >&- 2>&-",
        "\"$FLOW\" run <&- >&- 2>&-",
        "\"$FLOW\" run --json >&-",
        "\"$FLOW\" run 2>&1 | head -0; exit ${PIPESTATUS[0]}",
        "\"$FLOW\" run 2>&1 | head -1; exit ${PIPESTATUS[0]}",
        "\"$FLOW\" run --json | head -1; exit ${PIPESTATUS[0]}",
        "\"$FLOW\" run 2> /dev/full",
        "\"$FLOW\" run --json > /dev/full",
    ];
    for (n, call) in calls.iter().enumerate() {
        if call.contains("/dev/full") && !std::path::Path::new("/dev/full").exists() {
            continue;
        }
        yard.write("in", format!("{n}\n"));
        let said = yard.shell(call);
        assert_eq!(said.code, 1, "{call}: {said:?}");
        assert_eq!(yard.read("out"), format!("{n}\n"), "{call}");
    }
}

#[test]
fn a_task_fails_and_comes_back() {
    let yard = Yard::new(
        "
stages:
  a: {cmd: 'echo a >> ../log; cat in > out; test ! -e ../fail', inputs: in, outputs: out}
  b: {cmd: 'echo b >> ../log; cat out > b', inputs: out, outputs: b}
  c: {cmd: 'echo c >> ../log; cat b > c', inputs: b, outputs: c}
  free: {cmd: 'echo free >> ../log; echo x > free', outputs: free}
",
    );
    yard.write("in", "1\n");
    append(&yard.outside().join("fail"), "");
    yard.flow(&["run", "--keep-going"]).ends(1).says("1 failed").says("2 not run below it").says("1 ran");
    assert_eq!(yard.ran(), ["a", "free"]);
    assert!(!yard.has("out") && yard.has("free"));
    fs::remove_file(yard.outside().join("fail")).unwrap();
    yard.runs(&["a", "b", "c"]);
    yard.rests();
}

#[test]
fn retries_leave_nothing_of_the_attempts_before() {
    let yard = Yard::new(
        "
stages:
  a:
    cmd: |
      echo a >> ../log
      test ! -e out && mkdir -p d && test -z \"$(ls d)\"
      echo $(wc -l < ../log) > out; touch d/$(wc -l < ../log)
      test $(wc -l < ../log) -ge 3
    inputs: in
    outputs: [out, d/]
    retries: 2
",
    );
    yard.write("in", "1");
    let said = yard.run();
    assert_eq!(yard.ran(), ["a"; 3], "{said:?}");
    assert_eq!((yard.read("out").as_str(), yard.files("d")), ("3\n", vec!["d/3".to_string()]));
    assert_eq!(yard.files(".flow/pipeline.yaml/failed"), [""; 0]);
    yard.rests();
}

/// A small file system of its own, if that can be had.
struct Small {
    yard: Yard,
}

impl Small {
    fn new(size: &str, pipeline: &str) -> Option<Small> {
        if !is_root() || !cfg!(target_os = "linux") {
            return None;
        }
        let yard = Yard::new("");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(yard.root())
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            return None;
        }
        yard.write("pipeline.yaml", pipeline);
        Some(Small { yard })
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.yard.root()).status();
    }
}

#[test]
fn a_full_disk() {
    let pipeline = "
stages:
  a:
    cmd: echo a >> ../log; cat in > a.txt
    inputs: in
    outputs: a.txt
  fills:
    cmd: echo fills >> ../log; cat a.txt ../much > big.txt
    inputs: a.txt
    outputs: big.txt
  z:
    cmd: echo z >> ../log; tail -1 a.txt > z.txt
    inputs: a.txt
    outputs: z.txt
";
    let Some(small) = Small::new("2m", pipeline) else { return };
    let yard = &small.yard;
    yard.write("in", "1\n");
    append(&yard.outside().join("much"), "");
    yard.run();
    assert_eq!(yard.ran(), ["a", "fills", "z"]);
    // More than there is room for.
    append(&yard.outside().join("much"), &"x".repeat(3 << 20));
    yard.write("in", "2\n");
    let said = yard.flow(&["run", "-k"]);
    assert!(said.code == 1 || said.code == 5, "{said:?}");
    yard.ran();
    assert!(["1\n", "2\n"].contains(&yard.read("a.txt").as_str()));
    assert_eq!(yard.read("big.txt"), "1\n", "the last good output is back");
    // Room again: what had finished is not repeated.
    assert_eq!(yard.shell("rm -rf .flow/pipeline.yaml/failed; : > ../much").code, 0);
    yard.run();
    let ran = yard.ran();
    assert!(ran.contains(&"fills".to_string()), "{ran:?}");
    assert_eq!((yard.read("a.txt").as_str(), yard.read("big.txt").as_str(), yard.read("z.txt").as_str()), ("2\n", "2\n", "2\n"));
    yard.rests();
}

#[test]
fn a_disk_that_is_full_from_the_start() {
    let Some(small) = Small::new(
        "1200k",
        "stages:\n  a: {cmd: echo a >> ../log; cat in > a.txt, inputs: in, outputs: a.txt}\n  b: {cmd: echo b >> ../log; cat a.txt > b.txt, inputs: a.txt, outputs: b.txt}\n",
    ) else {
        return;
    };
    let yard = &small.yard;
    yard.write("in", "1\n");
    yard.run();
    yard.ran();
    for room in [0, 4096, 8192, 12288, 16384, 24576] {
        yard.write("in", format!("{room}\n"));
        yard.shell("cat /dev/zero > filler 2> /dev/null");
        let filler = fs::OpenOptions::new().write(true).open(yard.at("filler")).unwrap();
        let length = filler.metadata().unwrap().len();
        filler.set_len(length - room).unwrap();
        drop(filler);
        let said = yard.flow(&["run"]);
        assert!([0, 1, 5].contains(&said.code), "{said:?}");
        assert!(!said.err.contains("panicked"), "{said:?}");
        yard.remove("filler");
        yard.run();
        assert_eq!((yard.read("a.txt"), yard.read("b.txt")), (format!("{room}\n"), format!("{room}\n")), "{room}: {said:?}");
        assert!(!yard.has(".flow/pipeline.yaml/aside"));
        yard.ran();
        yard.rests();
    }
}
