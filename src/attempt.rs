//! One execution of a command as data: the seam between the driver, the scheduler, executors,
//! records and events.
//!
//! Owns what is asked of an executor ([`Launch`]) and how it may end ([`Cause`], [`Usage`]). Never
//! starts anything. Must hold: everything here can be sent to another process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::{AttemptId, RelPath};

/// Variables of an environment: name and value.
pub type Variables = Vec<(Vec<u8>, Vec<u8>)>;

/// Everything an executor needs to run one attempt.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// Which attempt.
    pub id: AttemptId,
    /// The program and its arguments; the program with a `/` or as it is found on `env`'s PATH.
    pub argv: Vec<Vec<u8>>,
    /// What all commands of a run are given; one allocation, so that it is handed on only once.
    pub common: Arc<Variables>,
    /// Variables of its own, over the common ones. The two are the whole environment.
    pub env: Variables,
    /// The working folder, in the workspace.
    pub dir: RelPath,
    /// Standard input, in the workspace as seen from it; `None` is `/dev/null`.
    pub stdin: Option<RelPath>,
    /// Standard output if it does not go to the log: a plain `> f` started without a shell.
    pub stdout: Option<RelPath>,
    /// Where output goes.
    pub log: Log,
    /// What it needs of the machine.
    pub wants: Wants,
    /// Wall time it may take.
    pub timeout: Option<Duration>,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
}

/// Where a command's output goes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Log {
    /// Straight into a file (an absolute path), emptied first.
    File(PathBuf),
    /// Through a pipe that hides these texts: the task was given secrets. Keeps at most `keep` bytes.
    Piped {
        /// The file.
        file: PathBuf,
        /// What to hide.
        mask: Vec<Vec<u8>>,
        /// Bytes kept.
        keep: u64,
    },
}

/// What a task takes of the machine while it runs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Wants {
    /// Slots (cpus).
    pub slots: u32,
    /// Bytes of memory; 0 says nothing.
    pub memory: u64,
    /// Named pools by their index, and how much of each.
    pub pools: Vec<(u16, u32)>,
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Cause {
    /// Exit status 0.
    Success,
    /// Another exit status.
    Exit(i32),
    /// Killed by a signal that flow did not send.
    Signal(i32),
    /// flow stopped it after this time.
    Timeout(Duration),
    /// The kernel killed it for want of memory; the limit in bytes, if there was one.
    OutOfMemory {
        /// Bytes.
        limit: Option<u64>,
    },
    /// It could not be started: why, in words.
    NotStarted(String),
    /// flow stopped it because it was told to stop.
    Cancelled,
    /// Nobody knows: its executor died.
    Lost(String),
    /// It ended well without making these.
    MissingOutputs(Vec<RelPath>),
    /// It ended well, but contracts on its outputs do not hold.
    Checks(Vec<String>),
    /// An input was gone when it was to start.
    InputGone(RelPath),
}

impl Cause {
    /// Whether it is a success.
    pub fn is_success(&self) -> bool {
        *self == Cause::Success
    }
}

/// How an attempt ended and what it used.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// How.
    pub cause: Cause,
    /// What it used.
    pub usage: Usage,
}

/// What an attempt used.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// From start to end.
    pub wall: Duration,
    /// Processor time in the program.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// Largest memory of one of its processes, in bytes; `None` if unknown.
    pub peak: Option<u64>,
    /// Bytes read from disk by it and those it waited for; `None` if unknown.
    pub read: Option<u64>,
    /// Bytes written to disk.
    pub written: Option<u64>,
}
