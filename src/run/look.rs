//! What the compile step asks of the machine, answered and remembered.
//!
//! Owns the account of what a compilation rests on: as long as every path asked for stands as it did,
//! and every variable is what it was, the graph is the same. Must hold: nothing is answered without
//! being on that account.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::graph::Look;
use crate::hash::{Kind, Stamp};
use crate::name::RelPath;
use crate::os::process::find_program;
use crate::pattern::Pattern;

/// Paths (links followed) with their stamps as they were when the graph was made; `None`: nothing
/// there.
pub type Account = BTreeMap<RelPath, Option<Stamp>>;

/// What tasks left of which it is said that they are not there.
pub type Gone<'a> = dyn Fn(&dyn Fn(&str) -> bool) -> HashSet<RelPath> + 'a;

/// Answers from a disk and a PATH.
pub struct Looking<'a> {
    disk: &'a Disk,
    path: &'a OsStr,
    gone: &'a Gone<'a>,
    account: RefCell<Account>,
    kinds: RefCell<BTreeMap<RelPath, Option<Kind>>>,
}

impl<'a> Looking<'a> {
    /// Of a workspace; `gone` says what tasks that are no longer there left.
    pub fn new(disk: &'a Disk, path: &'a OsStr, gone: &'a Gone<'a>) -> Looking<'a> {
        Looking { disk, path, gone, account: RefCell::default(), kinds: RefCell::default() }
    }

    /// Everything that was asked.
    pub fn account(self) -> Account {
        self.account.into_inner()
    }
}

impl Look for Looking<'_> {
    fn kind(&self, path: &RelPath) -> Option<Kind> {
        if let Some(known) = self.kinds.borrow().get(path) {
            return *known;
        }
        let stamp = self.disk.stamp(path, true).ok().flatten();
        let kind = stamp.map(|stamp| stamp.kind());
        self.kinds.borrow_mut().insert(path.clone(), kind);
        self.account.borrow_mut().insert(path.clone(), stamp);
        kind
    }

    fn glob(&self, pattern: &Pattern) -> Result<Vec<RelPath>, String> {
        let found = self.disk.glob(pattern, &[]).map_err(|fault| fault.to_string())?;
        self.account.borrow_mut().extend(found.walked);
        Ok(found.paths)
    }

    fn program(&self, name: &str) -> Option<String> {
        let found = find_program(OsStr::new(name), self.path);
        for candidate in candidates(name, self.path, found.as_deref()) {
            let stamp = self.disk.stamp(&candidate, true).ok().flatten();
            self.account.borrow_mut().insert(candidate, stamp);
        }
        found.map(|found| found.to_string_lossy().into_owned())
    }

    fn left_by_gone(&self, is_there: &dyn Fn(&str) -> bool) -> HashSet<RelPath> {
        (self.gone)(is_there)
    }
}

/// Where a program of PATH is looked for, up to where it is.
pub fn candidates(name: &str, path: &OsStr, found: Option<&Path>) -> Vec<RelPath> {
    let mut list = Vec::new();
    let mut seen = BTreeSet::new();
    for folder in path.as_bytes().split(|byte| *byte == b':') {
        let candidate = PathBuf::from(OsStr::from_bytes(folder)).join(name);
        let Some(text) = candidate.to_str() else { continue };
        if !candidate.is_absolute() || !seen.insert(text.to_string()) {
            continue;
        }
        list.push(RelPath(text.into()));
        if Some(candidate.as_path()) == found {
            break;
        }
    }
    list
}
