//! The scheduler by values: one story each.

use std::time::Duration;

use super::*;

pub(super) fn t(id: u32) -> TaskId {
    TaskId(id)
}

pub(super) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn room(slots: u32) -> Room {
    Room { slots, memory: 0, pools: vec![] }
}

/// A scheduler, and the actions of each step.
pub(super) struct Run {
    pub scheduler: Scheduler,
    pub now: Duration,
}

impl Run {
    pub fn new(policies: Vec<Policy>, room: Room, keep_going: bool) -> Run {
        Run { scheduler: Scheduler::new(policies, room, keep_going), now: Duration::ZERO }
    }

    pub fn step(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        self.scheduler.step(self.now, input, &mut out);
        out
    }

    pub fn add(&mut self, new: Vec<New>) -> Vec<Action> {
        self.step(Input::Added(new, vec![]))
    }

    pub fn known(&mut self, id: u32, found: Found) -> Vec<Action> {
        self.step(Input::Known(vec![(t(id), found)]))
    }

    /// The command and its settling go well.
    pub fn well(&mut self, id: u32) -> Vec<Action> {
        let mut out = self.step(Input::Ended(t(id), Cause::Success));
        out.retain(|a| *a != Action::Settle(t(id)));
        out.extend(self.step(Input::Settled(t(id), Ok(()))));
        out
    }

    /// The last attempt fails and is put away.
    pub fn badly(&mut self, id: u32) -> Vec<Action> {
        let mut out = self.step(Input::Ended(t(id), Cause::Exit(1)));
        out.extend(self.step(Input::PutAway(t(id))));
        out
    }
}

pub(super) fn runs(id: u32) -> New {
    New { found: Some(Found::Run), ..New::task(t(id)) }
}

pub(super) fn after(id: u32, above: &[u32]) -> New {
    New { after: above.iter().map(|&a| t(a)).collect(), ..New::task(t(id)) }
}

pub(super) fn wants(mut new: New, slots: u32, memory: u64, pools: &[(u16, u32)]) -> New {
    new.wants = Wants { slots, memory, pools: pools.to_vec() };
    new
}

use Action::*;

#[test]
fn one_task_goes_its_way() {
    let mut run = Run::new(vec![], room(1), false);
    assert_eq!(run.add(vec![New::task(t(0)), after(1, &[0])]), [Probe(t(0))]);
    assert_eq!(run.known(0, Found::Run), [Launch(t(0), 1)]);
    assert_eq!(run.step(Input::Started(t(0))), []);
    assert_eq!(run.step(Input::Ended(t(0), Cause::Success)), [Settle(t(0))]);
    assert_eq!(run.step(Input::Settled(t(0), Ok(()))), [Probe(t(1))]);
    assert_eq!(run.known(1, Found::Restore), [Restore(t(1))]);
    assert_eq!(run.step(Input::Settled(t(1), Ok(()))), [Finished]);
    assert_eq!(run.scheduler.counts(), Counts { ran: 1, restored: 1, ..Counts::default() });
    assert_eq!(run.scheduler.unexpected(), 0);
}

#[test]
fn nothing_to_do_is_finished_at_once() {
    let mut run = Run::new(vec![], room(1), false);
    assert_eq!(run.step(Input::Tick), []);
    assert_eq!(run.add(vec![]), [Finished]);
    assert_eq!(run.add(vec![]), []);
    let mut run = Run::new(vec![], room(1), false);
    assert_eq!(run.step(Input::Stop { now: false }), [Finished]);
}

#[test]
fn a_no_op_is_one_batch() {
    let mut run = Run::new(vec![], room(1), false);
    run.add(vec![New::task(t(0)), after(1, &[0]), after(2, &[1])]);
    let found = (0..3).map(|id| (t(id), Found::Fresh)).collect();
    assert_eq!(run.step(Input::Known(found)), [Finished]);
    assert_eq!(run.scheduler.counts().fresh, 3);
}

#[test]
fn what_was_known_is_void_below_a_command_that_ran() {
    let fresh = |new: New| New { found: Some(Found::Fresh), ..new };
    let order = New { after_order: vec![t(0)], ..New::task(t(4)) };
    let mut run = Run::new(vec![], room(1), false);
    let gate = New { after: vec![t(0)], ..New::gate(t(2)) };
    run.add(vec![runs(0), fresh(after(1, &[0])), gate, fresh(after(3, &[2])), fresh(order), fresh(after(5, &[1]))]);
    assert_eq!(run.well(0), [Probe(t(1)), Probe(t(3))]);
    assert_eq!(run.scheduler.counts().fresh, 1); // by order only
    // An answer of "up to date after all" leaves what is known further down as it is.
    assert_eq!(run.step(Input::Known(vec![(t(1), Found::Fresh), (t(3), Found::Fresh)])), [Finished]);
    assert_eq!(run.scheduler.counts(), Counts { ran: 1, fresh: 4, ..Counts::default() });
}

#[test]
fn a_restored_result_leaves_what_is_known_as_it_is() {
    let mut run = Run::new(vec![], room(1), false);
    let restore = New { found: Some(Found::Restore), ..New::task(t(0)) };
    assert_eq!(run.add(vec![restore, New { found: Some(Found::Fresh), ..after(1, &[0]) }]), [Restore(t(0))]);
    assert_eq!(run.step(Input::Settled(t(0), Ok(()))), [Finished]);
}

#[test]
fn a_restore_that_cannot_be_done_runs() {
    let mut run = Run::new(vec![], room(1), false);
    run.add(vec![New { found: Some(Found::Restore), ..New::task(t(0)) }]);
    assert_eq!(run.known(0, Found::Run), [Launch(t(0), 1)]);
    assert_eq!(run.well(0), [Finished]);
}

#[test]
fn restores_take_no_slot_and_are_limited() {
    let mut run = Run::new(vec![], room(1), false);
    let restore = |id| New { found: Some(Found::Restore), ..New::task(t(id)) };
    let out = run.add(vec![restore(0), restore(1), restore(2), runs(3)]);
    assert_eq!(out, [Restore(t(0)), Restore(t(1)), Launch(t(3), 1)]);
    assert_eq!(run.step(Input::Settled(t(1), Ok(()))), [Restore(t(2))]);
}

#[test]
fn the_slot_is_free_while_the_bracket_closes() {
    let mut run = Run::new(vec![], room(1), false);
    assert_eq!(run.add(vec![runs(0), runs(1), after(2, &[0])]), [Launch(t(0), 1)]);
    assert_eq!(run.step(Input::Ended(t(0), Cause::Success)), [Settle(t(0)), Launch(t(1), 1)]);
    assert_eq!(run.step(Input::Settled(t(0), Ok(()))), [Probe(t(2))]);
}

#[test]
fn longest_path_first_then_rank_then_id() {
    let mut run = Run::new(vec![], room(1), false);
    let with = |new: New, rank, secs| New { rank, expected: Duration::from_secs(secs), ..new };
    let tasks = vec![with(runs(0), 5, 3), with(runs(1), 5, 1), with(after(9, &[1]), 0, 10), with(runs(3), 4, 3), with(runs(2), 4, 3)];
    assert_eq!(run.add(tasks), [Launch(t(1), 1)]);
    assert_eq!(run.step(Input::Ended(t(1), Cause::Success)), [Settle(t(1)), Launch(t(2), 1)]);
    assert_eq!(run.step(Input::Ended(t(2), Cause::Success)), [Settle(t(2)), Launch(t(3), 1)]);
    assert_eq!(run.step(Input::Ended(t(3), Cause::Success)), [Settle(t(3)), Launch(t(0), 1)]);
}

#[test]
fn probes_come_in_order_too() {
    let mut run = Run::new(vec![], room(1), false);
    assert_eq!(run.add(vec![New::task(t(0)), New::task(t(1)), after(2, &[1])]), [Probe(t(1)), Probe(t(0))]);
}

#[test]
fn more_than_there_is_is_clamped_or_runs_alone() {
    let mut run = Run::new(vec![], Room { slots: 2, memory: 100, pools: vec![1] }, false);
    let big = New { rank: 1, ..wants(runs(0), 1, 500, &[]) };
    let wide = New { rank: 2, ..wants(runs(1), 64, 0, &[(0, 9), (7, 1)]) };
    let small = New { rank: 0, ..wants(runs(2), 1, 0, &[]) };
    assert_eq!(run.add(vec![big, wide, small]), [Launch(t(2), 1)]);
    assert_eq!(run.well(2), [Launch(t(0), 1)]);
    assert_eq!(run.well(0), [Launch(t(1), 1)]);
    assert_eq!(run.well(1), [Finished]);
}

#[test]
fn memory_is_not_counted_if_unknown() {
    let mut run = Run::new(vec![], room(2), false);
    assert_eq!(run.add(vec![wants(runs(0), 1, u64::MAX, &[]), wants(runs(1), 1, u64::MAX, &[])]).len(), 2);
}

#[test]
fn the_first_that_lacks_something_holds_it() {
    // 0 runs on two of four slots. 1 needs all four: nothing behind it takes a slot, but 3, which
    // needs none, passes.
    let mut run = Run::new(vec![], Room { slots: 4, memory: 0, pools: vec![1] }, false);
    let with = |id, rank, slots, pools: &[(u16, u32)]| New { rank, ..wants(runs(id), slots, 0, pools) };
    let out = run.add(vec![with(0, 0, 2, &[]), with(1, 1, 4, &[]), with(2, 2, 1, &[]), with(3, 3, 0, &[(0, 1)])]);
    assert_eq!(out, [Launch(t(0), 1), Launch(t(3), 1)]);
    assert_eq!(run.step(Input::Ended(t(0), Cause::Success)), [Settle(t(0)), Launch(t(1), 1)]);
    assert_eq!(run.step(Input::Ended(t(1), Cause::Success)), [Settle(t(1)), Launch(t(2), 1)]);
}

#[test]
fn what_is_held_stays_held_until_the_start() {
    // 0 has the pool, 1 and 2 the two slots; 3 needs both. It holds the pool first. When that is
    // free and a slot is not, 4 (the pool only) may not take it.
    let mut run = Run::new(vec![], Room { slots: 2, memory: 0, pools: vec![1] }, false);
    let with = |id, rank, slots, pools: &[(u16, u32)]| New { rank, ..wants(runs(id), slots, 0, pools) };
    run.add(vec![with(0, 0, 0, &[(0, 1)]), with(1, 1, 1, &[]), with(2, 2, 1, &[])]);
    assert_eq!(run.add(vec![with(3, 3, 2, &[(0, 1)]), with(4, 4, 0, &[(0, 1)])]), []);
    assert_eq!(run.step(Input::Ended(t(0), Cause::Success)), [Settle(t(0))]);
    assert_eq!(run.step(Input::Ended(t(1), Cause::Success)), [Settle(t(1))]);
    assert_eq!(run.step(Input::Ended(t(2), Cause::Success)), [Settle(t(2)), Launch(t(3), 1)]);
}

#[test]
fn who_waits_behind_a_hold_holds_nothing() {
    // 1 holds the pool for a long time; 2 needs the pool and all slots, but the slots go on.
    let mut run = Run::new(vec![], Room { slots: 2, memory: 0, pools: vec![1] }, false);
    let with = |id, rank, slots, pools: &[(u16, u32)]| New { rank, ..wants(runs(id), slots, 0, pools) };
    run.add(vec![with(0, 0, 1, &[(0, 1)])]);
    let out = run.add(vec![with(1, 1, 0, &[(0, 1)]), with(2, 2, 2, &[(0, 1)]), with(3, 3, 1, &[])]);
    assert_eq!(out, [Launch(t(3), 1)]);
    assert_eq!(run.add(vec![with(4, 4, 1, &[])]), []);
    assert_eq!(run.step(Input::Ended(t(3), Cause::Success)), [Settle(t(3)), Launch(t(4), 1)]);
}

#[test]
fn attempts_are_tried_again() {
    let policy = Policy { retries: 2, backoff: secs(1), ..Policy::default() };
    let mut run = Run::new(vec![policy], room(1), false);
    assert_eq!(run.add(vec![runs(0), after(1, &[0])]), [Launch(t(0), 1)]);
    run.now = secs(10);
    assert_eq!(run.step(Input::Ended(t(0), Cause::Exit(1))), [Retry(t(0), secs(11)), WakeAt(secs(11))]);
    assert_eq!(run.step(Input::Tick), [WakeAt(secs(11))]); // too early: said again
    run.now = secs(11);
    assert_eq!(run.step(Input::Tick), [Launch(t(0), 2)]);
    assert_eq!(run.step(Input::Ended(t(0), Cause::Success)), [Settle(t(0))]);
    let cause = Cause::MissingOutputs(vec![]);
    assert_eq!(run.step(Input::Settled(t(0), Err(cause))), [Retry(t(0), secs(13)), WakeAt(secs(13))]);
    run.now = secs(20);
    assert_eq!(run.step(Input::Tick), [Launch(t(0), 3)]);
    assert_eq!(run.step(Input::Ended(t(0), Cause::Signal(9))), [Failed(t(0), Cause::Signal(9))]);
    assert_eq!(run.step(Input::PutAway(t(0))), [Blocked(t(1), t(0)), Finished]);
    assert_eq!(run.scheduler.counts(), Counts { failed: 1, blocked: 1, ..Counts::default() });
}

#[test]
fn others_run_while_one_rests() {
    let policy = Policy { retries: 1, backoff: secs(5), ..Policy::default() };
    let mut run = Run::new(vec![policy], room(1), false);
    assert_eq!(run.add(vec![runs(0), runs(1)]), [Launch(t(0), 1)]);
    assert_eq!(run.step(Input::Ended(t(0), Cause::Exit(1))), [Retry(t(0), secs(5)), Launch(t(1), 1), WakeAt(secs(5))]);
    run.now = secs(5);
    assert_eq!(run.step(Input::Tick), []); // the slot is taken
    assert_eq!(run.step(Input::Ended(t(1), Cause::Success)), [Settle(t(1)), Launch(t(0), 2)]);
}

#[test]
fn the_first_failure_stops_what_is_new() {
    let mut run = Run::new(vec![], room(2), false);
    run.add(vec![runs(0), runs(1), runs(2), after(3, &[0]), after(4, &[3]), after(5, &[1])]);
    assert_eq!(run.step(Input::Ended(t(0), Cause::Exit(1))), [Failed(t(0), Cause::Exit(1))]);
    assert_eq!(run.step(Input::PutAway(t(0))), [Blocked(t(3), t(0)), Blocked(t(4), t(0))]);
    assert_eq!(run.well(1), [Finished]); // 1 finished; 2 and 5 are not started
    let counts = run.scheduler.counts();
    assert_eq!(counts, Counts { ran: 1, failed: 1, blocked: 2, queued: 1, waiting: 1, ..Counts::default() });
    assert_eq!((counts.left(), run.scheduler.left()), (2, 2));
}

#[test]
fn keep_going_runs_all_that_is_not_below() {
    let mut run = Run::new(vec![], room(1), true);
    run.add(vec![runs(0), runs(1), after(2, &[0, 1]), after(3, &[1])]);
    assert_eq!(run.badly(0), [Failed(t(0), Cause::Exit(1)), Launch(t(1), 1), Blocked(t(2), t(0))]);
    assert_eq!(run.well(1), [Probe(t(3))]);
    assert_eq!(run.known(3, Found::Fresh), [Finished]);
}

#[test]
fn the_first_failure_drops_what_was_to_be_tried_again() {
    let policies = vec![Policy { retries: 1, backoff: secs(1), ..Policy::default() }, Policy::default()];
    let mut run = Run::new(policies, room(2), false);
    run.add(vec![runs(0), New { policy: 1, ..runs(1) }]);
    run.step(Input::Ended(t(0), Cause::Exit(7)));
    let out = run.step(Input::Ended(t(1), Cause::Exit(1)));
    assert_eq!(out, [Failed(t(1), Cause::Exit(1)), Failed(t(0), Cause::Exit(7))]);
    run.step(Input::PutAway(t(0)));
    assert_eq!(run.step(Input::PutAway(t(1))), [Finished]);
    assert_eq!(run.scheduler.counts().failed, 2);
}

#[test]
fn an_allowed_failure_blocks_readers_only() {
    let mut run = Run::new(vec![Policy { allow_failure: true, ..Policy::default() }, Policy::default()], room(1), false);
    let plain = |new: New| New { policy: 1, ..new };
    let needs = |id, above| plain(New { after_order: vec![t(above)], ..New::task(t(id)) });
    run.add(vec![runs(0), plain(after(1, &[0])), needs(2, 0), needs(3, 1)]);
    // 3 needs 1, which did not run: it does not run either.
    assert_eq!(run.badly(0), [Failed(t(0), Cause::Exit(1)), Blocked(t(1), t(0)), Blocked(t(3), t(0)), Probe(t(2))]);
    assert_eq!(run.known(2, Found::Fresh), [Finished]);
    assert_eq!(run.scheduler.counts(), Counts { allowed: 1, skipped: 2, fresh: 1, ..Counts::default() });
}

#[test]
fn an_allowed_failure_goes_through_gates() {
    let mut run = Run::new(vec![Policy { allow_failure: true, ..Policy::default() }], room(2), false);
    let gate = New { after: vec![t(0), t(1)], ..New::gate(t(9)) };
    let needs = New { after_order: vec![t(9)], ..New::task(t(3)) };
    run.add(vec![runs(0), runs(1), gate, after(2, &[9]), needs]);
    assert_eq!(run.badly(0), [Failed(t(0), Cause::Exit(1))]); // the other one still runs
    assert_eq!(run.well(1), [Blocked(t(2), t(0)), Probe(t(3))]);
}

#[test]
fn a_fault_is_a_failure_without_putting_away() {
    let mut run = Run::new(vec![Policy { retries: 3, ..Policy::default() }], room(1), false);
    run.add(vec![New::task(t(0)), after(1, &[0])]);
    assert_eq!(run.known(0, Found::Fault), [Blocked(t(1), t(0)), Finished]);
    assert_eq!(run.scheduler.counts().failed, 1);
}

#[test]
fn a_fan_out_at_run_time_is_one_open_gate() {
    let mut run = Run::new(vec![], room(4), false);
    let gate = New { held: true, after: vec![t(0)], ..New::gate(t(9)) };
    run.add(vec![runs(0), gate, after(1, &[9])]);
    assert_eq!(run.well(0), []); // not finished: the gate is held
    let child = |id| New { found: Some(Found::Run), before: vec![t(9)], ..after(id, &[0]) };
    assert_eq!(run.step(Input::Added(vec![child(10), child(11)], vec![t(9)])), [Launch(t(10), 1), Launch(t(11), 1)]);
    assert_eq!(run.well(11), []);
    assert_eq!(run.well(10), [Probe(t(1))]);
    assert_eq!(run.known(1, Found::Fresh), [Finished]);
    assert_eq!(run.scheduler.unexpected(), 0);
}

#[test]
fn an_empty_fan_out_lets_through() {
    let mut run = Run::new(vec![], room(4), false);
    run.add(vec![New { held: true, ..New::gate(t(9)) }, after(1, &[9])]);
    assert_eq!(run.step(Input::Added(vec![], vec![t(9)])), [Probe(t(1))]);
}

#[test]
fn a_gate_that_cannot_be_expanded_fails() {
    let mut run = Run::new(vec![], room(4), false);
    run.add(vec![runs(0), New { held: true, after: vec![t(0)], ..New::gate(t(9)) }, after(1, &[9])]);
    run.well(0);
    assert_eq!(run.known(9, Found::Fault), [Blocked(t(1), t(9)), Finished]);
    assert_eq!(run.scheduler.counts().failed, 1);
}

#[test]
fn a_gate_below_a_failure_is_held_no_more() {
    let mut run = Run::new(vec![], room(4), true);
    run.add(vec![runs(0), New { held: true, after: vec![t(0)], ..New::gate(t(9)) }, after(1, &[9])]);
    assert_eq!(run.badly(0), [Failed(t(0), Cause::Exit(1)), Blocked(t(1), t(0)), Finished]);
}

#[test]
fn later_tasks_know_what_failed_before() {
    let mut run = Run::new(vec![], room(1), true);
    run.add(vec![runs(0), New { held: true, ..New::gate(t(9)) }]);
    run.badly(0);
    assert_eq!(run.add(vec![after(1, &[0]), after(2, &[1]), runs(3)]), [Blocked(t(1), t(0)), Blocked(t(2), t(0)), Launch(t(3), 1)]);
}

#[test]
fn a_stop_lets_run_what_runs() {
    let policy = Policy { retries: 5, backoff: secs(1), ..Policy::default() };
    let mut run = Run::new(vec![policy], room(1), false);
    run.add(vec![runs(0), runs(1), after(2, &[0])]);
    assert_eq!(run.step(Input::Stop { now: false }), []);
    assert_eq!(run.step(Input::Ended(t(0), Cause::Success)), [Settle(t(0))]);
    assert_eq!(run.step(Input::Settled(t(0), Ok(()))), [Finished]);
    assert_eq!(run.scheduler.counts(), Counts { ran: 1, queued: 1, waiting: 1, ..Counts::default() });
}

#[test]
fn a_stop_now_cancels_once() {
    let policy = Policy { retries: 5, backoff: secs(1), ..Policy::default() };
    let mut run = Run::new(vec![policy], room(2), false);
    run.add(vec![runs(0), runs(1), after(2, &[0])]);
    assert_eq!(run.step(Input::Stop { now: false }), []);
    assert_eq!(run.step(Input::Stop { now: true }), [Cancel(t(0)), Cancel(t(1))]);
    assert_eq!(run.step(Input::Stop { now: true }), []);
    // One was quicker than the signal.
    assert_eq!(run.step(Input::Ended(t(1), Cause::Success)), [Settle(t(1))]);
    assert_eq!(run.step(Input::Ended(t(0), Cause::Cancelled)), [Failed(t(0), Cause::Cancelled)]);
    assert_eq!(run.step(Input::PutAway(t(0))), []);
    assert_eq!(run.step(Input::Settled(t(1), Ok(()))), [Finished]);
    assert_eq!(run.scheduler.counts(), Counts { ran: 1, cancelled: 1, waiting: 1, ..Counts::default() });
}

#[test]
fn a_stop_drops_retries() {
    let policy = Policy { retries: 5, backoff: secs(1), ..Policy::default() };
    let mut run = Run::new(vec![policy], room(2), false);
    run.add(vec![runs(0)]);
    run.step(Input::Ended(t(0), Cause::Exit(3)));
    assert_eq!(run.step(Input::Stop { now: false }), [Failed(t(0), Cause::Exit(3))]);
    assert_eq!(run.step(Input::PutAway(t(0))), [Finished]);
}

#[test]
fn cancelled_by_somebody_else_is_a_failure() {
    let mut run = Run::new(vec![Policy { retries: 5, ..Policy::default() }], room(2), false);
    run.add(vec![runs(0), after(1, &[0])]);
    assert_eq!(run.step(Input::Ended(t(0), Cause::Cancelled)), [Failed(t(0), Cause::Cancelled)]);
    assert_eq!(run.step(Input::PutAway(t(0))), [Blocked(t(1), t(0)), Finished]);
}

#[test]
fn an_adopted_attempt_takes_its_room() {
    let policy = Policy { retries: 2, ..Policy::default() };
    let mut run = Run::new(vec![policy], room(1), false);
    assert_eq!(run.add(vec![New::task(t(0)), runs(1), after(2, &[1])]), [Launch(t(1), 1), Probe(t(0))]);
    assert_eq!(run.step(Input::Adopted(t(0), 2)), []); // two on one slot: it runs already
    assert_eq!(run.step(Input::Ended(t(1), Cause::Success)), [Settle(t(1))]);
    run.step(Input::Settled(t(1), Ok(())));
    assert_eq!(run.known(2, Found::Run), []); // the slot is still taken
    assert_eq!(run.step(Input::Ended(t(0), Cause::Exit(1))), [Retry(t(0), secs(0)), Launch(t(2), 1), WakeAt(secs(0))]);
    assert_eq!(run.well(2), [Launch(t(0), 3)]);
    assert_eq!(run.badly(0), [Failed(t(0), Cause::Exit(1)), Finished]);
}

#[test]
fn items_come_and_go_in_the_same_memory() {
    let mut run = Run::new(vec![], room(2), true);
    run.add(vec![New { held: true, ..New::gate(t(0)) }]); // a daemon: never finished
    for id in 1..10_000 {
        run.add(vec![runs(id), after(20_000 + id, &[id])]);
        run.well(id);
        run.known(20_000 + id, Found::Fresh);
        run.step(Input::Retired(vec![t(id), t(20_000 + id)]));
    }
    assert!(run.scheduler.places() <= 4, "{}", run.scheduler.places());
    assert_eq!(run.scheduler.counts(), Counts { ran: 9_999, fresh: 9_999, ..Counts::default() });
    assert_eq!(run.step(Input::Added(vec![], vec![t(0)])), [Finished]);
}

#[test]
fn held_gates_that_leave_leave_nothing_behind() {
    let mut run = Run::new(vec![], room(2), true);
    run.add(vec![New { held: true, ..New::gate(t(0)) }]);
    for id in 1..100 {
        let held = New { held: true, after: vec![t(1_000 + id)], ..New::gate(t(id)) };
        run.add(vec![New::task(t(1_000 + id)), held]);
        if id % 2 == 0 {
            run.known(1_000 + id, Found::Fault); // blocks the gate
        }
        run.step(Input::Retired(vec![t(id), t(1_000 + id)]));
    }
    assert!(run.scheduler.places() <= 4, "{}", run.scheduler.places());
    assert_eq!(run.step(Input::Added(vec![], vec![t(0)])), [Finished]);
}

#[test]
fn one_at_work_leaves_when_it_is_over() {
    let mut run = Run::new(vec![], room(1), true);
    run.add(vec![New { expected: secs(9), ..runs(0) }, runs(1), after(2, &[1])]);
    assert_eq!(run.step(Input::Retired(vec![t(0), t(1)])), [Probe(t(2))]); // 1 had not begun
    assert_eq!(run.well(0), []);
    assert_eq!(run.step(Input::Settled(t(0), Ok(()))), []); // unknown now
    assert_eq!(run.scheduler.unexpected(), 1);
    assert_eq!(run.known(2, Found::Fresh), [Finished]);
    assert_eq!(run.scheduler.counts(), Counts { ran: 1, left_early: 1, fresh: 1, ..Counts::default() });
}

#[test]
fn odd_input_changes_nothing() {
    let mut run = Run::new(vec![], room(1), false);
    assert_eq!(run.add(vec![runs(0), after(1, &[0])]), [Launch(t(0), 1)]);
    let odd = vec![
        Input::Added(vec![New::task(t(0))], vec![t(0), t(77)]),
        Input::Retired(vec![t(77)]),
        Input::Known(vec![(t(0), Found::Fresh), (t(77), Found::Run)]),
        Input::Adopted(t(0), 4),
        Input::Started(t(77)),
        Input::Ended(t(1), Cause::Success),
        Input::Ended(TaskId(u32::MAX), Cause::Success),
        Input::Settled(t(0), Ok(())),
        Input::PutAway(t(0)),
    ];
    for input in odd {
        assert_eq!(run.step(input.clone()), [], "{input:?}");
    }
    assert_eq!(run.scheduler.unexpected(), 11);
    assert_eq!(run.scheduler.running(), 1);
}

#[test]
fn a_cycle_never_starts_and_does_not_hang() {
    let mut run = Run::new(vec![], room(1), false);
    assert_eq!(run.add(vec![after(0, &[1]), after(1, &[0]), after(2, &[2])]), [Finished]);
    assert_eq!(run.scheduler.left(), 3);
}
