//! Selectors: which tasks a person means.
//!
//! Owns the selector language: a stage, a task or some of its axes, an output path, `tag:x`,
//! `status:x`, a name glob; a space is a union, a comma an intersection. Pure: states of tasks are
//! handed in. Must hold: a name is tried as a stage or task first, then as an output path; `./x` is
//! always a path; what matches nothing is an error that names the nearest.

use std::collections::HashMap;

use globset::{Glob, GlobMatcher};

use crate::graph::{Edge, Graph};
use crate::name::{RelPath, TaskId};
use crate::near::nearest;
use crate::pattern::Pattern;
use crate::pipeline::spec::Runs;

/// What selectors are tried on.
pub struct Selectable<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The caller's folder as seen from the workspace: paths are relative to it.
    pub here: &'a RelPath,
    /// The state of a task (`failed`, `stale`, …), for `status:`; `None` if it cannot be told here.
    pub state: Option<&'a dyn Fn(TaskId) -> &'static str>,
}

/// A selector that means nothing here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SelectFault {
    /// What is wrong.
    pub message: String,
    /// What may have been meant.
    pub hint: Option<String>,
}

/// The tasks of a union of selectors, in the order of the file, and whether each was meant by its own
/// name (which is what brings `runs: manual` along).
pub fn select(on: &Selectable<'_>, selectors: &[String]) -> Result<Vec<(TaskId, bool)>, SelectFault> {
    let mut chosen: HashMap<TaskId, bool> = HashMap::new();
    for selector in selectors {
        let mut group: Option<HashMap<TaskId, bool>> = None;
        for term in selector.split(',') {
            let found: HashMap<TaskId, bool> = self::term(on, term)?.into_iter().collect();
            group = Some(match group {
                None => found,
                Some(before) => {
                    before.into_iter().filter_map(|(task, named)| found.get(&task).map(|also| (task, named || *also))).collect()
                }
            });
        }
        for (task, named) in group.unwrap_or_default() {
            *chosen.entry(task).or_default() |= named;
        }
    }
    let mut list: Vec<(TaskId, bool)> = chosen.into_iter().collect();
    list.sort_unstable();
    Ok(list)
}

fn term(on: &Selectable<'_>, term: &str) -> Result<Vec<(TaskId, bool)>, SelectFault> {
    let graph = on.graph;
    let fault = |message: String, hint: Option<String>| Err(SelectFault { message, hint });
    if term.is_empty() {
        return fault("an empty selector".into(), None);
    }
    if let Some(tag) = term.strip_prefix("tag:") {
        let tasks = tasks_where(graph, |task| graph.stage_of(task).tags.iter().any(|has| has == tag));
        if tasks.is_empty() {
            let tags: Vec<String> = graph.stages.iter().flat_map(|stage| stage.tags.iter().cloned()).collect();
            return fault(format!("no stage has the tag `{tag}`"), nearest(tag, &tags).map(|near| format!("did you mean `tag:{near}`?")));
        }
        return Ok(tasks);
    }
    if let Some(state) = term.strip_prefix("status:") {
        let Some(of) = on.state else { return fault("`status:` can't be used here".into(), None) };
        const STATES: [&str; 8] = ["up_to_date", "stale", "failed", "interrupted", "blocked", "never_ran", "running", "unknown"];
        if !STATES.contains(&state) {
            let known: Vec<String> = STATES.map(str::to_string).to_vec();
            return fault(
                format!("no status `{state}`"),
                Some(
                    nearest(state, &known)
                        .map_or_else(|| format!("one of {}", STATES.join(", ")), |near| format!("did you mean `status:{near}`?")),
                ),
            );
        }
        return Ok(tasks_where(graph, |task| of(task) == state));
    }
    if term.starts_with("./") || term.starts_with("../") || term.starts_with('/') {
        return path(on, term).map(|tasks| tasks.into_iter().map(|task| (task, false)).collect());
    }
    if let Some(tasks) = named(graph, term)? {
        return Ok(tasks);
    }
    match path(on, term) {
        Ok(tasks) => Ok(tasks.into_iter().map(|task| (task, false)).collect()),
        Err(_) => {
            let mut names: Vec<String> = graph.stages.iter().map(|stage| stage.name.clone()).collect();
            names.extend(graph.tasks.iter().flat_map(|task| task.outputs.iter().map(|output| output.path.to_string())).take(100_000));
            fault(format!("no stage, task or output `{term}`"), nearest(term, &names).map(|near| format!("did you mean `{near}`?")))
        }
    }
}

fn tasks_where(graph: &Graph, wanted: impl Fn(TaskId) -> bool) -> Vec<(TaskId, bool)> {
    (0..graph.tasks.len() as u32).map(TaskId).filter(|task| wanted(*task)).map(|task| (task, false)).collect()
}

/// `stage`, `stage@axis=key`, `@axis=key`, and globs in the stage's name or an item's key.
fn named(graph: &Graph, term: &str) -> Result<Option<Vec<(TaskId, bool)>>, SelectFault> {
    let mut parts = term.split('@');
    let stage = parts.next().unwrap_or_default();
    let mut wanted = Vec::new();
    for part in parts {
        let Some((axis, key)) = part.split_once('=') else { return Ok(None) };
        wanted.push((axis, key));
    }
    if stage.is_empty() && wanted.is_empty() {
        return Ok(None);
    }
    let stage_pattern = glob_of(stage);
    let mut found = Vec::new();
    let mut stage_known = false;
    let mut axes_known = wanted.is_empty();
    let keys: Vec<(&str, &str, Option<GlobMatcher>)> = wanted.iter().map(|(axis, key)| (*axis, *key, glob_of(key))).collect();
    for candidate in &graph.stages {
        let this =
            stage.is_empty() || candidate.name == stage || stage_pattern.as_ref().is_some_and(|pattern| pattern.is_match(&candidate.name));
        if !this {
            continue;
        }
        stage_known = true;
        if !keys.iter().all(|(axis, _, _)| candidate.axes.iter().any(|has| has == axis)) {
            continue;
        }
        axes_known = true;
        for task in (candidate.tasks.0..candidate.tasks.1).map(TaskId) {
            let name = &graph.task(task).name;
            let fits = keys.iter().all(|(axis, key, pattern)| {
                item_texts(graph, task, axis, name.as_str())
                    .iter()
                    .any(|text| text == key || pattern.as_ref().is_some_and(|pattern| pattern.is_match(text)) || in_range(key, text))
            });
            if fits {
                found.push((task, candidate.name == stage));
            }
        }
    }
    if !stage_known {
        return Ok(None);
    }
    if !found.is_empty() {
        return Ok(Some(found));
    }
    let stages: Vec<&crate::graph::Stage> = graph.stages.iter().filter(|candidate| stage.is_empty() || candidate.name == stage).collect();
    if !axes_known {
        let axes: Vec<String> = stages.iter().flat_map(|stage| stage.axes.iter().cloned()).collect();
        let axis = wanted.iter().map(|(axis, _)| *axis).find(|axis| !axes.iter().any(|has| has == axis)).unwrap_or_default();
        let hint = nearest(axis, &axes).map(|near| format!("did you mean `{near}`?"));
        return Err(SelectFault { message: format!("no axis `{axis}` in `{term}`"), hint });
    }
    if wanted.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let names: Vec<String> = stages
        .iter()
        .flat_map(|stage| (stage.tasks.0..stage.tasks.1).map(|task| graph.task(TaskId(task)).name.to_string()))
        .take(100_000)
        .collect();
    Err(SelectFault { message: format!("no task `{term}`"), hint: nearest(term, &names).map(|near| format!("did you mean `{near}`?")) })
}

/// An item's key as it is and as it stands in the task's name.
fn item_texts(graph: &Graph, task: TaskId, axis: &str, name: &str) -> Vec<String> {
    let mut texts = Vec::with_capacity(2);
    if let Some((_, key)) = graph.task(task).axes.iter().find(|(has, _)| has == axis) {
        texts.push(key.clone());
    }
    let prefix = format!("{axis}=");
    if let Some(escaped) = name.split('@').skip(1).find_map(|part| part.strip_prefix(&prefix)) {
        texts.push(escaped.to_string());
    }
    texts
}

/// `a..b`, both ends included: numbers by value, all else (dates) by text.
fn in_range(range: &str, text: &str) -> bool {
    let Some((from, to)) = range.split_once("..") else { return false };
    match (from.parse::<f64>(), to.parse::<f64>(), text.parse::<f64>()) {
        (Ok(from), Ok(to), Ok(number)) => from <= number && number <= to,
        _ => !from.is_empty() && !to.is_empty() && from <= text && text <= to,
    }
}

/// A glob over names: `*` matches any characters, also the `/` of an item's key.
fn glob_of(text: &str) -> Option<GlobMatcher> {
    crate::pattern::is_pattern(text).then(|| Glob::new(text).ok().map(|glob| glob.compile_matcher()))?
}

/// The task that makes a path, or the tasks that make something below it.
fn path(on: &Selectable<'_>, text: &str) -> Result<Vec<TaskId>, SelectFault> {
    let unknown = || SelectFault { message: format!("no task makes `{text}`"), hint: None };
    let path = on.here.join(text).map_err(|fault| SelectFault { message: fault.to_string(), hint: None })?;
    let outputs = crate::graph::link::Outputs::new(&on.graph.tasks);
    if let Some(made) = outputs.maker(&path) {
        return Ok(vec![made.task]);
    }
    let mut below: Vec<TaskId> = outputs.below(&path).collect();
    if below.is_empty()
        && crate::pattern::is_pattern(text)
        && let Ok(pattern) = Pattern::parse(path.as_str())
    {
        below = outputs
            .below_with_paths(&RelPath(pattern.literal_prefix().into()))
            .filter(|(path, _, _)| pattern.finds(path.as_str()))
            .map(|(_, task, _)| task)
            .collect();
    }
    if below.is_empty() {
        let paths: Vec<String> =
            on.graph.tasks.iter().flat_map(|task| task.outputs.iter().map(|output| output.path.to_string())).take(100_000).collect();
        return Err(SelectFault { hint: nearest(path.as_str(), &paths).map(|near| format!("did you mean `{near}`?")), ..unknown() });
    }
    below.sort_unstable();
    below.dedup();
    Ok(below)
}

/// What a run without selectors means: everything but `runs: manual`.
pub fn everything(graph: &Graph) -> Vec<(TaskId, bool)> {
    tasks_where(graph, |task| graph.stage_of(task).runs != Runs::Manual)
}

/// Adds what the chosen tasks need, through any chain.
pub fn with_ancestors(graph: &Graph, chosen: &[TaskId]) -> Vec<bool> {
    let mut marks = vec![false; graph.nodes()];
    let mut stack: Vec<TaskId> = chosen.to_vec();
    while let Some(node) = stack.pop() {
        if std::mem::replace(&mut marks[node.index()], true) {
            continue;
        }
        stack.extend(graph.above.of(node).map(|(above, _): (TaskId, Edge)| above));
    }
    marks.truncate(graph.tasks.len());
    marks
}
