//! The order in which tasks start: the longest remaining path first.
//!
//! Owns [`Turn`], the total order, and how the length of what lies below is found. Must hold: no
//! recursion, one visit for each task and edge; tasks that come later change nothing of those
//! above them.

use std::cmp::Ordering;
use std::time::Duration;

use crate::name::TaskId;

use super::state::Table;

/// A task's turn. Smaller is earlier: longer remaining path, then lower rank, then lower id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Turn {
    /// Its own expected time and that of the longest path below it, in microseconds.
    pub remaining: u64,
    pub rank: u32,
    pub id: TaskId,
    /// Where it lies in the table; no part of the order.
    pub slot: u32,
}

impl Ord for Turn {
    fn cmp(&self, other: &Turn) -> Ordering {
        (other.remaining, self.rank, self.id).cmp(&(self.remaining, other.rank, other.id))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Turn) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A duration as the order counts it. Microseconds, so that a chain of a million long tasks fits.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Sets the remaining path of tasks just added, whose `remaining` is their own time until now.
/// Their edges are in the table. A task in a cycle keeps its own time.
pub(super) fn set_remaining(table: &mut Table, added: &[u32]) {
    for &slot in added {
        let task = table.at_mut(slot);
        task.in_batch = true;
        task.scratch = 0;
    }
    for &slot in added {
        let mut edge = table.first_edge(slot);
        while let Some((below, _, next)) = table.edge(edge) {
            table.at_mut(below).scratch += 1;
            edge = next;
        }
    }
    // Forward from what has nothing of the batch above it, then back over the same list.
    let mut sorted: Vec<u32> = added.iter().copied().filter(|&slot| table.at(slot).scratch == 0).collect();
    let mut done = 0;
    while let Some(&slot) = sorted.get(done) {
        done += 1;
        let mut edge = table.first_edge(slot);
        while let Some((below, _, next)) = table.edge(edge) {
            let task = table.at_mut(below);
            task.scratch -= 1;
            if task.in_batch && task.scratch == 0 {
                sorted.push(below);
            }
            edge = next;
        }
    }
    for &slot in sorted.iter().rev() {
        let mut longest = 0;
        let mut edge = table.first_edge(slot);
        while let Some((below, _, next)) = table.edge(edge) {
            longest = longest.max(table.at(below).remaining);
            edge = next;
        }
        let task = table.at_mut(slot);
        task.remaining = task.remaining.saturating_add(longest);
    }
    for &slot in added {
        table.at_mut(slot).in_batch = false;
    }
}
