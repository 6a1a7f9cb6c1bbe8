//! What is remembered of tasks, runs and files: the block and the frames of `state`, replayed.
//!
//! Owns the meaning of frames, and the sections from [`META`] on. Records stay in the file and are read
//! when they are asked for. Must hold: what a run has applied while it went on is what another process
//! reads afterwards, before and after compaction.
//!
//! **Power.** What a frame says counts for the boot it was written in. In another boot it is believed only
//! if a later SYNCED frame *of its own boot* covers it: then its data was on the disk before the power
//! went. So each thing carries its [`Trust`]: the boot, and where its frame ends.

mod memory;
mod table;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::hash::Digest;
use crate::name::{AttemptId, RelPath, RunId, TaskName};
use crate::record::manifest::Key;
use crate::record::record::Record;
use crate::record::state::frame::{Asked, At, Counts, End, Frame, Gist, How, Laid, RunEnd};
use crate::record::state::{Bytes, Reader, Section, StateFault};

pub use self::memory::{Last, Memory, Open, RunMemory, Stamped, Trust};
use self::table::{Found, Table};

/// The section with boots, runs and open attempts. Numbers from here to 199 are this module's.
pub const META: u32 = 100;
/// The section with what is remembered of tasks.
pub const TASKS: u32 = 101;
/// The section with stamps of files.
pub const STAMPS: u32 = 102;
/// The section with answers of tool commands.
pub const ANSWERS: u32 = 103;
/// The section with items of run-time fan-outs.
pub const EXPANSIONS: u32 = 104;
/// The section with the bytes of records.
pub const RECORDS: u32 = 105;

/// What the section [`META`] holds.
#[derive(Serialize, Deserialize, Default)]
struct Meta {
    boots: Vec<String>,
    now: u32,
    last_run: Option<RunMemory>,
    last_good_run: Option<RunMemory>,
    open: Vec<Open>,
}

/// A boot of which something here is.
#[derive(Clone, PartialEq, Debug)]
struct Boot {
    id: String,
    /// Frames of it that end here or before are on the disk with their data.
    covered: u64,
}

/// Everything that is remembered.
#[derive(Debug, Default)]
pub struct Known {
    file: Option<Arc<File>>,
    /// Offset and length of the section [`RECORDS`].
    records: (u64, u64),
    tasks: Table<Memory>,
    stamps: Table<Stamped>,
    answers: Table<(Digest, u64)>,
    expansions: Table<(Key, Vec<String>)>,
    open: BTreeMap<TaskName, Open>,
    last_run: Option<RunMemory>,
    last_good_run: Option<RunMemory>,
    boots: Vec<Boot>,
    /// The boot of the frames that are being applied, as [`Trust`] counts; 0: none was named.
    now: u32,
    /// Of what the block holds beside what is remembered here.
    block: Trust,
    /// This boot.
    here: String,
    /// Tasks of the section by their keys' first bytes, sorted.
    keys: OnceLock<Vec<(u64, u32)>>,
    /// Tasks done since, by the same.
    new_keys: HashMap<u64, Vec<TaskName>>,
    touched: HashSet<TaskName>,
    /// Tasks that ran well in the newest run, if it was one with `--force`.
    forced_done: HashSet<TaskName>,
    /// Whether anything was applied that the block does not hold.
    pub changed: bool,
}

impl Known {
    /// Nothing yet; `boot` is this boot's id.
    pub fn new(boot: &str) -> Known {
        Known { here: boot.to_string(), ..Known::default() }
    }

    /// Replays a state. Also says where its last whole frame ends.
    pub fn load(reader: &Reader, boot: &str) -> Result<(Known, u64), StateFault> {
        let mut known = Known { file: Some(reader.file()), records: reader.place(RECORDS).unwrap_or_default(), ..Known::new(boot) };
        if let Some(bytes) = reader.section(META)? {
            let meta: Meta = match postcard::take_from_bytes(&bytes) {
                Ok((meta, [])) => meta,
                _ => return Err(StateFault::damaged("what it says of runs")),
            };
            known.boots = meta.boots.into_iter().map(|id| Boot { id, covered: 0 }).collect();
            known.now = meta.now;
            known.block = known.trust(1);
            known.last_run = meta.last_run;
            known.last_good_run = meta.last_good_run;
            known.open = meta.open.into_iter().map(|open| (open.attempt.task.clone(), open)).collect();
        }
        known.tasks = table(reader, TASKS)?;
        known.stamps = table(reader, STAMPS)?;
        known.answers = table(reader, ANSWERS)?;
        known.expansions = table(reader, EXPANSIONS)?;
        let end = reader.frames(|frame, laid| known.apply(&frame, laid))?;
        Ok((known, end))
    }

    /// Takes a frame in: one that was read, or one that was just written.
    pub fn apply(&mut self, frame: &Frame, laid: Laid) {
        self.changed = true;
        match frame {
            Frame::RunStarted { run, boot, at, asked } => {
                self.now = self.boot_number(boot);
                self.last_run = Some(RunMemory { run: *run, at: *at, asked: asked.clone(), end: None, counts: Counts::default() });
                self.forced_done.clear();
            }
            Frame::Started { task, n, key, executor, slot, outputs, at } => {
                let run = self.last_run.as_ref().map_or(RunId { number: 0, nonce: 0 }, |run| run.run);
                let open = Open {
                    attempt: AttemptId { run, task: task.clone(), n: *n },
                    key: *key,
                    executor: executor.clone(),
                    slot: *slot,
                    outputs: outputs.clone(),
                    at: *at,
                    handle: None,
                    inputs: Vec::new(),
                };
                self.open.insert(task.clone(), open);
                self.change(task, |memory| memory.last = Last::Started);
            }
            Frame::Placed { task, handle, inputs } => {
                if let Some(open) = self.open.get_mut(task) {
                    open.handle = Some(handle.clone());
                    open.inputs.clone_from(inputs);
                }
            }
            Frame::Done { task, n, how, log, .. } => {
                if *how == How::Ran && self.last_run.as_ref().is_some_and(|run| run.asked.force) {
                    self.forced_done.insert(task.clone());
                }
                self.done(task, *n, log, laid, *how);
            }
            Frame::Spoilt { task, n, inputs, log, .. } => {
                let Some((at, gist)) = laid.record else { return };
                let (end, trust) = (self.ended(task, *n, log, gist), self.trust(laid.end));
                self.change(task, |memory| {
                    memory.last = Last::Spoilt;
                    memory.end = Some(end);
                    memory.spoilt = Some(at);
                    memory.spoilt_by.clone_from(inputs);
                    memory.spoilt_trust = trust;
                });
            }
            Frame::Failed { task, n, ended, at, log } => {
                let run = self.close(task, *n).map_or_else(|| self.run_number(), |open| open.attempt.run.number);
                let end = End { run, n: *n, at: *at, ended: ended.clone(), log: log.clone() };
                self.change(task, |memory| {
                    memory.last = Last::Failed;
                    memory.end = Some(end);
                });
            }
            Frame::Aborted { task, n, log } => {
                let open = self.close(task, *n);
                let run = open.as_ref().map_or_else(|| self.run_number(), |open| open.attempt.run.number);
                let end = End::unseen(run, *n, open.map_or(0, |open| open.at), log.clone());
                self.change(task, |memory| {
                    memory.last = Last::Aborted;
                    memory.end = Some(end);
                });
            }
            Frame::Verified { task } => {
                let trust = self.trust(laid.end);
                if self.task(task).is_some() {
                    self.change(task, |memory| match memory.spoilt {
                        Some(_) => memory.spoilt_trust = trust,
                        None => memory.trust = trust,
                    });
                }
            }
            Frame::Forgotten { task } => {
                self.open.remove(task);
                self.forget(task);
            }
            Frame::Expanded { stage, of, items } => self.expansions.put(&stage.as_str().into(), &(*of, items.clone())),
            Frame::Stamped { path, follow, stamp, digest } => {
                let stamped = Stamped { stamp: *stamp, digest: *digest, trust: self.trust(laid.end) };
                self.stamps.put(&stamp_name(path, *follow), &stamped);
            }
            Frame::Answered { command, answer, run } => self.answers.put(&command.as_str().into(), &(*answer, *run)),
            Frame::Synced { up_to, boot } => {
                if let Some(boot) = self.boots.iter_mut().find(|has| has.id == *boot) {
                    boot.covered = boot.covered.max(*up_to);
                }
            }
            Frame::RunEnded { run, state, exit, at, counts } => {
                if let Some(last) = self.last_run.as_mut().filter(|last| last.run == *run) {
                    last.end = Some((*state, *exit, *at));
                    last.counts = *counts;
                    if *state == RunEnd::Fine {
                        self.last_good_run = Some(last.clone());
                    }
                }
            }
        }
    }

    fn done(&mut self, task: &TaskName, n: u16, log: &Option<String>, laid: Laid, how: How) {
        let Some((at, gist)) = laid.record else { return };
        let (key, nonce, good_at, wall) = (gist.key, gist.nonce, gist.at, gist.ended.usage.wall);
        let (end, trust, good_run) = (self.ended(task, n, log, gist), self.trust(laid.end), self.run_number());
        self.change(task, |memory| {
            memory.last = Last::Well;
            memory.end = Some(end);
            memory.key = Some(key);
            memory.good = Some(at);
            memory.nonce = nonce;
            memory.good_at = good_at;
            memory.good_run = good_run;
            memory.trust = trust;
            // A copy's time is not the command's; it says that of the run that made it.
            if how == How::Ran || memory.duration.is_none() {
                memory.duration = Some(wall);
            }
            memory.spoilt = None;
            memory.spoilt_by = Vec::new();
            memory.spoilt_trust = Trust::default();
        });
        self.new_keys.entry(prefix(&key)).or_default().push(task.clone());
    }

    /// The attempt of a task is no longer open.
    fn close(&mut self, task: &TaskName, n: u16) -> Option<Open> {
        self.open.remove(task).filter(|open| open.attempt.n == n)
    }

    fn ended(&mut self, task: &TaskName, n: u16, log: &Option<String>, gist: Gist) -> End {
        let run = self.close(task, n).map_or_else(|| self.run_number(), |open| open.attempt.run.number);
        End { run, n, at: gist.at, ended: gist.ended, log: log.clone() }
    }

    fn change(&mut self, task: &TaskName, with: impl FnOnce(&mut Memory)) {
        let mut memory = self.task(task).unwrap_or_default();
        with(&mut memory);
        self.tasks.put(&task.0, &memory);
        if !self.touched.contains(task) {
            self.touched.insert(task.clone());
        }
    }

    fn boot_number(&mut self, id: &str) -> u32 {
        let place = self.boots.iter().position(|boot| boot.id == *id).unwrap_or_else(|| {
            self.boots.push(Boot { id: id.to_string(), covered: 0 });
            self.boots.len() - 1
        });
        place as u32 + 1
    }

    fn boot(&self, number: u32) -> Option<&Boot> {
        self.boots.get((number as usize).checked_sub(1)?)
    }

    fn trust(&self, end: u64) -> Trust {
        // Without any boot nothing can be believed later: `end` beyond all offsets is never covered.
        Trust { boot: if self.now == 0 { u32::MAX } else { self.now }, end }
    }

    /// Whether something is believed in every boot.
    fn is_synced(&self, trust: Trust) -> bool {
        trust.boot == 0 || self.boot(trust.boot).is_some_and(|boot| trust.end <= boot.covered)
    }

    fn trusts(&self, trust: Trust) -> bool {
        self.is_synced(trust) || self.boot(trust.boot).is_some_and(|boot| boot.id == self.here)
    }

    fn run_number(&self) -> u64 {
        self.last_run.as_ref().map_or(0, |run| run.run.number)
    }

    /// The file that records are read from, when it was not there at [`Known::load`]. Only for a state that
    /// has just begun: after compaction the state is loaded again, since all places are others.
    pub fn reads_from(&mut self, file: Arc<File>) {
        self.file = Some(file);
    }

    /// What is remembered of a task.
    pub fn task(&self, name: &TaskName) -> Option<Memory> {
        self.tasks.get(name.as_str()).map(|found| self.placed(found))
    }

    /// Makes places in the section [`RECORDS`] places in the file.
    fn placed(&self, found: Found<Memory>) -> Memory {
        let place = |at: Option<At>| {
            let at = at?;
            let end = at.offset.checked_add(u64::from(at.length))?;
            (end <= self.records.1).then_some(At { offset: at.offset + self.records.0, ..at })
        };
        match found {
            Found::Stored(memory) => Memory { good: place(memory.good), spoilt: place(memory.spoilt), ..memory },
            Found::Put(memory) => memory,
        }
    }

    /// All tasks by name, also those that are gone. Each is decoded on the way: see [`Known::names`].
    pub fn tasks(&self) -> impl Iterator<Item = (TaskName, Memory)> {
        self.tasks.names().filter_map(|name| Some((TaskName::from(name), self.placed(self.tasks.get(name)?))))
    }

    /// The names of all tasks, sorted, also of those that are gone.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tasks.names()
    }

    /// A record. An error: the file cannot be read, or is damaged there.
    pub fn read(&self, at: At) -> io::Result<Record> {
        let file = self.file.as_ref().ok_or_else(|| io::Error::other("no state to read a record from"))?;
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a record in the state is damaged");
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(at.length as usize).map_err(|_| damaged())?;
        bytes.resize(at.length as usize, 0);
        file.read_exact_at(&mut bytes, at.offset)?;
        if crc32c::crc32c(&bytes) != at.crc {
            return Err(damaged());
        }
        match postcard::take_from_bytes(&bytes) {
            Ok((record, [])) => Ok(record),
            _ => Err(damaged()),
        }
    }

    /// As [`Known::read`], to be shared.
    pub fn record(&self, at: At) -> io::Result<Arc<Record>> {
        self.read(at).map(Arc::new)
    }

    /// What stands at a task's outputs as far as is known: its spoilt result, else its last good one.
    pub fn standing(&self, name: &TaskName) -> io::Result<Option<Record>> {
        match self.task(name).and_then(|memory| memory.spoilt.or(memory.good)) {
            Some(at) => self.read(at).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the stamps of what stands at a task's outputs are believed: of its spoilt result, else of
    /// its last good one.
    pub fn believed(&self, memory: &Memory) -> bool {
        self.trusts(if memory.spoilt.is_some() { memory.spoilt_trust } else { memory.trust })
    }

    /// What stands at a task's outputs was read in this boot, and is what its record says. The next block
    /// keeps that; [`Frame::Verified`] says so before that.
    pub fn believe(&mut self, name: &TaskName) {
        let Some(mut memory) = self.task(name).filter(|memory| !self.believed(memory)) else { return };
        let boot = self.boot_number(&self.here.clone());
        let trust = Trust { boot, end: u64::MAX };
        match memory.spoilt {
            Some(_) => memory.spoilt_trust = trust,
            None => memory.trust = trust,
        }
        self.tasks.put(&name.0, &memory);
        self.changed = true;
    }

    /// Tasks whose last good record has this key, by name: whoever left it.
    pub fn with_key(&self, key: &Key) -> Vec<(TaskName, At)> {
        let keys = self.keys.get_or_init(|| {
            let mut keys: Vec<(u64, u32)> = self
                .tasks
                .stored_parts::<Option<Key>>()
                .filter_map(|(place, key)| Some((prefix(&key?), u32::try_from(place).ok()?)))
                .collect();
            keys.sort_unstable();
            keys
        });
        let prefix = prefix(key);
        let from = keys.partition_point(|(has, _)| *has < prefix);
        let stored = keys
            .iter()
            .skip(from)
            .take_while(|(has, _)| *has == prefix)
            .filter_map(|(_, place)| self.tasks.name(*place as usize))
            .map(TaskName::from);
        let new = self.new_keys.get(&prefix).into_iter().flatten().cloned();
        let mut names: Vec<TaskName> = stored.chain(new).collect();
        names.sort();
        names.dedup();
        // A task may have another key by now.
        let good = |name: &TaskName| self.task(name).filter(|memory| memory.key == Some(*key)).and_then(|memory| memory.good);
        names.into_iter().filter_map(|name| good(&name).map(|at| (name, at))).collect()
    }

    /// Attempts without an end, by name of their tasks.
    pub fn open(&self) -> Vec<&Open> {
        self.open.values().collect()
    }

    /// The newest run.
    pub fn last_run(&self) -> Option<&RunMemory> {
        self.last_run.as_ref()
    }

    /// Tasks that the newest run was to force and that are done since, by it or by the runs it went on
    /// with, by name.
    pub fn forced_done(&self) -> Vec<String> {
        let mut done: Vec<String> = self.forced_done.iter().map(TaskName::to_string).collect();
        done.extend(self.last_run.iter().flat_map(|run| run.asked.forced_done.iter().cloned()));
        done.sort();
        done.dedup();
        done
    }

    /// The newest run, to note what it did. It is kept by the next block only.
    pub fn last_run_mut(&mut self) -> Option<&mut RunMemory> {
        self.last_run.as_mut()
    }

    /// The newest run that ended well.
    pub fn last_good_run(&self) -> Option<&RunMemory> {
        self.last_good_run.as_ref()
    }

    /// The number of the next run.
    pub fn next_run(&self) -> u64 {
        self.run_number().saturating_add(1)
    }

    /// What a tool command answered last, and in which run.
    pub fn answer(&self, command: &str) -> Option<(Digest, u64)> {
        self.answers.get(command).map(either)
    }

    /// The last items of a stage's run-time fan-out, and what they were made of.
    pub fn expansion(&self, stage: &str) -> Option<(Key, Vec<String>)> {
        self.expansions.get(stage).map(either)
    }

    /// What a file held when it was last read, and whether that is believed in this boot.
    pub fn stamp(&self, path: &RelPath, follow: bool) -> Option<(Stamped, bool)> {
        let stamped = self.stamps.get(&stamp_name(path, follow)).map(either)?;
        Some((stamped, self.trusts(stamped.trust)))
    }

    /// All files that were read: path, whether a link was followed, what was found, whether it is believed.
    pub fn stamps(&self) -> impl Iterator<Item = (RelPath, bool, Stamped, bool)> {
        self.stamps.names().filter_map(|name| {
            let stamped = self.stamps.get(name).map(either)?;
            let (path, follow) = name.strip_prefix(NO_FOLLOW).map_or((name, true), |path| (path, false));
            Some((RelPath(path.into()), follow, stamped, self.trusts(stamped.trust)))
        })
    }

    /// The boot in which the newest frames were written; empty: no run is known.
    pub fn boot_id(&self) -> &str {
        self.boot(self.now).map_or("", |boot| &boot.id)
    }

    /// Whether the newest frames were written in this boot.
    pub fn is_this_boot(&self) -> bool {
        self.boot(self.now).is_none_or(|boot| boot.id == self.here)
    }

    /// Whether what the block holds beside what is remembered here, digests by stamp say, is believed.
    pub fn trusts_block(&self) -> bool {
        self.trusts(self.block)
    }

    /// Whether it will be in other boots, too.
    pub fn is_block_synced(&self) -> bool {
        self.is_synced(self.block)
    }

    /// Tasks that frames behind the block speak of: what the block says of them is old.
    pub fn touched(&self) -> HashSet<TaskName> {
        self.touched.clone()
    }

    /// Forgets a task. The next block is without it; [`Frame::Forgotten`] says so before that.
    pub fn forget(&mut self, name: &TaskName) {
        self.tasks.remove(name.as_str());
        self.touched.remove(name);
        self.changed = true;
    }

    /// Keeps only tasks of which `keep` says so, and those with an open attempt. For the next block.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let gone: Vec<TaskName> = self.names().filter(|name| !keep(name)).map(TaskName::from).collect();
        for name in gone {
            if !self.open.contains_key(&name) {
                self.forget(&name);
            }
        }
    }

    /// Everything for a new block. Records are copied from file to file when it is written; one that was
    /// damaged stays so, and is seen to be when it is read.
    pub fn sections(&self) -> io::Result<Vec<Section>> {
        let mut boots = Boots { known: self, kept: Vec::new() };
        let now = boots.number(self.now);
        let mut pieces: Vec<At> = Vec::new();
        let mut next = 0;
        let mut move_record = |at: Option<At>| {
            at.map(|at| {
                pieces.push(at);
                let moved = At { offset: next, ..at };
                next += u64::from(at.length);
                moved
            })
        };
        let tasks = self.tasks.write(|_, found| {
            let memory = self.placed(found);
            Some(Memory {
                good: move_record(memory.good),
                spoilt: move_record(memory.spoilt),
                trust: boots.moved(memory.trust),
                spoilt_trust: boots.moved(memory.spoilt_trust),
                ..memory
            })
        })?;
        let stamps = self.stamps.write(|_, found| {
            let stamped = either(found);
            Some(Stamped { trust: boots.moved(stamped.trust), ..stamped })
        })?;
        let answers = self.answers.write(|_, found| Some(either(found)))?;
        let expansions = self.expansions.write(|_, found| Some(either(found)))?;
        let meta = Meta {
            boots: boots.kept.into_iter().filter_map(|number| self.boot(number)).map(|boot| boot.id.clone()).collect(),
            now,
            last_run: self.last_run.clone().map(|run| RunMemory { asked: Asked { forced_done: self.forced_done(), ..run.asked }, ..run }),
            last_good_run: self.last_good_run.clone(),
            open: self.open.values().cloned().collect(),
        };
        let mut sections: Vec<Section> = vec![
            (META, postcard::to_stdvec(&meta).map_err(io::Error::other)?).into(),
            (TASKS, tasks).into(),
            (STAMPS, stamps).into(),
            (ANSWERS, answers).into(),
            (EXPANSIONS, expansions).into(),
        ];
        if !pieces.is_empty() {
            let file = self.file.as_ref().ok_or_else(|| io::Error::other("no state to copy records from"))?;
            sections.push(Section { id: RECORDS, bytes: Bytes::Copied(Arc::clone(file), pieces) });
        }
        Ok(sections)
    }
}

/// The boots that a new block speaks of, numbered anew.
struct Boots<'a> {
    known: &'a Known,
    /// Old numbers.
    kept: Vec<u32>,
}

impl Boots<'_> {
    fn number(&mut self, old: u32) -> u32 {
        if self.known.boot(old).is_none() {
            return 0;
        }
        let place = self.kept.iter().position(|has| *has == old).unwrap_or_else(|| {
            self.kept.push(old);
            self.kept.len() - 1
        });
        place as u32 + 1
    }

    fn moved(&mut self, trust: Trust) -> Trust {
        if self.known.is_synced(trust) {
            return Trust::default();
        }
        match self.number(trust.boot) {
            0 => Trust { boot: u32::MAX, end: u64::MAX },
            boot => Trust { boot, end: 1 },
        }
    }
}

/// A table's section; without one the table is empty.
fn table<V: Serialize + serde::de::DeserializeOwned>(reader: &Reader, id: u32) -> Result<Table<V>, StateFault> {
    match reader.section(id)? {
        Some(bytes) => Table::read(&bytes).ok_or(StateFault::damaged("what it remembers")),
        None => Ok(Table::default()),
    }
}

fn either<V>(found: Found<V>) -> V {
    match found {
        Found::Stored(value) | Found::Put(value) => value,
    }
}

/// No path holds this, so a link itself and what it leads to have names of their own.
const NO_FOLLOW: char = '\0';

fn stamp_name(path: &RelPath, follow: bool) -> Arc<str> {
    if follow {
        return Arc::clone(&path.0);
    }
    format!("{NO_FOLLOW}{path}").into()
}

fn prefix(key: &Key) -> u64 {
    key.0.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
