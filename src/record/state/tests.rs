//! A file that is cut, garbled, replaced, full, or somebody else's.

use std::fs;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::frame::{Decoded, How, RunEnd, decode, encode};
use super::*;
use crate::attempt::{Cause, Ended, Usage};
use crate::hash::{Digest, Kind, Stamp};
use crate::name::{RelPath, RunId, TaskName};
use crate::record::manifest::{Content, Key, Manifest, Part};
use crate::record::record::{Made, Member, Record, Tree};

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::normal(text).unwrap()
}

pub(crate) fn ended() -> Ended {
    Ended { cause: Cause::Success, usage: Usage { wall: Duration::from_millis(1500), ..Usage::default() } }
}

/// A record with something of every kind in it; another for another number.
pub(crate) fn record(n: u64) -> Record {
    let digest = Digest::of(&n.to_le_bytes());
    let manifest = Manifest {
        parts: vec![
            Part::Command(format!("make {n}")),
            Part::Env("A".into(), None),
            Part::Input { role: "in".into(), path: path("a"), content: Content::Is(digest) },
            Part::Output { role: String::new(), path: path("d"), kind: Kind::Folder },
        ],
    };
    let file = Tree::File { digest, executable: n.is_multiple_of(2), bytes: n };
    let member = Member { name: "x/y".into(), what: file.clone(), stamp: Stamp { size: n, ..Stamp::default() } };
    let folder = Member { name: "x".into(), what: Tree::Folder(Vec::new()), stamp: Stamp::default() };
    Record {
        key: manifest.key().unwrap(),
        manifest,
        outputs: vec![
            Made { path: path("d"), what: Tree::Folder(vec![folder, member]), stamp: Stamp::default() },
            Made { path: path("b"), what: file, stamp: Stamp { mtime: -5, ..Stamp::default() } },
            Made { path: path("c"), what: Tree::Link("elsewhere".into()), stamp: Stamp::default() },
            Made { path: path("e"), what: Tree::Absent, stamp: Stamp::default() },
        ],
        found: vec![(path("h.h"), Content::Absent)],
        nonce: n,
        ended: ended(),
        run: RunId { number: n, nonce: 7 },
        at: n as i64,
    }
}

pub(crate) fn done(task: &str, n: u64) -> Frame {
    let record = Some(Box::new(record(n)));
    Frame::Done { task: task.into(), n: 1, how: How::Ran, log: Some("logs/1/t.log".into()), record }
}

pub(crate) fn run_started(number: u64, boot: &str) -> Frame {
    Frame::RunStarted { run: RunId { number, nonce: 7 }, boot: boot.into(), at: 5, asked: Default::default() }
}

/// One of each kind.
fn frames() -> Vec<Frame> {
    let task = || TaskName::from("clean@c=acme");
    let key = Key(Digest::of(b"k"));
    vec![
        run_started(3, "b1"),
        Frame::Started { task: task(), n: 1, key, executor: "local".into(), slot: 2, outputs: vec![path("d"), path("b")] },
        Frame::Placed { task: task(), handle: vec![0, 255, 1] },
        done("clean@c=acme", 9),
        Frame::Spoilt { task: task(), n: 2, inputs: vec![path("a")], log: None, record: Some(Box::new(record(10))) },
        Frame::Failed { task: task(), n: 3, ended: Ended { cause: Cause::Exit(2), ..ended() }, at: -1, log: None },
        Frame::Aborted { task: task(), n: 4, log: Some("l".into()) },
        Frame::Expanded { stage: "split".into(), of: key, items: vec!["a".into(), String::new()] },
        Frame::Answered { command: "sh -c gcc".into(), answer: Digest::of(b"13"), run: 3 },
        Frame::Synced { boot: "b1".into(), up_to: 77 },
        Frame::RunEnded { run: RunId { number: 3, nonce: 7 }, state: RunEnd::Fine, exit: 0, at: 9 },
    ]
}

fn sections() -> Vec<(u32, Vec<u8>)> {
    vec![(1, b"guard".to_vec()), (2, Vec::new()), (3, vec![7; 300]), (100, b"memory".to_vec())]
}

struct Dir {
    dir: tempfile::TempDir,
    folder: Beneath,
}

impl Dir {
    fn new() -> Dir {
        let dir = tempfile::tempdir().unwrap();
        let folder = Beneath::open(dir.path()).unwrap();
        Dir { dir, folder }
    }

    fn state(&self) -> std::path::PathBuf {
        self.dir.path().join(STATE)
    }

    fn put(&self, bytes: &[u8]) {
        fs::write(self.state(), bytes).unwrap();
    }

    /// Writes the sections and all frames; where each frame ends.
    fn written(&self) -> Vec<u64> {
        let mut writer = Writer::fresh(&self.folder, &sections()).unwrap();
        let mut ends = vec![writer.end()];
        for frame in frames() {
            ends.push(writer.add(&frame).unwrap().0);
        }
        ends
    }

    /// All frames, with records read back, and the end of the last whole one.
    fn read(&self) -> Result<Option<(Vec<Frame>, u64)>, StateFault> {
        let Some(reader) = Reader::open(&self.folder)? else { return Ok(None) };
        read(&reader).map(Some)
    }
}

/// The frames of a reader as they were before they were written.
fn read(reader: &Reader) -> Result<(Vec<Frame>, u64), StateFault> {
    let mut read = Vec::new();
    let end = reader.frames(|mut frame, _, told| {
        if let Frame::Done { record, .. } | Frame::Spoilt { record, .. } = &mut frame {
            let (at, brief) = told.unwrap();
            let mut bytes = vec![0; at.length as usize];
            reader.file().read_exact_at(&mut bytes, at.offset).unwrap();
            assert_eq!(crc32c::crc32c(&bytes), at.crc);
            let whole: Record = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(brief, Brief::of(&whole));
            *record = Some(Box::new(whole));
        } else {
            assert_eq!(told, None);
        }
        read.push(frame);
    })?;
    Ok((read, end))
}

#[test]
fn what_is_written_is_read() {
    let dir = Dir::new();
    assert!(dir.read().unwrap().is_none());
    let ends = dir.written();
    let (read, end) = dir.read().unwrap().unwrap();
    assert_eq!(read, frames());
    assert_eq!(end, *ends.last().unwrap());
    let reader = Reader::open(&dir.folder).unwrap().unwrap();
    assert_eq!(reader.block_end(), ends[0]);
    assert!(reader.has_frames());
    for (id, bytes) in sections() {
        assert_eq!(reader.section(id).unwrap(), Some(bytes));
    }
    assert_eq!(reader.section(55).unwrap(), None);
    assert_eq!(reader.first(2).unwrap(), sections()[..2]);
    assert_eq!(reader.first(99).unwrap(), sections());
}

#[test]
fn cut_anywhere_it_holds_what_was_whole() {
    let dir = Dir::new();
    let ends = dir.written();
    let whole = fs::read(dir.state()).unwrap();
    for cut in 0..=whole.len() {
        dir.put(&whole[..cut]);
        if (cut as u64) < ends[0] {
            assert!(matches!(dir.read(), Err(StateFault::Damaged { .. })), "cut at {cut}");
            continue;
        }
        let count = ends.iter().filter(|end| **end <= cut as u64).count() - 1;
        let (read, end) = dir.read().unwrap().unwrap();
        assert_eq!(read, frames()[..count], "cut at {cut}");
        assert_eq!(end, ends[count]);
        // Who writes on takes the torn tail off, and loses nothing of what is before and behind it.
        let mut writer = Writer::open(&dir.folder, Some(end), ends[0]).unwrap();
        assert_eq!(writer.frames(), end - ends[0]);
        writer.add(&done("more", 1)).unwrap();
        writer.add(&frames()[1]).unwrap();
        let (read, _) = dir.read().unwrap().unwrap();
        assert_eq!(read.len(), count + 2, "cut at {cut}");
        assert_eq!(read[..count], frames()[..count]);
        assert_eq!(read[count..], [done("more", 1), frames()[1].clone()]);
    }
}

#[test]
fn garbled_anywhere_it_is_noticed() {
    let dir = Dir::new();
    let ends = dir.written();
    let whole = fs::read(dir.state()).unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= random.u8(1..);
        dir.put(&bytes);
        if at as u64 >= ends[0] {
            // What is before it is read, nothing that was not written is, and nothing behind it.
            let (read, end) = dir.read().unwrap().unwrap();
            let count = ends.iter().filter(|end| **end <= at as u64).count() - 1;
            assert_eq!(read, frames()[..count], "byte {at}");
            assert_eq!(end, ends[count]);
            continue;
        }
        let Ok(reader) = Reader::open(&dir.folder) else { continue };
        let reader = reader.unwrap();
        // The header's spare bytes mean nothing; elsewhere a section notices, when it is read.
        let all: Result<Vec<_>, _> = sections().iter().map(|(id, _)| reader.section(*id)).collect();
        let spare = (28..32).contains(&at);
        assert_eq!(all.is_ok(), spare, "byte {at}");
        assert_eq!(reader.first(9).is_ok(), spare);
    }
}

#[test]
fn another_version_says_so() {
    let dir = Dir::new();
    dir.written();
    let mut bytes = fs::read(dir.state()).unwrap();
    bytes[8] = 9;
    dir.put(&bytes);
    let fault = Reader::open(&dir.folder).unwrap_err();
    assert!(matches!(fault, StateFault::Version { found: 9, .. }));
    assert_eq!(fault.to_string(), format!("state has version 9, this flow reads version {VERSION}"));
    dir.put(b"#!/bin/sh\necho this is something else altogether\n");
    assert!(matches!(Reader::open(&dir.folder), Err(StateFault::Damaged { .. })));
}

#[test]
fn only_a_regular_file_is_opened() {
    let dir = Dir::new();
    let refused = |what: &str| {
        assert!(matches!(Reader::open(&dir.folder), Err(StateFault::Io { .. })), "{what}");
        assert!(Writer::open(&dir.folder, Some(0), 0).is_err(), "{what}");
    };
    fs::create_dir(dir.state()).unwrap();
    refused("a folder");
    fs::remove_dir(dir.state()).unwrap();
    fs::write(dir.dir.path().join("other"), "precious").unwrap();
    std::os::unix::fs::symlink("other", dir.state()).unwrap();
    refused("a link");
    fs::remove_file(dir.state()).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(dir.state()).status().unwrap().success());
    refused("a fifo");
    assert_eq!(fs::read(dir.dir.path().join("other")).unwrap(), b"precious");
}

#[test]
fn what_a_kill_left_of_a_new_file_is_no_hindrance() {
    let dir = Dir::new();
    let next = dir.dir.path().join("state.new");
    fs::write(&next, "half").unwrap();
    dir.written();
    assert!(!next.exists());
    // Nor is anything else of that name ever written through.
    fs::write(dir.dir.path().join("other"), "precious").unwrap();
    std::os::unix::fs::symlink("other", &next).unwrap();
    dir.written();
    assert_eq!(dir.read().unwrap().unwrap().0, frames());
    assert_eq!(fs::read(dir.dir.path().join("other")).unwrap(), b"precious");
}

#[test]
fn who_reads_keeps_the_file_that_was_opened() {
    let dir = Dir::new();
    dir.written();
    let reader = Reader::open(&dir.folder).unwrap().unwrap();
    let mut writer = Writer::fresh(&dir.folder, &[(1, b"new".to_vec())]).unwrap();
    writer.add(&frames()[0]).unwrap();
    assert_eq!(read(&reader).unwrap().0, frames());
    assert_eq!(reader.section(1).unwrap(), Some(b"guard".to_vec()));
    assert_eq!(rustix::fs::fstat(&*reader.file()).unwrap().st_nlink, 0);
    assert_eq!(dir.read().unwrap().unwrap().0, frames()[..1]);
}

#[test]
fn who_reads_is_not_hurt_by_a_tail_that_is_cut_off() {
    let dir = Dir::new();
    let ends = dir.written();
    let last = *ends.last().unwrap();
    let mut torn = fs::read(dir.state()).unwrap();
    torn.extend(encode(&done("torn", 1)).unwrap().0.split_last().unwrap().1);
    dir.put(&torn);
    let reader = Reader::open(&dir.folder).unwrap().unwrap();
    let mut writer = Writer::open(&dir.folder, Some(last), ends[0]).unwrap();
    assert_eq!(read(&reader).unwrap(), (frames(), last));
    writer.add(&frames()[6]).unwrap();
    assert_eq!(read(&reader).unwrap().0[..frames().len()], frames());
}

#[test]
fn a_writer_goes_on_only_with_the_file_that_was_read() {
    let dir = Dir::new();
    let ends = dir.written();
    dir.put(&fs::read(dir.state()).unwrap()[..ends[1] as usize]);
    assert!(Writer::open(&dir.folder, ends.last().copied(), ends[0]).is_err());
    fs::remove_file(dir.state()).unwrap();
    assert!(Writer::open(&dir.folder, Some(ends[0]), ends[0]).is_err());
}

#[test]
fn lengths_are_bounded_by_the_file() {
    let dir = Dir::new();
    // A header that is sound but lies.
    let lying = |count: u32, block_end: u64, entries: &[(u32, u64, u64)]| {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(count.to_le_bytes());
        out.extend(block_end.to_le_bytes());
        out.extend([0; 8]);
        for (id, offset, length) in entries {
            out.extend(id.to_le_bytes());
            out.extend(crc32c::crc32c(b"").to_le_bytes());
            out.extend(offset.to_le_bytes());
            out.extend(length.to_le_bytes());
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out[..24]), &out[HEADER..]);
        out[24..28].copy_from_slice(&crc.to_le_bytes());
        out
    };
    for bytes in [
        lying(1, 56, &[(1, 56, 1 << 60)]),
        lying(1, 56, &[(1, u64::MAX, 2)]),
        lying(1, 1 << 60, &[(1, 56, 1 << 59)]),
        lying(1, 56, &[(1, 57, 0)]),
        lying(1, 56, &[(1, 0, 56)]),
        lying(1, 32, &[(1, 32, 0)]),
        lying(u32::MAX, 56, &[]),
        lying(64, 56, &[(1, 56, 0)]),
    ] {
        dir.put(&bytes);
        assert!(matches!(Reader::open(&dir.folder), Err(StateFault::Damaged { .. })), "{bytes:?}");
    }
    // Sections in an odd order, one inside another: wrong, but nothing worse.
    let mut odd = lying(3, 108, &[(1, 108, 0), (2, 104, 4), (3, 104, 0)]);
    odd.extend([1, 2, 3, 4]);
    dir.put(&odd);
    let reader = Reader::open(&dir.folder).unwrap().unwrap();
    assert!(reader.first(3).is_err() && reader.section(2).is_err());
    assert_eq!(reader.section(1).unwrap(), Some(Vec::new()));
    // A frame that claims a gigabyte is a torn tail.
    let ends = dir.written();
    let mut bytes = fs::read(dir.state()).unwrap();
    for claimed in [1u32 << 30, u32::MAX, 4, 3, 0] {
        bytes.truncate(*ends.last().unwrap() as usize);
        bytes.extend(claimed.to_le_bytes());
        bytes.extend([1; 30]);
        dir.put(&bytes);
        assert_eq!(dir.read().unwrap().unwrap().1, *ends.last().unwrap());
    }
}

/// Bytes with the frame's head and a right checksum, whatever they hold.
fn sealed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
    bytes.push(kind);
    let mut sum = bytes.clone();
    sum.extend(payload);
    bytes.extend(crc32c::crc32c(&sum).to_le_bytes());
    bytes.extend(payload);
    bytes
}

#[test]
fn a_frame_of_another_form_is_damage_and_never_cut_off() {
    let dir = Dir::new();
    dir.written();
    let sound = fs::read(dir.state()).unwrap();
    let mut unknown = 2u32.to_le_bytes().to_vec();
    unknown.extend([200, 1]);
    for strange in [sealed(1, &unknown), sealed(2, &unknown), sealed(1, &[255; 4]), sealed(1, &[0, 0, 0, 0, 1])] {
        assert!(matches!(decode(&strange), Decoded::Foreign));
        dir.put(&[sound.clone(), strange].concat());
        assert!(matches!(dir.read(), Err(StateFault::Damaged { .. })));
    }
}

#[test]
fn hostile_bytes_never_panic() {
    let mut random = fastrand::Rng::with_seed(11);
    let whole: Vec<Vec<u8>> = frames().iter().map(|frame| encode(frame).unwrap().0).collect();
    for _ in 0..20_000 {
        let mut payload = random.choice(&whole).unwrap()[9..].to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..payload.len());
            match random.u8(..3) {
                0 => payload[at] = random.u8(..),
                1 => payload[at] = 0xff,
                _ => payload.truncate(at.max(4)),
            }
        }
        let bytes = sealed(1, &payload);
        if let Decoded::Whole(_, length, told) = decode(&bytes) {
            assert_eq!(length, bytes.len());
            if let Some((at, _)) = told {
                let record = &bytes[at.offset as usize..][..at.length as usize];
                let _ = postcard::from_bytes::<Record>(record);
            }
        }
    }
}

/// Mounts a file system of a few pages, which only root may.
#[cfg(target_os = "linux")]
fn tiny(at: &std::path::Path) -> bool {
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(at).output();
    mounted.is_ok_and(|output| output.status.success())
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_file_whole() {
    struct Unmount<'a>(&'a std::path::Path);
    impl Drop for Unmount<'_> {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(self.0).output();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    if !tiny(dir.path()) {
        return;
    }
    let _unmount = Unmount(dir.path());
    let folder = Beneath::open(dir.path()).unwrap();
    let mut writer = Writer::fresh(&folder, &sections()).unwrap();
    let mut count = 0;
    let error = loop {
        match writer.add(&done("t", count)) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 10_000);
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let read = |reader: &Reader| {
        let mut read = 0;
        let end = reader.frames(|_, _, _| read += 1).unwrap();
        (read, end)
    };
    let reader = Reader::open(&folder).unwrap().unwrap();
    assert_eq!(read(&reader), (count, writer.end()));
    assert_eq!(reader.length(), writer.end());
    // A new file has no room either: the old one stays.
    assert!(Writer::fresh(&folder, &[(1, vec![1; 60_000])]).is_err());
    assert!(!dir.path().join("state.new").exists());
    let reader = Reader::open(&folder).unwrap().unwrap();
    assert_eq!(read(&reader), (count, writer.end()));
    // With room again it goes on.
    let end = writer.end();
    let mut writer = Writer::open(&folder, Some(end), reader.block_end()).unwrap();
    writer.file().unwrap().set_len(reader.block_end()).unwrap();
    writer = Writer::open(&folder, Some(reader.block_end()), reader.block_end()).unwrap();
    writer.add(&frames()[0]).unwrap();
    assert_eq!(read(&Reader::open(&folder).unwrap().unwrap()).0, 1);
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_thread_syncs_tells_and_stops() {
    let dir = Dir::new();
    let (sender, receiver) = channel();
    let writer = Writer::fresh(&dir.folder, &[]).unwrap();
    let mut syncer = Syncer::start(writer, move |covered| {
        let _ = sender.send(covered);
    });
    // Nothing is said of a boot before a run has said which it is.
    let (end, _) = syncer.add(&run_started(1, "b1")).unwrap();
    assert!(receiver.recv_timeout(Duration::from_secs(60)).unwrap() > 0);
    until("covered", || syncer.covered() >= end);
    until("a SYNCED frame", || syncer.synced().is_some());
    // What somebody else syncs is told of, too.
    let (end, _) = syncer.add(&done("t", 1)).unwrap();
    assert!(syncer.sync().unwrap() >= end);
    assert!(syncer.covered() >= end);
    until("told", || receiver.try_iter().any(|covered| covered >= end));
    syncer.stop();
    let length = fs::metadata(dir.state()).unwrap().len();
    assert_eq!(length, syncer.end());
    let (read, end) = dir.read().unwrap().unwrap();
    assert_eq!(end, length);
    assert_eq!(read[0], run_started(1, "b1"));
    let synced: Vec<&Frame> = read.iter().filter(|frame| matches!(frame, Frame::Synced { .. })).collect();
    assert_eq!(synced, [&syncer.synced().unwrap()]);
    assert!(matches!(synced[0], Frame::Synced { boot, up_to } if boot == "b1" && *up_to < end));
    // What is added after the end is all that comes.
    syncer.add(&frames()[10]).unwrap();
    assert_eq!(dir.read().unwrap().unwrap().0.len(), read.len() + 1);
}

#[test]
fn a_thread_that_has_just_begun_stops_at_once() {
    for _ in 0..20 {
        let dir = Dir::new();
        let writer = Writer::fresh(&dir.folder, &[]).unwrap();
        let mut syncer = Syncer::start(writer, |_| {});
        syncer.add(&run_started(1, "b1")).unwrap();
        syncer.stop();
        let (end, frames) = (syncer.end(), dir.read().unwrap().unwrap().0.len());
        std::thread::yield_now();
        assert_eq!((syncer.end(), dir.read().unwrap().unwrap().0.len()), (end, frames));
    }
}
