//! The scheduler in simulated time, and at size: steps are counted, never time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use fastrand::Rng;

use super::tests::{Run, after, room, runs, secs, t, wants};
use super::*;

use Action::*;

#[test]
fn a_big_task_does_not_starve() {
    // Eight slots, always more small tasks than fit, each as long as it likes. The big one starts
    // after at most the eight that ran when it came.
    for seed in 0..50 {
        let mut rng = Rng::with_seed(seed);
        let mut run = Run::new(vec![], room(8), false);
        let small = |id: u32| New { rank: 1, ..runs(id) };
        let mut running: Vec<u32> = Vec::new();
        let take = |out: Vec<Action>, running: &mut Vec<u32>| {
            running.extend(out.iter().filter_map(|a| if let Launch(id, _) = a { Some(id.0) } else { None }));
        };
        take(run.add((1..40).map(small).collect()), &mut running);
        take(run.add(vec![wants(New { rank: 0, ..runs(0) }, 8, 0, &[])]), &mut running);
        let mut ends = 0;
        while !running.contains(&0) {
            assert!(ends < 8, "starved");
            let id = running.swap_remove(rng.usize(..running.len()));
            ends += 1;
            take(run.step(Input::Ended(t(id), Cause::Success)), &mut running);
            take(run.add(vec![small(100 + ends)]), &mut running);
        }
    }
}

/// Lets all tasks run for their time on `slots` and gives the end; checks the order on the way.
fn makespan(durations: &[u64], above: &[Vec<u32>], slots: u32) -> u64 {
    let mut run = Run::new(vec![], room(slots), false);
    let new = |(id, &time): (usize, &u64)| New { expected: secs(time), ..after(id as u32, &above[id]) };
    let mut todo = run.add(durations.iter().enumerate().map(new).collect());
    let mut running = BinaryHeap::new();
    let mut done = vec![false; durations.len()];
    loop {
        let mut more = Vec::new();
        for action in std::mem::take(&mut todo) {
            match action {
                Probe(id) => more.extend(run.known(id.0, Found::Run)),
                Launch(id, 1) => {
                    assert!(above[id.index()].iter().all(|&a| done[a as usize]));
                    running.push(Reverse((run.now + secs(durations[id.index()]), id)));
                }
                Settle(id) => {
                    done[id.index()] = true;
                    more.extend(run.step(Input::Settled(id, Ok(()))));
                }
                Finished => {
                    assert!(done.iter().all(|&d| d));
                    return run.now.as_secs();
                }
                other => panic!("{other:?}"),
            }
        }
        if more.is_empty() {
            let Reverse((at, id)) = running.pop().expect("something runs");
            assert!(running.len() < slots as usize);
            run.now = at;
            more = run.step(Input::Ended(id, Cause::Success));
        }
        todo = more;
    }
}

#[test]
fn the_makespan_keeps_the_bound_of_list_scheduling() {
    let (mut sum, mut bounds) = (0, 0);
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let n = rng.usize(1..80);
        let slots = rng.u32(1..9);
        let durations: Vec<u64> = (0..n).map(|_| rng.u64(1..30)).collect();
        let above: Vec<Vec<u32>> =
            (0..n).map(|id| (0..rng.usize(..4)).filter(|_| id > 0).map(|_| rng.u32(..id as u32)).collect()).collect();
        let mut path = vec![0; n];
        for id in 0..n {
            path[id] = durations[id] + above[id].iter().map(|&a| path[a as usize]).max().unwrap_or(0);
        }
        let (longest, work) = (path.iter().max().copied().unwrap_or(0), durations.iter().sum::<u64>());
        let got = makespan(&durations, &above, slots);
        let m = u64::from(slots);
        // Graham: work/m + (1 - 1/m) * longest path; times m, in whole numbers.
        assert!(got * m <= work + (m - 1) * longest, "seed {seed}: {got}");
        let bound = longest.max(work.div_ceil(m));
        assert!(got * m <= (2 * m - 1) * bound, "seed {seed}: {got} against {bound}");
        sum += got;
        bounds += bound;
    }
    // And mostly it is close to what no schedule can beat.
    assert!(sum * 100 <= bounds * 108, "{sum} against {bounds}");
}

#[test]
fn a_chain_of_a_million_is_linear_and_needs_no_stack() {
    let n = 1_000_000;
    let mut run = Run::new(vec![], room(1), false);
    let new = (0..n).map(|id| New { after: if id == 0 { vec![] } else { vec![t(id - 1)] }, ..New::task(t(id)) });
    assert_eq!(run.add(new.collect()), [Probe(t(0))]);
    // All up to date, in an unkind order.
    let out = run.step(Input::Known((0..n).rev().map(|id| (t(id), Found::Fresh)).collect()));
    assert_eq!(out, [Finished]);
    assert_eq!(run.scheduler.counts().fresh, n as usize);
    assert!(run.scheduler.work() < 10 * u64::from(n), "{}", run.scheduler.work());
}

#[test]
fn a_failure_above_a_million_blocks_each_once() {
    let n = 1_000_000;
    let mut run = Run::new(vec![], room(1), true);
    let mut new: Vec<New> = (1..n).map(|id| after(id, &[id - 1])).collect();
    new.push(runs(0));
    run.add(new);
    assert_eq!(run.badly(0).len(), n as usize - 1 + 2);
    assert!(run.scheduler.work() < 10 * u64::from(n), "{}", run.scheduler.work());
}

#[test]
fn a_wide_fan_out_and_gather_cost_a_step_each() {
    let n = 100_000;
    let mut run = Run::new(vec![], Room { slots: 2, memory: 1000, pools: vec![1] }, false);
    let mut new = vec![New::task(t(0))];
    // Every task wants another amount of memory, so no two are alike.
    new.extend((1..=n).map(|id| wants(after(id, &[0]), 1, u64::from(id % 999), if id % 3 == 0 { &[(0, 1)] } else { &[] })));
    new.push(New { after: (1..=n).map(t).collect(), ..New::gate(t(n + 1)) });
    new.push(after(n + 2, &[n + 1]));
    run.add(new);
    run.known(0, Found::Run);
    assert_eq!(run.well(0).len(), n as usize);
    let mut todo = run.step(Input::Known((1..=n).map(|id| (t(id), Found::Run)).collect()));
    let mut ran = 0;
    while let Some(action) = todo.pop() {
        match action {
            Launch(id, 1) => {
                ran += 1;
                todo.extend(run.step(Input::Ended(id, Cause::Success)));
            }
            Settle(id) => todo.extend(run.step(Input::Settled(id, Ok(())))),
            Probe(id) => {
                assert_eq!((id, ran), (t(n + 2), n));
                todo.extend(run.known(id.0, Found::Fresh));
            }
            Finished => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(run.scheduler.is_finished());
    // Four sets of resources: a handful of looks for each end, however many wait.
    assert!(run.scheduler.work() < 60 * u64::from(n), "{}", run.scheduler.work());
}

#[test]
fn counts_of_the_unusual_fit_a_big_random_graph() {
    // Everything at once on 20,000 tasks, answered at random; the same seed gives the same.
    let go = || {
        let mut rng = Rng::with_seed(7);
        let policies = vec![Policy { retries: 1, ..Policy::default() }, Policy { allow_failure: true, ..Policy::default() }];
        let mut run = Run::new(policies, Room { slots: 4, memory: 100, pools: vec![2] }, true);
        let n = 20_000;
        let new = (0..n).map(|id| {
            let above: Vec<u32> = (0..rng.u32(..3)).filter(|_| id > 0).map(|_| rng.u32(id / 2..id)).collect();
            let pools: &[(u16, u32)] = if rng.u8(..4) == 0 { &[(0, 1)] } else { &[] };
            let new = wants(after(id, &above), rng.u32(1..3), rng.u64(..120), pools);
            New { policy: rng.u32(..2), expected: secs(rng.u64(1..9)), ..new }
        });
        let mut todo = run.add(new.collect());
        let mut said: BTreeMap<&str, usize> = BTreeMap::new();
        while let Some(action) = todo.pop() {
            let bad = rng.u16(..100) == 0;
            let (name, out) = match action {
                Probe(id) => ("probe", run.known(id.0, [Found::Fresh, Found::Restore, Found::Run, Found::Run][rng.usize(..4)])),
                Restore(id) => ("restore", run.step(Input::Settled(id, Ok(())))),
                Launch(id, _) => {
                    ("launch", run.step(Input::Ended(id, if bad || id.0 % 101 == 100 { Cause::Exit(1) } else { Cause::Success })))
                }
                Settle(id) => ("settle", run.step(Input::Settled(id, if bad { Err(Cause::Checks(vec![])) } else { Ok(()) }))),
                Failed(id, _) => ("failed", run.step(Input::PutAway(id))),
                WakeAt(at) => {
                    run.now = at;
                    ("wake", run.step(Input::Tick))
                }
                Blocked(..) => ("blocked", vec![]),
                Finished => ("finished", vec![]),
                Retry(..) | Cancel(_) => ("other", vec![]),
            };
            *said.entry(name).or_default() += 1;
            todo.extend(out);
        }
        let counts = run.scheduler.counts();
        assert_eq!(counts.left(), 0);
        assert_eq!(counts.done() + counts.failed + counts.allowed + counts.blocked + counts.skipped, n as usize);
        assert_eq!(said["finished"], 1);
        assert_eq!(said["blocked"], counts.blocked + counts.skipped);
        assert_eq!(said["failed"], counts.failed + counts.allowed);
        assert!(counts.blocked > 100 && counts.ran > 1000 && counts.restored > 1000, "{counts:?}");
        assert_eq!(run.scheduler.unexpected(), 0);
        (counts, said)
    };
    assert_eq!(go(), go());
}
