//! A model of the scheduler that works everything out from scratch after each input, and a driver
//! that feeds both with random pipelines and random luck.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use super::*;

/// Where the model has a task.
#[derive(Clone, PartialEq, Debug)]
enum At {
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

struct Node {
    new: New,
    /// What it is after: id, through files.
    above: Vec<(TaskId, bool)>,
    at: At,
    held: bool,
    early: bool,
    retired: bool,
    attempt: u16,
    cause: Option<Cause>,
    remaining: u64,
    needs: Vec<(usize, u64)>,
}

struct Model {
    nodes: BTreeMap<TaskId, Node>,
    policies: Vec<Policy>,
    room: Room,
    keep_going: bool,
    failing: bool,
    stopped: bool,
    cancelling: bool,
    begun: bool,
    finished: bool,
    wake: Option<Duration>,
    /// By resource: who holds it.
    held: BTreeMap<usize, TaskId>,
}

impl Model {
    fn halted(&self) -> bool {
        self.failing || self.stopped
    }

    fn totals(&self) -> Vec<u64> {
        let memory = if self.room.memory == 0 { u64::MAX } else { self.room.memory };
        let mut totals = vec![u64::from(self.room.slots), memory];
        totals.extend(self.room.pools.iter().map(|&p| u64::from(p)));
        totals
    }

    fn needs(&self, wants: &Wants) -> Vec<(usize, u64)> {
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

    fn allowed(&self, id: TaskId) -> bool {
        self.policies[self.nodes[&id].new.policy as usize].allow_failure
    }

    fn used(&self, resource: usize) -> u64 {
        let running = self.nodes.values().filter(|n| n.at == At::Running);
        running.flat_map(|n| &n.needs).filter(|n| n.0 == resource).map(|n| n.1).sum()
    }

    fn lacks(&self, id: TaskId) -> Vec<usize> {
        let totals = self.totals();
        let needs = &self.nodes[&id].needs;
        needs.iter().filter(|&&(r, amount)| self.used(r) + amount > totals[r]).map(|n| n.0).collect()
    }

    fn key(&self, id: TaskId) -> (std::cmp::Reverse<u64>, u32, TaskId) {
        let node = &self.nodes[&id];
        (std::cmp::Reverse(node.remaining), node.new.rank, id)
    }

    fn in_order(&self, at: At) -> Vec<TaskId> {
        let mut ids: Vec<TaskId> = self.nodes.iter().filter(|(_, n)| n.at == at).map(|(&id, _)| id).collect();
        ids.sort_by_key(|&id| self.key(id));
        ids
    }

    /// Whether what it made differs from what was known beforehand.
    fn moved(&self, id: TaskId) -> bool {
        let node = &self.nodes[&id];
        match node.at {
            At::Ran => true,
            At::Passed | At::Waiting if node.new.gate => node.above.iter().any(|&(a, files)| files && self.moved(a)),
            _ => false,
        }
    }

    fn remaining(&self, id: TaskId, new: &BTreeMap<TaskId, New>, memo: &mut BTreeMap<TaskId, u64>) -> u64 {
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

    fn add(&mut self, new: Vec<New>, closes: &[TaskId]) {
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

    fn known(&mut self, id: TaskId, found: Found) {
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

    fn fault(&mut self, id: TaskId) {
        let allowed = self.allowed(id);
        self.failing |= !allowed && !self.keep_going;
        self.nodes.get_mut(&id).unwrap().at = if allowed { At::Allowed } else { At::Failed };
    }

    fn fail(&mut self, id: TaskId, cause: Cause, out: &mut Vec<Action>) {
        let cancelled = cause == Cause::Cancelled && self.stopped;
        self.failing |= !cancelled && !self.allowed(id) && !self.keep_going;
        self.nodes.get_mut(&id).unwrap().at = At::PuttingAway { cancelled };
        out.push(Action::Failed(id, cause));
    }

    fn attempt_failed(&mut self, id: TaskId, cause: Cause, now: Duration, out: &mut Vec<Action>) {
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
    fn step(&mut self, now: Duration, input: &Input) -> Vec<Action> {
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
            let again: Vec<TaskId> =
                self.nodes.iter().filter(|(_, n)| matches!(n.at, At::Resting(_)) || n.at == At::Queued && n.cause.is_some()).map(|(&id, _)| id).collect();
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
    fn spread(&mut self, out: &mut Vec<Action>) {
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
                let open = states.iter().any(|(at, _)| !matches!(at, At::Fresh | At::Restored | At::Ran | At::Passed | At::Gone | At::Allowed));
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

    fn start(&mut self, out: &mut Vec<Action>) {
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

/// Random luck, and what the driver has yet to answer.
struct Driver {
    rng: Rng,
    now: Duration,
    next_id: u32,
    inputs: Vec<(Duration, Input)>,
    actions: Vec<Action>,
    adopts: bool,
}

impl Driver {
    fn random_new(&mut self, model: &Model, batch: &mut Vec<New>, ids: &[TaskId]) {
        let rng = &mut self.rng;
        let id = ids[batch.len()];
        let mut new = if rng.u8(..100) < 20 { New::gate(id) } else { New::task(id) };
        let mut earlier: Vec<TaskId> = model.nodes.keys().copied().collect();
        earlier.extend(batch.iter().map(|n| n.id));
        if !earlier.is_empty() {
            for _ in 0..rng.usize(..4) {
                new.after.push(earlier[rng.usize(..earlier.len())]);
            }
            if rng.u8(..4) == 0 {
                new.after_order.push(earlier[rng.usize(..earlier.len())]);
            }
            new.after.retain(|a| !model.nodes.get(a).is_some_and(|n| n.retired && rng.bool()));
        }
        if rng.u8(..20) == 0 {
            new.after.push(TaskId(1_000_000)); // never added
        }
        let held: Vec<TaskId> = model.nodes.iter().filter(|(_, n)| n.held && n.at == At::Waiting && !n.retired).map(|(&id, _)| id).collect();
        // Not below the gate itself, which would be a cycle: only those with nothing open above.
        if !held.is_empty() && new.after.is_empty() && new.after_order.is_empty() {
            new.before.push(held[rng.usize(..held.len())]);
        }
        new.held = new.gate && rng.u8(..3) == 0;
        new.found = [None, None, None, Some(Found::Fresh), Some(Found::Fresh), Some(Found::Run), Some(Found::Restore), Some(Found::Fault)][rng.usize(..8)];
        if new.found == Some(Found::Fault) && rng.u8(..4) > 0 {
            new.found = None;
        }
        new.policy = rng.u32(..model.policies.len() as u32);
        new.expected = Duration::from_millis(rng.u64(..5) * 1000);
        new.rank = rng.u32(..3);
        if !new.gate {
            new.wants.slots = [0, 1, 1, 1, 2, 3, 9][rng.usize(..7)];
            new.wants.memory = [0, 0, 0, 10, 50, 200][rng.usize(..6)];
            for pool in 0..3 {
                if rng.u8(..4) == 0 {
                    new.wants.pools.push((pool, rng.u32(1..3)));
                }
            }
        }
        batch.push(new);
    }

    fn added(&mut self, model: &Model, most: usize) -> Input {
        let count = self.rng.usize(..=most);
        let mut ids: Vec<TaskId> = (0..count as u32).map(|n| TaskId(self.next_id + n)).collect();
        self.next_id += count as u32;
        self.rng.shuffle(&mut ids);
        let mut batch = Vec::new();
        for _ in 0..count {
            self.random_new(model, &mut batch, &ids);
        }
        let closes: Vec<TaskId> = model.nodes.iter().filter(|(_, n)| n.held && !n.retired && self.rng.bool()).map(|(&id, _)| id).collect();
        self.rng.shuffle(&mut batch);
        Input::Added(batch, closes)
    }

    fn cause(&mut self) -> Cause {
        let causes = [Cause::Exit(1), Cause::Exit(75), Cause::Timeout(Duration::from_secs(1)), Cause::Lost("gone".into()), Cause::Cancelled];
        causes[self.rng.usize(..causes.len())].clone()
    }

    /// What may happen next: one of all that is open, chosen at random.
    fn next(&mut self, model: &Model, late: bool, luck: u8) -> Option<Input> {
        let mut choices = Vec::new();
        for (&id, node) in &model.nodes {
            match node.at {
                At::Probing | At::Restoring | At::Running | At::Settling | At::PuttingAway { .. } => choices.push(id),
                _ => {}
            }
        }
        let mut ways: Vec<u8> = Vec::new();
        if !choices.is_empty() {
            ways.extend([0; 20]);
        }
        if model.wake.is_some() {
            ways.extend([1; 4]);
        }
        let held = model.nodes.values().any(|n| n.held);
        if late && (held || self.rng.u8(..10) == 0) {
            ways.extend([2; 2]);
        }
        if self.rng.u8(..60) == 0 {
            ways.push(3);
        }
        if self.rng.u8(..20) == 0 {
            ways.push(4);
        }
        if ways.is_empty() && held {
            ways.push(2);
        }
        match *ways.get(self.rng.usize(..ways.len().max(1)))? {
            0 => Some(self.answer(model, &choices, luck)),
            1 => {
                self.now = model.wake?.max(self.now);
                Some(Input::Tick)
            }
            2 => Some(if held && self.rng.u8(..10) == 0 {
                let id = model.nodes.iter().find(|(_, n)| n.held).map(|(&id, _)| id)?;
                if model.nodes[&id].retired { Input::Tick } else { Input::Known(vec![(id, Found::Fault)]) }
            } else {
                self.added(model, 6)
            }),
            3 => Some(Input::Stop { now: self.rng.bool() }),
            _ => {
                let may = |n: &&Node| !n.retired && !matches!(n.at, At::Restoring | At::Running | At::Settling | At::PuttingAway { .. });
                let leave = model.nodes.iter().filter(|(_, n)| may(n) && self.rng.u8(..6) == 0).map(|(&id, _)| id).collect();
                Some(Input::Retired(leave))
            }
        }
    }

    fn answer(&mut self, model: &Model, choices: &[TaskId], luck: u8) -> Input {
        let id = choices[self.rng.usize(..choices.len())];
        let well = self.rng.u8(..100) < luck;
        match model.nodes[&id].at {
            At::Probing if self.adopts && self.rng.u8(..10) == 0 => Input::Adopted(id, self.rng.u16(1..3)),
            At::Probing => {
                let all: Vec<TaskId> = choices.iter().copied().filter(|c| model.nodes[c].at == At::Probing).collect();
                let some = all.into_iter().filter(|&c| c == id || self.rng.bool()).collect::<Vec<_>>();
                let mut found = || match self.rng.u8(..100) {
                    0..20 => Found::Fresh,
                    20..35 => Found::Restore,
                    n if n == 99 && !well => Found::Fault,
                    _ => Found::Run,
                };
                Input::Known(some.into_iter().map(|id| (id, found())).collect())
            }
            At::Restoring if well => Input::Settled(id, Ok(())),
            At::Restoring if self.rng.bool() => Input::Known(vec![(id, Found::Run)]),
            At::Restoring => Input::Settled(id, Err(self.cause())),
            At::Running if self.rng.u8(..5) == 0 => Input::Started(id),
            At::Running if well => Input::Ended(id, Cause::Success),
            At::Running => Input::Ended(id, self.cause()),
            At::Settling if well => Input::Settled(id, Ok(())),
            At::Settling => Input::Settled(id, Err(Cause::MissingOutputs(vec![]))),
            _ => Input::PutAway(id),
        }
    }
}

/// Launches keep their order; all else is a set, and who a task was blocked by is checked apart.
fn sorted(actions: &[Action]) -> (Vec<Action>, Vec<String>) {
    let (launches, others): (Vec<Action>, Vec<Action>) = actions.iter().cloned().partition(|a| matches!(a, Action::Launch(..) | Action::Restore(_)));
    let mut others: Vec<String> = others
        .iter()
        .map(|a| match a {
            Action::Blocked(id, _) => format!("Blocked({id:?})"),
            other => format!("{other:?}"),
        })
        .collect();
    others.sort();
    (launches, others)
}

fn policies() -> Vec<Policy> {
    let plain = Policy::default();
    vec![
        plain.clone(),
        Policy { retries: 2, backoff: Duration::from_secs(1), ..plain.clone() },
        Policy { retries: 1, on: vec![RetryOn::Exit(75)], ..plain.clone() },
        Policy { allow_failure: true, ..plain.clone() },
        Policy { allow_failure: true, retries: 1, ..plain },
    ]
}

fn one_case(seed: u64) -> (usize, Counts) {
    let mut rng = Rng::with_seed(seed);
    let room = Room {
        slots: rng.u32(1..6),
        memory: if rng.bool() { 100 } else { 0 },
        pools: (0..rng.usize(..4)).map(|_| rng.u32(1..3)).collect(),
    };
    let keep_going = rng.bool();
    let luck = [50, 80, 97, 100][rng.usize(..4)];
    let most = if seed % 50 == 0 { 120 } else { 25 };
    let adopts = seed % 5 == 0;
    let mut real = Scheduler::new(policies(), room.clone(), keep_going);
    let mut model = Model {
        nodes: BTreeMap::new(),
        policies: policies(),
        room: room.clone(),
        keep_going,
        failing: false,
        stopped: false,
        cancelling: false,
        begun: false,
        finished: false,
        wake: None,
        held: BTreeMap::new(),
    };
    let mut driver = Driver { rng, now: Duration::ZERO, next_id: 0, inputs: Vec::new(), actions: Vec::new(), adopts };
    let mut input = driver.added(&model, most);
    for turn in 0.. {
        assert!(turn < 5_000, "seed {seed}: does not end");
        let wanted = model.step(driver.now, &input);
        let mut out = Vec::new();
        real.step(driver.now, input.clone(), &mut out);
        assert_eq!(sorted(&out), sorted(&wanted), "seed {seed}, turn {turn}, {input:?}");
        check(seed, &model, &real, &out);
        driver.actions.extend(out);
        driver.inputs.push((driver.now, input));
        driver.now += Duration::from_millis(driver.rng.u64(..1500));
        if real.is_finished() {
            break;
        }
        let late = driver.next_id < 60 && !real.is_finished();
        input = driver.next(&model, late, luck).unwrap_or(Input::Tick);
    }
    assert_eq!(driver.actions.iter().filter(|a| **a == Action::Finished).count(), 1, "seed {seed}");
    assert_eq!(driver.actions.last(), Some(&Action::Finished), "seed {seed}");
    // The same again gives the same.
    let mut again = Scheduler::new(policies(), room, keep_going);
    let mut replayed = Vec::new();
    for (now, input) in &driver.inputs {
        again.step(*now, input.clone(), &mut replayed);
    }
    assert_eq!(replayed, driver.actions, "seed {seed}");
    // After the end nothing starts, whatever is said.
    let before = replayed.len();
    again.step(driver.now, Input::Tick, &mut replayed);
    again.step(driver.now, Input::Stop { now: true }, &mut replayed);
    assert_eq!(replayed.len(), before, "seed {seed}");
    (driver.inputs.len(), real.counts())
}

/// What must hold after every step, said without the model's rules.
fn check(seed: u64, model: &Model, real: &Scheduler, out: &[Action]) {
    for (resource, &total) in model.totals().iter().enumerate() {
        let adopted = model.nodes.values().any(|n| n.at == At::Running) && seed.is_multiple_of(5);
        assert!(adopted || model.used(resource) <= total, "seed {seed}: more of {resource} than there is");
    }
    let queued = model.in_order(At::Queued);
    if !model.halted()
        && let Some(&first) = queued.first()
    {
        assert!(!model.lacks(first).is_empty(), "seed {seed}: {first:?} is first, fits, and waits");
    }
    let count = |at: fn(&At) -> bool| model.nodes.values().filter(|n| !n.new.gate && at(&n.at)).count();
    let counts = real.counts();
    assert_eq!(counts.running, count(|at| *at == At::Running), "seed {seed}");
    assert_eq!(real.running(), counts.running);
    assert_eq!(counts.probing, count(|at| *at == At::Probing), "seed {seed}");
    assert_eq!(counts.queued, count(|at| matches!(at, At::Queued | At::ToRestore | At::Resting(_))), "seed {seed}");
    assert_eq!(counts.waiting, count(|at| *at == At::Waiting), "seed {seed}");
    assert_eq!(counts.done(), count(|at| matches!(at, At::Fresh | At::Restored | At::Ran)), "seed {seed}");
    assert_eq!(counts.blocked + counts.skipped, count(|at| *at == At::Blocked), "seed {seed}");
    assert_eq!(counts.allowed, count(|at| *at == At::Allowed), "seed {seed}");
    assert_eq!(counts.cancelled, count(|at| *at == At::Cancelled), "seed {seed}");
    assert_eq!(counts.left_early, count(|at| *at == At::Gone), "seed {seed}");
    let gates = model.nodes.values().filter(|n| n.new.gate && n.at == At::Failed).count();
    assert_eq!(counts.failed, count(|at| *at == At::Failed) + gates, "seed {seed}");
    for action in out {
        if let Action::Blocked(_, by) = action {
            assert!(matches!(model.nodes[by].at, At::Failed | At::Allowed | At::Blocked), "seed {seed}: blocked by {by:?}");
        }
    }
}

#[test]
fn random_pipelines_do_as_the_model_says() {
    let (mut steps, mut ran, mut failed, mut stopped) = (0, 0, 0, 0);
    for seed in 0..3_000 {
        let (inputs, counts) = one_case(seed);
        steps += inputs;
        ran += counts.ran;
        failed += counts.failed;
        stopped += counts.blocked + counts.skipped;
    }
    // The luck is such that everything happens often.
    assert!(steps > 50_000 && ran > 5_000 && failed > 500 && stopped > 500, "{steps} {ran} {failed} {stopped}");
}
