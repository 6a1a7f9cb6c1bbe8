//! Random pipelines with random luck, given to the scheduler and to the model: both must say the
//! same, and the same again when the inputs are replayed.

use std::time::Duration;

use fastrand::Rng;

use super::model::{At, Model, Node};
use super::*;

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
        let held: Vec<TaskId> =
            model.nodes.iter().filter(|(_, n)| n.held && n.at == At::Waiting && !n.retired).map(|(&id, _)| id).collect();
        // Not below the gate itself, which would be a cycle: only those with nothing open above.
        if !held.is_empty() && new.after.is_empty() && new.after_order.is_empty() {
            new.before.push(held[rng.usize(..held.len())]);
        }
        new.held = new.gate && rng.u8(..3) == 0;
        new.found = [None, None, None, Some(Found::Fresh), Some(Found::Fresh), Some(Found::Run), Some(Found::Restore), Some(Found::Fault)]
            [rng.usize(..8)];
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
        let causes =
            [Cause::Exit(1), Cause::Exit(75), Cause::Timeout(Duration::from_secs(1)), Cause::Lost("gone".into()), Cause::Cancelled];
        causes[self.rng.usize(..causes.len())].clone()
    }

    /// What may happen next: one of all that is open, chosen at random.
    fn next(&mut self, model: &Model, late: bool, luck: u8) -> Option<Input> {
        let mut choices = Vec::new();
        for (&id, node) in &model.nodes {
            match node.at {
                At::Probing | At::Restoring | At::Running | At::Settling | At::PuttingAway { .. } => choices.push(id),
                At::Queued if self.adopts && self.rng.u8(..10) == 0 => choices.push(id),
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
            At::Queued => Input::Adopted(id, self.rng.u16(1..3)),
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
    let (launches, others): (Vec<Action>, Vec<Action>) =
        actions.iter().cloned().partition(|a| matches!(a, Action::Launch(..) | Action::Restore(_)));
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
    let most = if seed.is_multiple_of(50) { 120 } else { 25 };
    let adopts = seed.is_multiple_of(5);
    let mut real = Scheduler::new(policies(), room.clone(), keep_going);
    let mut model = Model::new(room.clone(), policies(), keep_going);
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
            assert!(matches!(model.nodes[by].at, At::Failed | At::Allowed), "seed {seed}: blocked by {by:?}");
        }
    }
}

#[test]
fn random_pipelines_do_as_the_model_says() {
    let (mut steps, mut ran, mut failed, mut stopped) = (0, 0, 0, 0);
    for seed in 0..2_000 {
        let (inputs, counts) = one_case(seed);
        steps += inputs;
        ran += counts.ran;
        failed += counts.failed;
        stopped += counts.blocked + counts.skipped;
    }
    // The luck is such that everything happens often.
    assert!(steps > 30_000 && ran > 3_000 && failed > 500 && stopped > 500, "{steps} {ran} {failed} {stopped}");
}
