//! A writer's whole way: lock, recover, compile, walk, drive, remember.
//!
//! Owns the order of these and what a run that has nothing to do leaves alone. Must hold: recovery is the
//! first step of every writer; a run that finds nothing to do writes nothing but the time of the lock.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::View;
use crate::event::{
    Counts, Event, PipelineFields, Recovered as RecoveredEvent, RunEnded, RunStarted, RunState, Secs, SetPair, Sink, TaskFields, Warning,
};
use crate::graph::select::{SelectFault, Selectable, everything, select, with_ancestors};
use crate::graph::{Graph, Source};
use crate::name::{AttemptId, RelPath, RunId, TaskId, TaskName};
use crate::os::beneath::Beneath;
use crate::os::clock::{Clock, SystemClock};
use crate::os::lock::{Holder, Lock, LockFault, host};
use crate::os::signal;
use crate::pipeline::spec::{CacheSettings, Runs, Store};
use crate::plan::decide::Verdict;
use crate::plan::walk::{Selection, Walked, walk};
use crate::record::cache::{Cache, Keep, Saver};
use crate::record::known::{Known, Last};
use crate::record::record::Made;
use crate::record::state::frame::{Asked, Frame, RunEnd};
use crate::record::state::{STATE, Syncer, Writer};
use crate::run::bracket::Output;
use crate::run::claims;
use crate::run::disk_ground::DiskGround;
use crate::run::driver::{Driver, Message, Outcome, RunFault, expected, log_name, messages};
use crate::run::exec::local::{Local, RECOVERY_GRACE};
use crate::run::exec::mark::{self, Mark};
use crate::run::exec::{Executor, Handle, Recovered};
use crate::run::open::{Front, OpenFault, Opened, Request, front, make_own};
use crate::run::recover::{self, Entry, Unsettled};
use crate::run::remember::remember;
use crate::run::site::Site;
use crate::run::survey::{Answers, Sight};

/// What is asked of a run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which pipeline.
    pub request: Request,
    /// What to bring up to date; empty: everything but what is manual.
    pub selectors: Vec<String>,
    /// Without the ancestors.
    pub only: bool,
    /// Run the selected whatever stands.
    pub force: bool,
    /// `--keep-going`, `--fail-fast`.
    pub keep_going: Option<bool>,
    /// Wait for another run of this pipeline.
    pub wait: bool,
    /// Slots.
    pub jobs: u32,
    /// The command line after `flow`.
    pub args: Vec<String>,
    /// The run it goes on with.
    pub resumes: Option<u64>,
    /// Tasks not to be forced again.
    pub forced_done: Vec<String>,
    /// The folder that selectors are relative to, as seen from the workspace, if it is not the caller's.
    pub here: Option<String>,
    /// Where the cache is, if the environment says so.
    pub cache_dir: Option<PathBuf>,
    /// What is cached, if the environment says so.
    pub cache_store: Option<Store>,
}

/// Why a run did not come about, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionFault {
    /// The pipeline cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenFault),
    /// Another run is going on, or the lock cannot be had.
    #[error(transparent)]
    Lock(LockFault),
    /// A selector means nothing.
    #[error(transparent)]
    Select(#[from] SelectFault),
    /// Source files are not there: path, and the task that needs it.
    #[error("{}", missing_words(.0))]
    Missing(Vec<MissingInput>),
    /// What a task rests on cannot be read, or a tool command failed.
    #[error("{}", .0.join("\n"))]
    Facts(Vec<String>),
    /// flow's own files cannot be used.
    #[error("{0}")]
    Own(String),
    /// The run could not go on.
    #[error(transparent)]
    Run(#[from] RunFault),
}

/// A source file that is needed and is not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MissingInput {
    /// The file.
    pub path: RelPath,
    /// The task that reads it.
    pub task: TaskName,
    /// Where the file says so.
    pub place: String,
    /// A file that is there and has nearly this name, or a stage whose output looks like it.
    pub near: Option<String>,
}

fn missing_words(list: &[MissingInput]) -> String {
    let lines: Vec<String> = list.iter().map(|missing| format!("`{}` needs {}, which is not there", missing.task, missing.path)).collect();
    lines.join("\n")
}

impl From<LockFault> for SessionFault {
    fn from(fault: LockFault) -> SessionFault {
        SessionFault::Lock(fault)
    }
}

/// What a run came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
}

/// Where events go, once it is known whether there are any: made for a run with this number, or for one
/// that has nothing to do.
pub type MakeSinks<'a> = dyn FnMut(&Site, Option<(u64, &Beneath)>) -> Box<dyn Sink> + 'a;

/// Runs. `sinks` is asked once.
pub fn run(options: &Options, waiting: &mut dyn FnMut(&Option<Holder>), sinks: &mut MakeSinks<'_>) -> Result<Finished, SessionFault> {
    let clock = SystemClock::new();
    let mut lock: Option<Lock> = None;
    let front: Front = front(&options.request, |_, own| {
        // A lock of a folder that turned out not to be this pipeline's ends here.
        lock = None;
        lock = Some(take_lock(own, options.wait, waiting)?);
        Ok::<(), SessionFault>(())
    })?;
    let plain = options.selectors.is_empty() && !options.force;
    if plain && let Some((name, count)) = front.nothing_to_do() {
        if let Some(lock) = &lock {
            lock.touch();
        }
        let (name, site) = (name.to_string(), front.site.clone());
        say_nothing_to_do(&mut *sinks(&site, None), &clock, &site, &name, count, options);
        return Ok(Finished { outcome: Outcome::Fine });
    }
    let mut opened = front.rest(&options.request)?;
    let keep = match options.cache_store.or(opened.cache.store).unwrap_or_default() {
        Store::Auto => Keep::Auto,
        Store::All => Keep::All,
        Store::Off => Keep::Off,
    };
    let cache_at = cache_folder(&opened.site, &opened.cache, options.cache_dir.as_ref());
    let boot = boot_number(&opened.boot);
    let open_cache = || Arc::new(Cache::local(&cache_at, keep, boot));
    // Opening it makes it: not before it is certain that there is something to do.
    let cache_was_there = cache_at.exists();
    let mut cache = if cache_was_there { open_cache() } else { Arc::new(Cache::off()) };
    let graph = Arc::clone(&opened.graph);
    // A pipeline that never ran has nothing to recover, and faults in it leave nothing behind.
    let mut workshop = match opened.own {
        Some(_) => Some(Workshop::open(&mut opened, lock, options, waiting)?),
        None => None,
    };
    let recovered = match &mut workshop {
        Some(workshop) => recover(&mut opened, workshop, &clock)?,
        None => Vec::new(),
    };
    if !recovered.is_empty() {
        // What was put back or away is no longer what the stamps said.
        opened.unchanged = opened.unchanged.iter().map(|_| false).collect();
    }
    let states = ask_for_states(&options.selectors).then(|| states_now(&graph, &mut opened, &cache, &mut Answers::new(true)));
    let selection = choose(&graph, &opened, states.as_deref(), options)?;
    let mut answers = Answers::new(true);
    prime(&opened, &selection);
    let walked = look_at(&graph, &mut opened, &cache, &mut answers, &selection);
    check_missing(&graph, &walked, &opened)?;
    // What rests on a restore is asked again after it.
    let fresh = walked.certain.clone();
    check_links(&graph, &opened, &selection, &fresh)?;
    if opened.compiled {
        let twice = claims::conflicts(&opened.site, &graph);
        if !twice.is_empty() {
            return Err(SessionFault::Facts(twice));
        }
    }
    let mut workshop = match workshop {
        Some(workshop) => workshop,
        None => {
            let workshop = Workshop::open(&mut opened, None, options, waiting)?;
            if workshop.own()?.stat(STATE).ok().flatten().is_some() {
                // Another first run was faster: what was looked at is old.
                drop(workshop);
                return run(options, waiting, sinks);
            }
            workshop
        }
    };
    if !cache_was_there {
        cache = open_cache();
    }
    let up_to_date = fresh.iter().filter(|fresh| **fresh).count() as u64;
    let chosen = selection.count() as u64;
    if up_to_date == chosen && recovered.is_empty() && opened.damage.is_none() {
        if let Some(lock) = &workshop.lock {
            lock.touch();
        }
        say_nothing_to_do(&mut *sinks(&opened.site, None), &clock, &opened.site, &graph.name, chosen, options);
        if worth_writing(&opened, &answers) && workshop.can_write(&opened.site) {
            // Learnt anew, so that the next run needs to learn nothing.
            workshop.writer(&mut opened)?;
            let sections = remember(&mut opened, &selection, &mut answers, &cache).map_err(|error| SessionFault::Own(error.to_string()))?;
            let own = workshop.own.as_ref().ok_or_else(|| SessionFault::Own("no folder".into()))?;
            Writer::fresh(own, &sections)
                .map_err(|source| SessionFault::Own(format!("cannot write {}: {source}", opened.site.own().join(STATE).display())))?;
        }
        return Ok(Finished { outcome: Outcome::Fine });
    }
    drive(options, &clock, opened, workshop, cache, &selection, answers, &fresh, recovered, sinks)
}

fn take_lock(own: &Beneath, wait: bool, waiting: &mut dyn FnMut(&Option<Holder>)) -> Result<Lock, SessionFault> {
    match Lock::take(own) {
        Err(LockFault::Held(holder)) if wait => {
            waiting(&holder);
            Ok(Lock::wait(own, |_| true)?)
        }
        other => Ok(other?),
    }
}

/// What only a writer has.
struct Workshop {
    own: Option<Beneath>,
    lock: Option<Lock>,
    writer: Option<Writer>,
}

impl Workshop {
    /// The pipeline's folder is made if it is not there, and locked.
    fn open(
        opened: &mut Opened,
        lock: Option<Lock>,
        options: &Options,
        waiting: &mut dyn FnMut(&Option<Holder>),
    ) -> Result<Workshop, SessionFault> {
        match (opened.own.take(), lock) {
            (Some(own), lock @ Some(_)) => Ok(Workshop { own: Some(own), lock, writer: None }),
            (own, _) => {
                let own = match own {
                    Some(own) => own,
                    None => match make_own(&opened.site) {
                        Ok(own) => own,
                        Err(error) => return Err(SessionFault::Own(format!("cannot make {}: {error}", opened.site.own().display()))),
                    },
                };
                let lock = take_lock(&own, options.wait, waiting)?;
                Ok(Workshop { own: Some(own), lock: Some(lock), writer: None })
            }
        }
    }

    fn can_write(&self, site: &Site) -> bool {
        self.lock.as_ref().is_some_and(Lock::is_writable) && rustix::fs::access(site.own(), rustix::fs::Access::WRITE_OK).is_ok()
    }

    fn own(&self) -> Result<&Beneath, SessionFault> {
        self.own.as_ref().ok_or_else(|| SessionFault::Own("no folder of flow's own".into()))
    }

    /// Opens `state` for writing, once. A state that cannot be used goes to `kept/`.
    fn writer(&mut self, opened: &mut Opened) -> Result<(), SessionFault> {
        if self.writer.is_some() {
            return Ok(());
        }
        let own = self.own()?;
        if opened.damage.is_some() {
            let flow = Beneath::open(&opened.site.flow)
                .map_err(|error| SessionFault::Own(format!("cannot open {}: {error}", opened.site.flow.display())))?;
            let folder = format!("kept/{}-damaged/{}", today(), opened.site.folder);
            let name = (1..)
                .map(|n| if n == 1 { format!("{folder}/{STATE}") } else { format!("{folder}/{STATE}.{n}") })
                .find(|name| !matches!(flow.stat(name), Ok(Some(_))));
            if let Some(name) = name {
                own.rename_to(STATE, &flow, &name, false)
                    .map_err(|error| SessionFault::Own(format!("cannot put away the damaged state: {error}")))?;
            }
            opened.state_end = None;
        }
        let words = |source: io::Error| SessionFault::Own(format!("cannot write {}: {source}", opened.site.own().join(STATE).display()));
        let writer = Writer::open(own, opened.state_end).map_err(words)?;
        opened.known.reads_from(writer.file());
        self.writer = Some(writer);
        Ok(())
    }
}

/// Where the cache lies: as the environment says, else the file, else in `.flow/`.
pub fn cache_folder(site: &Site, settings: &CacheSettings, given: Option<&PathBuf>) -> PathBuf {
    match (given, &settings.dir) {
        (Some(given), _) => given.clone(),
        (None, Some(dir)) => site.workspace.join(&dir.text),
        (None, None) => site.flow.join("cache"),
    }
}

/// A number of this boot, for stamps of blobs.
pub fn boot_number(boot: &str) -> u64 {
    let digest = crate::hash::Digest::of(boot.as_bytes());
    u64::from_le_bytes(digest.0[..8].try_into().unwrap_or_default())
}

/// Today, as it stands in names of folders.
fn today() -> String {
    jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d").to_string()
}

/// One attempt that recovery put in order.
struct RecoveredAttempt {
    attempt: AttemptId,
    did: Vec<String>,
}

/// The first step of every writer: what a flow that died left open is put in order.
fn recover(opened: &mut Opened, workshop: &mut Workshop, clock: &dyn Clock) -> Result<Vec<RecoveredAttempt>, SessionFault> {
    let open: Vec<crate::record::known::Open> = opened.known.open().into_iter().cloned().collect();
    let aside = workshop.own()?.stat("aside").ok().flatten().is_some();
    // A run without an end died; where there is no state nobody knows.
    let lost = opened.damage.is_some() || opened.state_end.is_none();
    let died = lost || opened.known.last_run().is_some_and(|run| run.end.is_none());
    if open.is_empty() && !aside && !died {
        return Ok(Vec::new());
    }
    let mark = Mark::of(&opened.site.own())
        .map_err(|error| SessionFault::Own(format!("cannot look at {}: {error}", opened.site.own().display())))?;
    if lost {
        // Which attempts were open is lost as well: nothing of this pipeline may go on beside a new run.
        let prefix = mark.prefix().into_bytes();
        mark::stop_all(|found| found.starts_with(&prefix), RECOVERY_GRACE);
    }
    if open.is_empty() && !aside {
        remove_scratch(&mark);
        return Ok(Vec::new());
    }
    let mut local = Local::new(opened.site.workspace.clone(), mark.clone(), Box::new(|_| {}));
    let asked = open.iter().map(|open| (open.attempt.clone(), open.handle.clone().map(Handle))).collect();
    let stopped: Vec<(AttemptId, usize)> = local
        .recover(asked)
        .into_iter()
        .map(|(attempt, what)| match what {
            Recovered::Gone { stopped } => (attempt, stopped),
            Recovered::Running | Recovered::Ended(_) => (attempt, 0),
        })
        .collect();
    remove_scratch(&mark);
    workshop.writer(opened)?;
    // What came out of the dead slots is the log of their attempts.
    let mut logs: Vec<(TaskName, String)> = Vec::new();
    let own = workshop.own()?;
    for open in &open {
        let from = format!("logs/slot-{}", open.slot);
        if own.stat(&from).ok().flatten().is_some_and(|stat| stat.st_size > 0) {
            let to = log_name(&open.attempt);
            if own.rename(&from, &to).is_ok() {
                logs.push((open.attempt.task.clone(), to));
            }
        }
    }
    let mut ground = DiskGround::open(&opened.site.workspace, &opened.site.flow, &opened.site.folder, &[], &today())
        .map_err(|error| SessionFault::Own(format!("cannot open {}: {error}", opened.site.flow.display())))?;
    let records: Vec<(TaskName, Option<Vec<Made>>)> =
        open.iter().map(|open| (open.attempt.task.clone(), last_made(&opened.known, &open.attempt.task))).collect();
    let unsettled: Vec<Unsettled<'_>> = open
        .iter()
        .zip(&records)
        .map(|(open, (_, last))| Unsettled {
            task: open.attempt.task.clone(),
            attempt: Some(open.attempt.clone()),
            open: true,
            closed: false,
            outputs: open.outputs.iter().map(|path| Output { path: path.clone(), persist: false }).collect(),
            last: last.as_deref(),
            restoring: None,
        })
        .collect();
    // Who owns what stands aside without an open attempt: asked for leaks only.
    let owners: Vec<(TaskName, bool, Vec<Made>)> = match aside {
        true => {
            let known = &opened.known;
            let ended = |name: &TaskName| {
                known.task(name).is_some_and(|memory| matches!(memory.last, Last::Well | Last::Spoilt)) && known.is_this_boot()
            };
            let others = known.tasks().filter(|(name, _)| !open.iter().any(|open| open.attempt.task == *name));
            others.filter_map(|(name, _)| Some((name.clone(), ended(&name), last_made(known, &name)?))).collect()
        }
        false => Vec::new(),
    };
    let mut owner = |path: &str| {
        let (name, closed, made) = owners.iter().find(|(_, _, made)| made.iter().any(|made| made.path.as_str() == path))?;
        Some(Unsettled {
            task: name.clone(),
            attempt: None,
            open: false,
            closed: *closed,
            outputs: made.iter().map(|made| Output { path: made.path.clone(), persist: false }).collect(),
            last: Some(made),
            restoring: None,
        })
    };
    let (writer, known) = (&mut workshop.writer, &mut opened.known);
    let mut frames = Vec::new();
    let mut state = |_: &mut DiskGround, entry: Entry<'_>| -> io::Result<()> {
        let Some(writer) = writer.as_mut() else { return Ok(()) };
        match entry {
            Entry::Sync => writer.sync().map(|_| ()),
            Entry::Aborted(attempt) => {
                let log = logs.iter().find(|(task, _)| *task == attempt.task).map(|(_, log)| log.clone());
                let frame = Frame::Aborted { task: attempt.task.clone(), n: attempt.n, log };
                let (_, at) = writer.add(&frame)?;
                frames.push((frame, at));
                Ok(())
            }
        }
    };
    let did =
        recover::recover(&mut ground, unsettled, &[], &mut owner, &mut state).map_err(|fault| SessionFault::Own(fault.to_string()))?;
    for (frame, at) in frames {
        known.apply(&frame, at);
    }
    let _ = clock;
    let mut list = Vec::new();
    for open in &open {
        let mut words = Vec::new();
        if stopped.iter().any(|(attempt, count)| *attempt == open.attempt && *count > 0) {
            words.push("stopped_children".to_string());
        }
        if let Some(did) = did.iter().find(|did| did.task.as_ref() == Some(&open.attempt.task)) {
            if !did.wrote.is_empty() {
                words.push("kept_partial".into());
            }
            if !did.back.is_empty() {
                words.push("put_back".into());
            }
        }
        list.push(RecoveredAttempt { attempt: open.attempt.clone(), did: words });
    }
    Ok(list)
}

fn last_made(known: &Known, name: &TaskName) -> Option<Vec<Made>> {
    let mut record = known.standing(name).ok().flatten()?;
    if known.task(name).is_some_and(|memory| !known.believed(&memory)) {
        for made in &mut record.outputs {
            made.stamp = crate::hash::Stamp::default();
        }
    }
    Some(record.outputs)
}

/// Scratch folders of dead runs of this pipeline.
fn remove_scratch(mark: &Mark) {
    let prefix = format!("flow-{}-", mark.id());
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The newest run that left a folder: where the state is lost no run takes the place of another.
fn newest_run(own: &Beneath) -> u64 {
    let names = own.list("runs").unwrap_or_default();
    names.iter().filter_map(|name| name.to_str()?.parse().ok()).max().unwrap_or(0)
}

/// The tasks to look at, and how they were asked for.
pub fn choose(graph: &Graph, opened: &Opened, states: Option<&[&'static str]>, options: &Options) -> Result<Selection, SessionFault> {
    let here = match &options.here {
        Some(here) => RelPath::normal(here).unwrap_or_else(|_| RelPath::workspace()),
        None => opened.site.here.clone(),
    };
    let wanted = Wanted {
        states,
        here: &here,
        selectors: &options.selectors,
        only: options.only,
        force: options.force,
        forced_done: &options.forced_done,
        to_run: true,
    };
    choose_among(graph, &opened.known, &wanted)
}

/// Whether selectors hang on how tasks stand.
pub fn ask_for_states(selectors: &[String]) -> bool {
    selectors.iter().any(|selector| selector.contains("status:"))
}

/// How each task stands, as the one decision says, in the words of `status:`.
pub fn states_now(graph: &Graph, opened: &mut Opened, cache: &Cache, answers: &mut Answers) -> Vec<&'static str> {
    let count = graph.tasks.len();
    let all = Selection { chosen: vec![true; count], named: vec![false; count], forced: vec![false; count], keep_manifests: false };
    prime(opened, &all);
    let walked = look_at(graph, opened, cache, answers, &all);
    let mut states = vec!["up_to_date"; count];
    let mut failed_above = vec![false; graph.nodes()];
    for &id in &graph.order {
        let blocked = graph.above.of(id).any(|(above, _)| failed_above[above.index()]);
        failed_above[id.index()] = blocked;
        if graph.is_gate(id) {
            continue;
        }
        let last = opened.known.task(&graph.task(id).name).map_or(Last::Never, |memory| memory.last);
        let state = match (walked.verdicts[id.index()].as_ref(), last) {
            (Some(Verdict::UpToDate), _) => "up_to_date",
            (Some(Verdict::Unknown(_)), _) => "unknown",
            (_, Last::Failed) => "failed",
            (_, Last::Started | Last::Aborted) => "interrupted",
            _ if blocked => "blocked",
            (_, Last::Never) => "never_ran",
            _ => "stale",
        };
        states[id.index()] = state;
        failed_above[id.index()] |= state == "failed";
    }
    states
}

/// Which tasks are wanted, and how.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// How each task stands; `None`: as its last attempt ended.
    pub states: Option<&'a [&'static str]>,
    /// The folder that paths are relative to.
    pub here: &'a RelPath,
    /// Selectors; none: everything but what is manual.
    pub selectors: &'a [String],
    /// Without the ancestors.
    pub only: bool,
    /// Whatever stands.
    pub force: bool,
    /// Not to be forced again.
    pub forced_done: &'a [String],
    /// It is to be run: what is manual has to be named.
    pub to_run: bool,
}

impl<'a> Wanted<'a> {
    /// These alone, without what they need.
    pub fn only(here: &'a RelPath, selectors: &'a [String]) -> Wanted<'a> {
        Wanted { states: None, here, selectors, only: true, force: false, forced_done: &[], to_run: false }
    }
}

/// The same for any caller.
pub fn choose_among(graph: &Graph, known: &Known, wanted: &Wanted<'_>) -> Result<Selection, SessionFault> {
    let Wanted { states, here, selectors, only, force, forced_done, to_run } = *wanted;
    let state = |id: TaskId| match states {
        Some(states) => states[id.index()],
        None => match known.task(&graph.task(id).name).map(|memory| memory.last) {
            None | Some(Last::Never) => "never_ran",
            Some(Last::Failed) => "failed",
            Some(Last::Aborted | Last::Started) => "interrupted",
            Some(Last::Well | Last::Spoilt) => "up_to_date",
        },
    };
    let mut chosen = match selectors.is_empty() {
        true => everything(graph),
        false => select(&Selectable { graph, here, state: Some(&state) }, selectors)?,
    };
    if to_run {
        chosen.retain(|(task, named)| *named || graph.stage_of(*task).runs != Runs::Manual);
    }
    let ids: Vec<TaskId> = chosen.iter().map(|(task, _)| *task).collect();
    let mut selection = Selection {
        chosen: vec![false; graph.tasks.len()],
        named: vec![false; graph.tasks.len()],
        forced: vec![false; graph.tasks.len()],
        keep_manifests: false,
    };
    for (task, named) in &chosen {
        selection.chosen[task.index()] = true;
        selection.named[task.index()] = *named && !selectors.is_empty();
        selection.forced[task.index()] = force && !forced_done.iter().any(|done| *done == graph.task(*task).name.as_str());
    }
    if !only {
        selection.chosen = with_ancestors(graph, &ids);
    }
    Ok(selection)
}

/// Reads what is needed and not known on all cores, before the walk asks for it one by one.
pub fn prime(opened: &Opened, selection: &Selection) {
    let mut seen = HashSet::new();
    let mut wanted = Vec::new();
    for (index, task) in opened.graph.tasks.iter().enumerate() {
        if !selection.chosen[index] || opened.unchanged[index] {
            continue;
        }
        for input in &task.inputs {
            if let Source::Path { path, from: None, .. } = &input.source
                && seen.insert(path)
            {
                wanted.push((path.clone(), View::Input));
            }
        }
        if opened.known.task(&task.name).is_some() {
            wanted.extend(task.outputs.iter().map(|output| (output.path.clone(), View::Output)));
        }
    }
    opened.disk.see_all(&wanted);
}

/// The walk.
pub fn look_at(graph: &Graph, opened: &mut Opened, cache: &Cache, answers: &mut Answers, selection: &Selection) -> Walked {
    let unchanged = std::mem::take(&mut opened.unchanged);
    let mut sight = Sight {
        graph,
        known: &mut opened.known,
        disk: &opened.disk,
        cache: Some(cache),
        surroundings: &opened.surroundings,
        answers,
        unchanged: &unchanged,
    };
    let walked = walk(graph, selection, &mut sight);
    opened.unchanged = unchanged;
    walked
}

/// Sources that are needed and not there stop the run before anything starts.
pub fn check_missing(graph: &Graph, walked: &Walked, opened: &Opened) -> Result<(), SessionFault> {
    if !walked.faults.is_empty() {
        return Err(SessionFault::Facts(
            walked.faults.iter().map(|(task, words)| format!("`{}`: {words}", graph.task(*task).name)).collect(),
        ));
    }
    let mut list = Vec::new();
    for (task, paths) in &walked.missing {
        for path in paths {
            // What a task makes that is not asked to (`--only`) is as any source.
            let made = graph
                .task(*task)
                .inputs
                .iter()
                .any(|input| matches!(&input.source, Source::Path { path: read, from: Some(from), .. } if read == path && walked.verdicts[from.index()].is_some()));
            let late = graph.task(*task).inputs.iter().any(|input| matches!(&input.source, Source::LateGlob { .. }));
            if made || late {
                continue;
            }
            list.push(MissingInput {
                path: path.clone(),
                task: graph.task(*task).name.clone(),
                place: graph.show_place(graph.stage_of(*task).places.inputs),
                near: near_path(graph, opened, path),
            });
        }
    }
    if list.is_empty() { Ok(()) } else { Err(SessionFault::Missing(list)) }
}

/// An output under a link that leads out of the workspace: flow could neither move nor restore it.
fn check_links(graph: &Graph, opened: &Opened, selection: &Selection, fresh: &[bool]) -> Result<(), SessionFault> {
    let workspace = &opened.site.workspace;
    let Ok(root) = std::fs::canonicalize(workspace) else { return Ok(()) };
    let mut seen: HashSet<&str> = HashSet::new();
    let mut list = Vec::new();
    let stale = graph.tasks.iter().enumerate().filter(|(index, _)| selection.chosen[*index] && !fresh[*index]);
    for (_, task) in stale {
        for output in &task.outputs {
            let path = output.path.as_str();
            let folders = path.match_indices('/').filter_map(|(at, _)| path.get(..at)).filter(|folder| !folder.is_empty());
            for folder in folders {
                if !seen.insert(folder) {
                    continue;
                }
                let full = workspace.join(folder);
                if full.is_symlink()
                    && let Ok(real) = std::fs::canonicalize(&full)
                    && !real.starts_with(&root)
                {
                    let to = real.display();
                    list.push(format!("`{}` makes {path}, but the link {folder} leads out of the workspace, to {to}", task.name));
                    break;
                }
            }
        }
    }
    if list.is_empty() { Ok(()) } else { Err(SessionFault::Facts(list)) }
}

/// The nearest file beside it, or the stage that makes something of nearly this name.
fn near_path(graph: &Graph, opened: &Opened, path: &RelPath) -> Option<String> {
    let made: Vec<String> =
        graph.tasks.iter().flat_map(|task| task.outputs.iter().map(|output| output.path.to_string())).take(100_000).collect();
    if let Some(near) = crate::near::nearest(path.as_str(), &made) {
        let stage = graph
            .tasks
            .iter()
            .find(|task| task.outputs.iter().any(|output| output.path.as_str() == near))
            .map(|task| task.name.stage().to_string());
        return Some(match stage {
            Some(stage) => format!("stage `{stage}` makes {near}"),
            None => near,
        });
    }
    let folder = path.parent()?;
    let listing = opened.disk.list(&folder).ok().flatten()?;
    let names: Vec<&str> = listing.entries.iter().map(|entry| &*entry.name).collect();
    let near = crate::near::nearest(path.file_name(), &names)?;
    folder.join(&near).ok().map(|path| format!("{path} is there"))
}

/// Whether a run that did nothing learnt so much that it should be kept.
fn worth_writing(opened: &Opened, answers: &Answers) -> bool {
    opened.compiled
        || !answers.fresh.is_empty()
        || opened.fresh.is_none()
        || opened.unchanged.iter().filter(|unchanged| !**unchanged).count() > 100
}

fn pipeline_fields(site: &Site, name: &str) -> PipelineFields {
    PipelineFields { file: site.file.shown.clone(), name: name.to_string(), workspace: site.workspace.to_string_lossy().into_owned() }
}

fn say_nothing_to_do(sink: &mut dyn Sink, clock: &dyn Clock, site: &Site, name: &str, count: u64, options: &Options) {
    let counts = Counts { up_to_date: count, total: count, ..Counts::default() };
    sink.take(clock.wall(), &started(site, name, options, None, counts));
    sink.take(
        clock.wall(),
        &Event::RunEnded(RunEnded {
            state: RunState::Fine,
            exit: 0,
            wall_s: Secs(clock.monotonic()),
            saved_s: Secs(Duration::ZERO),
            counts,
        }),
    );
    sink.end();
}

fn started(site: &Site, name: &str, options: &Options, run: Option<u64>, counts: Counts) -> Event {
    Event::RunStarted(Box::new(RunStarted {
        run,
        pipeline: pipeline_fields(site, name),
        args: options.args.clone(),
        selectors: options.selectors.clone(),
        profiles: Vec::new(),
        set: options.request.set.iter().map(|(key, value)| SetPair { key: key.clone(), value: value.clone() }).collect(),
        jobs: options.jobs,
        resumes: options.resumes,
        flow_version: env!("CARGO_PKG_VERSION").into(),
        host: host(),
        pid: std::process::id(),
        counts,
    }))
}

/// There is something to do.
#[expect(clippy::too_many_arguments, reason = "the second half of `run`, with everything the first half made")]
fn drive(
    options: &Options,
    clock: &dyn Clock,
    mut opened: Opened,
    mut workshop: Workshop,
    cache: Arc<Cache>,
    selection: &Selection,
    mut answers: Answers,
    fresh: &[bool],
    recovered: Vec<RecoveredAttempt>,
    make_sinks: &mut MakeSinks<'_>,
) -> Result<Finished, SessionFault> {
    let graph = Arc::clone(&opened.graph);
    let site = opened.site.clone();
    let damage = opened.damage.as_ref().map(|fault| fault.to_string());
    let lost = opened.damage.is_some() || opened.state_end.is_none();
    workshop.writer(&mut opened)?;
    opened.damage = None;
    let Workshop { own, lock, writer } = workshop;
    let (Some(own), Some(mut lock), Some(writer)) = (own, lock, writer) else {
        return Err(SessionFault::Own("no folder of flow's own".into()));
    };
    let began = clock.wall();
    let number = opened.known.next_run().max(if lost { newest_run(&own) + 1 } else { 0 });
    let run = RunId {
        number,
        nonce: crate::hash::Framed::new(b'R').number(began as u64).number(u64::from(std::process::id())).digest().0[..8]
            .try_into()
            .map_or(0, u64::from_le_bytes),
    };
    lock.name(&Holder::here(number, began))
        .map_err(|error| SessionFault::Own(format!("cannot write {}: {error}", site.own().join("lock").display())))?;
    let (sender, receiver) = messages();
    let told = sender.clone();
    let state = Syncer::start(writer, &opened.boot, move |covered| {
        let _ = told.send(Message::Synced(covered));
    });
    let asked = Asked {
        args: options.args.clone(),
        selectors: options.selectors.clone(),
        here: options.here.clone().unwrap_or_else(|| site.here.to_string()),
        only: options.only,
        force: options.force,
        keep_going: options.keep_going,
        profiles: Vec::new(),
        set: options.request.set.clone(),
        jobs: options.jobs,
        resumes: options.resumes,
        forced_done: options.forced_done.clone(),
    };
    let frame = Frame::RunStarted { run, boot: opened.boot.clone(), at: began, asked };
    let state_fault = |source| RunFault::State { path: site.own().display().to_string(), source };
    let (_, at) = state.add(&frame).map_err(state_fault)?;
    opened.known.apply(&frame, at);
    let mut sinks = make_sinks(&site, Some((number, &own)));
    let counts =
        Counts { up_to_date: fresh.iter().filter(|fresh| **fresh).count() as u64, total: selection.count() as u64, ..Counts::default() };
    sinks.take(began, &started(&site, &graph.name, options, Some(number), counts));
    if let Some(words) = damage {
        let message = format!(
            "{words}: it is put away in .flow/kept, everything is read again and matched with the cache; stages without outputs run again"
        );
        sinks.take(clock.wall(), &Event::Warning(Warning::new("state_damaged", message)));
    }
    for fault in &opened.warnings {
        let mut warning = Warning::new(fault.code, fault.message.clone());
        warning.place = Some(opened.sources.show(opened.sources.place(fault.at)));
        sinks.take(clock.wall(), &Event::Warning(warning));
    }
    for RecoveredAttempt { attempt, did } in recovered {
        let event = RecoveredEvent { task: TaskFields::of(&attempt.task), attempt: u32::from(attempt.n), of_run: attempt.run.number, did };
        sinks.take(clock.wall(), &Event::Recovered(event));
    }
    for (command, answer) in std::mem::take(&mut answers.fresh) {
        let frame = Frame::Answered { command, answer, run: number };
        let (_, at) = state.add(&frame).map_err(state_fault)?;
        opened.known.apply(&frame, at);
    }
    opened.disk.probe(&site.own());
    let mark = Mark::of(&site.own()).map_err(|source| RunFault::Own { path: site.own().display().to_string(), source })?;
    let told = sender.clone();
    let executor = Local::new(
        site.workspace.clone(),
        mark.clone(),
        Box::new(move |answer| {
            let _ = told.send(Message::Told(answer));
        }),
    );
    let told = sender.clone();
    signal::watch(move |stop, before| {
        let _ = told.send(Message::Stop(stop, before));
    })
    .map_err(|source| RunFault::Own { path: "signals".into(), source })?;
    let mut ground = DiskGround::open(&site.workspace, &site.flow, &site.folder, &[], &today())
        .map_err(|source| RunFault::Own { path: site.flow.display().to_string(), source })?;
    let lend = Arc::clone(&cache);
    ground.lend_to(Box::new(move |folder, path, what| lend.adopt(folder, path, what)));
    let workspace =
        Beneath::workspace(&site.workspace).map_err(|source| RunFault::Own { path: site.workspace.display().to_string(), source })?;
    let saver = Saver::start(Arc::clone(&cache), Box::new(move |path| workspace.read(path)));
    let keep_going = options.keep_going.unwrap_or(graph.keep_going);
    let surroundings = std::mem::replace(&mut opened.surroundings, crate::run::survey::Surroundings { variables: Vec::new() });
    let mut driver = Driver {
        graph: Arc::clone(&graph),
        selection,
        known: &mut opened.known,
        disk: Arc::clone(&opened.disk),
        cache: Some(Arc::clone(&cache)),
        saver: Some(saver),
        ground,
        state,
        executor: Box::new(executor),
        sinks: &mut *sinks,
        clock,
        own: &own,
        own_path: site.own(),
        own_shown: format!(".flow/{}", site.folder),
        run,
        jobs: options.jobs,
        keep_going,
        surroundings: &surroundings,
        answers: &mut answers,
        mark,
        messages: (sender, receiver),
    };
    let ran = driver.run(fresh);
    let Driver { mut state, executor, .. } = driver;
    drop(executor);
    opened.surroundings = surroundings;
    let (outcome, ended) = match &ran {
        Ok(ran) => (
            Some(ran.outcome),
            match ran.outcome {
                Outcome::Fine => RunEnd::Fine,
                Outcome::Failed => RunEnd::Failed,
                Outcome::Stopped(_) => RunEnd::Interrupted,
            },
        ),
        Err(_) => (None, RunEnd::Broken),
    };
    let exit = match outcome {
        Some(Outcome::Fine) => 0,
        Some(Outcome::Failed) => 1,
        Some(Outcome::Stopped(stop)) => stop.exit_code(),
        None => 5,
    };
    if let Ok(ran) = &ran {
        sinks.take(clock.wall(), &crate::run::driver::run_ended(ran, exit, clock.monotonic()));
    }
    sinks.end();
    let counts = ran.as_ref().ok().map(|ran| &ran.counts).map_or_else(Default::default, |counts| crate::record::state::frame::Counts {
        ran: counts.ran,
        restored: counts.restored,
        up_to_date: counts.up_to_date,
        failed: counts.failed,
        failed_allowed: counts.failed_allowed,
        not_run: counts.not_run,
        not_started: counts.not_started,
        off: counts.off,
        total: counts.total,
    });
    let frame = Frame::RunEnded { run, state: ended, exit: i32::from(exit), at: clock.wall(), counts };
    if let Ok((_, at)) = state.add(&frame) {
        opened.known.apply(&frame, at);
    }
    state.stop();
    for (frame, at) in state.take_own() {
        opened.known.apply(&frame, at);
    }
    let ran = ran?;
    if let Some(last) = opened.known.last_run_mut() {
        last.asked.forced_done.extend(ran.forced_done.iter().cloned());
    }
    // From here on nothing can be lost: without new stamps the next run looks more closely.
    let remembered = remember(&mut opened, selection, &mut answers, &cache).and_then(|sections| Writer::fresh(&own, &sections).map(|_| ()));
    if remembered.is_err() {
        let _ = state.sync();
    }
    lock.touch();
    Ok(Finished { outcome: ran.outcome })
}

/// How long the whole will take with these slots: at least the longest path, at least the work shared out.
pub fn estimate(graph: &Graph, known: &Known, to_do: &[bool], jobs: u32) -> Option<Duration> {
    if !graph.tasks.iter().any(|task| known.task(&task.name).is_some_and(|memory| memory.duration.is_some())) {
        return None;
    }
    let expected = expected(graph, known);
    let mut path = vec![Duration::ZERO; graph.nodes()];
    let mut work = Duration::ZERO;
    for &id in &graph.order {
        let own = if !graph.is_gate(id) && to_do[id.index()] { expected[id.index()] } else { Duration::ZERO };
        work += own;
        let above = graph.above.of(id).map(|(above, _)| path[above.index()]).max().unwrap_or_default();
        path[id.index()] = above + own;
    }
    Some(path.into_iter().max().unwrap_or_default().max(work / jobs.max(1)))
}
