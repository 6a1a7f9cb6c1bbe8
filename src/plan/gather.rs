//! A task's manifest from what is there now.
//!
//! Owns which parts a manifest has and in which order; the values are handed in by [`Now`]. Must hold:
//! everything the command is given is a part, so that what can change its result changes its key.

use std::collections::BTreeMap;

use crate::graph::inputs::Named;
use crate::graph::late::render;
use crate::graph::{Command, Graph, Source, Tool};
use crate::hash::{Framed, Kind};
use crate::name::{RelPath, TaskId, TaskName};
use crate::pipeline::scope::Volatile;
use crate::record::manifest::{Content, MANIFEST_VERSION, Manifest, Part};

/// What is there now, as a manifest needs it.
pub trait Now {
    /// What an input holds; [`Content::Absent`] if it is not there. `from`: the task that makes it.
    fn input(&mut self, path: &RelPath, from: Option<TaskId>) -> Result<Content, String>;
    /// What a file that is run holds.
    fn script(&mut self, path: &RelPath, from: Option<TaskId>) -> Result<Content, String>;
    /// What a program of PATH holds.
    fn program(&mut self, name: &str) -> Result<Content, String>;
    /// The answer of a tool command.
    fn answer(&mut self, command: &str, shell: &[String]) -> Result<Content, String>;
    /// What a pattern matches in folders that are up to date, or the task that it waits for.
    fn glob(&mut self, pattern: &str, exclude: &[String], from: &[TaskId]) -> Result<Result<Vec<RelPath>, TaskName>, String>;
    /// A variable of the caller.
    fn variable(&mut self, name: &str) -> Option<String>;
    /// Which execution of a task without outputs counts now; `None` if it would run.
    fn nonce(&mut self, task: TaskId) -> Option<u64>;
}

/// A manifest and what was learnt on the way.
pub struct Gathered {
    /// The manifest.
    pub manifest: Manifest,
    /// The paths that are read, each with what it held.
    pub read: Vec<(RelPath, Content)>,
    /// Inputs that must be there and are not.
    pub missing: Vec<RelPath>,
    /// The paths of each entry of `inputs`, where globs were answered only now.
    pub late_inputs: Option<Vec<Named>>,
}

/// Builds a task's manifest. An error is worded for people: something could not be read.
pub fn gather(graph: &Graph, id: TaskId, now: &mut dyn Now) -> Result<Gathered, String> {
    let task = graph.task(id);
    let stage = graph.stage_of(id);
    let mut inputs = Vec::with_capacity(task.inputs.len());
    let mut read = Vec::with_capacity(task.inputs.len());
    let mut missing = Vec::new();
    let late = task.late.as_ref().is_some_and(|late| late.inputs)
        || task.inputs.iter().any(|input| matches!(input.source, Source::LateGlob { .. }));
    let mut values: Vec<Named> = match late {
        true => task.roles.iter().map(|role| (Some(role.clone()).filter(|role| !role.is_empty()), Vec::new())).collect(),
        false => Vec::new(),
    };
    let mut pending = false;
    for input in &task.inputs {
        let role = task.roles.get(input.entry as usize).cloned().unwrap_or_default();
        match &input.source {
            Source::Path { path, from, .. } => {
                let content = now.input(path, *from)?;
                if content == Content::Absent && !input.optional {
                    missing.push(path.clone());
                }
                if let Some((_, paths)) = values.get_mut(input.entry as usize) {
                    paths.push(path.clone());
                }
                read.push((path.clone(), content.clone()));
                inputs.push(Part::Input { role, path: path.clone(), content });
            }
            Source::LateGlob { pattern, exclude, from } => match now.glob(pattern, exclude, from)? {
                Ok(paths) => {
                    if paths.is_empty() && !input.optional {
                        missing.push(RelPath(pattern.as_str().into()));
                    }
                    for path in paths {
                        let content = now.input(&path, from.first().copied())?;
                        if let Some((_, list)) = values.get_mut(input.entry as usize) {
                            list.push(path.clone());
                        }
                        read.push((path.clone(), content.clone()));
                        inputs.push(Part::Input { role: role.clone(), path, content });
                    }
                }
                Err(task) => {
                    pending = true;
                    inputs.push(Part::Input { role, path: RelPath(pattern.as_str().into()), content: Content::Pending(task) });
                }
            },
            Source::Stamp(other) => inputs.push(Part::Stamp { task: graph.task(*other).name.clone(), nonce: now.nonce(*other) }),
        }
    }
    // A command that names files which nobody knows yet is no part: its template is not what is compared.
    let rendered = match &task.late {
        Some(late) if late.inputs && pending => None,
        _ => Some(render(graph, id, late.then(|| values.clone()), Volatile::ByName)?),
    };
    let mut parts = Vec::with_capacity(8 + task.env.len() + task.settings.len() + task.tools.len() + inputs.len() + task.outputs.len());
    parts.push(Part::Version(MANIFEST_VERSION));
    parts.push(Part::Machine { os: std::env::consts::OS.into(), arch: std::env::consts::ARCH.into() });
    if let Some(rendered) = &rendered {
        parts.push(Part::Command(command_text(&rendered.command)));
    }
    if !stage.shell.is_empty() {
        parts.push(Part::Shell(stage.shell.clone()));
    }
    parts.push(Part::Dir(task.dir.clone()));
    // By name: variables are a map, so that another order of them in the file is no other input.
    let mut env: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (name, value) in rendered.iter().flat_map(|rendered| &rendered.env) {
        env.insert(name.clone(), value.clone().or_else(|| now.variable(name)));
    }
    for name in task.read_env.iter().map(String::as_str).chain(["TZ"]) {
        env.entry(name.to_string()).or_insert_with(|| now.variable(name));
    }
    parts.extend(env.into_iter().map(|(name, value)| Part::Env(name, value)));
    parts.extend(task.settings.iter().map(|(name, value)| Part::Config(name.clone(), value.clone())));
    for tool in &task.tools {
        parts.push(match tool {
            Tool::File { path, automatic, from } => {
                let content = now.script(path, *from)?;
                if content == Content::Absent {
                    missing.push(path.clone());
                }
                read.push((path.clone(), content.clone()));
                Part::Tool { said: path.to_string(), automatic: *automatic, content }
            }
            Tool::Program { name } => Part::Tool { said: name.clone(), automatic: false, content: now.program(name)? },
            Tool::Asked { name, command } => {
                Part::Tool { said: name.clone(), automatic: false, content: now.answer(command, &stage.shell)? }
            }
        });
    }
    parts.append(&mut inputs);
    parts.extend(task.outputs.iter().map(|output| Part::Output {
        role: output.role.clone(),
        path: output.path.clone(),
        kind: if output.folder { Kind::Folder } else { Kind::File },
    }));
    if !task.axes.is_empty() {
        let mut hash = Framed::new(b'T');
        for (axis, key) in &task.axes {
            hash.add(axis.as_bytes());
            hash.add(key.as_bytes());
        }
        parts.push(Part::Task(hash.digest()));
    }
    Ok(Gathered { manifest: Manifest { parts }, read, missing, late_inputs: late.then_some(values) })
}

/// The command as the key holds it: of a list each word framed, so that `a b` and `a` `b` differ.
fn command_text(command: &Command) -> String {
    match command {
        Command::Shell(text) => text.clone(),
        Command::Argv(words) => serde_json::to_string(words).unwrap_or_else(|_| words.join("\0")),
    }
}

#[cfg(test)]
mod tests;
