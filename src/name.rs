//! The words everyone shares: names of tasks, paths, runs and attempts.
//!
//! Owns how a path of a pipeline is normalised and how a task is named on disk. Never touches the
//! file system. Must hold: two spellings of one path are one [`RelPath`]; ids ([`TaskId`],
//! [`StageId`]) live in one process only, disk and people see [`TaskName`].

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A task within one process: an index into the graph. Never on disk, never reused in a run.
/// Gates (see `graph`) have ids of the same kind, above those of the tasks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct TaskId(pub u32);

impl TaskId {
    /// The id as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A stage within one process: its place in the file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct StageId(pub u32);

impl StageId {
    /// The id as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The name of a task, `clean@customer=acme`: what disk and people see.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct TaskName(pub Arc<str>);

/// Longest name of a folder made from a task's name, in bytes.
const FOLDER_BYTES: usize = 200;

impl TaskName {
    /// The name of the task of `stage` for these axes (name and item key), odd characters as %XX.
    pub fn new(stage: &str, axes: &[(String, String)]) -> TaskName {
        let mut name = String::from(stage);
        for (axis, key) in axes {
            name.push('@');
            name.push_str(axis);
            name.push('=');
            escape_key(key, &mut name);
        }
        TaskName(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The stage's part of the name.
    pub fn stage(&self) -> &str {
        self.0.split('@').next().unwrap_or_default()
    }

    /// The name as one folder name: `/` is %2F, and over 200 bytes the tail becomes a digest.
    pub fn folder(&self) -> String {
        folder_name(&self.0)
    }
}

/// Any text as one folder name: `/` is %2F, and over 200 bytes the tail becomes a digest.
pub fn folder_name(text: &str) -> String {
    let flat = text.replace('/', "%2F");
    if flat.len() <= FOLDER_BYTES {
        return flat;
    }
    let digest = blake3::hash(flat.as_bytes()).to_hex();
    let mut end = FOLDER_BYTES - 33;
    while !flat.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{}", &flat[..end], &digest.as_str()[..32])
}

/// Writes an item's key so that the task's name needs no quotes in any shell.
fn escape_key(key: &str, name: &mut String) {
    for c in key.chars() {
        let plain = c.is_ascii_alphanumeric() || "._/+:-".contains(c) || (!c.is_ascii() && c.is_alphanumeric());
        if plain {
            name.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                name.push_str(&format!("%{byte:02X}"));
            }
        }
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for TaskName {
    fn from(text: &str) -> TaskName {
        TaskName(text.into())
    }
}

/// A path as the pipeline means it: normalised, `/` between the parts, relative to the workspace;
/// what lies outside stays as it was written (`../x`, `/data/x`). No trailing `/`; the workspace
/// itself is `.`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct RelPath(pub Arc<str>);

/// Why a text is not a path.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathFault {
    /// Nothing at all.
    #[error("an empty path")]
    Empty,
    /// The byte 0 ends a path for every system call.
    #[error("a path with a NUL character")]
    Nul,
}

impl RelPath {
    /// The normal form of a path: `./x`, `q/../x` and `q//x` are all `x`. By text alone, links are
    /// not followed.
    pub fn normal(text: &str) -> Result<RelPath, PathFault> {
        if text.is_empty() {
            return Err(PathFault::Empty);
        }
        if text.contains('\0') {
            return Err(PathFault::Nul);
        }
        if is_normal(text) {
            return Ok(RelPath(text.into()));
        }
        let absolute = text.starts_with('/');
        let mut parts: Vec<&str> = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => match parts.last() {
                    Some(&last) if last != ".." => {
                        parts.pop();
                    }
                    _ if absolute => {}
                    _ => parts.push(".."),
                },
                _ => parts.push(part),
            }
        }
        let joined = parts.join("/");
        Ok(RelPath(match (absolute, joined.is_empty()) {
            (true, _) => format!("/{joined}").into(),
            (false, true) => ".".into(),
            (false, false) => joined.into(),
        }))
    }

    /// The workspace itself.
    pub fn workspace() -> RelPath {
        RelPath(".".into())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it lies outside the workspace, by its text.
    pub fn is_outside(&self) -> bool {
        self.0.starts_with('/') || &*self.0 == ".." || self.0.starts_with("../")
    }

    /// `text` below this folder, normalised; an absolute `text` replaces it.
    pub fn join(&self, text: &str) -> Result<RelPath, PathFault> {
        if text.is_empty() {
            return Err(PathFault::Empty);
        }
        if text.starts_with('/') || &*self.0 == "." {
            return RelPath::normal(text);
        }
        RelPath::normal(&format!("{}/{text}", self.0))
    }

    /// The folder it lies in; `None` for the workspace and for `/`.
    pub fn parent(&self) -> Option<RelPath> {
        match self.0.rfind('/') {
            Some(0) if self.0.len() > 1 => Some(RelPath("/".into())),
            Some(0) => None,
            Some(at) => Some(RelPath(self.0[..at].into())),
            None if &*self.0 == "." => None,
            None => Some(RelPath::workspace()),
        }
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// What is left of this path below `folder`, if it lies below it.
    pub fn below<'a>(&'a self, folder: &RelPath) -> Option<&'a str> {
        if &*folder.0 == "." {
            return (!self.is_outside() && &*self.0 != ".").then_some(&*self.0);
        }
        self.0.strip_prefix(&*folder.0)?.strip_prefix('/')
    }

    /// This path as seen from the folder `dir` (both as in the workspace).
    pub fn seen_from(&self, dir: &RelPath) -> String {
        if &*dir.0 == "." || self.0.starts_with('/') {
            return self.0.to_string();
        }
        if dir.0.starts_with('/') || dir.0.starts_with("..") {
            return self.0.to_string();
        }
        let here: Vec<&str> = dir.0.split('/').collect();
        let there: Vec<&str> = if &*self.0 == "." { Vec::new() } else { self.0.split('/').collect() };
        let common = here.iter().zip(&there).take_while(|(a, b)| a == b).count();
        let mut parts: Vec<&str> = vec![".."; here.len() - common];
        parts.extend(&there[common..]);
        if parts.is_empty() { ".".into() } else { parts.join("/") }
    }
}

/// Whether `text` is its own normal form, found without building anything.
fn is_normal(text: &str) -> bool {
    !text.starts_with('/') && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One invocation of `flow run`: its number in this pipeline, and a nonce that tells two runs of
/// one number apart (a copied or deleted `.flow/`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RunId {
    /// Counts from 1.
    pub number: u64,
    /// Random.
    pub nonce: u64,
}

/// One execution of a task inside a run; by name, since an open attempt may be of a task that is gone.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct AttemptId {
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskName,
    /// Counts from 1.
    pub n: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_has_one_form() {
        for text in ["x", "./x", "q/../x", ".//x", "x/", "a/b/../../x", "x/."] {
            assert_eq!(RelPath::normal(text).unwrap().as_str(), "x", "{text}");
        }
        for (text, want) in
            [(".", "."), ("a/..", "."), ("..", ".."), ("../x", "../x"), ("a/../../x", "../x"), ("/a//b/../c", "/a/c"), ("/..", "/")]
        {
            assert_eq!(RelPath::normal(text).unwrap().as_str(), want, "{text}");
        }
        assert_eq!(RelPath::normal(""), Err(PathFault::Empty));
        assert_eq!(RelPath::normal("a\0b"), Err(PathFault::Nul));
    }

    #[test]
    fn seen_from_another_folder() {
        let see = |path: &str, dir: &str| RelPath::normal(path).unwrap().seen_from(&RelPath::normal(dir).unwrap());
        assert_eq!(see("a/b", "."), "a/b");
        assert_eq!(see("a/b", "a"), "b");
        assert_eq!(see("a/b", "c/d"), "../../a/b");
        assert_eq!(see("a", "a"), ".");
        assert_eq!(see("/x", "a"), "/x");
    }

    #[test]
    fn names_need_no_shell_quotes() {
        let name = TaskName::new("clean", &[("c".into(), "a b'é/x".into())]);
        assert_eq!(name.as_str(), "clean@c=a%20b%27é/x");
        assert_eq!(name.stage(), "clean");
        assert_eq!(name.folder(), "clean@c=a%20b%27é%2Fx");
        let long = TaskName::new("s", &[("a".into(), "é".repeat(300))]);
        assert!(long.folder().len() <= 200);
        assert_ne!(long.folder(), TaskName::new("s", &[("a".into(), "é".repeat(301))]).folder());
    }
}
