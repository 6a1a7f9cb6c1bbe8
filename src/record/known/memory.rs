//! What is remembered of one thing: a task, an open attempt, a run, a file.
//!
//! Owns these values; pure. Knows nothing of frames and sections.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::hash::{Digest, Stamp};
use crate::name::{AttemptId, RelPath, RunId};
use crate::record::manifest::Key;
use crate::record::state::frame::{Asked, At, Counts, End, RunEnd};

/// What became of a task's last attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Last {
    /// There was none.
    #[default]
    Never,
    /// It is open: flow runs it, or died.
    Started,
    /// It ended well.
    Well,
    /// It ended well, but inputs changed meanwhile.
    Spoilt,
    /// It failed.
    Failed,
    /// flow died while it ran, and recovery has put things in order.
    Aborted,
}

/// Whether something is believed: see the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Trust {
    /// 0: in every boot; else the boot's place in the list of boots, from 1.
    pub(super) boot: u32,
    /// Where its frame ends; 1 for what stands in the block, which every later SYNCED covers.
    pub(super) end: u64,
}

/// What is remembered of a task.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    // These two come first: they are read alone when a task is looked for by its key.
    /// The key of its last good record.
    pub key: Option<Key>,
    /// Its last good record.
    pub good: Option<At>,
    /// Of that execution.
    pub nonce: u64,
    /// When that ended, in nanoseconds since 1970.
    pub good_at: i64,
    /// The run in which the task was last done.
    pub good_run: u64,
    /// How long its last good execution took.
    pub duration: Option<Duration>,
    /// Whether the good record's stamps are believed.
    pub trust: Trust,
    /// What stands at its outputs, if it is not the last good record's: a spoilt result.
    pub spoilt: Option<At>,
    /// The inputs that changed while it was made.
    pub spoilt_by: Vec<RelPath>,
    /// Whether its stamps are believed.
    pub spoilt_trust: Trust,
    /// Its last attempt.
    pub last: Last,
    /// How the last attempt that ended did so.
    pub end: Option<End>,
}

/// An attempt without an end: it runs, or flow died.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Open {
    /// Which.
    pub attempt: AttemptId,
    /// Its key.
    pub key: Key,
    /// Who runs it.
    pub executor: String,
    /// The slot that holds its log.
    pub slot: u32,
    /// Its outputs.
    pub outputs: Vec<RelPath>,
    /// When it began, in nanoseconds since 1970.
    pub at: i64,
    /// What finds it again, if it outlives flow.
    pub handle: Option<Vec<u8>>,
    /// Stamps of its inputs, if it outlives flow.
    pub inputs: Vec<(RelPath, Stamp)>,
}

/// A run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunMemory {
    /// Which.
    pub run: RunId,
    /// When it began, in nanoseconds since 1970.
    pub at: i64,
    /// What was asked.
    pub asked: Asked,
    /// How it ended, the exit code, and when; `None`: it runs, or was killed.
    pub end: Option<(RunEnd, i32, i64)>,
    /// What it did, once it has ended.
    pub counts: Counts,
}

/// What a file held.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Stamped {
    /// Its stamp.
    pub stamp: Stamp,
    /// The digest of its bytes.
    pub digest: Digest,
    pub(super) trust: Trust,
}
