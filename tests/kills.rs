//! Real processes really killed: after any kill the next run is right, repeats nothing that had
//! finished, and leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use flow::os::process;
use flow::run::exec::mark;
use rustix::process::{Pid, Signal, kill_process};

use crate::yard::{Said, Yard, append, wait_until};

/// How many items the fan-outs have.
const ITEMS: usize = 9;

/// Every command writes half, waits, writes the rest; two copies of one command at once would be
/// told in `../overlap`.
const PIPELINE: &str = "
config:
  items: [1, 2, 3, 4, 5, 6, 7, 8, 9]
stages:
  first:
    foreach: { n: config.items }
    cmd: |
      exec 9> ../locks/first-${{ n }}; flock -n 9 || echo first ${{ n }} >> ../overlap
      head -1 ${{ inputs }} > ${{ outputs }}
      sleep 0.0${{ n }}
      tail -1 ${{ inputs }} >> ${{ outputs }}
    inputs: in/${{ n }}.txt
    outputs: a/${{ n }}.txt
  second:
    foreach: { n: config.items }
    cmd: |
      exec 9> ../locks/second-${{ n }}; flock -n 9 || echo second ${{ n }} >> ../overlap
      mkdir -p ${{ outputs }}/deep
      cp ${{ inputs }} ${{ outputs }}/one
      sleep 0.03
      cp ${{ inputs }} ${{ outputs }}/deep/two
    inputs: a/${{ n }}.txt
    outputs: b/${{ n }}/
  third:
    foreach: { n: config.items }
    cmd: |
      exec 9> ../locks/third-${{ n }}; flock -n 9 || echo third ${{ n }} >> ../overlap
      cat ${{ inputs }}/one > ${{ outputs }}
      sleep 0.02
      cat ${{ inputs }}/deep/two >> ${{ outputs }}
    inputs: b/${{ n }}/
    outputs: c/${{ n }}.txt
  sum:
    cmd: |
      exec 9> ../locks/sum; flock -n 9 || echo sum >> ../overlap
      cat ${{ inputs }} > sum.txt
    inputs: c/*.txt
    outputs: sum.txt
  told:
    cmd: |
      exec 9> ../locks/told; flock -n 9 || echo told >> ../overlap
      sleep 0.02
      cat sum.txt > ../told
    inputs: sum.txt
";

/// A workspace with this pipeline, up to date, all inputs of version 0.
fn yard() -> Yard {
    let yard = Yard::new(PIPELINE);
    fs::create_dir(yard.outside().join("locks")).unwrap();
    for n in 1..=ITEMS {
        input(&yard, n, 0);
    }
    yard.flow(&["run", "-j", "6"]).ends(0);
    yard
}

fn input(yard: &Yard, n: usize, version: u32) {
    yard.write(&format!("in/{n}.txt"), format!("{n} is\nof version {version}\n"));
}

/// Starts a run, alone in its group, so that nothing but what is meant is killed.
fn start(yard: &Yard) -> Child {
    use std::os::unix::process::CommandExt;
    let mut command = yard.command(&["run", "-j", "6"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap()
}

/// The launcher of a flow, if it has one now.
fn launcher(flow: &Child) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", flow.id())).ok()?;
    let mut all: Vec<i32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    // Started by another thread than the first.
    for task in fs::read_dir(format!("/proc/{}/task", flow.id())).ok()?.flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    all.into_iter()
        .find(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == b"__launch"))
        })
        .and_then(Pid::from_raw)
}

fn kill(child: &Child, signal: Signal) {
    let _ = kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal);
}

/// What runs said of tasks since run `from`: for each run in order whether it started or ended well.
fn history(yard: &Yard, from: u64) -> BTreeMap<String, Vec<(u64, String)>> {
    let mut tasks: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for run in from.. {
        let folder = format!(".flow/pipeline.yaml/runs/{run}");
        if !yard.has(&folder) {
            break;
        }
        for line in yard.read(&format!("{folder}/events.jsonl")).lines() {
            // The last line of a killed run may be cut.
            let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let (Some(kind), Some(task)) = (event["event"].as_str(), event["task"].as_str()) else { continue };
            if kind == "task_started" || kind == "task_done" {
                tasks.entry(task.to_string()).or_default().push((run, kind.to_string()));
            }
        }
    }
    tasks
}

fn last_run(yard: &Yard) -> u64 {
    let runs = fs::read_dir(yard.at(".flow/pipeline.yaml/runs")).unwrap();
    runs.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).max().unwrap_or(0)
}

/// After the last run everything is as if nothing had ever been killed.
fn all_is_well(yard: &Yard, versions: &[u32], from: u64, context: &str) {
    let text = |n: usize| format!("{n} is\nof version {}\n", versions[n - 1]);
    for n in 1..=ITEMS {
        assert_eq!(yard.read(&format!("a/{n}.txt")), text(n), "{context}");
        assert_eq!(yard.files(&format!("b/{n}")), [format!("b/{n}/deep/two"), format!("b/{n}/one")], "{context}");
        assert_eq!(yard.read(&format!("b/{n}/deep/two")), text(n), "{context}");
        assert_eq!(yard.read(&format!("c/{n}.txt")), text(n).repeat(2), "{context}");
    }
    let sum: String = (1..=ITEMS).map(|n| text(n).repeat(2)).collect();
    assert_eq!(yard.read("sum.txt"), sum, "{context}");
    assert_eq!(fs::read_to_string(yard.outside().join("told")).unwrap(), sum, "{context}");
    nothing_is_left(yard, context);
    for (task, events) in history(yard, from) {
        let done = events.iter().position(|(_, kind)| kind == "task_done");
        if let Some(done) = done {
            assert!(events[done + 1..].iter().all(|(_, kind)| kind == "task_done"), "`{task}` ran twice: {events:?}, {context}");
        }
    }
    let overlap = fs::read_to_string(yard.outside().join("overlap")).unwrap_or_default();
    assert_eq!(overlap, "", "two copies at once, {context}");
    yard.rests();
}

fn nothing_is_left(yard: &Yard, context: &str) {
    assert!(!yard.has(".flow/pipeline.yaml/aside"), "{context}");
    let own: BTreeSet<String> = fs::read_dir(yard.at(".flow/pipeline.yaml"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    for name in &own {
        // A half-written `state.new` is no more than its bytes: the next one takes its place.
        assert!(["state.new", "lock", "state", "failed", "logs", "runs"].contains(&name.as_str()), "{own:?}, {context}");
    }
    let scratch: Vec<_> = fs::read_dir(yard.outside().join("tmp")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(scratch.is_empty(), "{scratch:?}, {context}");
    assert_eq!(marked(yard), 0, "{context}");
}

/// How many processes bear this workspace's mark.
fn marked(yard: &Yard) -> usize {
    let meta = fs::metadata(yard.at(".flow/pipeline.yaml")).unwrap();
    let prefix = format!("{}-{}/", meta.dev(), meta.ino());
    mark::find(|mark| mark.starts_with(prefix.as_bytes())).len()
}

/// What is killed.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Victim {
    Flow,
    FlowAndLauncher,
    LauncherAndFlow,
    Launcher,
}

/// Kills runs again and again; the last one is let go. `FLOW_TEST_SEED` is added to the seed, for other
/// moments than the usual ones.
fn rounds(seed: u64, rounds: usize, kills: usize, victims: &[Victim]) {
    let seed = seed + std::env::var("FLOW_TEST_SEED").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let yard = yard();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut versions = vec![0; ITEMS];
    for round in 0..rounds {
        for n in 1..=ITEMS {
            // Some stay, some come back to what the cache knows.
            if random.u8(..4) > 0 {
                versions[n - 1] = random.u32(..3 + round as u32);
                input(&yard, n, versions[n - 1]);
            }
        }
        let from = last_run(&yard) + 1;
        let mut told = Vec::new();
        for _ in 0..kills {
            let mut flow = start(&yard);
            let wait = if random.u8(..4) == 0 { random.u64(..15) } else { random.u64(10..260) };
            thread::sleep(Duration::from_millis(wait));
            let victim = victims[random.usize(..victims.len())];
            let launcher = launcher(&flow);
            match (victim, launcher) {
                (Victim::Flow, _) | (_, None) => kill(&flow, Signal::KILL),
                (Victim::FlowAndLauncher, Some(launcher)) => {
                    kill(&flow, Signal::KILL);
                    let _ = kill_process(launcher, Signal::KILL);
                }
                (Victim::LauncherAndFlow, Some(launcher)) => {
                    let _ = kill_process(launcher, Signal::KILL);
                    kill(&flow, Signal::KILL);
                }
                (Victim::Launcher, Some(launcher)) => {
                    let _ = kill_process(launcher, Signal::KILL);
                }
            }
            let status = flow.wait().unwrap();
            told.push(format!("{victim:?} after {wait} ms: {status}"));
        }
        let context = format!("seed {seed}, round {round}, {told:?}");
        let said = yard.flow(&["run", "-j", "6"]);
        assert_eq!(said.code, 0, "{said:#?}, {context}");
        // One that was lost with its launcher may run twice in one run's list, never after it was done.
        all_is_well(&yard, &versions, from, &context);
    }
}

#[test]
fn flow_is_killed() {
    thread::scope(|scope| {
        for seed in 0..3 {
            scope.spawn(move || rounds(seed, 3, 8, &[Victim::Flow]));
        }
    });
}

#[test]
fn flow_and_its_launcher_are_killed() {
    thread::scope(|scope| {
        for seed in 10..12 {
            scope.spawn(move || rounds(seed, 2, 6, &[Victim::FlowAndLauncher, Victim::LauncherAndFlow, Victim::Flow]));
        }
    });
}

#[test]
fn the_launcher_is_killed() {
    let yard = yard();
    for n in 1..=ITEMS {
        input(&yard, n, 1);
    }
    let from = last_run(&yard) + 1;
    let flow = yard.start(&["run", "-j", "6"]);
    let mut pid = None;
    wait_until(|| {
        pid = launcher(&flow);
        pid.is_some()
    });
    thread::sleep(Duration::from_millis(30));
    kill_process(pid.unwrap(), Signal::KILL).unwrap();
    let said = Said::of(flow.wait_with_output().unwrap());
    said.ends(1).says("failed");
    nothing_is_left(&yard, "after the launcher");
    // What was lost has its old outputs back, whole.
    for n in 1..=ITEMS {
        let text = yard.read(&format!("a/{n}.txt"));
        assert!(text == format!("{n} is\nof version 0\n") || text == format!("{n} is\nof version 1\n"), "{text}");
    }
    yard.flow(&["run", "-j", "6"]).ends(0);
    all_is_well(&yard, &[1; ITEMS], from, "the launcher alone");
}

#[test]
fn launchers_are_killed_again_and_again() {
    rounds(20, 2, 6, &[Victim::Launcher, Victim::Launcher, Victim::Flow]);
}

#[test]
fn signals_stop_a_run() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let yard = yard();
        for n in 1..=ITEMS {
            input(&yard, n, 1);
        }
        let from = last_run(&yard) + 1;
        let flow = yard.start(&["run", "-j", "3"]);
        wait_until(|| !history(&yard, from).is_empty());
        thread::sleep(Duration::from_millis(40));
        kill(&flow, signal);
        let said = Said::of(flow.wait_with_output().unwrap());
        assert_eq!(said.code, code, "{said:?}");
        nothing_is_left(&yard, "after a signal");
        for n in 1..=ITEMS {
            let text = yard.read(&format!("a/{n}.txt"));
            assert!(text == format!("{n} is\nof version 0\n") || text == format!("{n} is\nof version 1\n"), "{text}");
        }
        let done = history(&yard, from).values().filter(|events| events.iter().any(|(_, kind)| kind == "task_done")).count();
        assert!(done < 3 * ITEMS + 2, "{said:?}");
        yard.flow(&["run", "-j", "6"]).ends(0);
        all_is_well(&yard, &[1; ITEMS], from, "a signal");
    }
}

#[test]
fn a_signal_waits_for_the_grace_and_a_second_one_does_not() {
    let yard = Yard::new(
        "
stages:
  deaf:
    cmd: trap '' TERM; echo half > out.txt; echo started > ../started; while :; do sleep 0.05; done
    grace: 1h
    outputs: out.txt
",
    );
    let flow = yard.start(&["run"]);
    wait_until(|| yard.outside().join("started").exists());
    kill(&flow, Signal::INT);
    thread::sleep(Duration::from_millis(150));
    kill(&flow, Signal::INT);
    let said = Said::of(flow.wait_with_output().unwrap());
    assert_eq!(said.code, 130, "{said:?}");
    assert!(!yard.has("out.txt"));
    nothing_is_left(&yard, "two signals");
}

#[test]
fn killed_while_it_restores() {
    let items: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let yard = Yard::new(&format!(
        "
config:
  items: [{}]
stages:
  each:
    foreach: {{ n: config.items }}
    cmd: echo ${{{{ n }}}} >> ../log; head -c 1000000 /dev/zero | tr '\\0' x > ${{{{ outputs }}}}/big; echo ${{{{ n }}}} > ${{{{ outputs }}}}/small
    outputs: out/${{{{ n }}}}/
    shell: bash -euc
",
        items.join(", ")
    ));
    yard.edit("pipeline.yaml", "head -c", "mkdir -p ${{ outputs }}; head -c");
    yard.run();
    assert_eq!(yard.ran().len(), 40);
    let mut random = fastrand::Rng::with_seed(4);
    for round in 0..12 {
        match round % 3 {
            0 => yard.remove("out"),
            1 => (0..40).for_each(|n| yard.write(&format!("out/{n}/small"), format!("by hand {round}"))),
            _ => (0..40).for_each(|n| yard.remove(&format!("out/{n}/big"))),
        }
        for _ in 0..2 {
            let mut flow = start(&yard);
            thread::sleep(Duration::from_millis(random.u64(5..90)));
            kill(&flow, Signal::KILL);
            flow.wait().unwrap();
        }
        yard.run();
        assert_eq!(yard.ran(), [""; 0], "round {round}");
        for n in 0..40 {
            assert_eq!(yard.read(&format!("out/{n}/small")), format!("{n}\n"), "round {round}");
            assert_eq!(yard.read(&format!("out/{n}/big")), "x".repeat(1_000_000), "round {round}");
        }
        nothing_is_left(&yard, &format!("round {round}"));
        let kept = yard.kept();
        let by_hand = kept.iter().filter(|path| yard.read(path).starts_with("by hand")).count();
        let failed = yard.files(".flow/pipeline.yaml/failed").iter().filter(|path| yard.read(path).starts_with("by hand")).count();
        assert_eq!(
            by_hand + failed,
            40 * (0..=round).filter(|round| round % 3 == 1).count(),
            "nothing of the user's is lost: round {round}, {kept:?}"
        );
        yard.rests();
    }
}

#[test]
fn killed_while_the_state_is_written_anew() {
    let yard = yard();
    // What a kill in the middle leaves.
    yard.write(".flow/pipeline.yaml/state.new", &fs::read(yard.at(".flow/pipeline.yaml/state")).unwrap()[..100]);
    yard.rests();
    input(&yard, 1, 7);
    yard.flow(&["run"]).ends(0).says("first@n=1");
    nothing_is_left(&yard, "state.new");
}

#[test]
fn a_stage_without_outputs_runs_again() {
    let yard = Yard::new(
        "
stages:
  load:
    cmd: echo load >> ../log; test ! -e ../slow || sleep 60
    inputs: raw.txt
",
    );
    yard.write("raw.txt", "1");
    yard.runs(&["load"]);
    append(&yard.outside().join("slow"), "");
    yard.write("raw.txt", "2");
    let mut flow = start(&yard);
    wait_until(|| yard.ran() == ["load"]);
    kill(&flow, Signal::KILL);
    flow.wait().unwrap();
    fs::remove_file(yard.outside().join("slow")).unwrap();
    // Even though its input is as it was when it ended well.
    yard.write("raw.txt", "1");
    yard.runs(&["load"]);
    yard.rests();
    assert_eq!(marked(&yard), 0);
}

#[test]
fn what_left_its_group_is_stopped_after_a_kill() {
    let yard = Yard::new(
        "
stages:
  forks:
    cmd: setsid bash -c 'trap \"\" HUP; echo $$ > ../daemon; while :; do sleep 0.05; done' & sleep 60
    outputs: out.txt
",
    );
    let mut flow = start(&yard);
    let daemon = yard.outside().join("daemon");
    wait_until(|| fs::read_to_string(&daemon).is_ok_and(|text| text.ends_with('\n')));
    let pid: i32 = fs::read_to_string(&daemon).unwrap().trim().parse().unwrap();
    let launcher = launcher(&flow).unwrap();
    let _ = kill_process(launcher, Signal::KILL);
    kill(&flow, Signal::KILL);
    flow.wait().unwrap();
    yard.edit("pipeline.yaml", "setsid", "echo x > out.txt; exit 0; setsid");
    yard.run();
    assert!(process::stat(pid).is_none_or(|stat| stat.ended));
    assert_eq!(yard.read("out.txt"), "x\n");
    nothing_is_left(&yard, "a daemon");
}

#[test]
fn killed_and_the_state_lost_too() {
    for left in ["", "garbage"] {
        let yard = yard();
        for n in 1..=ITEMS {
            input(&yard, n, 1);
        }
        let mut flow = start(&yard);
        wait_until(|| launcher(&flow).is_some());
        thread::sleep(Duration::from_millis(60));
        // The commands go on: nobody tells them.
        let _ = kill_process(launcher(&flow).unwrap(), Signal::KILL);
        kill(&flow, Signal::KILL);
        flow.wait().unwrap();
        match left {
            "" => yard.remove(".flow/pipeline.yaml/state"),
            bytes => yard.write(".flow/pipeline.yaml/state", bytes),
        }
        let before = last_run(&yard);
        yard.flow(&["run", "-j", "6"]).ends(0);
        assert_eq!(last_run(&yard), before + 1, "no run takes the place of another");
        all_is_well(&yard, &[1; ITEMS], before + 1, "a lost state");
    }
}

#[test]
fn killed_between_the_last_task_and_the_end() {
    // No output stood before, so nothing is aside, and no attempt is open: only scratch is left.
    let yard = Yard::new("stages:\n  a: {cmd: echo x > out, outputs: out}\n  b: {cmd: touch ../started; sleep 60, needs: a}\n");
    let mut flow = start(&yard);
    wait_until(|| yard.outside().join("started").exists());
    kill(&flow, Signal::KILL);
    flow.wait().unwrap();
    yard.write("pipeline.yaml", "stages:\n  a: {cmd: echo x > out, outputs: out}\n");
    yard.run();
    nothing_is_left(&yard, "a stage that is gone was open");
    yard.rests();
}
