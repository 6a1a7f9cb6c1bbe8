//! What is remembered, live and read back.

use std::fs;

use super::*;
use crate::os::beneath::Beneath;
use crate::record::state::frame::{How, RunEnd};
use crate::record::state::tests::{done, ended, path, record, run_started};
use crate::record::state::{STATE, Writer};

/// A pipeline's folder, its writer, and what a run that goes on has applied.
struct Live {
    dir: tempfile::TempDir,
    folder: Beneath,
    writer: Writer,
    known: Known,
}

impl Live {
    fn new(boot: &str) -> Live {
        let dir = tempfile::tempdir().unwrap();
        let folder = Beneath::open(dir.path()).unwrap();
        let writer = Writer::fresh(&folder, &[]).unwrap();
        let mut known = Known::new(boot);
        known.reads_from(Arc::new(folder.read(STATE).unwrap()));
        Live { dir, folder, writer, known }
    }

    fn add(&mut self, frame: &Frame) -> u64 {
        let (end, record) = self.writer.add(frame).unwrap();
        self.known.apply(frame, record);
        end
    }

    fn load(&self, boot: &str) -> Known {
        let reader = Reader::open(&self.folder).unwrap().unwrap();
        let (known, end) = Known::load(&reader, boot).unwrap();
        assert_eq!(end, self.writer.end());
        known
    }

    /// A new block of what is known, as at the end of a run.
    fn compact(&mut self, known: &Known) {
        let sections = known.sections().unwrap();
        self.writer = Writer::fresh(&self.folder, &sections).unwrap();
    }

    /// The next process, perhaps after a reboot.
    fn reopen(&mut self, boot: &str) {
        self.known = self.load(boot);
        self.known.reads_from(Arc::new(self.folder.read(STATE).unwrap()));
    }
}

/// A task as anybody sees it; records by content, since a new file has them elsewhere.
type Seen = (TaskName, Memory, Option<Record>, Option<Record>, bool);

/// Everything that is known, as anybody sees it.
#[derive(PartialEq, Debug)]
struct Everything {
    tasks: Vec<Seen>,
    open: Vec<Open>,
    run: Option<RunMemory>,
    answers: Vec<(String, (Digest, u64))>,
}

fn everything(known: &Known) -> Everything {
    let mut tasks: Vec<_> = known
        .tasks()
        .map(|(name, memory)| {
            let (good, spoilt) = (memory.good.map(|at| known.read(at).unwrap()), memory.spoilt.map(|at| known.read(at).unwrap()));
            assert_eq!(memory.key, good.as_ref().map(|good| good.key));
            assert_eq!(known.standing(name).unwrap(), spoilt.clone().or(good.clone()));
            let believed = known.believed(memory);
            (name.clone(), Memory { good: None, spoilt: None, stamps: Stamps::Synced, ..memory.clone() }, good, spoilt, believed)
        })
        .collect();
    tasks.sort_by(|a, b| a.0.cmp(&b.0));
    let mut answers: Vec<_> = known.answers.clone().into_iter().collect();
    answers.sort();
    Everything { tasks, open: known.open().into_iter().cloned().collect(), run: known.last_run().cloned(), answers }
}

fn name(random: &mut fastrand::Rng) -> TaskName {
    TaskName::from(["a", "b", "c@x=1", "d"][random.usize(..4)])
}

/// Any frame, in any order: recovery and crashes make odd sequences.
fn any_frame(random: &mut fastrand::Rng, run: &mut u64, boot: &str, end: u64) -> Frame {
    let n = random.u16(1..4);
    let task = name(random);
    let whole = record(random.u64(..6));
    match random.u8(..12) {
        0 | 1 => {
            *run += 1;
            run_started(*run, boot)
        }
        2 | 3 => {
            Frame::Started { task, n, key: whole.key, executor: "local".into(), slot: random.u32(..3), outputs: vec![path("d"), path("b")] }
        }
        4 => Frame::Placed { task, handle: vec![random.u8(..)] },
        5 | 6 => Frame::Done { task, n, how: How::Ran, log: random.bool().then(|| "l".into()), record: Some(Box::new(whole)) },
        7 => Frame::Spoilt { task, n, inputs: vec![path("a")], log: None, record: Some(Box::new(whole)) },
        8 => Frame::Failed { task, n, ended: ended(), at: random.i64(..100), log: None },
        9 => Frame::Aborted { task, n, log: None },
        10 => Frame::Answered { command: "c".into(), answer: Digest::of(&[random.u8(..3)]), run: *run },
        _ => match random.bool() {
            true => Frame::Synced { boot: boot.into(), up_to: random.u64(end / 2..=end) },
            false => Frame::RunEnded { run: RunId { number: random.u64(*run / 2..=*run), nonce: 7 }, state: RunEnd::Fine, exit: 0, at: 3 },
        },
    }
}

#[test]
fn live_read_back_and_compacted_are_one() {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..150 {
        let mut live = Live::new("b0");
        let (mut run, mut boot) = (0, 0);
        for _ in 0..random.usize(1..6) {
            // A run tells its boot before it tells anything else.
            run += 1;
            live.add(&run_started(run, &format!("b{boot}")));
            for _ in 0..random.usize(..25) {
                let frame = any_frame(&mut random, &mut run, &format!("b{boot}"), live.writer.end());
                live.add(&frame);
                assert_eq!(live.known.answer("x"), None);
            }
            let here = format!("b{boot}");
            let now = everything(&live.known);
            assert_eq!(everything(&live.load(&here)), now);
            // What is believed elsewhere is so, too, whichever way it is read back.
            let elsewhere = everything(&live.load("elsewhere"));
            if random.bool() {
                // Compacted by the run itself, or by one that only looked.
                let known = if random.bool() { live.load(&here) } else { std::mem::take(&mut live.known) };
                live.compact(&known);
                assert_eq!(everything(&live.load(&here)), now);
                assert_eq!(everything(&live.load("elsewhere")), elsewhere);
                // Once more: the same file.
                let bytes = fs::read(live.dir.path().join(STATE)).unwrap();
                let known = live.load(&here);
                live.compact(&known);
                assert_eq!(fs::read(live.dir.path().join(STATE)).unwrap(), bytes);
            }
            boot += usize::from(random.bool());
            live.reopen(&format!("b{boot}"));
        }
    }
}

/// Whether a task's stamps are believed by one that reads this in that boot.
fn believes(live: &Live, task: &str, boot: &str) -> bool {
    let known = live.load(boot);
    known.believed(known.task(&task.into()).unwrap())
}

#[test]
fn a_sync_covers_what_was_written_before_it_began() {
    let mut live = Live::new("b1");
    live.add(&run_started(1, "b1"));
    let up_to = live.add(&done("before", 1));
    // The sync begins here, and this is written while it goes on.
    live.add(&done("meanwhile", 2));
    live.add(&Frame::Synced { boot: "b1".into(), up_to });
    live.add(&done("after", 3));
    let all = |boot: &str| ["before", "meanwhile", "after"].map(|task| believes(&live, task, boot));
    assert_eq!(all("b1"), [true; 3]);
    assert_eq!(all("b2"), [true, false, false]);
    assert_eq!(live.known.records_since().len(), 3);
    assert_eq!(live.load("b2").records_since(), [record(1)]);
    // Made anew it is new.
    live.add(&done("before", 4));
    assert!(!believes(&live, "before", "b2"));
}

#[test]
fn a_sync_of_a_later_boot_says_nothing_of_what_was_lost_with_an_earlier_one() {
    let mut live = Live::new("b1");
    live.add(&run_started(1, "b1"));
    live.add(&done("lost", 1));
    live.reopen("b2");
    live.add(&run_started(2, "b2"));
    assert!(!live.known.believed(live.known.task(&"lost".into()).unwrap()), "the newest run is of this boot, this record is not");
    let up_to = live.add(&done("new", 2));
    live.add(&Frame::Synced { boot: "b2".into(), up_to });
    for boot in ["b1", "b2", "b3"] {
        assert!(!believes(&live, "lost", boot), "{boot}");
        assert!(believes(&live, "new", boot), "{boot}");
    }
    let known = live.load("b2");
    live.compact(&known);
    assert!(!believes(&live, "lost", "b2") && believes(&live, "new", "b3"));
}

#[test]
fn a_block_is_covered_by_the_next_sync_of_its_boot() {
    let mut live = Live::new("b1");
    live.add(&run_started(1, "b1"));
    live.add(&done("t", 1));
    let known = live.load("b1");
    live.compact(&known);
    let block = |live: &Live, boot: &str| {
        let known = live.load(boot);
        (known.believes_block(), known.block_is_synced())
    };
    assert_eq!((block(&live, "b1"), block(&live, "b2")), ((true, false), (false, false)));
    assert!(!believes(&live, "t", "b2"));
    // A run of another boot that was killed at once: its boot is not the block's.
    let bytes = fs::read(live.dir.path().join(STATE)).unwrap();
    live.add(&run_started(2, "b2"));
    let up_to = live.writer.end();
    live.add(&Frame::Synced { boot: "b2".into(), up_to });
    assert_eq!((block(&live, "b1"), block(&live, "b2")), ((false, false), (false, false)));
    fs::write(live.dir.path().join(STATE), &bytes).unwrap();
    live.writer = Writer::open(&live.folder, Some(bytes.len() as u64), bytes.len() as u64).unwrap();
    live.add(&run_started(2, "b1"));
    let up_to = live.writer.end();
    live.add(&Frame::Synced { boot: "b1".into(), up_to });
    assert_eq!((block(&live, "b1"), block(&live, "b2")), ((true, true), (true, true)));
    assert!(believes(&live, "t", "b2"));
}

#[test]
fn who_has_a_key_follows_what_is_done() {
    let mut live = Live::new("b");
    live.add(&run_started(1, "b"));
    let names = |live: &mut Live, n: u64| -> Vec<String> {
        live.known
            .with_key(&record(n).key)
            .into_iter()
            .map(|(name, at)| {
                assert_eq!(live.known.read(at).unwrap(), record(n));
                name.to_string()
            })
            .collect()
    };
    live.add(&done("b", 1));
    assert_eq!(names(&mut live, 1), ["b"]);
    live.add(&done("a", 1));
    live.add(&done("a", 1));
    assert_eq!(names(&mut live, 1), ["a", "b"]);
    live.add(&done("b", 2));
    assert_eq!((names(&mut live, 1), names(&mut live, 2)), (vec!["a".to_string()], vec!["b".to_string()]));
    // A spoilt result has no key that anybody may use.
    live.add(&Frame::Spoilt { task: "c".into(), n: 1, inputs: vec![path("a")], log: None, record: Some(Box::new(record(1))) });
    assert_eq!(names(&mut live, 1), ["a"]);
    live.add(&done("b", 1));
    live.known.forget(&"a".into());
    assert_eq!(names(&mut live, 1), ["b"]);
}

#[test]
fn records_since_are_of_tasks_the_frames_speak_of() {
    let mut live = Live::new("b");
    live.add(&run_started(1, "b"));
    live.add(&done("old", 1));
    live.add(&done("redone", 2));
    let known = live.load("b");
    live.compact(&known);
    live.reopen("b");
    assert_eq!((live.known.records_since(), live.known.touched().len(), live.known.changed), (vec![], 0, false));
    live.add(&done("redone", 3));
    live.add(&Frame::Spoilt { task: "redone".into(), n: 1, inputs: vec![path("a")], log: None, record: Some(Box::new(record(4))) });
    live.add(&Frame::Failed { task: "never".into(), n: 1, ended: ended(), at: 0, log: None });
    assert_eq!(live.known.records_since(), [record(4)]);
    let loaded = live.load("b");
    assert_eq!(loaded.records_since(), [record(4)]);
    assert_eq!(loaded.touched(), HashSet::from(["redone".into(), "never".into()]));
    assert!(loaded.changed);
}

#[test]
fn a_record_that_is_damaged_is_not_believed_and_costs_no_other() {
    let mut live = Live::new("b");
    live.add(&run_started(1, "b"));
    live.add(&done("a", 1));
    live.add(&done("z", 2));
    let known = live.load("b");
    live.compact(&known);
    let known = live.load("b");
    let at = known.task(&"a".into()).unwrap().good.unwrap();
    let file = live.dir.path().join(STATE);
    let whole = fs::read(&file).unwrap();
    for byte in at.offset..at.end() {
        let mut bytes = whole.clone();
        bytes[byte as usize] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let known = live.load("b");
        assert_eq!(known.read(at).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(known.standing(&"z".into()).unwrap(), Some(record(2)));
    }
    // The next block leaves it out.
    let known = live.load("b");
    live.compact(&known);
    let known = live.load("b");
    let memory = known.task(&"a".into()).unwrap();
    assert_eq!((memory.good, memory.key), (None, None));
    assert_eq!(known.standing(&"z".into()).unwrap(), Some(record(2)));
}

#[test]
fn a_place_outside_the_records_is_damage() {
    let mut live = Live::new("b");
    let stored = |offset, length| {
        let memory = Memory { good: Some(At { offset, length, crc: 0 }), ..Memory::default() };
        let stored = Stored { tasks: vec![("t".into(), memory)], ..Stored::default() };
        vec![(MEMORY, postcard::to_stdvec(&stored).unwrap()), (RECORDS, vec![0; 10])]
    };
    for (offset, length, sound) in [(0, 10, true), (10, 0, true), (1, 10, false), (0, u32::MAX, false), (u64::MAX, 2, false)] {
        live.writer = Writer::fresh(&live.folder, &stored(offset, length)).unwrap();
        let reader = Reader::open(&live.folder).unwrap().unwrap();
        assert_eq!(Known::load(&reader, "b").is_ok(), sound, "{offset} {length}");
    }
}

/// 50,000 tasks in frames and in a block: a walk that were not linear would not end.
#[test]
fn many_tasks_are_read_in_one_pass() {
    let live = Live::new("b");
    let count = 50_000;
    let mut bytes = fs::read(live.dir.path().join(STATE)).unwrap();
    bytes.extend(crate::record::state::frame::encode(&run_started(1, "b")).unwrap().0);
    for n in 0..count {
        let task = format!("t@n={n}");
        let frame = Frame::Failed { task: task.as_str().into(), n: 1, ended: ended(), at: n, log: None };
        bytes.extend(crate::record::state::frame::encode(&frame).unwrap().0);
        if n % 100 == 0 {
            let up_to = bytes.len() as u64;
            bytes.extend(crate::record::state::frame::encode(&Frame::Synced { boot: "b".into(), up_to }).unwrap().0);
        }
    }
    fs::write(live.dir.path().join(STATE), &bytes).unwrap();
    let reader = Reader::open(&live.folder).unwrap().unwrap();
    let (known, _) = Known::load(&reader, "b").unwrap();
    assert_eq!(known.tasks().count(), count as usize);
    Writer::fresh(&live.folder, &known.sections().unwrap()).unwrap();
    let reader = Reader::open(&live.folder).unwrap().unwrap();
    let (again, _) = Known::load(&reader, "b").unwrap();
    assert_eq!(again.tasks().count(), count as usize);
    assert_eq!(again.task(&"t@n=77".into()).unwrap().end.as_ref().unwrap().at, 77);
}
