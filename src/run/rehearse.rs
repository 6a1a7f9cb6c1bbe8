//! A run played through without running anything: in which order, and until when.
//!
//! Owns the estimate of a plan. Pure: it is the scheduler of a real run, told that each command took as
//! long as it is expected to. Must hold: what is said of order and admission is what a run would do.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::attempt::Cause;
use crate::graph::{Edge, Graph};
use crate::name::TaskId;
use crate::plan::decide::Verdict;
use crate::plan::walk::{Selection, Walked};
use crate::run::schedule::{Action, Found, Input, New, Policy, Room, Scheduler};

/// What came of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rehearsed {
    /// The selected tasks in the order they would start; what is up to date stands where it is found so.
    pub order: Vec<TaskId>,
    /// When the last command would end.
    pub wall: Duration,
}

/// Plays a plan through. `expected` is how long each command takes, by task; what may run is taken to run.
pub fn rehearse(graph: &Graph, selection: &Selection, walked: &Walked, expected: &[Duration], jobs: u32) -> Rehearsed {
    let room =
        Room { slots: jobs, memory: crate::os::process::memory().unwrap_or(0), pools: graph.pools.iter().map(|(_, size)| *size).collect() };
    let mut scheduler = Scheduler::new(vec![Policy::default()], room, true);
    let mut inputs = VecDeque::from([Input::Added(batch(graph, selection, expected), Vec::new())]);
    // Commands that run, by when they end; of two that end together the one that began first.
    let mut running: BinaryHeap<Reverse<(Duration, usize, TaskId)>> = BinaryHeap::new();
    let mut rehearsed = Rehearsed::default();
    let mut actions = Vec::new();
    loop {
        while let Some(input) = inputs.pop_front() {
            scheduler.step(rehearsed.wall, input, &mut actions);
            for action in actions.drain(..) {
                match action {
                    Action::Probe(id) => {
                        let found = found(walked.verdicts.get(id.index()).and_then(Option::as_ref));
                        if found == Found::Fresh {
                            rehearsed.order.push(id);
                        }
                        inputs.push_back(Input::Known(vec![(id, found)]));
                    }
                    Action::Restore(id) => {
                        rehearsed.order.push(id);
                        inputs.push_back(Input::Settled(id, Ok(())));
                    }
                    Action::Launch(id, _) => {
                        let takes = expected.get(id.index()).copied().unwrap_or_default();
                        running.push(Reverse((rehearsed.wall + takes, rehearsed.order.len(), id)));
                        rehearsed.order.push(id);
                    }
                    Action::Settle(id) => inputs.push_back(Input::Settled(id, Ok(()))),
                    _ => {}
                }
            }
        }
        let Some(Reverse((at, _, id))) = running.pop() else { return rehearsed };
        rehearsed.wall = rehearsed.wall.max(at);
        inputs.push_back(Input::Ended(id, Cause::Success));
    }
}

fn found(verdict: Option<&Verdict>) -> Found {
    match verdict {
        None | Some(Verdict::UpToDate | Verdict::Missing(_)) => Found::Fresh,
        Some(Verdict::Restore { files, .. }) if files.is_empty() => Found::Fresh,
        Some(Verdict::Restore { .. }) => Found::Restore,
        Some(Verdict::Run(_) | Verdict::Pending { .. } | Verdict::Unknown(_)) => Found::Run,
    }
}

/// The tasks as a run hands them to the scheduler.
fn batch(graph: &Graph, selection: &Selection, expected: &[Duration]) -> Vec<New> {
    let mut batch = Vec::with_capacity(graph.nodes());
    for index in 0..graph.nodes() as u32 {
        let id = TaskId(index);
        let gate = graph.is_gate(id);
        if !gate && !selection.chosen[id.index()] {
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
            new.wants = graph.stage_of(id).wants.clone();
            new.expected = expected.get(id.index()).copied().unwrap_or_default();
            new.rank = index;
        }
        batch.push(new);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Wants;
    use crate::graph::{Command, Edges, Places, Stage, Task};
    use crate::name::{RelPath, StageId};
    use crate::pipeline::spec::Runs;
    use crate::plan::reason::Reason;
    use crate::value::{Data, Value};

    /// A stage of tasks that take one slot each, with what each waits for.
    fn graph(above: &[&[u32]]) -> Graph {
        let count = above.len() as u32;
        let task = |n: u32| Task {
            name: format!("s@n={n}").as_str().into(),
            stage: StageId(0),
            axes: vec![("n".into(), n.to_string())],
            command: Command::Argv(Vec::new()),
            dir: RelPath::workspace(),
            env: Vec::new(),
            read_env: Vec::new(),
            roles: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            tools: Vec::new(),
            settings: Vec::new(),
            late: None,
        };
        let stage = Stage {
            name: "s".into(),
            description: None,
            tags: Vec::new(),
            runs: Runs::Auto,
            wants: Wants { slots: 1, ..Wants::default() },
            timeout: None,
            grace: Duration::from_secs(10),
            retries: 0,
            cache: true,
            shell: Vec::new(),
            default_shell: true,
            axes: vec!["n".into()],
            tasks: (0, count),
            params: Vec::new(),
            places: Places::default(),
        };
        let lists: Vec<Vec<(TaskId, Edge)>> = above.iter().map(|list| list.iter().map(|id| (TaskId(*id), Edge::File)).collect()).collect();
        Graph {
            name: "p".into(),
            description: None,
            pools: Vec::new(),
            keep_going: false,
            files: Vec::new(),
            stages: vec![stage],
            tasks: (0..count).map(task).collect(),
            gates: Vec::new(),
            above: Edges::new(&lists),
            order: (0..count).map(TaskId).collect(),
            config: Value { at: crate::diag::Span::default(), data: Data::Map(Vec::new()) },
            config_places: Vec::new(),
            variables: Vec::new(),
            globs: Vec::new(),
            globs_of: Vec::new(),
        }
    }

    fn play(above: &[&[u32]], seconds: &[u64], fresh: &[usize], jobs: u32) -> (Vec<u32>, u64) {
        let no = vec![false; above.len()];
        let selection = Selection { chosen: vec![true; above.len()], named: no.clone(), forced: no, keep_manifests: false };
        let verdict = |n: usize| if fresh.contains(&n) { Verdict::UpToDate } else { Verdict::Run(vec![Reason::NeverRan]) };
        let walked = Walked { verdicts: (0..above.len()).map(|n| Some(verdict(n))).collect(), ..Walked::default() };
        let expected: Vec<Duration> = seconds.iter().map(|seconds| Duration::from_secs(*seconds)).collect();
        let rehearsed = rehearse(&graph(above), &selection, &walked, &expected, jobs);
        (rehearsed.order.iter().map(|id| id.0).collect(), rehearsed.wall.as_secs())
    }

    #[test]
    fn the_longest_path_goes_first() {
        // 2 heads a chain of 2 + 3 seconds; 0 and 1 stand alone.
        let above: [&[u32]; 4] = [&[], &[], &[], &[2]];
        assert_eq!(play(&above, &[1, 4, 2, 3], &[], 1), (vec![2, 1, 3, 0], 10));
        assert_eq!(
            play(&above, &[1, 4, 2, 3], &[], 2),
            (vec![2, 1, 0, 3], 6),
            "a slot is free when its command ended, before its outputs are looked at"
        );
        assert_eq!(play(&above, &[1, 4, 2, 3], &[], 9), (vec![2, 1, 0, 3], 5));
    }

    #[test]
    fn what_is_up_to_date_takes_no_time() {
        let above: [&[u32]; 3] = [&[], &[0], &[1]];
        assert_eq!(play(&above, &[5, 5, 5], &[0, 1, 2], 1), (vec![0, 1, 2], 0));
        assert_eq!(play(&above, &[5, 5, 5], &[0], 1), (vec![0, 1, 2], 10));
        assert_eq!(play(&[], &[], &[], 1), (vec![], 0));
    }
}
