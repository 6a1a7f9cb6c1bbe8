//! Admission: who may start with the room there is.
//!
//! Owns slots, memory and pools as one list of resources, what is used of each, and the tasks that
//! wait for room. Must hold: never more in use than there is (but for adopted attempts); the first
//! in order that lacks a resource holds it: nobody behind takes of it until that task has started,
//! so nothing starves; whoever needs none of what is held passes.
//!
//! Tasks wait in one queue for each *set* of resources they need, not for each amount. If the first
//! of a queue cannot start, nobody behind it can: it either needs something held by a task ahead,
//! and then so do they, or it lacks something and holds that from now on. So one look at each
//! queue's first is enough, however many wait.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::attempt::Wants;
use crate::name::TaskId;

use super::Room;
use super::order::Turn;

const SLOTS: u32 = 0;
const MEMORY: u32 = 1;
const POOLS: u32 = 2;

/// Amounts by resource, ascending, none of them 0.
type Needs = Vec<(u32, u64)>;

/// What a task takes, shared by all that take the same.
struct Shape {
    needs: Needs,
    queue: usize,
}

#[derive(Clone, Copy, Default)]
struct Resource {
    /// How much there is; `None`: not counted.
    total: Option<u64>,
    used: u64,
    /// Who waits for it ahead of everybody else.
    holder: Option<Turn>,
}

pub(super) struct Admission {
    resources: Vec<Resource>,
    shapes: Vec<Shape>,
    by_needs: BTreeMap<Needs, u32>,
    by_set: BTreeMap<Vec<u32>, usize>,
    queues: Vec<BinaryHeap<Reverse<Turn>>>,
    /// The wants asked for last and their shape: mostly the next ones are the same.
    last: Option<(Wants, u32)>,
    /// Queues whose first cannot start; kept between calls for its memory only.
    stuck: Vec<bool>,
    #[cfg(test)]
    pub looks: u64,
}

impl Admission {
    pub fn new(room: &Room) -> Admission {
        let counted = |total: u64| Resource { total: Some(total), ..Resource::default() };
        let mut resources = vec![counted(u64::from(room.slots.max(1)))];
        resources.push(if room.memory == 0 { Resource::default() } else { counted(room.memory) });
        resources.extend(room.pools.iter().map(|&total| counted(u64::from(total))));
        Admission {
            resources,
            shapes: Vec::new(),
            by_needs: BTreeMap::new(),
            by_set: BTreeMap::new(),
            queues: Vec::new(),
            last: None,
            stuck: Vec::new(),
            #[cfg(test)]
            looks: 0,
        }
    }

    /// The shape of these wants, clamped to the room.
    pub fn shape(&mut self, wants: &Wants) -> u32 {
        if let Some((last, shape)) = &self.last
            && last == wants
        {
            return *shape;
        }
        let needs = self.needs(wants);
        let shape = match self.by_needs.get(&needs) {
            Some(&shape) => shape,
            None => self.add_shape(needs),
        };
        self.last = Some((wants.clone(), shape));
        shape
    }

    fn add_shape(&mut self, needs: Needs) -> u32 {
        let set: Vec<u32> = needs.iter().map(|&(resource, _)| resource).collect();
        let queue = *self.by_set.entry(set).or_insert(self.queues.len());
        if queue == self.queues.len() {
            self.queues.push(BinaryHeap::new());
        }
        let shape = self.shapes.len() as u32;
        self.shapes.push(Shape { needs: needs.clone(), queue });
        self.by_needs.insert(needs, shape);
        shape
    }

    fn needs(&self, wants: &Wants) -> Needs {
        let mut sums: BTreeMap<u32, u64> = BTreeMap::new();
        sums.insert(SLOTS, u64::from(wants.slots));
        sums.insert(MEMORY, wants.memory);
        for &(pool, amount) in &wants.pools {
            *sums.entry(POOLS + u32::from(pool)).or_insert(0) += u64::from(amount);
        }
        let total = |resource: u32| self.resources.get(resource as usize).and_then(|r| r.total);
        if total(MEMORY).is_some_and(|there| wants.memory > there) {
            sums.insert(SLOTS, u64::MAX); // clamped below to all there are: it runs alone
        }
        sums.into_iter().filter_map(|(resource, amount)| Some((resource, amount.min(total(resource)?)))).filter(|need| need.1 > 0).collect()
    }

    /// Waits for room from now on.
    pub fn wait(&mut self, turn: Turn, shape: u32) {
        if let Some(shape) = self.shapes.get(shape as usize)
            && let Some(queue) = self.queues.get_mut(shape.queue)
        {
            queue.push(Reverse(turn));
        }
    }

    /// It waits no longer, for good: what it holds is free for others. Its place in a queue is dropped when
    /// `start` comes to it.
    pub fn forget(&mut self, id: TaskId) {
        for resource in &mut self.resources {
            resource.holder = resource.holder.filter(|turn| turn.id != id);
        }
    }

    /// It no longer waits, and may come back later: its place in the queue goes at once. A step for
    /// each that waits.
    pub fn withdraw(&mut self, id: TaskId, shape: u32) {
        self.forget(id);
        if let Some(shape) = self.shapes.get(shape as usize)
            && let Some(queue) = self.queues.get_mut(shape.queue)
        {
            queue.retain(|Reverse(turn)| turn.id != id);
        }
    }

    /// Takes room of this shape, be it there or not.
    pub fn take(&mut self, shape: u32) {
        self.each_need(shape, |resource, amount| resource.used = resource.used.saturating_add(amount));
    }

    /// Gives it back.
    pub fn give_back(&mut self, shape: u32) {
        self.each_need(shape, |resource, amount| resource.used = resource.used.saturating_sub(amount));
    }

    fn each_need(&mut self, shape: u32, mut change: impl FnMut(&mut Resource, u64)) {
        let Some(shape) = self.shapes.get(shape as usize) else { return };
        for &(resource, amount) in &shape.needs {
            if let Some(resource) = self.resources.get_mut(resource as usize) {
                change(resource, amount);
            }
        }
    }

    /// All that start now, in order; their room is taken. `shape_of` says who still waits.
    pub fn start(&mut self, shape_of: impl Fn(&Turn) -> Option<u32>, starting: &mut Vec<Turn>) {
        let mut stuck = std::mem::take(&mut self.stuck);
        stuck.clear();
        stuck.resize(self.queues.len(), false);
        while let Some((place, turn, shape)) = self.first(&shape_of, &stuck) {
            if self.fits(turn, shape) {
                self.take(shape);
                self.forget(turn.id);
                if let Some(queue) = self.queues.get_mut(place) {
                    queue.pop();
                }
                starting.push(turn);
            } else if let Some(stuck) = stuck.get_mut(place) {
                *stuck = true;
            }
        }
        self.stuck = stuck;
    }

    /// The first in order of all queues that are not stuck: queue, turn, shape.
    fn first(&mut self, shape_of: &impl Fn(&Turn) -> Option<u32>, stuck: &[bool]) -> Option<(usize, Turn, u32)> {
        let mut first: Option<(usize, Turn, u32)> = None;
        for (place, queue) in self.queues.iter_mut().enumerate() {
            if stuck.get(place).copied().unwrap_or(true) {
                continue;
            }
            while let Some(&Reverse(turn)) = queue.peek() {
                #[cfg(test)]
                {
                    self.looks += 1;
                }
                let Some(shape) = shape_of(&turn) else {
                    queue.pop();
                    continue;
                };
                if first.is_none_or(|(_, earlier, _)| turn < earlier) {
                    first = Some((place, turn, shape));
                }
                break;
            }
        }
        first
    }

    /// Whether it can start. If not, and nobody ahead holds what it needs, it holds what it lacks.
    fn fits(&mut self, turn: Turn, shape: u32) -> bool {
        let Some(shape) = self.shapes.get(shape as usize) else { return false };
        let resource = |index: u32| self.resources.get(index as usize).copied().unwrap_or_default();
        if shape.needs.iter().any(|&(index, _)| resource(index).holder.is_some_and(|holder| holder < turn)) {
            return false;
        }
        let mut fits = true;
        for &(index, amount) in &shape.needs {
            if let Some(resource) = self.resources.get_mut(index as usize)
                && resource.total.is_some_and(|total| resource.used.saturating_add(amount) > total)
            {
                resource.holder = Some(turn);
                fits = false;
            }
        }
        fits
    }
}
