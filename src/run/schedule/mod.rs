//! The scheduler: a pure state machine.
//!
//! Owns readiness (counters), order, admission, retries and what a failure stops. Ids, counters and
//! gates only: no graph, no I/O, no threads, no clock (time is passed in). Must hold: the actions
//! are a function of the inputs and their order, so a recorded run replays; work is linear in
//! tasks and edges, whatever the shape of the graph; no input makes it panic.
//!
//! One task's way, with the driver's answers on the right:
//!
//! ```text
//! all above done ── Probe ──────────> Known(Fresh)    done
//!                                     Known(Restore)  Restore ─> Settled(Ok)  done
//!                                     Known(Run)      Launch 1
//!                                     Known(Fault)    failed
//! Launch n ─────────────────────────> Started, Ended(Success)  Settle
//!                                     Ended(cause)             attempt failed
//! Settle ───────────────────────────> Settled(Ok)   done
//!                                     Settled(Err)  attempt failed
//! attempt failed: Retry (Launch n+1 later), or
//!                 Failed ───────────> PutAway       failed; Blocked for all below
//! ```

mod admit;
#[cfg(test)]
mod model;
mod order;
mod retry;
#[cfg(test)]
mod simulate;
#[cfg(test)]
mod sized;
mod state;
mod step;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::attempt::{Cause, Wants};
use crate::name::TaskId;

pub use step::Scheduler;

/// What there is to share out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Room {
    /// Slots; at least one is taken to be there.
    pub slots: u32,
    /// Bytes of memory; 0: unknown, then memory is not counted.
    pub memory: u64,
    /// How much there is of each pool, by its index.
    pub pools: Vec<u32>,
}

/// How a task is tried again, and what its failure stops.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Policy {
    /// How often it is tried again after a failure.
    pub retries: u16,
    /// The wait before the first retry; doubles up to a minute (a longer first wait stays as it is).
    pub backoff: Duration,
    /// Which causes are retried; empty: all but [`Cause::Cancelled`] and [`Cause::NotStarted`].
    pub on: Vec<RetryOn>,
    /// Its failure fails no run: what is `after` it is skipped, what is only `after_order` runs.
    pub allow_failure: bool,
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

/// A task or gate as the scheduler knows it. Write `New { after, ..New::task(id) }`.
#[derive(Clone, PartialEq, Debug)]
pub struct New {
    /// Its id.
    pub id: TaskId,
    /// What must be done first, because its files are read: tasks or gates. Ids that were never
    /// added, or are retired, count as done.
    pub after: Vec<TaskId>,
    /// What must be over first, by order only (`needs`): done, or failed where failure is allowed.
    pub after_order: Vec<TaskId>,
    /// Tasks or gates already there that must wait for this one too: the gate of its stage, when
    /// it comes at run time. They must still be waiting (a gate that is held always is).
    pub before: Vec<TaskId>,
    /// A gate has no work of its own: it is done when all it is `after` is done.
    pub gate: bool,
    /// A gate that is held is not done until an [`Input::Added`] names it among those that close:
    /// the one open predecessor of everything below a fan-out that is not known yet. A gate held
    /// with nothing above it keeps a daemon from finishing. Only for gates.
    pub held: bool,
    /// What is known of it already. `Fresh` is as if said by [`Input::Known`]; anything else
    /// counts only if nothing above it is open, otherwise it is probed when its time comes.
    pub found: Option<Found>,
    /// Index of its policy among those handed in at the start.
    pub policy: u32,
    /// What it takes. More slots, or of a pool, than there are: clamped. More memory than there
    /// is: it takes all slots and all memory, so that it runs alone.
    pub wants: Wants,
    /// How long it will take: the unit of the order (microseconds count).
    pub expected: Duration,
    /// Ties go to the lower: place of the stage in the file, then of the item.
    pub rank: u32,
}

impl New {
    /// A task of one slot and one second, first policy, with nothing above it.
    pub fn task(id: TaskId) -> New {
        New {
            id,
            after: Vec::new(),
            after_order: Vec::new(),
            before: Vec::new(),
            gate: false,
            held: false,
            found: None,
            policy: 0,
            wants: Wants { slots: 1, memory: 0, pools: Vec::new() },
            expected: Duration::from_secs(1),
            rank: 0,
        }
    }

    /// A gate with nothing above it.
    pub fn gate(id: TaskId) -> New {
        New { gate: true, wants: Wants::default(), expected: Duration::ZERO, ..New::task(id) }
    }
}

/// What happens to the scheduler.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// Tasks and gates enter, and gates that were held close (may be done now). All that is known
    /// at the start comes in one: with nothing left and no gate held the run is finished.
    Added(Vec<New>, Vec<TaskId>),
    /// Tasks leave (queue items); their memory is used again. What waited for one waits no longer.
    /// One that is at work leaves when it is over.
    Retired(Vec<TaskId>),
    /// Answers to probes, and what is known of tasks without probing them: a batch, a whole no-op
    /// is one. For a task that still waits only `Fresh` is kept, and only until something above it
    /// (by files) runs its command: then it is probed after all. `Fault` of a held gate: its stage
    /// could not be expanded, so it failed. `Run` of a task that is being restored: the restore
    /// could not be done, its command must run.
    Known(Vec<(TaskId, Found)>),
    /// This attempt still runs after flow's death: it takes its room, be there enough or not.
    Adopted(TaskId, u16),
    /// The executor started it. Changes nothing; part of the recorded run.
    Started(TaskId),
    /// The command ended; its room is free.
    Ended(TaskId, Cause),
    /// The bracket is closed: the task is done, or this attempt (or the restore, then for good)
    /// failed after all, as for a missing output.
    Settled(TaskId, Result<(), Cause>),
    /// What the last failed attempt left is put away: the task is over. Answers [`Action::Failed`].
    PutAway(TaskId),
    /// Time passed.
    Tick,
    /// Stop: start nothing more, retries neither; `now`: cancel what runs.
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
    /// It cannot even be asked (an input is gone): it failed, with nothing to put away and no
    /// retry.
    Fault,
}

/// What the driver must do.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// All above it is done: ask the decision; answer with [`Input::Known`]. Those of one step
    /// come in the order in which they would start.
    Probe(TaskId),
    /// Bring its result back; answer with [`Input::Settled`], or with [`Input::Known`] and
    /// [`Found::Run`] if it cannot be had.
    Restore(TaskId),
    /// Start attempt n of its command; answer with `Started`, then `Ended`.
    Launch(TaskId, u16),
    /// The command ended well: close the bracket; answer with [`Input::Settled`].
    Settle(TaskId),
    /// The attempt failed and will be tried again at this time.
    Retry(TaskId, Duration),
    /// The last attempt failed, with this cause: put away what it made; answer with
    /// [`Input::PutAway`]. Also said of a task whose retry was still to come when the run stopped.
    Failed(TaskId, Cause),
    /// The first will not run, since the second failed (the failure itself, however far above).
    /// Not said of gates.
    Blocked(TaskId, TaskId),
    /// Cancel a running attempt; it will end like any other.
    Cancel(TaskId),
    /// Call [`Scheduler::step`] with `Tick` at this time; replaces the one said before.
    WakeAt(Duration),
    /// Nothing is at work and nothing can start: said once.
    Finished,
}

/// How many tasks are where. Gates are not counted, but for `failed`. Retired tasks stay counted where they ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Were up to date.
    pub fresh: usize,
    /// Came back from the cache.
    pub restored: usize,
    /// Ran, and ended well.
    pub ran: usize,
    /// Failed. A held gate that failed (a stage that could not be expanded) counts here too.
    pub failed: usize,
    /// Failed, which was allowed.
    pub allowed: usize,
    /// Were cancelled by a stop.
    pub cancelled: usize,
    /// Not run, below a failure.
    pub blocked: usize,
    /// Not run, below an allowed failure.
    pub skipped: usize,
    /// Left before they were started (retired).
    pub left_early: usize,
    /// Wait for something above, or (in a run that stops) were never asked.
    pub waiting: usize,
    /// Are being probed.
    pub probing: usize,
    /// Wait for room, for their turn to be restored, or for their retry.
    pub queued: usize,
    /// Their command runs.
    pub running: usize,
    /// Are being restored, settled or put away.
    pub closing: usize,
}

impl Counts {
    /// Done: nothing to wish for.
    pub fn done(&self) -> usize {
        self.fresh + self.restored + self.ran
    }

    /// Not over yet. After [`Action::Finished`]: those that were not started.
    pub fn left(&self) -> usize {
        self.waiting + self.probing + self.queued + self.running + self.closing
    }
}
