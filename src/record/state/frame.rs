//! What is appended to `state` while a run goes on.
//!
//! Owns the frames: their meaning and their bytes. Frames are what decisions and recovery rest on;
//! events are for people and have a file of their own. Must hold: a torn or garbled frame is seen to be
//! so; the bytes of a record in a frame are those of a record in the block, so that compaction copies
//! them; what is needed of a record to find it again stands beside it, so that a replay decodes none.
//!
//! A payload is the length of its head (u32), the head (the frame and the gist of its record, by
//! postcard), and the record's bytes up to the end.

use std::io;

use serde::{Deserialize, Serialize};

use crate::attempt::{Cause, Ended, Usage};
use crate::hash::{Digest, Stamp};
use crate::name::{RelPath, RunId, TaskName};
use crate::record::manifest::Key;
use crate::record::record::Record;

/// One frame. `RunStarted` comes before all others of a run that stamps or records: they count for its
/// boot.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Frame {
    /// A run begins.
    RunStarted {
        /// Which.
        run: RunId,
        /// The boot it runs in: what follows counts for it.
        boot: String,
        /// When, in nanoseconds since 1970.
        at: i64,
        /// What was asked.
        asked: Asked,
    },
    /// An attempt of a task begins: its outputs are no longer those of its last record.
    Started {
        /// The task.
        task: TaskName,
        /// Counts from 1.
        n: u16,
        /// The key.
        key: Key,
        /// Who runs it; `restore` for a copy from the cache.
        executor: String,
        /// The slot that holds its log.
        slot: u32,
        /// Its outputs: it may be gone from the pipeline when it is recovered.
        outputs: Vec<RelPath>,
        /// When, in nanoseconds since 1970.
        at: i64,
    },
    /// An executor that outlives flow has it.
    Placed {
        /// The task.
        task: TaskName,
        /// What finds it again.
        handle: Vec<u8>,
        /// Stamps of its inputs, for who goes on when flow has died meanwhile.
        inputs: Vec<(RelPath, Stamp)>,
    },
    /// It ended well.
    Done {
        /// The task.
        task: TaskName,
        /// Which attempt.
        n: u16,
        /// How.
        how: How,
        /// Its log, relative to the pipeline's folder.
        log: Option<String>,
        /// What was made; must be there when the frame is written, and is `None` when it is read (see
        /// [`Laid`]).
        #[serde(skip)]
        record: Option<Box<Record>>,
    },
    /// It ended well, but inputs changed meanwhile.
    Spoilt {
        /// The task.
        task: TaskName,
        /// Which attempt.
        n: u16,
        /// The inputs that changed.
        inputs: Vec<RelPath>,
        /// Its log.
        log: Option<String>,
        /// What was made; as in `Done`.
        #[serde(skip)]
        record: Option<Box<Record>>,
    },
    /// Its last attempt failed, and what stood before is back.
    Failed {
        /// The task.
        task: TaskName,
        /// Which attempt.
        n: u16,
        /// How.
        ended: Ended,
        /// When.
        at: i64,
        /// Its log.
        log: Option<String>,
    },
    /// flow died while it ran, and recovery has put things in order.
    Aborted {
        /// The task.
        task: TaskName,
        /// Which attempt.
        n: u16,
        /// Its log.
        log: Option<String>,
    },
    /// What stands at a task's outputs was read, and is what its record says: the record's stamps count
    /// for this boot too.
    Verified {
        /// The task.
        task: TaskName,
    },
    /// A task that is gone is forgotten, since nothing is left of it.
    Forgotten {
        /// The task.
        task: TaskName,
    },
    /// The items of a run-time fan-out.
    Expanded {
        /// The stage.
        stage: String,
        /// Digest of the axis and of its source.
        of: Key,
        /// Keys of the items.
        items: Vec<String>,
    },
    /// A file was read: with this stamp it holds this.
    Stamped {
        /// Where.
        path: RelPath,
        /// Whether a link was followed.
        follow: bool,
        /// Its stamp, taken before and after reading.
        stamp: Stamp,
        /// Of its bytes.
        digest: Digest,
    },
    /// What a tool command answered.
    Answered {
        /// The command and its shell, as one text.
        command: String,
        /// Digest of the answer.
        answer: Digest,
        /// In which run.
        run: u64,
    },
    /// What was written up to there, data and all, is on the disk: it is believed in other boots too.
    Synced {
        /// Offset in the file.
        up_to: u64,
        /// In which boot: what an earlier one left unsynced is not made sure by a later sync.
        boot: String,
    },
    /// A run ends.
    RunEnded {
        /// Which.
        run: RunId,
        /// How.
        state: RunEnd,
        /// The exit code.
        exit: i32,
        /// When.
        at: i64,
        /// What it did.
        counts: Counts,
    },
}

/// How a task came to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum How {
    /// Its command ran.
    Ran,
    /// Its result came from the cache.
    Restored,
    /// Another task had left it.
    TakenOver,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RunEnd {
    /// All fine.
    Fine,
    /// A task failed.
    Failed,
    /// A signal.
    Interrupted,
    /// flow itself could not go on.
    Broken,
}

/// How many tasks a run ended with in which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Their command ran and ended well.
    pub ran: u64,
    /// Their result came from the cache.
    pub restored: u64,
    /// Nothing was to be done.
    pub up_to_date: u64,
    /// Failed.
    pub failed: u64,
    /// Failed, and were allowed to.
    pub failed_allowed: u64,
    /// Below a failure.
    pub not_run: u64,
    /// The run ended before them.
    pub not_started: u64,
    /// Their `when` is false.
    pub off: u64,
    /// All selected tasks.
    pub total: u64,
}

/// What a run was asked to do: what `resume` asks again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Asked {
    /// The command line after `flow`.
    pub args: Vec<String>,
    /// Selectors, those of `--exclude` with their `!` too.
    pub selectors: Vec<String>,
    /// The caller's folder as seen from the workspace: selectors may be paths.
    pub here: String,
    /// `--only`
    pub only: bool,
    /// `--force`
    pub force: bool,
    /// `--keep-going`, `--fail-fast`
    pub keep_going: Option<bool>,
    /// Profiles.
    pub profiles: Vec<String>,
    /// `--set`
    pub set: Vec<(String, String)>,
    /// Slots.
    pub jobs: u32,
    /// The run it goes on with.
    pub resumes: Option<u64>,
    /// Tasks forced by an earlier part of this run and done since: not to be forced again.
    pub forced_done: Vec<String>,
}

/// What is kept of an attempt's end for people.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct End {
    /// In which run.
    pub run: u64,
    /// Which attempt.
    pub n: u16,
    /// When, in nanoseconds since 1970; of an attempt that flow did not see end, when it began.
    pub at: i64,
    /// How, and what it used.
    pub ended: Ended,
    /// Its log, relative to the pipeline's folder.
    pub log: Option<String>,
}

impl End {
    /// An attempt that flow did not see end.
    pub fn unseen(run: u64, n: u16, began: i64, log: Option<String>) -> End {
        let ended = Ended { cause: Cause::Lost("flow was killed while it ran".into()), usage: Usage::default() };
        End { run, n, at: began, ended, log }
    }
}

/// Where a record's bytes are, and their checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct At {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// crc32c of the bytes: they are read alone.
    pub crc: u32,
}

/// What is known of a record without reading it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Gist {
    /// Its key.
    pub key: Key,
    /// Of its execution.
    pub nonce: u64,
    /// When that ended.
    pub at: i64,
    /// How, and what it used.
    pub ended: Ended,
}

impl Gist {
    fn of(record: &Record) -> Gist {
        Gist { key: record.key, nonce: record.nonce, at: record.at, ended: record.ended.clone() }
    }
}

/// Where a frame lies.
#[derive(Clone, PartialEq, Debug)]
pub struct Laid {
    /// Where it ends.
    pub end: u64,
    /// Of `Done` and `Spoilt`: where the record is, and what is to be known of it.
    pub record: Option<(At, Gist)>,
}

impl Laid {
    pub(super) fn shift(&mut self, by: u64) {
        self.end += by;
        if let Some((at, _)) = &mut self.record {
            at.offset += by;
        }
    }
}

/// Bytes before a frame's payload: length, kind, checksum.
pub(super) const HEAD: usize = 9;

/// The one kind of payload there is.
const KIND: u8 = 1;

/// A frame's bytes, and where things lie in them.
pub(super) fn encode(frame: &Frame) -> io::Result<(Vec<u8>, Laid)> {
    let record = match frame {
        Frame::Done { record, .. } | Frame::Spoilt { record, .. } => {
            let record = record.as_deref().ok_or_else(|| io::Error::other("a result without its record"))?;
            Some((Gist::of(record), postcard::to_stdvec(record).map_err(io::Error::other)?))
        }
        _ => None,
    };
    let gist = record.as_ref().map(|(gist, _)| gist);
    let head = postcard::to_stdvec(&(frame, gist)).map_err(io::Error::other)?;
    let tail = record.as_ref().map_or(&[][..], |(_, bytes)| bytes);
    let length = 4 + head.len() + tail.len();
    let (Ok(length_word), Ok(head_word), Ok(tail_word)) = (u32::try_from(length), u32::try_from(head.len()), u32::try_from(tail.len()))
    else {
        return Err(io::Error::other("a record of more than 4 GiB"));
    };
    let mut bytes = Vec::with_capacity(HEAD + length);
    bytes.extend(length_word.to_le_bytes());
    bytes.push(KIND);
    bytes.extend([0; 4]);
    bytes.extend(head_word.to_le_bytes());
    bytes.extend(&head);
    let offset = bytes.len() as u64;
    bytes.extend(tail);
    let crc = checksum(&bytes);
    bytes.splice(5..HEAD, crc.to_le_bytes());
    let at = At { offset, length: tail_word, crc: crc32c::crc32c(tail) };
    Ok((bytes, Laid { end: (HEAD + length) as u64, record: record.map(|(gist, _)| (at, gist)) }))
}

/// The checksum of a frame: of its length, its kind and its payload.
fn checksum(frame: &[u8]) -> u32 {
    let crc = crc32c::crc32c(frame.get(..5).unwrap_or_default());
    crc32c::crc32c_append(crc, frame.get(HEAD..).unwrap_or_default())
}

/// Bytes of the whole frame that begins like this; `None`: none does.
pub(super) fn length(head: &[u8]) -> Option<usize> {
    let length = word(head, 0)? as usize;
    (length >= 4).then(|| HEAD + length)
}

/// What some bytes are.
#[derive(Debug)]
pub(super) enum Decoded {
    /// A frame, and where things lie in the file.
    Whole(Box<(Frame, Laid)>),
    /// No frame: a torn tail.
    Torn,
    /// Whole, and written by another flow.
    Alien,
}

/// Reads a frame of exactly these bytes, which begin at `start` in the file.
pub(super) fn decode(bytes: &[u8], start: u64) -> Decoded {
    if word(bytes, 5) != Some(checksum(bytes)) || length(bytes) != Some(bytes.len()) {
        return Decoded::Torn;
    }
    if bytes.get(4) != Some(&KIND) {
        return Decoded::Alien;
    }
    let head_start = HEAD + 4;
    let Some((head, tail)) = word(bytes, HEAD).and_then(|head| bytes.get(head_start..)?.split_at_checked(head as usize)) else {
        return Decoded::Alien;
    };
    let Ok(((frame, gist), [])) = postcard::take_from_bytes::<(Frame, Option<Gist>)>(head) else { return Decoded::Alien };
    let with_record = matches!(frame, Frame::Done { .. } | Frame::Spoilt { .. });
    if with_record != gist.is_some() || with_record == tail.is_empty() {
        return Decoded::Alien;
    }
    let offset = start + (head_start + head.len()) as u64;
    let record = gist.map(|gist| (At { offset, length: tail.len() as u32, crc: crc32c::crc32c(tail) }, gist));
    Decoded::Whole(Box::new((frame, Laid { end: start + bytes.len() as u64, record })))
}

/// A little-endian number of four bytes.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// A little-endian number of eight bytes.
pub(super) fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}
