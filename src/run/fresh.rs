//! What a no-op reads: the stamps under which everything was up to date.
//!
//! Owns the hot sections of `state`: which paths each task rests on, a 64-bit mix of each stamp, and
//! whether the decision about the task was "up to date" under these stamps. That is the one decision
//! remembered, not made again: as soon as anything differs, it is asked. Must hold: a flag is set only
//! for a task that was found up to date, with stamps that are final.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::disk::{Disk, PathTable};
use crate::hash::Stamp;
use crate::name::TaskId;

/// Numbers of the sections in `state`, hot ones first.
pub mod section {
    /// What the compilation rests on beside paths.
    pub const GUARD: u32 = 1;
    /// The paths.
    pub const PATHS: u32 = 2;
    /// A mix of each path's stamp.
    pub const MIXES: u32 = 3;
    /// Which paths the graph and each task rest on.
    pub const LISTS: u32 = 4;
    /// What is known of each task.
    pub const FLAGS: u32 = 5;
    /// The compiled graph.
    pub const GRAPH: u32 = 10;
    /// Digests of files by path and stamp.
    pub const DIGESTS: u32 = 11;
    /// How many sections a no-op reads.
    pub const HOT: usize = 5;
}

/// It was up to date under the stamps kept.
pub const FRESH: u8 = 1;
/// A run without selectors looks at it.
pub const USUAL: u8 = 2;

/// What a compilation rests on beside the stamps of paths.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Guard {
    /// flow's version: another may read the file differently.
    pub version: String,
    /// The boot in which the stamps were taken, and whether they are believed in others too.
    pub boot: String,
    /// Settings given by `--set`.
    pub set: Vec<(String, String)>,
    /// Variables of the caller that count.
    pub variables: Vec<(String, Option<String>)>,
    /// Tool commands must be asked in each run, so no run is a mere comparison.
    pub asks: bool,
    /// The pipeline's name, for the line that says there is nothing to do.
    pub name: String,
    /// The file as people see it is not kept: it depends on the caller.
    pub tasks: u32,
}

/// Stamps and flags.
#[derive(Clone, Debug, Default)]
pub struct Fresh {
    /// What the graph rests on beside paths.
    pub guard: Guard,
    /// Every path that counts.
    pub paths: PathTable,
    /// The mix of its stamp; 0: nothing was there.
    pub mixes: Vec<u64>,
    /// Where each list starts: that of the graph, then one for each task; one entry more at the end.
    starts: Vec<u32>,
    ids: Vec<u32>,
    /// For each task [`FRESH`] and [`USUAL`].
    pub flags: Vec<u8>,
}

/// What a comparison with the disk showed.
#[derive(Clone, PartialEq, Debug)]
pub struct Compared {
    /// Nothing the graph was made from has changed.
    pub graph: bool,
    /// For each task whether it is still up to date as far as its own facts go.
    pub unchanged: Vec<bool>,
}

impl Fresh {
    /// Begins a new one.
    pub fn new(guard: Guard) -> Fresh {
        Fresh { guard, starts: vec![0], ..Fresh::default() }
    }

    /// Reads what [`Fresh::sections`] wrote; `None` if it does not hold together.
    pub fn read(sections: &[(u32, Vec<u8>)]) -> Option<Fresh> {
        let section = |id: u32| sections.iter().find(|(has, _)| *has == id).map(|(_, bytes)| bytes.as_slice());
        let guard: Guard = postcard::from_bytes(section(section::GUARD)?).ok()?;
        let paths = PathTable::from_bytes(section(section::PATHS)?)?;
        let mixes: Vec<u64> =
            section(section::MIXES)?.chunks_exact(8).filter_map(|word| word.try_into().ok()).map(u64::from_le_bytes).collect();
        let words: Vec<u32> =
            section(section::LISTS)?.chunks_exact(4).filter_map(|word| word.try_into().ok()).map(u32::from_le_bytes).collect();
        let flags = section(section::FLAGS)?.to_vec();
        let starts = words.get(..flags.len() + 2)?.to_vec();
        let ids = words.get(flags.len() + 2..)?.to_vec();
        let sound = mixes.len() == paths.len()
            && starts.first() == Some(&0)
            && starts.windows(2).all(|pair| pair[0] <= pair[1])
            && starts.last() == Some(&(ids.len() as u32))
            && ids.iter().all(|id| (*id as usize) < mixes.len())
            && guard.tasks as usize == flags.len();
        sound.then_some(Fresh { guard, paths, mixes, starts, ids, flags })
    }

    /// The hot sections, in their order.
    pub fn sections(&self) -> Vec<(u32, Vec<u8>)> {
        let words = |list: &[u32]| list.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let mut lists = words(&self.starts);
        lists.extend(words(&self.ids));
        vec![
            (section::GUARD, postcard::to_stdvec(&self.guard).unwrap_or_default()),
            (section::PATHS, self.paths.to_bytes()),
            (section::MIXES, self.mixes.iter().flat_map(|mix| mix.to_le_bytes()).collect()),
            (section::LISTS, lists),
            (section::FLAGS, self.flags.clone()),
        ]
    }

    /// Compares every stamp with the disk.
    pub fn compare(&self, disk: &Disk) -> Compared {
        let mut now = Vec::new();
        disk.mixes(&self.paths, &mut now);
        self.compare_with(&now)
    }

    fn compare_with(&self, now: &[u64]) -> Compared {
        if now == self.mixes {
            return Compared { graph: true, unchanged: self.flags.iter().map(|flags| flags & FRESH != 0).collect() };
        }
        let same = |list: &[u32]| list.iter().all(|id| now.get(*id as usize) == self.mixes.get(*id as usize));
        Compared {
            graph: same(self.list(0)),
            unchanged: (0..self.flags.len()).map(|task| self.flags[task] & FRESH != 0 && same(self.list(task + 1))).collect(),
        }
    }

    /// Whether a run without selectors has nothing to do, and how many tasks that concerns.
    pub fn nothing_to_do(&self, compared: &Compared) -> Option<u64> {
        if !compared.graph || self.guard.asks {
            return None;
        }
        let mut count = 0;
        for (flags, unchanged) in self.flags.iter().zip(&compared.unchanged) {
            if flags & USUAL != 0 {
                if !unchanged {
                    return None;
                }
                count += 1;
            }
        }
        Some(count)
    }

    fn list(&self, n: usize) -> &[u32] {
        match (self.starts.get(n), self.starts.get(n + 1)) {
            (Some(&from), Some(&to)) => &self.ids[from as usize..to as usize],
            _ => &[],
        }
    }
}

/// Builds a [`Fresh`]: first the graph's list, then the tasks' in order.
pub struct Builder {
    fresh: Fresh,
    known: HashMap<(String, bool), u32>,
}

impl Builder {
    /// Begins.
    pub fn new(guard: Guard) -> Builder {
        Builder { fresh: Fresh::new(guard), known: HashMap::new() }
    }

    /// Adds a path to the list that is being made. `nofollow`: a link itself counts.
    pub fn path(&mut self, path: &str, nofollow: bool, stamp: Option<&Stamp>) {
        self.mix(path, nofollow, stamp.map_or(0, Stamp::mix));
    }

    fn mix(&mut self, path: &str, nofollow: bool, mix: u64) {
        let fresh = &mut self.fresh;
        let id = *self.known.entry((path.to_string(), nofollow)).or_insert_with(|| {
            fresh.mixes.push(mix);
            fresh.paths.push(path, nofollow).0
        });
        // Two lists that saw two states of one path: neither stamp can be believed for both.
        if fresh.mixes[id as usize] != mix {
            fresh.mixes[id as usize] = u64::MAX;
        }
        fresh.ids.push(id);
    }

    /// Ends the list of the graph.
    pub fn graph(&mut self) {
        self.fresh.starts.push(self.fresh.ids.len() as u32);
    }

    /// Ends the list of a task.
    pub fn task(&mut self, flags: u8) {
        self.fresh.flags.push(flags);
        self.fresh.starts.push(self.fresh.ids.len() as u32);
    }

    /// A task of which nothing was learnt: as it was.
    pub fn carry(&mut self, old: &Fresh, id: TaskId, flags: u8) {
        for path in old.list(id.index() + 1) {
            if let Some((name, nofollow)) = old.paths.get(crate::disk::PathId(*path)) {
                self.mix(name, nofollow, old.mixes[*path as usize]);
            }
        }
        self.task(flags);
    }

    /// The whole.
    pub fn finish(mut self) -> Fresh {
        self.fresh.guard.tasks = self.fresh.flags.len() as u32;
        self.fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built() -> Fresh {
        let stamp = |size| Stamp { size, ..Stamp::default() };
        let mut builder = Builder::new(Guard { name: "p".into(), ..Guard::default() });
        builder.path("p.yaml", false, Some(&stamp(1)));
        builder.graph();
        builder.path("a", false, Some(&stamp(2)));
        builder.path("b", true, Some(&stamp(3)));
        builder.task(FRESH | USUAL);
        builder.path("b", true, Some(&stamp(3)));
        builder.path("gone", false, None);
        builder.task(FRESH);
        builder.finish()
    }

    #[test]
    fn what_is_written_is_read() {
        let fresh = built();
        let read = Fresh::read(&fresh.sections()).unwrap();
        assert_eq!(read.guard, fresh.guard);
        assert_eq!(read.mixes, fresh.mixes);
        assert_eq!((read.starts, read.ids, read.flags), (fresh.starts, fresh.ids, fresh.flags));
        assert_eq!(read.paths.len(), 4);
    }

    #[test]
    fn damage_is_noticed() {
        for (at, (_, bytes)) in built().sections().iter().enumerate() {
            for cut in 0..bytes.len() {
                let mut sections = built().sections();
                sections[at].1.truncate(cut);
                assert!(Fresh::read(&sections).is_none(), "section {at} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_stamp_concerns_those_that_rest_on_it() {
        let fresh = built();
        let same = fresh.compare_with(&fresh.mixes);
        assert_eq!(same, Compared { graph: true, unchanged: vec![true, true] });
        assert_eq!(fresh.nothing_to_do(&same), Some(1));
        let change = |at: usize| {
            let mut now = fresh.mixes.clone();
            now[at] ^= 1;
            fresh.compare_with(&now)
        };
        assert_eq!(change(0), Compared { graph: false, unchanged: vec![true, true] });
        assert_eq!(change(1), Compared { graph: true, unchanged: vec![false, true] });
        assert_eq!(change(2), Compared { graph: true, unchanged: vec![false, false] });
        assert_eq!(change(3).unchanged, [true, false]);
        assert_eq!(fresh.nothing_to_do(&change(3)), Some(1));
        assert_eq!(fresh.nothing_to_do(&change(0)), None);
    }

    #[test]
    fn two_stamps_of_one_path_are_none() {
        let mut builder = Builder::new(Guard::default());
        builder.graph();
        builder.path("a", false, Some(&Stamp { size: 1, ..Stamp::default() }));
        builder.task(FRESH);
        builder.path("a", false, Some(&Stamp { size: 2, ..Stamp::default() }));
        builder.task(FRESH);
        assert_eq!(builder.finish().mixes, [u64::MAX]);
    }
}
