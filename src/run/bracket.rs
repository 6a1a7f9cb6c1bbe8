//! The bracket: every change of outputs, by a command or by a restore, goes through it.
//!
//! Owns the order of its steps: what stands at the outputs makes way, the command or the copy runs,
//! the result is recorded or what stood there comes back. Never runs a command, never hashes a
//! result, never writes a frame (that is handed in). Must hold, after a kill at any instant and the
//! recovery of [`super::recover`]: the last good outputs stand, nothing is lost, nothing is left
//! aside.
//!
//! 1. What is not the last record's goes to `kept/`; then the frame STARTED; then what is the
//!    record's goes to `aside/`, and what an earlier attempt of this run left to `failed/`
//!    ([`begin`]). Hand edits leave before the frame, so that recovery never takes one for what the
//!    command wrote.
//! 2. The command, or the copy of what [`Open::bring`] lists. A retry opens the bracket again, and
//!    what was open joins it ([`Open::join`]).
//! 3. The frame DONE or SPOILT ([`done`]); once a sync covers it, what is aside is dropped
//!    ([`settle`]). Or [`fail`]: what stands there goes to `failed/`, what is aside comes back,
//!    then FAILED.
//!
//! A `persist` output stays where it is in all of this. `checkpoint` paths will be moved in
//! [`begin`], [`fail`] and recovery, before anything else of their task.

use std::io;

use crate::hash::Stamp;
use crate::name::{AttemptId, RelPath};
use crate::record::record::{Made, Tree};
use crate::run::compare::{Standing, compare, folder_of, made_at, said_at, subtree};
use crate::run::ground::{FailedAt, Ground, Moved, Side, To};

/// A declared output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// Where.
    pub path: RelPath,
    /// It belongs to the command: it is never moved.
    pub persist: bool,
}

/// One attempt, as the bracket sees it.
#[derive(Clone, Copy, Debug)]
pub struct Bracketed<'a> {
    /// Which attempt; attempts of one run count from 1.
    pub attempt: &'a AttemptId,
    /// The declared outputs.
    pub outputs: &'a [Output],
    /// What the last DONE or SPOILT says; empty if there is none. A stamp that is not believed (of
    /// another boot) is handed in as [`Stamp::default`]: then the file is read.
    pub last: &'a [Made],
    /// What will be done.
    pub work: Work<'a>,
}

/// What is done between the brackets.
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// A command makes all outputs anew.
    Command,
    /// What differs from this record's outputs is brought back from the cache. If that fails,
    /// [`fail`] must close the bracket before a command's is opened.
    Restore(&'a [Made]),
}

/// What is open between [`begin`] and [`done`] or [`fail`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Open {
    /// What was set aside.
    pub aside: Vec<Away>,
    /// What was not flow's and made way: to be reported.
    pub kept: Vec<Kept>,
    /// Of a restore: what to bring back, in this order; folders stand before their members.
    pub bring: Vec<Bring>,
}

impl Open {
    /// Takes over what an earlier attempt of this run left open: what it set aside still is, and
    /// what it kept is still to be reported.
    pub fn join(&mut self, earlier: Option<Open>) {
        let Some(earlier) = earlier else { return };
        self.aside.splice(0..0, earlier.aside);
        self.kept.splice(0..0, earlier.kept);
    }
}

/// Something set aside.
#[derive(Clone, PartialEq, Debug)]
pub struct Away {
    /// Its output path.
    pub path: String,
    /// What it is.
    pub what: Tree,
    /// Its stamp there, if its content is sure to be `what`.
    pub stamp: Option<Stamp>,
}

/// Something that made way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The path it stood at.
    pub path: String,
    /// Where it is now, for people.
    pub place: String,
}

/// Something a restore must bring back.
#[derive(Clone, PartialEq, Debug)]
pub struct Bring {
    /// Where to.
    pub path: String,
    /// A file, a link, or a folder without its members.
    pub what: Tree,
}

/// An output that came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Back {
    /// Its path (of a restored folder's member, that).
    pub path: String,
    /// Its stamp now, if the record's digest holds for it; `None`: it must be read again. Members of
    /// a folder that was moved as a whole keep their stamps.
    pub stamp: Option<Stamp>,
}

/// What a failure left.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Failed {
    /// What the attempt wrote, and where that is now, for people.
    pub wrote: Vec<Kept>,
    /// What came back.
    pub back: Vec<Back>,
}

/// A bracket that is closed well, but for what [`settle`] drops.
#[derive(Clone, PartialEq, Debug)]
pub struct Closed {
    attempt: AttemptId,
    aside: Vec<Away>,
    kept: Vec<(Kept, Tree)>,
    failed: bool,
}

impl Closed {
    /// Whether nothing is left to drop.
    pub fn is_empty(&self) -> bool {
        self.aside.is_empty() && self.kept.is_empty() && !self.failed
    }
}

/// Why the bracket could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A look or a move failed.
    #[error("cannot {doing} `{path}`: {source}")]
    Io {
        /// The step, as a verb.
        doing: &'static str,
        /// The output.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// An output cannot be moved at all.
    #[error("`{0}` is a mount point and cannot be moved: declare the output with `persist: true`, or name a folder in it")]
    Mount(String),
    /// The frame could not be written or synced.
    #[error("cannot write the state: {0}")]
    State(io::Error),
}

/// Words an error of a step on a path.
pub(super) fn fault(doing: &'static str, path: &str) -> impl FnOnce(io::Error) -> Fault {
    move |source| {
        if crate::os::beneath::is_busy(&source) {
            return Fault::Mount(path.to_string());
        }
        Fault::Io { doing, path: path.to_string(), source }
    }
}

/// Opens the bracket; `started` writes the frame STARTED (and syncs it where no file can tell later
/// that something was begun: no outputs, `persist`). After a fault what this call had set aside is
/// back; what an earlier attempt of this run holds open is still to be closed by [`fail`].
pub fn begin<G: Ground>(ground: &mut G, task: &Bracketed, started: impl FnOnce(&mut G) -> io::Result<()>) -> Result<Open, Fault> {
    let mut way = Way::default();
    for output in task.outputs.iter().filter(|output| !output.persist) {
        match task.work {
            Work::Command => way.whole(ground, task, output.path.as_str())?,
            Work::Restore(wanted) => {
                if let Some(wanted) = wanted.iter().find(|made| made.path == output.path) {
                    way.restored(ground, wanted, made_at(task.last, output.path.as_str()))?;
                }
            }
        }
    }
    let mut open = Open { bring: way.bring, ..Open::default() };
    for path in way.kept {
        if let Some(kept) = make_way(ground, &path, To::Kept("changed"))? {
            open.kept.push(kept);
        }
    }
    started(ground).map_err(Fault::State)?;
    let paths: Vec<String> = way.aside.iter().map(|(path, ..)| path.clone()).collect();
    match clear(ground, task, &way.failed, way.aside, &mut open.aside) {
        Ok(()) => Ok(open),
        Err(fault) => {
            // What cannot be put back now recovery puts back; the first fault says more.
            for away in open.aside.iter().rev() {
                let _ = ground.shift(&away.path, To::Out);
            }
            // Their folders may have been made for nothing.
            for path in &paths {
                let _ = ground.prune(folder_of(path).unwrap_or("."));
            }
            Err(fault)
        }
    }
}

/// The moves of [`begin`] after its frame.
fn clear<G: Ground>(
    ground: &mut G,
    task: &Bracketed,
    failed: &[String],
    old: Vec<(String, Tree, Stamp)>,
    aside: &mut Vec<Away>,
) -> Result<(), Fault> {
    let label = format!("{}.{}", task.attempt.run.number, task.attempt.n.saturating_sub(1).max(1));
    let earlier = FailedAt { label, ..FailedAt::ended(task.attempt) };
    for path in failed {
        make_way(ground, path, To::Failed(&earlier))?;
    }
    for (path, what, now) in old {
        match ground.shift(&path, To::Aside).map_err(fault("set aside", &path))? {
            Moved::Nothing => continue,
            Moved::Taken => {
                make_way(ground, &path, To::Failed(&earlier))?;
                continue;
            }
            Moved::To(_) => {}
        }
        aside.push(Away { path, what, stamp: None });
        if let Some(away) = aside.last_mut() {
            let there = ground.stat(Side::Aside, &away.path).map_err(fault("look at", &away.path))?;
            away.stamp = there.filter(|there| there.same_but_ctime(&now));
        }
    }
    for output in task.outputs {
        ground.parents(output.path.as_str()).map_err(fault("make the folder of", output.path.as_str()))?;
    }
    Ok(())
}

/// Closes the bracket well: `frame` writes DONE or SPOILT with the whole record, whose outputs are
/// `made`. What it returns goes to [`settle`] once a sync covers that frame.
pub fn done<G: Ground>(
    ground: &mut G,
    attempt: &AttemptId,
    open: Open,
    made: &[Made],
    frame: impl FnOnce(&mut G) -> io::Result<()>,
) -> Result<Closed, Fault> {
    frame(ground).map_err(Fault::State)?;
    let failed = ground.has_failed(&attempt.task).map_err(fault("look at the failed attempts of", attempt.task.as_str()))?;
    let kept = open.kept.into_iter().filter_map(|kept| {
        let (what, _) = made.iter().find_map(|made| said_at(made, &kept.path))?;
        let what = matches!(what, Tree::File { .. }).then(|| what.clone())?;
        Some((kept, what))
    });
    Ok(Closed { attempt: attempt.clone(), aside: open.aside, kept: kept.collect(), failed })
}

/// Drops what the closed brackets set aside, kept twice, or failed with before. Only after a sync
/// covers their frames. Returns the places of what was kept and is dropped, being the same bytes.
pub fn settle<G: Ground>(ground: &mut G, closed: Vec<Closed>) -> Result<Vec<String>, Fault> {
    let mut folders: Vec<String> = Vec::new();
    let mut dropped = Vec::new();
    for closed in closed {
        for away in closed.aside {
            let known = away.stamp.is_some() || matches!(away.what, Tree::Folder(_));
            ground.retire(&away.path, known.then_some(&away.what)).map_err(fault("drop the old", &away.path))?;
            folders.push(folder_of(&away.path).unwrap_or(".").to_string());
        }
        for (kept, what) in closed.kept {
            if ground.unkeep(&kept.place, &what).map_err(fault("drop", &kept.place))? {
                dropped.push(kept.place);
            }
        }
        if closed.failed {
            let task = &closed.attempt.task;
            ground.clear_failed(task, None).map_err(fault("remove the failed attempts of", task.as_str()))?;
        }
    }
    folders.sort_unstable();
    folders.dedup();
    for folder in folders.iter().rev() {
        ground.prune(folder).map_err(fault("clear aside", folder))?;
    }
    Ok(dropped)
}

/// Closes the bracket after the last failed attempt, or after a restore that failed: what stands at
/// the outputs goes to `failed/`, what was set aside comes back, `frame` writes FAILED.
pub fn fail<G: Ground>(
    ground: &mut G,
    task: &Bracketed,
    open: Open,
    frame: impl FnOnce(&mut G) -> io::Result<()>,
) -> Result<Failed, Fault> {
    let here = FailedAt::ended(task.attempt);
    let mut failed = Failed::default();
    match task.work {
        Work::Command => {
            for output in task.outputs.iter().filter(|output| !output.persist) {
                failed.wrote.extend(make_way(ground, output.path.as_str(), To::Failed(&here))?);
            }
        }
        Work::Restore(_) => {
            let mut top: Option<&str> = None;
            for bring in &open.bring {
                if top.is_some_and(|top| bring.path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))) {
                    continue;
                }
                top = Some(&bring.path);
                failed.wrote.extend(make_way(ground, &bring.path, To::Failed(&here))?);
            }
        }
    }
    for away in open.aside {
        let before = ground.stat(Side::Aside, &away.path).map_err(fault("look at", &away.path))?;
        match ground.shift(&away.path, To::Out).map_err(fault("bring back", &away.path))? {
            Moved::To(_) => {}
            // Recovery brings it back.
            Moved::Nothing | Moved::Taken => continue,
        }
        let now = ground.stat(Side::Out, &away.path).map_err(fault("look at", &away.path))?;
        let known = away.stamp.is_some() && away.stamp == before;
        let stamp = now.zip(before).filter(|(now, before)| known && now.same_but_ctime(before)).map(|(now, _)| now);
        let folder = folder_of(&away.path).unwrap_or(".");
        ground.prune(folder).map_err(fault("clear aside", folder))?;
        failed.back.push(Back { path: away.path, stamp });
    }
    frame(ground).map_err(Fault::State)?;
    let task = &task.attempt.task;
    if !failed.wrote.is_empty() || ground.has_failed(task).map_err(fault("look at the failed attempts of", task.as_str()))? {
        ground.clear_failed(task, Some(&here.label)).map_err(fault("remove the failed attempts of", task.as_str()))?;
    }
    Ok(failed)
}

/// Moves something out of the way; `None`: nothing stood there.
pub(super) fn make_way<G: Ground>(ground: &mut G, path: &str, to: To) -> Result<Option<Kept>, Fault> {
    match ground.shift(path, to).map_err(fault("move away", path))? {
        Moved::To(place) => Ok(Some(Kept { path: path.to_string(), place })),
        Moved::Nothing => Ok(None),
        Moved::Taken => Err(fault("move away", path)(io::ErrorKind::AlreadyExists.into())),
    }
}

/// What must make way, and what must be brought.
#[derive(Default)]
struct Way {
    kept: Vec<String>,
    failed: Vec<String>,
    aside: Vec<(String, Tree, Stamp)>,
    bring: Vec<Bring>,
}

impl Way {
    /// For a command: all that stands at an output.
    fn whole<G: Ground>(&mut self, ground: &mut G, task: &Bracketed, path: &str) -> Result<(), Fault> {
        let again = task.attempt.n > 1;
        // Aside is taken: what stands here is an earlier attempt's.
        if again && ground.stat(Side::Aside, path).map_err(fault("look at", path))?.is_some() {
            self.failed.push(path.to_string());
            return Ok(());
        }
        let said = made_at(task.last, path);
        let strange = if again { &mut self.failed } else { &mut self.kept };
        match compare(ground, path, said.as_slice(), None)? {
            Standing::Nothing => {}
            Standing::Same(now) => self.aside.extend(said.map(|said| (path.to_string(), said.what.clone(), now))),
            Standing::Folder { now, strange: members, .. } => {
                strange.extend(members);
                self.aside.extend(said.map(|said| (path.to_string(), said.what.clone(), now)));
            }
            Standing::Other => strange.push(path.to_string()),
        }
        Ok(())
    }

    /// For a restore: what is not as wanted. Members of a folder one by one.
    fn restored<G: Ground>(&mut self, ground: &mut G, wanted: &Made, last: Option<&Made>) -> Result<(), Fault> {
        let path = wanted.path.as_str();
        match compare(ground, path, &[wanted], last)? {
            Standing::Same(_) => return Ok(()),
            Standing::Nothing => {}
            Standing::Folder { strange, .. } => {
                for member in strange {
                    self.one(ground, &member, last)?;
                }
            }
            Standing::Other => self.one(ground, path, last)?,
        }
        let Tree::Folder(members) = &wanted.what else {
            if wanted.what != Tree::Absent {
                self.bring.push(Bring { path: path.to_string(), what: wanted.what.clone() });
            }
            return Ok(());
        };
        // What makes way or is not there is brought.
        let going: std::collections::HashSet<&str> =
            self.kept.iter().chain(self.aside.iter().map(|(path, ..)| path)).map(String::as_str).collect();
        let gone = |ground: &mut G, path: &str| -> Result<bool, Fault> {
            let moves = std::iter::successors(Some(path), |path| folder_of(path)).any(|path| going.contains(path));
            Ok(moves || ground.stat(Side::Out, path).map_err(fault("look at", path))?.is_none())
        };
        let bare = |what: &Tree| if matches!(what, Tree::Folder(_)) { Tree::Folder(Vec::new()) } else { what.clone() };
        if gone(ground, path)? {
            self.bring.push(Bring { path: path.to_string(), what: bare(&wanted.what) });
        }
        for member in members {
            let at = format!("{path}/{}", member.name);
            if gone(ground, &at)? {
                self.bring.push(Bring { path: at, what: bare(&member.what) });
            }
        }
        Ok(())
    }

    /// One thing that is not as wanted: aside if it is the last record's, else kept.
    fn one<G: Ground>(&mut self, ground: &mut G, path: &str, last: Option<&Made>) -> Result<(), Fault> {
        let was = || last.and_then(|last| subtree(last, path));
        match compare(ground, path, last.as_slice(), None)? {
            Standing::Nothing => {}
            Standing::Same(now) => self.aside.extend(was().map(|what| (path.to_string(), what, now))),
            Standing::Folder { now, strange, .. } => {
                self.kept.extend(strange);
                self.aside.extend(was().map(|what| (path.to_string(), what, now)));
            }
            Standing::Other => self.kept.push(path.to_string()),
        }
        Ok(())
    }
}
