//! One walk over the graph that asks the one decision, for plan, status, why, resume and the first
//! pass of run.
//!
//! Owns the order of asking and what the verdicts above mean for a task's inputs. Pure: disk and
//! records are handed in by [`Survey`]. Must hold: a task is asked after all it waits for; a task whose
//! every fact is as it was when the answer was "up to date" is not asked again, which is remembering
//! the decision, not another one.

use std::collections::HashMap;
use std::sync::Arc;

use crate::graph::{Edge, Graph};
use crate::name::{RelPath, TaskId, TaskName};
use crate::pipeline::spec::Runs;
use crate::plan::decide::{Facts, Last, Question, Verdict, decide};
use crate::plan::gather::{Now, gather};
use crate::record::manifest::{Content, Manifest};
use crate::record::record::{Member, Record, Tree};

/// Which tasks are looked at, and how they were asked for. Indexed by task.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Selection {
    /// Looked at: what was selected, and what it needs.
    pub chosen: Vec<bool>,
    /// Selected itself, by its own name: for `runs: manual`.
    pub named: Vec<bool>,
    /// To be run whatever stands.
    pub forced: Vec<bool>,
    /// Whether the walk keeps the manifests of what is not up to date: to explain, not to run.
    pub keep_manifests: bool,
}

impl Selection {
    /// How many tasks are looked at.
    pub fn count(&self) -> usize {
        self.chosen.iter().filter(|chosen| **chosen).count()
    }
}

/// What is remembered of a task, as a decision needs it.
#[derive(Clone, Default)]
pub struct Remembered {
    /// Its last good record.
    pub good: Option<Arc<Record>>,
    /// Its last attempt.
    pub last: Option<Last>,
    /// Inputs that changed while the last result was made.
    pub spoilt: Vec<RelPath>,
}

/// Disk, records and cache, as the walk needs them.
pub trait Survey: Now + Facts {
    /// Whether every fact about a task is as it was when it was last found up to date.
    fn unchanged(&mut self, id: TaskId) -> bool;
    /// What is remembered of a task. An error is worded for people.
    fn remembered(&mut self, id: TaskId) -> Result<Remembered, String>;
}

/// What the walk found. Indexed by task.
#[derive(Default)]
pub struct Walked {
    /// The verdict; `None`: not looked at.
    pub verdicts: Vec<Option<Verdict>>,
    /// Up to date whatever comes of the restores above: one that fails becomes a run, and what that
    /// makes may be something else.
    pub certain: Vec<bool>,
    /// Source files that are needed and are not there.
    pub missing: Vec<(TaskId, Vec<RelPath>)>,
    /// Tasks whose facts could not be read, and why.
    pub faults: Vec<(TaskId, String)>,
    /// Manifests of tasks that are not up to date, if they were asked to be kept.
    pub manifests: Vec<Option<Manifest>>,
}

/// Asks for every chosen task.
pub fn walk(graph: &Graph, selection: &Selection, survey: &mut dyn Survey) -> Walked {
    let mut walked = Walked { verdicts: vec![None; graph.tasks.len()], manifests: Vec::new(), ..Walked::default() };
    walked.certain = vec![false; graph.tasks.len()];
    if selection.keep_manifests {
        walked.manifests.resize_with(graph.tasks.len(), || None);
    }
    // Whether a node's results stand as they will be: of a gate, those of all its tasks.
    let mut settled = vec![true; graph.nodes()];
    // Whether nothing that any of it rests on is to be restored first.
    let mut certain = vec![true; graph.nodes()];
    for &id in &graph.order {
        if graph.is_gate(id) {
            settled[id.index()] = graph.above.of(id).all(|(task, _)| settled[task.index()]);
            certain[id.index()] = graph.above.of(id).all(|(task, _)| certain[task.index()]);
            continue;
        }
        if !selection.chosen[id.index()] {
            continue;
        }
        let forced = selection.forced[id.index()];
        let runs = graph.stage_of(id).runs;
        let quiet = !forced && matches!(runs, Runs::Auto | Runs::Manual) && !(runs == Runs::Manual && selection.named[id.index()]);
        let above_certain = graph.above.of(id).all(|(other, edge)| edge == Edge::Order || certain[other.index()]);
        let above_settled = graph.above.of(id).all(|(other, edge)| edge == Edge::Order || settled[other.index()]);
        let verdict = if quiet && above_settled && survey.unchanged(id) {
            Verdict::UpToDate
        } else {
            match one(graph, id, selection, &walked.verdicts, survey, &mut walked.missing) {
                Ok((verdict, manifest)) => {
                    if verdict != Verdict::UpToDate
                        && let Some(kept) = walked.manifests.get_mut(id.index())
                    {
                        *kept = Some(manifest);
                    }
                    verdict
                }
                Err(fault) => {
                    walked.faults.push((id, fault));
                    Verdict::Unknown(String::new())
                }
            }
        };
        settled[id.index()] = verdict == Verdict::UpToDate;
        certain[id.index()] = settled[id.index()] && above_certain;
        walked.certain[id.index()] = certain[id.index()];
        walked.verdicts[id.index()] = Some(verdict);
    }
    walked
}

fn one(
    graph: &Graph,
    id: TaskId,
    selection: &Selection,
    verdicts: &[Option<Verdict>],
    survey: &mut dyn Survey,
    missing: &mut Vec<(TaskId, Vec<RelPath>)>,
) -> Result<(Verdict, Manifest), String> {
    let remembered = survey.remembered(id)?;
    let mut above = Above { graph, id, verdicts, survey, open: None };
    let gathered = gather(graph, id, &mut above)?;
    if !gathered.missing.is_empty() {
        missing.push((id, gathered.missing.clone()));
    }
    let verdict = ask(graph, id, selection, &remembered, &gathered.manifest, survey);
    Ok((verdict, gathered.manifest))
}

/// The one decision for a task whose manifest is known.
pub fn ask(
    graph: &Graph,
    id: TaskId,
    selection: &Selection,
    remembered: &Remembered,
    manifest: &Manifest,
    facts: &mut dyn Facts,
) -> Verdict {
    let task = graph.task(id);
    let stage = graph.stage_of(id);
    let question = Question {
        outputs: &task.outputs,
        cacheable: stage.cache,
        runs: stage.runs,
        now: manifest,
        good: remembered.good.as_ref(),
        last: remembered.last.unwrap_or(Last::Never),
        spoilt: &remembered.spoilt,
        forced: selection.forced[id.index()],
        named: selection.named[id.index()],
    };
    decide(&question, facts)
}

/// What is there now, given the verdicts above: what a task above would make anew is pending, what it
/// would restore is known by its record.
struct Above<'a> {
    graph: &'a Graph,
    id: TaskId,
    verdicts: &'a [Option<Verdict>],
    survey: &'a mut dyn Survey,
    /// Folders around outputs of tasks above that are not up to date, each with the first such task.
    /// Gathered once, when it is first needed.
    open: Option<HashMap<RelPath, TaskName>>,
}

impl Above<'_> {
    fn verdict(&self, task: TaskId) -> Option<&Verdict> {
        self.verdicts.get(task.index())?.as_ref()
    }

    /// What an input holds, if the disk cannot say.
    fn made(&mut self, path: &RelPath, from: Option<TaskId>) -> Option<Content> {
        let Some(task) = from else {
            // A folder into which other tasks write: it is known when they are all done.
            if self.open.is_none() {
                self.open = Some(self.open_folders());
            }
            return self.open.as_ref()?.get(path).cloned().map(Content::Pending);
        };
        let pending = || Content::Pending(self.graph.task(task).name.clone());
        match self.verdict(task)? {
            Verdict::UpToDate | Verdict::Missing(_) => None,
            Verdict::Restore { record, files } => match self.graph.stage_of(task).runs {
                // Its files count as they are; only the missing ones come back.
                Runs::Never if files.iter().any(|file| file.below(path).is_some()) => Some(pending()),
                Runs::Never if !files.iter().any(|file| file == path || path.below(file).is_some()) => None,
                _ => Some(recorded(record, path).unwrap_or_else(pending)),
            },
            Verdict::Run(_) | Verdict::Pending { .. } | Verdict::Unknown(_) => Some(pending()),
        }
    }

    fn open_folders(&self) -> HashMap<RelPath, TaskName> {
        let mut folders = HashMap::new();
        for (task, edge) in self.graph.tasks_above(self.id) {
            if edge != Edge::File || self.verdict(task).is_none_or(|verdict| *verdict == Verdict::UpToDate) {
                continue;
            }
            let task = self.graph.task(task);
            for output in &task.outputs {
                let mut folder = output.path.parent();
                while let Some(path) = folder {
                    folder = path.parent();
                    if folders.contains_key(&path) {
                        break;
                    }
                    folders.insert(path, task.name.clone());
                }
            }
        }
        folders
    }
}

/// What a record says of a path: an output, or a member of a folder output. `None`: it cannot say, as
/// of what a link leads to.
fn recorded(record: &Record, path: &RelPath) -> Option<Content> {
    record.outputs.iter().find_map(|made| {
        if made.path == *path {
            return Some(as_input(&made.what));
        }
        match (path.below(&made.path), &made.what) {
            (Some(name), Tree::Folder(members)) => Some(member(members, name)),
            _ => None,
        }
    })?
}

/// What a member of a recorded folder holds; that of a folder in it is listed beside it.
fn member(members: &[Member], name: &str) -> Option<Content> {
    let Some(found) = members.iter().find(|member| member.name == name) else { return Some(Content::Absent) };
    if !matches!(found.what, Tree::Folder(_)) {
        return as_input(&found.what);
    }
    let below = members.iter().filter_map(|member| {
        let name = member.name.strip_prefix(name)?.strip_prefix('/')?;
        Some(Member { name: name.to_string(), ..member.clone() })
    });
    as_input(&Tree::Folder(below.collect()))
}

/// The content by which an output counts as an input: of a link what it leads to, which is not on record.
fn as_input(tree: &Tree) -> Option<Content> {
    let link = match tree {
        Tree::Link(_) => true,
        Tree::Folder(members) => members.iter().any(|member| matches!(member.what, Tree::Link(_))),
        Tree::File { .. } | Tree::Absent => false,
    };
    (!link).then(|| tree.content())
}

impl Now for Above<'_> {
    fn input(&mut self, path: &RelPath, from: Option<TaskId>) -> Result<Content, String> {
        match self.made(path, from) {
            Some(content) => Ok(content),
            None => self.survey.input(path, from),
        }
    }

    fn script(&mut self, path: &RelPath, from: Option<TaskId>) -> Result<Content, String> {
        match from.and_then(|_| self.made(path, from)) {
            Some(content) => Ok(content),
            None => self.survey.script(path, from),
        }
    }

    fn program(&mut self, name: &str) -> Result<Content, String> {
        self.survey.program(name)
    }

    fn answer(&mut self, command: &str, shell: &[String]) -> Result<Content, String> {
        self.survey.answer(command, shell)
    }

    fn glob(&mut self, pattern: &str, exclude: &[String], from: &[TaskId]) -> Result<Result<Vec<RelPath>, TaskName>, String> {
        let open = from.iter().find(|task| self.verdict(**task).is_some_and(|verdict| *verdict != Verdict::UpToDate));
        match open {
            Some(task) => Ok(Err(self.graph.task(*task).name.clone())),
            None => self.survey.glob(pattern, exclude, from),
        }
    }

    fn variable(&mut self, name: &str) -> Option<String> {
        self.survey.variable(name)
    }

    fn nonce(&mut self, task: TaskId) -> Option<u64> {
        match self.verdict(task) {
            Some(Verdict::UpToDate) | None => self.survey.nonce(task),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
