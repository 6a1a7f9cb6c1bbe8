//! The driver: carries the scheduler's actions out and tells it what came of them.
//!
//! Owns the loop, and the order of frame, move and event for each step. The only place that knows
//! scheduler, bracket, executor, state, cache and sinks. Must hold: a frame is written before what it
//! speaks of can be seen by anybody else; nothing here decides what is stale.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::attempt::{Cause, Ended, Usage};
use crate::disk::{Disk, View};
use crate::event::{
    CauseFields, DigestText, Event, How, OutputFields, Progress, RunEnded, RunState, Secs, Shown, Sink, StageTodo, TaskBlocked, TaskDone,
    TaskEnded, TaskFailed, TaskFields, TaskStarted, UsageFields, Warning, reason_fields,
};
use crate::graph::globs::Declared;
use crate::graph::inputs::Named;
use crate::graph::{Edge, Graph};
use crate::hash::{Kind, Stamp};
use crate::name::{AttemptId, RelPath, RunId, TaskId, TaskName};
use crate::os::beneath::Beneath;
use crate::os::clock::Clock;
use crate::os::signal::Stop;
use crate::pattern::Pattern;
use crate::plan::decide::Verdict;
use crate::plan::gather::gather;
use crate::plan::reason::Reason;
use crate::plan::walk::{Selection, Survey, ask};
use crate::record::cache::{Cache, Saver, Stored};
use crate::record::known::Known;
use crate::record::manifest::{Content, Manifest, Part};
use crate::record::record::{Made, Record, Tree};
use crate::record::state::Syncer;
use crate::record::state::frame::{Frame, How as FrameHow};
use crate::run::bracket::{self, Bracketed, Closed, Open, Output, Work};
use crate::run::disk_ground::DiskGround;
use crate::run::exec::mark::Mark;
use crate::run::exec::{Executor, Told};
use crate::run::prepare::{Common, Place, explained, params};
use crate::run::schedule::{Action, Found, Input, New, Policy, Room, Scheduler};
use crate::run::survey::{Answers, Sight, Surroundings, wanted};

/// Last lines of a failed command's log that are shown.
const TAIL_LINES: usize = 20;

/// Bytes of a log that are read for its last lines.
const TAIL_BYTES: u64 = 16 << 10;

/// An output up to this size, in bytes, is hashed at once: waking another thread costs more.
const AT_ONCE: u64 = 256 << 10;

/// How often the numbers are told while nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunFault {
    /// `state` cannot be written: nothing more is started, since nothing could be recorded.
    #[error("cannot write the state in {path}: {source}")]
    State {
        /// The pipeline's folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something of flow's own cannot be made.
    #[error("cannot use {path}: {source}")]
    Own {
        /// What.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Everything a run needs.
pub struct Driver<'a> {
    /// The graph.
    pub graph: Arc<Graph>,
    /// What is to be up to date.
    pub selection: &'a Selection,
    /// What is remembered.
    pub known: &'a mut Known,
    /// The workspace.
    pub disk: Arc<Disk>,
    /// The cache; `None`: it is off.
    pub cache: Option<Arc<Cache>>,
    /// Puts results into the cache.
    pub saver: Option<Saver>,
    /// Where outputs are moved.
    pub ground: DiskGround,
    /// `state`.
    pub state: Syncer,
    /// Runs commands.
    pub executor: Box<dyn Executor>,
    /// Hears what happens.
    pub sinks: &'a mut dyn Sink,
    /// The time.
    pub clock: &'a dyn Clock,
    /// The pipeline's own folder.
    pub own: &'a Beneath,
    /// The same as a path.
    pub own_path: PathBuf,
    /// The same as people see it.
    pub own_shown: String,
    /// This run.
    pub run: RunId,
    /// Slots.
    pub jobs: u32,
    /// A failure stops only what is below it.
    pub keep_going: bool,
    /// The caller's environment.
    pub surroundings: &'a Surroundings,
    /// Answers of tool commands.
    pub answers: &'a mut Answers,
    /// What marks this pipeline's processes.
    pub mark: Mark,
    /// The messages this run waits for.
    pub messages: (Sender<Message>, Receiver<Message>),
}

/// What the loop hears.
pub enum Message {
    /// From an executor.
    Told(Told),
    /// The outputs of an attempt were looked at.
    Looked(TaskId, Box<Looked>),
    /// A restore was copied, or could not be.
    Copied(TaskId, Result<(), String>),
    /// Frames up to here are on the disk.
    Synced(u64),
    /// A signal: which, and how many came before.
    Stop(Stop, u32),
}

/// What was found when a command had ended well.
pub struct Looked {
    made: Vec<Made>,
    fault: Option<Cause>,
    spoilt: Vec<RelPath>,
}

/// How the run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All fine.
    Fine,
    /// A task failed.
    Failed,
    /// A signal stopped it.
    Stopped(Stop),
}

/// What the whole run came to.
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// Numbers.
    pub counts: crate::event::Counts,
    /// Time that restored results would have taken.
    pub saved: Duration,
    /// Tasks whose result was spoilt, and by what.
    pub spoilt: Vec<(TaskName, RelPath)>,
    /// Tasks that were forced and are done.
    pub forced_done: Vec<String>,
}

/// A task that is ready to run. What it is made from is asked again when it starts: a whole layer may be
/// ready at once, and its manifests are large.
struct Ready {
    reasons: Vec<Reason>,
    restore: Option<(Arc<Record>, Vec<RelPath>)>,
}

/// An attempt at work.
struct Active {
    attempt: AttemptId,
    /// Its bracket was opened; if not, what stands at its outputs is not its own.
    begun: bool,
    open: Open,
    slot: usize,
    /// What its result is made from.
    manifest: Manifest,
    /// What it reads, with what that held when it started.
    read: Vec<(RelPath, Content)>,
    /// What comes back from the cache.
    record: Option<Record>,
    ended: Option<Ended>,
    /// Its end was said.
    told: bool,
    log: Option<String>,
}

impl Active {
    /// Of which nothing is known yet.
    fn new(attempt: AttemptId) -> Active {
        Active {
            attempt,
            begun: false,
            open: Open::default(),
            slot: usize::MAX,
            manifest: Manifest::default(),
            read: Vec::new(),
            record: None,
            ended: None,
            told: false,
            log: None,
        }
    }
}

/// A place where one command runs at a time: its log and its scratch folder are used again.
struct Slot {
    scratch: PathBuf,
    /// Its stamp when it was empty: as long as that stands, it is.
    empty: Option<Stamp>,
    taken: bool,
}

/// The loop's own state.
struct Loop<'a, 'b> {
    d: &'b mut Driver<'a>,
    scheduler: Scheduler,
    common: Common,
    ready: HashMap<TaskId, Ready>,
    active: HashMap<TaskId, Active>,
    by_name: HashMap<TaskName, TaskId>,
    /// Closed brackets, each with where its DONE frame ends.
    closed: VecDeque<(u64, Closed)>,
    slots: Vec<Slot>,
    /// The folder of logs, once a slot was made.
    logs: Option<Beneath>,
    inputs: VecDeque<Input>,
    actions: VecDeque<Action>,
    wake: Option<Duration>,
    finished: bool,
    stopped: Option<Stop>,
    /// flow itself cannot go on.
    broken: Option<RunFault>,
    saved: Duration,
    /// Of what the scheduler counts as restored: results that another task had left, which is no work.
    taken_over: u64,
    /// What was not flow's and made way.
    kept: Vec<(TaskId, bracket::Kept)>,
    spoilt: Vec<(TaskName, RelPath)>,
    forced_done: Vec<String>,
    todo: HashMap<u32, u64>,
    last_progress: Duration,
    /// What tasks make, once a glob is looked at again.
    declared: Arc<OnceLock<Declared>>,
}

impl Driver<'_> {
    /// Runs what is not `fresh`, in order, until nothing is left or nothing more may start.
    pub fn run(&mut self, fresh: &[bool]) -> Result<Ran, RunFault> {
        let common = Common::new(self.surroundings.variables.iter().cloned());
        let policies = self
            .graph
            .stages
            .iter()
            .map(|stage| Policy { retries: stage.retries, backoff: Duration::from_secs(1), ..Policy::default() })
            .collect();
        let room = Room {
            slots: self.jobs,
            memory: crate::os::process::memory().unwrap_or(0),
            pools: self.graph.pools.iter().map(|(_, size)| *size).collect(),
        };
        let keep_going = self.keep_going;
        let by_name = self.graph.tasks.iter().enumerate().map(|(index, task)| (task.name.clone(), TaskId(index as u32))).collect();
        let mut it = Loop {
            scheduler: Scheduler::new(policies, room, keep_going),
            common,
            ready: HashMap::new(),
            active: HashMap::new(),
            by_name,
            closed: VecDeque::new(),
            slots: Vec::new(),
            logs: None,
            inputs: VecDeque::new(),
            actions: VecDeque::new(),
            wake: None,
            finished: false,
            stopped: None,
            broken: None,
            saved: Duration::ZERO,
            taken_over: 0,
            kept: Vec::new(),
            spoilt: Vec::new(),
            forced_done: Vec::new(),
            todo: HashMap::new(),
            last_progress: Duration::ZERO,
            declared: Arc::default(),
            d: self,
        };
        it.enter(fresh);
        it.turn();
        it.close()
    }
}

impl Loop<'_, '_> {
    fn say(&mut self, event: Event) {
        self.d.sinks.take(self.d.clock.wall(), &event);
    }

    fn fields(&self, id: TaskId) -> TaskFields {
        let task = self.d.graph.task(id);
        let mut fields = TaskFields::of(&task.name);
        fields.axes.0 = task.axes.clone();
        fields
    }

    fn warn(&mut self, id: Option<TaskId>, code: &str, message: String) {
        let mut warning = Warning::new(code, message);
        if let Some(id) = id {
            warning = warning.about(self.fields(id));
        }
        self.say(Event::Warning(warning));
    }

    /// All chosen tasks, with their edges, go to the scheduler in one batch.
    fn enter(&mut self, fresh: &[bool]) {
        let graph = Arc::clone(&self.d.graph);
        let expected = expected(&graph, self.d.known);
        let mut batch = Vec::with_capacity(graph.nodes());
        for index in 0..graph.nodes() as u32 {
            let id = TaskId(index);
            let gate = graph.is_gate(id);
            if !gate && !self.d.selection.chosen[id.index()] {
                continue;
            }
            let mut new = if gate { New::gate(id) } else { New::task(id) };
            for (other, edge) in graph.above.of(id) {
                match edge {
                    Edge::Order => new.after_order.push(other),
                    Edge::File | Edge::Stamp => new.after.push(other),
                }
            }
            if !gate {
                let task = graph.task(id);
                new.policy = task.stage.0;
                new.wants = graph.stages[task.stage.index()].wants.clone();
                new.expected = expected[id.index()];
                new.rank = index;
                if fresh[id.index()] {
                    new.found = Some(Found::Fresh);
                } else {
                    *self.todo.entry(task.stage.0).or_default() += 1;
                }
            }
            batch.push(new);
        }
        self.inputs.push_back(Input::Added(batch, Vec::new()));
        let stages = self
            .todo
            .iter()
            .filter(|(_, todo)| **todo > 5)
            .map(|(stage, todo)| StageTodo { stage: graph.stages[*stage as usize].name.clone(), todo: *todo })
            .collect();
        let counts = self.counts();
        self.say(Event::Progress(Progress { counts, stages }));
    }

    /// Until nothing is left.
    fn turn(&mut self) {
        loop {
            while let Some(input) = self.inputs.pop_front() {
                let mut out = Vec::new();
                self.scheduler.step(self.d.clock.monotonic(), input, &mut out);
                // A free slot is filled before anything else is looked at: what is started runs meanwhile.
                let (first, rest): (Vec<Action>, Vec<Action>) = out.into_iter().partition(|action| matches!(action, Action::Launch(..)));
                self.actions.extend(first.into_iter().chain(rest));
                while let Some(action) = self.actions.pop_front() {
                    self.act(action);
                }
            }
            if self.finished {
                return;
            }
            self.d.sinks.flush();
            let now = self.d.clock.monotonic();
            let until = self.wake.map_or(TICK, |wake| wake.saturating_sub(now)).min(TICK);
            match self.d.messages.1.recv_timeout(until) {
                Ok(message) => {
                    self.hear(message);
                    // What came meanwhile is one batch for the scheduler's order, too.
                    while let Ok(message) = self.d.messages.1.try_recv() {
                        self.hear(message);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = self.d.clock.monotonic();
            if self.wake.is_some_and(|wake| wake <= now) {
                self.wake = None;
                self.inputs.push_back(Input::Tick);
            }
            if now.saturating_sub(self.last_progress) >= Duration::from_millis(100) {
                self.last_progress = now;
                let counts = self.counts();
                self.say(Event::Progress(Progress { counts, stages: Vec::new() }));
            }
        }
    }

    fn counts(&self) -> crate::event::Counts {
        let counts = self.scheduler.counts();
        let total = self.d.selection.count() as u64;
        let (ran, restored) = (counts.ran as u64, (counts.restored as u64).saturating_sub(self.taken_over));
        let up_to_date = counts.fresh as u64 + counts.restored as u64 - restored;
        let (failed, failed_allowed, not_run) =
            ((counts.failed + counts.cancelled) as u64, counts.allowed as u64, (counts.blocked + counts.skipped) as u64);
        let over = ran + restored + up_to_date + failed + failed_allowed + not_run;
        let not_started = if self.finished { total.saturating_sub(over) } else { 0 };
        crate::event::Counts { ran, restored, up_to_date, failed, failed_allowed, not_run, not_started, off: 0, total }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Told(Told::Placed(attempt, _)) => {
                if let Some(id) = self.by_name.get(&attempt.task).copied() {
                    self.inputs.push_back(Input::Started(id));
                }
            }
            Message::Told(Told::Ended(attempt, ended)) => self.ended(&attempt, ended),
            Message::Told(Told::Note(attempt, text) | Told::Unsure(attempt, text)) => {
                let id = self.by_name.get(&attempt.task).copied();
                self.warn(id, "left_running", text);
            }
            Message::Looked(id, looked) => self.looked(id, *looked),
            Message::Copied(id, result) => self.copied(id, result),
            Message::Synced(covered) => self.drop_asides(covered),
            Message::Stop(stop, before) => self.stop(stop, before),
        }
    }

    fn stop(&mut self, stop: Stop, before: u32) {
        self.stopped.get_or_insert(stop);
        if before == 0 {
            if !self.active.is_empty() {
                let again = if stop == Stop::Interrupt { "a second Ctrl-C" } else { "a second signal" };
                self.warn(None, "stopping", format!("{}: what runs is asked to end; {again} kills it", stop.name()));
            }
            self.inputs.push_back(Input::Stop { now: true });
        } else {
            // A second signal skips the grace.
            let all: Vec<AttemptId> = self.active.values().map(|active| active.attempt.clone()).collect();
            self.d.executor.cancel(&all, Duration::ZERO);
        }
    }

    /// flow itself cannot go on: what runs is stopped, nothing more is started.
    fn break_off(&mut self, fault: RunFault) {
        if self.broken.is_none() {
            self.broken = Some(fault);
            self.inputs.push_back(Input::Stop { now: true });
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Probe(id) => self.probe(id),
            Action::Restore(id) => self.restore(id),
            Action::Launch(id, n) => self.launch(id, n),
            Action::Settle(id) => self.settle(id),
            Action::Retry(id, at) => self.retry(id, at),
            Action::Failed(id, cause) => self.failed(id, cause),
            Action::Blocked(id, by) => {
                let (task, by) = (self.fields(id), self.d.graph.task(by).name.to_string());
                self.say(Event::TaskBlocked(TaskBlocked { task, by }));
            }
            Action::Cancel(id) => {
                if let Some(active) = self.active.get(&id) {
                    let grace = self.d.graph.stage_of(id).grace;
                    self.d.executor.cancel(std::slice::from_ref(&active.attempt), grace);
                }
            }
            Action::WakeAt(at) => self.wake = Some(at),
            Action::Finished => self.finished = true,
        }
    }

    /// The facts as they are now.
    fn sight<'s>(&'s mut self, graph: &'s Graph) -> Sight<'s> {
        Sight {
            graph,
            known: self.d.known,
            disk: &self.d.disk,
            cache: self.d.cache.as_deref(),
            surroundings: self.d.surroundings,
            answers: self.d.answers,
            unchanged: &[],
        }
    }

    /// Asks the one decision, with the true digests.
    fn probe(&mut self, id: TaskId) {
        let graph = Arc::clone(&self.d.graph);
        let mut sight = self.sight(&graph);
        let asked = sight.remembered(id).and_then(|remembered| gather(&graph, id, &mut sight).map(|gathered| (remembered, gathered)));
        let (remembered, gathered) = match asked {
            Ok(asked) => asked,
            Err(words) => return self.fault(id, Cause::NotStarted(words)),
        };
        if let Some(path) = gathered.missing.first() {
            return self.fault(id, Cause::InputGone(path.clone()));
        }
        let selection = self.d.selection;
        let verdict = ask(&graph, id, selection, &remembered, &gathered.manifest, &mut self.sight(&graph));
        let (found, reasons, restore) = match verdict {
            Verdict::UpToDate => return self.inputs.push_back(Input::Known(vec![(id, Found::Fresh)])),
            Verdict::Restore { record, files } => (Found::Restore, Vec::new(), Some((record, files))),
            Verdict::Run(reasons) => (Found::Run, reasons, None),
            Verdict::Missing(paths) => {
                let shown: Vec<&str> = paths.iter().map(RelPath::as_str).collect();
                return self
                    .fault(id, Cause::NotStarted(format!("`runs: never`, and {} is neither there nor in the cache", shown.join(", "))));
            }
            // What is above is done and commands may be asked: neither can be.
            Verdict::Pending { .. } | Verdict::Unknown(_) => (Found::Run, Vec::new(), None),
        };
        self.ready.insert(id, Ready { reasons, restore });
        self.inputs.push_back(Input::Known(vec![(id, found)]));
    }

    /// A task that cannot even be asked.
    fn fault(&mut self, id: TaskId, cause: Cause) {
        let task = self.fields(id);
        let result = CauseFields::of(&cause);
        let frame = Frame::Failed {
            task: self.d.graph.task(id).name.clone(),
            n: 0,
            ended: Ended { cause, usage: Usage::default() },
            at: self.d.clock.wall(),
            log: None,
        };
        self.write(&frame);
        self.say(Event::TaskFailed(Box::new(TaskFailed { task, result, allowed: false, failed_to: None, shown: Shown::default() })));
        self.inputs.push_back(Input::Known(vec![(id, Found::Fault)]));
    }

    /// Writes a frame and remembers it; where it ends.
    fn write(&mut self, frame: &Frame) -> Option<u64> {
        match self.d.state.add(frame) {
            Ok((end, record)) => {
                self.d.known.apply(frame, record);
                Some(end)
            }
            Err(source) => {
                self.break_off(RunFault::State { path: self.d.own_shown.clone(), source });
                None
            }
        }
    }

    fn slot(&mut self) -> io::Result<usize> {
        if let Some(free) = self.slots.iter().position(|slot| !slot.taken) {
            self.slots[free].taken = true;
            return Ok(free);
        }
        let name = format!("flow-{}-{}-{}", self.d.mark.id(), self.d.run.number, self.slots.len());
        let scratch = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&scratch)?;
        self.d.own.make_folder("logs")?;
        self.slots.push(Slot { empty: crate::disk::stamp(&scratch), scratch, taken: true });
        if self.logs.is_none() {
            self.logs = Some(self.d.own.folder("logs")?);
        }
        Ok(self.slots.len() - 1)
    }

    fn outputs(&self, id: TaskId) -> Vec<Output> {
        self.d.graph.task(id).outputs.iter().map(|output| Output { path: output.path.clone(), persist: false }).collect()
    }

    /// What the last DONE or SPOILT says of a task's outputs; stamps that are not believed are none.
    fn last_made(&self, id: TaskId) -> Vec<Made> {
        let name = &self.d.graph.task(id).name;
        let Ok(Some(mut record)) = self.d.known.standing(name) else { return Vec::new() };
        if self.d.known.task(name).is_some_and(|memory| !self.d.known.believed(&memory)) {
            for made in &mut record.outputs {
                made.stamp = Stamp::default();
            }
        }
        record.outputs
    }

    fn launch(&mut self, id: TaskId, n: u16) {
        let task = self.d.graph.task(id);
        let attempt = AttemptId { run: self.d.run, task: task.name.clone(), n };
        let outputs = self.outputs(id);
        let last = self.last_made(id);
        let graph = Arc::clone(&self.d.graph);
        let gathered = match gather(&graph, id, &mut self.sight(&graph)) {
            Ok(gathered) => gathered,
            Err(words) => return self.not_started(id, attempt, words),
        };
        if let Some(path) = gathered.missing.first() {
            return self.not_begun(id, attempt, Cause::InputGone(path.clone()));
        }
        let Some(key) = gathered.manifest.key() else {
            return self.not_started(id, attempt, "an input is not known".into());
        };
        let slot = match self.slot() {
            Ok(slot) => slot,
            Err(source) => {
                self.break_off(RunFault::Own { path: std::env::temp_dir().display().to_string(), source });
                return self.not_started(id, attempt, "the scratch folder cannot be made".into());
            }
        };
        let reasons: Vec<Reason> = self.ready.get(&id).map(|ready| ready.reasons.clone()).unwrap_or_default();
        let frame = Frame::Started {
            task: attempt.task.clone(),
            n,
            key,
            executor: self.d.executor.name().into(),
            slot: slot as u32,
            outputs: outputs.iter().map(|output| output.path.clone()).collect(),
            at: self.d.clock.wall(),
        };
        let sync = outputs.is_empty();
        let bracketed = Bracketed { attempt: &attempt, outputs: &outputs, last: &last, work: Work::Command };
        let opened = self.in_bracket(&frame, sync, |ground, started| bracket::begin(ground, &bracketed, started));
        let mut open = match opened {
            Ok(open) => open,
            Err(words) => {
                self.slots[slot].taken = false;
                return self.not_started(id, attempt, words);
            }
        };
        self.kept(id, &open);
        open.join(self.active.remove(&id).map(|earlier| earlier.open));
        for output in &outputs {
            self.d.disk.memo().forget(&output.path);
        }
        let active = Active { begun: true, open, slot, manifest: gathered.manifest, read: gathered.read, ..Active::new(attempt.clone()) };
        self.active.insert(id, active);
        let prepared = self.prepared(id, &attempt, slot, gathered.late_inputs);
        let refused = match prepared {
            Ok(launch) => {
                self.d.executor.submit(vec![launch]);
                None
            }
            Err(words) => Some(words),
        };
        // Told while the command starts.
        let fields = TaskStarted {
            task: self.fields(id),
            attempt: u32::from(n),
            reasons: reasons.iter().map(|reason| reason_fields(reason, place_of(&self.d.graph, id, reason))).collect(),
            command: self.d.graph.task(id).command_text(),
            executor: self.d.executor.name().into(),
            slots: self.d.graph.stage_of(id).wants.slots.min(self.d.jobs),
        };
        self.say(Event::TaskStarted(fields));
        if let Some(words) = refused {
            self.ended(&attempt, Ended { cause: Cause::NotStarted(words), usage: Usage::default() });
        }
    }

    fn prepared(
        &mut self,
        id: TaskId,
        attempt: &AttemptId,
        slot: usize,
        late: Option<Vec<Named>>,
    ) -> Result<crate::attempt::Launch, String> {
        let scratch = self.slots[slot].scratch.clone();
        if self.slots[slot].empty.is_none() || self.slots[slot].empty != crate::disk::stamp(&scratch) {
            empty(&scratch).map_err(|error| format!("cannot empty the scratch folder {}: {error}", scratch.display()))?;
            self.slots[slot].empty = crate::disk::stamp(&scratch);
        }
        let config = match params(&self.d.graph, id) {
            Some(json) => {
                let name = format!("logs/slot-{slot}.json");
                let write = self.d.own.create_file(&name).and_then(|mut file| io::Write::write_all(&mut file, json.as_bytes()));
                write.map_err(|error| format!("cannot write $FLOW_CONFIG: {error}"))?;
                Some(self.d.own_path.join(name))
            }
            None => None,
        };
        let place = Place {
            log: self.d.own_path.join(format!("logs/slot-{slot}")),
            scratch,
            config,
            mark: self.d.mark.attempt(attempt),
            slots: self.d.graph.stage_of(id).wants.slots.min(self.d.jobs),
        };
        self.common.launch(&self.d.graph, id, attempt.clone(), late, place)
    }

    /// Runs a step of the bracket whose frame is this one. An error is worded for people.
    fn in_bracket<T>(
        &mut self,
        frame: &Frame,
        sync: bool,
        step: impl FnOnce(&mut DiskGround, &mut dyn FnMut(&mut DiskGround) -> io::Result<()>) -> Result<T, bracket::Fault>,
    ) -> Result<T, String> {
        let (state, known) = (&self.d.state, &mut *self.d.known);
        let mut started = |_: &mut DiskGround| {
            let (_, record) = state.add(frame)?;
            known.apply(frame, record);
            if sync {
                state.sync()?;
            }
            Ok(())
        };
        match step(&mut self.d.ground, &mut started) {
            Ok(done) => Ok(done),
            Err(bracket::Fault::State(source)) => {
                let words = source.to_string();
                self.break_off(RunFault::State { path: self.d.own_shown.clone(), source });
                Err(words)
            }
            Err(fault) => Err(fault.to_string()),
        }
    }

    /// Notes what was not flow's and made way.
    fn kept(&mut self, id: TaskId, open: &Open) {
        for kept in &open.kept {
            self.d.disk.memo().forget(&RelPath(kept.path.as_str().into()));
            self.kept.push((id, kept.clone()));
        }
    }

    /// Tells of it, at the end: what was made anew with the same bytes has not been kept.
    fn tell_kept(&mut self) {
        for (id, kept) in std::mem::take(&mut self.kept) {
            let message = format!("{} was not what flow had made: it is kept as {}", kept.path, kept.place);
            let mut warning = Warning::new("output_kept", message).about(self.fields(id));
            warning.path = Some(kept.path);
            self.say(Event::Warning(warning));
        }
    }

    /// An attempt that ends before its command could be started.
    fn not_started(&mut self, id: TaskId, attempt: AttemptId, words: String) {
        self.not_begun(id, attempt, Cause::NotStarted(words));
    }

    fn not_begun(&mut self, id: TaskId, attempt: AttemptId, cause: Cause) {
        // What an earlier attempt of this run holds open is still to be closed.
        let (begun, open) = self.active.remove(&id).map_or((false, Open::default()), |earlier| (earlier.begun, earlier.open));
        self.active.insert(id, Active { begun, open, ..Active::new(attempt.clone()) });
        self.ended(&attempt, Ended { cause, usage: Usage::default() });
    }

    fn ended(&mut self, attempt: &AttemptId, ended: Ended) {
        let Some(id) = self.by_name.get(&attempt.task).copied() else { return };
        let ended = Ended { cause: explained(&self.d.graph, id, ended.cause), ..ended };
        let Some(active) = self.active.get_mut(&id).filter(|active| active.attempt == *attempt) else { return };
        let slot = active.slot;
        active.ended = Some(ended.clone());
        let log = if slot == usize::MAX { None } else { self.keep_log(attempt, slot) };
        if let Some(active) = self.active.get_mut(&id) {
            active.log = log;
        }
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.taken = false;
        }
        self.inputs.push_back(Input::Ended(id, ended.cause));
    }

    /// The line of an attempt's end, said once: when its cause is certain, and whether it is tried again.
    fn tell_ended(&mut self, id: TaskId, retry: Option<Duration>) {
        let Some(active) = self.active.get_mut(&id).filter(|active| !active.told) else { return };
        let Some(ended) = active.ended.clone() else { return };
        active.told = true;
        let Some(active) = self.active.get(&id) else { return };
        let event = TaskEnded {
            task: self.fields(id),
            attempt: u32::from(active.attempt.n),
            result: CauseFields::of(&ended.cause),
            usage: UsageFields::of(&ended.usage),
            log: active.log.as_ref().map(|log| format!("{}/{log}", self.d.own_shown)),
            retry_in_s: retry.map(Secs),
        };
        self.say(Event::TaskEnded(event));
    }

    /// A slot's log that got a byte becomes the attempt's.
    fn keep_log(&mut self, attempt: &AttemptId, slot: usize) -> Option<String> {
        let from = format!("logs/slot-{slot}");
        let size = self.logs.as_ref().and_then(|logs| logs.stat(&from[5..]).ok()).flatten().map_or(0, |stat| stat.st_size);
        if size == 0 {
            return None;
        }
        let to = log_name(attempt);
        match self.d.own.rename(&from, &to) {
            Ok(()) => Some(to),
            Err(error) => {
                self.warn(None, "log_lost", format!("cannot keep the log of `{}`: {error}", attempt.task));
                None
            }
        }
    }

    /// The command ended well: outputs and inputs are looked at, what is big on a thread of its own.
    fn settle(&mut self, id: TaskId) {
        let (graph, disk, sender) = (Arc::clone(&self.d.graph), Arc::clone(&self.d.disk), self.d.messages.0.clone());
        let small = graph.task(id).outputs.iter().all(|output| {
            !output.folder
                && disk.stamp(&output.path, false).ok().flatten().is_none_or(|stamp| stamp.kind() != Kind::Folder && stamp.size <= AT_ONCE)
        });
        if small {
            let read = self.active.get_mut(&id).map(|active| std::mem::take(&mut active.read)).unwrap_or_default();
            let looked = look(&graph, &disk, id, &read);
            return self.looked(id, looked);
        }
        let read = self.active.get(&id).map(|active| active.read.clone()).unwrap_or_default();
        let declared = Arc::clone(&self.declared);
        rayon::spawn(move || {
            let mut looked = look(&graph, &disk, id, &read);
            if looked.fault.is_none() {
                looked.spoilt.extend(moved_globs(&graph, &disk, id, &declared));
            }
            let _ = sender.send(Message::Looked(id, Box::new(looked)));
        });
    }

    fn looked(&mut self, id: TaskId, looked: Looked) {
        let Some(ended) = self.active.get(&id).and_then(|active| active.ended.clone()) else { return };
        if let Some(cause) = looked.fault {
            let ended = Ended { cause: cause.clone(), usage: ended.usage };
            if let Some(active) = self.active.get_mut(&id) {
                active.ended = Some(ended);
            }
            return self.inputs.push_back(Input::Settled(id, Err(cause)));
        }
        self.tell_ended(id, None);
        self.ready.remove(&id);
        let Some(mut active) = self.active.remove(&id) else { return };
        let Some(key) = active.manifest.key() else { return };
        let record = Record {
            key,
            manifest: std::mem::take(&mut active.manifest),
            outputs: looked.made,
            found: Vec::new(),
            nonce: nonce(&active.attempt, self.d.clock.wall()),
            ended,
            run: self.d.run,
            at: self.d.clock.wall(),
        };
        let before = self.d.known.standing(&active.attempt.task).ok().flatten();
        let spoilt_before = self.d.known.task(&active.attempt.task).map(|memory| memory.spoilt_by.clone()).unwrap_or_default();
        let frame = match looked.spoilt.is_empty() {
            true => Frame::Done {
                task: active.attempt.task.clone(),
                n: active.attempt.n,
                how: FrameHow::Ran,
                log: active.log.clone(),
                record: Some(Box::new(record.clone())),
            },
            false => Frame::Spoilt {
                task: active.attempt.task.clone(),
                n: active.attempt.n,
                inputs: looked.spoilt.clone(),
                log: active.log.clone(),
                record: Some(Box::new(record.clone())),
            },
        };
        if !self.done(id, active, &record, &frame) {
            return self.inputs.push_back(Input::Settled(id, Err(Cause::Cancelled)));
        }
        self.tell_done(id, How::Ran, looked.spoilt.is_empty(), &record, before.as_ref());
        if looked.spoilt.is_empty() {
            if let Some(saver) = &self.d.saver
                && self.d.graph.stage_of(id).cache
                && !record.outputs.is_empty()
                && let Some(cache) = &self.d.cache
            {
                saver.save(cache.lookup(&record.key).parts().1, Arc::new(record));
            }
            if self.d.selection.forced[id.index()] {
                self.forced_done.push(self.d.graph.task(id).name.to_string());
            }
        } else {
            self.tell_spoilt(id, &looked.spoilt, &spoilt_before);
        }
        self.inputs.push_back(Input::Settled(id, Ok(())));
    }

    fn tell_spoilt(&mut self, id: TaskId, paths: &[RelPath], before: &[RelPath]) {
        let name = self.d.graph.task(id).name.clone();
        for path in paths {
            let message = match before.contains(path) {
                // Nobody says who wrote it, but twice in a row is no chance.
                true => format!("{path} changed again while `{name}` ran: a task that writes its own input is never up to date"),
                false => format!("{path} changed while `{name}` ran: it will run again"),
            };
            let mut warning = Warning::new("spoilt", message).about(self.fields(id));
            warning.path = Some(path.to_string());
            self.say(Event::Warning(warning));
            self.spoilt.push((name.clone(), path.clone()));
        }
    }

    /// Closes the bracket well. False: the frame could not be written.
    fn done(&mut self, _id: TaskId, active: Active, record: &Record, frame: &Frame) -> bool {
        let Active { attempt, open, .. } = active;
        let closed = self.in_bracket(frame, false, |ground, written| bracket::done(ground, &attempt, open, &record.outputs, written));
        match closed {
            Ok(closed) => {
                if !closed.is_empty() {
                    self.closed.push_back((self.d.state.end(), closed));
                }
                true
            }
            Err(words) => {
                self.warn(None, "bracket", words);
                false
            }
        }
    }

    fn tell_done(&mut self, id: TaskId, how: How, recorded: bool, record: &Record, before: Option<&Record>) {
        let same = |made: &Made| {
            before.is_some_and(|before| before.outputs.iter().any(|old| old.path == made.path && old.what.content() == made.what.content()))
        };
        let outputs = record
            .outputs
            .iter()
            .map(|made| OutputFields {
                path: format!("{}{}", made.path, if made.what.kind() == Some(Kind::Folder) { "/" } else { "" }),
                digest: match made.what.content() {
                    Content::Is(digest) => Some(DigestText(digest)),
                    _ => None,
                },
                bytes: made.what.bytes(),
                changed: !same(made),
            })
            .collect();
        let task = self.fields(id);
        self.empty_outputs(id, record);
        self.say(Event::TaskDone(TaskDone { task, how, recorded, outputs }));
    }

    /// A 0-byte output never changes, so nothing below it reruns.
    fn empty_outputs(&mut self, id: TaskId, record: &Record) {
        let empty: Vec<RelPath> =
            record.outputs.iter().filter(|made| matches!(made.what, Tree::File { bytes: 0, .. })).map(|made| made.path.clone()).collect();
        for path in empty {
            let graph = Arc::clone(&self.d.graph);
            let below = graph.tasks.iter().any(|task| {
                task.inputs.iter().any(|input| matches!(&input.source, crate::graph::Source::Path { path: read, from: Some(from), .. } if *from == id && *read == path))
            });
            if below {
                let stage = &graph.stage_of(id).name;
                let mut warning = Warning::new(
                    "output_empty",
                    format!(
                        "{path} is empty and will never change, so nothing that reads it reruns: leave it out and use `{{from: {stage}}}`"
                    ),
                )
                .about(self.fields(id));
                warning.path = Some(path.to_string());
                self.say(Event::Warning(warning));
            }
        }
    }

    fn retry(&mut self, id: TaskId, at: Duration) {
        let wait = at.saturating_sub(self.d.clock.monotonic());
        self.tell_ended(id, Some(wait));
        // What it wrote stays until the next attempt makes way for its own.
    }

    /// The last attempt failed: what it wrote is put away, what stood before comes back.
    fn failed(&mut self, id: TaskId, cause: Cause) {
        self.ready.remove(&id);
        self.tell_ended(id, None);
        let Some(active) = self.active.remove(&id) else {
            self.inputs.push_back(Input::PutAway(id));
            return;
        };
        let Active { attempt, begun, open, ended, log, .. } = active;
        let outputs = if begun { self.outputs(id) } else { Vec::new() };
        let last = self.last_made(id);
        let had_aside: Vec<String> = open.aside.iter().map(|away| away.path.clone()).collect();
        let usage = ended.map(|ended| ended.usage).unwrap_or_default();
        let frame = Frame::Failed {
            task: attempt.task.clone(),
            n: attempt.n,
            ended: Ended { cause: cause.clone(), usage },
            at: self.d.clock.wall(),
            log: log.clone(),
        };
        let bracketed = Bracketed { attempt: &attempt, outputs: &outputs, last: &last, work: Work::Command };
        let put_away = self.in_bracket(&frame, false, |ground, written| bracket::fail(ground, &bracketed, open, written));
        let put_away = match put_away {
            Ok(put_away) => put_away,
            Err(words) => {
                self.warn(Some(id), "bracket", words);
                bracket::Failed::default()
            }
        };
        for back in &put_away.back {
            let path = RelPath(back.path.as_str().into());
            self.d.disk.memo().forget(&path);
            if let (Some(stamp), Some(made)) = (back.stamp, last.iter().find(|made| made.path == path))
                && let Tree::File { digest, .. } = &made.what
            {
                self.d.disk.know(path, stamp, *digest);
            }
        }
        let good_at = self.d.known.task(&attempt.task).map(|memory| memory.good_at).filter(|at| *at > 0);
        let moved_away = match &cause {
            Cause::Exit(_) => had_aside.clone(),
            _ => Vec::new(),
        };
        let failed_to = put_away
            .wrote
            .first()
            .map(|_| format!("{}/failed/{}/{}.{}/", self.d.own_shown, attempt.task.folder(), attempt.run.number, attempt.n));
        let shown = Shown {
            tail: log.as_ref().map(|log| tail(self.d.own, log)).unwrap_or_default(),
            still: put_away.back.iter().map(|back| back.path.clone()).collect(),
            still_of: good_at,
            moved_away,
        };
        let task = self.fields(id);
        self.say(Event::TaskFailed(Box::new(TaskFailed { task, result: CauseFields::of(&cause), allowed: false, failed_to, shown })));
        self.inputs.push_back(Input::PutAway(id));
    }

    fn restore(&mut self, id: TaskId) {
        let Some((record, files)) = self.ready.get(&id).and_then(|ready| ready.restore.clone()) else {
            return self.inputs.push_back(Input::Known(vec![(id, Found::Run)]));
        };
        let name = self.d.graph.task(id).name.clone();
        let attempt = AttemptId { run: self.d.run, task: name.clone(), n: 1 };
        let outputs = self.outputs(id);
        let last = self.last_made(id);
        let frame = Frame::Started {
            task: name,
            n: 1,
            key: record.key,
            executor: "restore".into(),
            slot: u32::MAX,
            outputs: outputs.iter().map(|output| output.path.clone()).collect(),
            at: self.d.clock.wall(),
        };
        let targets = if files.is_empty() { Vec::new() } else { record.outputs.clone() };
        let bracketed = Bracketed { attempt: &attempt, outputs: &outputs, last: &last, work: Work::Restore(&targets) };
        let opened = self.in_bracket(&frame, false, |ground, started| bracket::begin(ground, &bracketed, started));
        let open = match opened {
            Ok(open) => open,
            Err(words) => {
                self.warn(Some(id), "restore", words);
                return self.no_restore(id);
            }
        };
        self.kept(id, &open);
        let bring = open.bring.clone();
        let places: Result<Vec<_>, String> = bring
            .iter()
            .map(|bring| {
                let place = self.d.ground.place(&bring.path).and_then(|(folder, path)| Ok((folder.again()?, path.into_owned())));
                place.map_err(|error| format!("cannot restore {}: {error}", bring.path))
            })
            .collect();
        self.active.insert(id, Active { begun: true, open, record: Some((*record).clone()), ..Active::new(attempt) });
        let (cache, places) = match (self.d.cache.clone(), places) {
            (_, Ok(places)) if places.is_empty() => return self.copied(id, Ok(())),
            (Some(cache), Ok(places)) => (cache, places),
            (None, _) => return self.copied(id, Err("the cache is off".into())),
            (_, Err(words)) => return self.copied(id, Err(words)),
        };
        let sender = self.d.messages.0.clone();
        rayon::spawn(move || {
            let (list, _) = cache.lookup(&record.key).parts();
            let stored = list
                .into_iter()
                .find(|stored| same_outputs(&stored.record.outputs, &record.outputs))
                .unwrap_or_else(|| Arc::new(Stored::of((*record).clone())));
            let result = bring.iter().zip(&places).try_for_each(|(bring, (folder, path))| {
                cache.restore(&stored, &bring.what, folder, path).map(|_| ()).map_err(|fault| fault.to_string())
            });
            if result.is_ok() {
                cache.used(&stored);
            }
            let _ = sender.send(Message::Copied(id, result));
        });
    }

    /// The restore could not be done: its command must run.
    fn no_restore(&mut self, id: TaskId) {
        if let Some(ready) = self.ready.get_mut(&id)
            && let Some((record, _)) = ready.restore.take()
        {
            ready.reasons.push(Reason::NotInCache(record.key));
        }
        self.inputs.push_back(Input::Known(vec![(id, Found::Run)]));
    }

    fn copied(&mut self, id: TaskId, result: Result<(), String>) {
        let Some(mut active) = self.active.remove(&id) else { return };
        let Some(record) = active.record.take() else { return };
        let graph = Arc::clone(&self.d.graph);
        let restored = result.and_then(|()| {
            let looked = look(&graph, &self.d.disk, id, &[]);
            match looked.fault {
                None if same_outputs(&looked.made, &record.outputs) => Ok(looked.made),
                _ => Err("what came back is not what was stored".to_string()),
            }
        });
        let made = match restored {
            Ok(made) => made,
            Err(words) => {
                let outputs = self.outputs(id);
                let last = self.last_made(id);
                let targets = record.outputs.clone();
                let attempt = active.attempt.clone();
                let frame = Frame::Aborted { task: attempt.task.clone(), n: attempt.n, log: None };
                let bracketed = Bracketed { attempt: &attempt, outputs: &outputs, last: &last, work: Work::Restore(&targets) };
                let open = active.open;
                let closed = self.in_bracket(&frame, false, |ground, written| bracket::fail(ground, &bracketed, open, written));
                let words = closed.err().unwrap_or(words);
                self.warn(Some(id), "not_in_cache", format!("cannot restore `{}`: {words}", attempt.task));
                return self.no_restore(id);
            }
        };
        let files = self.ready.remove(&id).and_then(|ready| ready.restore).map(|(_, files)| files).unwrap_or_default();
        let how = if files.is_empty() { FrameHow::TakenOver } else { FrameHow::Restored };
        let before = self.d.known.standing(&active.attempt.task).ok().flatten();
        let saved = record.ended.usage.wall;
        let record = Record { outputs: made, ..record };
        let frame =
            Frame::Done { task: active.attempt.task.clone(), n: active.attempt.n, how, log: None, record: Some(Box::new(record.clone())) };
        if !self.done(id, active, &record, &frame) {
            return self.inputs.push_back(Input::Settled(id, Err(Cause::Cancelled)));
        }
        self.saved += saved;
        self.taken_over += u64::from(how == FrameHow::TakenOver);
        let how = if how == FrameHow::TakenOver { How::TakenOver } else { How::Restored };
        self.tell_done(id, how, true, &record, before.as_ref());
        self.inputs.push_back(Input::Settled(id, Ok(())));
    }

    /// Drops what stands aside for attempts whose frames are on the disk.
    fn drop_asides(&mut self, covered: u64) {
        let mut closed = Vec::new();
        while self.closed.front().is_some_and(|(end, _)| *end <= covered) {
            closed.extend(self.closed.pop_front().map(|(_, closed)| closed));
        }
        if closed.is_empty() {
            return;
        }
        match bracket::settle(&mut self.d.ground, closed) {
            Ok(dropped) => self.kept.retain(|(_, kept)| !dropped.contains(&kept.place)),
            Err(fault) => self.warn(None, "aside", fault.to_string()),
        }
    }

    /// The end: everything is synced and put in its place.
    fn close(mut self) -> Result<Ran, RunFault> {
        if let Some(saver) = self.d.saver.take() {
            saver.finish();
        }
        if let Some(words) = self.d.cache.as_ref().and_then(|cache| cache.warning()) {
            self.warn(None, "cache", words);
        }
        if !self.closed.is_empty()
            && let Ok(covered) = self.d.state.sync()
        {
            self.drop_asides(covered);
        }
        self.tell_kept();
        for slot in &self.slots {
            let _ = std::fs::remove_dir_all(&slot.scratch);
        }
        if let Some(fault) = self.broken.take() {
            return Err(fault);
        }
        let counts = self.counts();
        let outcome = match self.stopped {
            Some(stop) => Outcome::Stopped(stop),
            None if counts.failed > 0 => Outcome::Failed,
            None => Outcome::Fine,
        };
        Ok(Ran { outcome, counts, saved: self.saved, spoilt: self.spoilt, forced_done: self.forced_done })
    }
}

/// What stands at a task's outputs after its command, and which inputs are not what they were.
fn look(graph: &Graph, disk: &Disk, id: TaskId, read: &[(RelPath, Content)]) -> Looked {
    let task = graph.task(id);
    let mut looked = Looked { made: Vec::with_capacity(task.outputs.len()), fault: None, spoilt: Vec::new() };
    let mut missing = Vec::new();
    for output in &task.outputs {
        match disk.see(&output.path, View::Output) {
            Ok(Some(seen)) => {
                let folder = matches!(seen.tree, Tree::Folder(_));
                if folder && !output.folder {
                    looked
                        .fault
                        .get_or_insert(Cause::Checks(vec![format!("{} is a folder: declare it as `{}/`", output.path, output.path)]));
                } else if !folder && output.folder {
                    looked.fault.get_or_insert(Cause::Checks(vec![format!(
                        "{} is a file, declared as the folder `{}/`",
                        output.path, output.path
                    )]));
                }
                looked.made.push(Made { path: output.path.clone(), what: seen.tree, stamp: seen.stamp });
            }
            Ok(None) if output.optional => {
                looked.made.push(Made { path: output.path.clone(), what: Tree::Absent, stamp: Stamp::default() })
            }
            Ok(None) => missing.push(output.path.clone()),
            Err(fault) => {
                looked.fault.get_or_insert(Cause::Checks(vec![fault.to_string()]));
            }
        }
    }
    if !missing.is_empty() {
        looked.fault = Some(Cause::MissingOutputs(missing));
        return looked;
    }
    for (path, content) in read {
        let now = match disk.see(path, View::Input) {
            Ok(Some(seen)) => Some(seen.tree.content()),
            Ok(None) => Some(Content::Absent),
            Err(_) => None,
        };
        if now.as_ref() != Some(content) {
            looked.spoilt.push(path.clone());
        }
    }
    looked
}

/// The globs of a task that would find something else now.
fn moved_globs(graph: &Graph, disk: &Disk, id: TaskId, declared: &OnceLock<Declared>) -> Vec<RelPath> {
    let moved = graph.globs_of(id).filter(|glob| {
        let now = Pattern::parse(&glob.pattern).ok().and_then(|pattern| disk.glob(&pattern, &[]).ok());
        now.is_none_or(|now| !declared.get_or_init(|| Declared::of(graph)).same(glob, &now.paths))
    });
    moved.map(|glob| RelPath(glob.pattern.as_str().into())).collect()
}

fn same_outputs(made: &[Made], recorded: &[Made]) -> bool {
    made.len() == recorded.len()
        && made.iter().zip(recorded).all(|(made, recorded)| made.path == recorded.path && made.what.content() == recorded.what.content())
}

/// New at each execution, whatever the clock says.
fn nonce(attempt: &AttemptId, at: i64) -> u64 {
    let digest = crate::hash::Framed::new(b'N')
        .bytes(attempt.task.as_str().as_bytes())
        .number(attempt.run.nonce)
        .number(u64::from(attempt.n))
        .number(at as u64)
        .digest();
    u64::from_le_bytes(digest.0[..8].try_into().unwrap_or_default())
}

/// Where an attempt's log is kept, in the pipeline's own folder.
pub fn log_name(attempt: &AttemptId) -> String {
    format!("logs/{}/{}.{}.log", attempt.task.folder(), attempt.run.number, attempt.n)
}

/// The last lines of a log.
fn tail(own: &Beneath, log: &str) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = own.read(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let Ok(bytes) = read() else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| line.to_string()).collect()
}

/// Empties a folder, made if it is not there.
fn empty(folder: &std::path::Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return std::fs::create_dir_all(folder),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// How long each task will take: its own last time, else the median of its stage, else of all, else a
/// second.
pub fn expected(graph: &Graph, known: &Known) -> Vec<Duration> {
    let own: Vec<Option<Duration>> = graph.tasks.iter().map(|task| known.task(&task.name).and_then(|memory| memory.duration)).collect();
    let median = |mut list: Vec<Duration>| {
        list.sort_unstable();
        list.get(list.len() / 2).copied()
    };
    let all = median(own.iter().flatten().copied().collect()).unwrap_or(Duration::from_secs(1));
    let stages: Vec<Duration> = graph
        .stages
        .iter()
        .map(|stage| median(own[stage.tasks.0 as usize..stage.tasks.1 as usize].iter().flatten().copied().collect()).unwrap_or(all))
        .collect();
    own.iter().zip(&graph.tasks).map(|(own, task)| own.unwrap_or(stages[task.stage.index()])).collect()
}

/// Where the file says what a reason is about.
pub fn place_of(graph: &Graph, id: TaskId, reason: &Reason) -> Option<String> {
    let places = &graph.stage_of(id).places;
    let place = match reason {
        Reason::Part { is, was, .. } => match is.as_deref().or(was.as_deref())? {
            Part::Command(_) | Part::Shell(_) => places.command,
            Part::Env(name, _) => places.env.iter().find(|(has, _)| has == name).map(|(_, place)| *place)?,
            Part::Config(name, _) => graph.config_places.iter().find(|(has, _)| has == name).map(|(_, place)| *place)?,
            Part::Input { .. } | Part::Stamp { .. } => places.inputs,
            Part::Output { .. } => places.outputs,
            _ => return None,
        },
        _ => return None,
    };
    Some(graph.show_place(place))
}

/// The channel of a run.
pub fn messages() -> (Sender<Message>, Receiver<Message>) {
    channel()
}

/// The word for how a run ended.
pub fn run_state(outcome: Outcome) -> RunState {
    match outcome {
        Outcome::Fine => RunState::Fine,
        Outcome::Failed => RunState::Failed,
        Outcome::Stopped(_) => RunState::Interrupted,
    }
}

/// The last event of a run.
pub fn run_ended(result: &Ran, exit: u8, wall: Duration) -> Event {
    Event::RunEnded(RunEnded {
        state: run_state(result.outcome),
        exit: i32::from(exit),
        wall_s: Secs(wall),
        saved_s: Secs(result.saved),
        counts: result.counts,
    })
}

/// Which files of a record a restore of these needs: for estimates.
pub fn restore_bytes(record: &Record, files: &[RelPath]) -> u64 {
    wanted(record, files).iter().map(|(_, tree)| tree.bytes()).sum()
}
