//! A task becomes something an executor can start.
//!
//! Owns the environment of commands and the choice between a shell and a direct start. Never starts
//! anything. Must hold: what a command is given beside its declared variables is the caller's
//! environment, `LC_ALL`, and names of flow's own; nothing of it depends on who calls.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::attempt::{Cause, Launch, Log};
use crate::graph::inputs::Named;
use crate::graph::late::render;
use crate::graph::{Command, Graph};
use crate::name::{AttemptId, RelPath, TaskId};
use crate::pipeline::scope::{Volatile, Volatiles};
use crate::pipeline::shell::{self, ShellKind};
use crate::value::write_json_text;

/// The locale of every command unless its `env` says otherwise, so that `sort` and `join` mean the
/// same from cron and from a desktop.
pub const LOCALE: &str = if cfg!(target_os = "linux") { "C.UTF-8" } else { "C" };

/// What all commands of a run have in common.
pub struct Common {
    environment: Arc<Vec<(Vec<u8>, Vec<u8>)>>,
}

/// What one attempt is given.
pub struct Place {
    /// Its log, an absolute path.
    pub log: PathBuf,
    /// Its scratch folder, an absolute path.
    pub scratch: PathBuf,
    /// The file with its settings, an absolute path, if it has any under `params`.
    pub config: Option<PathBuf>,
    /// The value of `FLOW_ATTEMPT`.
    pub mark: String,
    /// Slots it has.
    pub slots: u32,
}

impl Common {
    /// From the caller's environment.
    pub fn new(caller: impl Iterator<Item = (OsString, OsString)>) -> Common {
        let ours = |name: &[u8]| matches!(name, b"LC_ALL" | b"FLOW_ATTEMPT" | b"FLOW_CONFIG" | b"FLOW_TASK" | b"TMPDIR");
        let caller = caller.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        let mut environment: Vec<(Vec<u8>, Vec<u8>)> = caller.filter(|(name, _)| !ours(name)).collect();
        environment.push((b"LC_ALL".to_vec(), LOCALE.as_bytes().to_vec()));
        Common { environment: Arc::new(environment) }
    }

    /// Everything an executor needs to run an attempt of a task. `inputs`: where they are known only
    /// now. An error is worded for people.
    pub fn launch(
        &self,
        graph: &Graph,
        id: TaskId,
        attempt: AttemptId,
        inputs: Option<Vec<Named>>,
        place: Place,
    ) -> Result<Launch, String> {
        let task = graph.task(id);
        let stage = graph.stage_of(id);
        let volatiles = Volatiles {
            attempt: attempt.n,
            cpus: place.slots,
            memory: stage.wants.memory,
            tmp: place.scratch.to_string_lossy().into_owned(),
            run: attempt.run.number.to_string(),
        };
        let rendered = render(graph, id, inputs, Volatile::Are(&volatiles))?;
        let (argv, stdin, stdout) = match rendered.command {
            Command::Argv(words) => (words, None, None),
            Command::Shell(text) => {
                let direct = (shell::kind(&stage.shell) == ShellKind::Posix).then(|| shell::direct(&text)).flatten();
                match direct {
                    Some(direct) => {
                        let path =
                            |word: Option<String>| word.map(|word| task.dir.join(&word)).transpose().map_err(|fault| fault.to_string());
                        (direct.argv, path(direct.stdin)?, path(direct.stdout)?)
                    }
                    None => {
                        let mut argv = stage.shell.clone();
                        argv.push(text);
                        (argv, None, None)
                    }
                }
            }
        };
        let mut env: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(rendered.env.len() + 3);
        let mut own = |name: &str, value: &[u8]| env.push((name.as_bytes().to_vec(), value.to_vec()));
        own("TMPDIR", place.scratch.as_os_str().as_bytes());
        own("FLOW_ATTEMPT", place.mark.as_bytes());
        if let Some(config) = &place.config {
            own("FLOW_CONFIG", config.as_os_str().as_bytes());
        }
        for (name, value) in rendered.env {
            if let Some(value) = value {
                env.push((name.into_bytes(), value.into_bytes()));
            }
        }
        Ok(Launch {
            id: attempt,
            argv: argv.into_iter().map(String::into_bytes).collect(),
            common: Arc::clone(&self.environment),
            env,
            dir: task.dir.clone(),
            stdin,
            stdout,
            log: Log::File(place.log),
            wants: stage.wants.clone(),
            timeout: stage.timeout,
            grace: stage.grace,
        })
    }
}

/// A cause with what is known of it here: flow's own choice of a shell is not there.
pub fn explained(graph: &Graph, id: TaskId, cause: Cause) -> Cause {
    let stage = graph.stage_of(id);
    match (&cause, stage.shell.first(), &graph.task(id).command) {
        (Cause::NotStarted(words), Some(shell), Command::Shell(text))
            if stage.default_shell && *words == format!("command not found: {shell}") && shell::direct(text.as_str()).is_none() =>
        {
            Cause::NotStarted(format!("{words} (without it, say `shell: sh -eu -c` in the stage or in `defaults`)"))
        }
        _ => cause,
    }
}

/// What `$FLOW_CONFIG` holds: exactly a stage's `params`, nested as in the file. `None`: it has none.
pub fn params(graph: &Graph, id: TaskId) -> Option<String> {
    let stage = graph.stage_of(id);
    if stage.params.is_empty() {
        return None;
    }
    let mut tree = Tree::default();
    for name in &stage.params {
        if let Some(value) = graph.config.at_path(name) {
            tree.put(name, value.canonical());
        }
    }
    let mut out = String::new();
    tree.write(&mut out);
    out.push('\n');
    Some(out)
}

/// Settings nested by the parts of their names.
#[derive(Default)]
struct Tree {
    entries: Vec<(String, Tree)>,
    leaf: Option<String>,
}

impl Tree {
    fn put(&mut self, name: &str, json: String) {
        let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
        let at = match self.entries.iter().position(|(has, _)| has == first) {
            Some(at) => at,
            None => {
                self.entries.push((first.to_string(), Tree::default()));
                self.entries.len() - 1
            }
        };
        let inner = &mut self.entries[at].1;
        match rest {
            Some(rest) if inner.leaf.is_none() => inner.put(rest, json),
            // A whole map was asked for already, and this is a part of it.
            Some(_) => {}
            None => *inner = Tree { entries: Vec::new(), leaf: Some(json) },
        }
    }

    fn write(&self, out: &mut String) {
        if let Some(leaf) = &self.leaf {
            out.push_str(leaf);
            return;
        }
        out.push('{');
        for (n, (name, inner)) in self.entries.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            write_json_text(name, out);
            out.push(':');
            inner.write(out);
        }
        out.push('}');
    }
}

/// The folder a path lies in, as seen from the workspace: made before its command starts.
pub fn folder_of(path: &RelPath) -> Option<RelPath> {
    path.parent().filter(|parent| parent.as_str() != ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_nest_and_a_whole_map_holds_its_parts() {
        let mut tree = Tree::default();
        for (name, json) in [("db.host", "\"h\""), ("n", "1"), ("db.port", "2"), ("model", "{\"lr\":0.10}"), ("model.lr", "0.10")] {
            tree.put(name, json.into());
        }
        let mut out = String::new();
        tree.write(&mut out);
        assert_eq!(out, "{\"db\":{\"host\":\"h\",\"port\":2},\"n\":1,\"model\":{\"lr\":0.10}}");
    }
}
