//! Who makes what, who waits for whom.
//!
//! Owns the index of outputs, the check that no path has two makers, and the order. Pure. Must hold:
//! no recursion over the graph: a chain of a million tasks is fine (of petgraph's cycle checks
//! `kosaraju_scc` is iterative, `tarjan_scc` and `is_cyclic_directed` are not).

use std::collections::{HashMap, VecDeque};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::diag::{Diagnostic, Span};
use crate::graph::{Edge, Output, Task};
use crate::name::{RelPath, StageId, TaskId};

/// The task that makes a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Maker {
    /// The task.
    pub task: TaskId,
    /// The path itself is declared, not a folder around it.
    pub exact: bool,
    /// What is declared is a folder.
    pub folder: bool,
}

/// All declared outputs.
pub struct Outputs {
    /// Sorted by path.
    sorted: Vec<(RelPath, TaskId, bool)>,
    by_path: HashMap<RelPath, (TaskId, bool)>,
    folders: usize,
}

impl Outputs {
    /// The outputs of these tasks.
    pub fn new(tasks: &[Task]) -> Outputs {
        let mut sorted: Vec<(RelPath, TaskId, bool)> = Vec::with_capacity(tasks.len());
        let mut by_path = HashMap::with_capacity(tasks.len());
        let mut folders = 0;
        for (index, task) in tasks.iter().enumerate() {
            for output in &task.outputs {
                let id = TaskId(index as u32);
                sorted.push((output.path.clone(), id, output.folder));
                by_path.entry(output.path.clone()).or_insert((id, output.folder));
                folders += usize::from(output.folder);
            }
        }
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        Outputs { sorted, by_path, folders }
    }

    /// Who makes a path: as an output of its own, or as part of a folder.
    pub fn maker(&self, path: &RelPath) -> Option<Maker> {
        if let Some((task, folder)) = self.by_path.get(path) {
            return Some(Maker { task: *task, exact: true, folder: *folder });
        }
        if self.folders == 0 {
            return None;
        }
        let mut at = path.parent();
        while let Some(folder) = at {
            if let Some((task, true)) = self.by_path.get(&folder) {
                return Some(Maker { task: *task, exact: false, folder: true });
            }
            at = folder.parent();
        }
        None
    }

    /// The folder output that is `folder` or lies around it.
    pub fn folders_around(&self, folder: &RelPath) -> Vec<TaskId> {
        match self.maker(folder) {
            Some(made) if made.folder => vec![made.task],
            _ => Vec::new(),
        }
    }

    /// The tasks with an output below a folder.
    pub fn below(&self, folder: &RelPath) -> impl Iterator<Item = TaskId> + '_ {
        self.below_with_paths(folder).map(|(_, task, _)| task)
    }

    /// The outputs below a folder: path, task, whether it is a folder.
    pub fn below_with_paths(&self, folder: &RelPath) -> impl Iterator<Item = (&RelPath, TaskId, bool)> + '_ {
        let everything = folder.as_str() == ".";
        let prefix = if everything { String::new() } else { format!("{folder}/") };
        let from = self.sorted.partition_point(|(path, _, _)| path.as_str() < prefix.as_str());
        self.sorted[from..]
            .iter()
            .take_while(move |(path, _, _)| path.as_str().starts_with(&prefix))
            .map(|(path, task, folder)| (path, *task, *folder))
    }

    /// Paths that two outputs claim: the same one, or one inside another's folder. `place` says where
    /// the n-th output of a task's stage stands.
    pub fn conflicts(&self, tasks: &[Task], place: impl Fn(TaskId, &Output) -> Span) -> Vec<Diagnostic> {
        let mut faults = Vec::new();
        let mut said = HashMap::new();
        let mut report = |a: (TaskId, &RelPath), b: (TaskId, &RelPath)| {
            let (first, second) = if a.0 <= b.0 { (a, b) } else { (b, a) };
            let stages = (tasks[first.0.index()].stage, tasks[second.0.index()].stage);
            // Of two stages one conflict is enough: a fan-out would repeat it for every item.
            if said.insert(stages, ()).is_some() {
                return;
            }
            let (Some(at), Some(also)) = (span(tasks, second, &place), span(tasks, first, &place)) else { return };
            let (one, two) = (&tasks[first.0.index()].name, &tasks[second.0.index()].name);
            let message = match (first.1 == second.1, one == two) {
                (true, true) => format!("`{one}` makes {} twice", first.1),
                (true, false) => format!("`{one}` and `{two}` both make {}", first.1),
                (false, _) => format!("`{one}` makes {} and `{two}` makes {}: one lies inside the other", first.1, second.1),
            };
            let mut fault = Diagnostic::error("two_makers", at, message);
            if at != also {
                fault = fault.also(also, "also made here");
            }
            if stages.0 == stages.1 && one != two {
                fault = fault.hint("put the axis into the path, so that each task has an output of its own");
            }
            faults.push(fault);
        };
        for pair in self.sorted.windows(2) {
            if let [(a, first, _), (b, second, _)] = pair
                && a == b
            {
                report((*first, a), (*second, b));
            }
        }
        for entry in &self.sorted {
            let mut at = entry.0.parent();
            while let Some(folder) = at {
                if let Some((task, _)) = self.by_path.get(&folder) {
                    report((*task, &folder), (entry.1, &entry.0));
                    break;
                }
                at = folder.parent();
            }
        }
        faults.extend(self.alike(tasks, place));
        faults
    }

    /// Two outputs that a file system without case would take for one: the first such pair.
    fn alike(&self, tasks: &[Task], place: impl Fn(TaskId, &Output) -> Span) -> Option<Diagnostic> {
        let mut seen: HashMap<String, &(RelPath, TaskId, bool)> = HashMap::with_capacity(self.sorted.len());
        for entry in &self.sorted {
            let Some(first) = seen.insert(entry.0.as_str().to_lowercase(), entry).filter(|first| first.0 != entry.0) else { continue };
            let at = span(tasks, (entry.1, &entry.0), &place)?;
            let also = span(tasks, (first.1, &first.0), &place)?;
            let message = format!("{} and {} differ only by case", first.0, entry.0);
            let mut fault = Diagnostic::warning("case", at, message).label("one file where the file system ignores case");
            if at != also {
                fault = fault.also(also, "the other one");
            }
            return Some(fault);
        }
        None
    }
}

fn span(tasks: &[Task], made: (TaskId, &RelPath), place: impl Fn(TaskId, &Output) -> Span) -> Option<Span> {
    tasks[made.0.index()].outputs.iter().find(|output| output.path == *made.1).map(|output| place(made.0, output))
}

/// One edge for each pair: files before stamps before order.
pub fn tidy(list: &mut Vec<(TaskId, Edge)>) {
    list.sort_unstable();
    list.dedup_by_key(|(id, _)| *id);
}

/// An order in which every node comes after what it waits for, or a cycle: nodes each of which waits
/// for the next, the last for the first.
pub fn order(above: &[Vec<(TaskId, Edge)>]) -> Result<Vec<TaskId>, Vec<TaskId>> {
    let order = by_file(above);
    if order.len() == above.len() {
        return Ok(order);
    }
    let mut graph: DiGraph<(), (), u32> = DiGraph::with_capacity(above.len(), above.iter().map(Vec::len).sum());
    for _ in above {
        graph.add_node(());
    }
    for (node, list) in above.iter().enumerate() {
        for (other, _) in list {
            graph.add_edge(NodeIndex::new(other.index()), NodeIndex::new(node), ());
        }
    }
    let group =
        kosaraju_scc(&graph).into_iter().find(|group| group.len() > 1 || group.iter().any(|node| graph.contains_edge(*node, *node)));
    Err(shortest_cycle(above, &group.unwrap_or_default()))
}

/// The order itself: of all that could come next, the first in the file (Kahn's method with a heap).
fn by_file(above: &[Vec<(TaskId, Edge)>]) -> Vec<TaskId> {
    use std::cmp::Reverse;
    let mut waits: Vec<u32> = above.iter().map(|list| list.len() as u32).collect();
    let mut starts = vec![0u32; above.len() + 1];
    for (other, _) in above.iter().flatten() {
        starts[other.index() + 1] += 1;
    }
    for node in 0..above.len() {
        starts[node + 1] += starts[node];
    }
    let mut next = starts.clone();
    let mut below = vec![0u32; starts[above.len()] as usize];
    for (node, list) in above.iter().enumerate() {
        for (other, _) in list {
            below[next[other.index()] as usize] = node as u32;
            next[other.index()] += 1;
        }
    }
    let mut ready: std::collections::BinaryHeap<Reverse<u32>> =
        waits.iter().enumerate().filter(|(_, waits)| **waits == 0).map(|(node, _)| Reverse(node as u32)).collect();
    let mut order = Vec::with_capacity(above.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(TaskId(node));
        for &other in &below[starts[node as usize] as usize..starts[node as usize + 1] as usize] {
            waits[other as usize] -= 1;
            if waits[other as usize] == 0 {
                ready.push(Reverse(other));
            }
        }
    }
    order
}

/// A shortest cycle through the first node of a strongly connected group (breadth first).
fn shortest_cycle(above: &[Vec<(TaskId, Edge)>], group: &[NodeIndex<u32>]) -> Vec<TaskId> {
    let Some(start) = group.iter().map(|node| node.index()).min() else { return Vec::new() };
    let inside: std::collections::HashSet<usize> = group.iter().map(|node| node.index()).collect();
    let mut came: HashMap<usize, usize> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for (other, _) in &above[node] {
            let other = other.index();
            if other == start {
                let mut cycle = vec![node];
                let mut at = node;
                while at != start {
                    at = came[&at];
                    cycle.push(at);
                }
                cycle.reverse();
                return cycle.into_iter().map(|node| TaskId(node as u32)).collect();
            }
            if inside.contains(&other) && !came.contains_key(&other) {
                came.insert(other, node);
                queue.push_back(other);
            }
        }
    }
    vec![TaskId(start as u32)]
}

/// Most steps of a cycle that are printed.
const STEPS_SHOWN: usize = 24;

/// A cycle as people read it: every step with the path that ties two tasks.
pub fn cycle_fault(cycle: &[TaskId], tasks: &[Task], gates: &[StageId], place: impl Fn(StageId) -> Span) -> Diagnostic {
    // Gates are no step of their own: the stage whose gate it is names the step before it.
    let steps: Vec<TaskId> = cycle.iter().copied().filter(|id| id.index() < tasks.len()).collect();
    let name = |id: TaskId| {
        tasks
            .get(id.index())
            .map_or_else(|| gates.get(id.index() - tasks.len()).map_or(String::new(), |_| String::new()), |task| task.name.to_string())
    };
    let Some(&first) = steps.first() else { return Diagnostic::error("cycle", Span::default(), "a cycle") };
    let at = place(tasks[first.index()].stage);
    let mut lines = Vec::new();
    for (n, &id) in steps.iter().enumerate() {
        let next = steps[(n + 1) % steps.len()];
        let tie = tie(&tasks[id.index()], &tasks[next.index()]);
        let line = format!("`{}` reads {tie} of `{}`", name(id), name(next));
        if n < STEPS_SHOWN || n + 1 == steps.len() {
            lines.push(line);
        } else if n == STEPS_SHOWN {
            lines.push(format!("… {} more …", steps.len() - STEPS_SHOWN - 1));
        }
    }
    let mut fault =
        Diagnostic::error("cycle", at, format!("a cycle of {} tasks: each waits for the next", steps.len())).hint(lines.join("\n"));
    if let [_, second, ..] = steps.as_slice() {
        fault = fault.also(place(tasks[second.index()].stage), format!("`{}` is waited for by `{}`", name(*second), name(first)));
    }
    fault
}

/// What ties a task to one it waits for.
fn tie(task: &Task, other: &Task) -> String {
    use crate::graph::{Source, Tool};
    let reads = |path: &RelPath| {
        other.outputs.iter().any(|made| made.path == *path || path.below(&made.path).is_some() || made.path.below(path).is_some())
    };
    let inputs = task.inputs.iter().filter_map(|input| match &input.source {
        Source::Path { path, .. } => Some(path),
        _ => None,
    });
    let tools = task.tools.iter().filter_map(|tool| match tool {
        Tool::File { path, .. } => Some(path),
        _ => None,
    });
    inputs.chain(tools).find(|path| reads(path)).map_or_else(|| "the results".to_string(), |path| format!("`{path}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(list: &[&[u32]]) -> Vec<Vec<(TaskId, Edge)>> {
        list.iter().map(|above| above.iter().map(|id| (TaskId(*id), Edge::File)).collect()).collect()
    }

    #[test]
    fn order_follows_edges_then_the_file() {
        let order = order(&edges(&[&[2], &[], &[], &[0, 1]])).unwrap();
        assert_eq!(order, [1, 2, 0, 3].map(TaskId));
    }

    #[test]
    fn a_cycle_is_named_step_by_step() {
        assert_eq!(order(&edges(&[&[], &[2], &[3], &[1, 0]])).unwrap_err(), [1, 2, 3].map(TaskId));
        assert_eq!(order(&edges(&[&[0]])).unwrap_err(), [TaskId(0)]);
    }

    #[test]
    fn a_million_in_a_chain() {
        let chain: Vec<Vec<(TaskId, Edge)>> =
            (0..1_000_000u32).map(|node| if node == 0 { Vec::new() } else { vec![(TaskId(node - 1), Edge::File)] }).collect();
        assert_eq!(order(&chain).unwrap().len(), 1_000_000);
        let mut ring = chain;
        ring[0].push((TaskId(999_999), Edge::File));
        assert_eq!(order(&ring).unwrap_err().len(), 1_000_000);
    }
}
