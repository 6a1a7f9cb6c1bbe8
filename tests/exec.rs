//! The local executor with real processes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use flow::attempt::{Cause, Ended, Launch, Log, Wants};
use flow::name::{AttemptId, RelPath, RunId};
use flow::os::process;
use flow::run::exec::local::Local;
use flow::run::exec::mark::{self, Mark};
use flow::run::exec::{Executor, Recovered, Told};
use tempfile::TempDir;

/// Long enough for a slow machine, short enough to see that something hangs.
const LONG: Duration = Duration::from_secs(60);

struct Rig {
    dir: TempDir,
    local: Local,
    told: Receiver<Told>,
    mark: Mark,
    notes: Vec<String>,
}

impl Rig {
    fn new() -> Rig {
        Rig::within(tempfile::tempdir().unwrap())
    }

    fn within(dir: TempDir) -> Rig {
        let mark = Mark::of(dir.path()).unwrap();
        let (tell, told) = channel();
        let tell = Box::new(move |answer| {
            let _ = tell.send(answer);
        });
        let local = Local::with_program(dir.path().to_owned(), mark.clone(), tell, env!("CARGO_BIN_EXE_flow").into());
        Rig { dir, local, told, mark, notes: Vec::new() }
    }

    fn launch(&self, task: &str, argv: &[&str]) -> Launch {
        let id = AttemptId { run: RunId { number: 1, nonce: 1 }, task: task.into(), n: 1 };
        let path = std::env::var("PATH").unwrap();
        Launch {
            common: Default::default(),
            env: vec![(b"PATH".to_vec(), path.into_bytes()), (mark::VARIABLE.into(), self.mark.attempt(&id).into_bytes())],
            id,
            argv: argv.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
            dir: RelPath::workspace(),
            stdin: None,
            stdout: None,
            log: Log::File(self.dir.path().join(format!("{task}.log"))),
            wants: Wants::default(),
            timeout: None,
            grace: Duration::from_secs(30),
        }
    }

    fn shell(&self, task: &str, script: &str) -> Launch {
        self.launch(task, &["/bin/sh", "-c", script])
    }

    fn end(&mut self) -> (String, Ended) {
        loop {
            match self.told.recv_timeout(LONG).expect("an answer") {
                Told::Ended(id, ended) => return (id.task.to_string(), ended),
                Told::Note(_, text) => self.notes.push(text),
                Told::Placed(_, None) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn run(&mut self, launch: Launch) -> Ended {
        let task = launch.id.task.to_string();
        self.local.submit(vec![launch]);
        let (ended, how) = self.end();
        assert_eq!(ended, task);
        how
    }

    fn run_shell(&mut self, script: &str) -> Cause {
        let launch = self.shell("t", script);
        self.run(launch).cause
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join(file)).unwrap_or_default()
    }

    fn log(&self) -> String {
        self.read("t.log")
    }

    fn wait_for(&self, file: &str) -> String {
        wait_until(|| self.read(file).ends_with('\n'));
        self.read(file)
    }

    /// A process whose number a command wrote.
    fn pid(&self, file: &str) -> i32 {
        self.wait_for(file).trim().parse().unwrap()
    }
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < LONG, "waited too long");
        thread::sleep(Duration::from_millis(2));
    }
}

fn runs(pid: i32) -> bool {
    process::stat(pid).is_some_and(|stat| !stat.ended)
}

fn kill(pid: i32) {
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL);
}

/// A daemon of a test, with its children.
fn kill_group(pid: i32) {
    let _ = rustix::process::kill_process_group(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL);
}

#[test]
fn ends_are_told_as_they_are() {
    let mut rig = Rig::new();
    assert_eq!(rig.run_shell("exit 0"), Cause::Success);
    assert_eq!(rig.run_shell("exit 7"), Cause::Exit(7));
    assert_eq!(rig.run_shell("kill -SEGV $$"), Cause::Signal(11));
    assert_eq!(rig.run_shell("kill -KILL $$"), Cause::Signal(9));
    assert_eq!(rig.run_shell("kill -TERM $$"), Cause::Signal(15));
    let launch = rig.launch("t", &["samtolls"]);
    assert_eq!(rig.run(launch).cause, Cause::NotStarted("command not found: samtolls".into()));
    let launch = rig.launch("t", &["sleep", "0.05"]);
    let ended = rig.run(launch);
    assert_eq!(ended.cause, Cause::Success);
    assert!(ended.usage.read.is_some() && ended.usage.written.is_some());
    assert!(ended.usage.wall > Duration::ZERO);
    assert!(rig.notes.is_empty());
}

#[test]
fn used_time_and_bytes_are_its_own() {
    let mut rig = Rig::new();
    let launch = rig.shell("t", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; head -c 3000000 /dev/zero > f; sync f");
    let usage = rig.run(launch).usage;
    assert!(usage.user > Duration::from_millis(5), "{usage:?}");
    // A file system in memory counts nothing.
    assert!(usage.written.is_some_and(|bytes| bytes == 0 || bytes >= 3_000_000), "{usage:?}");
}

#[test]
fn output_is_in_order_in_a_log_that_was_emptied() {
    let mut rig = Rig::new();
    fs::write(rig.dir.path().join("t.log"), "old old old old old old old").unwrap();
    assert_eq!(rig.run_shell("echo 1; echo 2 >&2; echo 3; echo 4 > /dev/stderr; echo 5"), Cause::Success);
    // `> /dev/stderr` empties a file, as it does under every runner that logs to one.
    assert!(rig.log().ends_with("4\n5\n"), "{:?}", rig.log());
    assert_eq!(rig.run_shell("for i in 1 2 3; do echo o$i; echo e$i >&2; done"), Cause::Success);
    assert_eq!(rig.log(), "o1\ne1\no2\ne2\no3\ne3\n");
}

#[test]
fn standard_files_and_folder_are_as_asked() {
    let mut rig = Rig::new();
    fs::create_dir_all(rig.dir.path().join("data/deep")).unwrap();
    fs::write(rig.dir.path().join("data/in"), "b\na\n").unwrap();
    let mut launch = rig.launch("t", &["sort"]);
    launch.stdin = Some(RelPath::normal("data/in").unwrap());
    launch.stdout = Some(RelPath::normal("data/out").unwrap());
    assert_eq!(rig.run(launch.clone()).cause, Cause::Success);
    assert_eq!(rig.read("data/out"), "a\nb\n");
    assert_eq!(rig.log(), "");
    launch.stdin = Some(RelPath::normal("data/gone").unwrap());
    assert_eq!(rig.run(launch).cause, Cause::NotStarted("no such file: data/gone (its standard input)".into()));
    let mut launch = rig.shell("t", "pwd; wc -c; [ -t 0 ] || echo no terminal; : < /dev/tty");
    launch.dir = RelPath::normal("data/deep").unwrap();
    assert_eq!(rig.run(launch.clone()).cause, Cause::Exit(if cfg!(target_os = "linux") { 2 } else { 1 }));
    let log = rig.log();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(Path::new(lines[0]), rig.dir.path().join("data/deep").canonicalize().unwrap());
    assert_eq!((lines[1].trim(), lines[2]), ("0", "no terminal"));
    launch.dir = RelPath::normal("data/none").unwrap();
    let Cause::NotStarted(words) = rig.run(launch).cause else { panic!() };
    assert!(words.starts_with("no such folder: ") && words.ends_with("data/none"), "{words}");
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_leaks_into_a_command() {
    let mut rig = Rig::new();
    let mut launch = rig.launch("t", &["/usr/bin/env"]);
    launch.env.push((b"ODD".to_vec(), b"a=b\n \xc3\xa9".to_vec()));
    let mut want: Vec<String> = launch.env.iter().map(|(k, v)| String::from_utf8([&k[..], b"=", &v[..]].concat()).unwrap()).collect();
    want.sort();
    assert_eq!(rig.run(launch).cause, Cause::Success);
    assert_eq!(rig.log(), want.join("\n") + "\n");

    assert_eq!(rig.run_shell("grep -E 'Sig(Blk|Ign)' /proc/self/status; ls -l /proc/self/fd; ps -o pgid= -p $$; echo $$"), Cause::Success);
    let log = rig.log();
    // The C library ignores 32 and 33, its own, in what it starts.
    let mask = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap() & !(0b11 << 31);
    assert!(log.lines().take(2).all(|line| mask(line) == 0), "{log}");
    assert!(!log.contains("socket:") && !log.contains("/children"), "{log}");
    let mut last = log.lines().rev();
    assert_eq!(last.next().map(str::trim), last.next().map(str::trim), "a group of its own");
    assert_eq!(rig.run_shell("yes | head -n 1"), Cause::Success);
    assert_eq!(rig.log(), "y\n");
}

#[test]
fn a_time_limit_ends_what_ignores_it() {
    let mut rig = Rig::new();
    let mut launch = rig.shell("t", "trap '' TERM; while :; do sleep 0.01; done");
    launch.timeout = Some(Duration::from_millis(100));
    launch.grace = Duration::from_millis(50);
    let ended = rig.run(launch);
    assert_eq!(ended.cause, Cause::Timeout(Duration::from_millis(100)));
    assert!(ended.usage.wall >= Duration::from_millis(100));
    // No limit at all.
    let mut launch = rig.shell("t", "exit 0");
    launch.timeout = Some(Duration::MAX);
    launch.grace = Duration::MAX;
    assert_eq!(rig.run(launch).cause, Cause::Success);
}

#[test]
fn what_is_cancelled_has_its_grace_and_not_more() {
    let mut rig = Rig::new();
    let deaf = "trap '' TERM; (trap '' TERM; sleep 1000 & echo $! > grandchild; wait; sleep 1000) & wait; sleep 1000";
    let launch = rig.shell("t", deaf);
    rig.local.submit(vec![launch.clone()]);
    let grandchild = rig.pid("grandchild");
    rig.local.cancel(std::slice::from_ref(&launch.id), Duration::from_millis(50));
    assert_eq!(rig.end().1.cause, Cause::Cancelled);
    assert!(!runs(grandchild));

    // Its leader ends at SIGTERM, its child tidies up.
    let launch =
        rig.shell("t", "sh -c 'trap \"sleep 0.1; echo tidy > tidied; exit\" TERM; echo > ready; while :; do sleep 0.01; done' & wait");
    rig.local.submit(vec![launch.clone()]);
    rig.wait_for("ready");
    rig.local.cancel(&[launch.id], Duration::from_secs(60));
    assert_eq!(rig.end().1.cause, Cause::Cancelled);
    assert_eq!(rig.read("tidied"), "tidy\n");
}

#[test]
fn what_is_cancelled_ends_even_if_it_is_stopped() {
    let mut rig = Rig::new();
    let launch = rig.shell("t", "echo $$ > pid; kill -STOP $$; sleep 1000");
    let id = launch.id.clone();
    rig.local.submit(vec![launch]);
    rig.pid("pid");
    rig.local.cancel(&[id], Duration::from_secs(30));
    assert_eq!(rig.end().1.cause, Cause::Cancelled);

    // A second order without grace cuts the first one short.
    let launch = rig.shell("t", "trap '' TERM; echo $$ > pid2; while :; do sleep 0.01; done");
    let id = launch.id.clone();
    rig.local.submit(vec![launch]);
    rig.pid("pid2");
    rig.local.cancel(std::slice::from_ref(&id), Duration::from_secs(1000));
    rig.local.cancel(&[id], Duration::ZERO);
    assert_eq!(rig.end().1.cause, Cause::Cancelled);
}

#[cfg(target_os = "linux")]
#[test]
fn background_processes_of_a_success_are_stopped() {
    let mut rig = Rig::new();
    // It keeps the log open: no end of a pipe or file is waited for.
    assert_eq!(rig.run_shell("sleep 1000 & echo $! > bg"), Cause::Success);
    assert!(!runs(rig.pid("bg")));
    assert_eq!(
        rig.run_shell(
            "sh -c 'trap \"\" TERM; echo > ready; while :; do sleep 0.01; done' & echo $! > bg2; while [ ! -e ready ]; do :; done"
        ),
        Cause::Success
    );
    assert!(!runs(rig.pid("bg2")));
    assert_eq!(rig.run_shell("(sleep 1000 & echo $! > bg3); sleep 0.02; exit 3"), Cause::Exit(3));
    assert!(!runs(rig.pid("bg3")));
    assert!(rig.notes.is_empty(), "{:?}", rig.notes);
}

#[cfg(target_os = "linux")]
#[test]
fn a_daemon_lives_on_after_success_only() {
    let mut rig = Rig::new();
    let daemon = |file: &str| format!("setsid sh -c 'echo $$ > {file}; sleep 1000' & while [ ! -s {file} ]; do :; done");
    assert_eq!(rig.run_shell(&daemon("one")), Cause::Success);
    let one = rig.pid("one");
    assert!(runs(one));
    assert_eq!(rig.notes.len(), 1);
    assert!(rig.notes[0].starts_with(&format!("left running: sh (process {one})")), "{:?}", rig.notes);
    // It is nobody's now, and troubles no other command.
    assert_eq!(rig.run_shell("exit 1"), Cause::Exit(1));
    assert!(runs(one));
    assert_eq!(rig.notes.len(), 1);

    assert_eq!(rig.run_shell(&(daemon("two") + "; exit 1")), Cause::Exit(1));
    assert!(!runs(rig.pid("two")));
    // Not yet left by its parent when it is stopped, and deaf to SIGTERM.
    let launch = rig.shell("t", "setsid sh -c 'trap \"\" TERM; echo $$ > three; while :; do sleep 0.01; done'; sleep 1000");
    rig.local.submit(vec![launch.clone()]);
    let three = rig.pid("three");
    rig.local.cancel(&[launch.id], Duration::from_millis(50));
    assert_eq!(rig.end().1.cause, Cause::Cancelled);
    assert!(!runs(three));
    // Left twice: it is no child of what started it.
    assert_eq!(
        rig.run_shell("(setsid sh -c 'sleep 1000 & echo $! > four; exit' &) ; while [ ! -s four ]; do :; done; exit 1"),
        Cause::Exit(1)
    );
    assert!(!runs(rig.pid("four")));
    assert_eq!(rig.notes.len(), 1, "{:?}", rig.notes);
    // One without any environment bears no mark: nobody knows whose it is, and nobody waits for it.
    let bare = "echo $$ > five; exec env -i $(command -v sleep) 1000";
    assert_eq!(rig.run_shell(&format!("setsid sh -c '{bare}' & while [ ! -s five ]; do :; done; sleep 0.05; exit 1")), Cause::Exit(1));
    kill_group(rig.pid("five"));
    kill_group(one);
}

#[test]
fn two_hundred_quick_commands_with_two_in_flight() {
    let mut rig = Rig::new();
    let begin = Instant::now();
    let mut next = 0;
    let mut ended = 0;
    while ended < 200 {
        while next < 200 && next - ended < 2 {
            let launch = rig.launch(&format!("t{next}"), &["/bin/true"]);
            rig.local.submit(vec![launch]);
            next += 1;
        }
        assert_eq!(rig.end().1.cause, Cause::Success);
        ended += 1;
    }
    eprintln!("{:.0} commands a second", 200.0 / begin.elapsed().as_secs_f64());
    // And all at once.
    let batch: Vec<Launch> = (0..100).map(|n| rig.shell(&format!("b{n}"), "exit 3")).collect();
    rig.local.submit(batch);
    for _ in 0..100 {
        assert_eq!(rig.end().1.cause, Cause::Exit(3));
    }
}

#[test]
fn secrets_are_hidden_in_a_piped_log() {
    let mut rig = Rig::new();
    let mut launch = rig.shell("t", "echo key=hunter2; printf hun >&2; sleep 0.05; echo ter2; (sleep 1000 &)");
    launch.log = Log::Piped { file: rig.dir.path().join("t.log"), mask: vec![b"hunter2".to_vec()], keep: 1 << 20 };
    assert_eq!(rig.run(launch.clone()).cause, Cause::Success);
    assert_eq!(rig.log(), "key=***\n***\n");
    // More than a pipe holds, and more than is kept.
    launch.argv[2] = b"echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo last hunter2".to_vec();
    assert_eq!(rig.run(launch).cause, Cause::Success);
    let log = fs::read(rig.dir.path().join("t.log")).unwrap();
    assert!(log.starts_with(b"first\nxxx") && log.ends_with(b"xxxlast ***\n"), "{}", log.len());
}

#[cfg(target_os = "linux")]
#[test]
fn when_the_launcher_dies_all_is_lost_and_a_new_one_starts() {
    let mut rig = Rig::new();
    let one = rig.shell("t", "echo $PPID > launcher; echo $$ > one; sleep 1000");
    let two = rig.shell("u", "setsid sh -c 'trap \"\" TERM; echo $$ > two; while :; do sleep 0.01; done' & wait");
    rig.local.submit(vec![one, two]);
    let (launcher, one, two) = (rig.pid("launcher"), rig.pid("one"), rig.pid("two"));
    kill(launcher);
    for _ in 0..2 {
        assert_eq!(rig.end().1.cause, Cause::Lost("flow's launcher died".into()));
        assert!(!runs(one) && !runs(two));
    }
    assert_eq!(rig.run_shell("echo $PPID > launcher; exit 4"), Cause::Exit(4));
    assert_ne!(rig.pid("launcher"), launcher);
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_for_all_of_flow_does_not_take_the_launcher() {
    let mut rig = Rig::new();
    let launch = rig.shell("t", "echo $PPID > launcher; while [ ! -e go ]; do sleep 0.01; done; exit 5");
    rig.local.submit(vec![launch]);
    let launcher = rustix::process::Pid::from_raw(rig.pid("launcher")).unwrap();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT, rustix::process::Signal::HUP] {
        rustix::process::kill_process(launcher, signal).unwrap();
    }
    fs::write(rig.dir.path().join("go"), "").unwrap();
    assert_eq!(rig.end().1.cause, Cause::Exit(5));
}

#[cfg(target_os = "linux")]
#[test]
fn dropping_the_executor_leaves_nothing() {
    let mut rig = Rig::new();
    let launch = rig.shell("t", "trap '' TERM; echo $PPID > launcher; echo $$ > pid; while :; do sleep 0.01; done");
    rig.local.submit(vec![launch]);
    let (launcher, pid) = (rig.pid("launcher"), rig.pid("pid"));
    let Rig { dir: _dir, local, told, .. } = rig;
    drop(local);
    assert!(!runs(launcher) && !runs(pid));
    let ends: Vec<Told> = told.iter().filter(|told| matches!(told, Told::Ended(_, ended) if ended.cause == Cause::Cancelled)).collect();
    assert_eq!(ends.len(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn recovery_stops_exactly_the_open_attempts() {
    let mut rig = Rig::new();
    let (open, ended) = (rig.shell("open", "").id, rig.shell("ended", "").id);
    let start = |mark: String| {
        let mut child = Command::new("/bin/sleep")
            .arg("1000")
            .env(mark::VARIABLE, mark)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        // Reaped when it ends, as an orphan would be.
        (pid, thread::spawn(move || child.wait()))
    };
    let (orphan, reaper) = start(rig.mark.attempt(&open));
    let (other, _) = start(Mark::with_id("1-1".into()).attempt(&open));
    let (daemon, _) = start(rig.mark.attempt(&ended));
    assert_eq!(rig.local.recover(vec![(open.clone(), None)]), [(open.clone(), Recovered::Gone { stopped: 1 })]);
    reaper.join().unwrap().unwrap();
    assert!(!runs(orphan) && runs(other) && runs(daemon));
    assert_eq!(rig.local.recover(vec![(open.clone(), None)]), [(open, Recovered::Gone { stopped: 0 })]);
    assert_eq!(rig.local.stop_everything(), 1);
    assert!(runs(other) && !runs(daemon));
    kill(other);
}

/// Another process that does what `FLOW_TEST_PART` says: this test binary, started again.
fn part(name: &str, dir: &Path) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "exec::as_another_process", "--nocapture", "--test-threads=1"]);
    command.env("FLOW_TEST_PART", name).env("FLOW_TEST_DIR", dir).stdout(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn as_another_process() {
    let Ok(part) = std::env::var("FLOW_TEST_PART") else { return };
    let dir = std::env::var("FLOW_TEST_DIR").unwrap();
    let mut rig = Rig::within(tempfile::tempdir_in(dir).unwrap());
    match part.as_str() {
        "fat" => {
            let fat = std::hint::black_box(vec![1u8; 500 << 20]);
            let launch = rig.launch("t", &["/bin/true"]);
            let thin = rig.run(launch).usage.peak.unwrap();
            let launch = rig.launch("t", &["dd", "if=/dev/zero", "of=/dev/null", "bs=60M", "count=1"]);
            let sixty = rig.run(launch).usage.peak.unwrap();
            println!("\npeak {} {thin} {sixty}", std::hint::black_box(&fat).len() >> 20);
        }
        "victim" => {
            let one = rig.shell("t", "trap '' TERM; sleep 1000 & echo $! > one; wait; sleep 1000");
            let two = rig.shell("u", "setsid sh -c 'echo $$ > two; sleep 1000' & wait");
            let three = rig.shell("v", "setsid sh -c 'echo $$ > three; sleep 1000' & while [ ! -s three ]; do :; done");
            rig.run(three);
            rig.local.submit(vec![one, two]);
            println!("\npids {} {} {}", rig.pid("one"), rig.pid("two"), rig.pid("three"));
            thread::sleep(LONG);
        }
        other => panic!("{other}"),
    }
}

/// The numbers of the line that begins with a word.
fn numbers(child: &mut std::process::Child, word: &str) -> Vec<u64> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.starts_with(word)).expect("the line");
    line.split(' ').skip(1).map(|number| number.parse().unwrap()).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn when_flow_is_killed_the_launcher_kills_what_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut victim = part("victim", dir.path());
    let pids: Vec<i32> = numbers(&mut victim, "pids ").into_iter().map(|pid| pid as i32).collect();
    assert!(pids.iter().all(|&pid| runs(pid)));
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until(|| !runs(pids[0]) && !runs(pids[1]));
    // Left running on purpose by a command that had ended well.
    assert!(runs(pids[2]));
    kill_group(pids[2]);
}

#[cfg(target_os = "linux")]
#[test]
fn peak_memory_is_the_commands_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut fat = part("fat", dir.path());
    let [touched, thin, sixty] = numbers(&mut fat, "peak ")[..] else { panic!() };
    fat.wait().unwrap();
    assert_eq!(touched, 500);
    eprintln!("true: {} KiB, 60 MiB: {} KiB", thin >> 10, sixty >> 10);
    // A program without optimisation is bigger itself, and its child begins with its pages.
    let most = if cfg!(debug_assertions) { 20 } else { 10 };
    assert!(thin < most << 20, "{thin}");
    assert!((55 << 20..=65 << 20).contains(&sixty), "{sixty}");
}
