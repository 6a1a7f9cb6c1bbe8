//! Globs that were answered when the graph was made: what they found that no task makes.
//!
//! Owns the digest of such an answer, so that a run can tell later whether a glob would find something
//! else. Pure. Must hold: files that tasks make do not count, so that a run that makes them does not
//! look like a change.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::hash::{Digest, Framed};
use crate::name::{RelPath, TaskId};

/// A glob and what it found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Glob {
    /// The pattern, without what `exclude` took away.
    pub pattern: String,
    /// The digest of the paths that it found and no task makes.
    pub found: Digest,
}

/// Globs as they are asked, one for each pattern.
#[derive(Default)]
pub struct Globs {
    at: HashMap<String, usize>,
    list: Vec<Glob>,
    users: Vec<(TaskId, u32)>,
}

impl Globs {
    /// A task's glob was answered; `undeclared` is asked once a pattern.
    pub fn answered<'a, I: Iterator<Item = &'a RelPath>>(&mut self, task: TaskId, pattern: &str, undeclared: impl FnOnce() -> I) {
        let at = self.at.get(pattern).copied().unwrap_or_else(|| {
            let at = self.list.len();
            self.at.insert(pattern.to_string(), at);
            self.list.push(Glob { pattern: pattern.to_string(), found: digest(undeclared()) });
            at
        });
        self.users.push((task, at as u32));
    }

    /// All of them; and for each task that has any their indices, sorted.
    pub fn end(mut self) -> (Vec<Glob>, Vec<(TaskId, u32)>) {
        self.users.sort_unstable();
        self.users.dedup();
        (self.list, self.users)
    }
}

fn digest<'a>(paths: impl Iterator<Item = &'a RelPath>) -> Digest {
    let mut hash = Framed::new(b'G');
    for path in paths {
        hash.add(path.as_str().as_bytes());
    }
    hash.digest()
}

/// What the tasks of a graph make: for comparing globs later.
pub struct Declared(HashSet<RelPath>);

impl Declared {
    /// Of this graph.
    pub fn of(graph: &Graph) -> Declared {
        Declared(graph.tasks.iter().flat_map(|task| task.outputs.iter().map(|output| output.path.clone())).collect())
    }

    /// Whether a task makes it, or a folder around it.
    pub fn has(&self, path: &RelPath) -> bool {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            if self.0.contains(&path) {
                return true;
            }
            at = path.parent();
        }
        false
    }

    /// Whether a glob that finds these paths now finds what it found.
    pub fn same(&self, glob: &Glob, now: &[RelPath]) -> bool {
        digest(now.iter().filter(|path| !self.has(path))) == glob.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tasks_make_does_not_count() {
        let path = |text: &str| RelPath::normal(text).unwrap();
        let declared = Declared(HashSet::from([path("a/made.txt"), path("b")]));
        let mut globs = Globs::default();
        let found = [path("a/1.txt")];
        globs.answered(TaskId(0), "a/*", || found.iter());
        globs.answered(TaskId(4), "a/*", std::iter::empty);
        let (list, users) = globs.end();
        let [glob] = list.try_into().unwrap();
        assert_eq!(users, [(TaskId(0), 0), (TaskId(4), 0)]);
        assert!(declared.same(&glob, &found));
        assert!(declared.same(&glob, &[path("a/1.txt"), path("a/made.txt"), path("b/deep/x")]));
        assert!(!declared.same(&glob, &[path("a/1.txt"), path("a/2.txt")]));
        assert!(!declared.same(&glob, &[]));
    }
}
