//! Templates that are rendered when their task starts.
//!
//! Owns what a [`Late`] command becomes once its inputs, or the values of one attempt, are known.
//! Pure. Must hold: rendered by name it is what the key holds, whatever the attempt.

use crate::graph::compile::argv_words_with;
use crate::graph::inputs::{Named, value_of};
use crate::graph::{Command, Graph, Late, Task};
use crate::name::TaskId;
use crate::pipeline::scope::Volatile;
use crate::pipeline::shell::{self, ShellKind};
use crate::pipeline::template::Template;

/// A command and its variables, ready to be started or to be hashed.
#[derive(Clone, PartialEq, Debug)]
pub struct Rendered {
    /// The command.
    pub command: Command,
    /// Declared variables; `None` is the caller's value.
    pub env: Vec<(String, Option<String>)>,
}

/// A task's command and variables. `inputs`: the paths of each entry, where they are known only now.
/// An error is worded for people.
pub fn render(graph: &Graph, id: TaskId, inputs: Option<Vec<Named>>, volatile: Volatile<'_>) -> Result<Rendered, String> {
    let task = graph.task(id);
    let Some(late) = &task.late else {
        return Ok(Rendered { command: task.command.clone(), env: task.env.clone() });
    };
    if matches!(volatile, Volatile::ByName) && !late.inputs {
        return Ok(Rendered { command: task.command.clone(), env: task.env.clone() });
    }
    fill(graph, task, late, inputs, volatile).map_err(|faults| faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("; "))
}

fn fill(
    graph: &Graph,
    task: &Task,
    late: &Late,
    inputs: Option<Vec<Named>>,
    volatile: Volatile<'_>,
) -> Result<Rendered, Vec<crate::pipeline::template::Fault>> {
    let mut scope = late.scope.clone();
    if late.inputs {
        scope.set("inputs", value_of(inputs.unwrap_or_default(), false, &task.dir));
    }
    let shell = &graph.stages[task.stage.index()].shell;
    let command = match &late.command {
        Command::Shell(text) => {
            let kind = if shell.is_empty() { ShellKind::Posix } else { shell::kind(shell) };
            Command::Shell(Template::parse(text)?.command(&scope, volatile, kind)?.0)
        }
        Command::Argv(list) => {
            let mut words = Vec::with_capacity(list.len());
            for text in list {
                words.extend(argv_words_with(&Template::parse(text)?, &scope, volatile)?.0);
            }
            Command::Argv(words)
        }
    };
    let mut env = Vec::with_capacity(late.env.len());
    for (name, value) in &late.env {
        let value = match value {
            Some(text) => Some(Template::parse(text)?.text(&scope, volatile)?.0),
            None => None,
        };
        env.push((name.clone(), value));
    }
    Ok(Rendered { command, env })
}
