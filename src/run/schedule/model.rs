//! A model of the scheduler that works everything out from scratch after each input: slow and
//! plain, so that `simulate` can hold the real one against it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

/// Where the model has a task.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum At {
    Waiting,
    Probing,
    Queued,
    ToRestore,
    Restoring,
    Running,
    Settling,
    Resting(Duration),
    PuttingAway { cancelled: bool },
    Fresh,
    Restored,
    Ran,
    Passed,
    Failed,
    Allowed,
    Cancelled,
    Blocked,
    Gone,
}

pub(super) struct Node {
    pub new: New,
    /// What it is after: id, through files.
    pub above: Vec<(TaskId, bool)>,
    pub at: At,
    pub held: bool,
    pub early: bool,
    pub retired: bool,
    pub attempt: u16,
    pub cause: Option<Cause>,
    pub remaining: u64,
    pub needs: Vec<(usize, u64)>,
}

pub(super) struct Model {
    pub nodes: BTreeMap<TaskId, Node>,
    pub policies: Vec<Policy>,
    pub room: Room,
    pub keep_going: bool,
    pub failing: bool,
    pub stopped: bool,
    pub cancelling: bool,
    pub begun: bool,
    pub finished: bool,
    pub wake: Option<Duration>,
    /// By resource: who holds it.
    pub held: BTreeMap<usize, TaskId>,
}

impl Model {
    pub fn new(room: Room, policies: Vec<Policy>, keep_going: bool) -> Model {
        Model {
            nodes: BTreeMap::new(),
            policies,
            room,
            keep_going,
            failing: false,
            stopped: false,
            cancelling: false,
            begun: false,
            finished: false,
            wake: None,
            held: BTreeMap::new(),
        }
    }

    pub fn halted(&self) -> bool {
        self.failing || self.stopped
    }

    pub fn totals(&self) -> Vec<u64> {
        let memory = if self.room.memory == 0 { u64::MAX } else { self.room.memory };
        let mut totals = vec![u64::from(self.room.slots), memory];
        totals.extend(self.room.pools.iter().map(|&p| u64::from(p)));
        totals
    }

    pub fn needs(&self, wants: &Wants) -> Vec<(usize, u64)> {
        let totals = self.totals();
        let alone = self.room.memory != 0 && wants.memory > self.room.memory;
        let mut needs = vec![(0, if alone { totals[0] } else { u64::from(wants.slots).min(totals[0]) })];
        if self.room.memory != 0 {
            needs.push((1, wants.memory.min(totals[1])));
        }
        for (pool, &total) in self.room.pools.iter().enumerate() {
            let sum: u64 = wants.pools.iter().filter(|p| usize::from(p.0) == pool).map(|p| u64::from(p.1)).sum();
            needs.push((pool + 2, sum.min(u64::from(total))));
        }
        needs.retain(|n| n.1 > 0);
        needs
    }

    pub fn allowed(&self, id: TaskId) -> bool {
        self.policies[self.nodes[&id].new.policy as usize].allow_failure
    }

    pub fn used(&self, resource: usize) -> u64 {
        let running = self.nodes.values().filter(|n| n.at == At::Running);
        running.flat_map(|n| &n.needs).filter(|n| n.0 == resource).map(|n| n.1).sum()
    }

    pub fn lacks(&self, id: TaskId) -> Vec<usize> {
        let totals = self.totals();
        let needs = &self.nodes[&id].needs;
        needs.iter().filter(|&&(r, amount)| self.used(r) + amount > totals[r]).map(|n| n.0).collect()
    }

    pub fn key(&self, id: TaskId) -> (std::cmp::Reverse<u64>, u32, TaskId) {
        let node = &self.nodes[&id];
        (std::cmp::Reverse(node.remaining), node.new.rank, id)
    }

    pub fn in_order(&self, at: At) -> Vec<TaskId> {
        let mut ids: Vec<TaskId> = self.nodes.iter().filter(|(_, n)| n.at == at).map(|(&id, _)| id).collect();
        ids.sort_by_key(|&id| self.key(id));
        ids
    }

    /// Whether what it made differs from what was known beforehand.
    pub fn moved(&self, id: TaskId) -> bool {
        let node = &self.nodes[&id];
        match node.at {
            At::Ran => true,
            At::Passed | At::Waiting if node.new.gate => node.above.iter().any(|&(a, files)| files && self.moved(a)),
            _ => false,
        }
    }

    pub fn remaining(&self, id: TaskId, new: &BTreeMap<TaskId, New>, memo: &mut BTreeMap<TaskId, u64>) -> u64 {
        if let Some(&known) = memo.get(&id) {
            return known;
        }
        let Some(own) = new.get(&id) else { return self.nodes[&id].remaining };
        let mut longest = 0;
        for below in new.values().filter(|n| n.after.contains(&id) || n.after_order.contains(&id)) {
            longest = longest.max(self.remaining(below.id, new, memo));
        }
        for &below in &own.before {
            longest = longest.max(self.remaining(below, new, memo));
        }
        let sum = own.expected.as_micros() as u64 + longest;
        memo.insert(id, sum);
        sum
    }

    pub fn add(&mut self, new: Vec<New>, closes: &[TaskId]) {
        self.begun = true;
        let batch: BTreeMap<TaskId, New> = new.iter().map(|n| (n.id, n.clone())).collect();
        let mut memo = BTreeMap::new();
        let lengths: Vec<u64> = new.iter().map(|n| self.remaining(n.id, &batch, &mut memo)).collect();
        for (new, remaining) in new.iter().zip(lengths) {
            let counts = |id: &&TaskId| match self.nodes.get(id) {
                None => batch.contains_key(id),
                Some(n) => !n.retired && !matches!(n.at, At::Fresh | At::Restored | At::Ran | At::Passed | At::Gone),
            };
            let mut above: Vec<(TaskId, bool)> = new.after.iter().filter(counts).map(|&id| (id, true)).collect();
            above.extend(new.after_order.iter().filter(counts).map(|&id| (id, false)));
            let node = Node {
                above,
                at: At::Waiting,
                held: new.gate && new.held,
                early: new.found == Some(Found::Fresh),
                retired: false,
                attempt: 0,
                cause: None,
                remaining,
                needs: self.needs(&new.wants),
                new: new.clone(),
            };
            self.nodes.insert(new.id, node);
        }
        for new in &new {
            for below in &new.before {
                self.nodes.get_mut(below).unwrap().above.push((new.id, true));
            }
        }
        // What is known of one with nothing open above it, as it comes, is its answer.
        let open = |id: TaskId| self.nodes[&id].above.iter().any(|&(a, files)| files || self.nodes[&a].at != At::Allowed);
        let answered: Vec<&New> = new.iter().filter(|n| !n.gate && !open(n.id)).collect();
        for new in answered {
            if let Some(found @ (Found::Run | Found::Restore | Found::Fault)) = new.found
                && !self.halted()
            {
                self.nodes.get_mut(&new.id).unwrap().at = At::Probing;
                self.known(new.id, found);
            }
        }
        for id in closes {
            self.nodes.get_mut(id).unwrap().held = false;
        }
    }

    pub fn known(&mut self, id: TaskId, found: Found) {
        let Some(node) = self.nodes.get_mut(&id).filter(|n| !n.retired) else { return };
        let gate = node.new.gate;
        match (&node.at, found) {
            (At::Waiting, Found::Fault) if gate => self.fault(id),
            (At::Waiting, Found::Fresh) if !gate => node.early = true,
            (At::Probing, Found::Restore) => node.at = At::ToRestore,
            (At::Probing | At::Restoring, Found::Fresh) => node.at = At::Fresh,
            (At::Probing | At::Restoring, Found::Run) => node.at = At::Queued,
            (At::Probing | At::Restoring, Found::Fault) => self.fault(id),
            _ => {}
        }
    }

    pub fn fault(&mut self, id: TaskId) {
        let allowed = self.allowed(id);
        self.failing |= !allowed && !self.keep_going;
        self.nodes.get_mut(&id).unwrap().at = if allowed { At::Allowed } else { At::Failed };
    }

    pub fn fail(&mut self, id: TaskId, cause: Cause, out: &mut Vec<Action>) {
        let cancelled = cause == Cause::Cancelled && self.stopped;
        self.failing |= !cancelled && !self.allowed(id) && !self.keep_going;
        self.nodes.get_mut(&id).unwrap().at = At::PuttingAway { cancelled };
        out.push(Action::Failed(id, cause));
    }

    pub fn attempt_failed(&mut self, id: TaskId, cause: Cause, now: Duration, out: &mut Vec<Action>) {
        let node = &self.nodes[&id];
        let policy = &self.policies[node.new.policy as usize];
        match retry::wait(policy, node.attempt, &cause).filter(|_| !self.halted()) {
            Some(wait) => {
                let node = self.nodes.get_mut(&id).unwrap();
                node.at = At::Resting(now + wait);
                node.cause = Some(cause);
                out.push(Action::Retry(id, now + wait));
            }
            None => self.fail(id, cause, out),
        }
    }

    /// The actions of one step.
    pub fn step(&mut self, now: Duration, input: &Input) -> Vec<Action> {
        let mut out = Vec::new();
        for node in self.nodes.values_mut() {
            if matches!(node.at, At::Resting(at) if at <= now) {
                node.at = At::Queued;
            }
        }
        match input.clone() {
            Input::Added(new, closes) => self.add(new, &closes),
            Input::Retired(ids) => {
                for id in ids {
                    let node = self.nodes.get_mut(&id).unwrap();
                    node.retired = true;
                    if matches!(node.at, At::Waiting | At::Probing | At::Queued | At::ToRestore | At::Resting(_)) {
                        node.at = At::Gone;
                        node.held = false;
                        self.held.retain(|_, holder| *holder != id);
                    }
                }
            }
            Input::Known(found) => found.into_iter().for_each(|(id, found)| self.known(id, found)),
            Input::Adopted(id, n) => {
                let node = self.nodes.get_mut(&id).unwrap();
                node.at = At::Running;
                node.attempt = n;
                node.cause = None;
                self.held.retain(|_, holder| *holder != id);
                if self.cancelling {
                    out.push(Action::Cancel(id));
                }
            }
            Input::Started(_) | Input::Tick => {}
            Input::Ended(id, Cause::Success) => {
                self.nodes.get_mut(&id).unwrap().at = At::Settling;
                out.push(Action::Settle(id));
            }
            Input::Ended(id, cause) => self.attempt_failed(id, cause, now, &mut out),
            Input::Settled(id, result) => match (self.nodes[&id].at.clone(), result) {
                (At::Restoring, Ok(())) => self.nodes.get_mut(&id).unwrap().at = At::Restored,
                (At::Restoring, Err(cause)) => self.fail(id, cause, &mut out),
                (_, Ok(())) => self.nodes.get_mut(&id).unwrap().at = At::Ran,
                (_, Err(cause)) => self.attempt_failed(id, cause, now, &mut out),
            },
            Input::PutAway(id) => {
                let allowed = self.allowed(id);
                let node = self.nodes.get_mut(&id).unwrap();
                node.at = match node.at {
                    At::PuttingAway { cancelled: true } => At::Cancelled,
                    _ if allowed => At::Allowed,
                    _ => At::Failed,
                };
            }
            Input::Stop { now } => {
                self.begun = true;
                self.stopped = true;
                if now && !self.cancelling {
                    self.cancelling = true;
                    out.extend(self.nodes.iter().filter(|(_, n)| n.at == At::Running).map(|(&id, _)| Action::Cancel(id)));
                }
            }
        }
        self.spread(&mut out);
        if self.halted() {
            let again: Vec<TaskId> = self
                .nodes
                .iter()
                .filter(|(_, n)| matches!(n.at, At::Resting(_)) || n.at == At::Queued && n.cause.is_some())
                .map(|(&id, _)| id)
                .collect();
            for id in again {
                let cause = self.nodes.get_mut(&id).unwrap().cause.take().unwrap();
                self.fail(id, cause, &mut out);
                self.held.retain(|_, holder| *holder != id);
            }
        } else {
            self.start(&mut out);
        }
        let next = self.nodes.values().filter_map(|n| if let At::Resting(at) = n.at { Some(at) } else { None }).min();
        if let Some(at) = next
            && (next != self.wake || *input == Input::Tick)
        {
            out.push(Action::WakeAt(at));
        }
        self.wake = next;
        let open = self.nodes.values().any(|n| match n.at {
            At::Probing | At::Running | At::Restoring | At::Settling | At::PuttingAway { .. } => true,
            At::Queued | At::ToRestore | At::Resting(_) => !self.halted(),
            At::Waiting => n.held && !self.halted(),
            _ => false,
        });
        if self.begun && !self.finished && !open {
            self.finished = true;
            out.push(Action::Finished);
        }
        out
    }

    /// Looks at every waiting task again and again, until nothing changes.
    pub fn spread(&mut self, out: &mut Vec<Action>) {
        loop {
            let mut changed = false;
            let ids: Vec<TaskId> = self.nodes.keys().copied().collect();
            for id in ids {
                let node = &self.nodes[&id];
                if node.at != At::Waiting {
                    continue;
                }
                let (gate, states): (bool, Vec<(At, bool)>) =
                    (node.new.gate, node.above.iter().map(|&(a, files)| (self.nodes[&a].at.clone(), files)).collect());
                let soft = states.iter().any(|(at, files)| *files && *at == At::Allowed);
                let hard = states.iter().any(|(at, _)| matches!(at, At::Failed | At::Blocked));
                let open =
                    states.iter().any(|(at, _)| !matches!(at, At::Fresh | At::Restored | At::Ran | At::Passed | At::Gone | At::Allowed));
                let moved = node.above.iter().any(|&(a, files)| files && self.moved(a));
                let at = if hard || soft && !gate {
                    if !gate {
                        out.push(Action::Blocked(id, TaskId(0)));
                    }
                    At::Blocked
                } else if open || node.held {
                    continue;
                } else if gate {
                    if soft { At::Allowed } else { At::Passed }
                } else if node.early && !moved {
                    At::Fresh
                } else if !self.halted() {
                    out.push(Action::Probe(id));
                    At::Probing
                } else {
                    continue;
                };
                let node = self.nodes.get_mut(&id).unwrap();
                node.at = at;
                node.held = false;
                changed = true;
            }
            if !changed {
                return;
            }
        }
    }

    pub fn start(&mut self, out: &mut Vec<Action>) {
        let mut restoring = self.nodes.values().filter(|n| n.at == At::Restoring).count();
        for id in self.in_order(At::ToRestore) {
            if restoring < 2 * self.room.slots as usize {
                restoring += 1;
                self.nodes.get_mut(&id).unwrap().at = At::Restoring;
                out.push(Action::Restore(id));
            }
        }
        for id in self.in_order(At::Queued) {
            let needs = self.nodes[&id].needs.clone();
            let closed = needs.iter().any(|(r, _)| self.held.get(r).is_some_and(|&holder| self.key(holder) < self.key(id)));
            if closed {
                continue;
            }
            let lacks = self.lacks(id);
            if lacks.is_empty() {
                self.held.retain(|_, holder| *holder != id);
                let node = self.nodes.get_mut(&id).unwrap();
                node.at = At::Running;
                node.attempt += 1;
                node.cause = None;
                out.push(Action::Launch(id, node.attempt));
            }
            for resource in lacks {
                self.held.insert(resource, id);
            }
        }
    }
}
