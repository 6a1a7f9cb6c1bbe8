//! The scheduler: a pure state machine.
//!
//! Owns readiness (counters), order, admission, retries and what a failure stops. Ids, counters and
//! gates only: no graph, no I/O, no threads, no clock (time is passed in). Must hold: the actions
//! are a function of the inputs and their order, so a recorded run replays.

use std::time::Duration;

use crate::attempt::{Cause, Wants};
use crate::name::TaskId;

/// How a task is tried again, and what its failure stops.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Policy {
    /// How often it is tried again after a failure.
    pub retries: u16,
    /// The wait before the first retry; doubles, at most a minute.
    pub backoff: Duration,
    /// Which causes are retried; empty: all but [`Cause::Cancelled`] and [`Cause::NotStarted`].
    pub on: Vec<RetryOn>,
}

/// A cause that is retried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryOn {
    /// This exit status.
    Exit(i32),
    /// A timeout.
    Timeout,
    /// Out of memory.
    OutOfMemory,
}

/// A task or gate as the scheduler knows it.
#[derive(Clone, PartialEq, Debug)]
pub struct New {
    /// Its id.
    pub id: TaskId,
    /// What must be done first: tasks or gates. Ids that were never added count as done.
    pub after: Vec<TaskId>,
    /// A gate has no work of its own: it is done when all it is `after` is done.
    pub gate: bool,
    /// Index of its policy among those handed in at the start.
    pub policy: u32,
    /// What it takes.
    pub wants: Wants,
    /// How long it will take: the unit of the order.
    pub expected: Duration,
    /// Ties go to the lower: place of the stage in the file, then of the item.
    pub rank: u32,
}

/// What happens to the scheduler.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// Tasks and gates enter, and gates that were held open close (may be done now).
    Added(Vec<New>, Vec<TaskId>),
    /// Tasks leave (queue items).
    Retired(Vec<TaskId>),
    /// What is known of tasks without probing them: a batch, a whole no-op is one.
    Known(Vec<(TaskId, Found)>),
    /// An attempt still runs after flow's death.
    Adopted(TaskId, u16),
    /// The executor started it.
    Started(TaskId),
    /// The attempt ended.
    Ended(TaskId, Cause),
    /// The bracket is closed: true if the task is done, false if this attempt failed after all
    /// (a missing output) or its failure is put away.
    Settled(TaskId, Result<(), Cause>),
    /// Time passed.
    Tick,
    /// Stop: start nothing more; `now`: cancel what runs.
    Stop {
        /// Cancel what runs.
        now: bool,
    },
}

/// What a probe found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Up to date.
    Fresh,
    /// Its result comes back from the cache.
    Restore,
    /// Its command must run.
    Run,
    /// It cannot even be asked (an input is gone): it failed.
    Fault,
}

/// What the driver must do.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// All above it is done: ask the decision; answer with [`Input::Known`].
    Probe(TaskId),
    /// Bring its result back; answer with [`Input::Settled`] (an error: it must run instead, say
    /// [`Input::Known`] with [`Found::Run`]).
    Restore(TaskId),
    /// Start attempt n of its command; answer with `Started`, then `Ended`.
    Launch(TaskId, u16),
    /// The command ended well: close the bracket; answer with [`Input::Settled`].
    Settle(TaskId),
    /// The attempt failed and will be tried again at this time.
    Retry(TaskId, Duration),
    /// The last attempt failed: put away what it made.
    Failed(TaskId, Cause),
    /// It will not run, since this one failed.
    Blocked(TaskId, TaskId),
    /// Cancel a running attempt.
    Cancel(TaskId),
    /// Call [`Scheduler::step`] with `Tick` at this time.
    WakeAt(Duration),
    /// Nothing is left to do.
    Finished,
}
