//! What is appended to `state` while a run goes on.
//!
//! Owns the frames: their meaning and their bytes. Frames are what decisions and recovery rest on;
//! events are for people and have a file of their own. Must hold: a frame is written by one `write`; a
//! torn or garbled one is seen to be so; the bytes of a record in a frame are those of a record in the
//! block, so that compaction copies them.

use std::io;

use serde::{Deserialize, Serialize};

use crate::attempt::{Ended, Usage};
use crate::hash::Digest;
use crate::name::{RelPath, RunId, TaskName};
use crate::record::manifest::Key;
use crate::record::record::Record;

/// One frame.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Frame {
    /// A run begins.
    RunStarted {
        /// Which.
        run: RunId,
        /// The boot it runs in: stamps count for it.
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
    },
    /// An executor that outlives flow has it.
    Placed {
        /// The task.
        task: TaskName,
        /// What finds it again.
        handle: Vec<u8>,
    },
    /// It ended well. The record follows as bytes of its own.
    Done {
        /// The task.
        task: TaskName,
        /// Which attempt.
        n: u16,
        /// How.
        how: How,
        /// Its log, relative to the pipeline's folder.
        log: Option<String>,
        /// What was made.
        #[serde(skip)]
        record: Option<Box<Record>>,
    },
    /// It ended well, but inputs changed meanwhile. The record follows.
    Spoilt {
        /// The task.
        task: TaskName,
        /// Which attempt.
        n: u16,
        /// The inputs that changed.
        inputs: Vec<RelPath>,
        /// Its log.
        log: Option<String>,
        /// What was made.
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
    /// The items of a run-time fan-out.
    Expanded {
        /// The stage.
        stage: String,
        /// Digest of the axis and of its source.
        of: Key,
        /// Keys of the items.
        items: Vec<String>,
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
    /// Everything written in this boot before the frame that ends here is on the disk, data and all.
    Synced {
        /// The boot. It says nothing of what an earlier one wrote: that may have been lost with it.
        boot: String,
        /// Offset in the file.
        up_to: u64,
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

/// What a run was asked to do: what `resume` asks again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Asked {
    /// The command line after `flow`.
    pub args: Vec<String>,
    /// Selectors.
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

/// Bytes before a frame's payload: length, kind, checksum.
pub const HEAD: usize = 9;

/// The one kind of frame.
const KIND: u8 = 1;

/// Longest payload that is believed.
const LONGEST: usize = 1 << 30;

/// Where a record's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct At {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// Their checksum: a record is read long after its frame or section was checked.
    pub crc: u32,
}

impl At {
    /// Where the frame ends whose record this is.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.length))
    }
}

/// What a replay needs of a record, so that it reads none.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Brief {
    /// Its key.
    pub key: Key,
    /// When the execution ended, in nanoseconds since 1970.
    pub at: i64,
    /// How, and what it used.
    pub ended: Ended,
}

impl Brief {
    /// Of this record.
    pub fn of(record: &Record) -> Brief {
        Brief { key: record.key, at: record.at, ended: record.ended.clone() }
    }
}

impl Frame {
    /// The record it carries in memory. One that was read from the file has none.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Frame::Done { record, .. } | Frame::Spoilt { record, .. } => record.as_deref(),
            _ => None,
        }
    }
}

/// A frame's bytes, and where in them its record is. The head is the frame and, if there is a
/// record, its brief; the record follows.
pub fn encode(frame: &Frame) -> io::Result<(Vec<u8>, Option<At>)> {
    let mut head = postcard::to_stdvec(frame).map_err(io::Error::other)?;
    let mut record = Vec::new();
    if let Some(whole) = frame.record() {
        head.extend(postcard::to_stdvec(&Brief::of(whole)).map_err(io::Error::other)?);
        record = postcard::to_stdvec(whole).map_err(io::Error::other)?;
    }
    let length = 4 + head.len() + record.len();
    if length > LONGEST {
        // It would be written and never read: everything behind it would be lost.
        return Err(io::Error::other(format!("a record of {length} bytes is more than the state can hold ({LONGEST})")));
    }
    let mut bytes = Vec::with_capacity(HEAD + length);
    bytes.extend((length as u32).to_le_bytes());
    bytes.push(KIND);
    bytes.extend([0; 4]);
    bytes.extend((head.len() as u32).to_le_bytes());
    bytes.extend(&head);
    let at = (!record.is_empty()).then(|| At { offset: bytes.len() as u64, length: record.len() as u32, crc: crc32c::crc32c(&record) });
    bytes.extend(&record);
    let crc = checksum(&bytes);
    bytes[5..HEAD].copy_from_slice(&crc.to_le_bytes());
    Ok((bytes, at))
}

/// The checksum of a frame: of its length, its kind and its payload.
fn checksum(bytes: &[u8]) -> u32 {
    let crc = crc32c::crc32c(bytes.get(..5).unwrap_or_default());
    crc32c::crc32c_append(crc, bytes.get(HEAD..).unwrap_or_default())
}

/// What the bytes at an offset are.
#[derive(Debug)]
pub enum Decoded {
    /// A frame, its whole length, and where its record is (offset from the frame's start) with what a
    /// replay needs of it.
    Whole(Box<Frame>, usize, Option<(At, Brief)>),
    /// Nothing whole: the end, or a torn tail.
    Torn,
    /// Whole as it was written, and not of this form: not to be cut off by a flow that cannot read it.
    Foreign,
}

/// Reads the frame at the start of some bytes.
pub fn decode(bytes: &[u8]) -> Decoded {
    let (Some(length), Some(crc)) = (word(bytes, 0), word(bytes, 5)) else { return Decoded::Torn };
    let length = length as usize;
    if !(4..=LONGEST).contains(&length) {
        return Decoded::Torn;
    }
    let Some(whole) = bytes.get(..HEAD + length) else { return Decoded::Torn };
    if checksum(whole) != crc {
        return Decoded::Torn;
    }
    content(whole).unwrap_or(Decoded::Foreign)
}

/// A frame whose checksum is right.
fn content(whole: &[u8]) -> Option<Decoded> {
    if whole.get(4) != Some(&KIND) {
        return None;
    }
    let start = HEAD + 4;
    let record_at = start.checked_add(word(whole, HEAD)? as usize)?;
    let (frame, rest) = postcard::take_from_bytes::<Frame>(whole.get(start..record_at)?).ok()?;
    let record = whole.get(record_at..)?;
    let told = match (record.is_empty(), rest.is_empty()) {
        (true, true) => None,
        (false, false) => {
            let at = At { offset: record_at as u64, length: record.len() as u32, crc: crc32c::crc32c(record) };
            Some((at, postcard::from_bytes::<Brief>(rest).ok()?))
        }
        _ => return None,
    };
    Some(Decoded::Whole(Box::new(frame), whole.len(), told))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// What is kept of an attempt's end for people.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct End {
    /// In which run.
    pub run: u64,
    /// Which attempt.
    pub n: u16,
    /// When, in nanoseconds since 1970.
    pub at: i64,
    /// How, and what it used.
    pub ended: Ended,
    /// Its log, relative to the pipeline's folder.
    pub log: Option<String>,
}

impl End {
    /// An attempt that flow did not see end.
    pub fn unseen(run: u64, n: u16, log: Option<String>) -> End {
        End {
            run,
            n,
            at: 0,
            ended: Ended { cause: crate::attempt::Cause::Lost("flow was killed while it ran".into()), usage: Usage::default() },
            log,
        }
    }
}
