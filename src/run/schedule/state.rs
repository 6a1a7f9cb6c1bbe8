//! Where each task is, and the one place that changes it.
//!
//! Owns the table of tasks and gates, the edges between them, the way from ids to places in the
//! table, and the counts. Knows no rule of what may follow what: that is `step`. Must hold: a
//! place of the table is used again only when nothing points to it any more; memory follows the
//! tasks that are there, not those ever seen.

use crate::name::TaskId;

use super::Counts;

/// Where a task is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Something above it is open, it is held, or the run stops.
    Waiting,
    Probing,
    /// Its command must run: waits for room.
    Queued,
    /// Waits for its turn to be restored.
    ToRestore,
    Restoring,
    Running,
    Settling,
    /// Waits for the time of its next attempt.
    Resting,
    /// The last attempt failed and is being put away.
    PuttingAway,
    // Over:
    Fresh,
    Restored,
    Ran,
    /// A gate that let through.
    Passed,
    Failed,
    Allowed,
    Cancelled,
    Blocked,
    Skipped,
    /// Retired before it was started.
    Gone,
}

impl State {
    pub fn is_over(self) -> bool {
        use State::*;
        matches!(self, Fresh | Restored | Ran | Passed | Failed | Allowed | Cancelled | Blocked | Skipped | Gone)
    }
}

/// A task or gate.
pub(super) struct Task {
    pub id: TaskId,
    state: State,
    pub gate: bool,
    held: bool,
    /// Known to be up to date, unless something above it runs.
    pub early: bool,
    /// Something whose files it reads ran in this run.
    pub moved: bool,
    /// The last attempt was cancelled by a stop.
    pub cancelled: bool,
    /// Is to be retired when it is over.
    pub leaving: bool,
    /// Has left; its place is free when nothing points to it.
    removed: bool,
    pub in_batch: bool,
    /// The last attempt; 0: none.
    pub attempt: u16,
    /// How many edges from above are open, and one if it is held.
    pub open: u32,
    /// For the pass over a batch only.
    pub scratch: u32,
    pub policy: u32,
    pub shape: u32,
    pub rank: u32,
    /// What failed: above a gate that lets order pass only, or above what is blocked.
    pub by: Option<TaskId>,
    pub remaining: u64,
    first: u32,
    last: u32,
}

/// What an edge is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Files,
    Order,
}

struct Edge {
    below: u32,
    kind: Kind,
    next: u32,
}

/// No place, no edge.
const NONE: u32 = u32::MAX;

/// Ids are found by page, so that a page of retired ids can go.
const PAGE: usize = 1024;

struct Page {
    used: usize,
    places: Box<[u32]>,
}

/// A new task's fixed part.
pub(super) struct Fixed {
    pub id: TaskId,
    pub gate: bool,
    pub held: bool,
    pub policy: u32,
    pub shape: u32,
    pub rank: u32,
    pub expected: u64,
}

#[derive(Default)]
pub(super) struct Table {
    tasks: Vec<Task>,
    free_places: Vec<u32>,
    edges: Vec<Edge>,
    free_edges: Option<u32>,
    pages: Vec<Option<Page>>,
    counts: Counts,
    held: usize,
    #[cfg(test)]
    pub visits: std::cell::Cell<u64>,
}

#[expect(clippy::indexing_slicing, reason = "places and edges come from this table only and are dropped with what they point to")]
impl Table {
    pub fn at(&self, slot: u32) -> &Task {
        &self.tasks[slot as usize]
    }

    pub fn at_mut(&mut self, slot: u32) -> &mut Task {
        &mut self.tasks[slot as usize]
    }

    pub fn state(&self, slot: u32) -> State {
        self.at(slot).state
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Gates that are held and could still close.
    pub fn held(&self) -> usize {
        self.held
    }

    /// All places in use.
    pub fn places(&self) -> impl Iterator<Item = u32> {
        0..self.tasks.len() as u32
    }

    /// Changes a task's state; nothing else does.
    pub fn set(&mut self, slot: u32, state: State) {
        let task = &mut self.tasks[slot as usize];
        let was = std::mem::replace(&mut task.state, state);
        let held = task.held && state != State::Waiting;
        if held {
            task.held = false;
            task.open -= 1;
            self.held -= 1;
        }
        if !task.gate {
            *count(&mut self.counts, was) -= 1;
            *count(&mut self.counts, state) += 1;
        } else if state == State::Failed {
            self.counts.failed += 1;
        }
    }

    /// A held gate closes: true if it was held.
    pub fn close(&mut self, slot: u32) -> bool {
        let task = &mut self.tasks[slot as usize];
        let held = std::mem::replace(&mut task.held, false);
        if held {
            task.open -= 1;
            self.held -= 1;
        }
        held
    }

    /// The place of an id; `None`: never added, or retired.
    pub fn find(&self, id: TaskId) -> Option<u32> {
        let page = self.pages.get(id.index() / PAGE)?.as_ref()?;
        let place = page.places.get(id.index() % PAGE).copied()?;
        (place != NONE).then_some(place)
    }

    /// Adds a task that waits, with no edges. `None`: the id is there already.
    pub fn add(&mut self, new: Fixed) -> Option<u32> {
        if self.find(new.id).is_some() {
            return None;
        }
        let task = Task {
            id: new.id,
            state: State::Waiting,
            gate: new.gate,
            held: new.held,
            early: false,
            moved: false,
            cancelled: false,
            leaving: false,
            removed: false,
            in_batch: false,
            attempt: 0,
            open: u32::from(new.held),
            scratch: 0,
            policy: new.policy,
            shape: new.shape,
            rank: new.rank,
            by: None,
            remaining: new.expected,
            first: NONE,
            last: NONE,
        };
        let slot = match self.free_places.pop() {
            Some(slot) => {
                self.tasks[slot as usize] = task;
                slot
            }
            None => {
                self.tasks.push(task);
                self.tasks.len() as u32 - 1
            }
        };
        self.held += usize::from(new.held);
        if !new.gate {
            self.counts.waiting += 1;
        }
        let page = new.id.index() / PAGE;
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| Page { used: 0, places: vec![NONE; PAGE].into_boxed_slice() });
        page.used += 1;
        page.places[new.id.index() % PAGE] = slot;
        Some(slot)
    }

    /// `below` waits for `above`.
    pub fn connect(&mut self, above: u32, below: u32, kind: Kind) {
        let edge = Edge { below, kind, next: NONE };
        let place = match self.free_edges {
            Some(place) => {
                let next = self.edges[place as usize].next;
                self.free_edges = (next != NONE).then_some(next);
                self.edges[place as usize] = edge;
                place
            }
            None => {
                self.edges.push(edge);
                self.edges.len() as u32 - 1
            }
        };
        let last = std::mem::replace(&mut self.tasks[above as usize].last, place);
        match last {
            NONE => self.tasks[above as usize].first = place,
            last => self.edges[last as usize].next = place,
        }
        self.tasks[below as usize].open += 1;
    }

    /// Its first edge downwards, for [`Table::edge`].
    pub fn first_edge(&self, slot: u32) -> u32 {
        self.at(slot).first
    }

    /// An edge: what is below, what for, the next one.
    pub fn edge(&self, edge: u32) -> Option<(u32, Kind, u32)> {
        #[cfg(test)]
        self.visits.set(self.visits.get() + 1);
        (edge != NONE).then(|| {
            let edge = &self.edges[edge as usize];
            (edge.below, edge.kind, edge.next)
        })
    }

    /// Gives the edges of a task back: all have been followed.
    pub fn drop_edges(&mut self, slot: u32) {
        let task = &mut self.tasks[slot as usize];
        let (first, last) = (task.first, task.last);
        if first != NONE {
            (task.first, task.last) = (NONE, NONE);
            self.edges[last as usize].next = self.free_edges.unwrap_or(NONE);
            self.free_edges = Some(first);
        }
    }

    /// One edge less is open above it. True: it was the last one, and it waits for nothing else.
    pub fn less_open(&mut self, slot: u32) -> bool {
        let task = &mut self.tasks[slot as usize];
        task.open -= 1;
        let last = task.open == 0;
        if last && task.removed {
            self.free_places.push(slot);
        }
        last && task.state == State::Waiting
    }

    /// A task that is over leaves: its id is unknown from now on, its place free when nothing
    /// points to it.
    pub fn remove(&mut self, slot: u32) {
        let id = self.at(slot).id;
        if let Some(page) = self.pages.get_mut(id.index() / PAGE)
            && let Some(places) = page
        {
            places.places[id.index() % PAGE] = NONE;
            places.used -= 1;
            if places.used == 0 {
                *page = None;
            }
        }
        self.drop_edges(slot);
        let task = &mut self.tasks[slot as usize];
        task.removed = true;
        if task.open == 0 {
            self.free_places.push(slot);
        }
    }
}

/// Where tasks of this state are counted. Gates are not; what only they can be lands anywhere.
fn count(counts: &mut Counts, state: State) -> &mut usize {
    match state {
        State::Waiting => &mut counts.waiting,
        State::Probing => &mut counts.probing,
        State::Queued | State::ToRestore | State::Resting => &mut counts.queued,
        State::Running => &mut counts.running,
        State::Restoring | State::Settling | State::PuttingAway => &mut counts.closing,
        State::Fresh => &mut counts.fresh,
        State::Restored => &mut counts.restored,
        State::Ran | State::Passed => &mut counts.ran,
        State::Failed => &mut counts.failed,
        State::Allowed => &mut counts.allowed,
        State::Cancelled => &mut counts.cancelled,
        State::Blocked => &mut counts.blocked,
        State::Skipped => &mut counts.skipped,
        State::Gone => &mut counts.left_early,
    }
}
