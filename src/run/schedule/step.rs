//! The machine itself: one input in, actions out.
//!
//! Owns which state follows which. Must hold: whatever is over is followed to what lies below it
//! by a list of work, never by a call within a call; new work is started in one place, after
//! everything else of a step, and only while the run neither stops nor failed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use crate::attempt::Cause;
use crate::name::TaskId;

use super::admit::Admission;
use super::order::{self, Turn};
use super::state::{Fixed, Kind, State, Table};
use super::{Action, Counts, Found, Input, New, Policy, Room, retry};

/// How far a run has been told to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Going,
    Draining,
    Cancelling,
}

/// What something that is over means for what is below it.
#[derive(Clone, Copy)]
enum Verdict {
    /// Done. `moved`: its command ran, so what was known of its readers beforehand is void.
    Done { moved: bool },
    /// An allowed failure, of `by`.
    Allowed { by: TaskId },
    /// Nothing below it runs, because of `by`. `soft`: whose failure is allowed.
    Blocked { by: TaskId, soft: bool },
    /// It was cancelled: nothing follows.
    Nothing,
}

/// A failed attempt that is to be tried again, until it is started.
struct Again {
    cause: Cause,
    at: Duration,
}

/// The scheduler: see the module.
pub struct Scheduler {
    policies: Vec<Policy>,
    keep_going: bool,
    table: Table,
    admission: Admission,
    restores: BinaryHeap<Reverse<Turn>>,
    /// How many restores run, and may run, at once.
    restoring: usize,
    restores_at_once: usize,
    /// By place. Those still resting are in `alarms` too.
    again: BTreeMap<u32, Again>,
    alarms: BTreeSet<(Duration, u32)>,
    /// The time last said with `WakeAt`.
    wake: Option<Duration>,
    /// What is over and not yet followed downwards.
    over: VecDeque<(u32, Verdict)>,
    probes: Vec<Turn>,
    starting: Vec<Turn>,
    stop: Stop,
    failing: bool,
    begun: bool,
    finished: bool,
    unexpected: u64,
}

impl Scheduler {
    /// A scheduler without tasks. `policies` are named by index in [`New::policy`] (one that is not
    /// there: no retries). With `keep_going` a failure stops only what is below it, else nothing
    /// new is started after the first one.
    pub fn new(policies: Vec<Policy>, room: Room, keep_going: bool) -> Scheduler {
        Scheduler {
            policies,
            keep_going,
            table: Table::default(),
            admission: Admission::new(&room),
            restores: BinaryHeap::new(),
            restoring: 0,
            restores_at_once: (room.slots.max(1) as usize).saturating_mul(2),
            again: BTreeMap::new(),
            alarms: BTreeSet::new(),
            wake: None,
            over: VecDeque::new(),
            probes: Vec::new(),
            starting: Vec::new(),
            stop: Stop::Going,
            failing: false,
            begun: false,
            finished: false,
            unexpected: 0,
        }
    }

    /// Takes what happened at `now` (from any fixed point, such as the run's start) and adds what
    /// is to be done to `out`, in order. Input about a task that is unknown, or that does not fit
    /// where the task is, changes nothing.
    pub fn step(&mut self, now: Duration, input: Input, out: &mut Vec<Action>) {
        let tick = input == Input::Tick;
        self.end_rests(now);
        match input {
            Input::Added(new, closes) => self.add(new, &closes),
            Input::Retired(ids) => self.retire(&ids),
            Input::Known(found) => {
                for (id, found) in found {
                    self.with(id, |scheduler, slot| scheduler.known(slot, found));
                }
            }
            Input::Adopted(id, n) => self.with(id, |scheduler, slot| scheduler.adopt(slot, n, out)),
            Input::Started(_) | Input::Tick => {}
            Input::Ended(id, cause) => self.with(id, |scheduler, slot| scheduler.ended(slot, cause, now, out)),
            Input::Settled(id, result) => self.with(id, |scheduler, slot| scheduler.settled(slot, result, now, out)),
            Input::PutAway(id) => self.with(id, |scheduler, slot| scheduler.put_away(slot)),
            Input::Stop { now } => self.stop(now, out),
        }
        self.follow(out);
        if self.halted() {
            self.drop_retries(out);
        } else {
            self.start(out);
        }
        self.say_probes(out);
        self.say_alarm(tick, out);
        self.say_finished(out);
    }

    /// How many tasks are where.
    pub fn counts(&self) -> Counts {
        self.table.counts()
    }

    /// Commands that run.
    pub fn running(&self) -> usize {
        self.table.counts().running
    }

    /// Tasks that are not over.
    pub fn left(&self) -> usize {
        self.table.counts().left()
    }

    /// Whether nothing new is started any more, because of a failure or a stop.
    pub fn halted(&self) -> bool {
        self.failing || self.stop != Stop::Going
    }

    /// Whether [`Action::Finished`] was said.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Inputs that did not fit: a fault of the driver, except for answers that came too late.
    pub fn unexpected(&self) -> u64 {
        self.unexpected
    }

    fn with(&mut self, id: TaskId, act: impl FnOnce(&mut Scheduler, u32)) {
        match self.table.find(id) {
            Some(slot) => act(self, slot),
            None => self.unexpected += 1,
        }
    }

    fn turn(&self, slot: u32) -> Turn {
        let task = self.table.at(slot);
        Turn { remaining: task.remaining, rank: task.rank, id: task.id, slot }
    }

    fn add(&mut self, mut new: Vec<New>, closes: &[TaskId]) {
        self.begun = true;
        let mut added = Vec::with_capacity(new.len());
        new.retain(|new| {
            let fixed = Fixed {
                id: new.id,
                gate: new.gate,
                held: new.gate && new.held,
                policy: new.policy,
                shape: self.admission.shape(&new.wants),
                rank: new.rank,
                expected: order::micros(new.expected),
            };
            let slot = self.table.add(fixed);
            match slot {
                Some(slot) => added.push(slot),
                None => self.unexpected += 1,
            }
            slot.is_some()
        });
        for (new, &slot) in new.iter().zip(&added) {
            let edges = new.after.iter().map(|id| (id, Kind::Files)).chain(new.after_order.iter().map(|id| (id, Kind::Order)));
            for (&above, kind) in edges {
                self.hang(slot, above, kind);
            }
            for &below in &new.before {
                match self.table.find(below) {
                    Some(below) if self.table.state(below) == State::Waiting => self.table.connect(slot, below, Kind::Files),
                    _ => self.unexpected += 1,
                }
            }
        }
        order::set_remaining(&mut self.table, &added);
        // Answers first: a fault among them stops the others before they are asked.
        for (new, &slot) in new.iter().zip(&added) {
            match new.found {
                Some(Found::Fresh) => self.table.at_mut(slot).early = true,
                Some(found) if self.is_ready(slot) && !new.gate && !self.halted() => {
                    self.table.set(slot, State::Probing);
                    self.known(slot, found);
                }
                _ => {}
            }
        }
        for &slot in &added {
            if self.is_ready(slot) {
                self.ready(slot);
            }
        }
        for &id in closes {
            self.with(id, |scheduler, slot| {
                if !scheduler.table.close(slot) {
                    scheduler.unexpected += 1;
                } else if scheduler.is_ready(slot) {
                    scheduler.ready(slot);
                }
            });
        }
    }

    /// Hangs a new task below another, which may be over.
    fn hang(&mut self, slot: u32, above: TaskId, kind: Kind) {
        let Some(place) = self.table.find(above) else { return };
        let soft = match self.table.state(place) {
            State::Fresh | State::Restored | State::Ran | State::Passed | State::Gone => return,
            State::Allowed if kind == Kind::Order => return,
            State::Allowed if self.table.at(slot).gate => {
                let by = self.table.at(place).by.unwrap_or(above);
                self.table.at_mut(slot).by.get_or_insert(by);
                return;
            }
            State::Allowed | State::Skipped => true,
            State::Failed | State::Blocked => false,
            // What was cancelled is never over for those below: they are not started.
            _ => return self.table.connect(place, slot, kind),
        };
        let by = self.table.at(place).by.unwrap_or(above);
        self.block(slot, by, soft);
    }

    /// Whether everything above it is over, and it still waits.
    fn is_ready(&self, slot: u32) -> bool {
        self.table.state(slot) == State::Waiting && self.table.at(slot).open == 0
    }

    /// What follows when it is ready. While the run halts only what needs no work does.
    fn ready(&mut self, slot: u32) {
        let task = self.table.at(slot);
        if task.gate {
            match task.by {
                Some(by) => self.end(slot, State::Allowed, Verdict::Allowed { by }),
                None => {
                    let moved = task.moved;
                    self.end(slot, State::Passed, Verdict::Done { moved });
                }
            }
        } else if task.early && !task.moved {
            self.end(slot, State::Fresh, Verdict::Done { moved: false });
        } else if !self.halted() {
            self.table.set(slot, State::Probing);
            self.probes.push(self.turn(slot));
        }
    }

    fn known(&mut self, slot: u32, found: Found) {
        let (state, gate) = (self.table.state(slot), self.table.at(slot).gate);
        match (state, found) {
            (State::Waiting, Found::Fault) if gate => self.fault(slot),
            (State::Waiting, Found::Fresh) if !gate => {
                self.table.at_mut(slot).early = true;
                if self.is_ready(slot) {
                    self.ready(slot);
                }
            }
            (State::Waiting, _) => {}
            (State::Probing, Found::Restore) => {
                self.table.set(slot, State::ToRestore);
                self.restores.push(Reverse(self.turn(slot)));
            }
            (State::Probing | State::Restoring, _) => {
                self.leave_restore(state);
                match found {
                    Found::Fresh => self.end(slot, State::Fresh, Verdict::Done { moved: false }),
                    Found::Run => self.queue(slot),
                    Found::Fault => self.fault(slot),
                    Found::Restore => self.restoring += 1, // said twice: goes on
                }
            }
            _ => self.unexpected += 1,
        }
    }

    fn leave_restore(&mut self, state: State) {
        if state == State::Restoring {
            self.restoring -= 1;
        }
    }

    fn queue(&mut self, slot: u32) {
        self.table.set(slot, State::Queued);
        let (turn, shape) = (self.turn(slot), self.table.at(slot).shape);
        self.admission.wait(turn, shape);
    }

    fn adopt(&mut self, slot: u32, n: u16, out: &mut Vec<Action>) {
        let task = self.table.at(slot);
        if task.gate || !matches!(self.table.state(slot), State::Waiting | State::Probing | State::Queued) {
            self.unexpected += 1;
            return;
        }
        let (id, shape) = (task.id, task.shape);
        if self.table.state(slot) == State::Queued {
            self.again.remove(&slot);
            self.admission.withdraw(id, shape);
        }
        self.admission.take(shape);
        self.table.set(slot, State::Running);
        self.table.at_mut(slot).attempt = n;
        if self.stop == Stop::Cancelling {
            out.push(Action::Cancel(id));
        }
    }

    fn ended(&mut self, slot: u32, cause: Cause, now: Duration, out: &mut Vec<Action>) {
        if self.table.state(slot) != State::Running {
            self.unexpected += 1;
            return;
        }
        let (id, shape) = (self.table.at(slot).id, self.table.at(slot).shape);
        self.admission.give_back(shape);
        if cause.is_success() {
            self.table.set(slot, State::Settling);
            out.push(Action::Settle(id));
        } else {
            self.attempt_failed(slot, cause, now, out);
        }
    }

    fn settled(&mut self, slot: u32, result: Result<(), Cause>, now: Duration, out: &mut Vec<Action>) {
        match (self.table.state(slot), result) {
            (State::Settling, Ok(())) => self.end(slot, State::Ran, Verdict::Done { moved: true }),
            (State::Settling, Err(cause)) => self.attempt_failed(slot, cause, now, out),
            (State::Restoring, Ok(())) => {
                self.restoring -= 1;
                self.end(slot, State::Restored, Verdict::Done { moved: false });
            }
            (State::Restoring, Err(cause)) => {
                self.restoring -= 1;
                self.fail(slot, cause, out);
            }
            _ => self.unexpected += 1,
        }
    }

    fn attempt_failed(&mut self, slot: u32, cause: Cause, now: Duration, out: &mut Vec<Action>) {
        let (id, attempt) = (self.table.at(slot).id, self.table.at(slot).attempt);
        let wait = if self.halted() { None } else { self.policy(slot).and_then(|policy| retry::wait(policy, attempt, &cause)) };
        let Some(wait) = wait else {
            return self.fail(slot, cause, out);
        };
        let at = now.saturating_add(wait);
        self.table.set(slot, State::Resting);
        self.again.insert(slot, Again { cause, at });
        self.alarms.insert((at, slot));
        out.push(Action::Retry(id, at));
    }

    /// The last attempt failed.
    fn fail(&mut self, slot: u32, cause: Cause, out: &mut Vec<Action>) {
        let cancelled = cause == Cause::Cancelled && self.stop != Stop::Going;
        self.table.set(slot, State::PuttingAway);
        let task = self.table.at_mut(slot);
        task.cancelled = cancelled;
        out.push(Action::Failed(task.id, cause));
        if !cancelled {
            self.count_failure(slot);
        }
    }

    /// It failed with nothing to put away.
    fn fault(&mut self, slot: u32) {
        self.count_failure(slot);
        self.over_failed(slot);
    }

    fn count_failure(&mut self, slot: u32) {
        self.failing |= !self.keep_going && !self.allows_failure(slot);
    }

    fn put_away(&mut self, slot: u32) {
        if self.table.state(slot) != State::PuttingAway {
            self.unexpected += 1;
        } else if self.table.at(slot).cancelled {
            self.end(slot, State::Cancelled, Verdict::Nothing);
        } else {
            self.over_failed(slot);
        }
    }

    fn over_failed(&mut self, slot: u32) {
        let by = self.table.at(slot).id;
        if self.allows_failure(slot) {
            self.end(slot, State::Allowed, Verdict::Allowed { by });
        } else {
            self.end(slot, State::Failed, Verdict::Blocked { by, soft: false });
        }
    }

    fn policy(&self, slot: u32) -> Option<&Policy> {
        self.policies.get(self.table.at(slot).policy as usize)
    }

    fn allows_failure(&self, slot: u32) -> bool {
        self.policy(slot).is_some_and(|policy| policy.allow_failure)
    }

    fn block(&mut self, slot: u32, by: TaskId, soft: bool) {
        if self.table.state(slot) == State::Waiting {
            let state = if soft { State::Skipped } else { State::Blocked };
            self.table.at_mut(slot).by = Some(by);
            self.end(slot, state, Verdict::Blocked { by, soft });
        }
    }

    /// It is over; what that means for others is followed later.
    fn end(&mut self, slot: u32, state: State, verdict: Verdict) {
        self.table.set(slot, state);
        self.over.push_back((slot, verdict));
    }

    /// Tells everything below what is over, until nothing new is.
    fn follow(&mut self, out: &mut Vec<Action>) {
        while let Some((slot, verdict)) = self.over.pop_front() {
            let task = self.table.at(slot);
            if let Verdict::Blocked { by, .. } = verdict
                && by != task.id
                && !task.gate
            {
                out.push(Action::Blocked(task.id, by));
            }
            if matches!(verdict, Verdict::Nothing) {
                self.leave(slot);
                continue;
            }
            let mut edge = self.table.first_edge(slot);
            while let Some((below, kind, next)) = self.table.edge(edge) {
                self.tell(below, kind, verdict);
                edge = next;
            }
            self.table.drop_edges(slot);
            self.leave(slot);
        }
    }

    /// Tells one of those below.
    fn tell(&mut self, below: u32, kind: Kind, verdict: Verdict) {
        match verdict {
            Verdict::Done { moved } => self.table.at_mut(below).moved |= moved && kind == Kind::Files,
            Verdict::Allowed { by } if kind == Kind::Files => {
                if self.table.at(below).gate {
                    self.table.at_mut(below).by.get_or_insert(by);
                } else {
                    self.block(below, by, true);
                }
            }
            Verdict::Allowed { .. } | Verdict::Nothing => {}
            Verdict::Blocked { by, soft } => self.block(below, by, soft),
        }
        if self.table.less_open(below) {
            self.ready(below);
        }
    }

    /// A task that is over leaves, if it is to.
    fn leave(&mut self, slot: u32) {
        if self.table.at(slot).leaving {
            self.table.remove(slot);
        }
    }

    fn retire(&mut self, ids: &[TaskId]) {
        for &id in ids {
            self.with(id, |scheduler, slot| scheduler.retire_one(slot));
        }
    }

    fn retire_one(&mut self, slot: u32) {
        let state = self.table.state(slot);
        if state.is_over() {
            return self.table.remove(slot);
        }
        self.table.at_mut(slot).leaving = true;
        if matches!(state, State::Waiting | State::Probing | State::Queued | State::ToRestore | State::Resting) {
            if let Some(again) = self.again.remove(&slot) {
                self.alarms.remove(&(again.at, slot));
            }
            let id = self.table.at(slot).id;
            self.admission.forget(id);
            self.end(slot, State::Gone, Verdict::Done { moved: false });
        }
    }

    fn stop(&mut self, now: bool, out: &mut Vec<Action>) {
        self.begun = true;
        if now && self.stop != Stop::Cancelling {
            self.stop = Stop::Cancelling;
            let running = self.table.places().filter(|&slot| self.table.state(slot) == State::Running);
            out.extend(running.map(|slot| Action::Cancel(self.table.at(slot).id)));
        } else if self.stop == Stop::Going {
            self.stop = Stop::Draining;
        }
    }

    /// Those whose wait is over queue for room again.
    fn end_rests(&mut self, now: Duration) {
        while let Some(&(at, slot)) = self.alarms.first()
            && at <= now
        {
            self.alarms.pop_first();
            self.queue(slot);
        }
    }

    /// The run stops: attempts that were to follow do not.
    fn drop_retries(&mut self, out: &mut Vec<Action>) {
        self.alarms.clear();
        while let Some((slot, again)) = self.again.pop_first() {
            let id = self.table.at(slot).id;
            self.admission.forget(id);
            self.fail(slot, again.cause, out);
        }
    }

    /// Starts what can start.
    fn start(&mut self, out: &mut Vec<Action>) {
        while self.restoring < self.restores_at_once
            && let Some(Reverse(turn)) = self.restores.pop()
        {
            if self.waits(&turn, State::ToRestore) {
                self.table.set(turn.slot, State::Restoring);
                self.restoring += 1;
                out.push(Action::Restore(turn.id));
            }
        }
        let mut starting = std::mem::take(&mut self.starting);
        let table = &self.table;
        let shape_of = |turn: &Turn| {
            let task = table.at(turn.slot);
            (task.id == turn.id && table.state(turn.slot) == State::Queued).then_some(task.shape)
        };
        self.admission.start(shape_of, &mut starting);
        for turn in starting.drain(..) {
            self.again.remove(&turn.slot);
            self.table.set(turn.slot, State::Running);
            let task = self.table.at_mut(turn.slot);
            task.attempt = task.attempt.saturating_add(1);
            out.push(Action::Launch(turn.id, task.attempt));
        }
        self.starting = starting;
    }

    /// Whether a place in a queue still means this task (it may have left since).
    fn waits(&self, turn: &Turn, state: State) -> bool {
        self.table.at(turn.slot).id == turn.id && self.table.state(turn.slot) == state
    }

    fn say_probes(&mut self, out: &mut Vec<Action>) {
        let mut probes = std::mem::take(&mut self.probes);
        probes.sort_unstable();
        for turn in probes.drain(..) {
            if self.waits(&turn, State::Probing) {
                out.push(Action::Probe(turn.id));
            }
        }
        self.probes = probes;
    }

    fn say_alarm(&mut self, tick: bool, out: &mut Vec<Action>) {
        let next = self.alarms.first().map(|&(at, _)| at);
        if let Some(at) = next
            && (tick || next != self.wake)
        {
            out.push(Action::WakeAt(at));
        }
        self.wake = next;
    }

    fn say_finished(&mut self, out: &mut Vec<Action>) {
        let counts = self.table.counts();
        let at_work = counts.probing + counts.running + counts.closing;
        let to_come = if self.halted() { 0 } else { counts.queued + self.table.held() };
        if self.begun && !self.finished && at_work == 0 && to_come == 0 {
            self.finished = true;
            out.push(Action::Finished);
        }
    }

    /// Steps of work so far: edges followed and queue heads looked at.
    #[cfg(test)]
    pub(super) fn work(&self) -> u64 {
        self.table.visits.get() + self.admission.looks
    }

    /// Places of the table ever used at once.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.table.places().count()
    }
}
