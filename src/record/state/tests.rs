use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::attempt::{Cause, Ended, Usage};
use crate::hash::{Digest, Kind, Stamp};
use crate::name::{RelPath, RunId, TaskName};
use crate::os::beneath::Beneath;
use crate::record::manifest::{Key, Manifest, Part};
use crate::record::record::{Made, Record, Tree};
use crate::record::state::frame::{Asked, How};

/// A record whose every field depends on `n`, with about `size` bytes.
pub(crate) fn record(n: u64, size: usize) -> Record {
    let digest = Digest::of(&n.to_le_bytes());
    let path = RelPath(format!("out/{n}").into());
    let stamp = Stamp { size: n, ino: n, ..Stamp::default() };
    Record {
        key: Key(digest),
        manifest: Manifest {
            parts: vec![Part::Command("x".repeat(size)), Part::Output { role: String::new(), path: path.clone(), kind: Kind::File }],
        },
        outputs: vec![Made { path, what: Tree::File { digest, executable: false, bytes: n }, stamp }],
        found: Vec::new(),
        nonce: n,
        ended: Ended { cause: Cause::Success, usage: Usage { wall: Duration::from_millis(n), ..Usage::default() } },
        run: RunId { number: 1, nonce: n },
        at: n as i64,
    }
}

pub(crate) fn done(task: &str, n: u64, size: usize) -> Frame {
    Frame::Done { task: task.into(), n: 1, how: How::Ran, log: None, record: Some(Box::new(record(n, size))) }
}

pub(crate) fn run_started(number: u64, boot: &str) -> Frame {
    let run = RunId { number, nonce: number };
    Frame::RunStarted { run, boot: boot.into(), at: number as i64, asked: Asked { args: vec!["run".into()], ..Asked::default() } }
}

fn forgotten(task: &str) -> Frame {
    Frame::Forgotten { task: TaskName::from(task) }
}

/// As it is read: the record is not there.
fn bare(frame: Frame) -> Frame {
    match frame {
        Frame::Done { task, n, how, log, .. } => Frame::Done { task, n, how, log, record: None },
        other => other,
    }
}

fn sections() -> Vec<Section> {
    vec![(1, b"hot".to_vec()).into(), (2, Vec::new()).into(), (100, vec![7; 50]).into()]
}

fn some_frames() -> Vec<Frame> {
    vec![run_started(1, "b"), done("a", 1, 3), forgotten("x"), done("b", 2, 40), Frame::Synced { up_to: 9, boot: "b".into() }]
}

/// A folder that costs nothing to sync, where there is one.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

struct Place {
    dir: tempfile::TempDir,
    folder: Beneath,
}

impl Place {
    fn new() -> Place {
        let dir = folder();
        let folder = Beneath::open(dir.path()).unwrap();
        Place { dir, folder }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn state(&self) -> Vec<u8> {
        fs::read(self.path().join(STATE)).unwrap()
    }

    fn put(&self, bytes: &[u8]) {
        fs::write(self.path().join(STATE), bytes).unwrap();
    }

    fn reader(&self) -> Result<Reader, StateFault> {
        Reader::open(&self.folder).map(|reader| reader.unwrap())
    }

    /// Whole frames, and where they end.
    fn frames(&self) -> (Vec<Frame>, u64) {
        let mut frames = Vec::new();
        let end = self.reader().unwrap().frames(|frame, _| frames.push(frame)).unwrap();
        (frames, end)
    }

    /// A writer that goes on behind the last whole frame.
    fn writer(&self) -> Writer {
        let reader = self.reader().unwrap();
        let end = reader.frames(|_, _| {}).unwrap();
        Writer::open(&self.folder, Some((end, reader.block_end()))).unwrap()
    }

    /// A file with [`sections`] and [`some_frames`].
    fn filled() -> (Place, Vec<u8>) {
        let place = Place::new();
        let mut writer = Writer::fresh(&place.folder, &sections()).unwrap();
        for frame in some_frames() {
            writer.add(&frame).unwrap();
        }
        let bytes = place.state();
        assert_eq!(bytes.len() as u64, writer.end());
        (place, bytes)
    }
}

fn bare_frames() -> Vec<Frame> {
    some_frames().into_iter().map(bare).collect()
}

#[test]
fn what_is_written_is_read() {
    let (place, _) = Place::filled();
    let reader = place.reader().unwrap();
    assert_eq!(reader.first(2).unwrap(), [(1, b"hot".to_vec()), (2, Vec::new())]);
    assert_eq!(reader.first(9).unwrap().len(), 3);
    assert_eq!(reader.section(100).unwrap(), Some(vec![7; 50]));
    assert_eq!(reader.section(2).unwrap(), Some(Vec::new()));
    assert_eq!(reader.section(3).unwrap(), None);
    assert!(reader.has_frames());
    let mut records = Vec::new();
    let end = reader.frames(|_, laid| records.extend(laid.record)).unwrap();
    assert_eq!(end, reader.length());
    assert_eq!(place.frames().0, bare_frames());
    for ((at, gist), n) in records.into_iter().zip([1, 2]) {
        let mut bytes = vec![0; at.length as usize];
        reader.file().read_exact_at(&mut bytes, at.offset).unwrap();
        let read: Record = postcard::from_bytes(&bytes).unwrap();
        assert_eq!((read.nonce, gist.nonce, gist.key), (n, n, read.key));
        assert_eq!(crc32c::crc32c(&bytes), at.crc);
    }
    let mut rest = Vec::new();
    assert_eq!(reader.frames_from(end, |frame, _| rest.push(frame)).unwrap(), end);
    assert!(rest.is_empty());
    assert!(Reader::open(&Place::new().folder).unwrap().is_none());
}

#[test]
fn what_add_says_is_what_is_read() {
    let place = Place::new();
    let mut writer = Writer::fresh(&place.folder, &[]).unwrap();
    let said: Vec<Laid> = some_frames().iter().map(|frame| writer.add(frame).unwrap().1).collect();
    let mut read = Vec::new();
    place.reader().unwrap().frames(|_, laid| read.push(laid)).unwrap();
    assert_eq!(said, read);
    assert!(writer.add(&bare(done("a", 1, 1))).is_err());
    assert_eq!(writer.end(), place.state().len() as u64);
}

#[test]
fn frames_longer_than_a_window_and_across_windows() {
    let place = Place::new();
    let mut writer = Writer::fresh(&place.folder, &[]).unwrap();
    let sizes = [1, 700_000, 300, 262_144, 0, 99_999, 99_999, 99_999, 5];
    for (n, size) in sizes.into_iter().enumerate() {
        writer.add(&done("a", n as u64, size)).unwrap();
    }
    let mut read = Vec::new();
    let end = place.reader().unwrap().frames(|_, laid| read.push(laid.record.unwrap().1.nonce)).unwrap();
    assert_eq!((read, end), ((0..9).collect(), writer.end()));
}

#[test]
fn cut_at_every_byte() {
    let (place, bytes) = Place::filled();
    let block_end = place.reader().unwrap().block_end();
    let whole = bare_frames();
    for cut in 0..=bytes.len() {
        place.put(&bytes[..cut]);
        if (cut as u64) < block_end {
            assert!(place.reader().unwrap_err().is_damage(), "cut at {cut}");
            continue;
        }
        let (frames, end) = place.frames();
        assert!(end <= cut as u64);
        assert_eq!(frames, whole[..frames.len()], "cut at {cut}");
        let mut writer = place.writer();
        assert_eq!(place.state().len() as u64, end);
        writer.add(&forgotten("new")).unwrap();
        let (longer, _) = place.frames();
        assert_eq!(longer.len(), frames.len() + 1);
        assert_eq!(longer.last(), Some(&forgotten("new")));
    }
}

#[test]
fn every_byte_garbled() {
    let (place, bytes) = Place::filled();
    let whole = bare_frames();
    let known: Vec<(u32, Vec<u8>)> = vec![(1, b"hot".to_vec()), (2, Vec::new()), (100, vec![7; 50])];
    for at in 0..bytes.len() {
        for bits in [1, 0x80, 0xff, bytes[at]] {
            let mut garbled = bytes.clone();
            garbled[at] ^= bits;
            if garbled == bytes {
                continue;
            }
            place.put(&garbled);
            let reader = match place.reader() {
                Ok(reader) => reader,
                Err(fault) => {
                    assert!(fault.is_damage());
                    continue;
                }
            };
            for (id, was) in &known {
                match reader.section(*id) {
                    Ok(is) => assert_eq!(is.as_ref(), Some(was), "byte {at}"),
                    Err(fault) => assert!(fault.is_damage()),
                }
            }
            let mut frames = Vec::new();
            let end = reader.frames(|frame, _| frames.push(frame)).unwrap();
            assert_eq!(frames, whole[..frames.len()], "byte {at}");
            // One of the two must have noticed.
            assert!(end < bytes.len() as u64 || known.iter().any(|(id, _)| reader.section(*id).is_err()), "byte {at}");
        }
    }
}

#[test]
fn a_tail_of_anything_is_cut() {
    let (place, bytes) = Place::filled();
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..200 {
        let mut longer = bytes.clone();
        let count = random.usize(1..400);
        // After a power cut a tail is often zeros; it may also hold frames of long ago.
        match round % 3 {
            0 => longer.resize(bytes.len() + count, 0),
            1 => longer.extend(std::iter::repeat_with(|| random.u8(..)).take(count)),
            _ => longer.extend(&bytes[random.usize(..bytes.len() - 400)..][..count]),
        }
        place.put(&longer);
        let (frames, end) = place.frames();
        if round % 3 < 2 {
            assert_eq!((frames, end), (bare_frames(), bytes.len() as u64));
        }
        place.writer().add(&forgotten("new")).unwrap();
        assert_eq!(place.frames().0.last(), Some(&forgotten("new")));
    }
}

#[test]
fn a_whole_frame_that_means_nothing_is_damage() {
    let frame = |kind: u8, payload: &[u8]| {
        let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
        bytes.push(kind);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), payload);
        bytes.extend(crc.to_le_bytes());
        bytes.extend(payload);
        bytes
    };
    let (place, bytes) = Place::filled();
    for alien in [frame(2, b"abcd"), frame(1, &[0; 4]), frame(1, &[1, 0, 0, 0, 200]), frame(1, &[255; 40])] {
        place.put(&[bytes.as_slice(), &alien].concat());
        let fault = place.reader().unwrap().frames(|_, _| {}).unwrap_err();
        assert!(fault.is_damage());
    }
}

#[test]
fn another_version_is_put_away() {
    let (place, mut bytes) = Place::filled();
    bytes[8] = 9;
    place.put(&bytes);
    let fault = place.reader().unwrap_err();
    assert!(matches!(fault, StateFault::Version { found: 9, .. }) && fault.is_damage());
    assert_eq!(fault.to_string(), "state has version 9, this flow reads version 1");
    let kept = place.folder.make_folder("kept").unwrap();
    assert_eq!(put_away(&place.folder, &kept).unwrap(), "state");
    assert_eq!(fs::read(place.path().join("kept/state")).unwrap(), bytes);
    let mut writer = Writer::open(&place.folder, None).unwrap();
    writer.add(&forgotten("a")).unwrap();
    assert_eq!(place.frames().0, [forgotten("a")]);
    assert_eq!(put_away(&place.folder, &kept).unwrap(), "state.2");
    assert_eq!(fs::read(place.path().join("kept/state")).unwrap(), bytes);
    assert!(Reader::open(&place.folder).unwrap().is_none());
}

#[test]
fn what_is_no_file_is_never_opened() {
    let outside = tempfile::tempdir().unwrap();
    let (filled, bytes) = Place::filled();
    for kind in 0..3 {
        for name in [STATE, "state.new"] {
            let place = Place::new();
            let at = place.path().join(name);
            match kind {
                0 => rustix::fs::mkfifoat(rustix::fs::CWD, &at, rustix::fs::Mode::from_raw_mode(0o666)).unwrap(),
                1 => {
                    fs::create_dir(&at).unwrap();
                    fs::write(at.join("f"), "").unwrap();
                }
                _ => {
                    fs::write(outside.path().join("f"), &bytes).unwrap();
                    std::os::unix::fs::symlink(outside.path().join("f"), &at).unwrap();
                }
            }
            if name == STATE {
                assert!(place.reader().unwrap_err().is_damage());
                put_away(&place.folder, &place.folder.make_folder("kept").unwrap()).unwrap();
            }
            Writer::open(&place.folder, None).unwrap().add(&forgotten("a")).unwrap();
            assert_eq!(place.frames().0, [forgotten("a")]);
        }
    }
    assert_eq!(fs::read(outside.path().join("f")).unwrap(), bytes);
    drop(filled);
}

#[test]
fn a_header_may_claim_anything() {
    let (place, bytes) = Place::filled();
    let sum = |bytes: &mut Vec<u8>| {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..28]), &bytes[32..32 + 3 * 24]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    };
    // The checksum is right, as a stranger's would be.
    for at in 12..32 + 3 * 24 {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut claimed = bytes.clone();
            claimed[at] = byte;
            sum(&mut claimed);
            place.put(&claimed);
            if let Ok(reader) = place.reader() {
                for id in [1, 2, 100] {
                    let _ = reader.section(id);
                }
                let _ = reader.first(3);
                let _ = reader.frames(|_, _| {});
            }
        }
    }
    // A file with a great hole, and a section that is all of it.
    let mut claimed = bytes;
    claimed[16..24].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    claimed[32 + 16..32 + 24].copy_from_slice(&((1_u64 << 40) - 500).to_le_bytes());
    sum(&mut claimed);
    place.put(&claimed);
    let file = fs::File::options().write(true).open(place.path().join(STATE)).unwrap();
    if file.set_len(1 << 40).is_ok() {
        let reader = place.reader().unwrap();
        assert!(reader.section(1).unwrap_err().is_damage());
        assert!(reader.first(1).unwrap_err().is_damage());
    }
}

#[test]
fn compaction_killed_between_any_two_steps() {
    let (place, old) = Place::filled();
    let mut writer = place.writer();
    let new = [Section::from((1, b"new".to_vec()))];
    writer.compact(&place.folder, &new).unwrap();
    assert!(!place.path().join("state.new").exists());
    let compacted = place.state();
    assert_eq!((writer.end(), writer.frames_bytes(), writer.block_bytes()), (compacted.len() as u64, 0, compacted.len() as u64));
    // Killed while the new file is written, or before it is renamed.
    for cut in 0..=compacted.len() {
        place.put(&old);
        fs::write(place.path().join("state.new"), &compacted[..cut]).unwrap();
        assert_eq!(place.frames().0, bare_frames());
        let mut writer = place.writer();
        assert!(!place.path().join("state.new").exists());
        writer.compact(&place.folder, &new).unwrap();
        assert_eq!(place.state(), compacted);
    }
    // Killed after the rename.
    let mut writer = place.writer();
    writer.add(&forgotten("a")).unwrap();
    assert_eq!(place.frames().0, [forgotten("a")]);
    assert_eq!(place.reader().unwrap().section(1).unwrap(), Some(b"new".to_vec()));
}

#[test]
fn a_reader_is_not_hurt_by_a_writer() {
    let (place, bytes) = Place::filled();
    let reader = place.reader().unwrap();
    let mut writer = place.writer();
    writer.add(&forgotten("later")).unwrap();
    // It sees what was there when it was opened.
    let mut frames = Vec::new();
    assert_eq!(reader.frames(|frame, _| frames.push(frame)).unwrap(), bytes.len() as u64);
    assert_eq!(frames, bare_frames());
    assert!(!reader.is_replaced().unwrap());
    writer.compact(&place.folder, &[]).unwrap();
    writer.add(&forgotten("elsewhere")).unwrap();
    assert!(reader.is_replaced().unwrap());
    frames.clear();
    reader.frames(|frame, _| frames.push(frame)).unwrap();
    assert_eq!(frames, bare_frames());
    assert_eq!(reader.section(1).unwrap(), Some(b"hot".to_vec()));
    // A tail that is cut behind it.
    place.put(&[bytes.as_slice(), &[9; 30]].concat());
    let reader = place.reader().unwrap();
    let _writer = place.writer();
    assert_eq!(reader.frames(|_, _| {}).unwrap(), bytes.len() as u64);
    // A file that is cut for good.
    fs::File::options().write(true).open(place.path().join(STATE)).unwrap().set_len(40).unwrap();
    assert!(reader.section(100).unwrap_err().is_damage());
    assert_eq!(reader.frames(|_, _| {}).unwrap(), reader.block_end());
}

#[test]
fn pieces_are_copied_as_they_are() {
    let (place, bytes) = Place::filled();
    let reader = place.reader().unwrap();
    let pieces = vec![At { offset: 3, length: 70, crc: 0 }, At { offset: 0, length: 0, crc: 0 }, At { offset: 1, length: 8, crc: 0 }];
    let copied = Section { id: 5, bytes: Bytes::Copied(reader.file(), pieces) };
    Writer::fresh(&place.folder, &[copied, (6, vec![1]).into()]).unwrap();
    let reader = place.reader().unwrap();
    assert_eq!(reader.section(5).unwrap(), Some([&bytes[3..73], &bytes[1..9]].concat()));
    assert_eq!(reader.section(6).unwrap(), Some(vec![1]));
    // A piece that is not there: the old file stays.
    let beyond = Section { id: 5, bytes: Bytes::Copied(reader.file(), vec![At { offset: 1 << 30, length: 1, crc: 0 }]) };
    let before = place.state();
    assert!(Writer::fresh(&place.folder, &[beyond]).is_err());
    assert_eq!(place.state(), before);
    assert!(!place.path().join("state.new").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_whole_frames() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mount) = crate::os::mounted::Mounted::tmpfs(dir.path(), "size=128k") else { return };
    let folder = Beneath::open(dir.path()).unwrap();
    fs::write(dir.path().join("filler"), vec![1; 40_000]).unwrap();
    let mut writer = Writer::fresh(&folder, &[]).unwrap();
    let mut written = 0;
    let error = loop {
        match writer.add(&done("a", written, 9_000)) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let count = || {
        let reader = Reader::open(&folder).unwrap().unwrap();
        let mut count = 0;
        let end = reader.frames(|_, _| count += 1).unwrap();
        assert_eq!(end, reader.length());
        count
    };
    assert!(written > 3);
    assert_eq!(count(), written);
    assert_eq!(folder.stat(STATE).unwrap().unwrap().st_size as u64, writer.end());
    // No room for another file: the old one stays.
    assert!(writer.compact(&folder, &[(1, vec![0; 100_000]).into()]).is_err());
    assert_eq!(count(), written);
    assert!(folder.stat("state.new").unwrap().is_none());
    fs::remove_file(dir.path().join("filler")).unwrap();
    writer.add(&done("a", 0, 9_000)).unwrap();
    assert_eq!(count(), written + 1);
}

#[test]
fn a_shorter_file_than_was_read_is_not_written() {
    let (place, bytes) = Place::filled();
    place.put(&bytes[..bytes.len() - 1]);
    assert!(Writer::open(&place.folder, Some((bytes.len() as u64, 40))).is_err());
    assert_eq!(place.state(), bytes[..bytes.len() - 1]);
}

const TICK: Duration = Duration::from_millis(1);
const NEVER: Duration = Duration::from_secs(3600);

#[test]
fn the_thread_syncs_and_says_so() {
    let (place, bytes) = Place::filled();
    let (told, hears) = mpsc::channel();
    let mut syncer = Syncer::timed(place.writer(), "b", TICK, NEVER, move |covered| told.send(covered).unwrap());
    let (end, _) = syncer.add(&forgotten("a")).unwrap();
    assert!(end > bytes.len() as u64);
    while hears.recv().unwrap() < end {}
    assert!(syncer.covered() >= end);
    // The first tick makes sure of what came before, once.
    let own = loop {
        let own = syncer.take_own();
        if !own.is_empty() {
            break own;
        }
        std::thread::sleep(TICK);
    };
    let (frames, _) = place.frames();
    let [(frame, laid)] = own.as_slice() else { panic!("{own:?}") };
    assert_eq!(frames.iter().filter(|has| *has == frame).count(), 1);
    let Frame::Synced { up_to, boot } = frame else { panic!("{frame:?}") };
    assert!(boot == "b" && *up_to >= bytes.len() as u64 && *up_to < laid.end);
    let (end, _) = syncer.add(&forgotten("b")).unwrap();
    syncer.stop();
    assert_eq!(syncer.covered(), end);
    assert_eq!(hears.try_iter().last(), Some(end));
    assert_eq!(syncer.sync().unwrap(), end);
    assert_eq!(place.frames().1, end);
}

#[test]
fn a_short_run_syncs_once_at_its_end() {
    let place = Place::new();
    let (told, hears) = mpsc::channel();
    let mut syncer =
        Syncer::timed(Writer::fresh(&place.folder, &[]).unwrap(), "b", NEVER, NEVER, move |covered| told.send(covered).unwrap());
    let (end, _) = syncer.add(&forgotten("a")).unwrap();
    assert_eq!(syncer.covered(), 0);
    syncer.stop();
    assert_eq!((syncer.covered(), hears.iter().collect::<Vec<_>>()), (end, vec![end]));
    assert!(syncer.take_own().is_empty());
    assert_eq!(place.frames().0, [forgotten("a")]);
}

#[test]
fn an_idle_thread_writes_nothing_more() {
    let place = Place::new();
    let mut syncer = Syncer::timed(Writer::fresh(&place.folder, &[]).unwrap(), "b", TICK, TICK, |_| {});
    syncer.add(&forgotten("a")).unwrap();
    while syncer.take_own().is_empty() {
        std::thread::sleep(TICK);
    }
    std::thread::sleep(TICK * 20);
    syncer.stop();
    let synced = place.frames().0.iter().filter(|frame| matches!(frame, Frame::Synced { .. })).count();
    // One for the file as it was, at most one more for the frame that came after it.
    assert!((1..=2).contains(&synced), "{synced}");
}

#[test]
fn offsets_of_an_old_file_cover_nothing_in_a_new_one() {
    let (place, bytes) = Place::filled();
    let syncer = Syncer::timed(place.writer(), "b", NEVER, NEVER, |_| {});
    assert_eq!(syncer.sync().unwrap(), bytes.len() as u64);
    syncer.compact(&place.folder, &[]).unwrap();
    let (end, _) = syncer.add(&forgotten("a")).unwrap();
    assert!(syncer.covered() < end && end < bytes.len() as u64);
    assert_eq!(syncer.sync().unwrap(), end);
    assert_eq!(place.frames().0, [forgotten("a")]);
}

#[test]
fn many_may_add_at_once() {
    let place = Place::new();
    let syncer = Syncer::timed(Writer::fresh(&place.folder, &[]).unwrap(), "b", TICK, TICK, |_| {});
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let syncer = &syncer;
            scope.spawn(move || {
                for n in 0..200 {
                    syncer.add(&forgotten(&format!("{thread}.{n}"))).unwrap();
                }
            });
        }
    });
    drop(syncer);
    let mut names: Vec<String> = place
        .frames()
        .0
        .into_iter()
        .filter_map(|frame| match frame {
            Frame::Forgotten { task } => Some(task.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(names.len(), 800);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 800);
}

#[test]
fn a_file_that_is_not_ours_is_damage() {
    let place = Place::new();
    for text in [&b""[..], b"x", b"flowstat", &[0; 4096]] {
        fs::File::create(place.path().join(STATE)).unwrap().write_all(text).unwrap();
        assert!(place.reader().unwrap_err().is_damage());
    }
}
