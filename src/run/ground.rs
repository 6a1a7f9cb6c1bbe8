//! What the bracket stands on: the few looks and moves it is made of.
//!
//! Owns the trait [`Ground`], so that the real run and the exhaustive model of kills and power cuts
//! go through the same code. Decides nothing. Must hold: every move is one step that a crash leaves
//! done or not done, and nothing is ever moved over something else.

use std::io;

use crate::hash::Stamp;
use crate::name::{AttemptId, TaskName};
use crate::record::record::Tree;

/// The two places where something stands that the bracket looks at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Side {
    /// At its output path.
    Out,
    /// Set aside while its task runs.
    Aside,
}

/// Where something is moved to; under the same path there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To<'a> {
    /// To its output path.
    Out,
    /// Set aside.
    Aside,
    /// To what made way, with the reason as a word for a folder's name.
    Kept(&'static str),
    /// To what a failed attempt wrote.
    Failed(&'a FailedAt),
}

/// A folder of what a failed attempt wrote.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FailedAt {
    /// The task.
    pub task: TaskName,
    /// `RUN.ATTEMPT`; with [`INTERRUPTED`] behind it where recovery put things away.
    pub label: String,
}

/// The end of a label whose files flow never saw end: a user's file may be among them, so they are
/// kept when others are removed.
pub const INTERRUPTED: &str = "-interrupted";

impl FailedAt {
    /// Of an attempt that ended.
    pub fn ended(attempt: &AttemptId) -> FailedAt {
        FailedAt { task: attempt.task.clone(), label: format!("{}.{}", attempt.run.number, attempt.n) }
    }

    /// Of an attempt that flow did not see end; `None`: nobody knows which.
    pub fn interrupted(task: &TaskName, attempt: Option<&AttemptId>) -> FailedAt {
        let label = match attempt {
            Some(attempt) => format!("{}.{}{INTERRUPTED}", attempt.run.number, attempt.n),
            None => format!("unknown{INTERRUPTED}"),
        };
        FailedAt { task: task.clone(), label }
    }
}

/// What became of a move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Moved {
    /// Nothing stood there.
    Nothing,
    /// Something stands where it was to go: nothing was moved.
    Taken,
    /// It is there now, as a path for people.
    To(String),
}

/// The looks and moves of the bracket. Paths are those of outputs: normalised, as the pipeline
/// means them.
pub trait Ground {
    /// What stands there, no link followed; `None`: nothing.
    fn stat(&mut self, side: Side, path: &str) -> io::Result<Option<Stamp>>;

    /// The names in a folder, sorted; `None`: one of them is not UTF-8.
    fn names(&mut self, side: Side, folder: &str) -> io::Result<Option<Vec<String>>>;

    /// The paths at the top of what is aside: outputs, or folders they lie in.
    fn tops(&mut self) -> io::Result<Vec<String>>;

    /// Whether what stands at an output path, with this stamp, is `what`. The stamp `said` belongs to
    /// `what`: if it is the same the content is believed, else it is read. Of a folder the kind alone.
    fn same(&mut self, path: &str, now: &Stamp, what: &Tree, said: &Stamp) -> io::Result<bool>;

    /// Moves what stands at a path: to `Out` from aside, all else from the output path. Missing
    /// parents are made. `Taken` only for `Out` and `Aside`: elsewhere a free name is found.
    fn shift(&mut self, path: &str, to: To<'_>) -> io::Result<Moved>;

    /// Makes the folders above an output path. Cheap if it was asked for before.
    fn parents(&mut self, path: &str) -> io::Result<()>;

    /// Drops what is aside: it becomes the blob of its content (`was`, if that is known), or goes.
    fn retire(&mut self, path: &str, was: Option<&Tree>) -> io::Result<()>;

    /// Removes this folder of `aside/` (`.`: itself) if it is empty, then those above it.
    fn prune(&mut self, folder: &str) -> io::Result<()>;

    /// Removes what was kept at this place (of [`Moved::To`]) if it is `what`. Says whether it was.
    fn unkeep(&mut self, place: &str, what: &Tree) -> io::Result<bool>;

    /// Whether failed attempts of a task may be put away. Cheap: asked after each success.
    fn has_failed(&mut self, task: &TaskName) -> io::Result<bool>;

    /// Removes the failed attempts of a task but this label; those [`INTERRUPTED`] are kept.
    fn clear_failed(&mut self, task: &TaskName, but: Option<&str>) -> io::Result<()>;
}
