//! What the file means: tasks, what they read and make, and what waits for what.
//!
//! Owns the compiled pipeline. Pure: the disk is a [`Look`] handed in. Must hold: every path has at
//! most one task that makes it; the graph has no cycle; a [`Graph`] is plain data that can be stored
//! and used again without the file it came from.
//!
//! A fan-out that is gathered whole has a **gate**: a node without work that is done when all its
//! tasks are. So n tasks and m gathers cost n + m edges, and tasks that come later hang on the gate
//! alone. Gates have ids above those of the tasks.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attempt::Wants;
use crate::diag::Place;
use crate::hash::Kind;
use crate::name::{RelPath, StageId, TaskId, TaskName};
use crate::pattern::Pattern;
use crate::pipeline::scope::Scope;
use crate::pipeline::spec::Runs;
use crate::value::Value;

pub mod compile;
pub mod draw;
pub mod fanout;
pub mod globs;
pub mod inputs;
pub mod late;
pub mod link;
pub mod select;

/// What the compile step asks of the machine. Whoever implements it keeps account of what was
/// asked: that is the manifest of the compilation.
pub trait Look {
    /// What stands at a path, links followed.
    fn kind(&self, path: &RelPath) -> Option<Kind>;
    /// What a pattern matches on disk now, sorted bytewise. An error is worded for people.
    fn glob(&self, pattern: &Pattern) -> Result<Vec<RelPath>, String>;
    /// Where a program of PATH lies.
    fn program(&self, name: &str) -> Option<String>;
    /// What tasks that are no longer in the graph left behind. Asked at most once.
    fn left_by_gone(&self, is_there: &dyn Fn(&str) -> bool) -> HashSet<RelPath>;
}

/// A compiled pipeline.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Graph {
    /// The pipeline's name.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
    /// Named capacities.
    pub pools: Vec<(String, u32)>,
    /// Whether a failure stops only what is below it.
    pub keep_going: bool,
    /// The files that [`Place`]s point into.
    pub files: Vec<String>,
    /// The stages, in the order of the file.
    pub stages: Vec<Stage>,
    /// The tasks; the index is the id.
    pub tasks: Vec<Task>,
    /// The stages that have a gate; gate i has the id `tasks.len() + i`.
    pub gates: Vec<StageId>,
    /// What each node (tasks, then gates) waits for.
    pub above: Edges,
    /// The nodes in an order in which everything comes after what it waits for.
    pub order: Vec<TaskId>,
    /// The settings, after everything that may change them.
    pub config: Value,
    /// Where each setting stands.
    pub config_places: Vec<(String, Place)>,
    /// Variables of the caller that the axes read: with other values the graph is another.
    pub variables: Vec<String>,
    /// Globs that were answered when it was made.
    pub globs: Vec<globs::Glob>,
    /// The globs of each task that has any, sorted: indices into `globs`.
    pub globs_of: Vec<(TaskId, u32)>,
}

/// Edges of all nodes in one flat array.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Edges {
    /// Where each node's edges start; one entry more than there are nodes.
    pub starts: Vec<u32>,
    /// The other end of each edge.
    pub ends: Vec<TaskId>,
    /// Its kind.
    pub kinds: Vec<Edge>,
}

/// Why one node waits for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Edge {
    /// It reads a file the other makes.
    File,
    /// It builds on the execution of a stage without outputs.
    Stamp,
    /// Order only: the other must be up to date first.
    Order,
}

impl Edges {
    /// From a list for each node.
    pub fn new(lists: &[Vec<(TaskId, Edge)>]) -> Edges {
        let mut edges = Edges { starts: Vec::with_capacity(lists.len() + 1), ..Edges::default() };
        edges.starts.push(0);
        for list in lists {
            edges.ends.extend(list.iter().map(|(id, _)| *id));
            edges.kinds.extend(list.iter().map(|(_, kind)| *kind));
            edges.starts.push(edges.ends.len() as u32);
        }
        edges
    }

    /// The edges of a node.
    pub fn of(&self, node: TaskId) -> impl Iterator<Item = (TaskId, Edge)> + '_ {
        let range = match (self.starts.get(node.index()), self.starts.get(node.index() + 1)) {
            (Some(&from), Some(&to)) => from as usize..to as usize,
            _ => 0..0,
        };
        self.ends[range.clone()].iter().copied().zip(self.kinds[range].iter().copied())
    }

    /// The same edges, asked from the other end.
    pub fn turned(&self) -> Edges {
        let nodes = self.starts.len().saturating_sub(1);
        let mut starts = vec![0u32; nodes + 1];
        for end in &self.ends {
            starts[end.index() + 1] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut ends = vec![TaskId(0); self.ends.len()];
        let mut kinds = vec![Edge::File; self.ends.len()];
        for node in 0..nodes {
            for (end, kind) in self.of(TaskId(node as u32)) {
                let at = next[end.index()] as usize;
                ends[at] = TaskId(node as u32);
                kinds[at] = kind;
                next[end.index()] += 1;
            }
        }
        Edges { starts, ends, kinds }
    }
}

/// A stage: what its tasks share.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// When it runs.
    pub runs: Runs,
    /// What a task of it takes.
    pub wants: Wants,
    /// Wall time of one attempt.
    pub timeout: Option<Duration>,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// How often a failed attempt is repeated.
    pub retries: u16,
    /// Whether its results may be restored from the cache.
    pub cache: bool,
    /// The shell; empty for `argv`.
    pub shell: Vec<String>,
    /// Whether the shell is flow's default, so that its absence can be explained.
    pub default_shell: bool,
    /// Names of its axes.
    pub axes: Vec<String>,
    /// The first of its tasks, and one past the last.
    pub tasks: (u32, u32),
    /// Names of the settings under `params`.
    pub params: Vec<String>,
    /// Where its parts stand.
    pub places: Places,
}

/// Where the parts of a stage stand in the file.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Places {
    /// The stage's name.
    pub name: Place,
    /// The command.
    pub command: Place,
    /// `inputs`.
    pub inputs: Place,
    /// `outputs`.
    pub outputs: Place,
    /// Variables of `env`.
    pub env: Vec<(String, Place)>,
}

/// One execution unit.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Its name.
    pub name: TaskName,
    /// Its stage.
    pub stage: StageId,
    /// Its axes: name and item key.
    pub axes: Vec<(String, String)>,
    /// What is run.
    pub command: Command,
    /// Where.
    pub dir: RelPath,
    /// Declared variables; `None` is the caller's value.
    pub env: Vec<(String, Option<String>)>,
    /// Variables of the caller that its templates read.
    pub read_env: Vec<String>,
    /// Names of the entries of `inputs` (empty in a list), in the order of the file.
    pub roles: Vec<String>,
    /// What it reads, entry by entry.
    pub inputs: Vec<Input>,
    /// What it makes.
    pub outputs: Vec<Output>,
    /// What it runs.
    pub tools: Vec<Tool>,
    /// The settings it uses, by dotted name, as JSON.
    pub settings: Vec<(String, String)>,
    /// What must be rendered when it starts.
    pub late: Option<Box<Late>>,
}

/// What is run, after templating; volatile values by name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// A script for the shell.
    Shell(String),
    /// Program and arguments.
    Argv(Vec<String>),
}

/// Templates that can only be rendered when the task starts: they hold volatile values, or inputs
/// that are known only when the tasks above are done.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Late {
    /// The command as written.
    pub command: Command,
    /// Variables as written.
    pub env: Vec<(String, Option<String>)>,
    /// Everything the templates may name.
    pub scope: Scope,
    /// Whether `inputs` has to be filled in.
    pub inputs: bool,
}

/// One thing that is read.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Input {
    /// Index of its entry in [`Task::roles`].
    pub entry: u32,
    /// What.
    pub source: Source,
    /// May be missing.
    pub optional: bool,
}

/// Where an input comes from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Source {
    /// A file or folder.
    Path {
        /// Where.
        path: RelPath,
        /// Written with `/` at the end, or the folder output of a task.
        folder: bool,
        /// The task that makes it (or the folder around it).
        from: Option<TaskId>,
    },
    /// A glob into another task's folder output: matched when that task is up to date.
    LateGlob {
        /// The pattern.
        pattern: String,
        /// Patterns that are left out.
        exclude: Vec<String>,
        /// The tasks whose folders it looks into.
        from: Vec<TaskId>,
    },
    /// Which execution of a task without outputs this builds on.
    Stamp(TaskId),
}

/// A declared output.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Output {
    /// Its name in the map of outputs, else empty.
    pub role: String,
    /// Where.
    pub path: RelPath,
    /// Written with `/` at the end.
    pub folder: bool,
    /// May be absent after success.
    pub optional: bool,
    /// Index of the entry of `outputs` it was written in.
    pub entry: u32,
}

/// What a command runs, as part of its key.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Tool {
    /// A file of the workspace, declared or found in the command's text.
    File {
        /// Where.
        path: RelPath,
        /// Found in the text.
        automatic: bool,
        /// The task that makes it.
        from: Option<TaskId>,
    },
    /// A program of PATH.
    Program {
        /// As it was named.
        name: String,
    },
    /// The answer of a command.
    Asked {
        /// Its name.
        name: String,
        /// The command, for the stage's shell.
        command: String,
    },
}

impl Graph {
    /// A task.
    pub fn task(&self, id: TaskId) -> &Task {
        &self.tasks[id.index()]
    }

    /// A task's stage.
    pub fn stage_of(&self, id: TaskId) -> &Stage {
        &self.stages[self.tasks[id.index()].stage.index()]
    }

    /// How many nodes there are: tasks, then gates.
    pub fn nodes(&self) -> usize {
        self.tasks.len() + self.gates.len()
    }

    /// Whether a node is a gate.
    pub fn is_gate(&self, id: TaskId) -> bool {
        id.index() >= self.tasks.len()
    }

    /// The globs of a task that were answered when the graph was made.
    pub fn globs_of(&self, id: TaskId) -> impl Iterator<Item = &globs::Glob> {
        let from = self.globs_of.partition_point(|(task, _)| *task < id);
        let mine = self.globs_of.iter().skip(from).take_while(move |(task, _)| *task == id);
        mine.filter_map(|(_, at)| self.globs.get(*at as usize))
    }

    /// The ids of a stage's tasks.
    pub fn tasks_of(&self, stage: StageId) -> impl Iterator<Item = TaskId> + use<> {
        let (from, to) = self.stages[stage.index()].tasks;
        (from..to).map(TaskId)
    }

    /// A task by its name.
    pub fn find(&self, name: &str) -> Option<TaskId> {
        let stage = name.split('@').next()?;
        let stage = self.stages.iter().find(|candidate| candidate.name == stage)?;
        (stage.tasks.0..stage.tasks.1).map(TaskId).find(|id| self.task(*id).name.as_str() == name)
    }

    /// What a node waits for, gates seen through: tasks only.
    pub fn tasks_above(&self, id: TaskId) -> Vec<(TaskId, Edge)> {
        let mut above = Vec::new();
        for (other, edge) in self.above.of(id) {
            if self.is_gate(other) {
                above.extend(self.above.of(other).map(|(task, _)| (task, edge)));
            } else {
                above.push((other, edge));
            }
        }
        above
    }

    /// A place as people read it.
    pub fn show_place(&self, place: Place) -> String {
        let file = self.files.get(place.file as usize).map_or("?", String::as_str);
        format!("{file}:{}:{}", place.line, place.column)
    }
}

impl Task {
    /// The command as one text, for people and for the key.
    pub fn command_text(&self) -> String {
        match &self.command {
            Command::Shell(text) => text.clone(),
            Command::Argv(words) => words.join(" "),
        }
    }

    /// Whether it has declared outputs: one without is judged by its last execution.
    pub fn has_outputs(&self) -> bool {
        !self.outputs.is_empty()
    }
}

#[cfg(test)]
mod tests;
