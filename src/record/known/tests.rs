//! What was applied is what is read back, over compactions and boots.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::attempt::{Cause, Ended, Usage};
use crate::hash::Stamp;
use crate::os::beneath::Beneath;
use crate::record::state::Writer;
use crate::record::state::tests::{done, folder, record, run_started};

/// A state that is written and remembered at once, as in a run.
struct Live {
    dir: tempfile::TempDir,
    folder: Beneath,
    writer: Writer,
    known: Known,
    here: String,
}

impl Live {
    fn new(boot: &str) -> Live {
        let dir = folder();
        let folder = Beneath::open(dir.path()).unwrap();
        let writer = Writer::open(&folder, None).unwrap();
        let mut known = Known::new(boot);
        known.reads_from(writer.file());
        Live { dir, folder, writer, known, here: boot.into() }
    }

    fn add(&mut self, frame: Frame) {
        let (_, laid) = self.writer.add(&frame).unwrap();
        self.known.apply(&frame, laid);
    }

    fn add_all(&mut self, frames: impl IntoIterator<Item = Frame>) {
        frames.into_iter().for_each(|frame| self.add(frame));
    }

    fn synced(&mut self, boot: &str) {
        self.add(Frame::Synced { up_to: self.writer.end(), boot: boot.into() });
    }

    /// What another process of this boot reads.
    fn read(&self) -> Known {
        self.read_in(&self.here)
    }

    fn read_in(&self, boot: &str) -> Known {
        let reader = Reader::open(&self.folder).unwrap().unwrap();
        let (known, end) = Known::load(&reader, boot).unwrap();
        assert_eq!(end, self.writer.end());
        known
    }

    /// The end of one process and the start of the next, in this boot or another.
    fn again(&mut self, boot: &str) {
        let reader = Reader::open(&self.folder).unwrap().unwrap();
        let (known, end) = Known::load(&reader, boot).unwrap();
        self.writer = Writer::open(&self.folder, Some((end, reader.block_end()))).unwrap();
        self.known = known;
        self.here = boot.into();
    }

    fn compact(&mut self) {
        let sections = self.known.sections().unwrap();
        self.writer.compact(&self.folder, &sections).unwrap();
        self.again(&self.here.clone());
        assert!(!self.known.changed && self.known.touched().is_empty());
    }

    fn memory(&self, task: &str) -> Memory {
        self.known.task(&task.into()).unwrap()
    }
}

/// Memory without places; whether the good and the spoilt record are believed; and these two.
type TaskView = (Memory, [bool; 2], [Option<Record>; 2]);

/// Everything that can be asked, with records read and places left out.
#[derive(PartialEq, Debug)]
struct View {
    tasks: BTreeMap<String, TaskView>,
    open: Vec<Open>,
    runs: (Option<RunMemory>, Option<RunMemory>, u64),
    stamps: Vec<(RelPath, bool, Stamp, Digest, bool)>,
    answers: Vec<Option<(Digest, u64)>>,
    expansions: Vec<Option<(Key, Vec<String>)>>,
    by_key: Vec<Vec<TaskName>>,
    boot: (String, bool),
}

fn view(known: &Known) -> View {
    let tasks = known.tasks().map(|(name, memory)| {
        let bare = Memory { good: None, spoilt: None, trust: Trust::default(), spoilt_trust: Trust::default(), ..memory.clone() };
        let record = |at: Option<At>| at.map(|at| known.read(at).unwrap());
        let trusts = [known.trusts(memory.trust), memory.spoilt.is_some() && known.trusts(memory.spoilt_trust)];
        assert_eq!(known.task(&name), Some(memory.clone()));
        (name.to_string(), (bare, trusts, [record(memory.good), record(memory.spoilt)]))
    });
    View {
        tasks: tasks.collect(),
        open: known.open().into_iter().cloned().collect(),
        runs: (known.last_run().cloned(), known.last_good_run().cloned(), known.next_run()),
        stamps: known.stamps().map(|(path, follow, stamped, believed)| (path, follow, stamped.stamp, stamped.digest, believed)).collect(),
        answers: (0..4).map(|n| known.answer(&format!("c{n}"))).collect(),
        expansions: (0..4).map(|n| known.expansion(&format!("s{n}"))).collect(),
        by_key: (0..NONCES).map(|n| known.with_key(&record(n, 0).key).into_iter().map(|(name, _)| name).collect()).collect(),
        boot: (known.boot_id().to_string(), known.is_this_boot()),
    }
}

/// How many records there are in random histories.
const NONCES: u64 = 12;

fn random_frame(random: &mut fastrand::Rng, here: &str, runs: &mut u64, end: u64) -> Frame {
    let task = TaskName::from(format!("t{}", random.u8(..6)).as_str());
    let n = random.u16(1..3);
    let log = random.bool().then(|| "logs/x".to_string());
    let path = RelPath(format!("p{}", random.u8(..4)).into());
    let record = |random: &mut fastrand::Rng| Some(Box::new(record(random.u64(..NONCES), random.usize(..300))));
    match random.u8(..26) {
        0..2 => {
            *runs += 1;
            run_started(*runs, here)
        }
        2..7 => Frame::Started {
            task,
            n,
            key: Key(Digest::of(&[n as u8])),
            executor: "local".into(),
            slot: 3,
            outputs: vec![path],
            at: i64::from(n),
        },
        7 => Frame::Placed { task, handle: vec![random.u8(..)], inputs: vec![(path, Stamp { size: 4, ..Stamp::default() })] },
        8..13 => {
            let how = *random.choice(&[How::Ran, How::Restored, How::TakenOver]).unwrap();
            Frame::Done { task, n, how, log, record: record(random) }
        }
        13 => Frame::Spoilt { task, n, inputs: vec![path], log, record: record(random) },
        14..16 => Frame::Failed { task, n, ended: Ended { cause: Cause::Exit(3), usage: Usage::default() }, at: 9, log },
        16 => Frame::Aborted { task, n, log },
        17 => Frame::Forgotten { task },
        18 => Frame::Verified { task },
        19 => Frame::Expanded {
            stage: format!("s{}", random.u8(..4)),
            of: Key(Digest::of(&[n as u8])),
            items: vec!["i".into(); random.usize(..4)],
        },
        20..22 => Frame::Stamped {
            path,
            follow: random.bool(),
            stamp: Stamp { size: random.u64(..9), ..Stamp::default() },
            digest: Digest::of(b"d"),
        },
        22 => Frame::Answered { command: format!("c{}", random.u8(..4)), answer: Digest::of(&[n as u8]), run: *runs },
        23 => Frame::Synced { up_to: random.u64(..=end), boot: here.into() },
        _ => {
            let run = RunId { number: *runs, nonce: *runs };
            let state = *random.choice(&[RunEnd::Fine, RunEnd::Failed, RunEnd::Interrupted]).unwrap();
            Frame::RunEnded { run, state, exit: 1, at: 3, counts: Counts { ran: random.u64(..5), ..Counts::default() } }
        }
    }
}

#[test]
fn live_is_what_is_read_before_and_after_compaction() {
    let boots = ["b0", "b1", "b2"];
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut live = Live::new(boots[0]);
        let mut runs = 0;
        for _ in 0..random.usize(1..6) {
            for _ in 0..random.usize(..60) {
                let frame = random_frame(&mut random, &live.here, &mut runs, live.writer.end());
                live.add(frame);
            }
            let before = view(&live.known);
            assert_eq!(view(&live.read()), before, "seed {seed}");
            assert_eq!(live.read().touched(), live.known.touched());
            if random.bool() {
                let elsewhere = view(&live.read_in("another"));
                live.compact();
                assert_eq!(view(&live.known), before, "seed {seed}");
                assert_eq!(view(&live.read_in("another")), elsewhere, "seed {seed}");
            }
            let next = if random.bool() { live.here.clone() } else { (*random.choice(&boots).unwrap()).to_string() };
            live.again(&next);
        }
    }
}

#[test]
fn another_boot_believes_what_was_synced_in_its_own() {
    let mut live = Live::new("b1");
    live.add_all([run_started(1, "b1"), done("early", 1, 9)]);
    live.synced("b1");
    live.add(done("late", 2, 9));
    let believed = |live: &Live, boot: &str| {
        let known = live.read_in(boot);
        ["early", "late"].map(|task| known.believed(&known.task(&task.into()).unwrap()))
    };
    for _ in 0..2 {
        assert_eq!(believed(&live, "b1"), [true, true]);
        assert_eq!(believed(&live, "b2"), [true, false]);
        live.compact();
    }
    // A run of the next boot, and its sync: what the power cut made doubtful stays so.
    live.again("b2");
    live.add(run_started(2, "b2"));
    live.synced("b2");
    assert_eq!(believed(&live, "b2"), [true, false]);
    live.compact();
    assert_eq!(believed(&live, "b2"), [true, false]);
    assert_eq!(believed(&live, "b1"), [true, true]);
    // Looked at and found as recorded: believed, and once synced in every boot.
    live.add(Frame::Verified { task: "late".into() });
    assert_eq!(believed(&live, "b2"), [true, true]);
    assert_eq!(believed(&live, "b3"), [true, false]);
    live.compact();
    live.synced("b2");
    assert_eq!(believed(&live, "b3"), [true, true]);
    live.compact();
    assert_eq!(believed(&live, "b3"), [true, true]);
}

#[test]
fn what_was_read_again_is_believed_by_the_next_block() {
    let mut live = Live::new("b1");
    live.add_all([run_started(1, "b1"), done("a", 1, 9), done("b", 2, 9)]);
    live.again("b2");
    live.known.believe(&"a".into());
    let believed = |known: &Known| ["a", "b"].map(|task| known.believed(&known.task(&task.into()).unwrap()));
    assert_eq!(believed(&live.known), [true, false]);
    live.compact();
    assert_eq!(believed(&live.known), [true, false]);
    assert_eq!(believed(&live.read_in("b3")), [false, false]);
    live.known.believe(&"none".into());
    assert_eq!(live.known.names().count(), 2);
    live.add(run_started(2, "b2"));
    live.synced("b2");
    assert_eq!(believed(&live.read_in("b3")), [true, false]);
}

/// Digests by stamp lie in the block beside what is remembered: they are of the block's boot, whatever
/// boots the frames behind it are of.
#[test]
fn the_block_is_of_the_boot_it_was_written_in() {
    let told = |live: &Live, boot: &str| {
        let known = live.read_in(boot);
        (known.trusts_block(), known.is_block_synced())
    };
    let block_of = |boot: &str| {
        let mut live = Live::new(boot);
        live.add_all([run_started(1, boot), done("t", 1, 0)]);
        live.compact();
        live
    };
    let mut live = block_of("b1");
    assert_eq!((told(&live, "b1"), told(&live, "b2")), ((true, false), (false, false)));
    // A run of another boot begins, syncs, and is killed: the block is no newer by that.
    live.again("b2");
    live.add(run_started(2, "b2"));
    live.synced("b2");
    assert_eq!((told(&live, "b1"), told(&live, "b2")), ((true, false), (false, false)));
    // A later run of its own boot makes it sure.
    let mut live = block_of("b1");
    live.add(run_started(2, "b1"));
    live.synced("b1");
    assert_eq!((told(&live, "b1"), told(&live, "b2")), ((true, true), (true, true)));
}

#[test]
fn a_sync_covers_what_ended_before_it_began() {
    let mut live = Live::new("b1");
    live.add(run_started(1, "b1"));
    live.add(done("a", 1, 9));
    let up_to = live.writer.end();
    live.add(done("b", 2, 9));
    live.add(Frame::Stamped { path: RelPath("p".into()), follow: true, stamp: Stamp::default(), digest: Digest::of(b"") });
    live.add(Frame::Synced { up_to, boot: "b1".into() });
    let known = live.read_in("b2");
    assert!(known.believed(&known.task(&"a".into()).unwrap()));
    assert!(!known.believed(&known.task(&"b".into()).unwrap()));
    let path = RelPath("p".into());
    assert!(!known.stamp(&path, true).unwrap().1);
    assert!(known.stamp(&path, false).is_none());
    assert!(live.known.stamp(&path, true).unwrap().1);
    assert!(!known.is_this_boot() && live.known.is_this_boot());
}

#[test]
fn the_last_attempt_and_the_last_good_one() {
    let mut live = Live::new("b");
    let failed = |n| Frame::Failed {
        task: "t".into(),
        n,
        ended: Ended { cause: Cause::Exit(1), usage: Usage::default() },
        at: 50,
        log: Some("l".into()),
    };
    let started =
        |n| Frame::Started { task: "t".into(), n, key: record(1, 0).key, executor: "local".into(), slot: 0, outputs: Vec::new(), at: 40 };
    live.add_all([run_started(1, "b"), started(1)]);
    assert_eq!((live.memory("t").last, live.known.open().len()), (Last::Started, 1));
    live.add(done("t", 7, 9));
    let good = live.memory("t");
    assert_eq!((good.last, good.nonce, good.good_run, good.duration), (Last::Well, 7, 1, Some(Duration::from_millis(7))));
    assert!(live.known.open().is_empty());
    live.add_all([run_started(2, "b"), started(1), failed(1)]);
    let memory = live.memory("t");
    assert_eq!((memory.last, memory.good, memory.good_run), (Last::Failed, good.good, 1));
    assert_eq!(memory.end.map(|end| (end.run, end.n, end.at, end.log)), Some((2, 1, 50, Some("l".into()))));
    assert_eq!(live.known.standing(&"t".into()).unwrap().map(|record| record.nonce), Some(7));
    // flow dies; a later run puts things in order.
    live.add_all([run_started(3, "b"), started(2)]);
    live.again("b");
    let open = live.known.open()[0].clone();
    assert_eq!((open.attempt.run.number, open.attempt.n, open.at), (3, 2, 40));
    live.add_all([run_started(4, "b"), Frame::Aborted { task: "t".into(), n: 2, log: None }]);
    let memory = live.memory("t");
    assert_eq!((memory.last, memory.end.map(|end| (end.run, end.n, end.at))), (Last::Aborted, Some((3, 2, 40))));
    // A spoilt result stands there and is no good one.
    live.add(Frame::Spoilt { task: "t".into(), n: 1, inputs: vec![RelPath("i".into())], log: None, record: Some(Box::new(record(8, 9))) });
    let memory = live.memory("t");
    assert_eq!((memory.last, memory.good, memory.spoilt_by.len()), (Last::Spoilt, good.good, 1));
    assert_eq!(live.known.standing(&"t".into()).unwrap().map(|record| record.nonce), Some(8));
    assert_eq!(live.known.with_key(&record(8, 0).key), []);
    live.add(done("t", 9, 9));
    assert_eq!((live.memory("t").spoilt, live.memory("t").spoilt_by.len()), (None, 0));
    // A restore does not say how long the command takes.
    live.add(Frame::Done { task: "t".into(), n: 1, how: How::Restored, log: None, record: Some(Box::new(record(10, 9))) });
    assert_eq!(live.memory("t").duration, Some(Duration::from_millis(9)));
    assert_eq!(view(&live.read()), view(&live.known));
}

#[test]
fn an_attempt_taken_over_from_a_dead_run_ends_in_that_run() {
    let mut live = Live::new("b");
    let started =
        Frame::Started { task: "t".into(), n: 1, key: record(1, 0).key, executor: "slurm".into(), slot: 0, outputs: Vec::new(), at: 1 };
    let placed = Frame::Placed { task: "t".into(), handle: vec![4], inputs: vec![(RelPath("i".into()), Stamp::default())] };
    live.add_all([run_started(1, "b"), started, placed]);
    live.compact();
    let open = live.known.open()[0].clone();
    assert_eq!((open.handle, open.inputs.len()), (Some(vec![4]), 1));
    live.add_all([run_started(2, "b"), done("t", 3, 9)]);
    let memory = live.memory("t");
    assert_eq!((memory.end.unwrap().run, memory.good_run), (1, 2));
}

#[test]
fn a_record_is_found_by_its_key_whoever_left_it() {
    let mut live = Live::new("b");
    live.add_all([run_started(1, "b"), done("old", 1, 9), done("twin", 1, 9), done("other", 2, 9)]);
    let names = |known: &Known, n| known.with_key(&record(n, 0).key).into_iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&live.known, 1), ["old", "twin"]);
    live.compact();
    assert_eq!(names(&live.known, 1), ["old", "twin"]);
    live.add_all([done("old", 2, 9), done("new", 1, 9), Frame::Forgotten { task: "twin".into() }]);
    assert_eq!(names(&live.known, 1), ["new"]);
    assert_eq!(names(&live.known, 2), ["old", "other"]);
    let (_, at) = live.known.with_key(&record(2, 0).key)[0];
    assert_eq!(live.known.record(at).unwrap().nonce, 2);
    live.known.retain(|name| name == "new");
    live.compact();
    assert_eq!(live.known.names().collect::<Vec<_>>(), ["new"]);
    assert_eq!(names(&live.known, 2), [""; 0]);
}

#[test]
fn runs_are_counted_and_the_last_good_one_is_kept() {
    let mut live = Live::new("b");
    assert_eq!(live.known.next_run(), 1);
    assert_eq!(live.known.boot_id(), "");
    let ended = |number, state| Frame::RunEnded {
        run: RunId { number, nonce: number },
        state,
        exit: 0,
        at: 8,
        counts: Counts { ran: number, ..Counts::default() },
    };
    live.add_all([run_started(1, "b"), ended(1, RunEnd::Fine), run_started(2, "b"), ended(2, RunEnd::Failed), run_started(3, "b")]);
    live.compact();
    assert_eq!(live.known.next_run(), 4);
    assert_eq!(live.known.last_run().map(|run| (run.run.number, run.end)), Some((3, None)));
    assert_eq!(live.known.last_good_run().map(|run| (run.run.number, run.end, run.counts.ran)), Some((1, Some((RunEnd::Fine, 0, 8)), 1)));
    live.add(ended(2, RunEnd::Fine));
    assert_eq!(live.known.last_run().unwrap().end, None);
}

#[test]
fn a_garbled_state_never_gives_a_wrong_record() {
    let mut live = Live::new("b");
    live.add_all([run_started(1, "b"), done("a", 1, 30), done("b", 2, 30)]);
    live.compact();
    live.add_all([run_started(2, "b"), done("c", 3, 30), done("a", 4, 30)]);
    let path = live.dir.path().join("state");
    let bytes = std::fs::read(&path).unwrap();
    let right = |known: &Known| {
        for (name, memory) in known.tasks() {
            let Some(at) = memory.good else { continue };
            if let Ok(read) = known.read(at) {
                assert_eq!(Some(read.key), memory.key);
                assert_eq!(read, record(read.nonce, 30), "{name}");
            }
        }
        known.tasks().filter(|(_, memory)| memory.good.is_some_and(|at| known.read(at).is_ok())).count()
    };
    let mut noticed = 0;
    for at in 0..bytes.len() {
        let mut garbled = bytes.clone();
        garbled[at] ^= 1 << (at % 8);
        std::fs::write(&path, &garbled).unwrap();
        let Ok(Some(reader)) = Reader::open(&live.folder) else {
            noticed += 1;
            continue;
        };
        match Known::load(&reader, "b") {
            Err(fault) => {
                assert!(fault.is_damage());
                noticed += 1;
            }
            Ok((known, end)) => noticed += usize::from(end < bytes.len() as u64 || right(&known) < 3),
        }
        std::fs::write(&path, &bytes[..at]).unwrap();
        if let Ok(Some(reader)) = Reader::open(&live.folder) {
            right(&Known::load(&reader, "b").unwrap().0);
        }
    }
    // The old record of `a` is in the block and nobody reads it any more.
    assert!(noticed > bytes.len() * 3 / 4, "{noticed} of {}", bytes.len());
}

#[test]
fn damage_in_a_record_stays_seen_after_compaction() {
    let mut live = Live::new("b");
    live.add_all([run_started(1, "b"), done("a", 1, 30)]);
    let at = live.memory("a").good.unwrap();
    let file = std::fs::File::options().write(true).open(live.dir.path().join("state")).unwrap();
    file.write_all_at(&[0xff; 4], at.offset + 8).unwrap();
    assert!(live.known.read(at).is_err());
    live.compact();
    let at = live.memory("a").good.unwrap();
    assert_eq!(live.known.read(at).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn reading_many_tasks_decodes_none_of_them() {
    let count = 20_000;
    let mut live = Live::new("b");
    live.add(run_started(1, "b"));
    for n in 0..count {
        live.add(done(&format!("stage@item={n}"), n, 0));
    }
    live.compact();
    let decoded = || live.known.tasks.decoded.load(Ordering::Relaxed);
    assert_eq!(decoded(), 0);
    for n in (0..count).step_by(100) {
        assert_eq!(live.memory(&format!("stage@item={n}")).nonce, n);
    }
    assert_eq!(decoded(), count / 100);
    assert_eq!(live.known.with_key(&record(77, 0).key).len(), 1);
    assert_eq!(decoded(), count / 100 + 1);
    assert_eq!(live.known.names().count() as u64, count);
    assert_eq!(decoded(), count / 100 + 1);
}
