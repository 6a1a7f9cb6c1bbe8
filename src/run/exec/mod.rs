//! The seam "run this, tell me how it ended".
//!
//! Owns the trait [`Executor`]. Knows no graph, no record, no scheduler. Must hold: an executor
//! answers every submitted attempt exactly once with [`Told::Ended`], whatever happens to it.

use std::time::Duration;

use crate::attempt::{Ended, Launch, Wants};
use crate::name::AttemptId;

pub mod fake;
pub mod launcher;
pub mod local;
pub mod logs;
pub mod mark;
mod orphans;
mod protocol;
mod running;
mod start;

/// What an executor needs to find an attempt again after flow died: opaque, small, kept in
/// `state`. A cluster's job id; the local executor has none (a mark in the environment).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handle(pub Vec<u8>);

/// What an executor says, on the channel it was made with.
#[derive(Clone, PartialEq, Debug)]
pub enum Told {
    /// The attempt's process exists (local) or its job was accepted; a handle if it outlives flow.
    Placed(AttemptId, Option<Handle>),
    /// It ended; nothing of it writes outputs any more.
    Ended(AttemptId, Ended),
    /// Something worth a line for people, as a process left running on purpose.
    Note(AttemptId, String),
    /// The executor cannot say yet; it will settle it.
    Unsure(AttemptId, String),
}

/// What became of an attempt that was open when flow died.
#[derive(Clone, PartialEq, Debug)]
pub enum Recovered {
    /// Nothing of it runs. `stopped`: processes of it were found and stopped.
    Gone {
        /// How many processes were stopped.
        stopped: usize,
    },
    /// It still runs: nothing of it may be moved.
    Running,
    /// It ended meanwhile.
    Ended(Ended),
}

/// Runs attempts somewhere.
pub trait Executor: Send {
    /// A word for people and events: `local`.
    fn name(&self) -> &'static str;
    /// What it can run at once.
    fn room(&self) -> Wants;
    /// Starts attempts. Never blocks long; answers come as [`Told`].
    fn submit(&mut self, batch: Vec<Launch>);
    /// Stops attempts: SIGTERM, after `grace` SIGKILL. Their end is told with the cause
    /// [`crate::attempt::Cause::Cancelled`].
    fn cancel(&mut self, which: &[AttemptId], grace: Duration);
    /// First step of every writer: what became of these. Local: always `Gone`, having stopped what
    /// was left of them.
    fn recover(&mut self, open: Vec<(AttemptId, Option<Handle>)>) -> Vec<(AttemptId, Recovered)>;
}
