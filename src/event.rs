//! What happens in a run, as one stream that every reader sees in the same order.
//!
//! Owns [`Event`], owned and serialisable: for terminals, plain lines and `events.jsonl` alike, and
//! the trait [`Sink`] of those who read it. What only a terminal needs is part of an event and of
//! no line (fields that are skipped, [`Event::Progress`]). Never writes anywhere. Must hold: secrets
//! are masked before an event is made; decisions never read events.

use serde::{Deserialize, Serialize};

pub mod pieces;
pub mod say;

pub use pieces::{
    Axes, CauseFields, Counts, DigestText, PipelineFields, ReasonFields, Run, RunState, SHAPE, Secs, SetPair, TaskFields, Time,
    UsageFields, reason_fields,
};

/// Reads events. A sink's failures are its own: said once, never stopping a run.
pub trait Sink: Send {
    /// Takes one event; `at` is its time in nanoseconds since 1970.
    fn take(&mut self, at: i64, event: &Event);
    /// The run waits now: what was taken so far should be seen.
    fn flush(&mut self) {}
    /// No event follows: everything is written, a terminal is left as it was.
    fn end(&mut self) {}
}

/// Something that happened in a run. [`Event::RunStarted`] comes first, [`Event::RunEnded`] last.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run starts.
    RunStarted(Box<RunStarted>),
    /// What a flow that died had left open is in order again.
    Recovered(Recovered),
    /// What a flow that died had started is still running, and goes on.
    Adopted(Adopted),
    /// A task came into being while the run went on.
    TaskAdded(TaskAdded),
    /// An attempt starts.
    TaskStarted(TaskStarted),
    /// An attempt ended.
    TaskEnded(TaskEnded),
    /// A task is done: it ran, or its result is back. Not sent for what was only up to date.
    TaskDone(TaskDone),
    /// A task failed after its last attempt.
    TaskFailed(Box<TaskFailed>),
    /// A task will not run, since one above it failed.
    TaskBlocked(TaskBlocked),
    /// An item of a queue moved.
    ItemMoved(ItemMoved),
    /// Something to know that stops nothing.
    Warning(Warning),
    /// The run ended.
    RunEnded(RunEnded),
    /// Numbers for those who watch; a line of no file, sent whenever they change or time passes.
    #[serde(skip)]
    Progress(Progress),
}

/// See [`Event::RunStarted`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run's number, which every line bears; `None`: nothing is written of it.
    #[serde(skip)]
    pub run: Option<u64>,
    /// Of which pipeline.
    pub pipeline: PipelineFields,
    /// The command line without the program.
    pub args: Vec<String>,
    /// What is to be up to date; empty is everything.
    pub selectors: Vec<String>,
    /// Profiles in their order.
    pub profiles: Vec<String>,
    /// `--set`.
    pub set: Vec<SetPair>,
    /// Slots.
    pub jobs: u32,
    /// The run it goes on with.
    pub resumes: Option<u64>,
    /// `0.1.0`
    pub flow_version: String,
    /// The machine's name.
    pub host: String,
    /// flow's process.
    pub pid: u32,
    /// What is known as it starts: `total`, `up_to_date`, `off`. So a run that is killed can still say "6 of 9".
    #[serde(default)]
    pub counts: Counts,
}

/// See [`Event::Recovered`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Recovered {
    /// TASK
    #[serde(flatten)]
    pub task: TaskFields,
    /// Which attempt was open.
    pub attempt: u32,
    /// Of which run.
    pub of_run: u64,
    /// What was done: `stopped_children`, `kept_partial`, `put_back`.
    pub did: Vec<String>,
}

/// See [`Event::Adopted`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Adopted {
    /// TASK
    #[serde(flatten)]
    pub task: TaskFields,
    /// Which attempt.
    pub attempt: u32,
    /// Of which run.
    pub of_run: u64,
    /// Where it runs.
    pub executor: String,
}

/// See [`Event::TaskAdded`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TaskAdded {
    /// TASK
    #[serde(flatten)]
    pub task: TaskFields,
    /// The task whose output named it, or a queue.
    pub by: String,
}

/// See [`Event::TaskStarted`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TaskStarted {
    /// TASK
    #[serde(flatten)]
    pub task: TaskFields,
    /// Counts from 1.
    pub attempt: u32,
    /// Why it runs.
    pub reasons: Vec<ReasonFields>,
    /// The command's text, masked.
    pub command: String,
    /// Where it runs.
    pub executor: String,
    /// Slots it takes.
    pub slots: u32,
}

/// See [`Event::TaskEnded`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TaskEnded {
    /// TASK
    #[serde(flatten)]
    pub task: TaskFields,
    /// Counts from 1.
    pub attempt: u32,
    /// How it ended.
    pub result: CauseFields,
    /// USAGE
    #[serde(flatten)]
    pub usage: UsageFields,
    /// Its log, if it printed anything.
    pub log: Option<String>,
    /// It is tried again after this time.
    pub retry_in_s: Option<Secs>,
}

/// How a task came to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Its command ran.
    #[default]
    Ran,
    /// Its result came from the cache.
    Restored,
    /// Another task had left the same result.
    TakenOver,
    /// A word of a later flow.
    #[serde(other)]
    Unknown,
}

/// An output of a task that is done.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OutputFields {
    /// Where; a folder ends in `/`.
    pub path: String,
    /// What it holds; `None`: an optional output that was not made.
    pub digest: Option<DigestText>,
    /// Bytes of all files in it.
    pub bytes: u64,
    /// Whether it holds something else than before.
    pub changed: bool,
}

/// See [`Event::TaskDone`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TaskDone {
    /// TASK
    #[serde(flatten)]
    pub task: TaskFields,
    /// How.
    pub how: How,
    /// False: an input changed meanwhile, so that it runs again next time.
    pub recorded: bool,
    /// In the order of the file.
    pub outputs: Vec<OutputFields>,
}

/// See [`Event::TaskFailed`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TaskFailed {
    /// TASK
    #[serde(flatten)]
    pub task: TaskFields,
    /// How its last attempt ended.
    pub result: CauseFields,
    /// `allow_failure`: the run does not fail by it.
    pub allowed: bool,
    /// Where what it wrote is now, a folder; `None`: it wrote nothing.
    pub failed_to: Option<String>,
    /// For people.
    #[serde(skip)]
    pub shown: Shown,
}

/// What a person is shown of a failure beside its line.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Shown {
    /// The last lines of its log (about 20), masked, not escaped.
    pub tail: Vec<String>,
    /// Outputs that stand as an earlier run made them.
    pub still: Vec<String>,
    /// When that run's attempt ended, in nanoseconds since 1970.
    pub still_of: Option<i64>,
    /// Old outputs that had been moved out of the way of a command that seems to have wanted to go
    /// on from them.
    pub moved_away: Vec<String>,
}

/// See [`Event::TaskBlocked`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TaskBlocked {
    /// TASK
    #[serde(flatten)]
    pub task: TaskFields,
    /// The task that failed.
    pub by: String,
}

/// See [`Event::ItemMoved`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ItemMoved {
    /// The queue.
    pub queue: String,
    /// The item's name.
    pub item: String,
    /// Its identity.
    pub id: String,
    /// The folder it left.
    pub from: String,
    /// The folder it is in.
    pub to: String,
}

/// See [`Event::Warning`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Warning {
    /// A stable word: `output_empty`.
    pub code: String,
    /// Worded for a person.
    pub message: String,
    /// The task's name, if it is about one; with `stage` and `axes`.
    pub task: Option<String>,
    /// Its stage.
    pub stage: Option<String>,
    /// Its axes.
    pub axes: Option<Axes>,
    /// About which path.
    pub path: Option<String>,
    /// About which place of the file.
    pub place: Option<String>,
}

impl Warning {
    /// A warning about nothing in particular.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Warning {
        Warning { code: code.into(), message: message.into(), ..Warning::default() }
    }

    /// About a task.
    pub fn about(mut self, task: TaskFields) -> Warning {
        self.task = Some(task.task);
        self.stage = Some(task.stage);
        self.axes = Some(task.axes);
        self
    }
}

/// See [`Event::RunEnded`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct RunEnded {
    /// How.
    pub state: RunState,
    /// flow's exit code.
    pub exit: i32,
    /// How long it took.
    pub wall_s: Secs,
    /// Time that restored results would have taken.
    pub saved_s: Secs,
    /// What became of the tasks.
    pub counts: Counts,
}

/// See [`Event::Progress`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Progress {
    /// As they stand; `total` is what the bar goes up to.
    pub counts: Counts,
    /// Stages with more than five tasks to do whose number changed.
    pub stages: Vec<StageTodo>,
}

/// How many tasks of a stage there are to do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StageTodo {
    /// The stage.
    pub stage: String,
    /// Tasks of it that ran, run or may still run; gets smaller as tasks turn out to be up to date.
    pub todo: u64,
}

/// One line of `events.jsonl` as it is read.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// [`SHAPE`]
    pub flow: u32,
    /// Counts from 0 without gaps.
    pub seq: u64,
    /// When.
    pub time: Time,
    /// The run's number.
    pub run: Option<u64>,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

impl Event {
    /// The line of an event, without its newline; `None` for what is no line.
    pub fn line(&self, seq: u64, at: i64, run: Option<u64>) -> Option<String> {
        #[derive(Serialize)]
        struct Out<'a> {
            flow: u32,
            seq: u64,
            time: Time,
            run: Option<u64>,
            #[serde(flatten)]
            event: &'a Event,
        }
        if matches!(self, Event::Progress(_)) {
            return None;
        }
        serde_json::to_string(&Out { flow: SHAPE, seq, time: Time(at), run, event: self }).ok()
    }
}

#[cfg(test)]
mod tests;
