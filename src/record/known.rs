//! What is remembered of tasks and runs: the block and the frames of `state`, replayed.
//!
//! Owns the meaning of frames. Records stay in the file and are read when asked for. Must hold: what a
//! run has applied while it went on is what another process reads afterwards, from the frames or from
//! a new block; of another boot only what was synced in that boot is believed.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::hash::Digest;
use crate::name::{AttemptId, RelPath, RunId, TaskName};
use crate::record::manifest::Key;
use crate::record::record::Record;
use crate::record::state::frame::{Asked, At, Brief, End, Frame, RunEnd};
use crate::record::state::{Reader, StateFault};

/// The section with what is remembered of tasks and runs.
pub const MEMORY: u32 = 100;
/// The section with the bytes of records.
pub const RECORDS: u32 = 101;

/// What became of a task's last attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Last {
    /// There was none.
    #[default]
    Never,
    /// It is open: flow runs it, or died.
    Started,
    /// It ended well.
    Well,
    /// It ended well, but inputs changed meanwhile.
    Spoilt,
    /// It failed.
    Failed,
    /// flow died while it ran, and recovery has put things in order.
    Aborted,
}

/// What is remembered of a task.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Its last good record.
    pub good: Option<At>,
    /// The key of that record.
    pub key: Option<Key>,
    /// What stands at its outputs, if it is not the last good record's: a spoilt result.
    pub spoilt: Option<At>,
    /// The inputs that changed while it was made.
    pub spoilt_by: Vec<RelPath>,
    /// Its last attempt.
    pub last: Last,
    /// How that ended.
    pub end: Option<End>,
    /// When its last good record was made, in nanoseconds since 1970.
    pub good_at: i64,
    /// The run that made it.
    pub good_run: u64,
    /// How long its last good execution took.
    pub duration: Option<Duration>,
    /// How far the stamps of what stands are believed.
    pub stamps: Stamps,
}

/// How far the stamps of a record are believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Stamps {
    /// Written in the boot of the newest run, by the frame that ends here (0: it is in the block).
    /// Believed in that boot, and in others once a SYNCED frame of that boot covers it.
    Recent(u64),
    /// Believed in any boot.
    Synced,
    /// Written in an earlier boot which never said that it was on the disk. A sync of a later boot says
    /// nothing of it.
    Doubted,
}

impl Default for Stamps {
    fn default() -> Stamps {
        Stamps::Recent(0)
    }
}

impl Stamps {
    /// What is left when all that is synced reaches up to here: for good, or if the boot goes on.
    fn settled(self, covered: Option<u64>) -> Stamps {
        match self {
            Stamps::Recent(end) if covered.is_some_and(|covered| end <= covered) => Stamps::Synced,
            other => other,
        }
    }

    /// The same, seen from another boot.
    fn left_behind(self, covered: Option<u64>) -> Stamps {
        match self.settled(covered) {
            Stamps::Recent(_) => Stamps::Doubted,
            other => other,
        }
    }
}

/// An attempt that was open when the file was read.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Open {
    /// Which.
    pub attempt: AttemptId,
    /// Its key.
    pub key: Key,
    /// Who runs it.
    pub executor: String,
    /// The slot that holds its log.
    pub slot: u32,
    /// Its outputs.
    pub outputs: Vec<RelPath>,
    /// What finds it again.
    pub handle: Option<Vec<u8>>,
}

/// A run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunMemory {
    /// Which.
    pub run: RunId,
    /// When it began, in nanoseconds since 1970.
    pub at: i64,
    /// What was asked.
    pub asked: Asked,
    /// How it ended, the exit code, and when; `None`: it runs, or was killed.
    pub end: Option<(RunEnd, i32, i64)>,
}

/// What the section [`MEMORY`] holds. Offsets of records are from the start of [`RECORDS`].
#[derive(Serialize, Deserialize, Default)]
struct Stored {
    boot: String,
    tasks: Vec<(TaskName, Memory)>,
    open: Vec<Open>,
    last_run: Option<RunMemory>,
    answers: Vec<(String, Digest, u64)>,
}

/// Everything that is remembered.
#[derive(Debug, Default)]
pub struct Known {
    file: Option<Arc<File>>,
    tasks: HashMap<TaskName, Memory>,
    open: HashMap<TaskName, Open>,
    last_run: Option<RunMemory>,
    answers: HashMap<String, (Digest, u64)>,
    /// The boot the newest run was or is in.
    boot: String,
    /// The boot of this process.
    here: String,
    /// Up to where what was written in [`Known::boot`] is on the disk; `None`: nobody said.
    covered: Option<u64>,
    /// How far stamps in the block are believed that belong to no task.
    block: Stamps,
    by_key: Option<HashMap<Key, Vec<TaskName>>>,
    /// Tasks that frames behind the block speak of.
    touched: HashSet<TaskName>,
    /// Whether anything was applied that the block does not hold.
    pub changed: bool,
}

impl Known {
    /// Nothing yet; `boot` is this boot's id.
    pub fn new(boot: &str) -> Known {
        Known { here: boot.to_string(), boot: boot.to_string(), ..Known::default() }
    }

    /// Replays a state. Also says where its last whole frame ends.
    pub fn load(reader: &Reader, boot: &str) -> Result<(Known, u64), StateFault> {
        let mut known = Known { file: Some(reader.file()), ..Known::new(boot) };
        if let Some(bytes) = reader.section(MEMORY)? {
            let damaged = || StateFault::Damaged { path: "state".into(), what: "memory of tasks" };
            let stored: Stored = postcard::from_bytes(&bytes).map_err(|_| damaged())?;
            let (base, room) = reader.place(RECORDS).unwrap_or((0, 0));
            let moved = |at: Option<At>| match at {
                Some(at) if at.end() <= room => Ok(Some(At { offset: at.offset + base, ..at })),
                Some(_) => Err(damaged()),
                None => Ok(None),
            };
            known.boot = stored.boot;
            known.last_run = stored.last_run;
            known.open = stored.open.into_iter().map(|open| (open.attempt.task.clone(), open)).collect();
            known.answers = stored.answers.into_iter().map(|(command, answer, run)| (command, (answer, run))).collect();
            known.tasks.reserve(stored.tasks.len());
            for (name, memory) in stored.tasks {
                let memory = Memory { good: moved(memory.good)?, spoilt: moved(memory.spoilt)?, ..memory };
                known.tasks.insert(name, memory);
            }
        }
        let mut changed = false;
        let end = reader.frames(|frame, _, told| {
            changed = true;
            known.take(&frame, told);
        })?;
        known.changed = changed;
        Ok((known, end))
    }

    /// Takes in a frame that was just written; `record`: where its record is.
    pub fn apply(&mut self, frame: &Frame, record: Option<At>) {
        self.take(frame, record.zip(frame.record().map(Brief::of)));
    }

    fn take(&mut self, frame: &Frame, told: Option<(At, Brief)>) {
        self.changed = true;
        if let Frame::Started { task, .. }
        | Frame::Done { task, .. }
        | Frame::Spoilt { task, .. }
        | Frame::Failed { task, .. }
        | Frame::Aborted { task, .. } = frame
            && !self.touched.contains(task)
        {
            self.touched.insert(task.clone());
        }
        match frame {
            Frame::RunStarted { run, boot, at, asked } => {
                if *boot != self.boot {
                    let covered = self.covered.take();
                    for memory in self.tasks.values_mut() {
                        memory.stamps = memory.stamps.left_behind(covered);
                    }
                    self.block = self.block.left_behind(covered);
                    self.boot = boot.clone();
                }
                self.last_run = Some(RunMemory { run: *run, at: *at, asked: asked.clone(), end: None });
            }
            Frame::Started { task, n, key, executor, slot, outputs } => {
                let run = self.last_run.as_ref().map_or(RunId { number: 0, nonce: 0 }, |run| run.run);
                let memory = self.tasks.entry(task.clone()).or_default();
                memory.last = Last::Started;
                let attempt = AttemptId { run, task: task.clone(), n: *n };
                self.open.insert(
                    task.clone(),
                    Open { attempt, key: *key, executor: executor.clone(), slot: *slot, outputs: outputs.clone(), handle: None },
                );
            }
            Frame::Placed { task, handle } => {
                if let Some(open) = self.open.get_mut(task) {
                    open.handle = Some(handle.clone());
                }
            }
            Frame::Done { task, n, log, .. } => self.done(task, *n, log, told, None),
            Frame::Spoilt { task, n, inputs, log, .. } => self.done(task, *n, log, told, Some(inputs)),
            Frame::Failed { task, n, ended, at, log } => {
                let run = self.run_number();
                let memory = self.tasks.entry(task.clone()).or_default();
                memory.last = Last::Failed;
                memory.end = Some(End { run, n: *n, at: *at, ended: ended.clone(), log: log.clone() });
                self.open.remove(task);
            }
            Frame::Aborted { task, n, log } => {
                let run = self.open.get(task).map_or_else(|| self.run_number(), |open| open.attempt.run.number);
                let memory = self.tasks.entry(task.clone()).or_default();
                memory.last = Last::Aborted;
                memory.end = Some(End::unseen(run, *n, log.clone()));
                self.open.remove(task);
            }
            Frame::Expanded { .. } => {}
            Frame::Answered { command, answer, run } => {
                self.answers.insert(command.clone(), (*answer, *run));
            }
            Frame::Synced { boot, up_to } => {
                if *boot == self.boot {
                    self.covered = self.covered.max(Some(*up_to));
                }
            }
            Frame::RunEnded { run, state, exit, at } => {
                if let Some(last) = self.last_run.as_mut().filter(|last| last.run == *run) {
                    last.end = Some((*state, *exit, *at));
                }
            }
        }
    }

    fn done(&mut self, task: &TaskName, n: u16, log: &Option<String>, told: Option<(At, Brief)>, spoilt: Option<&Vec<RelPath>>) {
        let Some((at, brief)) = told else { return };
        let run = self.run_number();
        self.open.remove(task);
        let memory = self.tasks.entry(task.clone()).or_default();
        memory.end = Some(End { run, n, at: brief.at, ended: brief.ended.clone(), log: log.clone() });
        memory.stamps = Stamps::Recent(at.end());
        match spoilt {
            Some(inputs) => {
                memory.last = Last::Spoilt;
                memory.spoilt = Some(at);
                memory.spoilt_by = inputs.clone();
            }
            None => {
                memory.last = Last::Well;
                memory.good = Some(at);
                memory.key = Some(brief.key);
                memory.spoilt = None;
                memory.spoilt_by = Vec::new();
                memory.good_at = brief.at;
                memory.good_run = run;
                memory.duration = Some(brief.ended.usage.wall);
                if let Some(by_key) = &mut self.by_key {
                    by_key.entry(brief.key).or_default().push(task.clone());
                }
            }
        }
    }

    fn run_number(&self) -> u64 {
        self.last_run.as_ref().map_or(0, |run| run.run.number)
    }

    /// The file that records are read from; after compaction or the first write it is another.
    pub fn reads_from(&mut self, file: Arc<File>) {
        self.file = Some(file);
    }

    /// What is remembered of a task.
    pub fn task(&self, name: &TaskName) -> Option<&Memory> {
        self.tasks.get(name)
    }

    /// All tasks, also those that are gone.
    pub fn tasks(&self) -> impl Iterator<Item = (&TaskName, &Memory)> {
        self.tasks.iter()
    }

    /// A record.
    pub fn read(&self, at: At) -> io::Result<Record> {
        let file = self.file.as_ref().ok_or_else(|| io::Error::other("no state to read a record from"))?;
        let mut bytes = Vec::new();
        read_record(file, at, &mut bytes)?;
        postcard::from_bytes(&bytes).map_err(|_| damaged_record())
    }

    /// What stands at a task's outputs as far as is known: of its spoilt result, else of its last good.
    pub fn standing(&self, name: &TaskName) -> io::Result<Option<Record>> {
        match self.tasks.get(name).and_then(|memory| memory.spoilt.or(memory.good)) {
            Some(at) => self.read(at).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the stamps of what stands at a task's outputs are believed: of this boot, or synced.
    pub fn believed(&self, memory: &Memory) -> bool {
        self.believes(memory.stamps)
    }

    /// Whether the stamps that the block holds beside those of records are believed.
    pub fn believes_block(&self) -> bool {
        self.believes(self.block)
    }

    /// Whether they will be in another boot.
    pub fn block_is_synced(&self) -> bool {
        self.block.settled(self.covered) == Stamps::Synced
    }

    fn believes(&self, stamps: Stamps) -> bool {
        match stamps.settled(self.covered) {
            Stamps::Synced => true,
            Stamps::Recent(_) => self.boot == self.here,
            Stamps::Doubted => false,
        }
    }

    /// Tasks whose last good record has this key.
    pub fn with_key(&mut self, key: &Key) -> Vec<(TaskName, At)> {
        let tasks = &self.tasks;
        let by_key = self.by_key.get_or_insert_with(|| {
            let mut by_key: HashMap<Key, Vec<TaskName>> = HashMap::new();
            for (name, memory) in tasks {
                if let Some(key) = memory.key {
                    by_key.entry(key).or_default().push(name.clone());
                }
            }
            by_key
        });
        let mut found: Vec<(TaskName, At)> = by_key
            .get(key)
            .into_iter()
            .flatten()
            .filter_map(|name| {
                self.tasks.get(name).filter(|memory| memory.key == Some(*key)).and_then(|memory| memory.good).map(|at| (name.clone(), at))
            })
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.dedup_by(|a, b| a.0 == b.0);
        found
    }

    /// Attempts whose last frame is STARTED, by name.
    pub fn open(&self) -> Vec<&Open> {
        let mut open: Vec<&Open> = self.open.values().collect();
        open.sort_by(|a, b| a.attempt.task.cmp(&b.attempt.task));
        open
    }

    /// The newest run.
    pub fn last_run(&self) -> Option<&RunMemory> {
        self.last_run.as_ref()
    }

    /// The newest run, to note what it did.
    pub fn last_run_mut(&mut self) -> Option<&mut RunMemory> {
        self.last_run.as_mut()
    }

    /// The number of the next run.
    pub fn next_run(&self) -> u64 {
        self.run_number() + 1
    }

    /// What a tool command answered last, and in which run.
    pub fn answer(&self, command: &str) -> Option<(Digest, u64)> {
        self.answers.get(command).copied()
    }

    /// Tasks that frames behind the block speak of: what the block says of them is old.
    pub fn touched(&self) -> HashSet<TaskName> {
        self.touched.clone()
    }

    /// Records that were written behind the block, as far as they are believed.
    pub fn records_since(&self) -> Vec<Record> {
        let believed = self.touched.iter().filter_map(|name| self.tasks.get(name)).filter(|memory| self.believed(memory));
        believed.filter_map(|memory| self.read(memory.spoilt.or(memory.good)?).ok()).collect()
    }

    /// Whether the newest frames were written in this boot.
    pub fn is_this_boot(&self) -> bool {
        self.boot == self.here
    }

    /// The boot in which the newest frames were written.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Forgets a task, as one whose outputs were taken over by another name.
    pub fn forget(&mut self, name: &TaskName) {
        self.tasks.remove(name);
        self.by_key = None;
    }

    /// Everything for a new block, which is written in this boot: the bytes of records are copied as
    /// they are. One that cannot be read any more is left out, and its task has none.
    pub fn sections(&self) -> io::Result<Vec<(u32, Vec<u8>)>> {
        let mut records = Vec::new();
        let mut tasks: Vec<(TaskName, Memory)> = Vec::with_capacity(self.tasks.len());
        let same_boot = self.boot == self.here;
        let mut by_name: Vec<(&TaskName, &Memory)> = self.tasks.iter().collect();
        by_name.sort_by(|a, b| a.0.cmp(b.0));
        for (name, memory) in by_name {
            let mut memory = memory.clone();
            memory.good = self.copied(memory.good, &mut records)?;
            memory.spoilt = self.copied(memory.spoilt, &mut records)?;
            if memory.good.is_none() {
                memory.key = None;
            }
            memory.stamps = match same_boot {
                true => memory.stamps.settled(self.covered),
                false => memory.stamps.left_behind(self.covered),
            };
            if let Stamps::Recent(end) = &mut memory.stamps {
                // Any sync of this boot from now on covers the block.
                *end = 0;
            }
            tasks.push((name.clone(), memory));
        }
        let mut answers: Vec<(String, Digest, u64)> =
            self.answers.iter().map(|(command, (answer, run))| (command.clone(), *answer, *run)).collect();
        answers.sort();
        let open = self.open().into_iter().cloned().collect();
        let stored = Stored { boot: self.here.clone(), tasks, open, last_run: self.last_run.clone(), answers };
        Ok(vec![(MEMORY, postcard::to_stdvec(&stored).map_err(io::Error::other)?), (RECORDS, records)])
    }

    fn copied(&self, at: Option<At>, records: &mut Vec<u8>) -> io::Result<Option<At>> {
        let Some(at) = at else { return Ok(None) };
        let file = self.file.as_ref().ok_or_else(|| io::Error::other("no state to copy a record from"))?;
        let from = records.len();
        match read_record(file, at, records) {
            Ok(()) => Ok(Some(At { offset: from as u64, ..at })),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                records.truncate(from);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Appends the bytes of a record.
fn read_record(file: &File, at: At, bytes: &mut Vec<u8>) -> io::Result<()> {
    let from = bytes.len();
    bytes.resize(from + at.length as usize, 0);
    let into = bytes.get_mut(from..).unwrap_or_default();
    file.read_exact_at(into, at.offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged_record(),
        _ => error,
    })?;
    if crc32c::crc32c(into) != at.crc {
        return Err(damaged_record());
    }
    Ok(())
}

fn damaged_record() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a record in the state is damaged")
}

#[cfg(test)]
mod tests;
