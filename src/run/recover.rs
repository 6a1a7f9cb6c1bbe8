//! Recovery: the first step of every writer.
//!
//! Owns what happens to outputs of attempts that flow did not see end. Asks no executor (the driver
//! does, first) and stops nothing. Must hold: content decides, never a time; the state only says
//! that something was open; every step is one rename, so that killed anywhere, doing it again gives
//! the same; nothing is removed but what a later record has replaced.

use std::collections::BTreeMap;
use std::io;

use crate::hash::Kind;
use crate::name::{AttemptId, TaskName};
use crate::record::record::{Made, Tree};
use crate::run::bracket::{Fault, Kept, Output, fault, make_way};
use crate::run::compare::{Standing, compare, folder_of, made_at};
use crate::run::ground::{FailedAt, Ground, Moved, Side, To};

/// A task whose outputs may not be in order.
#[derive(Clone, Debug)]
pub struct Unsettled<'a> {
    /// The task.
    pub task: TaskName,
    /// The attempt, if its last frame is STARTED (and its executor says it is gone) or if it is known.
    pub attempt: Option<AttemptId>,
    /// Whether its last frame is STARTED: then what stands at its outputs may be its.
    pub open: bool,
    /// Its last frame is a DONE or SPOILT of this boot: then its bracket was closed, flow died before
    /// it dropped what was aside, and what stands at the outputs since is none of recovery's.
    pub closed: bool,
    /// The outputs of the attempt; of a task that is not open those of its last record.
    pub outputs: Vec<Output>,
    /// What the last DONE or SPOILT says; `None`: there is none. Stamps that are not believed are
    /// [`crate::hash::Stamp::default`].
    pub last: Option<&'a [Made]>,
    /// What the open attempt was bringing back from the cache, if that is known: what already is as
    /// it says may stay.
    pub restoring: Option<&'a [Made]>,
}

/// What recovery did for a task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The task; `None`: nobody knows whose it was.
    pub task: Option<TaskName>,
    /// Whether its attempt was open.
    pub open: bool,
    /// What the attempt left (or somebody since), and where it is now.
    pub wrote: Vec<Kept>,
    /// The paths of what came back; their stamps are no longer those of the record.
    pub back: Vec<String>,
    /// The last record's outputs stand, or stood when it was written: what was aside was dropped.
    pub dropped: bool,
}

/// What recovery asks of the state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry<'a> {
    /// Sync all frames so far.
    Sync,
    /// Write ABORTED.
    Aborted(&'a AttemptId),
}

/// Puts in order what stands aside and what open attempts left. `open`: tasks whose last frame is
/// STARTED and whose attempt is gone. `owner`: the task whose last record has an output at this
/// path, asked for what stands aside only. Attempts that still run must be named in `running`:
/// their outputs are not touched.
pub fn recover<'a, G: Ground>(
    ground: &mut G,
    open: Vec<Unsettled<'a>>,
    running: &[&str],
    owner: &mut dyn FnMut(&str) -> Option<Unsettled<'a>>,
    state: &mut dyn FnMut(&mut G, Entry) -> io::Result<()>,
) -> Result<Vec<Recovered>, Fault> {
    let mut tasks = open;
    let mut of_path: BTreeMap<String, usize> = BTreeMap::new();
    for (index, task) in tasks.iter().enumerate() {
        of_path.extend(task.outputs.iter().map(|output| (output.path.as_str().to_string(), index)));
    }
    let mut orphans = Vec::new();
    let mut look = ground.tops().map_err(fault("look into", "aside"))?;
    let mut seen = Vec::new();
    while let Some(path) = look.pop() {
        if running.contains(&path.as_str()) || of_path.contains_key(&path) {
            continue;
        }
        if let Some(task) = owner(&path) {
            of_path.extend(task.outputs.iter().map(|output| (output.path.as_str().to_string(), tasks.len())));
            tasks.push(task);
            continue;
        }
        match ground.stat(Side::Aside, &path).map_err(fault("look at", &path))?.map(|stamp| stamp.kind()) {
            None => {}
            Some(Kind::Folder) => {
                let names = ground.names(Side::Aside, &path).map_err(fault("look into", &path))?.unwrap_or_default();
                look.extend(names.into_iter().map(|name| format!("{path}/{name}")));
                seen.push(path);
            }
            Some(_) => orphans.push(path),
        }
    }
    let mut all = Vec::new();
    for task in &tasks {
        let did = one(ground, task, state)?;
        if task.open
            && let Some(attempt) = &task.attempt
        {
            state(ground, Entry::Aborted(attempt)).map_err(Fault::State)?;
        }
        all.push(did);
    }
    for path in orphans {
        ground.stat(Side::Out, &path).map_err(fault("look at", &path))?;
        let wrote = make_way(ground, &path, To::Kept("recovered"))?;
        ground.shift(&path, To::Out).map_err(fault("bring back", &path))?;
        all.push(Recovered { task: None, open: false, wrote: wrote.into_iter().collect(), back: vec![path], dropped: false });
    }
    for folder in seen.iter().rev().map(String::as_str).chain(["."]) {
        ground.prune(folder).map_err(fault("clear aside", folder))?;
    }
    Ok(all)
}

/// One task as a whole.
fn one<'a, G: Ground>(
    ground: &mut G,
    task: &Unsettled<'a>,
    state: &mut dyn FnMut(&mut G, Entry) -> io::Result<()>,
) -> Result<Recovered, Fault> {
    let mut did = Recovered { task: Some(task.task.clone()), open: task.open, wrote: Vec::new(), back: Vec::new(), dropped: false };
    let mut stand = task.last.is_some() && !task.closed;
    let mut aside = Vec::new();
    for output in task.outputs.iter().filter(|output| !output.persist) {
        let path = output.path.as_str();
        let last = task.last.and_then(|last| made_at(last, path));
        stand = stand
            && match compare(ground, path, last.as_slice(), None)? {
                Standing::Same(_) => true,
                Standing::Nothing => last.is_none_or(|last| last.what == Tree::Absent),
                Standing::Folder { .. } | Standing::Other => false,
            };
        if ground.stat(Side::Aside, path).map_err(fault("look at", path))?.is_some() {
            aside.push(path);
        }
    }
    if stand || task.closed {
        if !aside.is_empty() {
            state(ground, Entry::Sync).map_err(Fault::State)?;
            for path in aside {
                ground.retire(path, None).map_err(fault("drop the old", path))?;
                let folder = folder_of(path).unwrap_or(".");
                ground.prune(folder).map_err(fault("clear aside", folder))?;
            }
            did.dropped = true;
        }
        return Ok(did);
    }
    let failed = FailedAt::interrupted(&task.task, task.attempt.as_ref());
    for output in task.outputs.iter().filter(|output| !output.persist) {
        let path = output.path.as_str();
        let said: Vec<&Made> = [task.last, task.restoring].into_iter().flatten().filter_map(|made| made_at(made, path)).collect();
        let mut back = PutBack { ground, said: &said, failed: &failed, did: &mut did };
        if aside.contains(&path) {
            back.bring(path)?;
        } else if task.open {
            back.judge(path)?;
        }
    }
    Ok(did)
}

/// One output of a task that is put back.
struct PutBack<'a, 'b, G> {
    ground: &'a mut G,
    said: &'a [&'b Made],
    failed: &'a FailedAt,
    did: &'a mut Recovered,
}

impl<G: Ground> PutBack<'_, '_, G> {
    /// What is aside goes back; what stands there goes to `failed/`. Two folders are one: of a restore
    /// some members alone are aside, and killed in here some are back.
    fn bring(&mut self, path: &str) -> Result<(), Fault> {
        let look = "look at";
        let Some(aside) = self.ground.stat(Side::Aside, path).map_err(fault(look, path))? else { return Ok(()) };
        let out = self.ground.stat(Side::Out, path).map_err(fault(look, path))?;
        if aside.kind() == Kind::Folder
            && out.is_some_and(|out| out.kind() == Kind::Folder)
            && let Some(old) = self.ground.names(Side::Aside, path).map_err(fault(look, path))?
            && let Some(new) = self.ground.names(Side::Out, path).map_err(fault(look, path))?
        {
            for name in &old {
                self.bring(&format!("{path}/{name}"))?;
            }
            for name in new.iter().filter(|name| old.binary_search(name).is_err()) {
                self.judge(&format!("{path}/{name}"))?;
            }
            return self.ground.prune(path).map_err(fault("clear aside", path));
        }
        if out.is_some() {
            self.away(path)?;
        }
        match self.ground.shift(path, To::Out).map_err(fault("bring back", path))? {
            Moved::To(_) => self.did.back.push(path.to_string()),
            Moved::Nothing => {}
            Moved::Taken => return Err(fault("bring back", path)(io::ErrorKind::AlreadyExists.into())),
        }
        let folder = folder_of(path).unwrap_or(".");
        self.ground.prune(folder).map_err(fault("clear aside", folder))
    }

    /// Nothing of it is aside: it stays if it is what a record says, else it goes to `failed/`.
    fn judge(&mut self, path: &str) -> Result<(), Fault> {
        match compare(self.ground, path, self.said, None)? {
            Standing::Nothing | Standing::Same(_) => Ok(()),
            Standing::Folder { strange, .. } => strange.iter().try_for_each(|member| self.away(member)),
            Standing::Other => self.away(path),
        }
    }

    fn away(&mut self, path: &str) -> Result<(), Fault> {
        let wrote = make_way(self.ground, path, To::Failed(self.failed))?;
        self.did.wrote.extend(wrote);
        Ok(())
    }
}
