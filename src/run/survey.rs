//! What is there now, for the one decision: disk, records, cache, answers of tool commands.
//!
//! Owns the facts that `plan` asks for; decides nothing. Must hold: a file is read only if its stamp is
//! another than when it was last read; tool commands are run only where the caller may.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::disk::{Disk, Seen, View};
use crate::graph::{Graph, Tool};
use crate::hash::{Digest, Framed};
use crate::name::{RelPath, TaskId, TaskName};
use crate::os::process::find_program;
use crate::pattern::Pattern;
use crate::plan::decide::{Facts, Last as Latest, OnDisk};
use crate::plan::gather::Now;
use crate::plan::walk::{Remembered, Survey};
use crate::record::cache::Cache;
use crate::record::known::{Known, Last};
use crate::record::manifest::{Content, Key};
use crate::record::record::{Made, Member, Record, Tree};
use crate::run::prepare::LOCALE;

/// Answers of tool commands: asked once a run, or as they were last.
#[derive(Debug, Default)]
pub struct Answers {
    /// Whether they may be run.
    pub ask: bool,
    answers: HashMap<String, Result<Digest, String>>,
    /// The run whose answers were used instead of asking.
    pub as_of: Option<u64>,
    /// Answers that were asked for and are new: to be remembered.
    pub fresh: Vec<(String, Digest)>,
}

impl Answers {
    /// Asks, or not.
    pub fn new(ask: bool) -> Answers {
        Answers { ask, ..Answers::default() }
    }
}

/// The caller's environment, as far as it counts.
#[derive(Debug)]
pub struct Surroundings {
    /// All variables.
    pub variables: Vec<(OsString, OsString)>,
}

impl Surroundings {
    /// Of this process.
    pub fn here() -> Surroundings {
        Surroundings { variables: std::env::vars_os().collect() }
    }

    /// A variable as text.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.variables.iter().find(|(has, _)| has.as_os_str() == OsStr::new(name)).map(|(_, value)| value.to_string_lossy().into_owned())
    }

    /// All variables that are text.
    pub fn texts(&self) -> Vec<(String, String)> {
        self.variables.iter().filter_map(|(name, value)| Some((name.to_str()?.to_string(), value.to_str()?.to_string()))).collect()
    }

    /// PATH.
    pub fn path(&self) -> &OsStr {
        self.variables
            .iter()
            .find(|(name, _)| name.as_bytes() == b"PATH")
            .map_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"), |(_, value)| value)
    }
}

/// The facts, for one walk or one task.
pub struct Sight<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// What is remembered.
    pub known: &'a mut Known,
    /// The workspace.
    pub disk: &'a Disk,
    /// The cache; `None`: it is off.
    pub cache: Option<&'a Cache>,
    /// The caller's environment.
    pub surroundings: &'a Surroundings,
    /// Answers of tool commands.
    pub answers: &'a mut Answers,
    /// For each task whether every fact is as it was when it was last found up to date.
    pub unchanged: &'a [bool],
}

impl Sight<'_> {
    fn content(&self, path: &RelPath, view: View) -> Result<Content, String> {
        match self.disk.see(path, view) {
            Ok(Some(seen)) => Ok(seen.tree.content()),
            Ok(None) => Ok(Content::Absent),
            Err(fault) => Err(fault.to_string()),
        }
    }
}

impl Now for Sight<'_> {
    fn input(&mut self, path: &RelPath, _from: Option<TaskId>) -> Result<Content, String> {
        self.content(path, View::Input)
    }

    fn script(&mut self, path: &RelPath, _from: Option<TaskId>) -> Result<Content, String> {
        self.content(path, View::Input)
    }

    fn program(&mut self, name: &str) -> Result<Content, String> {
        match find_program(OsStr::new(name), self.surroundings.path()) {
            Some(found) => self.content(&RelPath(found.to_string_lossy().as_ref().into()), View::Input),
            None => Ok(Content::Absent),
        }
    }

    fn answer(&mut self, command: &str, shell: &[String]) -> Result<Content, String> {
        let shell: Vec<String> = if shell.is_empty() { vec!["sh".into(), "-c".into()] } else { shell.to_vec() };
        let name = format!("{} {command}", shell.join(" "));
        if let Some(answer) = self.answers.answers.get(&name) {
            return answer.clone().map(Content::Is);
        }
        if !self.answers.ask {
            return Ok(match self.known.answer(&name) {
                Some((digest, run)) => {
                    self.answers.as_of = Some(self.answers.as_of.map_or(run, |before| before.min(run)));
                    Content::Is(digest)
                }
                None => Content::Unknown,
            });
        }
        let answer = ask(&shell, command, self.disk.path(), self.surroundings);
        if let Ok(digest) = &answer
            && self.known.answer(&name).map(|(known, _)| known) != Some(*digest)
        {
            self.answers.fresh.push((name.clone(), *digest));
        }
        self.answers.answers.insert(name, answer.clone());
        answer.map(Content::Is)
    }

    fn glob(&mut self, pattern: &str, exclude: &[String], _from: &[TaskId]) -> Result<Result<Vec<RelPath>, TaskName>, String> {
        let parse = |text: &str| Pattern::parse(text).map_err(|fault| fault.to_string());
        let exclude = exclude.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
        let found = self.disk.glob(&parse(pattern)?, &exclude).map_err(|fault| fault.to_string())?;
        Ok(Ok(found.paths))
    }

    fn variable(&mut self, name: &str) -> Option<String> {
        self.surroundings.variable(name)
    }

    fn nonce(&mut self, task: TaskId) -> Option<u64> {
        let memory = self.known.task(&self.graph.task(task).name)?;
        match memory.last {
            Last::Well => memory.good.map(|_| memory.nonce),
            // What reads a spoilt result runs on what is there.
            Last::Spoilt => self.known.read(memory.spoilt?).ok().map(|record| record.nonce),
            _ => None,
        }
    }
}

impl Facts for Sight<'_> {
    fn output(&mut self, made: &Made) -> OnDisk {
        match self.disk.see(&made.path, View::Output) {
            Ok(seen) => compare(made, seen),
            Err(_) => OnDisk::Other,
        }
    }

    fn found_as(&mut self, record: &Record) -> Result<(), RelPath> {
        for (path, content) in &record.found {
            if self.content(path, View::Input).ok().as_ref() != Some(content) {
                return Err(path.clone());
            }
        }
        Ok(())
    }

    fn with_key(&mut self, key: &Key) -> Vec<Arc<Record>> {
        let mut records: Vec<Arc<Record>> = Vec::new();
        for (_, at) in self.known.with_key(key) {
            if let Ok(record) = self.known.read(at) {
                records.push(Arc::new(record));
            }
        }
        if let Some(cache) = self.cache {
            records.extend(cache.lookup(key).parts().0.iter().map(|stored| Arc::new(stored.record.clone())));
        }
        records
    }

    fn has_blobs(&mut self, record: &Record, files: &[RelPath]) -> bool {
        self.cache.is_some_and(|cache| {
            let files = wanted(record, files);
            let trees: Vec<&Tree> = files.iter().map(|(_, tree)| tree).collect();
            cache.can_restore(record, &trees)
        })
    }
}

impl Survey for Sight<'_> {
    fn unchanged(&mut self, id: TaskId) -> bool {
        // No stamp tells whether a tool command would answer as it did.
        let asked = || self.graph.task(id).tools.iter().any(|tool| matches!(tool, Tool::Asked { .. }));
        self.unchanged.get(id.index()).copied().unwrap_or(false) && !asked()
    }

    fn remembered(&mut self, id: TaskId) -> Result<Remembered, String> {
        let name = &self.graph.task(id).name;
        let Some(memory) = self.known.task(name) else { return Ok(Remembered::default()) };
        let good = match memory.good {
            Some(at) => match self.known.record(at) {
                Ok(record) => Some(record),
                // Damaged: as if there were none.
                Err(error) if matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) => None,
                Err(error) => return Err(format!("cannot read the record of `{name}`: {error}")),
            },
            None => None,
        };
        let last = match memory.last {
            Last::Never => Latest::Never,
            Last::Started => Latest::Interrupted,
            Last::Well => Latest::Well,
            Last::Spoilt => Latest::Spoilt,
            Last::Failed => Latest::Failed,
            Last::Aborted => Latest::Aborted,
        };
        Ok(Remembered { good, last: Some(last), spoilt: memory.spoilt_by.clone() })
    }
}

/// The files of a record that a restore of these outputs or members needs, with what they hold.
pub fn wanted(record: &Record, files: &[RelPath]) -> Vec<(RelPath, Tree)> {
    let mut list = Vec::new();
    for made in &record.outputs {
        let whole = files.is_empty() || files.contains(&made.path);
        match &made.what {
            Tree::Folder(members) => {
                for member in members {
                    let Ok(path) = made.path.join(&member.name) else { continue };
                    if (whole || files.contains(&path)) && matches!(member.what, Tree::File { .. }) {
                        list.push((path, member.what.clone()));
                    }
                }
            }
            Tree::File { .. } if whole => list.push((made.path.clone(), made.what.clone())),
            _ => {}
        }
    }
    list
}

/// What stands at an output compared with what a record says; stamps do not count.
fn compare(made: &Made, seen: Option<Seen>) -> OnDisk {
    let Some(seen) = seen else {
        return if made.what == Tree::Absent { OnDisk::As } else { OnDisk::Gone };
    };
    match (&made.what, &seen.tree) {
        (Tree::Folder(was), Tree::Folder(is)) => members(&made.path, was, is),
        (was, is) if was == is => OnDisk::As,
        _ => OnDisk::Other,
    }
}

fn members(folder: &RelPath, was: &[Member], is: &[Member]) -> OnDisk {
    let (mut gone, mut other) = (Vec::new(), Vec::new());
    let mut now = is.iter().peekable();
    let path = |name: &str| folder.join(name).unwrap_or_else(|_| folder.clone());
    for member in was {
        while let Some(added) = now.next_if(|added| added.name < member.name) {
            other.push(path(&added.name));
        }
        match now.next_if(|same| same.name == member.name) {
            Some(same) if alike(&same.what, &member.what) => {}
            Some(_) => other.push(path(&member.name)),
            None => gone.push(path(&member.name)),
        }
    }
    other.extend(now.map(|added| path(&added.name)));
    if gone.is_empty() && other.is_empty() { OnDisk::As } else { OnDisk::Members { gone, other } }
}

fn alike(a: &Tree, b: &Tree) -> bool {
    matches!((a, b), (Tree::Folder(_), Tree::Folder(_))) || a == b
}

/// Runs a tool command in the workspace and digests what it prints on both streams.
fn ask(shell: &[String], command: &str, workspace: &Path, surroundings: &Surroundings) -> Result<Digest, String> {
    let Some((program, flags)) = shell.split_first() else { return Err("no shell".into()) };
    let output = Command::new(program)
        .args(flags)
        .arg(command)
        .current_dir(workspace)
        .env_clear()
        .envs(surroundings.variables.iter().map(|(name, value)| (name, value)))
        .env("LC_ALL", LOCALE)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("tool command `{command}` cannot be started: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        return Err(format!("tool command `{command}` failed with {}{}{last}", output.status, if last.is_empty() { "" } else { ": " }));
    }
    Ok(Framed::new(b'A').bytes(&output.stdout).bytes(&output.stderr).digest())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Stamp;

    fn member(name: &str, text: &str) -> Member {
        Member {
            name: name.into(),
            what: Tree::File { digest: Digest::of(text.as_bytes()), executable: false, bytes: 1 },
            stamp: Stamp::default(),
        }
    }

    #[test]
    fn folders_are_compared_member_by_member() {
        let folder = RelPath::normal("d").unwrap();
        let was = [member("a", "1"), member("b", "2"), member("c", "3")];
        assert_eq!(members(&folder, &was, &was), OnDisk::As);
        let is = [member("aa", "9"), member("b", "x"), member("c", "3"), member("d", "4")];
        let path = |text: &str| RelPath::normal(text).unwrap();
        assert_eq!(
            members(&folder, &was, &is),
            OnDisk::Members { gone: vec![path("d/a")], other: vec![path("d/aa"), path("d/b"), path("d/d")] }
        );
    }
}
